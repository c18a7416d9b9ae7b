"""Reproducing runs over HTTP."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from factory.adapters import reproduction
from factory.api.caller import Here, Store, Who
from factory.training import runs

routes = APIRouter()


class Reproduction(BaseModel):
    """A run that trains another one again; `verdict` is identical, near or different, or null before it has ended."""

    run_id: int
    original_run_id: int
    asked_at: float
    verdict: str | None
    findings: dict[str, Any] | None
    compared_at: float | None


@routes.post("/runs/{run_id}/reproduce", tags=["runs"], summary="Train a finished run again", status_code=201)
def reproduce_run(run_id: int, db: Store, person: Who, settings: Here) -> Reproduction:
    again = reproduction.begin(db, settings, run_id, person=person)
    return Reproduction(**reproduction.get(db, again))


@routes.get("/runs/{run_id}/reproductions", tags=["runs"], summary="What came of training a run again, newest first")
def list_reproductions(run_id: int, db: Store, person: Who) -> list[Reproduction]:
    runs.get(db, run_id)
    mine = reproduction.find(db, run_id)
    return [Reproduction(**found) for found in ([mine] if mine else []) + reproduction.of(db, run_id)]
