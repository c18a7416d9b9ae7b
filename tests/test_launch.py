"""Every door of what comes before a run: estimate, the refusal of what does not fit, the preflight, what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database

from factory import __main__ as commands
from factory import api
from factory.base import people
from factory.base.errors import Conflict
from factory.base.settings import Settings
from factory.training import estimate, forecast, runs
from factory.training.recipes import Recipe
from tests import trained

TINY = Recipe(base_model="tiny", rank=4, epochs=1)


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    return {"builder": builder, "version": version}


@pytest.fixture
def too_large(settings: Settings, house: Any) -> Path:
    """The tiny model described as one whose weights no machine holds."""
    path = settings.models / "tiny" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"parameters": 10**13}))
    return path


def wide(db: Database, settings: Settings, version_id: int) -> None:
    """Describe the tiny model as one whose layers are so wide that its packs fit only when they are smaller."""
    whole = forecast.ground(db, settings, version_id=version_id, model_name="tiny")
    guess = whole.estimate(TINY, None)
    free, path = guess.memory_available_bytes, settings.models / "tiny" / "model.json"
    found = json.loads(path.read_text())
    layers, unused = found["layers"], estimate.UNUSED_SHARE
    each = estimate.bytes_each(TINY, whole.machine) * 6 * layers * unused
    middle = int(1.1 * free / (each * guess.longest_pack))
    path.write_text(json.dumps(found | {"intermediate": middle}))


def test_what_does_not_fit_is_stopped_in_every_door_with_a_reason(
    db: Database, settings: Settings, house: Any, too_large: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version_id = house["version"]["id"]
    with pytest.raises(Conflict, match=r"needs about .* are free; no setting makes it fit"):
        runs.create(db, person=house["builder"], version_id=version_id, recipe=TINY, settings=settings)
    typed = ["train", "--dataset", "questions", "--base-model", "tiny", "--as", "builder", "--detach", "--json"]
    assert commands.main(typed) == 1
    assert "no setting makes it fit" in json.loads(capsys.readouterr().out)["error"]
    with TestClient(api.application(settings)) as door:
        token = people.issue_token(db, house["builder"], "test")
        door.headers["Authorization"] = f"Bearer {token}"
        refused = door.post("/runs", json={"dataset": "questions", "recipe": {"base_model": "tiny"}})
        assert refused.status_code == 409
        assert "no setting makes it fit" in refused.json()["error"]
        told = door.post("/estimate", json={"dataset": "questions", "recipe": {"base_model": "tiny"}})
        assert (told.status_code, told.json()["estimate"]["fits"], told.json()["fix"]) == (200, "no", None)
    assert runs.listing(db) == []
    assert commands.main([*typed, "--anyway"]) == 0
    run = runs.listing(db)[0]
    assert run["status"] == "queued"
    assert "although it does not fit" in runs.events(db, run["id"])[0]["words"]


def test_the_change_that_makes_it_fit_is_said_and_makes_it_fit(db: Database, settings: Settings, house: Any) -> None:
    version_id = house["version"]["id"]
    wide(db, settings, version_id)
    card = forecast.card(db, settings, version_id=version_id, recipe=TINY)
    assert card["estimate"]["fits"] == "no"
    assert list(card["fix"]) == ["micro_batch_tokens"]
    assert f"it fits with micro_batch_tokens {card['fix']['micro_batch_tokens']}" in card["sentence"]
    change = forecast.change_that_fits(db, settings, version_id=version_id, recipe=TINY)
    assert change is not None
    assert runs.estimate_for(db, settings, version_id=version_id, recipe=change.recipe).fits != "no"
    runs.create(db, person=house["builder"], version_id=version_id, recipe=change.recipe, settings=settings)


def test_what_was_predicted_and_measured_is_told_with_its_error(db: Database, settings: Settings, house: Any) -> None:
    run_id = runs.create(db, person=house["builder"], version_id=house["version"]["id"], recipe=TINY, settings=settings)
    before = runs.predicted_against_measured(runs.get(db, run_id))
    assert {row["measured"] for row in before} == {row["error_percent"] for row in before} == {None}
    guess = runs.get(db, run_id)["estimate"]
    token = (runs.claim(db) or {})["token"]
    took = {"memory_bytes": 1.1 * guess["memory_bytes"], "seconds": 0.8 * guess["seconds"], "steps": guess["steps"]}
    runs.heartbeat(db, run_id, token, measured=took | {"disk_bytes": 1, "tokens_per_second": 1.0})
    after = {row["what"]: row["error_percent"] for row in runs.predicted_against_measured(runs.get(db, run_id))}
    assert (after["memory, MiB"], after["time, seconds"], after["steps"]) == (10.0, -20.0, 0.0)


def test_of_a_large_version_the_longest_rows_are_counted_and_the_others_estimated(
    db: Database, settings: Settings, house: Any
) -> None:
    folder = str(settings.models / "tiny")
    exact, shared = forecast.rows_tokens(db, house["version"], folder)
    assert len(exact) == house["version"]["row_count"] == 3
    few, as_shared = forecast.rows_tokens(db, house["version"], folder, counted=2)
    assert (len(few), as_shared) == (3, shared)
    assert max(few) == max(exact)
    assert sum(few) == pytest.approx(sum(exact), rel=0.2)
