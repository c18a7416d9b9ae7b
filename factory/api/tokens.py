"""The token view over HTTP: rows as the model sees them, the sums over all, and the three gates."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from factory.api.caller import Here, Store, Who
from factory.intake import datasets
from factory.training import models, presets, tokenising, tokens

routes = APIRouter()


class Wanted(BaseModel):
    """Whose rows, for which recipe, and which row to show: by its id, or picked."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"dataset": "capitals", "recipe": {"max_length": 512}}]})
    dataset: str
    version: int | None = Field(default=None, description="Default: the newest.")
    preset: str | None = None
    recipe: dict[str, Any] = Field(default={}, description="Settings as `GET /recipes` lists them.")
    example_id: int | None = None
    pick: Literal["first", "longest", "random", "problem"] = "first"


class OneToken(BaseModel):
    """How it reads, its id, whether it is trained on, a sign of the template, or cut off."""

    text: str
    id: int
    trained: bool
    special: bool
    cut: bool


class OneRow(BaseModel):
    """A row as the model sees it, and what is wrong with it."""

    example_id: int
    troubles: list[str]
    tokens: list[OneToken]


class Gate(BaseModel):
    """One gate: whether all rows pass it, else the ids of those that do not, what that means and what to do."""

    gate: str
    title: str
    passed: bool
    example_ids: list[int]
    sentence: str
    advice: str


class Seen(BaseModel):
    """Sums over all rows after the cut, lengths before it (50th and 95th percentile), the gates, and one row."""

    rows: int
    tokens: int
    trained_tokens: int
    share: float
    rows_cut: int
    rows_with_nothing: int
    p50: int
    p95: int
    recommended: int
    gates: list[Gate]
    row: OneRow


@routes.post("/tokens", tags=["runs"], summary="Rows as the model would see them, and whether they may be trained on")
def see_tokens(wanted: Wanted, db: Store, person: Who, settings: Here) -> Seen:
    recipe = presets.with_changes(db, wanted.preset, wanted.recipe)
    version = datasets.numbered(db, wanted.dataset, wanted.version)
    view = tokenising.made(db, settings, version_id=version["id"], recipe=recipe, person=person)
    most = recipe.max_length
    longest = int(models.get(settings, recipe.base_model)["max_length"] or 0)
    found = tokens.summary(view, max_length=most, longest=longest)
    if wanted.example_id is not None:
        place = tokens.place_of(view, wanted.example_id)
    else:
        place = tokens.pick(view, wanted.pick, max_length=most, seed=recipe.seed)
    ids = view.example_ids.tolist()
    gates = [Gate(**{**gate, "example_ids": [ids[at] for at in gate["rows"]]}) for gate in found["gates"]]
    row = OneRow(
        example_id=ids[place],
        troubles=tokens.troubles(view, place, max_length=most),
        tokens=[OneToken(**dataclasses.asdict(token)) for token in tokens.row(view, place, max_length=most)],
    )
    return Seen(**{**found, "gates": gates}, row=row)
