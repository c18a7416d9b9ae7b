from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, Unavailable
from factory.base.settings import Settings
from factory.training import device, forecast, models, observed, preflight, rehearsal, runs
from factory.training.encoding import EncodedRow
from factory.training.recipes import Recipe
from tests import trained

TINY = Recipe(base_model="tiny", rank=4, epochs=3, effective_batch=2, evaluations=2, micro_batch_tokens=128)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    trained.home_model(settings, tiny_model)
    builder, ada, version = trained.frozen_version(db)
    return {"builder": builder, "ada": ada, "version": version}


def worked(db: Database, settings: Settings, house: dict[str, Any], recipe: Recipe = TINY) -> dict[str, Any]:
    version_id = house["version"]["id"]
    preflight.work(db, settings, version_id=version_id, recipe=recipe, person=house["builder"])
    return found(db, settings, house, recipe) or {}


def found(db: Database, settings: Settings, house: dict[str, Any], recipe: Recipe) -> dict[str, Any] | None:
    return preflight.found(db, settings, version_id=house["version"]["id"], recipe=recipe)


def test_a_preflight_measures_the_longest_pack_and_the_estimate_uses_it(
    db: Database, settings: Settings, house: Any
) -> None:
    before = runs.estimate_for(db, settings, version_id=house["version"]["id"], recipe=TINY)
    made = worked(db, settings, house)
    measured = made["measured"]
    assert "saved and read back" in made["verdict"]
    assert 0 < measured["longest_pack"] <= 128
    assert measured["peak_bytes"] >= measured["libraries_bytes"] > 0  # the same where this process was larger before
    assert len(measured["steps"]) == 3
    assert measured["held_out"]["seconds"] > 0
    assert measured["checkpoint_bytes"] > 0
    after = runs.estimate_for(db, settings, version_id=house["version"]["id"], recipe=TINY)
    assert (before.measured, after.measured) == (False, True)
    assert after.memory_bytes == pytest.approx(measured["peak_bytes"], rel=0.02)
    assert "preflight of this very choice" in after.sure
    assert not list(settings.runs.glob("*")), "nothing of it is kept"
    assert not (settings.home / "preflight").exists()


def test_it_holds_for_what_costs_the_same_and_is_scaled_for_what_does_not(
    db: Database, settings: Settings, house: Any
) -> None:
    worked(db, settings, house)
    assert found(db, settings, house, dataclasses.replace(TINY, learning_rate=1e-5, seed=1, epochs=1))
    for changed in ({"rank": 8}, {"micro_batch_tokens": 256}, {"completions_only": False}, {"system_prompt": "Be brief."}):
        recipe = dataclasses.replace(TINY, **changed)
        assert found(db, settings, house, recipe) is None, changed
        guess = runs.estimate_for(db, settings, version_id=house["version"]["id"], recipe=recipe)
        assert "Scaled from a preflight of a similar choice" in guess.sure
    qlora = runs.estimate_for(
        db, settings, version_id=house["version"]["id"], recipe=dataclasses.replace(TINY, method="qlora")
    )
    assert "guess" in qlora.sure


def test_another_model_data_or_machine_makes_it_void(db: Database, settings: Settings, house: Any) -> None:
    worked(db, settings, house)
    here = forecast.ground(db, settings, version_id=house["version"]["id"], model_name="tiny")
    same = {"version_root": here.version_root, "recipe": TINY, "model": here.model, "machine": here.machine}
    assert observed.find(db, **same)
    assert observed.find(db, **{**same, "model": {**here.model, "hash": "0" * 64}}) is None
    assert observed.find(db, **{**same, "version_root": "0" * 64}) is None
    assert observed.find(db, **{**same, "machine": {**here.machine, "memory_bytes": 1}}) is None
    path = settings.models / "tiny" / "model.json"
    path.write_text(path.read_text().replace(here.model["hash"], "0" * 64))
    assert found(db, settings, house, TINY) is None


