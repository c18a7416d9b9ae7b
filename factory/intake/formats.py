"""Rows in the shapes people have, read into one canonical form: a list of messages.

What a door needs, in the order of a contribution:

- `look(source, name=…, settings=…)` reads the beginning of a file and says what it is: a `Look` with the format, the shape,
  whether that is `certain`, the columns, the mapping it would use or suggests, and the first rows as they would become.
  Show the mapping screen when `look.certain` is False; `look(…, mapping=…)` shows the rows under another mapping.
- `read(source, name=…, settings=…, mapping=…)` gives every row: a `Reading`. `rows(…)` gives the same one by one,
  in memory that does not grow with the file.
- A document (Markdown, text, Word, PDF) gives no rows. `look.is_document` is true, and `proposals.proposals` gives
  drafts, each with its place; `proposals.confirmed` makes rows of those that a person confirmed, and of no others.

`source` is bytes, a path, or a binary file that can be read from its beginning again.
The shapes are in `columns`, the containers in `containers`; alone, compressed, or several in a zip.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from factory.base.errors import Invalid
from factory.base.settings import Settings
from factory.intake import containers, decoding, packing
from factory.intake.columns import COLUMNS, EXPECTED, Mapping, guess, messages_by, messages_of, of_shape, shapes_of
from factory.intake.columns import FORMATS as FORMATS
from factory.intake.packing import Member, Source
from factory.intake.provenance import Place
from factory.intake.records import Record, listed
from factory.intake.transcripts import turns_in

SURROGATE = re.compile("[\ud800-\udfff]")
LICENCE = ("licence", "license")  # columns that say under what a row is given
FIRST_ROWS = 20
LOOKED_AT = 200


@dataclass(frozen=True)
class Row:
    """One row of a file: `messages` when it could be read, else `problem`, a sentence. `position` counts from 0.

    `place` is where in the file it stands, where that is known; `given_under` the licence that a column of the row names.
    """

    position: int
    messages: list[dict[str, Any]] | None
    problem: str | None
    raw: str
    place: Place | None = None
    given_under: str = ""


@dataclass(frozen=True)
class Reading:
    """What was read from a file: its rows, `container` such as "jsonl.gz", the commonest `shape`, and a `note` or ""."""

    rows: list[Row]
    container: str
    shape: str
    note: str


@dataclass(frozen=True)
class Look:
    """What a file seems to be, from its beginning.

    `container` is such as "csv" or "jsonl.gz"; `shape` one of columns.FORMATS, "mapped" under a given mapping, or "" when no
    known shape fits; `shapes` all that would fit. `certain` is False when a person should say which column is which:
    `mapping` is then a suggestion (or None), and `why` says in a sentence what is not certain.
    `first` are the first rows as they would become; `columns` all columns seen in them. `documents` are the names of what
    is a document, of which `proposals.proposals` makes drafts; `note` is for the person, or "".
    """

    container: str
    shape: str
    shapes: list[str]
    certain: bool
    why: str
    columns: list[str]
    mapping: Mapping | None
    first: list[Row]
    documents: list[str]
    note: str

    @property
    def is_document(self) -> bool:
        """Whether all that is in the file is documents, so that no row comes without being confirmed."""
        return bool(self.documents) and not self.columns


@dataclass
class Tally:
    """What `rows` learns on the way, for whoever reads on: containers and shapes counted, columns left out, notes."""

    containers: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)
    unused: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)

    @property
    def container(self) -> str:
        return " and ".join(dict.fromkeys(self.containers)) or "nothing"

    @property
    def shape(self) -> str:
        return next((shape for shape, _ in self.shapes.most_common() if shape), "")

    @property
    def note(self) -> str:
        known = [(shape, count) for shape, count in self.shapes.most_common() if shape]
        notes = list(self.notes)
        if len(known) > 1:
            notes.append("Rows of several shapes: " + ", ".join(f"{count:,} {shape}" for shape, count in known) + ".")
        if self.unused:
            notes.append(f"Columns left out: {listed(column for column, _ in self.unused.most_common(12))}.")
        if self.documents:
            several = (
                f"{len(self.documents)} documents are" if len(self.documents) > 1 else f"{self.documents[0]} is a document"
            )
            several = f"{several} inside" if len(self.documents) > 1 else several
            notes.append(f"{several}, of which nothing becomes a row until you confirm it.")
        return " ".join(notes)


def limits(settings: Settings) -> str:
    """What a file may have, in a sentence for the person who chooses one."""
    return (
        f"A file may have {settings.max_upload_bytes / 2**20:,.0f} MiB, {settings.max_text_bytes / 2**20:,.0f} MiB unpacked"
        f" and {settings.max_file_rows:,} rows."
    )


def look(
    source: Source, *, name: str, settings: Settings, mapping: Mapping | None = None, encoding: str = ""
) -> Look:  # fmt: skip
    """What a file seems to be, from its first rows; nothing is kept. See `Look`.

    Raises Invalid with one sentence when the file as a whole is of no use.
    """
    tally = Tally()
    found = list(islice(_records(source, name, settings, mapping, encoding, tally), LOOKED_AT))
    good = [record.fields for record in found if record.fields is not None]
    columns = list(dict.fromkeys(str(column) for fields in good for column in fields))
    shape, shapes, certain, why = _certainty(columns, good, mapping)
    suggested = mapping or (of_shape(shape, columns) if shape else guess(columns, good))
    if not found and not tally.documents:
        raise Invalid(f"{name} has no rows; choose a file with rows in it.")
    first = [
        _row(at, record, tally, suggested if mapping or not shape else None) for at, record in enumerate(found[:FIRST_ROWS])
    ]
    return Look(
        tally.container, shape, shapes, certain, why, columns, suggested, first, tally.documents,
        " ".join(tally.notes),
    )  # fmt: skip


def _certainty(
    columns: list[str], rows: list[dict[str, Any]], given: Mapping | None
) -> tuple[str, list[str], bool, str]:  # fmt: skip
    """The shape, all that would fit, whether that is certain, and in words why not."""
    counted = Counter(one for row in rows for one in shapes_of(list(row)))
    shapes = [one for one, _ in counted.most_common()]
    first = Counter(shape_of(row) for row in rows)
    shape = next((one for one, _ in first.most_common() if one), "")
    if given is not None:
        wrong = given.problems(columns) if rows else []
        return "mapped", shapes, not wrong, " ".join(wrong)
    if not rows:
        return "", [], True, ""
    if shape == "text" and not any(turns_in(str(row.get("text"))) for row in rows[:FIRST_ROWS]):
        return "", [], False, "The column text holds no question; say which one does, or send a .txt file to make drafts of."
    if not shape:
        return "", [], False, f"The columns are {listed(columns)}; say which is the question and which the answer."
    if first[shape] < len(rows):
        return shape, shapes, False, "Not all rows have the same columns; look at the rows below."
    if len(shapes) > 1:
        return shape, shapes, False, f"The columns fit {' and '.join(shapes)}; it is read as {shape}."
    return shape, shapes, True, ""


def read(
    source: Source, *, name: str, settings: Settings, mapping: Mapping | None = None, encoding: str = ""
) -> Reading:  # fmt: skip
    """Read a stranger's file into rows; one that cannot be read keeps its place with a problem, the others survive.

    Raises Invalid with one sentence when the file as a whole is of no use: too big, empty, not text, an archive in an
    archive, a bomb, a document, no known columns and no `mapping`, too many rows, or not one readable row.
    """
    tally = Tally()
    found = list(rows(source, name=name, settings=settings, mapping=mapping, encoding=encoding, tally=tally))
    if not found and tally.documents:
        raise Invalid(f"{name} is a document, not a table of rows; look at it and confirm the drafts that are good.")
    if not found:
        raise Invalid(f"{name} has no rows; choose a file with rows in it.")
    if not tally.shape:
        raise Invalid(_nothing_known(name, tally, found))
    return Reading(found, tally.container, tally.shape, tally.note)


def _nothing_known(name: str, tally: Tally, found: list[Row]) -> str:
    if not tally.columns:
        return f"No row of {name} can be read. {found[0].problem}"
    return f"{name} has the columns {listed(tally.columns)}; a row needs {EXPECTED}. Or say which column is which."


def rows(
    source: Source, *, name: str, settings: Settings, mapping: Mapping | None = None, encoding: str = "",
    tally: Tally | None = None,
) -> Iterator[Row]:  # fmt: skip
    """The rows of a file one at a time, in bounded memory; `tally` learns what they were. As `read` otherwise."""
    tally = Tally() if tally is None else tally
    for position, record in enumerate(_records(source, name, settings, mapping, encoding, tally)):
        if position == settings.max_file_rows:
            raise Invalid(f"{name} has more than {settings.max_file_rows:,} rows; split it into parts.")
        yield _row(position, record, tally, mapping)


def _records(
    source: Source, name: str, settings: Settings, given: Mapping | None, encoding: str, tally: Tally
) -> Iterator[Record]:  # fmt: skip
    """The records of every table in a file; a file in an archive that cannot be read is one record with a problem."""
    wanted = frozenset(vars(given).values()) - {""} if given else COLUMNS
    members = packing.members(source, name=name, settings=settings)
    for member in members:
        try:
            yield from _records_of(member, settings, wanted, encoding, tally)
        except Invalid as problem:
            if len(members) == 1:
                raise
            yield Record(None, str(problem), "", Place(member.name, "row", 1, 1))


def _records_of(
    member: Member, settings: Settings, wanted: frozenset[str], encoding: str, tally: Tally
) -> Iterator[Record]:  # fmt: skip
    if member.problem:
        raise Invalid(member.problem)
    kind = containers.kind_of(member, wanted | COLUMNS, encoding)
    tally.containers[kind.name + member.packing] += 1
    if kind.encoding is not None and kind.encoding.words:
        tally.notes.append(kind.encoding.words)
    if kind.name in containers.DOCUMENTS:
        tally.documents.append(member.name)
        return
    yield from containers.records(member, kind, settings=settings, wanted=wanted)


def shape_of(fields: dict[str, Any]) -> str:
    """The shape of a row by its columns, or "" when it is none of FORMATS.

    >>> shape_of({"prompt": "2 + 2?", "response": "4"})
    'prompt_completion'
    """
    return next(iter(shapes_of(list(fields))), "")


def _row(position: int, record: Record, tally: Tally, given: Mapping | None) -> Row:
    if record.fields is None:
        return Row(position, None, record.problem, record.raw, record.place)
    fields = record.fields
    shape = "mapped" if given else shape_of(fields)
    tally.shapes[shape] += 1
    tally.columns = tally.columns or [str(column) for column in fields]
    used = set(vars(given).values()) if given else COLUMNS
    tally.unused.update(str(column)[:40] for column in fields if column not in used | set(LICENCE))
    if not shape:
        words = f"Row {position + 1:,} has the columns {listed(fields)}; it needs {EXPECTED}."
        return Row(position, None, words, record.raw, record.place)
    try:
        found = messages_by(given, fields) if given else messages_of(shape, fields)
    except Invalid as problem:
        return Row(position, None, f"Row {position + 1:,}: {problem}", record.raw, record.place)
    if any(decoding.damaged(turn["content"]) for turn in found):
        words = f"Row {position + 1:,} has half of a character in it (a lone surrogate); write it again."
        return Row(position, None, words, record.raw, record.place)
    given_under = next((value for name in LICENCE if isinstance(value := fields.get(name), str)), "")
    return Row(position, found, None, record.raw, record.place, given_under.strip()[:200])


def canonical(messages: list[dict[str, Any]]) -> str:
    """The one text by which an example is known: sorted keys, no spaces, NFC, newlines as \\n, no space at a turn's end.

    An optional system turn, then user and assistant in turn, the assistant last.
    Raises Invalid, listing every problem.

    >>> canonical([{"role": "user", "content": "Hi  "}, {"role": "assistant", "content": "Hello"}])
    '{"messages":[{"content":"Hi","role":"user"},{"content":"Hello","role":"assistant"}]}'
    """
    problems = structure_problems(messages)
    if problems:
        raise Invalid(problems)
    turns = [{"role": turn["role"], "content": _plain(turn["content"])} for turn in messages]
    return json.dumps({"messages": turns}, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).rstrip()


def structure_problems(messages: Any) -> list[str]:
    """Why `messages` are not a conversation that can be learnt from, one sentence a problem; [] when they are."""
    if not isinstance(messages, list) or not messages or not all(isinstance(turn, dict) for turn in messages):
        return ["There should be a list of turns, each with a role and a content."]
    problems = []
    for number, turn in enumerate(messages, 1):
        content = turn.get("content")
        if not isinstance(content, str):
            problems.append(f"Turn {number} has no text.")
        elif SURROGATE.search(content):
            problems.append(f"Turn {number} has half of a character in it (a lone surrogate); write the text again.")
    roles = [turn.get("role") for turn in messages]
    body = roles[1:] if roles[0] == "system" else roles
    if len(body) % 2 or body != ["user", "assistant"] * (len(body) // 2) or not body:
        order = ", ".join(str(role)[:20] for role in roles[:8])
        problems.append(
            f"The turns are {order}; after an optional system turn, user and assistant take turns, assistant last."
        )
    return problems


def content_hash(content: str) -> str:
    """SHA-256 of a canonical text, in hex."""
    return hashlib.sha256(content.encode()).hexdigest()


def messages(content: str) -> list[dict[str, str]]:
    """The turns of a canonical text.

    >>> messages('{"messages":[{"content":"Hi","role":"user"},{"content":"Hello","role":"assistant"}]}')[0]["role"]
    'user'
    """
    found: list[dict[str, str]] = json.loads(content)["messages"]
    return found


def question_of(content: str) -> str:
    """What the user says in a canonical text, all turns."""
    return "\n".join(turn["content"] for turn in messages(content) if turn["role"] == "user")


def answer_of(content: str) -> str:
    """What the assistant says in a canonical text, all turns."""
    return "\n".join(turn["content"] for turn in messages(content) if turn["role"] == "assistant")


def text_of(content: str) -> str:
    """All that is said in a canonical text, for comparing: without the system turn, which many rows share."""
    return "\n".join(turn["content"] for turn in messages(content) if turn["role"] != "system")


def csv_safe(value: Any) -> Any:
    """A value for a CSV cell that no spreadsheet takes for a formula.

    >>> csv_safe("=1+1"), csv_safe("one"), csv_safe(-2)
    ("'=1+1", 'one', -2)
    """
    return "'" + value if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
