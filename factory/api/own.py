"""Routes about one's own account: its API tokens, and closing it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from factory.api.caller import Store, Who
from factory.base import people
from factory.intake import closing

routes = APIRouter(prefix="/me", tags=["account"])


class Closing(BaseModel):
    """Your sign-in name once more, whether your name is forgotten, and whether your examples are withdrawn first."""

    name_again: str
    forget_name: bool = Field(default=False, description="What you did is then by a closed account.")
    withdraw: bool = Field(default=False, description="Take back all your examples first.")


@routes.get("/tokens", summary="Your API tokens, without the secret")
def tokens(db: Store, person: Who) -> list[dict[str, Any]]:
    return [{**one, "state": people.token_state(one)} for one in people.tokens(db, person)]


@routes.delete("/tokens/{token_id}", summary="Make one of your tokens void")
def revoke(token_id: int, db: Store, person: Who) -> dict[str, int]:
    people.revoke_token(db, person, token_id)
    return {"revoked": token_id}


@routes.get("/closing", summary="What closing your account would do: what goes and what stays")
def weigh(db: Store, person: Who) -> dict[str, Any]:
    return closing.weigh(db, person)


@routes.post("/closing", summary="Close your account for good")
def close(said: Closing, db: Store, person: Who) -> dict[str, int]:
    return {"closed": person.id, "withdrawn": closing.close(db, person, **said.model_dump())}
