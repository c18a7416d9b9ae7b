"""The route that talks to an adapter or a base model, streamed from the chat process.

The answer comes as server-sent events: `data: {"piece": text}` as often as there is text, then `data: {"end": true}`, or
`data: {"error": sentence, "status": 409}` where it breaks off. Whoever goes away stops the generation.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import iterate_in_threadpool

from factory.adapters import kept, talk
from factory.api import shapes
from factory.api.caller import Here, Store, Who
from factory.base.errors import Conflict, FactoryError, Invalid
from factory.intake import sanctions
from factory.training import models

routes = APIRouter(tags=["adapters"])
MOST_CHARACTERS = 100_000
MOST_WAITING = 8  # answers come one at a time; more people than this in line are asked to come back
GIVEN_UP_SECONDS = 900.0


class Question(BaseModel):
    """A conversation that ends with the user, and who answers: an adapter, or a base model by name."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"adapter_id": 1, "messages": [{"role": "user", "content": "What is a tuple?"}]}]}
    )
    adapter_id: int | None = None
    model: str | None = Field(default=None, description="A base model, where no adapter is asked.")
    messages: list[shapes.Message] = Field(min_length=1, max_length=100)
    max_tokens: Annotated[int, Field(ge=1, le=2048)] = 200
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    seed: int = 0
    stream: bool = Field(default=True, description="False: the whole answer at once, as JSON.")


class Turns:
    """Who is being answered now: one answer a person, and not more people in line than can be answered soon."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}
        self._lock = threading.Lock()

    def take(self, person_id: int) -> None:
        """Begin an answer. Raises Conflict while one is under way for this person, or too many wait."""
        with self._lock:
            now = time.monotonic()
            self._since = {one: since for one, since in self._since.items() if now - since < GIVEN_UP_SECONDS}
            if person_id in self._since:
                raise Conflict("You are being answered already; wait for its end or stop it, then ask again.")
            if len(self._since) >= MOST_WAITING:
                raise Conflict(f"{MOST_WAITING} people wait for an answer already; try again in a minute.")
            self._since[person_id] = now

    def give_back(self, person_id: int) -> None:
        """End an answer."""
        with self._lock:
            self._since.pop(person_id, None)


@routes.post("/chat", summary="Talk to an adapter or a base model; streamed as server-sent events", response_model=None)
def chat(asked: Question, request: Request, db: Store, person: Who, settings: Here) -> StreamingResponse | dict[str, Any]:
    sanctions.may_act(db, person)
    if (asked.adapter_id is None) == (asked.model is None):
        raise Invalid("Say who answers: adapter_id, or else model.")
    if sum(len(message.content) for message in asked.messages) > MOST_CHARACTERS:
        raise Invalid(f"The conversation has over {MOST_CHARACTERS:,} characters; begin again.")
    name = kept.get(db, asked.adapter_id)["model_name"] if asked.adapter_id is not None else str(asked.model)
    models.get(settings, name)
    turns: Turns = request.app.state.turns
    turns.take(person.id)
    pieces = talk.stream(
        settings, adapter_id=asked.adapter_id, model_name=name, messages=[m.model_dump() for m in asked.messages],
        max_tokens=asked.max_tokens, temperature=asked.temperature, seed=asked.seed,
    )  # fmt: skip
    streams = False
    try:
        if not asked.stream:
            return {"adapter_id": asked.adapter_id, "model": name, "answer": "".join(pieces)}
        first = next(pieces, None)  # before the answer begins, so that a refusal has its own status
        streams = True
    finally:
        if not streams:
            turns.give_back(person.id)
    events = _events(first, pieces, turns, person.id)
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _events(first: str | None, pieces: Iterator[str], turns: Turns, person_id: int) -> AsyncIterator[str]:
    try:
        if first is not None:
            yield _event({"piece": first})
        async for piece in iterate_in_threadpool(pieces):
            yield _event({"piece": piece})
        yield _event({"end": True})
    except FactoryError as problem:
        yield _event({"error": str(problem), "status": problem.status})
    finally:
        turns.give_back(person_id)
        pieces.close()  # type: ignore[attr-defined]


def _event(message: dict[str, Any]) -> str:
    return f"data: {json.dumps(message, ensure_ascii=False)}\n\n"
