"""A record: one row of a stranger's file as it was found, before anybody asks what its columns mean."""

from __future__ import annotations

import json
from collections.abc import Iterable
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


def listed(columns: Iterable[Any]) -> str:
    """Column names in a sentence: the first dozen, none so long or over so many lines that it could hide something.

    >>> listed(["question", "the\\nanswer"])
    'question, the answer'
    """
    names = [" ".join(repaired(str(column)).split())[:40] for column in columns]
    return ", ".join(names[:12]) + (" …" if len(names) > 12 else "") if names else "none"


def folded(fields: dict[str, Any]) -> dict[str, Any]:
    """The same with column names in small letters, spaces as single ones; as it was where two would become one.

    >>> folded({" Question": "a", "ANSWER": "b"})
    {'question': 'a', 'answer': 'b'}
    """
    small = {" ".join(str(name).split()).lower(): value for name, value in fields.items()}
    return small if len(small) == len(fields) else fields
