"""Searches and presets from a terminal and over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database

from factory import __main__ as commands
from factory import api, line
from factory.base import people
from factory.base.settings import Settings
from factory.training import recipes, runs, searches
from tests import trained

OVER = {"learning_rate": "1e-2,5e-3"}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    people.maintainer(db)
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    return {"builder": builder, "version_id": version["id"]}


def work_off(db: Database, settings: Settings) -> None:
    for _ in range(20):
        searches.advance(db, settings)
        for run in runs.listing(db, status="queued", limit=1):
            line.work(db, settings, run["id"])


def test_a_search_by_command_ends_in_a_preset_that_train_takes(
    db: Database, settings: Settings, house: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def typed(*words: str) -> str:
        assert commands.main([*words, "--as", "builder"]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    begin = ("search", "start", "--dataset", "questions", "--base-model", "tiny", "--method", "grid", "--steps", "2")
    found = typed(*begin, "--measurings", "1", "--over", "learning-rate=1e-2,5e-3", "--detach")
    assert "Search 1 is in its place" in found
    work_off(db, settings)
    capsys.readouterr()
    assert "2 trials" in typed("search", "show", "1")
    assert "done" in typed("search", "list")
    assert "Kept." in typed("search", "preset", "1", "my best")
    assert "my best" in typed("presets", "list")
    queued = json.loads(typed("train", "--dataset", "questions", "--preset", "my best", "--rank", "8", "--detach", "--json"))
    assert (queued["recipe"]["rank"], queued["recipe"]["base_model"]) == (8, "tiny")
    assert queued["recipe"]["learning_rate"] == searches.best_recipe(db, 1).learning_rate
    assert "queued" in typed("search", "train", "1")
    typed("presets", "delete", "my best")
    assert commands.main(["train", "--dataset", "questions", "--preset", "my best"]) == 1
    assert "no preset 'my best'" in capsys.readouterr().err
    assert commands.main(["search", "stop", "1"]) == 1


def test_a_search_over_http_is_begun_watched_and_turned_into_a_preset(db: Database, settings: Settings, house: Any) -> None:
    token = people.issue_token(db, house["builder"], "tests")
    with TestClient(api.application(settings), headers={"Authorization": f"Bearer {token}"}) as client:
        refused = client.post("/searches", json={"dataset": "questions", "over": {"epochs": "1,2"}})
        assert refused.status_code == 422
        assert "equal length" in refused.json()["problems"][0]
        wanted = {"dataset": "questions", "over": OVER, "recipe": {"base_model": "tiny", "rank": 4, "effective_batch": 1}}
        begun = client.post("/searches", json=wanted | {"method": "grid", "steps": 2, "measurings": 1}).json()
        assert (begun["status"], begun["trials"], begun["best"]) == ("running", [], None)
        assert client.post(f"/searches/{begun['id']}/preset", json={"name": "x"}).status_code == 409
        work_off(db, settings)
        found = client.get(f"/searches/{begun['id']}").json()
        assert (found["status"], found["share"], len(found["trials"])) == ("done", 1.0, 2)
        assert found["best"]["value"] == min(trial["value"] for trial in found["trials"])
        assert [each["id"] for each in client.get("/searches").json()] == [begun["id"]]
        kept = client.post(f"/searches/{begun['id']}/preset", json={"name": "x"}).json()
        assert kept["recipe"]["max_steps"] == 0
        assert set(client.get("/recipes").json()["presets"]) == {*recipes.PRESETS, "x"}
        run = client.post("/runs", json={"dataset": "questions", "preset": "x", "recipe": {"seed": 3}}).json()
        assert run["recipe"] == kept["recipe"] | {"seed": 3}
        assert client.post(f"/searches/{begun['id']}/train").json()["status"] == "queued"
        assert client.delete("/presets/x").status_code == 204
        assert client.delete("/presets/x").status_code == 404
        assert client.post(f"/searches/{begun['id']}/stop").status_code == 409
