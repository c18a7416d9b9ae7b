from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Conflict, Invalid
from factory.base.settings import ROOT, Settings
from factory.training import checkpoints, models, runs, worker
from factory.training.recipes import Recipe
from tests import trained

TINY = Recipe(base_model="tiny", rank=4, epochs=3, effective_batch=1, evaluations=2, early_stopping_patience=0)
TRAIN = """
import sys, torch
torch.set_num_threads(1)
from factory.base import settings, store
from factory.training import worker
found = settings.load()
with store.connect(found) as db:
    print(worker.train_run(db, found, int(sys.argv[1])))
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    return {"builder": builder, "version": version}


def queued(db: Database, settings: Settings, house: dict[str, Any], recipe: Recipe = TINY) -> int:
    return runs.create(db, person=house["builder"], version_id=house["version"]["id"], settings=settings, recipe=recipe)


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} seconds")


def start(run_id: int, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", TRAIN, str(run_id)], cwd=ROOT, env={**os.environ, **environment})


def test_a_run_is_trained_told_and_measured(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    assert worker.train_run(db, settings, run_id) == "done"
    run = runs.get(db, run_id)
    assert (run["status"], run["steps_done"], run["steps_total"]) == ("done", 9, 9)
    curves = runs.metrics(
        db, run_id, ["loss", "held_out_loss", "learning_rate", "gradient_norm", "tokens_per_second", "memory_bytes"]
    )
    assert [step for step, _ in curves["loss"]] == list(range(1, 10))
    assert [step for step, _ in curves["held_out_loss"]] == [0, 3, 6, 9]
    assert all(len(curves[name]) == 9 for name in ("learning_rate", "gradient_norm", "tokens_per_second", "memory_bytes"))
    assert set(run["measured"]) >= {"memory_bytes", "seconds", "disk_bytes", "steps", "tokens_per_second"}
    assert run["manifest"]["dtype"] == models.device_and_dtype()["dtype"]
    assert checkpoints.weights_to_keep(settings.runs / run["folder"])[1] in (0, 3, 6, 9)
    assert run["held_out_loss"] == min(value for _, value in curves["held_out_loss"])


def test_a_second_start_of_the_same_run_is_refused(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    with worker.holding(db, settings, run_id), pytest.raises(Conflict, match="running, not queued"):
        worker.train_run(db, settings, run_id)
    with pytest.raises(Conflict, match="done, not queued"):
        worker.train_run(db, settings, run_id)


def test_the_heart_beats_while_a_step_takes_long(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    with worker.holding(db, settings, run_id):
        first = runs.get(db, run_id)["heartbeat_at"]
        until(lambda: runs.get(db, run_id)["heartbeat_at"] > first, seconds=5)


def test_a_failure_is_told_in_its_own_words_and_a_bug_as_one(db: Database, settings: Settings, house: Any) -> None:
    first, second = queued(db, settings, house), queued(db, settings, house)
    with pytest.raises(Invalid), worker.holding(db, settings, first):
        raise Invalid("The rows are too long.")
    with pytest.raises(ZeroDivisionError), worker.holding(db, settings, second):
        print(1 / 0)
    assert (runs.get(db, first)["status"], runs.get(db, first)["error"]) == ("failed", "The rows are too long.")
    assert "ZeroDivisionError" in runs.get(db, second)["error"]


def test_a_base_model_that_was_replaced_is_not_trained_on(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    path = settings.models / "tiny" / "model.json"
    path.write_text(path.read_text().replace(models.get(settings, "tiny")["hash"], "0" * 64))
    with pytest.raises(Conflict, match="was replaced"):
        worker.train_run(db, settings, run_id)
    assert runs.get(db, run_id)["status"] == "failed"


def test_rows_that_cannot_be_trained_on_are_left_out_and_said(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house, dataclasses.replace(TINY, max_length=64, system_prompt="words " * 60))
    with pytest.raises(Invalid, match="max_length"):
        worker.train_run(db, settings, run_id)
    short = queued(db, settings, house, dataclasses.replace(TINY, max_length=64, system_prompt="word " * 32))
    worker.train_run(db, settings, short)
    assert any("cut short" in event["words"] for event in runs.events(db, short))


def test_a_pause_is_followed_and_resumed_to_the_same_losses(db: Database, settings: Settings, house: Any) -> None:
    whole, paused = queued(db, settings, house), queued(db, settings, house)
    worker.train_run(db, settings, whole)
    asker = threading.Thread(target=ask_when_running, args=(settings, paused, house["builder"]))
    asker.start()
    assert worker.train_run(db, settings, paused) == "paused"
    asker.join()
    assert runs.get(db, paused)["steps_done"] < 9
    runs.resume(db, paused, person=house["builder"])
    assert worker.train_run(db, settings, paused) == "done"
    ours, theirs = (runs.metrics(db, run_id, ["loss", "held_out_loss"]) for run_id in (paused, whole))
    for name in ("loss", "held_out_loss"):
        assert [step for step, _ in ours[name]] == [step for step, _ in theirs[name]]
        assert [value for _, value in ours[name]] == pytest.approx([value for _, value in theirs[name]], abs=1e-5)


def ask_when_running(settings: Settings, run_id: int, builder: Any) -> None:
    with store.connect(settings) as db:
        until(lambda: runs.get(db, run_id)["status"] == "running")
        runs.ask(db, run_id, "pause", person=builder)


@pytest.mark.slow
def test_a_trainer_killed_with_9_is_noticed_at_once_and_goes_on_to_the_same_losses(
    db: Database, settings: Settings, house: Any
) -> None:
    long = dataclasses.replace(TINY, epochs=20, max_steps=40, checkpoint_steps=4)
    whole, killed = queued(db, settings, house, long), queued(db, settings, house, long)
    worker.train_run(db, settings, whole)
    process = start(killed)
    until(lambda: runs.get(db, killed)["steps_done"] >= 10)
    process.kill()
    process.wait()
    began = time.monotonic()
    until(lambda: runs.reap(db) == [killed], seconds=30)
    assert time.monotonic() - began < 30
    run = runs.get(db, killed)
    assert (run["status"], run["wish"], run["retries"]) == ("queued", None, 1), "without a hand's help"
    assert run["steps_done"] < 40
    assert worker.train_run(db, settings, killed) == "done"
    ours, theirs = (runs.metrics(db, run_id, ["loss", "held_out_loss"]) for run_id in (killed, whole))
    for name in ("loss", "held_out_loss"):
        assert [step for step, _ in ours[name]] == [step for step, _ in theirs[name]]
        assert [value for _, value in ours[name]] == pytest.approx([value for _, value in theirs[name]], abs=1e-5)


@pytest.mark.slow
def test_smollm_killed_in_the_middle_of_six_steps_resumes_to_the_same_losses(
    db: Database, settings: Settings, base_models: Path
) -> None:
    trained.home_model(settings, base_models / models.DEFAULT)
    builder, _, version = trained.frozen_version(db)
    recipe = Recipe(
        rank=8, epochs=20, effective_batch=2, max_steps=6, evaluations=0, checkpoint_steps=2, early_stopping_patience=0
    )
    made = [runs.create(db, person=builder, version_id=version["id"], settings=settings, recipe=recipe) for _ in range(2)]
    first = start(made[0])
    assert first.wait(120) == 0
    second = start(made[1])
    until(lambda: runs.get(db, made[1])["steps_done"] >= 3, seconds=120)
    second.kill()
    second.wait()
    assert runs.reap(db) == [made[1]]
    assert start(made[1]).wait(120) == 0
    ours, theirs = (runs.metrics(db, run_id, ["loss", "held_out_loss"]) for run_id in made)
    assert len(ours["loss"]) == 6
    for name in ("loss", "held_out_loss"):
        assert [step for step, _ in ours[name]] == [step for step, _ in theirs[name]]
        assert [value for _, value in ours[name]] == pytest.approx([value for _, value in theirs[name]], abs=1e-5)
    assert ours["held_out_loss"][-1][1] < ours["held_out_loss"][0][1]


def test_one_worker_an_installation_and_anybody_can_see_whether_it_lives(settings: Settings) -> None:
    assert not worker.alive(settings)
    stop = threading.Event()
    thread = threading.Thread(target=worker.work_forever, args=(settings,), kwargs={"poll_seconds": 0.05, "stop": stop})
    thread.start()
    try:
        until(lambda: worker.alive(settings), seconds=10)
        with pytest.raises(Conflict, match="already at work"):
            worker.work_forever(settings, stop=stop)
    finally:
        stop.set()
        thread.join()
    assert not worker.alive(settings)


def test_a_worker_in_turn_takes_over_when_the_other_has_ended_and_leaves_when_it_is_told_to(settings: Settings) -> None:
    stops = [threading.Event() for _ in range(3)]
    begun: list[int] = []  # what a worker does besides, it does in its turn only

    def also(_: Settings, stop: threading.Event) -> None:
        begun.append(stops.index(stop))

    first, second, third = (
        threading.Thread(
            target=worker.work_forever,
            args=(settings,),
            kwargs={"poll_seconds": 0.05, "stop": stop, "in_turn": True, "also": also},
        )
        for stop in stops
    )
    first.start()
    until(lambda: worker.alive(settings))
    second.start()
    third.start()
    stops[2].set()
    third.join(10)
    assert not third.is_alive()
    assert begun == [0]
    stops[0].set()
    first.join(10)
    until(lambda: worker.alive(settings))
    assert second.is_alive()
    until(lambda: begun == [0, 1])
    stops[1].set()
    second.join(10)
    assert not worker.alive(settings)


def test_a_trainer_that_cannot_begin_fails_its_run_and_the_queue_goes_on(
    db: Database, settings: Settings, house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = queued(db, settings, house)
    monkeypatch.setenv("PYTHONHOME", "/nonexistent")  # no Python starts like this
    run = runs.get(db, run_id)
    trainer = worker.start_trainer(settings, run)
    monkeypatch.delenv("PYTHONHOME")
    trainer.wait(30)
    assert worker._look_round(db, settings, (run, trainer), {}) is None
    run = runs.get(db, run_id)
    assert run["status"] == "failed"
    assert "before it began" in run["error"]


@pytest.mark.slow
def test_a_worker_that_dies_leaves_its_trainer_and_the_next_one_finds_it(
    db: Database, settings: Settings, house: Any
) -> None:
    long = dataclasses.replace(TINY, epochs=20, max_steps=60)
    first, second = queued(db, settings, house, long), queued(db, settings, house, dataclasses.replace(TINY, max_steps=2))
    command = [sys.executable, "-c", "from factory.base import settings; from factory.training import worker;"
               " worker.work_forever(settings.load(), poll_seconds=0.2)"]  # fmt: skip
    one = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    pid = until(lambda: runs.get(db, first)["pid"])
    one.kill()
    one.wait()
    assert psutil.pid_exists(pid)
    assert (settings.runs / "run-1" / "log.txt").exists()
    two = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        until(lambda: runs.get(db, first)["status"] == "done" or runs.get(db, first)["stage"] != "train", seconds=120)
        assert runs.get(db, second)["status"] == "queued", "one trainer at a time"
        until(lambda: runs.get(db, second)["status"] == "done", seconds=240)
        assert runs.get(db, first)["status"] == "done"
    finally:
        two.send_signal(signal.SIGTERM)
        assert two.wait(10) == 0
