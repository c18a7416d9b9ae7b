"""The queue's order, and runs made from earlier runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed
from factory.base.settings import Settings
from factory.training import checkpoints, device, queue, runs, worker
from factory.training.recipes import Recipe
from tests import trained

TINY = Recipe(base_model="tiny", rank=4, epochs=2, effective_batch=1, evaluations=1, early_stopping_patience=0)


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    other = people.create(db, "other", roles=("builder",))
    boss = people.create(db, "boss", roles=("admin", "builder"))
    return {"builder": builder, "other": other, "boss": boss, "version": version}


def queued(db: Database, settings: Settings, house: Any, *, who: str = "builder", **more: Any) -> int:
    made = {"recipe": TINY, **more}
    return runs.create(db, person=house[who], version_id=house["version"]["id"], settings=settings, **made)


def line(db: Database) -> list[int]:
    return [run["id"] for run in queue.waiting(db)]


def test_runs_are_moved_and_who_comes_later_stands_behind(db: Database, settings: Settings, house: Any) -> None:
    a, b, c = (queued(db, settings, house) for _ in range(3))
    queue.move(db, c, "up", person=house["builder"])
    assert line(db) == [a, c, b]
    queue.move(db, a, "bottom", person=house["builder"])
    assert line(db) == [c, b, a]
    queue.move(db, a, "top", person=house["builder"])
    queue.move(db, c, "down", person=house["builder"])
    assert line(db) == [a, b, c]
    queue.move(db, a, "up", person=house["builder"])
    queue.move(db, c, "down", person=house["builder"])
    assert line(db) == [a, b, c], "the ends are ends"
    d = queued(db, settings, house)
    assert line(db) == [a, b, c, d]
    queue.put_in_order(db, [d, b], person=house["builder"])
    assert line(db) == [d, b, a, c]
    assert (runs.claim(db) or {})["id"] == d
    with pytest.raises(Conflict, match="running"):
        queue.move(db, d, "up", person=house["builder"])
    for wrong in ([a, a], [a, d]):
        with pytest.raises((Invalid, Conflict)):
            queue.put_in_order(db, wrong, person=house["builder"])
    with pytest.raises(Invalid, match="sideways"):
        queue.move(db, a, "sideways", person=house["builder"])


def test_nobody_passes_somebody_else_but_an_admin(db: Database, settings: Settings, house: Any) -> None:
    mine, theirs, mine_too = (
        queued(db, settings, house),
        queued(db, settings, house, who="other"),
        queued(db, settings, house),
    )
    queue.move(db, mine_too, "top", person=house["builder"])
    assert line(db) == [mine_too, theirs, mine], "the middle place stays the other's"
    with pytest.raises(NotAllowed):
        queue.move(db, theirs, "top", person=house["builder"])
    queue.move(db, theirs, "top", person=house["boss"])
    assert line(db) == [theirs, mine_too, mine]


def test_a_higher_priority_goes_first_and_the_top_waits_for_no_moment(db: Database, settings: Settings, house: Any) -> None:
    trial, usual = queued(db, settings, house, priority=-1), queued(db, settings, house)
    assert line(db) == [usual, trial]
    with store.writing(db):
        db.execute("update runs set not_before = ? where id = ?", [store.now() + 100, usual])
    assert runs.next_in_line(db) == trial, "who waits lets others pass"
    assert "waits" in str(queue.held_up_by(db, settings, runs.get(db, usual)))
    queue.move(db, usual, "top", person=house["builder"])
    assert runs.next_in_line(db) == usual
    assert queue.held_up_by(db, settings, runs.get(db, usual)) is None


def test_a_clone_differs_by_what_was_changed_and_says_so(db: Database, settings: Settings, house: Any) -> None:
    first = queued(db, settings, house, name="haiku")
    second = queue.clone(db, settings, first, person=house["builder"], changes={"rank": 8})
    run = runs.get(db, second)
    assert (run["parent_run_id"], run["name"], run["recipe"].alpha) == (first, "haiku; rank 8", 16)
    assert queue.difference(db, run) == [("rank", 4, 8)], "alpha only follows"
    assert queue.difference(db, runs.get(db, first)) == []
    third = queue.clone(db, settings, second, person=house["other"], changes={"learning_rate": 1e-3})
    assert runs.get(db, third)["name"] == "haiku; learning rate 0.001"
    with pytest.raises(Invalid, match="rnk"):
        queue.clone(db, settings, first, person=house["builder"], changes={"rnk": 8})
    with pytest.raises(Invalid, match="rank is 5"):
        queue.clone(db, settings, first, person=house["builder"], changes={"rank": 5})


def test_a_run_extended_at_a_constant_rate_is_the_longer_run(db: Database, settings: Settings, house: Any) -> None:
    steady = dataclasses.replace(TINY, schedule="constant", warmup_ratio=0.0, evaluations=0, learning_rate=1e-3)
    whole = queued(db, settings, house, recipe=dataclasses.replace(steady, epochs=4))
    first = queued(db, settings, house, recipe=steady)
    with pytest.raises(Conflict, match="queued"):
        queue.extend(db, settings, first, person=house["builder"])
    for run_id in (whole, first):
        worker.train_run(db, settings, run_id)
    longer = queue.extend(db, settings, first, person=house["builder"], epochs=2)
    run = runs.get(db, longer)
    assert (run["parent_run_id"], run["starts_from"], run["steps_done"], run["recipe"].epochs) == (first, first, 6, 4.0)
    assert "stays at 0.001" in runs.events(db, longer)[-1]["words"]
    assert worker.train_run(db, settings, longer) == "done"
    ours, theirs = (runs.metrics(db, run_id, ["loss"])["loss"] for run_id in (longer, whole))
    assert [step for step, _ in ours] == [step for step, _ in theirs] == list(range(1, 13))
    assert [value for _, value in ours] == pytest.approx([value for _, value in theirs], abs=1e-5)
    assert checkpoints.newest(settings.runs / runs.get(db, first)["folder"])[1].step == 6, "the old run stays as it is"  # type: ignore[index]


def test_the_rate_of_an_extension_is_told_as_it_is(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    with pytest.raises(Conflict):
        queue.extended(db, settings, run_id)
    worker.train_run(db, settings, run_id)
    recipe, step, words = queue.extended(db, settings, run_id, epochs=1)
    assert (step, recipe.epochs) == (6, 3.0)
    assert "drawn anew over all 9 steps" in words
    assert "rises once" in words
    with pytest.raises(Invalid):
        queue.extended(db, settings, run_id, epochs=0)


def test_only_what_failed_or_was_interrupted_is_tried_again(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    with pytest.raises(Conflict, match="queued"):
        queue.retry(db, run_id, person=house["builder"])
    runs.end(db, run_id, (runs.claim(db) or {})["token"], "failed", error="no")
    queue.retry(db, run_id, person=house["builder"])
    assert runs.get(db, run_id)["status"] == "queued"


def test_a_run_makes_way_when_asked_and_goes_on_by_itself(db: Database, settings: Settings, house: Any) -> None:
    run_id = queued(db, settings, house)
    assert queue.free(db, settings, person=house["builder"]) == "Nobody holds the device."
    with worker.holding(db, settings, run_id) as run:
        holder = device.holder(settings)
        assert holder is not None
        assert (holder.run_id, holder.words) == (run_id, f"Run {run_id} is training")
        with pytest.raises(NotAllowed):
            queue.free(db, settings, person=house["other"])
        assert "makes way" in queue.free(db, settings, person=house["builder"])
        ended = worker.train(db, settings, run)
        assert ended == "yielded"
        worker.give_back(db, run, ended)
    found = runs.get(db, run_id)
    assert (found["status"], found["steps_done"], found["wish"]) == ("queued", 1, None)
    assert found["not_before"] > store.now() + 30
    assert device.holder(settings) is None
    queue.move(db, run_id, "top", person=house["builder"])  # or now, on request
    assert worker.train_run(db, settings, run_id) == "done"
    assert [step for step, _ in runs.metrics(db, run_id, ["loss"])["loss"]] == list(range(1, 7))
