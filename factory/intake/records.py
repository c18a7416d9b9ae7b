"""A record: one row of a stranger's file as it was found, before anybody asks what its columns mean."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from factory.intake.decoding import repaired
from factory.intake.provenance import Place

RAW_CHARACTERS = 2_000


@dataclass(frozen=True)
class Record:
    """One row as it was found: `fields` when it could be parsed, else `problem`, a sentence."""

    fields: dict[str, Any] | None
    problem: str | None
    raw: str
    place: Place


def shown(row: Any) -> str:
    """The beginning of a row as JSON, for showing."""
    try:
        return repaired(json.dumps(row, ensure_ascii=False, default=str)[:RAW_CHARACTERS])
    except RecursionError:
        return "…"


def folded(fields: dict[str, Any]) -> dict[str, Any]:
    """The same with column names in small letters, without spaces around; as it was where two would become one.

    >>> folded({" Question": "a", "ANSWER": "b"})
    {'question': 'a', 'answer': 'b'}
    """
    small = {str(name).strip().lower(): value for name, value in fields.items()}
    return small if len(small) == len(fields) else fields
