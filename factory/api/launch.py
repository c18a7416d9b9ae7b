"""Routes about what comes before a run: what it would take, and a preflight."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from sqlite_utils import Database

from factory.api import shapes
from factory.api.caller import Here, Store, Who
from factory.base import people
from factory.intake import datasets
from factory.training import forecast, preflight, presets

routes = APIRouter(tags=["runs"])


class Card(BaseModel):
    """What a run would take: `estimate` in bytes and seconds; where it does not fit, a `sentence` and the settings that
    make it fit."""

    estimate: dict[str, Any]
    fix: dict[str, Any] | None
    sentence: str | None


class Tried(BaseModel):
    """What a preflight measured on the longest packs, and its verdict in one sentence."""

    id: int
    at: float
    verdict: str
    measured: dict[str, Any]


class Trying(BaseModel):
    """The preflight of this installation that is under way, or how the last one ended."""

    under_way: bool
    share: float
    words: str
    ended: str | None


@routes.post("/estimate", summary="What a run would take here: memory, time and disk")
def estimate(wanted: shapes.NewRun, db: Store, person: Who, settings: Here) -> Card:
    recipe = presets.with_changes(db, wanted.preset, wanted.recipe)
    return Card(**forecast.card(db, settings, recipe=recipe, **_data(db, wanted)))


@routes.post("/preflight", summary="Try the longest packs of a recipe; answers when it has ended, in some 20 seconds")
def begin(wanted: shapes.NewRun, db: Store, person: Who, settings: Here) -> Tried:
    recipe = presets.with_changes(db, wanted.preset, wanted.recipe)
    found = preflight.wait(
        db, settings, recipe=recipe, person=person, progress=lambda share, words: None, **_data(db, wanted)
    )
    return Tried(**found)


def _data(db: Database, wanted: shapes.NewRun) -> dict[str, Any]:
    """The versions that a run would be made of, as `runs.create` takes them."""
    more = [(datasets.numbered(db, each.dataset, each.version)["id"], each.weight) for each in wanted.more]
    first = datasets.numbered(db, wanted.dataset, wanted.version)
    return {"version_id": first["id"], "weight": wanted.weight, "more": more}


@routes.get("/preflight", summary="The preflight that is under way, or how the last one ended; null where there is none")
def look(person: Who, settings: Here) -> Trying | None:
    found = preflight.state(settings)
    return Trying(**found) if found else None


@routes.delete("/preflight", summary="Stop the preflight that is under way", status_code=204)
def stop(person: Who, settings: Here) -> None:
    people.need(person, "builder")
    preflight.stop(settings, person=person)
