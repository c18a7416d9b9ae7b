"""Training as people use it: from the sliders to the leaderboard in a real browser, with QLoRA, and on a phone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from factory.adapters import kept
from factory.base import store
from factory.intake import datasets
from factory.training import runs
from factory.training.recipes import Recipe
from tests.browser.conftest import HELD_OUT_ROWS, MOMENT, Workshop, account, run_of, sign_in, slide, title

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LONG = 400_000  # ms that a part of a run may take on a slow machine
PHONE = 380
SHORT = Recipe(
    rank=4, max_length=256, epochs=20, max_steps=3, effective_batch=8, evaluations=1, sample_prompts="0", learning_rate=1e-3
)


@pytest.fixture(scope="module")
def earlier(workshop: Workshop, small: int) -> int:
    """A run on the small version that is done, with its adapter: another one to be compared with."""
    builder = account(workshop, "bert", "curator", "builder")
    with store.connect(workshop.settings) as db:
        root = datasets.version(db, small)["held_out_root"]
        there = [run for run in runs.listing(db, status="done") if run["held_out_root"] == root and run["adapter_id"]]
        if there:
            return int(there[0]["id"])
        run_id = runs.create(db, person=builder, version_id=small, recipe=SHORT, name="Earlier", settings=workshop.settings)
    ended(workshop, run_id, "done")
    return run_id


@pytest.fixture
def phone(browser: Browser, workshop: Workshop) -> Iterator[Page]:
    """A window as narrow as a small phone's, with touch."""
    context = browser.new_context(viewport={"width": PHONE, "height": 780}, has_touch=True)
    context.set_default_timeout(MOMENT)
    yield context.new_page()
    context.close()


def ended(workshop: Workshop, run_id: int, status: str) -> None:
    """Wait for a run to end as `status`; anything else it ends as fails at once, with its reason."""
    deadline = time.monotonic() + LONG / 1000
    with store.connect(workshop.settings) as db:
        while (run := runs.get(db, run_id))["status"] in ("queued", "running") and time.monotonic() < deadline:
            time.sleep(0.5)
        assert run["status"] == status, (run["status"], run["stage"], run["error"], runs.events(db, run_id))


def badge(page: Page, state: str) -> Locator:
    """The badge that says a run's state; a curve may bear the same word where it happened."""
    return page.locator(".stMarkdownBadge", has_text=re.compile(f"^{state}$"))


def runs_name(workshop: Workshop, run_id: int) -> str:
    """What a run is called."""
    with store.connect(workshop.settings) as db:
        return str(runs.get(db, run_id)["name"])


def pick(table: Locator, row: int) -> None:
    """Tick a row of a table, which is a canvas: the box lies left in it, under the line of headings."""
    table.click(position={"x": 16, "y": 35 * (row + 1) + 17}, force=True)  # what scrolls lies over it


