"""Routes about review: the queue, verdicts, conflicts, checks and their disputes, one's own accuracy."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter

from factory.api import shapes
from factory.api.caller import Store, Who
from factory.base import people
from factory.intake import datasets, gold, reviewers, reviews

routes = APIRouter(tags=["review"])


@routes.get("/datasets/{slug}/review", summary="What waits for your verdict, blind")
def queue(slug: str, db: Store, person: Who, limit: int = 10) -> dict[str, Any]:
    dataset = datasets.get(db, slug)
    rows = reviews.queue(db, dataset["id"], reviewer=person, limit=max(1, min(limit, 100)))
    return {"waiting": reviews.remaining(db, dataset["id"], reviewer=person), "queue": rows, "reasons": reviews.REASONS}


@routes.post("/examples/{example_id}/verdict", summary="Judge an example", status_code=201)
def verdict(example_id: int, said: shapes.Verdict, db: Store, person: Who) -> dict[str, Any]:
    state = reviews.decide(db, example_id, reviewer=person, **said.model_dump())
    return {"example_id": example_id, "state": state, "check": gold.feedback(db, example_id, reviewer=person)}


@routes.post("/examples/{example_id}/conflict", summary="Leave an example to others", status_code=201)
def conflict(example_id: int, said: shapes.Words, db: Store, person: Who) -> dict[str, Any]:
    reviews.declare_conflict(db, example_id, reviewer=person, words=said.words)
    return {"example_id": example_id, "conflict": True}


@routes.post("/examples/{example_id}/dispute", summary="Say why a check you judged is wrong", status_code=201)
def dispute(example_id: int, said: shapes.Words, db: Store, person: Who) -> dict[str, Any]:
    return {"dispute_id": gold.dispute(db, example_id, reviewer=person, words=said.words)}


@routes.get("/review/disputes", summary="Disputed checks that you may answer")
def disputes(db: Store, person: Who) -> list[dict[str, Any]]:
    return gold.open_disputes(db, reviewer=person)


@routes.post("/review/disputes/{dispute_id}", summary="Uphold a check, or strike it")
def answer_dispute(dispute_id: int, said: shapes.Answer, db: Store, person: Who) -> dict[str, Any]:
    gold.answer(db, dispute_id, reviewer=person, answer=said.answer, words=said.words)
    return {"dispute_id": dispute_id, "answer": said.answer}


@routes.get("/review/accuracy", summary="How often you are right, and on what that rests")
def accuracy(db: Store, person: Who) -> dict[str, Any]:
    people.need(person, "reviewer")
    return dataclasses.asdict(reviewers.accuracy(db, person.id))
