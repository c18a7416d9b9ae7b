"""Routes about taking examples back, and about what had seen them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from factory.adapters import withdrawn
from factory.api.caller import Store, Who
from factory.intake import contributions, datasets

routes = APIRouter(tags=["contribute"])


class Reason(BaseModel):
    """Why; it is kept beside the example."""

    reason: str = Field(max_length=500, examples=["it was not mine to give"])


class Everything(Reason):
    """All of one's own: in one dataset, or in every one."""

    dataset: str | None = None


@routes.post("/examples/{example_id}/withdraw", summary="Take an example back", status_code=201)
def withdraw(example_id: int, why: Reason, db: Store, person: Who) -> dict[str, Any]:
    contributions.withdraw(db, example_id, person=person, reason=why.reason)
    return withdrawn.saw(db, example_id, person=person)


@routes.post("/withdrawals", summary="Take back everything of your own", status_code=201)
def withdraw_all(which: Everything, db: Store, person: Who) -> dict[str, int]:
    dataset_id = datasets.get(db, which.dataset)["id"] if which.dataset else None
    return {"withdrawn": contributions.withdraw_all(db, person, reason=which.reason, dataset_id=dataset_id)}


@routes.get("/withdrawals", summary="The adapters that saw what you withdrew")
def mine(db: Store, person: Who) -> list[dict[str, Any]]:
    return withdrawn.of_person(db, person.id)


@routes.get("/examples/{example_id}/seen-by", summary="The versions, runs and adapters that hold or saw an example")
def seen_by(example_id: int, db: Store, person: Who) -> dict[str, Any]:
    return withdrawn.saw(db, example_id, person=person)


@routes.get("/adapters/{adapter_id}/withdrawn", tags=["adapters"], summary="How many of its rows were withdrawn since")
def of_adapter(adapter_id: int, db: Store, person: Who) -> dict[str, Any]:
    return withdrawn.of_adapter(db, adapter_id)


@routes.get("/runs/{run_id}/withdrawn", tags=["runs"], summary="How many rows of its data were withdrawn since")
def of_run(run_id: int, db: Store, person: Who) -> dict[str, Any]:
    return withdrawn.of_run(db, run_id)
