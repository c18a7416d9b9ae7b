"""Routes of the queue and the device."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from factory.adapters import talk
from factory.api import shapes
from factory.api.caller import Here, Store, Who
from factory.base import people
from factory.training import device, queue, recipes, runs

routes = APIRouter()


class Waiting(BaseModel):
    """A queued run in its order; `waits` says why it is not started now, null where it is its turn."""

    id: int
    name: str
    person: str
    priority: int
    steps_done: int
    steps_total: int | None
    waits: str | None


class Clone(BaseModel):
    """What a clone changes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"recipe": {"rank": 32}}]})
    recipe: dict[str, Any] = Field(description="Settings as `GET /recipes` lists them; all others stay as they were.")
    name: str = ""


class Extension(BaseModel):
    """How much longer a run goes on."""

    epochs: Annotated[float, Field(gt=0)] = 1.0
    name: str = ""


class Device(BaseModel):
    """Who computes on this machine (null: nobody), and the chat process that keeps a model in memory (null: none)."""

    kind: str | None
    words: str
    run_id: int | None
    since: float | None
    chat_memory_bytes: int | None


def _line(db: Store, settings: Here) -> list[Waiting]:
    return [Waiting(**{**run, "waits": queue.held_up_by(db, settings, run)}) for run in queue.waiting(db)]


def _run(db: Store, run_id: int) -> shapes.Run:
    found = runs.get(db, run_id)
    more = {"recipe": recipes.to_dict(found["recipe"]), "predicted_against_measured": runs.predicted_against_measured(found)}
    return shapes.Run(**found | more)


@routes.get("/queue", tags=["runs"], summary="What waits, in its order, and why")
def show_queue(db: Store, person: Who, settings: Here) -> list[Waiting]:
    return _line(db, settings)


@routes.put("/queue", tags=["runs"], summary="Put your queued runs in this order, in the places they have")
def order_queue(run_ids: list[int], db: Store, person: Who, settings: Here) -> list[Waiting]:
    queue.put_in_order(db, run_ids, person=person)
    return _line(db, settings)


@routes.post("/runs/{run_id}/move/{where}", tags=["runs"], summary="Move a queued run among your own")
def move_run(
    run_id: int, where: Literal["up", "down", "top", "bottom"], db: Store, person: Who, settings: Here
) -> list[Waiting]:
    queue.move(db, run_id, where, person=person)
    return _line(db, settings)


@routes.post("/runs/{run_id}/clone", tags=["runs"], summary="Queue the same run with some settings changed", status_code=201)
def clone_run(run_id: int, wanted: Clone, db: Store, person: Who, settings: Here) -> shapes.Run:
    return _run(db, queue.clone(db, settings, run_id, person=person, changes=wanted.recipe, name=wanted.name))


@routes.get("/runs/{run_id}/changes", tags=["runs"], summary="What a run's recipe changed since its parent's")
def changes(run_id: int, db: Store, person: Who) -> dict[str, list[Any]]:
    return {name: [there, here] for name, there, here in queue.difference(db, runs.get(db, run_id))}


@routes.post(
    "/runs/{run_id}/extend", tags=["runs"], summary="Queue a run that goes on where this one ended", status_code=201
)
def extend_run(run_id: int, wanted: Extension, db: Store, person: Who, settings: Here) -> shapes.Run:
    return _run(db, queue.extend(db, settings, run_id, person=person, epochs=wanted.epochs, name=wanted.name))


@routes.post("/runs/{run_id}/retry", tags=["runs"], summary="Try a failed or interrupted run again")
def retry_run(run_id: int, db: Store, person: Who) -> shapes.Run:
    queue.retry(db, run_id, person=person)
    return _run(db, run_id)


def _device(settings: Here) -> Device:
    found, chat = device.holder(settings), device.resident(settings)
    return Device(
        kind=found.kind if found else None,
        words=f"{found.words}." if found else "Nobody holds the device.",
        run_id=found.run_id if found else None,
        since=found.since if found else None,
        chat_memory_bytes=chat["memory_bytes"] if chat else None,
    )


@routes.get("/device", tags=["runs"], summary="Who computes on this machine")
def show_device(person: Who, settings: Here) -> Device:
    return _device(settings)


@routes.post("/device/free", tags=["runs"], summary="Ask the run that computes to make way; it goes on by itself")
def free_device(db: Store, person: Who, settings: Here) -> dict[str, str]:
    return {"said": queue.free(db, settings, person=person)}


@routes.delete("/device/chat", tags=["runs"], summary="End the chat process, which gives its memory back")
def free_chat(person: Who, settings: Here) -> Device:
    people.need(person, "builder")
    talk.free(settings)
    return _device(settings)
