"""Files from strangers into records, in order and one at a time, whatever the bytes are.

What a file is, its first bytes say; its name decides only between kinds of text. Tables give records, documents
(Markdown, text, Word, PDF) none: what could be made of those a person has to confirm, see `documents`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from factory.base.errors import Invalid
from factory.base.settings import Settings
from factory.intake import decoding, json_rows, packing, tables
from factory.intake.decoding import Encoding
from factory.intake.json_rows import load_json as load_json
from factory.intake.packing import Member
from factory.intake.records import Record

TABLES = ("jsonl", "json", "csv", "tsv", "parquet", "xlsx")
DOCUMENTS = ("markdown", "txt", "docx", "pdf")
ENDINGS = {"md": "markdown", "markdown": "markdown", "mdown": "markdown", "txt": "txt", "text": "txt", "rst": "txt"}
# What is often sent and not read, and what to send instead.
OTHERS = {
    b"\xd0\xcf\x11\xe0": "an old Office file; save it as .docx or .xlsx",
    b"{\\rtf": "an RTF file; save it as .docx or .txt",
    b"7z\xbc\xaf": "a 7z archive; send a zip",
    b"Rar!": "a RAR archive; send a zip",
    b"SQLite format 3": "a database; export its table as CSV",
    b"<!DOCTYPE": "a web page; save its text as .txt or .md",
    b"<html": "a web page; save its text as .txt or .md",
}


@dataclass(frozen=True)
class Kind:
    """What a file is: `name` of TABLES or DOCUMENTS, its encoding where it is text, and what parts its columns."""

    name: str
    encoding: Encoding | None = None
    separator: str = ","


def load(data: bytes | Path, *, name: str, settings: Settings) -> bytes:
    """The bytes of an upload; a file over `settings.max_upload_bytes` is refused by its size, unread.

    Raises Invalid, NotFound for a missing path, Unavailable when it cannot be read.
    """
    packing.need_size(data, name=name, settings=settings)
    found = data if isinstance(data, bytes) else data.read_bytes()
    if not found.strip():
        raise Invalid(f"{name} is empty; choose a file with rows in it.")
    return found


def kind_of(member: Member, expected: frozenset[str], encoding: str = "") -> Kind:
    """What a file is. `expected` are column names that tell a table from a text. Raises Invalid for other files."""
    head = member.head
    _need_what_it_is_called(member)
    if head.startswith(b"PAR1"):
        return Kind("parquet")
    if head.startswith(packing.ZIP):
        return Kind(packing.office_kind(member.open, member.name))
    if b"%PDF-" in head[:1024]:
        return Kind("pdf")
    if head[257:262] == b"ustar":
        raise Invalid(f"{member.name} is a tar archive; send a zip.")
    for mark, words in OTHERS.items():
        if head.lstrip()[: len(mark)].lower() == mark.lower():
            raise Invalid(f"{member.name} is {words}.")
    found = decoding.detect(member.open, name=member.name, wanted=encoding)
    with _text(member, found) as text:
        start = text.read(decoding.SAMPLE * 4)
    return _kind_of_text(start, member.name.lower().rsplit(".", 1)[-1], found, expected)


def _need_what_it_is_called(member: Member) -> None:
    """Raises Invalid for a file that is called a workbook, say, and does not begin as one: it is damaged, and no text."""
    ending = "." + member.name.lower().rsplit(".", 1)[-1]
    marks: dict[str, bytes | tuple[bytes, ...]] = {
        **packing.PACKED,
        ".zip": packing.ZIP,
        ".docx": packing.ZIP,
        ".xlsx": packing.ZIP,
        ".parquet": b"PAR1",
    }
    if ending in marks and not member.head.startswith(marks[ending]):
        raise Invalid(f"{member.name} is damaged, or no {ending} file at all; save it again and send that.")
    if ending == ".pdf" and b"%PDF-" not in member.head[:1024]:
        raise Invalid(f"{member.name} is damaged, or no PDF file at all; save it again and send that.")


def _text(member: Member, encoding: Encoding) -> io.TextIOWrapper:
    return decoding.text_of(member.open(), encoding)


def _kind_of_text(start: str, ending: str, encoding: Encoding, expected: frozenset[str]) -> Kind:
    by_line = ending in ("jsonl", "ndjson")
    mark = start.lstrip()[:1]
    if by_line or (mark and mark in "[{" and ending not in (*ENDINGS, "csv", "tsv", "tab")):
        return Kind("jsonl" if _has_lines(start, ending, by_line) else "json", encoding)
    if ending == "json":
        return Kind("json", encoding)
    lines = [line for line in start.splitlines()[:20] if line.strip()]
    if ending in ENDINGS and mark == "{" and json_rows.parses(lines[0]):
        return Kind("jsonl", encoding)
    separator = tables.separator_of(start, ending, expected)
    cells = [cell.strip().strip('"').lower() for cell in (lines or [""])[0].split(separator)]
    named = len(cells) > 1 and len(set(cells) & expected) > 1
    if ending in ENDINGS and not named:
        return Kind(ENDINGS[ending], encoding)
    known = ending in ("csv", "tsv", "tab") or named or set(cells) & expected
    if known or all(separator in line for line in lines[:5]):
        return Kind("tsv" if separator == "\t" else "csv", encoding, separator)
    return Kind("txt", encoding)


def _has_lines(start: str, ending: str, by_line: bool) -> bool:
    """Whether JSON stands there as a value a line, rather than as one value over many lines."""
    lines = [line for line in start.splitlines() if line.strip()]
    whole = lines[:-1] if len(lines) > 1 and len(start) >= decoding.SAMPLE * 4 else lines
    if not whole:
        return True
    if start.lstrip()[:1] == "[" and not by_line:
        return len(whole) > 1 and all(json_rows.parses(line) for line in whole[:2])
    if json_rows.parses(whole[0]):
        return len(whole) > 1 or ending != "json"
    readable = any(json_rows.parses(line) for line in whole[:20] if line.lstrip()[:1] in "[{")
    return readable or (by_line and not _begins(start))


def _begins(start: str) -> bool:
    """Whether a text begins with an object or a list over several lines."""
    first = start.lstrip().split("\n", 1)[0].strip()
    return first in ("{", "[") or first.endswith(("{", "[", ","))


def records(member: Member, kind: Kind, *, settings: Settings, wanted: frozenset[str]) -> Iterator[Record]:
    """The records of a table, one at a time; only the `wanted` columns where a format allows it, all when it is empty.

    Raises Invalid where the whole cannot be read on.
    """
    if kind.name in ("jsonl", "json", "csv", "tsv"):
        assert kind.encoding is not None
        with _text(member, kind.encoding) as text:
            if kind.name == "jsonl":
                yield from json_rows.by_line(text, member.name)
            elif kind.name == "json":
                yield from json_rows.by_value(text, member.name)
            else:
                yield from tables.delimited(text, kind.separator, member.name)
        return
    with packing.spooled(member.open) as file:
        if kind.name == "xlsx":
            yield from tables.workbook(file, member.name, settings)
        elif kind.name == "parquet":
            yield from tables.parquet(file, member.name, settings, wanted)
