"""A process that lives and does nothing is noticed, said, and ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlite_utils import Database

from factory.base import store
from factory.base.settings import ROOT, Settings
from factory.training import runs, watch
from factory.training.recipes import Recipe
from tests import trained

STUCK = """
import sys, threading
from factory.base import settings, store
from factory.training import runs, worker
found = settings.load()
with store.connect(found) as db, worker.holding(db, found, int(sys.argv[1])):
    print("held", flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def run_id(db: Database, settings: Settings, tiny_model: Path) -> int:
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    recipe = Recipe(base_model="tiny", rank=4)
    return runs.create(db, person=builder, version_id=version["id"], recipe=recipe, settings=settings)


def test_a_trainer_whose_heart_beats_but_that_makes_no_step_is_ended_and_its_run_goes_on(
    db: Database, settings: Settings, run_id: int
) -> None:
    process = subprocess.Popen([sys.executable, "-c", STUCK, str(run_id)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    sights: watch.Sights = {}
    assert watch.end_the_stuck(db, sights, now=0.0) == []
    with store.writing(db):  # its heart beat meanwhile
        db.execute("update runs set heartbeat_at = heartbeat_at + 1")
    assert watch.end_the_stuck(db, sights, now=3599.0) == []
    with store.writing(db):
        db.execute("update runs set heartbeat_at = heartbeat_at + 1")
    assert watch.end_the_stuck(db, sights, now=3601.0) == [run_id]
    assert process.wait(10) == -9
    run = runs.get(db, run_id)
    assert (run["status"], run["retries"]) == ("queued", 1)
    words = [event["words"] for event in runs.events(db, run_id) if event["kind"] == "stuck"]
    assert words == ["Its process lived but got no further for 3601 s and was ended."]


def sight(**changes: Any) -> watch.Sight:
    return watch.Sight(**({"attempt": 1, "heartbeat": (1.0, 0.0), "moved": (1.0, 0.0)} | changes))


def test_patience_follows_a_runs_own_pace_and_a_missing_heartbeat_has_less() -> None:
    patience = watch.Patience()
    slow = {"stage": "train", "seconds_per_step": 120.0}
    quick = {"stage": "train", "seconds_per_step": 0.5}
    beating = {"heartbeat": (9.0, 3000.0)}
    assert watch.why_stuck(slow, sight(**beating), patience=patience, now=3100.0) is None
    assert "usually" not in str(watch.why_stuck(quick, sight(**beating), patience=patience, now=3100.0))
    assert "a step takes about 0.5 s" in str(watch.why_stuck(quick, sight(**beating), patience=patience, now=3100.0))
    assert watch.why_stuck({**quick, "stage": "evaluate"}, sight(**beating), patience=patience, now=3100.0) is None
    assert "no sign of life" in str(watch.why_stuck(slow, sight(), patience=patience, now=301.0))


def test_a_machine_that_slept_makes_no_run_look_stuck(db: Database, run_id: int) -> None:
    runs.claim(db)
    sights: watch.Sights = {}
    with store.writing(db):  # hours ago by the wall clock, a moment by the watcher's own
        db.execute("update runs set heartbeat_at = heartbeat_at - 36000, moved_at = moved_at - 36000")
    assert watch.end_the_stuck(db, sights, now=0.0) == []
    assert watch.end_the_stuck(db, sights, now=10.0) == []
    assert runs.get(db, run_id)["status"] == "running"
    assert psutil.Process().is_running()
