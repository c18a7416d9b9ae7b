"""Noticing a process that lives and does nothing: no heartbeat, or heartbeats but nothing further for far too long.

The watcher counts with its own clock, from when it first saw a run as it still is. So a machine that slept, or a clock that
was moved, makes no run look stuck.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
from sqlite_utils import Database

from factory.base import store
from factory.training import runs

END_SECONDS = 5.0


@dataclass(frozen=True)
class Patience:
    """How long, in seconds, a run may look the same before it counts as stuck."""

    heartbeat: float = 300.0  # the heart beats every two seconds, in a thread of its own
    step: float = 900.0  # between two steps, at least
    paces: float = 30.0  # and never less than so many of its own steps
    other: float = 3600.0  # while it loads, and in the stages after training


@dataclass(frozen=True)
class Sight:
    """A run as it was seen, and the watcher's own time since when it looks like that."""

    attempt: int
    heartbeat: tuple[float, float]  # the moment in the row, and since when it has been that one
    moved: tuple[float, float]


Sights = dict[int, Sight]


def look(db: Database, sights: Sights, *, now: float | None = None) -> None:
    """Note how the running runs look now; forgets those that run no longer."""
    now = time.monotonic() if now is None else now
    running = {run["id"]: run for run in runs.listing(db, status="running")}
    for gone in set(sights) - set(running):
        del sights[gone]
    for run_id, run in running.items():
        before = sights.get(run_id)
        if before is None or before.attempt != run["attempts"]:
            sights[run_id] = Sight(run["attempts"], (run["heartbeat_at"], now), (run["moved_at"], now))
            continue
        heartbeat, moved = (
            was if was[0] == run[name] else (run[name], now)
            for was, name in ((before.heartbeat, "heartbeat_at"), (before.moved, "moved_at"))
        )
        sights[run_id] = Sight(run["attempts"], heartbeat, moved)


def why_stuck(run: dict[str, Any], sight: Sight, *, patience: Patience, now: float) -> str | None:
    """What is wrong with a run that looks the same for too long, as the beginning of a sentence; None where nothing is."""
    silent, still = now - sight.heartbeat[1], now - sight.moved[1]
    if silent > patience.heartbeat:
        return f"Its process gave no sign of life for {silent:.0f} s and was ended"
    pace = run["seconds_per_step"]
    stepping = run["stage"] == "train" and pace
    if still > (max(patience.step, patience.paces * pace) if stepping else patience.other):
        usual = f", though a step takes about {pace:.1f} s," if stepping else ""
        return f"Its process lived but got no further for {still:.0f} s{usual} and was ended"
    return None


def end_the_stuck(db: Database, sights: Sights, *, patience: Patience = Patience(), now: float | None = None) -> list[int]:
    """Look, and end the processes of runs that are stuck, which are then queued again as if they had died; their ids."""
    now = time.monotonic() if now is None else now
    look(db, sights, now=now)
    ended = []
    for run_id, sight in list(sights.items()):
        run = runs.get(db, run_id)
        why = why_stuck(run, sight, patience=patience, now=now)
        if why is None or not runs.process_lives(run["pid"], run["pid_started"]):
            continue
        token = str(store.value(db, "select token from runs where id = ?", run_id))
        runs.note(db, run_id, "stuck", f"{why}.")
        _end(run)
        if runs.lost(db, run_id, token, why=why):
            ended.append(run_id)
    return ended


def _end(run: dict[str, Any]) -> None:
    with suppress(psutil.NoSuchProcess):
        psutil.Process(run["pid"]).kill()  # it does not listen any more: nothing gentler would reach it
    until = time.monotonic() + END_SECONDS
    while runs.process_lives(run["pid"], run["pid_started"]) and time.monotonic() < until:
        time.sleep(0.05)
