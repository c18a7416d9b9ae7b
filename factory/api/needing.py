"""Routes about what a dataset needs: its map, the board, and bounties."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from factory.api.caller import Here, Limit, Store, Who
from factory.base.errors import NotFound
from factory.credit import bounties, needs, rewards
from factory.intake import datasets, mapping, maps

routes = APIRouter(tags=["needs"])


class Promise(BaseModel):
    """Credits for the next accepted rows of a topic."""

    topic: int
    rows: int = Field(examples=[20])
    credits_each: float = Field(examples=[2.5])
    days: float = Field(examples=[30])
    words: str = ""
    from_pot: bool = False
    most_per_person: int | None = None


class Why(BaseModel):
    """Why a bounty ends before its date, for everybody to read."""

    reason: str


class Gift(BaseModel):
    """Credits of one's own for a dataset's pot."""

    credits: float


@routes.get("/datasets/{slug}/needs", summary="Thin topics, failed held-out questions in sums, and open bounties")
def board(slug: str, db: Store, person: Who) -> dict[str, Any]:
    return needs.board(db, datasets.get(db, slug)["id"])


@routes.get("/datasets/{slug}/map", summary="The newest map: topics, and the drawn rows with their places")
def drawn_map(slug: str, db: Store, person: Who) -> dict[str, Any]:
    found = maps.latest(db, datasets.get(db, slug)["id"])
    if found is None:
        raise NotFound(f"{slug} has no map yet; ask for one with POST, which takes a minute.")
    return {**found, "topics": maps.topics_of(db, found["id"]), "points": maps.points(db, found["id"])}


@routes.post("/datasets/{slug}/map", summary="Draw the map of the newest version in the background", status_code=202)
def draw_map(slug: str, db: Store, person: Who, settings: Here) -> dict[str, Any]:
    dataset_id = datasets.get(db, slug)["id"]
    mapping.begin(db, settings, dataset_id, person=person)
    now = mapping.look(db, settings, dataset_id)
    return {"state": now.state, "words": now.words, "done": now.done, "of": now.of}


@routes.get("/bounties", summary="Bounties, newest first")
def list_bounties(
    db: Store, person: Who, dataset: str | None = None, open_only: bool = False, limit: Limit = 50
) -> list[dict[str, Any]]:
    dataset_id = datasets.get(db, dataset)["id"] if dataset else None
    return bounties.listing(db, dataset_id=dataset_id, open_only=open_only, limit=limit)


@routes.post("/datasets/{slug}/bounties", summary="Promise credits for accepted rows of a topic", status_code=201)
def promise(slug: str, asked: Promise, db: Store, person: Who) -> dict[str, Any]:
    dataset_id = datasets.get(db, slug)["id"]
    return bounties.get(db, bounties.open_one(db, dataset_id, person=person, **asked.model_dump()))


@routes.post("/bounties/{bounty_id}/end", summary="End a bounty early; what is left flows back")
def end_early(bounty_id: int, why: Why, db: Store, person: Who) -> dict[str, Any]:
    return rewards.end_early(db, bounty_id, person=person, reason=why.reason)


@routes.post("/datasets/{slug}/pot", summary="Give credits of your own to a dataset's pot", status_code=201)
def give(slug: str, gift: Gift, db: Store, person: Who) -> dict[str, Any]:
    dataset_id = datasets.get(db, slug)["id"]
    return {"transaction_id": bounties.give(db, dataset_id, person=person, credits=gift.credits)}
