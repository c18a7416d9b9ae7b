"""Rows in JSON: a line each, a list, objects one after another, or a list wrapped in an object; read piece by piece."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from factory.base.errors import Invalid
from factory.intake.decoding import LONGEST_LINE, damaged, lines, repaired
from factory.intake.provenance import Place
from factory.intake.records import RAW_CHARACTERS, Record, folded, shown

LARGEST_VALUE = 32 * 2**20  # characters of one JSON value; a longer list is read all the same, element by element
PIECE = 2**20
_DECODER = json.JSONDecoder(parse_constant=lambda name: _refuse_constant(name))
_BLANK = re.compile(r"[ \t\r\n]*")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a value that JSON knows")


def load_json(text: str) -> Any:
    """Strict JSON of any depth that Python can hold. Raises ValueError with a few words on what is wrong."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (RecursionError, ValueError) as problem:
        raise ValueError(_words(problem)) from problem


def _words(problem: RecursionError | ValueError) -> str:
    if isinstance(problem, RecursionError):
        return "it is nested too deep"
    if isinstance(problem, json.JSONDecodeError):
        return f"{problem.msg[:1].lower() + problem.msg[1:]} at column {problem.colno}"
    return "a number in it has thousands of digits" if "digits" in str(problem) else str(problem)


def parses(text: str) -> bool:
    """Whether a text is JSON."""
    try:
        load_json(text)
    except ValueError:
        return False
    return True


def by_line(text: io.TextIOWrapper, name: str) -> Iterator[Record]:
    """A record for each line that is not blank."""
    for number, line in lines(text):
        place = Place(name, "line", number, number)
        if line is None:
            yield Record(None, f"Line {number:,} has over {LONGEST_LINE:,} characters; split it.", "", place)
        elif line.strip():
            yield _line(number, line.strip(), place)


def _line(number: int, line: str, place: Place) -> Record:
    raw = repaired(line[:RAW_CHARACTERS])
    if damaged(line):
        return Record(None, f"Line {number:,} has a damaged character; write the line again as UTF-8.", raw, place)
    try:
        found = load_json(line)
    except ValueError as problem:
        return Record(None, f"Line {number:,} is not JSON: {problem}.", raw, place)
    return record_of(found, f"Line {number:,} is not a JSON object; write {{…}} on each line.", raw, place)


def record_of(found: Any, otherwise: str, raw: str, place: Place) -> Record:
    """The record of a JSON value: an object, or a list of turns, which is a row without its wrapper."""
    if isinstance(found, list) and found and all(_is_turn(turn) for turn in found):
        found = {"messages": found}
    if not isinstance(found, dict):
        return Record(None, otherwise, raw, place)
    return Record(folded(found), None, raw, place)


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and bool({"role", "from"} & set(value))


def by_value(text: io.TextIOWrapper, name: str) -> Iterator[Record]:
    """A record for each element of a list, each of several objects, or each element of the one list that an object wraps.

    Raises Invalid, naming the line, where the text is not JSON.
    """
    for number, found in enumerate(_rows(values(text, name)), 1):
        place, raw = Place(name, "row", number, number), shown(found)
        if damaged(raw):
            yield Record(None, f"Row {number:,} has a damaged character; write it again as UTF-8.", repaired(raw), place)
        else:
            yield record_of(found, f"Row {number:,} is not a JSON object.", raw, place)


def _rows(found: Iterator[tuple[Any, bool]]) -> Iterator[Any]:
    for value, inside in found:
        yield from [value] if inside else _unwrapped(value)


def _unwrapped(value: Any) -> list[Any]:
    """The rows of an object around them; {"data": [rows]} wraps rows, {"messages": [turns]} is itself one row."""
    if not isinstance(value, dict):
        return [value]
    lists = [rows for rows in value.values() if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
    wraps = len(lists) == 1 and not {"role", "from"} & set(lists[0][0]) and not isinstance(value.get("prompt"), list)
    return lists[0] if wraps else [value]


def values(text: io.TextIOWrapper, name: str) -> Iterator[tuple[Any, bool]]:
    """Each value of a text of JSON, and whether it stands inside a list that is the whole text; read piece by piece.

    Raises Invalid, naming the line, where the text is not JSON.
    """
    window = _Window(text, name)
    if window.starts("["):
        yield from ((value, True) for value in window.elements())
        if window.more():
            raise window.wrong("there is more after the end of the list")
        return
    while window.more():
        yield window.value(), False


class _Window:
    """A text of JSON seen through a window that moves on: what was read is dropped, what is needed is fetched."""

    def __init__(self, text: io.TextIOWrapper, name: str) -> None:
        self.text, self.name, self.kept, self.at, self.lines, self.ended = text, name, "", 0, 1, False

    def _fetch(self, least: int = PIECE) -> bool:
        self.lines += self.kept.count("\n", 0, self.at)
        piece = "" if self.ended else self.text.read(max(least, PIECE))
        self.ended = not piece
        self.kept, self.at = self.kept[self.at :] + piece, 0
        return bool(piece)

    def wrong(self, words: str, at: int | None = None) -> Invalid:
        line = self.lines + self.kept.count("\n", 0, self.at if at is None else at)
        return Invalid(f"{self.name} is not JSON: {words} of line {line:,}.")

    def more(self) -> bool:
        """Moves to what is not blank; False at the end."""
        while True:
            found = _BLANK.match(self.kept, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.kept):
                return True
            if not self._fetch():
                return False

    def starts(self, mark: str) -> bool:
        return self.more() and self.kept[self.at] == mark

    def value(self) -> Any:
        """The value that begins here; moves behind it."""
        while True:
            try:
                found, end = _DECODER.raw_decode(self.kept, self.at)
            except (RecursionError, ValueError) as problem:
                place = problem.pos if isinstance(problem, json.JSONDecodeError) else self.at
                early = isinstance(problem, json.JSONDecodeError) and not self.ended
                if early and len(self.kept) - self.at > LARGEST_VALUE:
                    raise Invalid(
                        f"{self.name} has one JSON value of over {LARGEST_VALUE / 2**20:,.0f} MiB; save its list of "
                        "rows alone, or one row a line (JSONL)."
                    ) from problem
                if early and self._fetch(len(self.kept) - self.at):
                    continue
                column = place - self.kept.rfind("\n", 0, place)
                words = _words(problem).split(" at column")[0]
                raise self.wrong(f"{words} at column {column}", place) from problem
            if end < len(self.kept) or self.ended or not self._grow():
                self.at = end
                return found

    def _grow(self) -> bool:
        """Fetches more where a value ends with the window, for a number may go on; False at the end of the text."""
        return self._fetch()

    def elements(self) -> Iterator[Any]:
        """The elements of the list that begins here, one by one; moves behind the list."""
        self.at += 1
        if self.starts("]"):
            self.at += 1
            return
        while True:
            if not self.more():
                raise self.wrong("the list does not end")
            yield self.value()
            if not self.more():
                raise self.wrong("the list does not end")
            mark = self.kept[self.at]
            if mark not in ",]":
                raise self.wrong("a comma is missing between two rows")
            self.at += 1
            if mark == "]":
                return
