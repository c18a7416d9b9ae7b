"""Routes about a dataset's rules: those that count, their history, and a change with what it would do."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from factory.api.caller import Store, Who
from factory.intake import datasets, policy, rules

routes = APIRouter(prefix="/datasets/{slug}/policy", tags=["datasets"])


class Changes(BaseModel):
    """Rules that differ from those that count now, by name."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"changes": {"quorum": 3}}]})
    changes: dict[str, float | str]


class Change(Changes):
    """The same, with the reason that contributors read."""

    reason: str = Field(max_length=rules.MOST_WORDS)


def _wanted(now: policy.Policy, changes: dict[str, float | str]) -> policy.Policy:
    """JSON does not tell 3 from 3.0; where a rule is a whole number, a whole one is meant."""
    return rules.changed(now, {name: _whole(value) for name, value in changes.items()})


def _whole(value: float | str) -> float | str:
    return int(value) if isinstance(value, float) and value.is_integer() else value


@routes.get("", summary="The rules that count now, and every policy before them")
def show(slug: str, db: Store, person: Who) -> dict[str, Any]:
    dataset_id = datasets.get(db, slug)["id"]
    policy_id, now = policy.current(db, dataset_id)
    return {"policy_id": policy_id, "rules": dataclasses.asdict(now), "history": rules.history(db, dataset_id)}


@routes.post("/preview", summary="What would change; nothing is written")
def preview(slug: str, said: Changes, db: Store, person: Who) -> list[dict[str, Any]]:
    dataset_id = datasets.get(db, slug)["id"]
    return rules.preview(db, dataset_id, _wanted(policy.current(db, dataset_id)[1], said.changes))


@routes.put("", summary="Make these rules count from now on")
def change(slug: str, said: Change, db: Store, person: Who) -> dict[str, Any]:
    dataset_id = datasets.get(db, slug)["id"]
    wanted = _wanted(policy.current(db, dataset_id)[1], said.changes)
    policy_id = rules.change(db, dataset_id, wanted, person=person, reason=said.reason)
    return {"policy_id": policy_id, "rules": dataclasses.asdict(wanted)}
