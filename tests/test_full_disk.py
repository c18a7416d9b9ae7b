"""A real disk that is full: the run waits for a person with a sentence, and goes on from where it stood."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from factory.base import store
from factory.base.errors import DiskFull
from factory.base.settings import ROOT, Settings
from factory.training import queue, runs, worker
from factory.training.recipes import Recipe
from tests import trained

TRAIN = """
import sys, torch
torch.set_num_threads(1)
from factory.base import settings, store
from factory.training import worker
found = settings.load()
with store.connect(found) as db:
    worker.train_run(db, found, int(sys.argv[1]))
"""
ON_A_SMALL_DISK = 'mount -t tmpfs -o size=6m none "$1" && "$2" -c "$3" "$4"; code=$?; cp -r "$1"/. "$5"; exit $code'


@pytest.fixture
def run(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    recipe = Recipe(base_model="tiny", rank=256, epochs=4, effective_batch=1, evaluations=0, early_stopping_patience=0,
                    checkpoint_steps=2)  # fmt: skip
    run_id = runs.create(db, person=builder, version_id=version["id"], recipe=recipe, settings=settings)
    return {**runs.get(db, run_id), "builder": builder}


def test_a_full_disk_pauses_the_run_with_a_sentence_and_resume_goes_on(
    db: Database, settings: Settings, run: dict[str, Any], tmp_path: Path
) -> None:
    folder, saved = settings.runs / run["folder"], tmp_path / "saved"
    folder.mkdir(parents=True)
    saved.mkdir()
    words = [str(folder), sys.executable, TRAIN, str(run["id"]), str(saved)]
    ended = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120,
    )  # fmt: skip
    if "mount" in ended.stderr or "unshare" in ended.stderr:
        pytest.skip(f"this system gives no small disk: {ended.stderr.strip()[-200:]}")
    found = runs.get(db, run["id"])
    assert found["status"] == "paused", ended.stderr[-500:]
    assert "The disk is full" in found["error"]
    assert "free some space" in found["error"]
    assert runs.reap(db) == [], "it is not tried again by itself: that would fail again"
    runs.resume(db, run["id"], person=run["builder"])
    assert worker.train_run(db, settings, run["id"]) == "done"
    assert [step for step, _ in runs.metrics(db, run["id"], ["loss"])["loss"]] == list(range(1, 13))


def test_metrics_that_cannot_be_written_pause_the_run_too(db: Database, settings: Settings, run: dict[str, Any]) -> None:
    with pytest.raises(DiskFull), worker.holding(db, settings, run["id"]):
        raise DiskFull("The disk is full, so nothing was saved; free some space and try again.")
    assert runs.get(db, run["id"])["status"] == "paused"
    runs.resume(db, run["id"], person=run["builder"])
    with pytest.raises(OSError, match="left"), worker.holding(db, settings, run["id"]):
        raise OSError(28, "No space left on device")
    assert runs.get(db, run["id"])["status"] == "paused"


def test_a_run_is_not_started_where_the_disk_has_no_room_for_it(
    db: Database, settings: Settings, run: dict[str, Any]
) -> None:
    with store.writing(db):
        db.execute("update runs set estimate = json_set(estimate, '$.disk_bytes', 1e15)")
    assert "free; make some room" in str(queue.held_up_by(db, settings, runs.get(db, run["id"])))
