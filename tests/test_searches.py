"""Searches over recipes: real trials of the tiny model, pruned, killed, stopped and carried on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from factory import line
from factory.base import people
from factory.base.errors import Conflict, Invalid, NotAllowed
from factory.base.settings import ROOT, Settings
from factory.training import presets, recipes, runs, searches
from factory.training.plans import Plan
from factory.training.recipes import Recipe
from tests import trained
from tests.test_worker import until

TINY = Recipe(base_model="tiny", rank=4, epochs=12, effective_batch=1, evaluations=2, learning_rate=1e-2, max_length=128)
GRID = Plan({"learning_rate": "1e-2,1e-6,7e-3,5e-3"}, method="grid", trials=8, steps=8, measurings=3, seed=4)
WORK = """
import sys, torch
torch.set_num_threads(1)
from factory import line
from factory.base import settings, store
found = settings.load()
with store.connect(found) as db:
    line.work(db, found, int(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    return {"builder": builder, "version_id": version["id"]}


def begun(db: Database, settings: Settings, house: dict[str, Any], plan: Plan = GRID, recipe: Recipe = TINY) -> int:
    return searches.start(
        db, person=house["builder"], version_id=house["version_id"], recipe=recipe, plan=plan, settings=settings
    )


def carry_on(db: Database, settings: Settings, search_id: int, *, trials: int = 100) -> dict[str, Any]:
    """What the worker does, in this process: queue a trial, work on it, look again."""
    searches.advance(db, settings)
    for _ in range(trials):
        waiting = runs.listing(db, status="queued", limit=1)
        if not waiting:
            break
        line.work(db, settings, waiting[0]["id"])
        searches.advance(db, settings)
    return searches.get(db, search_id)


def told(search: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(t["settings"], t["status"], t["value"], sorted(t["curve"].items())) for t in search["trials"]]


def test_a_grid_runs_every_trial_and_gives_up_the_hopeless_one(db: Database, settings: Settings, house: Any) -> None:
    found = carry_on(db, settings, begun(db, settings, house))
    assert (found["status"], found["words"]) == ("done", "Every combination was tried, in 4 trials.")
    assert sorted(t["settings"]["learning_rate"] for t in found["trials"]) == [1e-6, 5e-3, 7e-3, 1e-2]
    assert [t["status"] for t in found["trials"]] == ["done", "done", "done", "pruned"]
    pruned = found["trials"][3]
    assert pruned["settings"]["learning_rate"] == 1e-6
    run = runs.get(db, pruned["run_id"])
    assert run["status"] == "stopped"
    assert run["steps_done"] < 8
    assert any(event["kind"] == "pruned" for event in runs.events(db, pruned["run_id"]))
    assert all(runs.get(db, t["run_id"])["adapter_id"] is None for t in found["trials"])
    assert not list(settings.runs.glob("*/checkpoints"))
    assert found["best"]["value"] == min(t["value"] for t in found["trials"][:3])
    assert searches.progress(found) == (1.0, 0.0)


def test_the_same_search_gives_the_same_trials(db: Database, settings: Settings, house: Any) -> None:
    plan = Plan({"learning_rate": "1e-4..1e-2", "rank": "4,8"}, trials=5, steps=4, measurings=1, seed=7)
    one, other = (carry_on(db, settings, begun(db, settings, house, plan)) for _ in range(2))
    assert told(one) == told(other)
    assert one["trials"][0]["settings"] == {"learning_rate": 1e-2, "rank": 4}, "the starting recipe is tried first"
    assert len({str(t["settings"]) for t in one["trials"]}) == 5
    another = carry_on(db, settings, begun(db, settings, house, Plan(**{**vars(plan), "seed": 8})))
    assert told(another)[1:] != told(one)[1:]


@pytest.mark.slow
def test_a_search_whose_trainer_is_killed_goes_on_to_the_same_end(db: Database, settings: Settings, house: Any) -> None:
    whole = carry_on(db, settings, begun(db, settings, house))
    search_id = begun(db, settings, house)
    carry_on(db, settings, search_id, trials=1)
    run = runs.listing(db, status="queued", limit=1)[0]
    trainer = subprocess.Popen([sys.executable, "-c", WORK, str(run["id"])], cwd=ROOT, env=dict(os.environ))
    until(lambda: runs.get(db, run["id"])["steps_done"] >= 2)
    os.kill(trainer.pid, signal.SIGKILL)
    trainer.wait()
    runs.reap(db)
    found = carry_on(db, settings, search_id)
    assert any(event["kind"] == "retry" for event in runs.events(db, run["id"])), "it was killed too late"
    assert [t[:2] for t in told(found)] == [t[:2] for t in told(whole)]
    ours, theirs = ([t["value"] for t in each["trials"] if t["value"]] for each in (found, whole))
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_every_trial_sees_equally_many_rows(db: Database, settings: Settings, house: Any) -> None:
    plan = Plan({"effective_batch": "1,2"}, method="grid", steps=6, measurings=1, pruner="none")
    found = carry_on(db, settings, begun(db, settings, house, plan))
    steps = {t["settings"]["effective_batch"]: runs.get(db, t["run_id"])["steps_done"] for t in found["trials"]}
    assert steps == {1: 6, 2: 3}
    assert all(set(t["curve"]) == {1, 2} for t in found["trials"])


def test_what_a_person_queued_goes_before_the_next_trial(db: Database, settings: Settings, house: Any) -> None:
    search_id = begun(db, settings, house)
    mine = runs.create(
        db, person=house["builder"], version_id=house["version_id"], recipe=TINY, settings=settings, name="mine"
    )
    searches.advance(db, settings)
    assert not searches.get(db, search_id)["trials"]
    runs.cancel(db, mine, person=house["builder"])
    searches.advance(db, settings)
    assert len(searches.get(db, search_id)["trials"]) == 1
    searches.advance(db, settings)
    assert len(searches.get(db, search_id)["trials"]) == 1, "one at a time"


def test_a_stopped_search_ends_its_trial_and_says_who(db: Database, settings: Settings, house: Any) -> None:
    search_id = begun(db, settings, house)
    searches.advance(db, settings)
    stranger = people.create(db, "stranger", roles=("builder",))
    with pytest.raises(NotAllowed):
        searches.stop(db, search_id, person=stranger)
    searches.stop(db, search_id, person=house["builder"])
    found = searches.get(db, search_id)
    assert found["status"] == "stopped"
    assert "Bea Builder stopped it" in found["words"]
    assert runs.get(db, found["trials"][0]["run_id"])["status"] == "cancelled"
    searches.advance(db, settings)
    assert len(searches.get(db, search_id)["trials"]) == 1
    with pytest.raises(Conflict):
        searches.stop(db, search_id, person=house["builder"])
    with pytest.raises(Conflict, match="no best recipe"):
        searches.best_recipe(db, search_id)


def test_a_search_ends_when_another_trial_would_not_fit_its_minutes(db: Database, settings: Settings, house: Any) -> None:
    plan = Plan({"rank": "4,8,16"}, method="grid", steps=3, measurings=1, minutes=0.0001)
    found = carry_on(db, settings, begun(db, settings, house, plan))
    assert [t["status"] for t in found["trials"]] == ["done"]
    assert "would not end within" in found["words"]


def test_a_search_ends_after_three_failures_in_a_row(db: Database, settings: Settings, house: Any) -> None:
    search_id = begun(db, settings, house)
    searches.advance(db, settings)
    for _ in range(3):
        runs.abandon(db, runs.listing(db, status="queued", limit=1)[0]["id"], "No memory.")
        searches.advance(db, settings)
    found = carry_on(db, settings, search_id)
    assert found["status"] == "failed"
    assert "No memory." in found["words"]


def test_the_best_recipe_becomes_a_preset_at_its_full_length(db: Database, settings: Settings, house: Any) -> None:
    plan = Plan({"alpha": "8,16"}, method="grid", steps=3, measurings=1)
    search_id = begun(db, settings, house, plan)
    best = carry_on(db, settings, search_id)["best"]
    recipe = searches.best_recipe(db, search_id)
    assert (recipe.alpha, recipe.alpha_linked, recipe.max_steps, recipe.evaluations) == (
        best["settings"]["alpha"],
        False,
        0,
        2,
    )
    builder = house["builder"]
    presets.keep(db, " best  of 1 ", recipe, person=builder)
    assert presets.get(db, "best of 1") == recipe
    assert list(presets.by_name(db)) == [*recipes.PRESETS, "best of 1"]
    with pytest.raises(Conflict, match="already"):
        presets.keep(db, "best of 1", recipe, person=builder)
    with pytest.raises(Conflict, match="stays"):
        presets.delete(db, "balanced", person=builder)
    presets.delete(db, "best of 1", person=builder)
    assert list(presets.by_name(db)) == list(recipes.PRESETS)


def test_all_that_is_wrong_with_a_plan_is_said_at_once(db: Database, settings: Settings, house: Any) -> None:
    plan = Plan({"epochs": "1,2", "rank": "8,9", "speed": "1", "learning_rate": "1..1e-5"}, method="magic", trials=0)
    with pytest.raises(Invalid) as refused:
        begun(db, settings, house, plan)
    told = "\n".join(refused.value.problems)
    for words in ("epochs cannot be searched", "rank is 9", "no setting 'speed'", "learning_rate", "'magic'", "0 trials"):
        assert words in told, words


def test_whole_line_trials_are_kept_and_measured(db: Database, settings: Settings, house: Any) -> None:
    plan = Plan({"rank": "4"}, method="grid", steps=2, measurings=1, whole_line=True)
    found = carry_on(db, settings, begun(db, settings, house, plan))
    assert runs.get(db, found["trials"][0]["run_id"])["adapter_id"] is not None
