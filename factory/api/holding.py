"""Routes about credits that are held, and about payments that were wrong."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from factory.api.caller import Limit, Offset, Store, Who
from factory.credit import freezes, ledger

routes = APIRouter(tags=["worth"])


class Reason(BaseModel):
    """Why; everybody can read it."""

    reason: str = Field(max_length=2_000)


class Freeze(Reason):
    """Whose credits are held: a person's by name, or those of one adapter, or of the adapter of one run."""

    days: Annotated[float, Field(gt=0)]
    name: str | None = None
    adapter_id: int | None = None
    run_id: int | None = None


class End(Reason):
    """How it ends: given back to the people, or taken back into the pool."""

    outcome: Literal["released", "taken back"]


@routes.get("/ledger/held", summary="Credits held while something is examined, newest first")
def held(db: Store, person: Who, limit: Limit = 50, offset: Offset = 0) -> list[dict[str, Any]]:
    freezes.release_due(db)
    return freezes.listing(db, limit=limit, offset=offset)


@routes.post("/ledger/held", summary="Hold credits while something is examined", status_code=201)
def freeze(said: Freeze, db: Store, person: Who) -> dict[str, Any]:
    about = {"who": said.name, "adapter_id": said.adapter_id, "run_id": said.run_id}
    made = freezes.freeze(db, by=person, reason=said.reason, days=said.days, **about)  # type: ignore[arg-type]
    return freezes.get(db, made)


@routes.post("/ledger/held/{freeze_id}/end", summary="Give back what is held, or take it back into the pool")
def end(freeze_id: int, said: End, db: Store, person: Who) -> dict[str, Any]:
    freezes.end(db, freeze_id, by=person, outcome=said.outcome, reason=said.reason)
    return freezes.get(db, freeze_id)


@routes.post("/ledger/{transaction_id}/counter", summary="Undo a payment with its opposite", status_code=201)
def counter(transaction_id: int, said: Reason, db: Store, person: Who) -> dict[str, Any]:
    return ledger.receipt(db, ledger.counter(db, transaction_id, person=person, reason=said.reason))
