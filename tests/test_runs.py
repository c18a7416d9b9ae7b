from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.base.settings import ROOT, Settings
from factory.intake import datasets
from factory.training import runs
from factory.training.recipes import Recipe
from tests import trained

TINY = Recipe(base_model="tiny", rank=4)


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    """A builder, a frozen version of three rows and a tiny base model."""
    trained.home_model(settings, tiny_model)
    builder, ada, version = trained.frozen_version(db)
    return {"builder": builder, "ada": ada, "version": version}


def queued(db: Database, settings: Settings, house: dict[str, Any], **changes: Any) -> int:
    return runs.create(
        db, person=house["builder"], version_id=house["version"]["id"], settings=settings, **{"recipe": TINY, **changes}
    )


def a_dead_process() -> tuple[int, float]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(process.pid).create_time()
    process.communicate(b"\n")
    return process.pid, started


def test_a_run_stores_what_is_needed_to_do_it_again_before_it_starts(db: Database, settings: Settings, house: Any) -> None:
    run = runs.get(db, queued(db, settings, house, name="  my   run "))
    assert (run["name"], run["status"], run["recipe"]) == ("my run", "queued", TINY)
    assert run["version_root"] == house["version"]["root"]
    assert run["held_out_root"] == house["version"]["held_out_root"]
    assert {"python", "libraries", "template_hash", "recipe_hash", "dtype", "cores"} <= set(run["manifest"])
    assert run["manifest"]["libraries"]["torch"]
    assert run["model_hash"] == run["manifest"]["model_hash"]
    assert run["estimate"]["steps"] == run["steps_total"] == 2
    assert run["measured"] is None
    assert "token" not in run


def test_a_recipe_out_of_range_is_refused_with_every_problem(db: Database, settings: Settings, house: Any) -> None:
    with pytest.raises(Invalid) as refused:
        queued(db, settings, house, recipe=dataclasses.replace(TINY, rank=5, dropout=2.0, seed=-1))
    assert len(refused.value.problems) == 3
    with pytest.raises(Invalid) as refused:
        queued(db, settings, house, recipe=dataclasses.replace(TINY, max_length=32768), name="x" * 81)
    assert len(refused.value.problems) == 2
    with pytest.raises(NotFound, match="models fetch"):
        queued(db, settings, house, recipe=Recipe(base_model="../../etc"))
    with pytest.raises(NotFound):
        runs.create(db, person=house["builder"], version_id=99, recipe=TINY, settings=settings)
    assert runs.listing(db) == []


def test_only_builders_start_runs_and_only_their_own_can_be_changed(db: Database, settings: Settings, house: Any) -> None:
    with pytest.raises(NotAllowed, match="builder"):
        runs.create(db, person=house["ada"], version_id=house["version"]["id"], recipe=TINY, settings=settings)
    run_id = queued(db, settings, house)
    stranger = people.create(db, "stranger", roles=("builder",))
    for change in (runs.cancel, runs.resume, lambda *a, **k: runs.ask(*a, "stop", **k)):
        with pytest.raises(NotAllowed, match="admin"):
            change(db, run_id, person=stranger)
    runs.cancel(db, run_id, person=people.create(db, "boss", roles=("admin",)))
    assert runs.get(db, run_id)["status"] == "cancelled"


CLAIM = """
import sys
from factory.base import store
from factory.training import runs
with store.connect() as db:
    sys.stdin.readline()
    run = runs.claim(db, run_id=int(sys.argv[1]))
    print(run["token"] if run else "")
"""


