"""Rows in the shapes people have, read into one canonical form: a list of messages.

| shape | a row |
|---|---|
| messages | `messages`: turns with `role` and `content`, as OpenAI has them |
| sharegpt | `conversations`: turns with `from` and `value` |
| alpaca | `instruction`, `output`, perhaps `input` and `system` |
| prompt_completion | `prompt` with `completion` or `response`, each a text or a list of messages |
| question_answer | `question` and `answer` |

They may come as JSON lines, JSON, CSV, TSV or Parquet, alone or as the only file in a gzip or zip archive.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.base.errors import Invalid
from factory.base.settings import Settings
from factory.intake import containers

FORMATS = ("messages", "sharegpt", "alpaca", "prompt_completion", "question_answer")
ROLE_NAMES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
# Shape → the columns it cannot do without, the first that fits wins; any of a tuple will do.
NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "messages": (("messages",),),
    "sharegpt": (("conversations", "conversation"),),
    "alpaca": (("instruction",), ("output", "response")),
    "prompt_completion": (("prompt",), ("completion", "response")),
    "question_answer": (("question",), ("answer",)),
}
OPTIONAL = {"input", "system"}
COLUMNS = frozenset(name for needed in NEEDED.values() for names in needed for name in names) | OPTIONAL
EXPECTED = "messages; conversations; instruction and output; prompt and completion; or question and answer"


@dataclass(frozen=True)
class Row:
    """One row of a file: `messages` when it could be read, else `problem`, a sentence. `position` counts from 0."""

    position: int
    messages: list[dict[str, Any]] | None
    problem: str | None
    raw: str


@dataclass(frozen=True)
class Reading:
    """What was read from a file: its rows, `container` such as "jsonl.gz", the commonest `shape`, and a `note` or ""."""

    rows: list[Row]
    container: str
    shape: str
    note: str


def read(data: bytes | Path, *, name: str, settings: Settings) -> Reading:
    """Read a stranger's file into rows; one that cannot be read keeps its place with a problem, the others survive.

    Raises Invalid with one sentence when the file as a whole is of no use: too big, empty, not text, an archive of
    several files, a bomb, no known columns, more than 100,000 rows, or not one readable row.
    """
    packed = containers.load(data, name=name, settings=settings)
    inside, inner, packing = containers.unpack(packed, name=name, settings=settings)
    container, records = containers.parse(inside, name=inner, settings=settings, expected=COLUMNS)
    if not records:
        raise Invalid(f"{name} has no rows; choose a file with rows in it.")
    rows: list[Row] = []
    shapes: Counter[str] = Counter()
    unused: Counter[str] = Counter()
    for position, record in enumerate(records):
        if record.fields is None:
            rows.append(Row(position, None, record.problem, record.raw))
            continue
        shape = shape_of(record.fields)
        shapes[shape] += 1
        unused.update(str(column)[:40] for column in record.fields if column not in COLUMNS)
        rows.append(_row(position, record, shape))
    known = [(shape, count) for shape, count in shapes.most_common() if shape]
    if not known:
        raise Invalid(_nothing_known(name, records))
    return Reading(rows, container + packing, known[0][0], _note(known, unused))


def _nothing_known(name: str, records: list[containers.Record]) -> str:
    found = next((record.fields for record in records if record.fields is not None), None)
    if found is None:
        return f"No row of {name} can be read. {records[0].problem}"
    columns = ", ".join(str(column)[:40] for column in list(found)[:12]) or "none"
    return f"{name} has the columns {columns}; a row needs {EXPECTED}."


def _note(known: list[tuple[str, int]], unused: Counter[str]) -> str:
    notes = []
    if len(known) > 1:
        notes.append("Rows of several shapes: " + ", ".join(f"{count:,} {shape}" for shape, count in known) + ".")
    if unused:
        notes.append(f"Columns left out: {', '.join(column for column, _ in unused.most_common(12))}.")
    return " ".join(notes)


def shape_of(fields: dict[str, Any]) -> str:
    """The shape of a row by its columns, or "" when it is none of FORMATS.

    >>> shape_of({"prompt": "2 + 2?", "response": "4"})
    'prompt_completion'
    """
    present = set(fields)
    return next((shape for shape, needed in NEEDED.items() if all(present & set(names) for names in needed)), "")


def _row(position: int, record: containers.Record, shape: str) -> Row:
    assert record.fields is not None
    if not shape:
        columns = ", ".join(str(column)[:40] for column in list(record.fields)[:12]) or "none"
        return Row(position, None, f"Row {position + 1:,} has the columns {columns}; it needs {EXPECTED}.", record.raw)
    try:
        return Row(position, _messages_from(record.fields, shape), None, record.raw)
    except Invalid as problem:
        return Row(position, None, f"Row {position + 1:,}: {problem}", record.raw)


def _messages_from(fields: dict[str, Any], shape: str) -> list[dict[str, Any]]:
    if shape == "messages":
        return _turns(fields["messages"], "role", "content")
    if shape == "sharegpt":
        found = _turns(fields.get("conversations", fields.get("conversation")), "from", "value")
        return _with_system(fields, found) if found[0]["role"] != "system" else found
    if shape == "alpaca":
        question = _text(fields["instruction"], "instruction")
        extra = _text(fields.get("input") or "", "input")
        question = f"{question.rstrip()}\n\n{extra}" if extra.strip() else question
        return _with_system(fields, _pair(question, _answer(fields, ("output", "response"))))
    if shape == "prompt_completion" and isinstance(fields["prompt"], list):
        completion = fields.get("completion", fields.get("response"))
        rest = completion if isinstance(completion, list) else [{"role": "assistant", "content": completion}]
        return _turns([*fields["prompt"], *rest], "role", "content")
    first, second = NEEDED[shape][0][0], NEEDED[shape][1]
    return _with_system(fields, _pair(_text(fields[first], first), _answer(fields, second)))


def _answer(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    name = next(name for name in names if name in fields)
    return _text(fields[name], name)


def _pair(question: str, answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _with_system(fields: dict[str, Any], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    system = _text(fields.get("system") or "", "system")
    return [{"role": "system", "content": system}, *found] if system.strip() else found


def _text(value: Any, column: str) -> str:
    if isinstance(value, str):
        return value
    kind = "empty" if value is None else "a number" if isinstance(value, (int, float)) else "a list or an object"
    raise Invalid(f"{column} is {kind}, it should be text.")


def _turns(value: Any, role_key: str, text_key: str) -> list[dict[str, Any]]:
    if isinstance(value, str):  # a CSV cell holds the turns as JSON
        try:
            value = containers.load_json(value)
        except ValueError as problem:
            raise Invalid(f"the turns are not JSON ({problem}).") from problem
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        raise Invalid(f"there should be a list of turns with {role_key} and {text_key}.")
    turns = []
    for number, turn in enumerate(value, 1):
        said = str(turn.get(role_key))
        role = ROLE_NAMES.get(said.lower())
        if role is None:
            raise Invalid(f"turn {number} has the {role_key} {said[:40]!r}; it should be system, user or assistant.")
        turns.append({"role": role, "content": _parts(turn.get(text_key), number)})
    return turns


def _parts(value: Any, number: int) -> str:
    if isinstance(value, list) and value and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in value):
        return "\n".join(part["text"] for part in value)
    if not isinstance(value, str):
        raise Invalid(f"turn {number} has no text; tool calls, pictures and sound cannot be taken in.")
    return value


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
        elif any("\ud800" <= character <= "\udfff" for character in content):
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
