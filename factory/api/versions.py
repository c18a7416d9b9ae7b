"""Routes about frozen versions: what changed, proofs, and the whole of one as a file, out and in."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from factory.api import shapes
from factory.api.caller import Here, Store, Upload, Who
from factory.intake import datasets, importing, proofs, publishing

routes = APIRouter(tags=["datasets"])


@routes.get("/datasets/{slug}/versions/{number}/diff/{older}", summary="What changed since an older version")
def difference(slug: str, number: int, older: int, db: Store, person: Who) -> dict[str, Any]:
    return proofs.difference(db, datasets.numbered(db, slug, older)["id"], datasets.numbered(db, slug, number)["id"])


@routes.get("/datasets/{slug}/versions/{number}/proof/{content_hash}", summary="That a row is in a version, or is not")
def proof(slug: str, number: int, content_hash: str, db: Store, person: Who) -> dict[str, Any]:
    return proofs.prove(db, datasets.numbered(db, slug, number)["id"], content_hash)


@routes.post("/datasets/{slug}/versions/{number}/proof", summary="The same for the words of one row")
def proof_of_words(slug: str, number: int, row: shapes.OneRow, db: Store, person: Who) -> dict[str, Any]:
    return proofs.prove_messages(db, datasets.numbered(db, slug, number)["id"], row.model_dump()["messages"])


@routes.get("/datasets/{slug}/versions/{number}/archive", summary="Rows, card, Croissant and proof as one zip")
def published(slug: str, number: int, db: Store, person: Who, settings: Here) -> FileResponse:
    version = datasets.numbered(db, slug, number)
    settings.exports.mkdir(parents=True, exist_ok=True)
    folder = tempfile.TemporaryDirectory(dir=settings.exports, prefix=".version-")
    told = publishing.archive(db, version["id"], Path(folder.name) / f"{slug}-{number}.zip")
    return FileResponse(
        told["path"],
        filename=f"{slug}-{number}.zip",
        media_type="application/zip",
        background=BackgroundTask(folder.cleanup),
    )


@routes.post("/datasets/import", summary="Take in a version that another installation published", status_code=201)
def bring(file: Upload, db: Store, person: Who, settings: Here, slug: str = "") -> shapes.Version:
    with tempfile.NamedTemporaryFile(suffix=".zip") as kept:
        kept.write(file.file.read())
        kept.flush()
        return shapes.Version(**importing.bring(db, Path(kept.name), person=person, settings=settings, slug=slug))
