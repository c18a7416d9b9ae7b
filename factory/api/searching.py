"""Routes about searching for a recipe, and about presets."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from factory.api.caller import Here, Limit, Store, Who
from factory.intake import datasets
from factory.training import presets, recipes, runs, searches
from factory.training.plans import Plan

routes = APIRouter(tags=["runs"])


class NewSearch(BaseModel):
    """What to search: a dataset version (default: the newest), the recipe to start from, what to vary, and how long."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"dataset": "capitals", "over": {"rank": "8,16", "learning_rate": "5e-5..1e-3"}}]}
    )
    dataset: str
    version: int | None = None
    preset: str | None = None
    recipe: dict[str, Any] = Field(default={}, description="Settings as `GET /recipes` lists them.")
    over: dict[str, str] = Field(description='Setting → "low..high" or "a,b,c"; "" stands for its usual values.')
    method: str = "tpe"
    pruner: str = "median"
    trials: int = 12
    minutes: float = 0.0
    steps: int = 0
    measurings: int = 4
    seed: int = 42
    whole_line: bool = False
    name: str = ""


class Trial(BaseModel):
    """One trial; `value` is its lowest held-out loss in nats per label token, once it is done."""

    number: int
    run_id: int
    status: str
    settings: dict[str, Any]
    value: float | None
    curve: dict[int, float]
    seconds: float
    words: str


class Search(BaseModel):
    """A search and its trials. Moments are seconds since 1970."""

    id: int
    name: str
    status: str
    words: str
    version_id: int
    at: float
    ended_at: float | None
    share: float
    seconds_left: float | None
    best: Trial | None
    trials: list[Trial]


class NewPreset(BaseModel):
    """How the preset is to be called."""

    name: str


def _search(found: dict[str, Any]) -> Search:
    share, left = searches.progress(found)
    return Search(**{**found, "share": share, "seconds_left": left})


@routes.get("/searches", summary="Searches, newest first")
def list_searches(db: Store, person: Who, limit: Limit = 50) -> list[Search]:
    return [_search(found) for found in searches.listing(db, limit=limit)]


@routes.post("/searches", summary="Begin a search for the best recipe", status_code=201)
def start_search(wanted: NewSearch, db: Store, person: Who, settings: Here) -> Search:
    recipe = presets.with_changes(db, wanted.preset, wanted.recipe)
    version = datasets.numbered(db, wanted.dataset, wanted.version)
    fields = wanted.model_dump(exclude={"dataset", "version", "preset", "recipe", "name"})
    search_id = searches.start(
        db, person=person, version_id=version["id"], recipe=recipe, plan=Plan(**fields), settings=settings, name=wanted.name
    )
    return _search(searches.get(db, search_id))


@routes.get("/searches/{search_id}", summary="One search with its trials")
def show_search(search_id: int, db: Store, person: Who) -> Search:
    return _search(searches.get(db, search_id))


@routes.post("/searches/{search_id}/stop", summary="End a search; what it found stays")
def stop_search(search_id: int, db: Store, person: Who) -> Search:
    searches.stop(db, search_id, person=person)
    return _search(searches.get(db, search_id))


@routes.post("/searches/{search_id}/preset", summary="Keep its best recipe as a preset", status_code=201)
def keep_preset(search_id: int, wanted: NewPreset, db: Store, person: Who) -> dict[str, Any]:
    name = searches.keep_best(db, search_id, wanted.name, person=person)
    return {"name": name, "recipe": recipes.to_dict(presets.get(db, name))}


@routes.post("/searches/{search_id}/train", summary="Train its best recipe in full", status_code=201)
def train_best(search_id: int, db: Store, person: Who, settings: Here) -> dict[str, Any]:
    run_id = searches.train_best(db, search_id, person=person, settings=settings)
    return {"run_id": run_id, "status": runs.get(db, run_id)["status"]}


@routes.delete("/presets/{name}", summary="Forget a preset that was kept here", status_code=204)
def delete_preset(name: str, db: Store, person: Who) -> None:
    presets.delete(db, name, person=person)
