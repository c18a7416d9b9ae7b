"""The queue through its three doors: page, command and HTTP route call the same functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory import __main__ as program
from factory import api
from factory.base import people
from factory.base.settings import ROOT, Settings
from factory.sign_in import COOKIE
from factory.training import mixture, queue, run_rows, runs
from factory.training.recipes import Recipe
from tests import trained

LONG = "a very long name of a run with [a link](https://evil.example) <b>x</b>"


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    """Three queued runs of one builder, the last with a hostile name."""
    trained.home_model(settings, tiny_model)
    builder, ada, version = trained.frozen_version(db)
    recipe = Recipe(base_model="tiny", rank=4)
    made = [
        runs.create(db, person=builder, version_id=version["id"], recipe=recipe, settings=settings, name=name)
        for name in ("one", "two", LONG)
    ]
    return {"builder": builder, "ada": ada, "runs": made}


def line(db: Database) -> list[int]:
    return [run["id"] for run in queue.waiting(db)]


def shown(settings: Settings, db: Database, house: Any, page: str, **parameters: str) -> AppTest:
    test = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
    test.session_state[COOKIE] = people.issue_session(db, settings, house["builder"])
    test.run()
    for name, value in parameters.items():
        test.query_params[name] = value
    test.switch_page(f"{page}.py").run()
    assert not test.exception, test.exception
    return test


def test_the_page_shows_the_queue_in_order_and_says_that_nobody_works(db: Database, settings: Settings, house: Any) -> None:
    page = shown(settings, db, house, "runs")
    labels = [button.label for button in page.button if button.key and button.key.startswith("live-")]
    assert [label[:2] for label in labels] == ["1\\", "2\\", "3\\"]
    assert "](https" not in labels[2]
    assert any("No worker is at work" in warning.value for warning in page.warning)
    assert any("3 runs waiting" in caption.value for caption in page.caption)


def test_the_wizard_begins_with_what_is_cloned(db: Database, settings: Settings, house: Any) -> None:
    page = shown(settings, db, house, "train", clone=str(house["runs"][0]))
    assert any("A clone of run" in info.value for info in page.info)
    assert any("Changed since run" in words.value for words in page.markdown)


def test_a_run_that_broke_is_queued_again_with_one_change_and_the_same_data(
    db: Database, settings: Settings, house: Any
) -> None:
    broken = house["runs"][0]
    run_rows.change(db, broken, ("queued",), {"status": "failed", "error": "There was not enough memory."})
    page = shown(settings, db, house, "runs", run=str(broken))
    (half,) = (button for button in page.button if button.label.endswith("tokens at once (same result)"))
    assert not half.click().run().exception
    made = line(db)[-1]
    assert made not in house["runs"]
    run, parent = runs.get(db, made), runs.get(db, broken)
    assert run["parent_run_id"] == broken
    assert [name for name, _, _ in queue.difference(db, run)] == ["micro_batch_tokens"]
    assert mixture.again(db, made) == mixture.again(db, broken)
    assert run["recipe"].micro_batch_tokens == parent["recipe"].micro_batch_tokens // 2


def test_the_routes_order_clone_extend_and_retry(db: Database, settings: Settings, house: Any) -> None:
    one, two, three = house["runs"]
    token = people.issue_token(db, house["builder"], "tests")
    with TestClient(api.application(settings), headers={"Authorization": f"Bearer {token}"}) as client:
        assert [run["id"] for run in client.get("/queue").json()] == [one, two, three]
        assert [run["id"] for run in client.post(f"/runs/{three}/move/top").json()] == [three, one, two]
        assert [run["id"] for run in client.put("/queue", json=[two, one]).json()] == [two, one, three]
        assert client.put("/queue", json=[two, two]).status_code == 422
        clone = client.post(f"/runs/{one}/clone", json={"recipe": {"rank": 8}})
        assert clone.status_code == 201
        assert client.get(f"/runs/{clone.json()['id']}/changes").json() == {"rank": [4, 8]}
        assert client.post(f"/runs/{one}/extend", json={"epochs": 1}).status_code == 409
        assert client.post(f"/runs/{one}/retry").status_code == 409
        assert client.get("/device").json()["words"] == "Nobody holds the device."
        assert client.post("/device/free").json() == {"said": "Nobody holds the device."}
        assert client.delete("/device/chat").json()["chat_memory_bytes"] is None
        assert client.post(f"/runs/{one}/cancel").json()["status"] == "cancelled"


def test_the_commands_order_and_clone(
    db: Database, settings: Settings, house: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = house["runs"]
    who = ["--as", house["builder"].name, "--json"]
    assert program.main(["runs", "move", str(three), "top", *who]) == 0
    assert [run["id"] for run in json.loads(capsys.readouterr().out)] == [three, one, two]
    assert program.main(["runs", "order", str(two), *who]) == 0
    assert line(db) == [two, three, one]
    capsys.readouterr()
    assert program.main(["runs", "clone", str(one), "--rank", "8", *who]) == 0
    assert json.loads(capsys.readouterr().out)["parent_run_id"] == one
    assert program.main(["runs", "clone", str(one), *who]) == 1
    assert program.main(["runs", "extend", str(one), *who]) == 1
    assert program.main(["runs", "retry", str(one), *who]) == 1
    capsys.readouterr()
    assert program.main(["device", *who]) == 0
    assert json.loads(capsys.readouterr().out) == {"holder": None, "chat": None}
