"""What every command has at hand, and how it answers: text for a person, or JSON for a program."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Invalid, NotFound
from factory.base.people import Person
from factory.base.settings import Settings


@dataclass(frozen=True)
class Desk:
    """An open store, the installation's settings, who acts, and whether the answer is to be JSON."""

    settings: Settings
    db: Database
    person: Person
    json: bool


def say(desk: Desk, data: Any, text: str = "") -> None:
    """Answer: `data` as JSON where that was asked for, otherwise `text`."""
    print(json.dumps(plain(data), ensure_ascii=False, indent=2) if desk.json else text)


def plain(data: Any) -> Any:
    """`data` as JSON can hold it: dataclasses as objects, sets sorted, paths as text."""
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        return plain({field.name: getattr(data, field.name) for field in dataclasses.fields(data)})
    if isinstance(data, dict):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, (set, frozenset)):
        return sorted(plain(item) for item in data)
    if isinstance(data, (list, tuple)):
        return [plain(item) for item in data]
    return str(data) if isinstance(data, Path) else data


def told(message: str) -> None:
    """Say something beside the answer, on stderr."""
    print(message, file=sys.stderr, flush=True)


def fraction_told(*, quiet: bool) -> Callable[[str, float], None]:
    """A `progress` for work that tells (words, fraction): one line of stderr, drawn over."""
    if quiet or not sys.stderr.isatty():
        return lambda words, fraction: None

    def tell(words: str, fraction: float) -> None:
        end = "\n" if fraction >= 1 else ""
        print(f"\r\x1b[2K{words} {fraction:.0%}", end=end, file=sys.stderr, flush=True)

    return tell


def file_at(path: Path) -> Path:
    """The path of a file that is there. Raises NotFound, Invalid."""
    if not path.exists():
        raise NotFound(f"There is no file {path}; check the name.")
    if not path.is_file():
        raise Invalid(f"{path} is not a file; name one file.")
    return path


def versions_named(db: Database, texts: Sequence[str]) -> list[tuple[dict[str, Any], float]]:
    """The versions that `SLUG[@N][:WEIGHT]` name, with their weights. Raises NotFound, Invalid."""
    found = []
    for text in texts:
        name, colon, weight = text.rpartition(":")
        try:
            found.append((version_named(db, name if colon else text), float(weight) if colon else 1.0))
        except ValueError as problem:
            raise Invalid(f"{text!r} has no weight after its colon; write {name}:0.5 for every second row.") from problem
    return found


def version_named(db: Database, text: str) -> dict[str, Any]:
    """The frozen version that `SLUG`, `SLUG@N` or a version's id names; without a number the newest.

    Raises NotFound, and Invalid where the number is none.
    """
    from factory.intake import datasets

    if text.isdigit():
        return datasets.version(db, int(text))
    slug, _, number = text.partition("@")
    if number and not number.isdigit():
        raise Invalid(f"{text!r} names no version; write {slug}@1 for the first.")
    dataset = datasets.get(db, slug)
    found = store.value(
        db,
        "select id from dataset_versions where dataset_id = ? and (? = '' or number = ?) order by number desc limit 1",
        dataset["id"],
        number,
        int(number or 0),
    )
    if found is None:
        wanted = f"no version {number}" if number else "no frozen version yet"
        raise NotFound(f"{slug} has {wanted}; `datasets versions {slug}` lists them, `datasets freeze {slug}` makes one.")
    return datasets.version(db, found)