def test_what_it_leaves_are_rows_of_the_longest_pack_and_the_halves_of_these(settings: Settings, house: Any) -> None:
    tokenizer = models.load_tokenizer(settings, "tiny")
    talks = [json.dumps({"messages": trained.talk("Say it.", "word " * (4 * place + 1))}) for place in range(40)]
    counts = [4 * place + 40 for place in range(40)]
    chosen = rehearsal.choose(tokenizer, talks, counts, dataclasses.replace(TINY, effective_batch=8, micro_batch_tokens=512))
    size = rehearsal._sizes(chosen.longest, dataclasses.replace(TINY, micro_batch_tokens=512))
    assert len(size) == 1
    assert 400 < size[0][0] <= 512
    assert 0 < chosen.computed_share < 1, "the system prompt that rows share is computed once for a pack"
    half = rehearsal._half(EncodedRow(1, tuple(range(10)), (False,) * 5 + (True,) * 5))
    assert (len(half.tokens), half.label_tokens) == (5, 2)
    steps = [[EncodedRow(n * 10 + k, (1,), (False,)) for k in range(3)] for n in range(5)]
    short = rehearsal._rehearsed(TINY, 3)
    laid = rehearsal._in_order(steps, short)
    for number, step in enumerate(steps, 1):
        assert sorted(r.example_id for r in rehearsal.loop.rows_of_step(laid, short, number)) == [
            row.example_id for row in step
        ]


def test_who_may_not_train_may_not_try_and_a_recipe_that_is_none_is_refused(
    db: Database, settings: Settings, house: Any
) -> None:
    asked = {"version_id": house["version"]["id"], "recipe": TINY}
    with pytest.raises(NotAllowed):
        preflight.begin(db, settings, person=house["ada"], **asked)
    with pytest.raises(Invalid):
        preflight.begin(db, settings, person=house["builder"], **{**asked, "recipe": dataclasses.replace(TINY, rank=-1)})
    with device.held(settings, "run", "Run 7 is training"), pytest.raises(Conflict, match="Run 7 is training"):
        preflight.begin(db, settings, person=house["builder"], **asked)
    assert preflight.state(settings) is None
    preflight.stop(settings, person=house["builder"])


def test_why_it_could_not_be_done_is_kept_until_somebody_read_it(db: Database, settings: Settings, house: Any) -> None:
    impossible = dataclasses.replace(TINY, max_length=64, system_prompt="words " * 60)
    (settings.home / "preflight").mkdir(parents=True)
    with pytest.raises(Invalid, match="max_length"):
        worked(db, settings, house, impossible)
    about = preflight.state(settings)
    assert about is not None
    assert not about["under_way"]
    assert "max_length" in about["ended"]
    preflight.clear(settings)
    assert preflight.state(settings) is None


@pytest.mark.slow
def test_a_preflight_runs_apart_and_tells_how_far_it_is(db: Database, settings: Settings, house: Any) -> None:
    heard: list[tuple[float, str]] = []
    made = preflight.wait(
        db, settings, version_id=house["version"]["id"], recipe=TINY, person=house["builder"],
        progress=lambda share, words: heard.append((share, words)),
    )  # fmt: skip
    assert made["measured"]["peak_bytes"] > 0
    assert [share for share, _ in heard] == sorted(share for share, _ in heard)
    assert len({words for _, words in heard}) >= 2
    assert preflight.state(settings) is None


@pytest.mark.slow
def test_one_that_is_stopped_or_killed_leaves_nothing_and_the_next_can_begin(
    db: Database, settings: Settings, house: Any
) -> None:
    asked = {"version_id": house["version"]["id"], "recipe": TINY, "person": house["builder"]}
    preflight.begin(db, settings, **asked)
    with pytest.raises(Conflict, match="under way"):
        preflight.begin(db, settings, **asked)
    other = people.create(db, "other", roles=("builder",))
    with pytest.raises(NotAllowed):
        preflight.stop(settings, person=other)
    until_share(settings, 0.3)
    preflight.stop(settings, person=house["builder"])
    nothing_is_left(db, settings)
    preflight.begin(db, settings, **asked)
    about = until_share(settings, 0.3)
    os.kill(about["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (about := preflight.state(settings) or {})["under_way"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "without a word" in about["ended"]
    preflight.clear(settings)
    nothing_is_left(db, settings)


def until_share(settings: Settings, share: float) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        about = preflight.state(settings)
        if about is None or about["ended"]:
            raise AssertionError(f"it ended too soon: {about}")
        if about["share"] >= share:
            return about
        time.sleep(0.02)
    raise AssertionError("not within a minute")


def nothing_is_left(db: Database, settings: Settings) -> None:
    assert preflight.state(settings) is None
    assert not (settings.home / "preflight").exists()
    assert not list(settings.runs.glob("rehearsal-*"))
    assert store.value(db, "select count(*) from preflights") == 0
    assert Unavailable.status == 503
