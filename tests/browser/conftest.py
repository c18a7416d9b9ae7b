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
from playwright.sync_api import Browser, Page, sync_playwright

from factory.adapters import talk
from factory.base.settings import ROOT, Settings

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]  # fmt: skip


@dataclass(frozen=True)
class Workshop:
    """A running app: where it is, where its data lies, and the maintainer's one-time link."""

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
    yield Workshop(f"http://127.0.0.1:{port}", Settings(home=home, port=port), link, process)
    talk.free(Settings(home=home))
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


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
