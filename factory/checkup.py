"""What this installation stands on, looked at piece by piece, each finding with what to do about it."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import psutil
from sqlite_utils import Database

from factory.base import store
from factory.base.settings import Settings
from factory.terminal import size
from factory.training import models, worker

NEEDED_DISK, NEEDED_MEMORY = 2 * 2**30, 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `state` is good, note or bad; the sentence says what to do unless it is good."""

    about: str
    state: str
    sentence: str


def findings(db: Database, settings: Settings) -> list[Finding]:
    """Every finding about this installation, in the order in which one would mend them."""
    return [
        *_python(),
        *_room(settings),
        *_libraries(),
        *_models(settings),
        *_database(db),
        _worker(db, settings),
    ]


def _python() -> Iterator[Finding]:
    where = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.prefix == sys.base_prefix:
        yield Finding("python", "note", f"{where}, outside a virtual environment; `make run` makes one and uses it.")
    else:
        yield Finding("python", "good", f"{where}.")


def _room(settings: Settings) -> Iterator[Finding]:
    free = shutil.disk_usage(settings.home).free
    words = f"{size(free)} free in {settings.home}"
    if free < NEEDED_DISK:
        yield Finding("disk", "bad", f"{words}; have {size(NEEDED_DISK)}: free some, or move it with FACTORY_HOME.")
    else:
        yield Finding("disk", "good", f"{words}.")
    memory = psutil.virtual_memory()
    words = f"{size(memory.available)} of {size(memory.total)} free"
    if memory.available < NEEDED_MEMORY:
        yield Finding("memory", "note", f"{words}; close other programs, or train with fewer tokens at once.")
    else:
        yield Finding("memory", "good", f"{words}.")


def _libraries() -> Iterator[Finding]:
    for name in ("torch", "transformers", "peft", "bitsandbytes", "streamlit"):
        if find_spec(name) is None:
            sentence = f"{name} is not installed; `pip install -r requirements.txt` brings it."
            yield Finding(name, "note" if name == "bitsandbytes" else "bad", sentence)
        else:
            yield Finding(name, "good", importlib.metadata.version(name))
    if find_spec("torch"):
        found = models.device_and_dtype()
        yield Finding("hardware", "good", f"Trains on {found['device']} in {found['dtype']}: {found['why']}")


def _models(settings: Settings) -> Iterator[Finding]:
    here = [model["name"] for model in models.list_models(settings)]
    if here:
        yield Finding("base model", "good", f"{', '.join(here)}.")
    else:
        yield Finding("base model", "note", "None is here yet; `python -m factory models fetch` brings the default one.")


def _database(db: Database) -> Iterator[Finding]:
    problems = [row[0] for row in db.execute("pragma quick_check").fetchall() if row[0] != "ok"]
    orphans = db.execute("pragma foreign_key_check").fetchall()
    if problems or orphans:
        what = problems[0] if problems else f"{len(orphans)} rows point to nothing"
        yield Finding("database", "bad", f"The file is damaged ({what}); restore it from a backup.")
    else:
        people, runs = (store.value(db, f"select count(*) from {table}") for table in ("people", "runs"))
        yield Finding("database", "good", f"Sound; {people} people, {runs} runs. `verify` recomputes its contents.")


def _worker(db: Database, settings: Settings) -> Finding:
    waiting = store.value(db, "select count(*) from runs where status = 'queued'")
    if worker.alive(settings):
        return Finding("worker", "good", f"Alive; {waiting} runs wait.")
    state = "bad" if waiting else "note"
    return Finding("worker", state, f"None is alive and {waiting} runs wait; `serve` and `worker` each start one.")
