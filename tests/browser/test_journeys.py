"""The workshop as people use it: a real browser, the real base model, real training."""

from __future__ import annotations

import os
import re
import signal
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from factory.base import store
from factory.intake import datasets, held
from factory.training import runs
from factory.training.recipes import PRESETS
from tests.browser.conftest import MOMENT, PASSWORD, SMALL, Workshop, account, run_of, sign_in, slide, start, title

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def sample_version(workshop: Workshop) -> int:
    """The id of the version that every installation comes with."""
    with store.connect(workshop.settings) as db:
        return int(datasets.versions(db, datasets.get(db, "python-standard-library")["id"])[-1]["id"])


def test_the_first_visitor_on_a_deep_link_meets_the_sign_in_and_comes_back(page: Page, workshop: Workshop) -> None:
    account(workshop, "first", "contributor")
    page.goto(f"{workshop.url}/leaderboard?tab=Adapters")
    expect(page).to_have_url(re.compile(r"/sign-in\?next=/leaderboard"))
    page.get_by_label("Name").fill("first")
    page.get_by_label("Password").fill("wrong wrong wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not fit together")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    title(page, "Leaderboard")
    page.reload()
    title(page, "Leaderboard")
    second_tab = page.context.new_page()
    second_tab.goto(workshop.url)
    title(second_tab, "Home")
    assert page.evaluate("document.cookie").find("factory_session") == -1
    second_tab.get_by_role("link", name="Sign out").click()
    expect(second_tab).to_have_url(re.compile("/sign-in"))


def test_a_preset_moves_the_sliders_and_stays_when_something_else_is_changed(page: Page, workshop: Workshop) -> None:
    account(workshop, "bert", "curator", "builder")
    sign_in(page, workshop, "bert", f"/train?version={sample_version(workshop)}")
    title(page, "Train")
    expect(page.get_by_text("46 steps")).to_be_visible()
    page.get_by_role("button", name="Quick try").click()
    expect(page.get_by_text("40 steps")).to_be_visible()
    expect(page.get_by_role("spinbutton", name="Max steps (steps)")).to_have_value("40")
    page.get_by_label("Name of the run").fill("A name")
    page.keyboard.press("Tab")
    page.get_by_text("everything", exact=True).click()
    expect(page.get_by_text("Gradient checkpointing")).to_be_visible()
    page.get_by_text("simple", exact=True).click()
    expect(page.get_by_text("Gradient checkpointing")).not_to_be_visible()
    expect(page.get_by_text("40 steps")).to_be_visible()
    assert not page.get_by_text("set via the Session State API").count()


def test_a_preset_wins_over_what_the_browser_still_showed_when_it_was_clicked(page: Page, workshop: Workshop) -> None:
    account(workshop, "bert", "curator", "builder")
    sign_in(page, workshop, "bert", f"/train?version={sample_version(workshop)}")
    title(page, "Train")
    expect(page.get_by_text("46 steps")).to_be_visible()
    name = page.get_by_label("Name of the run")
    for preset, steps in (("Quick try", "40"), ("Balanced", "0"), ("Quick try", "40")):
        page.get_by_role("button", name=preset).click()  # and typing goes on at once, before any answer
        name.fill(f"Typed after {preset} {steps}")
        page.keyboard.press("Tab")
        expect(page.get_by_role("spinbutton", name="Max steps (steps)")).to_have_value(steps)
        page.wait_for_timeout(1500)
        expect(page.get_by_role("spinbutton", name="Max steps (steps)")).to_have_value(steps)
    expect(page.get_by_text("40 steps")).to_be_visible()


