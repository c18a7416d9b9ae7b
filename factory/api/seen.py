"""Routes that look at a run as its page does: its answers, its curves in words."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from factory.api.caller import Here, Store, Who
from factory.training import failures, reading, reports, runs, samples

routes = APIRouter()


class Answer(BaseModel):
    """What a run answered to one question after a step; `cut` when it would have gone on."""

    step: int
    position: int
    prompt: str
    answer: str
    cut: bool
    seconds: float
    held_out_loss: float | None


class Finding(BaseModel):
    """One thing the curves show, by which numbers, and settings to try next."""

    code: str
    tone: str
    sentence: str
    evidence: str
    next_step: str
    changes: dict[str, Any]


class Try(BaseModel):
    """One change that may help."""

    words: str
    changes: dict[str, Any]


class Broke(BaseModel):
    """Why a run broke, how that is known, and what may help."""

    what: str
    evidence: list[str]
    tries: list[Try]
    step: int | None


class Reading(BaseModel):
    """A run in plain words."""

    broke: Broke | None
    findings: list[Finding]


@routes.get("/runs/{run_id}/samples", tags=["runs"], summary="What a run answered while it learnt, by step and question")
def run_samples(run_id: int, db: Store, person: Who) -> list[Answer]:
    runs.get(db, run_id)
    return [Answer(**row) for row in samples.listing(db, run_id)]


@routes.get("/runs/{run_id}/reading", tags=["runs"], summary="A run's curves in plain words, and why it broke if it did")
def run_reading(run_id: int, db: Store, person: Who) -> Reading:
    run = runs.get(db, run_id)
    broke = failures.explain(run, runs.events(db, run_id))
    found = Broke(
        what=broke.what, evidence=list(broke.evidence), step=broke.step,
        tries=[Try(words=each.words, changes=dict(each.changes)) for each in broke.tries],
    ) if broke else None  # fmt: skip
    return Reading(broke=found, findings=[Finding(**vars(each)) for each in reading.of(db, run)])


@routes.get("/runs/{run_id}/tensorboard", tags=["runs"], summary="A run's TensorBoard event files as a zip")
def run_tensorboard(run_id: int, db: Store, person: Who, settings: Here) -> Response:
    packed = reports.zipped(settings.runs / runs.get(db, run_id)["folder"])
    named = {"Content-Disposition": f'attachment; filename="run-{run_id}-tensorboard.zip"'}
    return Response(packed, media_type="application/zip", headers=named)
