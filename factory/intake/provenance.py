"""Where a row was found: the file, its lines or page, and the characters of the passage it was made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.intake import personal

UNITS = ("line", "row", "paragraph", "page")
MAX_PASSAGE = 4_000


@dataclass(frozen=True)
class Place:
    """A place in a file: `first` to `last` of its lines, rows, paragraphs or pages, counted from 1.

    `file` is its name; inside an archive or a workbook the inner name follows, as in "notes.zip › a.md". A row made from a
    document has also the span `start` to `end`, in characters of the document's text, and that `passage`.
    """

    file: str
    unit: str
    first: int
    last: int
    start: int | None = None
    end: int | None = None
    passage: str = ""

    def words(self) -> str:
        """The place in words.

        >>> Place("notes.pdf", "page", 3, 4, 120, 480).words()
        'notes.pdf, pages 3–4, characters 120–480'
        """
        return f"{self.file}, {self.inside()}"

    def inside(self) -> str:
        """The same without the file's name, which may say whose it is: what a blind reviewer sees."""
        where = f"{self.unit} {self.first:,}" if self.first == self.last else f"{self.unit}s {self.first:,}–{self.last:,}"
        return where + ("" if self.start is None or self.end is None else f", characters {self.start:,}–{self.end:,}")


def said(value: Any) -> Place | None:
    """The place that a row of a stranger's file says it comes from, cut to size; None where it is none.

    >>> said({"file": "a.md", "unit": "line", "first": 1, "last": 2}).words()
    'a.md, lines 1–2'
    >>> said({"file": "a.md", "unit": "shelf", "first": 1, "last": 2}) is None
    True
    """
    if not isinstance(value, dict):
        return None
    file, unit, passage = value.get("file"), value.get("unit"), value.get("passage", "")
    first, last, start, end = (value.get(name) for name in ("first", "last", "start", "end"))
    spanned = [number for number in (start, end) if number is not None]
    if not isinstance(file, str) or not isinstance(passage, str) or unit not in UNITS:
        return None
    if not isinstance(first, int) or not isinstance(last, int):
        return None
    if not all(_is_place(number) for number in (first, last, *spanned)):
        return None
    return Place(file[:200], str(unit), first, last, start, end, passage[:MAX_PASSAGE])


def _is_place(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def keep(db: Database, submission_id: int, rows: Sequence[Any]) -> None:
    """Keep the passages that the rows of a submission were made from, in its transaction; they never change afterwards.

    Rows of tables have no passage, and nothing is kept of them. What is personal or secret in a passage is blotted out.
    """
    places = {row.position: row.place for row in rows if getattr(row, "place", None) and row.place.start is not None}
    if not places:
        return
    kept = store.rows(db, "select id, position from examples where submission_id = ?", submission_id)
    for example in kept:
        place = places.get(example["position"])
        if place is not None:
            passage = personal.masked(place.passage, personal.spans(place.passage))[:MAX_PASSAGE]
            store.insert(db, "example_places", {"example_id": example["id"], **vars(place), "passage": passage})


def of(db: Database, example_id: int) -> Place | None:
    """Where an example was found, or None when it was typed or nobody kept it."""
    found = store.row(
        db,
        "select file, unit, first, last, start, end, passage from example_places where example_id = ?",
        example_id,
    )
    return Place(**found) if found else None


def for_reviewers(db: Database, example_ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """The passages that examples were made from: `where` in the document, and the `passage`; no name of a file."""
    found = store.rows(
        db,
        "select example_id, file, unit, first, last, start, end, passage from example_places"
        " where example_id in (select value from json_each(?))",
        json.dumps(list(example_ids)),
    )
    return {
        example_id: {"where": place.inside(), "passage": place.passage}
        for record in found
        for example_id, place in [(record.pop("example_id"), Place(**record))]
    }
