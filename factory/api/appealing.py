"""Routes about what comes after a decision: an example's story, appeals and their answers."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter

from factory.api import shapes
from factory.api.caller import Store, Who
from factory.intake import appeals, datasets, timeline

routes = APIRouter(tags=["review"])


class AppealAnswer(shapes.Words):
    """What somebody uninvolved says: the decision stands, or it does not."""

    answer: Literal["upheld", "overturned"]


@routes.get("/examples/{example_id}/history", summary="The story of an example, with nobody's name")
def history(example_id: int, db: Store, person: Who) -> list[dict[str, Any]]:
    return timeline.of(db, example_id, person=person)


@routes.post("/examples/{example_id}/appeal", summary="Ask somebody uninvolved to look again, once", status_code=201)
def appeal(example_id: int, said: shapes.Words, db: Store, person: Who) -> dict[str, Any]:
    return {"appeal_id": appeals.appeal(db, example_id, person=person, words=said.words)}


@routes.get("/datasets/{slug}/appeals", summary="Appeals that you may answer")
def listing(slug: str, db: Store, person: Who) -> list[dict[str, Any]]:
    return appeals.open_appeals(db, datasets.get(db, slug)["id"], reviewer=person)


@routes.post("/review/appeals/{appeal_id}", summary="Uphold a decision, or overturn it")
def answer(appeal_id: int, said: AppealAnswer, db: Store, person: Who) -> dict[str, Any]:
    state = appeals.answer_appeal(db, appeal_id, reviewer=person, answer=said.answer, words=said.words)
    return {"appeal_id": appeal_id, "answer": said.answer, "state": state}