def settled(page: Page) -> None:
    """The server has drawn all of the page."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=MOMENT)


def choose_a_short_recipe(page: Page, *, steps: int) -> None:
    """Rank 4, rows of 256 tokens, `steps` steps, measured once along the way, nothing asked: by sliders and fields."""
    slide(page.get_by_role("slider", name="LoRA rank"), "ArrowLeft", "4")
    slide(page.get_by_role("slider", name="Max length"), "ArrowLeft", "256")
    slide(page.get_by_role("slider", name="Epochs"), "End", "20.00")
    page.get_by_role("spinbutton", name="Max steps").fill(str(steps))
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"{steps} steps ·")).to_be_visible(timeout=MOMENT)
    page.get_by_text("Recipe as YAML, and as a command").click()
    yaml = page.get_by_test_id("stCode").first
    page.get_by_text("advanced", exact=True).click()
    slide(page.get_by_role("slider", name="Evaluations"), "ArrowLeft", "1")
    expect(yaml).to_contain_text("evaluations: 1", timeout=MOMENT)
    prompts = page.get_by_role("textbox", name="Sample prompts")
    prompts.fill("0")
    prompts.press("Enter")
    expect(yaml).to_contain_text(re.compile(r"sample_prompts: '0'"), timeout=MOMENT)
    page.get_by_text("simple", exact=True).click()
    expect(prompts).to_have_count(0, timeout=MOMENT)
    expect(yaml).to_contain_text("evaluations: 1", timeout=MOMENT)


def test_from_the_sliders_over_a_preflight_a_refresh_a_closed_window_and_a_pause_to_the_leaderboard(
    page: Page, workshop: Workshop, small: int, earlier: int
) -> None:
    sign_in(page, workshop, "bert", f"/train?version={small}")
    title(page, "Train")

    # the card follows the sliders
    memory = page.get_by_text(re.compile(r"^From left: "))
    before = memory.inner_text()
    slide(page.get_by_role("slider", name="LoRA rank"), "ArrowLeft", "8")
    expect(memory).not_to_have_text(before, timeout=MOMENT)
    choose_a_short_recipe(page, steps=16)

    # a preflight of the longest batch, whose findings stay on the card
    page.get_by_role("button", name="Try the longest batch first").click()
    expect(page.get_by_text(re.compile(r"It (fits|ran).*the longest pack"))).to_be_visible(timeout=LONG)

    # train; what was chosen is what is trained
    page.get_by_label("Name of the run").fill("Sliders")
    page.keyboard.press("Enter")
    settled(page)
    page.get_by_role("button", name="Start the training").click()
    expect(page.get_by_role("heading", name="Sliders")).to_be_visible(timeout=MOMENT)
    run_id = run_of(page)
    with store.connect(workshop.settings) as db:
        assert runs.get(db, run_id)["recipe"] == Recipe(
            rank=4, max_length=256, epochs=20, max_steps=16, evaluations=1, sample_prompts="0"
        )

    # a refresh in the middle loses nothing
    underway = page.get_by_text(re.compile(r"Step [1-9]\d* of 16"))
    expect(underway).to_be_visible(timeout=LONG)
    page.reload()
    expect(page.get_by_role("heading", name="Sliders")).to_be_visible(timeout=MOMENT)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=LONG)
    expect(badge(page, "paused")).to_be_visible(timeout=MOMENT)
    with store.connect(workshop.settings) as db:
        made = runs.get(db, run_id)["steps_done"]
        assert 1 <= made < 16
        print("paused at", made)
        first = runs.metrics(db, run_id, ["loss"])["loss"]

    # resumed, then the window is closed: the run goes on, and its address leads back to it
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Resume")).to_have_count(0, timeout=MOMENT)
    again = page.context.new_page()
    page.close()
    again.goto(f"{workshop.url}/runs?run={run_id}")
    expect(again.get_by_role("heading", name="Sliders")).to_be_visible(timeout=MOMENT)
    expect(badge(again, "done")).to_be_visible(timeout=LONG)
    expect(again.get_by_text("Step 16 of 16")).to_be_visible(timeout=MOMENT)
    expect(again.locator(".js-plotly-plot").first).to_be_visible(timeout=MOMENT)
    expect(again.get_by_role("link", name="The adapter it made")).to_be_visible(timeout=MOMENT)
    with store.connect(workshop.settings) as db:
        losses = runs.metrics(db, run_id, ["loss"])["loss"]
        assert [step for step, _ in losses] == list(range(1, 17))
        assert losses[: len(first)] == first

    # compared with another run, picked from the table of all runs
    again.get_by_role("button", name="All runs").click()
    table = again.get_by_test_id("stDataFrame").locator("canvas").first
    expect(table).to_be_visible(timeout=MOMENT)
    for row, then in ((0, re.compile("^Open ")), (1, "Compare these 2 runs")):
        pick(table, row)
        expect(again.get_by_role("button", name=then)).to_be_visible(timeout=MOMENT)
    settled(again)
    again.get_by_role("button", name="Compare these 2 runs").click()
    expect(again.get_by_role("heading", name="2 runs side by side")).to_be_visible(timeout=MOMENT)
    expect(again.get_by_role("heading", name="Set differently")).to_be_visible(timeout=MOMENT)
    expect(again.locator(".js-plotly-plot").first).to_contain_text("Sliders", timeout=MOMENT)

    # and ranked among the adapters that were measured on the same held-out rows
    again.goto(f"{workshop.url}/leaderboard?tab=Adapters")
    title(again, "Leaderboard")
    expect(again.get_by_role("combobox", name="Measured on")).to_have_value(re.compile(f"{HELD_OUT_ROWS} held-out rows"))
    for name in ("Sliders", runs_name(workshop, earlier)):
        expect(again.locator(".js-plotly-plot").first).to_contain_text(name, timeout=MOMENT)


def test_qlora_chosen_on_the_page_trains_and_its_adapter_is_kept(page: Page, workshop: Workshop, small: int) -> None:
    sign_in(page, workshop, "bert", f"/train?version={small}")
    title(page, "Train")
    page.get_by_text("QLoRA", exact=True).click()
    expect(page.get_by_role("radio", name="QLoRA")).to_be_checked(timeout=MOMENT)
    choose_a_short_recipe(page, steps=4)
    page.get_by_label("Name of the run").fill("In four bits")
    page.keyboard.press("Enter")
    settled(page)
    page.get_by_role("button", name="Start the training").click()
    expect(page.get_by_role("heading", name="In four bits")).to_be_visible(timeout=MOMENT)
    run_id = run_of(page)
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=LONG)
    expect(page.get_by_role("link", name="The adapter it made")).to_be_visible(timeout=LONG)
    expect(badge(page, "done")).to_be_visible(timeout=LONG)
    with store.connect(workshop.settings) as db:
        run = runs.get(db, run_id)
        assert run["recipe"].method == "qlora"
        assert run["steps_done"] == 4
        assert kept.get(db, run["adapter_id"])["tuned_loss"] is not None


def narrow_enough(page: Page) -> None:
    """Nothing on the page is wider than the window, neither the document nor the part that scrolls."""
    settled(page)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE + 1
    too_wide = page.get_by_test_id("stMain").evaluate("it => it.scrollWidth - it.clientWidth")
    assert too_wide <= 1, f"{page.url} scrolls sideways by {too_wide} pixels"


def test_everything_can_be_reached_and_used_on_a_phone(phone: Page, workshop: Workshop, small: int, earlier: int) -> None:
    builder = account(workshop, "paula", "contributor", "reviewer", "curator", "builder")
    sign_in(phone, workshop, "paula")
    with store.connect(workshop.settings) as db:
        adapter = runs.get(db, earlier)["adapter_id"]
        with store.writing(db):  # in one go, so that no trainer takes it
            another = runs.create(db, person=builder, version_id=small, recipe=SHORT, settings=workshop.settings)
            runs.cancel(db, another, person=builder)
    for path, heading in (
        ("/", "Home"),
        ("/datasets", "Datasets"),
        ("/datasets?dataset=short-answers", "Short answers"),
        ("/contribute", "Contribute"),
        ("/review", "Review"),
        ("/runs", "Runs"),
        (f"/runs?run={earlier}", runs_name(workshop, earlier)),
        (f"/runs?compare={earlier},{another}", re.compile("side by side")),
        ("/leaderboard", "Leaderboard"),
        ("/leaderboard?tab=Adapters", "Leaderboard"),
        ("/adapters", "Adapters"),
        (f"/adapters?adapter={adapter}", runs_name(workshop, earlier)),
        ("/credits", "Credits"),
    ):
        phone.goto(workshop.url + path)
        expect(phone.get_by_role("heading", name=heading).first).to_be_visible(timeout=MOMENT)
        narrow_enough(phone)
        assert not phone.get_by_test_id("stException").count(), path

    # the sliders can be moved with the thumb's keys, the card lies below them and follows
    phone.goto(f"{workshop.url}/train?version={small}")
    rank = phone.get_by_role("slider", name="LoRA rank")
    expect(rank).to_be_visible(timeout=MOMENT)
    start = phone.get_by_role("button", name="Start the training")
    expect(start).to_be_enabled(timeout=MOMENT)
    parts = phone.get_by_text(re.compile(r"^From left: "))
    before = parts.inner_text()
    slide(rank, "ArrowRight", "32")
    expect(parts).not_to_have_text(before, timeout=MOMENT)
    narrow_enough(phone)
    start.scroll_into_view_if_needed()
    expect(start).to_be_in_viewport()
