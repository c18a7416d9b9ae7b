"""Routes about reviewers: what one judged, verdicts on hold, the record of everybody, ties that rows show."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from factory.api import shapes
from factory.api.caller import Store, Who
from factory.base import people
from factory.intake import conflicts, gold, held, reviewers, timeline

routes = APIRouter(tags=["review"])


@routes.get("/review/judged", summary="What you judged, newest first, and what became of it")
def judged(db: Store, person: Who, limit: int = 20, offset: int = 0) -> list[dict[str, Any]]:
    return timeline.judged_by(db, person, limit=max(1, min(limit, 100)), offset=max(0, offset))


@routes.post("/examples/{example_id}/verdict/hold", summary="Judge an example; for ten seconds you can take it back")
def hold(example_id: int, said: shapes.Verdict, db: Store, person: Who) -> dict[str, Any]:
    on_hold = held.say(db, example_id, reviewer=person, **said.model_dump())
    return {"on_hold": on_hold, "seconds": held.UNDO_SECONDS, "check": gold.feedback(db, example_id, reviewer=person)}


@routes.delete("/review/hold", summary="Take your last verdict back")
def take_back(db: Store, person: Who) -> dict[str, Any]:
    return {"example_id": held.take_back(db, reviewer=person)}


@routes.get("/examples/{example_id}/beside", summary="The version an example mends, or the one most like it")
def beside(example_id: int, db: Store, person: Who) -> dict[str, Any] | None:
    return timeline.beside(db, example_id, reviewer=person)


@routes.get("/review/ties", summary="Ties found between you and others, because of which you are not asked about them")
def ties_of_mine(db: Store, person: Who) -> list[dict[str, Any]]:
    return conflicts.mine(db, person)


@routes.get("/reviewers", summary="Everybody who reviews: accuracy, agreement above chance, weight")
def board(db: Store, person: Who, limit: int = 50, offset: int = 0) -> list[dict[str, Any]]:
    return reviewers.board(db, person=person, limit=max(1, min(limit, 100)), offset=max(0, offset))


@routes.get("/reviewers/ties", summary="Every tie that rows show, newest first")
def ties(db: Store, person: Who, limit: int = 50, offset: int = 0) -> list[dict[str, Any]]:
    return conflicts.listing(db, person=person, limit=max(1, min(limit, 100)), offset=max(0, offset))


@routes.post("/reviewers/ties/{conflict_id}/lift", summary="Say that a tie found is none")
def lift(conflict_id: int, said: shapes.Words, db: Store, person: Who) -> dict[str, Any]:
    conflicts.lift(db, conflict_id, person=person, words=said.words)
    return {"conflict_id": conflict_id, "lifted": True}


@routes.get("/reviewers/{name}", summary="One reviewer's record, and how their weight came about")
def record(name: str, db: Store, person: Who) -> dict[str, Any]:
    found = people.get(db, name)
    if found.id != person.id:
        people.need(person, "curator")
    return {**reviewers.summary(db, found.id), "over_time": reviewers.over_time(db, found.id)}