def test_contribute_review_freeze_train_watch_rank_and_export(
    page: Page, workshop: Workshop, small: int, tmp_path: Path
) -> None:
    for name, roles in (
        ("clara", ("contributor",)),
        ("rita", ("reviewer",)),
        ("ron", ("reviewer",)),
        ("bert", ("curator", "builder")),
    ):
        account(workshop, name, *roles)

    # contribute: the checks speak before anything counts
    sign_in(page, workshop, "clara", f"/contribute?dataset={SMALL}")
    title(page, "Contribute")
    page.get_by_label("Question or instruction").fill("What does the functools function cache promise about repeated calls?")
    page.get_by_label("The answer you would want to read").fill(
        "functools.cache remembers the result for each set of arguments, so that a repeated call returns at once."
    )
    page.keyboard.press("Tab")
    expect(page.get_by_text("1 good, 0 refused by the checks.")).to_be_visible()
    page.get_by_text("I may give these under").click()
    page.get_by_role("button", name="Submit 1 good row").click()
    expect(page.get_by_text("waiting 1")).to_be_visible()

    # two reviewers who are not the author
    for name in ("rita", "ron"):
        page.context.clear_cookies()
        sign_in(page, workshop, name, f"/review?dataset={SMALL}")
        title(page, "Review")
        expect(page.get_by_text(re.compile(r"\d+ left"))).to_be_visible()
        expect(page.get_by_text("functools.cache remembers")).to_be_visible(timeout=MOMENT)
        page.get_by_role("button", name="Accept").click()
        expect(page.get_by_text("functools.cache remembers")).not_to_be_visible()
    page.wait_for_timeout(held.UNDO_SECONDS * 1000 + 2_000)  # so long the last verdict could be taken back

    # freeze
    page.context.clear_cookies()
    sign_in(page, workshop, "bert", f"/datasets?dataset={SMALL}&part=Versions")
    title(page, "Datasets")
    page.get_by_role("button", name="Freeze the accepted examples").click()
    expect(page.get_by_text("Version 2", exact=True)).to_be_visible()

    # train
    page.goto(f"{workshop.url}/train")
    title(page, "Train")
    expect(page.get_by_role("combobox", name="Dataset version")).to_have_value(re.compile("version 2"))
    page.get_by_role("button", name="Quick try").click()
    expect(page.get_by_role("spinbutton", name="Max steps (steps)")).to_have_value("40")
    slide(page.get_by_role("slider", name="Epochs"), "ArrowRight", "4.00")  # there are 25 rows
    expect(page.get_by_text("16 steps ·")).to_be_visible()
    page.get_by_label("Name of the run").fill("Journey")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Start the training").click()
    expect(page.get_by_role("heading", name="Journey")).to_be_visible()
    run_id = run_of(page)
    with store.connect(workshop.settings) as db:
        assert runs.get(db, run_id)["recipe"] == replace(PRESETS["quick try"], epochs=4)

    # the curve moves by itself
    progress = page.get_by_text(re.compile(r"Step \d+ of \d+")).first
    expect(progress).to_be_visible(timeout=120_000)
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=120_000)
    before = progress.inner_text()
    expect(progress).not_to_have_text(before, timeout=60_000)
    page.reload()  # a refresh loses nothing
    expect(page.get_by_role("heading", name="Journey")).to_be_visible()
    expect(page.get_by_role("link", name="The adapter it made")).to_be_visible(timeout=600_000)
    with store.connect(workshop.settings) as db:
        assert runs.get(db, run_id)["status"] in ("running", "done")
        deadline = time.monotonic() + 400
        while runs.get(db, run_id)["status"] == "running" and time.monotonic() < deadline:
            time.sleep(1)
        assert runs.get(db, run_id)["status"] == "done", runs.get(db, run_id)["error"]

    # ranked
    page.goto(f"{workshop.url}/leaderboard?tab=Adapters")
    title(page, "Leaderboard")
    expect(page.get_by_text("Held-out loss taken away").first).to_be_visible()

    # talked to, base and adapter side by side
    page.goto(f"{workshop.url}/adapters")
    page.get_by_role("button", name="Journey").click()
    expect(page).to_have_url(re.compile(r"adapter=\d+"))
    page.get_by_role("radio", name="Talk").click()
    page.get_by_placeholder("Ask both the same thing").fill("What does os.path.join do?")
    page.keyboard.press("Enter")
    answers = page.get_by_test_id("stText")
    expect(answers).to_have_count(3, timeout=120_000)  # the question and two answers
    for place in (1, 2):
        expect(answers.nth(place)).to_have_text(re.compile(r"\w+ \w+"), timeout=120_000)

    # exported, downloaded, unzipped
    page.get_by_role("radio", name="Export").click()
    page.get_by_role("button", name="Export as a PEFT folder").click()
    expect(page.get_by_text("verified: same words when loaded back")).to_be_visible(timeout=180_000)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the zip").click()
    file = tmp_path / "adapter.zip"
    download.value.save_as(file)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert {"adapter_model.safetensors", "adapter_config.json", "README.md"} <= {
            Path(n).name for n in archive.namelist()
        }


def test_a_killed_app_finds_its_running_run_again(page: Page, workshop: Workshop) -> None:
    builder = account(workshop, "bert", "curator", "builder")
    with store.connect(workshop.settings) as db:
        recipe = PRESETS["quick try"]
        run_id = runs.create(
            db,
            person=builder,
            version_id=sample_version(workshop),
            recipe=recipe,
            name="Survivor",
            settings=workshop.settings,
        )
        deadline = time.monotonic() + 180
        while runs.get(db, run_id)["steps_done"] < 1 and time.monotonic() < deadline:
            time.sleep(0.5)
        trainer = runs.get(db, run_id)["pid"]
        assert trainer
        app = psutil.Process(workshop.process.pid).children()
        for each in (*app, workshop.process):  # what was started in a terminal, and the app itself
            os.kill(each.pid, signal.SIGKILL)
        psutil.wait_procs(app, timeout=20)
        workshop.process.wait()
        workshop.process, _ = start(workshop.settings.home, workshop.settings.port)
        assert runs.get(db, run_id)["pid"] == trainer
        sign_in(page, workshop, "bert", f"/runs?run={run_id}")
        expect(page.get_by_role("heading", name="Survivor")).to_be_visible()
        expect(page.get_by_text("running", exact=True)).to_be_visible()
        page.get_by_role("button", name="Stop and keep").click()
        end = page.get_by_role("button", name="End this stage")  # the buttons follow the run by themselves
        expect(end).to_be_visible(timeout=120_000)
        run = runs.get(db, run_id)
        assert run["stage"] != "train"
        assert run["steps_done"] < run["steps_total"]
        end.click()
        expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=30_000)
        assert runs.get(db, run_id)["status"] == "interrupted"
