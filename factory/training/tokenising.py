"""Making token views beside a page: a process of its own, watched through a small file, ended when nobody wants it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlite_utils import Database

from factory.base.errors import Invalid, Unavailable
from factory.base.people import Person, need
from factory.base.settings import ROOT, Settings
from factory.training import recipes, runs, tokens
from factory.training.recipes import Recipe

TELL_EVERY_SECONDS = 0.3
LONGEST_SECONDS = 600.0


@dataclass(frozen=True)
class Making:
    """How far a view is: `state` is none, running, failed or ready; rows done `of` how many; `words` say what failed."""

    state: str
    done: int = 0
    of: int = 0
    words: str = ""


def begin(db: Database, settings: Settings, *, version_id: int, recipe: Recipe, person: Person) -> str:
    """See to it that the view is there or being made; its key. Needs the role builder. Raises what `tokens.key` does."""
    need(person, "builder")
    name = tokens.key(db, settings, version_id=version_id, recipe=recipe)
    if look(settings, name).state in ("running", "ready"):
        return name
    wanted, log = _beside(settings, name, ".yaml"), _beside(settings, name, ".log")
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.write_text(recipes.to_yaml(recipe), "utf-8")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "factory", "tokens", "--dataset", str(version_id), "--recipe", str(wanted),
                 "--as", person.name, "--quiet", "--progress-to", str(_beside(settings, name, ".json"))],
                cwd=ROOT, env={**os.environ, "FACTORY_HOME": str(settings.home), "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
    except OSError as problem:
        raise Unavailable(
            f"The rows cannot be tokenised ({problem.strerror}); look at disk and memory, then try again."
        ) from problem
    told_to(_beside(settings, name, ".json"), pid=process.pid)(0, 0)
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay in the process table
    return name


def look(settings: Settings, name: str) -> Making:
    """How far the view of this key is."""
    if tokens.path_of(settings, name).exists():
        return Making("ready")
    try:
        found = json.loads(_beside(settings, name, ".json").read_text("utf-8"))
    except (OSError, ValueError):
        return Making("none")
    if runs.process_lives(found["pid"], found["started"]):
        return Making("running", found["done"], found["of"])
    if tokens.path_of(settings, name).exists():  # it came in between
        return Making("ready")
    with suppress(OSError):
        lines = _beside(settings, name, ".log").read_text("utf-8", errors="replace").strip().splitlines()
        return Making("failed", words=lines[-1] if lines else "Tokenising was stopped.")
    return Making("none")


def made(
    db: Database, settings: Settings, *, version_id: int, recipe: Recipe, person: Person, seconds: float = LONGEST_SECONDS
) -> tokens.View:
    """The view, made in its own process where it is not there yet, and waited for.

    Raises what `begin` does, Invalid with what that process said, Unavailable when it takes over `seconds`.
    """
    name = begin(db, settings, version_id=version_id, recipe=recipe, person=person)
    until = time.monotonic() + seconds
    while (found := tokens.find(settings, name)) is None:
        now = look(settings, name)
        if now.state in ("failed", "none"):
            raise Invalid(now.words or "Tokenising was stopped; ask again.")
        if time.monotonic() > until:
            raise Unavailable("Tokenising takes long; it goes on, so ask again in a few minutes.")
        time.sleep(0.1)
    return found


def stop(settings: Settings, name: str) -> None:
    """End the process that makes a view, if there is one; nothing half-made is left."""
    if look(settings, name).state != "running":
        return
    found = json.loads(_beside(settings, name, ".json").read_text("utf-8"))
    with suppress(ProcessLookupError):
        os.kill(found["pid"], signal.SIGTERM)


def told_to(path: Path, *, pid: int | None = None) -> tokens.Progress:
    """A progress for `tokens.make` that is written to a file: rows done, of how many, whose process."""
    pid, started, told_at = pid or os.getpid(), 0.0, 0.0
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(pid).create_time()

    def tell(done: int, of: int) -> None:
        nonlocal told_at
        if done in (0, of) or time.monotonic() - told_at > TELL_EVERY_SECONDS:
            told_at = time.monotonic()
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps({"done": done, "of": of, "pid": pid, "started": started}))
            os.replace(draft, path)

    return tell


def _beside(settings: Settings, name: str, ending: str) -> Path:
    return tokens.path_of(settings, name).with_suffix(ending)
