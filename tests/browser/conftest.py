"""A real Chromium in front of the real app, with its own fresh installation."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from factory.adapters import talk
from factory.base import people, store
from factory.base.people import Person
from factory.base.settings import ROOT, Settings
from factory.intake import contributions, datasets, reviews, sample
from factory.intake.policy import Policy

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]  # fmt: skip
PASSWORD = "orchid lantern meadow"
SMALL = "short-answers"
ROWS, HELD_OUT_ROWS = 24, 8
MOMENT = 60_000  # ms that a redraw may take on a slow machine


@dataclass
class Workshop:
    """A running app: where it is, where its data lies, and the maintainer's one-time link.

    Whoever ends the app and starts it again puts the new `process` here, for the tests that come after.
    """

    url: str
    settings: Settings
    link: str
    process: subprocess.Popen[bytes]


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(home: Path, port: int) -> tuple[subprocess.Popen[bytes], str]:
    """Start the app as `make run` does, and wait for the one-time link it prints."""
    log = home.parent / f"serve-{port}-{time.time_ns()}.log"
    environment = {**os.environ, "FACTORY_HOME": str(home), "FACTORY_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "factory", "serve", "--no-browser"],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        found = re.search(r"http://\S+/sign-in/link\?token=\S+", log.read_text(errors="replace"))
        if found:
            return process, found.group()
        if process.poll() is not None:
            break
        time.sleep(0.3)
    raise AssertionError(f"the app did not start:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="session")
def workshop(base_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """The app in a fresh installation that borrows the fetched base model."""
    home = tmp_path_factory.mktemp("workshop") / "home"
    home.mkdir()
    (home / "models").symlink_to(base_models)
    port = free_port()
    process, link = start(home, port)
    opened = Workshop(f"http://127.0.0.1:{port}", Settings(home=home, port=port), link, process)
    yield opened
    talk.free(Settings(home=home))
    opened.process.terminate()
    try:
        opened.process.wait(20)
    except subprocess.TimeoutExpired:
        opened.process.kill()


@pytest.fixture(scope="session")
def small(workshop: Workshop) -> int:
    """The id of a version of a few rows, accepted by review: training on it and all that follows takes seconds."""
    rows, held_out = ([question.messages for question in part] for part in sample.questions())
    curator = account(workshop, "bert", "curator", "builder")
    givers = [account(workshop, name, "contributor") for name in ("carl", "cleo")]
    reviewers = [account(workshop, name, "reviewer") for name in ("rita", "ron")]
    with store.connect(workshop.settings) as db:
        dataset = datasets.create(
            db, slug=SMALL, title="Short answers", purpose="Short questions about Python.",
            guidelines="One sentence or two.", licence="CC-BY-4.0", owner=curator, policy=Policy(gold_share=0),
        )["id"]  # fmt: skip
        datasets.seal_held_out(db, dataset, person=curator, rows=held_out[:HELD_OUT_ROWS])
        for place, giver in enumerate(givers):
            given = contributions.submit(
                db, dataset, person=giver, rows=rows[place:ROWS:2], source="form", licence="CC-BY-4.0", attested=True
            )
            for example_id in given.example_ids:
                for reviewer in reviewers:
                    reviews.decide(db, example_id, reviewer=reviewer, decision="accept")
        version = datasets.freeze(db, dataset, person=curator)
        assert version["row_count"] == ROWS
        return int(version["id"])


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium: the system's where there is one, else Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, workshop: Workshop) -> Iterator[Page]:
    """A new window of somebody who is not signed in."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()


def account(workshop: Workshop, name: str, *roles: str) -> Person:
    """Somebody who can sign in with PASSWORD."""
    with store.connect(workshop.settings) as db:
        return people.find(db, name) or people.create(db, name, password=PASSWORD, roles=roles)


def sign_in(page: Page, workshop: Workshop, name: str, path: str = "/") -> None:
    """Through the form, as a person does."""
    page.goto(workshop.url + path)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile(re.escape(workshop.url + path.split("?")[0])))


def title(page: Page, words: str) -> None:
    """The page with this title is the one that is shown."""
    expect(page.get_by_role("heading", name=words, exact=True)).to_be_visible()


def run_of(page: Page) -> int:
    """The id of the run whose page is open, from its address."""
    page.wait_for_url(re.compile(r"run=\d+"))
    return int(page.url.partition("run=")[2].partition("&")[0])


def slide(slider: Locator, key: str, to: str) -> None:
    """Press an arrow on a slider until it says `to`; each press waits for the value it makes."""
    expect(slider).to_be_enabled(timeout=MOMENT)
    for _ in range(40):
        shown = slider.get_attribute("aria-valuetext")
        if shown == to:
            return
        slider.press(key)
        expect(slider).not_to_have_attribute("aria-valuetext", str(shown), timeout=MOMENT)
    raise AssertionError(f"{shown} never became {to}")
