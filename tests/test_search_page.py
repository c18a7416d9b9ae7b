"""The search page through AppTest, on a search whose trials really ran."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory import line
from factory.base import people
from factory.base.settings import ROOT, Settings
from factory.sign_in import COOKIE
from factory.training import presets, runs, searches
from factory.training.plans import Plan
from factory.training.recipes import Recipe
from tests import trained

Visit = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    return {"builder": builder, "version_id": version["id"]}


@pytest.fixture
def visit(db: Database, settings: Settings, house: dict[str, Any]) -> Visit:
    def seen(page: str, **parameters: str) -> AppTest:
        test = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
        test.session_state[COOKIE] = people.issue_session(db, settings, house["builder"])
        test.run()
        test.switch_page(f"{page}.py")
        for key, value in parameters.items():
            test.query_params[key] = value
        return test.run()

    return seen


def test_a_search_is_begun_on_the_page_and_stopped_there(db: Database, visit: Visit) -> None:
    shown = visit("search")
    assert not shown.exception
    assert any("No search yet" in each.value for each in shown.markdown)
    shown.text_input(key="range-rank").set_value("4,8")
    shown = next(b for b in shown.button if b.label == "Begin the search").click().run()
    assert not shown.exception
    assert not shown.error
    (begun,) = searches.listing(db)
    assert begun["plan"].over == {"learning_rate": "5e-5..1e-3", "rank": "4,8"}
    assert begun["recipe"].base_model == "tiny"
    shown = visit("search", search=str(begun["id"]))
    next(b for b in shown.button if b.label == "Stop the search").click().run()
    assert searches.get(db, begun["id"])["status"] == "stopped"


def test_what_cannot_be_searched_is_said_where_it_was_written(db: Database, visit: Visit) -> None:
    shown = visit("search")
    shown.text_input(key="range-rank").set_value("9")
    shown = next(b for b in shown.button if b.label == "Begin the search").click().run()
    assert any("rank is 9" in error.value for error in shown.error)
    assert not searches.listing(db)


def test_a_finished_search_is_drawn_and_its_best_becomes_a_preset_in_the_wizard(
    db: Database, settings: Settings, house: Any, visit: Visit
) -> None:
    plan = Plan({"learning_rate": "1e-2,5e-3", "rank": "4,8"}, method="grid", steps=4, measurings=1)
    recipe = Recipe(base_model="tiny", rank=4, epochs=12, effective_batch=1, max_length=128)
    search_id = searches.start(
        db, person=house["builder"], version_id=house["version_id"], recipe=recipe, plan=plan, settings=settings
    )
    searches.advance(db, settings)
    for _ in range(4):
        line.work(db, settings, runs.listing(db, status="queued", limit=1)[0]["id"])
        searches.advance(db, settings)
    shown = visit("search", search=str(search_id))
    assert not shown.exception
    assert not shown.error
    assert len(shown.dataframe[0].value) == 4
    assert any("Best: trial" in each.value for each in shown.markdown)
    shown = next(b for b in shown.button if b.label == "Keep as a preset").click().run()
    assert not shown.error
    name = f"best of search {search_id}"
    assert presets.get(db, name) == searches.best_recipe(db, search_id)
    wizard = visit("train")
    assert not wizard.exception
    wizard = wizard.button(key=f"preset-{name}").click().run()
    rank = searches.best_recipe(db, search_id).rank
    assert next(s for s in wizard.select_slider if s.label == "LoRA rank").value == rank
    shown = visit("search")
    shown.button(key=f"delete-{name}").click().run()
    assert name not in presets.by_name(db)
