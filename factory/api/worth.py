"""Routes about what a rank is made of."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from factory.api.caller import Store, Who
from factory.base import people
from factory.credit import leaderboards, ranks
from factory.intake import datasets

routes = APIRouter(tags=["worth"])


@routes.get("/leaderboards/contributors/{name}/why", summary="Why somebody ranks where they do, in numbers")
def why(name: str, db: Store, person: Who, dataset: str | None = None) -> dict[str, Any]:
    dataset_id = datasets.get(db, dataset)["id"] if dataset else None
    return ranks.explained(db, people.get(db, name).id, dataset_id=dataset_id)


@routes.get("/leaderboards/contributors/{name}/over-time", summary="Somebody's rank among those who stand beside them")
def over_time(name: str, db: Store, person: Who, dataset: str | None = None) -> list[dict[str, Any]]:
    dataset_id = datasets.get(db, dataset)["id"] if dataset else None
    beside = ranks.explained(db, people.get(db, name).id, dataset_id=dataset_id)["beside"]
    return leaderboards.rank_over_time(db, dataset_id, among=[one["person_id"] for one in beside])
