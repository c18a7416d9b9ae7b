"""A contributor's row from a spreadsheet to the dataset: mended, returned, mended, refused, appealed, accepted."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from factory.base import people, store
from factory.intake import allowances, appeals, contributions, datasets, reviews
from factory.intake.policy import Policy
from tests.browser.conftest import MOMENT, Workshop, account, sign_in, title

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SLUG = "kitchen-notes"
GOOD = "Salt draws water out of aubergines, so that they take up less oil in the pan."
LONG = "It keeps the pasta water from tasting of nothing at all."
SHEET = f"nr\ttext_a\ttext_b\n1\tWhy are aubergines salted before frying?\t{GOOD}\n2\tWhy is pasta water salted?\tTaste.\n"


def example_of(workshop: Workshop, state: str) -> int:
    """The newest example of the contributor in a state."""
    with store.connect(workshop.settings) as db:
        return int(contributions.mine(db, people.get(db, "olive"), state=state)[0]["example_id"])


def judge(workshop: Workshop, name: str, example_id: int, decision: str, reason: str, note: str) -> None:
    """A reviewer's verdict, by the function that the page calls."""
    with store.connect(workshop.settings) as db:
        reviews.decide(db, example_id, reviewer=people.get(db, name), decision=decision, reason=reason, note=note)


def unfold(page: Page, state: str) -> None:
    """Look at my examples in this state, and open the one there is."""
    page.goto(page.url.partition("?")[0] + f"?dataset={SLUG}")
    title(page, "Contribute")
    page.get_by_role("radio", name=re.compile(f"^{state} ")).or_(
        page.get_by_role("button", name=re.compile(f"^{state} "))
    ).first.click()
    page.get_by_test_id("stExpander").filter(has_text="Salt draws").locator("summary").click()


def test_a_row_is_mended_returned_mended_refused_appealed_and_accepted(page: Page, workshop: Workshop) -> None:
    olive = account(workshop, "olive", "contributor")
    for name in ("rosa", "rudi"):
        account(workshop, name, "reviewer")
    with store.connect(workshop.settings) as db:
        dataset = datasets.create(
            db, slug=SLUG, title="Kitchen notes", purpose="Why cooks do things.", guidelines="One sentence.",
            licence="CC-BY-4.0", owner=account(workshop, "bert", "curator", "builder"),
            policy=Policy(quorum=1, gold_share=0),
        )["id"]  # fmt: skip

    # a spreadsheet with columns of its own becomes a draft once somebody says which is which
    sign_in(page, workshop, "olive", f"/contribute?dataset={SLUG}&way=File")
    title(page, "Contribute")
    page.locator("input[type=file]").set_input_files(
        {"name": "kitchen.tsv", "mimeType": "text/tab-separated-values", "buffer": SHEET.encode()}
    )
    expect(page.get_by_text("Which column is which?")).to_be_visible(timeout=MOMENT)
    for part, column in (("Question", "text_a"), ("Answer", "text_b")):
        page.get_by_role("combobox", name=part, exact=True).click()
        page.get_by_role("option", name=column).click()
    expect(page.get_by_text("The first rows as they would become")).to_be_visible(timeout=MOMENT)
    page.get_by_role("button", name="Use these columns").click()
    expect(page.get_by_role("heading", name="kitchen.tsv")).to_be_visible(timeout=MOMENT)
    expect(page.get_by_text("1 good, 1 refused by the checks.")).to_be_visible(timeout=MOMENT)

    # a cell is mended where it stands, judged at once, and kept through a refresh and a new sign-in
    cell = page.locator("#portal textarea")
    expect(page.get_by_text("Submit 1 good row")).to_be_visible(timeout=MOMENT)  # all is drawn
    page.locator(".dvn-scroller").first.dblclick(position={"x": 740, "y": 88})
    cell.fill(LONG)
    cell.press("Enter")
    expect(page.get_by_text("2 good, 0 refused by the checks.")).to_be_visible(timeout=MOMENT)
    page.reload()
    expect(page.get_by_text("2 good, 0 refused by the checks.")).to_be_visible(timeout=MOMENT)
    draft_address = page.url
    page.context.clear_cookies()
    sign_in(page, workshop, "olive", draft_address.removeprefix(workshop.url))
    expect(page.get_by_text("2 rows, 1 mended")).to_be_visible(timeout=MOMENT)
    with store.connect(workshop.settings) as db:
        assert allowances.allowance(db, dataset, olive).used == 0, "nothing is spent before it is sent"
    page.get_by_text("I may give these under").click()
    page.get_by_role("button", name="Submit 2 good rows").click()
    expect(page.get_by_text("waiting 2")).to_be_visible(timeout=MOMENT)
    with store.connect(workshop.settings) as db:
        assert allowances.allowance(db, dataset, olive).used == 2
        first = contributions.mine(db, olive)[-1]
        assert first["content"].count(GOOD) == 1

    # returned, with a reason and a word to its author, and mended
    judge(workshop, "rosa", first["example_id"], "return", "unclear", "Say how long it takes.")
    unfold(page, "returned")
    expect(page.get_by_text("Say how long it takes.")).to_be_visible()
    page.get_by_label("Mended answer").fill(f"{GOOD} Half an hour is enough.")
    page.get_by_role("button", name="Submit the mended one").click()
    expect(page.get_by_text("waiting 2")).to_be_visible(timeout=MOMENT)

    # refused, and appealed
    judge(workshop, "rosa", example_of(workshop, "waiting"), "reject", "wrong", "Nobody salts them any more.")
    unfold(page, "rejected")
    expect(page.get_by_text("Nobody salts them any more.")).to_be_visible()
    page.get_by_label("Why this should be looked at again").fill("Older kinds are bitter, and they are still sold.")
    page.get_by_role("button", name="Appeal, once").click()
    expect(page.get_by_text("Somebody uninvolved will look again.")).to_be_visible(timeout=MOMENT)

    # somebody uninvolved overturns it
    with store.connect(workshop.settings) as db:
        rudi = people.get(db, "rudi")
        (appeal,) = appeals.open_appeals(db, dataset, reviewer=rudi)
        appeals.answer_appeal(db, appeal["appeal_id"], reviewer=rudi, answer="overturned", words="Right, and well said.")
    unfold(page, "accepted")
    expect(page.get_by_text("Right, and well said.")).to_be_visible()
    expect(page.get_by_text("Given under CC-BY-4.0")).to_be_visible()
