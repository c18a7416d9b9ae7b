"""Drawing a map beside the app: a process of its own, seen through a small file, ended when somebody stops it."""

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
from typing import Any

import psutil
from filelock import FileLock, Timeout
from sqlite_utils import Database

from factory.base.errors import Conflict, NotFound, Unavailable
from factory.base.people import Person, need
from factory.base.settings import ROOT, Settings
from factory.intake import datasets, maps

ROLES = ("contributor", "reviewer", "curator", "builder")
TELL_EVERY_SECONDS = 0.3
DRAWN_ROWS_A_SECOND = 150.0  # for the estimate of what is left
NICENESS = 15  # pages and trainings go first


@dataclass(frozen=True)
class Drawing:
    """How far a map is: `state` is none, running, failed or ready; what is being done, rows done `of` how many."""

    state: str
    words: str = ""
    done: int = 0
    of: int = 0
    began_at: float = 0.0


def begin(db: Database, settings: Settings, dataset_id: int, *, person: Person) -> None:
    """See to it that the map of the newest version is there or being drawn, in its own process.

    For everybody with a role in the work. Raises NotAllowed, NotFound without a version, Unavailable.
    """
    need(person, *ROLES)
    if not datasets.versions(db, dataset_id):
        raise NotFound("Nothing is frozen yet, so there is nothing to draw; a map shows a frozen version.")
    if look(db, settings, dataset_id).state in ("running", "ready"):
        return
    told = path_of(settings, dataset_id)
    try:
        told.parent.mkdir(parents=True, exist_ok=True)
        slug = datasets.get(db, dataset_id)["slug"]
        command = [sys.executable, "-m", "factory", "map", slug, "--as", person.name, "--progress-to", str(told)]
        with told.with_suffix(".log").open("wb") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, "FACTORY_HOME": str(settings.home)},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
    except OSError as problem:
        raise Unavailable(
            f"The map cannot be drawn ({problem.strerror}); look at disk and memory, then try again."
        ) from problem
    told_to(told, pid=process.pid)("beginning", 0, 0)
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay in the process table


def look(db: Database, settings: Settings, dataset_id: int) -> Drawing:
    """How far the map of a dataset's newest version is."""
    if maps.due(db, dataset_id) is None:
        return Drawing("ready" if maps.latest(db, dataset_id) else "none")
    found = _told(settings, dataset_id)
    if found is None:
        return Drawing("none")
    if _lives(found):
        return Drawing("running", found["words"], found["done"], found["of"], found["began_at"])
    if maps.due(db, dataset_id) is None:  # it came in between
        return Drawing("ready")
    with suppress(OSError):
        log = path_of(settings, dataset_id).with_suffix(".log").read_text("utf-8", errors="replace").strip().splitlines()
        return Drawing("failed", log[-1] if log else "Drawing was stopped.")
    return Drawing("none")


def stop(settings: Settings, dataset_id: int, *, person: Person) -> None:
    """End the process that draws, if there is one; nothing half-drawn is left. For those who may begin it."""
    need(person, *ROLES)
    found = _told(settings, dataset_id)
    if found is not None and _lives(found):
        with suppress(ProcessLookupError):
            os.kill(found["pid"], signal.SIGTERM)


def alone(db: Database, settings: Settings, dataset_id: int, *, progress_to: Path | None, tell: maps.Progress) -> int:
    """Draw the map of the newest version in this process, the only one that does; its id.

    Raises NotFound without a version, Conflict while another process draws it.
    """
    found = datasets.versions(db, dataset_id)
    if not found:
        raise NotFound("Nothing is frozen yet, so there is nothing to draw; a map shows a frozen version.")
    if progress_to is not None:
        os.nice(NICENESS)
        tell = told_to(progress_to)
    path_of(settings, dataset_id).parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path_of(settings, dataset_id).with_suffix(".lock"), timeout=0):
            return maps.draw(db, found[0]["id"], progress=tell)
    except Timeout as problem:
        raise Conflict("This map is being drawn already; look again in a minute.") from problem


def seconds_left(now: Drawing) -> float | None:
    """How long a drawing takes on, by how long it took so far; None before that can be said.

    >>> seconds_left(Drawing("running", "reading", 0, 100, 0.0)) is None
    True
    """
    if now.words == "reading" and now.done:
        so_far = time.time() - now.began_at
        drawn = min(now.of, maps.POINTS) / DRAWN_ROWS_A_SECOND
        return so_far * (now.of - now.done) / now.done + drawn
    return None


def told_to(path: Path, *, pid: int | None = None) -> maps.Progress:
    """A progress that is written to a file: what is done, rows done, of how many, since when, by which process."""
    pid, started, told_at, began_at, told_words = pid or os.getpid(), 0.0, 0.0, time.time(), ""
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(pid).create_time()

    def tell(words: str, done: int, of: int) -> None:
        nonlocal told_at, told_words
        if words != told_words or time.monotonic() - told_at > TELL_EVERY_SECONDS:
            told_at, told_words = time.monotonic(), words
            found = {"words": words, "done": done, "of": of, "pid": pid, "started": started, "began_at": began_at}
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(found), "utf-8")
            os.replace(draft, path)

    return tell


def path_of(settings: Settings, dataset_id: int) -> Path:
    """The file through which a drawing is seen."""
    return settings.home / "maps" / f"{dataset_id}.json"


def _told(settings: Settings, dataset_id: int) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path_of(settings, dataset_id).read_text("utf-8"))
        return found
    except (OSError, ValueError):
        return None


def _lives(found: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(found["pid"])
        return process.create_time() == found["started"] and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
