"""A reviewer with the keyboard only, in a real browser: all answers, undo, a check that is disputed, what became of it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from factory.base import store
from factory.base.people import Person
from factory.intake import contributions, datasets, held, reviews
from factory.intake.policy import Policy
from tests.browser.conftest import MOMENT, Workshop, account, sign_in, title

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SLUG = "rivers"
THINGS = ("rhine", "rhone", "danube", "elbe", "oder", "tiber", "ebro", "seine", "thames", "volga", "drina", "sava")


def about(thing: str, more: str = "") -> list[dict[str, str]]:
    question = {
        "role": "user",
        "content": f"Where does the {thing} begin, and how would one get there in {len(thing)} days?",
    }
    words = " ".join(f"{thing}{place}" for place in ("spring", "valley", "road", "bridge", "mill"))
    return [question, {"role": "assistant", "content": f"It begins at the {words}{more}."}]


@pytest.fixture
def rivers(workshop: Workshop) -> int:
    """A dataset with settled examples to be gold and others that wait; half of a queue is gold, so that one surely comes."""
    curator, author = account(workshop, "cora", "curator"), account(workshop, "arno", "contributor")
    others = [account(workshop, name, "reviewer") for name in ("otto", "olaf")]
    with store.connect(workshop.settings) as db:
        policy = Policy(gold_share=0, near_duplicate_jaccard=0.95, quorum_at_most=25)  # nothing is dealt out: all see all
        made = datasets.create(
            db, slug=SLUG, title="Rivers", purpose="Where rivers begin.", guidelines="One sentence. Name the place.",
            licence="CC0-1.0", owner=curator, policy=policy,
        )["id"]  # fmt: skip
        offer(workshop, made, author, [about(thing) for thing in THINGS[:6]], settled_by=others)
        offer(workshop, made, author, [about(thing) for thing in THINGS[6:]])
        offer(workshop, made, author, [about(THINGS[0], more=", which nobody disputes today")])
    return int(made)


def offer(
    workshop: Workshop,
    dataset_id: int,
    author: Person,
    rows: list[list[dict[str, str]]],
    settled_by: list[Person] | None = None,
) -> None:
    with store.connect(workshop.settings) as db:
        sent = contributions.submit(
            db, dataset_id, person=author, rows=rows, source="form", licence="CC0-1.0", attested=True
        )
        assert not sent.refused
        for example_id in sent.example_ids:
            for reviewer in settled_by or ():
                reviews.decide(db, example_id, reviewer=reviewer, decision="accept")


def gold_share(workshop: Workshop, dataset_id: int, share: float) -> None:
    with store.connect(workshop.settings) as db:
        policy = Policy(gold_share=share, near_duplicate_jaccard=0.95, quorum_at_most=25)
        datasets.set_policy(db, dataset_id, policy, person=account(workshop, "cora", "curator"))


def question(page: Page) -> str:
    """The question of the row that is shown."""
    return str(page.get_by_text(re.compile("^Where does the ")).first.text_content(timeout=MOMENT))


def verdicts(workshop: Workshop) -> list[tuple[str, str | None]]:
    with store.connect(workshop.settings) as db:
        kaya = account(workshop, "kaya", "reviewer")
        found = store.rows(db, "select decision, reason from verdicts where reviewer_id = ? order by id", kaya.id)
    return [(one["decision"], one["reason"]) for one in found]


def test_a_reviewer_with_the_keyboard_only(page: Page, workshop: Workshop, rivers: int) -> None:
    account(workshop, "kaya", "reviewer")
    sign_in(page, workshop, "kaya", f"/review?dataset={SLUG}")
    title(page, "Review")
    expect(page.get_by_text("7 left")).to_be_visible(timeout=MOMENT)
    expect(page.get_by_role("button", name=re.compile("Accept.*1"))).to_be_visible()  # keys stand on the buttons
    expect(page.get_by_text("One sentence. Name the place.")).to_be_visible()

    def press(key: str) -> None:
        """A key, once the page stands still: an answer given before its row is drawn counts for no row."""
        expect(page.locator("[data-test-script-state='notRunning']")).to_be_visible(timeout=MOMENT)
        page.keyboard.press(key)

    first = question(page)
    press("1")  # accept; the next one at once
    expect(page.get_by_text("6 left")).to_be_visible(timeout=MOMENT)
    expect(page.get_by_text(first, exact=True)).not_to_be_visible(timeout=MOMENT)
    press("u")  # within a moment it can be taken back, and comes again
    expect(page.get_by_text("7 left")).to_be_visible(timeout=MOMENT)
    expect(page.get_by_text(first)).to_be_visible()
    assert verdicts(workshop) == []
    press("1")
    expect(page.get_by_text("6 left")).to_be_visible(timeout=MOMENT)

    press("2")  # return asks for a reason, which has a key of its own
    expect(page.get_by_text("Return it for changes: why?")).to_be_visible(timeout=MOMENT)
    press("Escape")
    expect(page.get_by_role("button", name=re.compile("Accept.*1"))).to_be_visible(timeout=MOMENT)
    press("2")
    expect(page.get_by_text("Return it for changes: why?")).to_be_visible(timeout=MOMENT)
    press("2")
    expect(page.get_by_text("5 left")).to_be_visible(timeout=MOMENT)
    assert verdicts(workshop) == [("accept", None)]  # the second is on hold

    press("3")  # reject
    expect(page.get_by_text("Reject it: why?")).to_be_visible(timeout=MOMENT)
    press("1")
    expect(page.get_by_text("4 left")).to_be_visible(timeout=MOMENT)

    skipped = question(page)
    press("4")  # skip: another one comes, and nothing is said
    expect(page.get_by_text(skipped, exact=True)).not_to_be_visible(timeout=MOMENT)
    expect(page.get_by_text("4 left")).to_be_visible()

    for _ in range(3):  # the last of them repeats a settled one, and what differs is in colour
        if page.get_by_text("which nobody disputes today").first.is_visible():
            break
        shown = question(page)
        press("4")
        expect(page.get_by_text(shown, exact=True).first).not_to_be_visible(timeout=MOMENT)
    expect(page.get_by_text("only in this one")).to_be_visible()
    expect(page.get_by_text("which nobody disputes today").first).to_be_visible()

    gold_share(workshop, rivers, 0.5)
    page.reload()
    for _ in range(6):  # half of what comes now was settled before
        shown = question(page)
        press("3")
        expect(page.get_by_text("Reject it: why?")).to_be_visible(timeout=MOMENT)
        press("1")
        expect(page.get_by_text("Reject it: why?")).not_to_be_visible(timeout=MOMENT)
        if page.get_by_text("That was a check").is_visible():
            break
    expect(page.get_by_text("The others had said accept, and you said reject")).to_be_visible(timeout=MOMENT)
    press("d")
    words = page.get_by_label("Why the check is wrong")
    expect(words).to_be_visible(timeout=MOMENT)
    for _ in range(40):  # by Tab to the field
        if words.evaluate("element => element === document.activeElement"):
            break
        press("Tab")
    page.keyboard.type("The place is 1 of 3 that are named so.")  # digits are words here, no answers
    press("Control+Enter")
    press("Tab")
    press("Enter")
    expect(page.get_by_text("Your dispute is open.")).to_be_visible(timeout=MOMENT)
    with store.connect(workshop.settings) as db:
        held.let_go(db, reviewer=account(workshop, "kaya", "reviewer"))
        assert store.value(db, "select words from gold_disputes") == "The place is 1 of 3 that are named so."
    said = verdicts(workshop)
    assert said[:3] == [("accept", None), ("return", "incomplete"), ("reject", "wrong")]

    page.goto(f"{workshop.url}/review?part=What+I+judged")
    expect(page.get_by_text(re.compile("^Accepts · waiting")).first).to_be_visible(timeout=MOMENT)
