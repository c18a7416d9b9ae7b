"""Every route of the API. Work that needs a model runs in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, UploadFile
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from sqlite_utils import Database

from factory.adapters import cards, exports, kept
from factory.api import drafts, shapes
from factory.api.caller import Here, Limit, Offset, Store, Upload, Who
from factory.api.drafts import Encoding, Which
from factory.base import people
from factory.base.errors import FactoryError, Invalid, Unavailable
from factory.base.people import Person
from factory.base.settings import Settings
from factory.credit import leaderboards, ledger
from factory.credit import verify as verification
from factory.intake import contributions, datasets, formats
from factory.training import presets, recipes, runs

CHILD_SECONDS = 1800
routes = APIRouter()


@routes.get("/me", tags=["contribute"], summary="Who you are here")
def me(person: Who) -> shapes.Me:
    return shapes.Me(id=person.id, name=person.name, display_name=person.display_name, roles=sorted(person.roles))


# ---------------------------------------------------------------- contribute


def _judged(judged: list[contributions.Judged]) -> list[shapes.JudgedRow]:
    return [
        shapes.JudgedRow(
            position=row.position,
            refused=row.refused,
            quota_ok=row.quota_ok,
            findings=[shapes.Found(**{name: getattr(f, name) for name in shapes.Found.model_fields}) for f in row.findings],
        )
        for row in judged
    ]


def _preflight(db: Database, slug: str, person: Person, rows: Any) -> shapes.Preflight:
    dataset = datasets.get(db, slug)
    judged = contributions.preflight(db, dataset["id"], person=person, rows=rows)
    allowed = contributions.allowance(db, dataset["id"], person)
    return shapes.Preflight(
        good=sum(not row.refused for row in judged),
        allowance=shapes.Allowance.model_validate(allowed, from_attributes=True),
        rows=_judged(judged),
    )


def _submit(db: Database, slug: str, person: Person, rows: Any, **about: Any) -> shapes.Submitted:
    sent = contributions.submit(db, datasets.get(db, slug)["id"], person=person, rows=rows, source="api", **about)
    return shapes.Submitted(
        id=sent.id,
        accepted_for_review=sent.accepted_for_review,
        refused=sent.refused,
        example_ids=sent.example_ids,
        rows=_judged(sent.judged),
    )


def _uploaded(file: UploadFile, settings: Settings, mapping: str, encoding: str) -> formats.Reading:
    name = file.filename or "upload"
    return formats.read(file.file, name=name, settings=settings, mapping=drafts.mapped(mapping), encoding=encoding)


@routes.post("/datasets/{slug}/preflight", tags=["contribute"], summary="Say what is wrong with rows; write nothing")
def preflight(slug: str, offered: shapes.Rows, db: Store, person: Who) -> shapes.Preflight:
    return _preflight(db, slug, person, offered.model_dump()["rows"])


@routes.post("/datasets/{slug}/preflight/file", tags=["contribute"], summary="The same for a file of any known format")
def preflight_file(
    slug: str, file: Upload, db: Store, person: Who, settings: Here, mapping: Which = "", encoding: Encoding = ""
) -> shapes.Preflight:
    return _preflight(db, slug, person, _uploaded(file, settings, mapping, encoding).rows)


@routes.post("/datasets/{slug}/submissions", tags=["contribute"], summary="Submit rows for review", status_code=201)
def submit(slug: str, offered: shapes.Offer, db: Store, person: Who) -> shapes.Submitted:
    rows = offered.model_dump()["rows"]
    return _submit(db, slug, person, rows, licence=offered.licence, attested=offered.mine_to_give)


@routes.post(
    "/datasets/{slug}/submissions/file", tags=["contribute"], summary="Submit a file's readable rows", status_code=201
)
def submit_file(
    slug: str,
    file: Upload,
    licence: Annotated[str, Form()],
    mine_to_give: Annotated[bool, Form()],
    db: Store,
    person: Who,
    settings: Here,
    mapping: Which = "",
    encoding: Encoding = "",
) -> shapes.Submitted:
    reading = _uploaded(file, settings, mapping, encoding)
    rows = [row for row in reading.rows if row.messages is not None]
    return _submit(
        db,
        slug,
        person,
        rows,
        file_name=file.filename,
        file_format=reading.container,
        licence=licence,
        attested=mine_to_give,
    )


@routes.get("/examples", tags=["contribute"], summary="Your own examples, newest first")
def examples(
    db: Store, person: Who, dataset: str | None = None, state: str | None = None, limit: Limit = 50, offset: Offset = 0
) -> list[dict[str, Any]]:
    dataset_id = datasets.get(db, dataset)["id"] if dataset else None
    return contributions.mine(db, person, dataset_id=dataset_id, state=state, limit=limit, offset=offset)


# ---------------------------------------------------------------- datasets


@routes.get("/datasets", tags=["datasets"], summary="All datasets, newest first")
def list_datasets(db: Store, person: Who) -> list[shapes.Dataset]:
    return [shapes.Dataset(**found) for found in datasets.everything(db)]


@routes.get("/datasets/{slug}", tags=["datasets"], summary="One dataset")
def show_dataset(slug: str, db: Store, person: Who) -> shapes.Dataset:
    return shapes.Dataset(**datasets.get(db, slug))


@routes.get("/datasets/{slug}/versions", tags=["datasets"], summary="The frozen versions of a dataset, newest first")
def list_versions(slug: str, db: Store, person: Who) -> list[shapes.Version]:
    return [shapes.Version(**found) for found in datasets.versions(db, datasets.get(db, slug)["id"])]


@routes.post("/datasets/{slug}/versions", tags=["datasets"], summary="Freeze what is accepted now", status_code=201)
def freeze(slug: str, db: Store, person: Who, note: str = "") -> shapes.Version:
    return shapes.Version(**datasets.freeze(db, datasets.get(db, slug)["id"], person=person, note=note))


def _messages(text: str) -> list[shapes.Message]:
    return [shapes.Message.model_validate(message) for message in formats.messages(text)]


@routes.get("/datasets/{slug}/versions/{number}/rows", tags=["datasets"], summary="Rows of a frozen version, in order")
def version_rows(
    slug: str, number: int, db: Store, person: Who, limit: Limit = 100, offset: Offset = 0
) -> list[shapes.VersionRow]:
    rows = datasets.version_content(db, datasets.numbered(db, slug, number)["id"])
    return [
        shapes.VersionRow(position=position, example_id=example_id, messages=_messages(text))
        for position, example_id, text in rows
        if offset <= position < offset + limit
    ]


@routes.get("/datasets/{slug}/versions/{number}/file", tags=["datasets"], summary="A frozen version as JSON lines")
def version_file(slug: str, number: int, db: Store, person: Who) -> StreamingResponse:
    lines = [text + "\n" for _, _, text in datasets.version_content(db, datasets.numbered(db, slug, number)["id"])]
    headers = {"Content-Disposition": f'attachment; filename="{slug}-{number}.jsonl"'}
    return StreamingResponse(iter(lines), media_type="application/jsonl", headers=headers)


# ---------------------------------------------------------------- runs


def _run(found: dict[str, Any]) -> shapes.Run:
    recipe, compared = found["recipe"], runs.predicted_against_measured(found)
    settings = recipe if isinstance(recipe, dict) else recipes.to_dict(recipe)
    return shapes.Run(**{**found, "recipe": settings, "predicted_against_measured": compared})


@routes.get("/recipes", tags=["runs"], summary="Every setting of a recipe with its range, and the presets")
def list_recipes(db: Store, person: Who) -> dict[str, Any]:
    known = {name: recipes.to_dict(recipe) for name, recipe in presets.by_name(db).items()}
    return {"settings": [vars(knob) for knob in recipes.knobs()], "presets": known}


@routes.get("/runs", tags=["runs"], summary="Runs, newest first")
def list_runs(db: Store, person: Who, status: str | None = None, limit: Limit = 50, offset: Offset = 0) -> list[shapes.Run]:
    return [_run(found) for found in runs.listing(db, status=status, limit=limit, offset=offset)]


@routes.post("/runs", tags=["runs"], summary="Put a training run in the queue", status_code=201)
def create_run(wanted: shapes.NewRun, db: Store, person: Who, settings: Here) -> shapes.Run:
    recipe = presets.with_changes(db, wanted.preset, wanted.recipe)
    version = datasets.numbered(db, wanted.dataset, wanted.version)
    more = [(datasets.numbered(db, each.dataset, each.version)["id"], each.weight) for each in wanted.more]
    run_id = runs.create(
        db, person=person, version_id=version["id"], recipe=recipe, name=wanted.name, settings=settings,
        weight=wanted.weight, more=more, anyway=wanted.anyway,
    )  # fmt: skip
    return _run(runs.get(db, run_id))


@routes.get("/runs/{run_id}", tags=["runs"], summary="One run")
def show_run(run_id: int, db: Store, person: Who) -> shapes.Run:
    return _run(runs.get(db, run_id))


@routes.get("/runs/{run_id}/metrics", tags=["runs"], summary="Curves of a run: name → [[step, value], …]")
def run_metrics(
    run_id: int,
    db: Store,
    person: Who,
    name: Annotated[list[str], Query(description="May be repeated.")] = ["loss", "held_out_loss"],  # noqa: B006
    points: Annotated[int, Query(ge=2, le=10_000, description="Longer curves are thinned to about this many.")] = 1000,
) -> dict[str, list[tuple[float, float]]]:
    runs.get(db, run_id)
    return {
        key: [(step, value) for step, value in curve] for key, curve in runs.metrics(db, run_id, name, points=points).items()
    }


@routes.post("/runs/{run_id}/{wish}", tags=["runs"], summary="Stop, pause, resume or cancel a run")
def steer_run(run_id: int, wish: Literal["stop", "pause", "resume", "cancel"], db: Store, person: Who) -> shapes.Run:
    if wish == "resume":
        runs.resume(db, run_id, person=person)
    elif wish == "cancel":
        runs.cancel(db, run_id, person=person)
    else:
        runs.ask(db, run_id, wish, person=person)
    return _run(runs.get(db, run_id))


# ---------------------------------------------------------------- adapters


@routes.get("/adapters", tags=["adapters"], summary="Adapters, newest first")
def list_adapters(db: Store, person: Who, search: str = "", limit: Limit = 50, offset: Offset = 0) -> list[shapes.Adapter]:
    return [shapes.Adapter(**found) for found in kept.listing(db, search=search, limit=limit, offset=offset)]


@routes.get("/adapters/{adapter_id}", tags=["adapters"], summary="One adapter")
def show_adapter(adapter_id: int, db: Store, person: Who) -> shapes.Adapter:
    return shapes.Adapter(**kept.get(db, adapter_id))


@routes.get("/adapters/{adapter_id}/card", tags=["adapters"], summary="The model card, as Markdown")
def adapter_card(adapter_id: int, db: Store, person: Who) -> PlainTextResponse:
    return PlainTextResponse(cards.card(db, adapter_id), media_type="text/markdown")


@routes.get("/adapters/{adapter_id}/exports", tags=["adapters"], summary="The exports of an adapter, newest first")
def list_exports(adapter_id: int, db: Store, person: Who) -> list[shapes.Export]:
    kept.get(db, adapter_id)
    return [shapes.Export(**found) for found in exports.listing(db, adapter_id)]


@routes.post("/adapters/{adapter_id}/exports", tags=["adapters"], summary="Make and verify a PEFT export", status_code=201)
def make_export(adapter_id: int, person: Who) -> shapes.Export:
    people.need(person, "builder")
    return shapes.Export(**_in_a_process("export", str(adapter_id), "--as", person.name))


@routes.get("/exports/{export_id}/file", tags=["adapters"], summary="Download an export")
def download_export(export_id: int, db: Store, person: Who, settings: Here) -> FileResponse:
    found = exports.get(db, settings, export_id)
    return FileResponse(found["path"], filename=str(found["file"]).rpartition("/")[2], media_type="application/zip")


def _in_a_process(*words: str) -> dict[str, Any]:
    """What a command answers: for work that needs a model, which must not be loaded into the app."""
    command = [sys.executable, "-m", "factory", *words, "--json"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CHILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as problem:
        raise Unavailable(f"`{words[0]}` took over {CHILD_SECONDS / 60:.0f} minutes and was ended; try again.") from problem
    if not done.stdout.strip():
        raise Unavailable(f"`{' '.join(words[:2])}` ended with code {done.returncode}; the app's log says why.")
    answer: dict[str, Any] = json.loads(done.stdout)
    if done.returncode and "error" in answer:
        refusal = Invalid(answer["problems"]) if answer["problems"] else FactoryError(answer["error"])
        refusal.status = answer["status"]
        raise refusal
    return answer


# ---------------------------------------------------------------- worth


@routes.get("/leaderboards/contributors", tags=["worth"], summary="Contributors by standing, with credits")
def contributors(db: Store, person: Who, dataset: str | None = None) -> list[dict[str, Any]]:
    dataset_id = datasets.get(db, dataset)["id"] if dataset else None
    return leaderboards.contributors(db, dataset_id=dataset_id)


@routes.get("/leaderboards/datasets", tags=["worth"], summary="Datasets by their best adapter's gain")
def dataset_board(db: Store, person: Who) -> list[dict[str, Any]]:
    return leaderboards.datasets(db)


@routes.get("/leaderboards/adapters", tags=["worth"], summary="Adapters by gain, each held-out set for itself")
def adapter_board(db: Store, person: Who, held_out_root: str | None = None) -> list[dict[str, Any]]:
    return leaderboards.adapters(db, held_out_root=held_out_root)


@routes.get("/ledger", tags=["worth"], summary="The public ledger, newest first")
def ledger_entries(db: Store, person: Who, limit: Limit = 200, offset: Offset = 0) -> list[dict[str, Any]]:
    return ledger.entries(db, limit=limit, offset=offset)


@routes.get("/ledger/verify", tags=["worth"], summary="Recompute everything; names the first row tampered with")
def verify(db: Store, person: Who) -> dict[str, Any]:
    return verification.verify(db)