def test_of_six_processes_that_claim_a_run_at_once_one_gets_it(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(run_id)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    got = [process.communicate("\n", timeout=60)[0].strip() for process in processes]
    assert sum(bool(token) for token in got) == 1
    assert runs.get(db, run_id)["status"] == "running"
    assert runs.reap(db) == [run_id], "and that process is gone by now"


def test_the_queue_is_taken_in_order_and_a_second_claim_of_a_run_fails(db: Database, settings: Settings, house: Any) -> None:
    first, second = queued(db, settings, house), queued(db, settings, house)
    assert [run["id"] for run in runs.listing(db)] == [first, second]
    claimed = runs.claim(db)
    assert claimed is not None
    assert claimed["id"] == first
    assert runs.claim(db, run_id=first) is None
    assert [run["status"] for run in runs.listing(db)] == ["running", "queued"]
    assert (runs.claim(db) or {})["id"] == second
    assert runs.claim(db) is None


def test_who_lost_a_run_can_write_nothing_for_it(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    old = (runs.claim(db) or {})["token"]
    runs.end(db, run_id, old, "paused")
    runs.resume(db, run_id, person=house["builder"])
    claimed = runs.claim(db)
    assert claimed is not None
    for write in (
        lambda: runs.heartbeat(db, run_id, old),
        lambda: runs.record(db, run_id, old, {"loss": 9.0}, step=1),
        lambda: runs.set_stage(db, run_id, old, "pay"),
        lambda: runs.end(db, run_id, old, "done"),
    ):
        with pytest.raises(Conflict, match="no longer belongs"):
            write()
    assert runs.metrics(db, run_id, ["loss"]) == {"loss": []}
    runs.record(db, run_id, claimed["token"], {"loss": 1.0}, step=1)


def test_a_step_told_twice_is_kept_once_and_numbers_that_are_none_are_left_out(
    db: Database, settings: Settings, house: Any
) -> None:
    run_id = queued(db, settings, house)
    token = (runs.claim(db) or {})["token"]
    runs.record(db, run_id, token, {"loss": 2.0, "held_out_loss": None}, step=1)
    runs.record(db, run_id, token, {"loss": 3.0, "held_out_loss": float("nan"), "gradient_norm": float("inf")}, step=1)
    assert runs.metrics(db, run_id, ["loss", "held_out_loss", "gradient_norm"]) == {
        "loss": [(1, 2.0)], "held_out_loss": [], "gradient_norm": [],
    }  # fmt: skip
    assert runs.get(db, run_id)["steps_done"] == 1


def lose(db: Database, run_id: int) -> None:
    """Give a running run to a process that is dead already, and notice that."""
    pid, started = a_dead_process()
    with store.writing(db):
        db.execute("update runs set pid = ?, pid_started = ? where id = ?", [pid, started, run_id])
    assert runs.reap(db) == [run_id]


def test_a_run_whose_process_is_gone_goes_back_to_the_queue_by_itself(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    runs.claim(db)
    assert runs.reap(db) == [], "this process lives"
    lose(db, run_id)
    run = runs.get(db, run_id)
    assert (run["status"], run["retries"], run["error"]) == ("queued", 1, None)
    assert run["not_before"] > store.now(), "it waits a moment, so that nothing spins"
    assert runs.next_in_line(db) is None
    assert [event["kind"] for event in runs.events(db, run_id)] == ["queued", "started", "retry"]
    assert "retry 1 of 3" in runs.events(db, run_id)[-1]["words"]


def test_a_run_that_is_lost_at_the_same_place_again_and_again_waits_for_a_person(
    db: Database, settings: Settings, house: Any
) -> None:
    run_id = queued(db, settings, house)
    for _ in range(runs.RETRIES + 1):
        assert runs.claim(db, run_id=run_id)
        lose(db, run_id)
    run = runs.get(db, run_id)
    assert run["status"] == "interrupted"
    assert "4th time in a row" in run["error"]
    runs.resume(db, run_id, person=house["builder"])
    assert (runs.get(db, run_id)["retries"], runs.get(db, run_id)["error"]) == (0, None)


def test_who_gets_further_each_time_is_never_given_up(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    for step in range(1, 2 * runs.RETRIES + 2):
        token = (runs.claim(db, run_id=run_id) or {})["token"]
        runs.record(db, run_id, token, {"loss": 1.0}, step=step)
        lose(db, run_id)
        assert (runs.get(db, run_id)["status"], runs.get(db, run_id)["retries"]) == ("queued", 1)


def test_what_a_person_wished_outlives_the_process_that_should_have_done_it(
    db: Database, settings: Settings, house: Any
) -> None:
    stopping, pausing = queued(db, settings, house), queued(db, settings, house)
    for run_id, wish in ((stopping, "stop"), (pausing, "pause")):
        runs.claim(db, run_id=run_id)
        runs.ask(db, run_id, wish, person=house["builder"])
        lose(db, run_id)
    assert runs.get(db, pausing)["status"] == "paused"
    assert runs.get(db, stopping)["status"] == "queued"
    assert (runs.claim(db, run_id=stopping) or {})["wish"] == "stop"


def test_a_recipe_that_fails_is_not_tried_again_by_itself(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    token = (runs.claim(db) or {})["token"]
    runs.end(db, run_id, token, "failed", error="At step 3 the loss is no longer a number.")
    assert runs.reap(db) == []
    assert runs.get(db, run_id)["status"] == "failed"


def test_a_trainer_that_fell_before_its_claim_fails_the_run_unless_another_took_it_since(
    db: Database, settings: Settings, house: Any
) -> None:
    run_id = queued(db, settings, house)
    runs.claim(db)
    lose(db, run_id)
    runs.abandon(db, run_id, "no words", attempt=0)
    assert runs.get(db, run_id)["status"] == "queued"
    runs.abandon(db, run_id, "no words", attempt=1)
    assert runs.get(db, run_id)["status"] == "failed"


REUSED = """
import os, sys
sys.path.insert(0, os.getcwd())
from pathlib import Path
import psutil
from factory.training import device
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
first = os.fork()
if not first:
    import signal; signal.pause()
started = psutil.Process(first).create_time()
assert device.process_lives(first, started)
os.kill(first, 9); os.waitpid(first, 0)
assert not device.process_lives(first, started)
import time; time.sleep(2.2)
Path("/proc/sys/kernel/ns_last_pid").write_text(str(first - 1))
second = os.fork()
if not second:
    import signal; signal.pause()
print("same pid", second == first, "alive", psutil.pid_exists(first), "mistaken", device.process_lives(first, started))
os.kill(second, 9)
"""


def test_a_pid_that_the_system_gave_to_another_process_is_not_mistaken() -> None:
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", sys.executable, "-c", REUSED]
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        pytest.skip("this system has no unshare, so a pid cannot be chosen")
    if ended.returncode and "Traceback" not in ended.stderr:
        pytest.skip(f"this system gives no pids of one's own: {ended.stderr.strip()}")
    assert ended.stdout.strip() == "same pid True alive True mistaken False", ended.stderr


def test_a_pid_that_another_process_has_by_now_is_not_mistaken_for_the_run(
    db: Database, settings: Settings, house: Any
) -> None:
    run_id = queued(db, settings, house)
    runs.claim(db)
    with store.writing(db):
        db.execute("update runs set pid_started = pid_started - 3600 where id = ?", [run_id])
    assert runs.reap(db) == [run_id]


def test_a_dead_child_that_nobody_waited_for_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    found = psutil.Process(process.pid)
    started = found.create_time()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not runs.process_lives(process.pid, started)
    process.wait()


def test_wishes_reach_a_training_run_and_no_other(db: Database, settings: Settings, house: Any) -> None:
    run_id, builder = queued(db, settings, house), house["builder"]
    with pytest.raises(Conflict, match="queued"):
        runs.ask(db, run_id, "stop", person=builder)
    with pytest.raises(Conflict, match="queued"):
        runs.resume(db, run_id, person=builder)
    token = (runs.claim(db) or {})["token"]
    with pytest.raises(Conflict, match="running"):
        runs.cancel(db, run_id, person=builder)
    with pytest.raises(Invalid):
        runs.ask(db, run_id, "dance", person=builder)
    assert runs.wish(db, run_id) is None
    runs.ask(db, run_id, "pause", person=builder)
    assert runs.wish(db, run_id) == "pause"
    runs.set_stage(db, run_id, token, "evaluate")
    with pytest.raises(Conflict, match="past its training"):
        runs.ask(db, run_id, "stop", person=builder)
    runs.end(db, run_id, token, "done")
    assert runs.wish(db, run_id) is None
    with pytest.raises(Conflict, match="done"):
        runs.resume(db, run_id, person=builder)


def test_a_long_curve_is_thinned_and_keeps_its_ends(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    runs.claim(db)
    with store.writing(db):
        for step in range(1, 5001):
            store.insert(db, "metrics", {"run_id": run_id, "name": "loss", "step": step, "value": 1 / step, "at": 1.0})
    curve = runs.metrics(db, run_id, ["loss"], points=100)["loss"]
    assert 90 <= len(curve) <= 102
    assert (curve[0], curve[-1]) == ((1, 1.0), (5000, 1 / 5000))
    assert len(runs.metrics(db, run_id, ["loss"], points=9000)["loss"]) == 5000


def test_what_was_measured_stands_beside_what_was_predicted(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    token = (runs.claim(db) or {})["token"]
    steps = runs.get(db, run_id)["steps_total"]
    measured = {"memory_bytes": 2**30, "seconds": 60.0, "disk_bytes": 2**20, "steps": steps, "tokens_per_second": 50.0}
    runs.heartbeat(db, run_id, token, measured=measured, manifest={"device": "cpu"})
    run = runs.get(db, run_id)
    assert run["manifest"]["device"] == "cpu"
    assert run["manifest"]["seed"] == 42
    assert [row["measured"] for row in runs.predicted_against_measured(run)] == [1024.0, 60.0, 1.0, steps, 50.0]
    guess = runs.estimate_for(db, settings, version_id=house["version"]["id"], recipe=TINY)
    assert "an earlier run of this very choice" in guess.sure
    assert guess.seconds == pytest.approx(60.0, rel=0.15)


def test_the_time_left_follows_the_steps_that_were_made(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house, recipe=dataclasses.replace(TINY, epochs=20, effective_batch=1))
    assert runs.seconds_left(runs.get(db, run_id)) == pytest.approx(runs.get(db, run_id)["estimate"]["seconds"])
    runs.claim(db)
    with store.writing(db):
        for step in range(1, 41):
            store.insert(
                db, "metrics", {"run_id": run_id, "name": "loss", "step": step, "value": 1.0, "at": store.now() + 3 * step}
            )
        db.execute("update runs set steps_done = 40 where id = ?", [run_id])
    run = runs.get(db, run_id)
    assert run["steps_total"] == 60
    assert runs.seconds_left(run) == pytest.approx(60.0, abs=0.01)  # the clock goes on meanwhile


def test_estimates_come_without_torch_and_at_once_after_the_first(db: Database, settings: Settings, house: Any) -> None:
    import time

    runs.estimate_for(db, settings, version_id=house["version"]["id"], recipe=TINY)
    began = time.perf_counter()
    for rank in (4, 8, 16, 32, 64):
        runs.estimate_for(db, settings, version_id=house["version"]["id"], recipe=dataclasses.replace(TINY, rank=rank))
    assert (time.perf_counter() - began) / 5 < 0.05


def test_the_log_is_read_from_its_end_and_from_nowhere_else(settings: Settings) -> None:
    folder = settings.runs / "run-1"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("x\n" * 100_000 + "bar 1%\rbar 100%\nlast\n")
    assert runs.log_tail(settings, "run-1", lines=2) == "bar 100%\nlast"
    assert runs.log_tail(settings, "run-2") == ""
    (settings.home / "log.txt").write_text("secret")
    assert runs.log_tail(settings, "../") == ""


def test_an_unknown_run_is_not_found(db: Database) -> None:
    assert runs.find(db, 7) is None
    with pytest.raises(NotFound, match="run 7"):
        runs.get(db, 7)


def test_a_version_without_a_held_out_set_can_be_trained(db: Database, settings: Settings, tiny_model: Path) -> None:
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db, held_out=False)
    run_id = runs.create(db, person=builder, version_id=version["id"], recipe=TINY, settings=settings)
    assert runs.get(db, run_id)["held_out_root"] is None
    assert isinstance(builder, Person)
    assert datasets.version(db, version["id"])["row_count"] == 3
