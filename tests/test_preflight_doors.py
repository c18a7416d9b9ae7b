"""The preflight and the change that makes a recipe fit, by every door: page, command and route."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory import __main__ as commands
from factory import api
from factory.base import people, store
from factory.base.errors import Invalid
from factory.base.settings import ROOT, Settings
from factory.sign_in import COOKIE
from factory.training import forecast, preflight, runs
from factory.training.recipes import Recipe
from tests import trained
from tests.test_launch import wide

TINY = Recipe(base_model="tiny", rank=4, epochs=1)
ASKED = {"dataset": "questions", "recipe": {"base_model": "tiny", "rank": 4, "epochs": 1}}


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    return {"builder": builder, "version": version}


@pytest.fixture
def door(db: Database, settings: Settings, house: Any) -> Iterator[TestClient]:
    token = people.issue_token(db, house["builder"], "test")
    with TestClient(api.application(settings), headers={"Authorization": f"Bearer {token}"}) as opened:
        yield opened


@pytest.fixture
def visit(db: Database, settings: Settings, house: Any) -> Callable[..., AppTest]:
    def seen(page: str, **parameters: str) -> AppTest:
        test = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
        test.session_state[COOKIE] = people.issue_session(db, settings, house["builder"])
        test.run()
        test.switch_page(f"{page}.py")
        for key, value in parameters.items():
            test.query_params[key] = value
        return test.run()

    return seen


def button(shown: AppTest, words: str) -> Any:
    return next(each for each in shown.button if each.label.startswith(words))


def test_one_click_puts_the_recipe_that_fits_under_the_sliders(
    db: Database, settings: Settings, house: Any, visit: Any
) -> None:
    wide(db, settings, house["version"]["id"])
    shown = visit("train")
    assert not shown.exception
    assert any("it fits with micro_batch_tokens" in each.value for each in shown.error)
    assert button(shown, "Start the training").disabled
    shown = button(shown, "Make it fit").click().run()
    assert not shown.exception
    assert not shown.error
    assert not button(shown, "Start the training").disabled
    assert shown.session_state["recipe"].micro_batch_tokens < TINY.micro_batch_tokens


def test_what_was_predicted_stands_beside_what_was_measured_on_the_page_of_a_run(
    db: Database, settings: Settings, house: Any, visit: Any
) -> None:
    run_id = runs.create(db, person=house["builder"], version_id=house["version"]["id"], recipe=TINY, settings=settings)
    guess, run = runs.get(db, run_id)["estimate"], runs.claim(db) or {}
    took = {"memory_bytes": 2 * guess["memory_bytes"], "seconds": guess["seconds"], "steps": guess["steps"]}
    runs.heartbeat(db, run_id, run["token"], measured=took | {"disk_bytes": 1, "tokens_per_second": 1.0})
    runs.end(db, run_id, run["token"], "done")
    shown = visit("runs", run=str(run_id), part="Predicted and measured")
    assert not shown.exception
    (table,) = (each.value for each in shown.dataframe if "predicted" in each.value.columns)
    line = table.set_index("what").loc["memory, MiB"]
    assert line["measured"] == pytest.approx(2 * line["predicted"], abs=0.2)
    assert line["error_percent"] == 100.0


def test_a_mixture_of_versions_is_estimated_as_one_and_tried_as_one(
    db: Database, settings: Settings, house: Any, door: TestClient
) -> None:
    version_id = house["version"]["id"]
    alone = forecast.card(db, settings, version_id=version_id, recipe=TINY)["estimate"]
    twice = door.post("/estimate", json={**ASKED, "weight": 2.0})
    assert twice.status_code == 200
    assert twice.json()["estimate"]["tokens_per_epoch"] == 2 * alone["tokens_per_epoch"]
    named_twice = door.post("/estimate", json={**ASKED, "more": [{"dataset": "questions"}]})
    assert "named twice" in named_twice.json()["error"]
    with pytest.raises(Invalid, match="named twice"):
        preflight.begin(db, settings, version_id=version_id, recipe=TINY, person=house["builder"], more=[(version_id, 1.0)])
    mixed = {"version_id": version_id, "recipe": TINY, "weight": 2.0}
    preflight.work(db, settings, person=house["builder"], **mixed)
    tried = preflight.found(db, settings, **mixed)
    assert tried is not None
    assert preflight.found(db, settings, version_id=version_id, recipe=TINY) is None  # nobody tried it alone
    assert runs.estimate_for(db, settings, **mixed).measured


def test_a_mixture_that_does_not_fit_is_mended_as_one(db: Database, settings: Settings, house: Any) -> None:
    version_id = house["version"]["id"]
    mixed = {"version_id": version_id, "recipe": TINY, "weight": 2.0}
    wide(db, settings, version_id)
    change = forecast.change_that_fits(db, settings, **mixed)
    assert change is not None
    assert runs.estimate_for(db, settings, **{**mixed, "recipe": change.recipe}).fits != "no"


@pytest.mark.slow
def test_a_preflight_is_seen_and_stopped_by_its_routes_and_on_the_page(
    db: Database, settings: Settings, house: Any, door: TestClient, visit: Any
) -> None:
    asked = {"version_id": house["version"]["id"], "recipe": TINY, "person": house["builder"]}
    preflight.begin(db, settings, **asked)
    seen = door.get("/preflight").json()
    assert (seen["under_way"], seen["ended"]) == (True, None)
    assert "under way" in door.post("/preflight", json=ASKED).json()["error"]
    assert door.delete("/preflight").status_code == 204
    assert door.get("/preflight").json() is None
    shown = button(visit("train"), "Try the longest batch").click().run()
    assert not shown.exception
    assert (preflight.state(settings) or {})["under_way"]
    button(shown, "Stop it").click().run()
    assert preflight.state(settings) is None
    assert store.value(db, "select count(*) from preflights") == 0


@pytest.mark.slow
def test_a_preflight_by_its_route_and_before_a_training_is_waited_for(
    db: Database, settings: Settings, house: Any, door: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = door.post("/preflight", json=ASKED)
    assert answer.status_code == 200
    assert answer.json()["measured"]["peak_bytes"] > 0
    assert "saved and read back" in answer.json()["verdict"]
    typed = ["train", "--dataset", "questions", "--base-model", "tiny", "--rank", "8", "--epochs", "1", "--as", "builder"]
    assert commands.main([*typed, "--preflight", "--detach", "--json"]) == 0
    told = capsys.readouterr()
    assert "saved and read back" in told.err
    run = json.loads(told.out)
    assert run["status"] == "queued"
    assert "Measured by a preflight" in run["estimate"]["sure"]
    assert store.value(db, "select count(*) from preflights") == 2
