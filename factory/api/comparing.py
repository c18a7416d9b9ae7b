"""Routes that lay runs side by side."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse

from factory.adapters import comparison
from factory.api.caller import Store, Who

routes = APIRouter()
Chosen = Annotated[list[int], Query(alias="run", description="From 2 to 50 of them: ?run=1&run=2")]


@routes.get("/comparison", tags=["runs"], summary="Runs side by side: what was set differently, what came of it")
def compare(run: Chosen, db: Store, person: Who) -> dict[str, Any]:
    return comparison.compare(db, run)


@routes.get("/comparison/file", tags=["runs"], summary="The same table as CSV")
def compare_file(run: Chosen, db: Store, person: Who) -> PlainTextResponse:
    headers = {"Content-Disposition": 'attachment; filename="runs.csv"'}
    return PlainTextResponse(comparison.csv(comparison.compare(db, run)), media_type="text/csv", headers=headers)
