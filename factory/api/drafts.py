"""Routes about drafts: rows kept while they are mended, by their author alone, until they are sent."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

from fastapi import APIRouter, Form
from pydantic import BaseModel, Field

from factory.api import shapes
from factory.api.caller import Here, Limit, Offset, Store, Upload, Who
from factory.base.errors import Invalid
from factory.intake import columns, datasets, drafts, formats, opening, sending
from factory.intake.columns import Mapping
from factory.intake.formats import Row

routes = APIRouter(tags=["contribute"])


class Marks(BaseModel):
    """Rows of a draft, by their places from 0, and what is to become of them."""

    positions: list[int] = Field(min_length=1, max_length=10_000)
    dropped: bool | None = Field(default=None, description="Drop them, or bring them back.")
    confirmed: bool | None = Field(default=None, description="Say of rows made from a document that they are right.")


class Terms(BaseModel):
    """Under what terms a draft is sent."""

    licence: str = Field(description="An SPDX identifier that fits the dataset's licence.")
    mine_to_give: bool = Field(description="You say that you may give these rows under that licence.")


@routes.get("/drafts", summary="Your drafts, the one touched last first; nobody else sees them")
def listing(db: Store, person: Who, dataset: str | None = None) -> list[dict[str, Any]]:
    dataset_id = datasets.get(db, dataset)["id"] if dataset else None
    return drafts.listing(db, person, dataset_id=dataset_id)


@routes.post("/datasets/{slug}/drafts", summary="Keep rows as a draft and judge them; no quota is spent", status_code=201)
def begin(slug: str, offered: shapes.Rows, db: Store, person: Who) -> dict[str, Any]:
    rows = [Row(place, messages, None, "") for place, messages in enumerate(offered.model_dump()["rows"])]
    draft_id = drafts.begin(db, datasets.get(db, slug)["id"], person=person, rows=rows, source="api")
    return drafts.check(db, draft_id, person=person)


def mapped(said: str) -> Mapping | None:
    """The mapping in a form's field, or None when it is empty. Raises Invalid."""
    if not said.strip():
        return None
    try:
        return columns.said(json.loads(said))
    except (ValueError, RecursionError) as problem:
        raise Invalid('The mapping is not JSON; write {"question": "a column", "answer": "another"}.') from problem


Which = Annotated[str, Form(description='Which column is which, as JSON: {"question": …, "answer": …} or {"turns": …}.')]
Encoding = Annotated[str, Form(description="Of its text, where it is not the one it seems to have.")]


@routes.post("/look", summary="What a file seems to be, and its first rows as they would become")
def look(file: Upload, person: Who, settings: Here, mapping: Which = "", encoding: Encoding = "") -> dict[str, Any]:
    found = formats.look(
        file.file, name=file.filename or "upload", settings=settings, mapping=mapped(mapping), encoding=encoding
    )
    return {**dataclasses.asdict(found), "is_document": found.is_document}


@routes.post("/datasets/{slug}/drafts/file", summary="The same for a file of any known format", status_code=201)
def begin_with_file(
    slug: str,
    file: Upload,
    db: Store,
    person: Who,
    settings: Here,
    mapping: Which = "",
    encoding: Encoding = "",
    start: Annotated[int, Form(ge=0, description="Rows to pass over first; a draft takes 10,000.")] = 0,
) -> list[dict[str, Any]]:
    """One draft of the rows in it, and one of what could be rows of documents in it, to confirm."""
    made = opening.begin(
        db, datasets.get(db, slug)["id"], person=person, source=file.file, name=file.filename or "upload",
        settings=settings, mapping=mapped(mapping), encoding=encoding, start=start, by="api",
    )  # fmt: skip
    return [drafts.check(db, each, person=person) for each in made]


@routes.get("/drafts/{draft_id}", summary="One draft, and what would happen if it were sent now")
def show(draft_id: int, db: Store, person: Who) -> dict[str, Any]:
    draft = drafts.get(db, draft_id, person=person)
    return {**draft, "outlook": dataclasses.asdict(sending.outlook(db, draft_id, person=person))}


@routes.get("/drafts/{draft_id}/rows", summary="Rows of a draft with what the checks say of each")
def rows(
    draft_id: int, db: Store, person: Who, shown: str = "all", limit: Limit = 50, offset: Offset = 0
) -> list[dict[str, Any]]:
    return drafts.rows(db, draft_id, person=person, shown=shown, limit=limit, offset=offset)


@routes.put("/drafts/{draft_id}/rows/{position}", summary="Put other words into a row; it is judged at once")
def edit(draft_id: int, position: int, changed: shapes.OneRow, db: Store, person: Who) -> dict[str, Any]:
    return drafts.edit(db, draft_id, position, person=person, messages=changed.model_dump()["messages"])


@routes.patch("/drafts/{draft_id}/rows", summary="Drop rows, bring them back, or confirm them")
def mark(draft_id: int, marks: Marks, db: Store, person: Who) -> dict[str, Any]:
    found = drafts.get(db, draft_id, person=person)
    if marks.dropped is not None:
        found = drafts.set_apart(db, draft_id, marks.positions, person=person, dropped=marks.dropped)
    if marks.confirmed is not None:
        found = drafts.confirm(db, draft_id, marks.positions, person=person, confirmed=marks.confirmed)
    return found


@routes.post("/drafts/{draft_id}/check", summary="Judge every row again: others may have offered the same since")
def check(draft_id: int, db: Store, person: Who) -> dict[str, Any]:
    return drafts.check_again(db, draft_id, person=person)


@routes.post("/drafts/{draft_id}/send", summary="Submit what is good; the rest stays in the draft", status_code=201)
def send(draft_id: int, terms: Terms, db: Store, person: Who) -> dict[str, Any]:
    sent = sending.send(db, draft_id, person=person, licence=terms.licence, attested=terms.mine_to_give)
    return {"submission": sent.id, "waiting": sent.accepted_for_review, "refused": sent.refused,
            "example_ids": sent.example_ids}  # fmt: skip


@routes.delete("/drafts/{draft_id}", summary="Throw a draft away", status_code=204)
def delete(draft_id: int, db: Store, person: Who) -> None:
    drafts.delete(db, draft_id, person=person)
