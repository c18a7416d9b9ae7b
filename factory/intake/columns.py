"""Which column of a file holds which part of an example: known by its name, guessed, or said by a person.

| shape | a row |
|---|---|
| messages | `messages`: turns with `role` and `content`, as OpenAI has them |
| sharegpt | `conversations`: turns with `from` and `value` |
| alpaca | `instruction`, `output`, perhaps `input` and `system` |
| prompt_completion | `prompt` with `completion` or `response`, each a text or a list of messages |
| question_answer | `question` and `answer` |
| text | `text` with a whole conversation written out, as `Q: … A: …` or in a chat template's marks |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from factory.base.errors import Invalid
from factory.intake import transcripts
from factory.intake.json_rows import load_json
from factory.intake.records import listed

FORMATS = ("messages", "sharegpt", "alpaca", "prompt_completion", "question_answer", "text")
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
    "text": (("text",),),
}
OPTIONAL = {"input", "system"}
COLUMNS = frozenset(name for needed in NEEDED.values() for names in needed for name in names) | OPTIONAL
EXPECTED = "messages; conversations; instruction and output; prompt and completion; or question and answer"
# Names that people give such columns, the likelier first. A guess is shown to a person, never taken for certain.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "turns": ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns"),
    "question": (
        *("question", "instruction", "prompt", "query", "user", "human", "frage", "pregunta", "problem", "task"),
        *("user_message", "input_text", "source", "q", "request", "title", "input"),
    ),
    "answer": (
        *("answer", "output", "completion", "response", "assistant", "reply", "antwort", "respuesta", "solution", "target"),
        *("assistant_message", "output_text", "gpt", "a", "chosen", "best_answer", "label", "summary"),
    ),
    "input": ("input", "context", "passage", "document"),
    "system": ("system", "system_prompt"),
}


@dataclass(frozen=True)
class Mapping:
    """The column for each part: either `turns`, a whole conversation, or `question` and `answer`; "" for none.

    `input` is put below the question, `system` before everything. This is what the mapping screen fills in.
    """

    turns: str = ""
    question: str = ""
    answer: str = ""
    input: str = ""
    system: str = ""

    def problems(self, columns: Sequence[str]) -> list[str]:
        """Why rows with these columns cannot be read so, one sentence each; [] when they can.

        >>> Mapping(question="q").problems(["q", "a"])
        ['Say which column holds the answer.']
        """
        found = [] if self.turns or self.question else ["Say which column holds the question, or the whole conversation."]
        found += [] if self.turns or self.answer or not self.question else ["Say which column holds the answer."]
        found += ["A column with the whole conversation leaves no place for others."] if self.turns and self.question else []
        named = [(part.name, getattr(self, part.name)) for part in fields(self) if getattr(self, part.name)]
        found += [f"There is no column {name[:40]!r} for the {part}; there are {listed(columns)}." for part, name in named
                  if name not in columns]  # fmt: skip
        twice = len({name for _, name in named}) < len(named)
        return [*found, "One column is named for two parts; name each once."] if twice else found


def said(parts: Any) -> Mapping:
    """The mapping that a dictionary of part → column says, as commands and routes send it. Raises Invalid.

    >>> said({"question": "Frage", "answer": "Antwort"}).answer
    'antwort'
    """
    known = [field.name for field in fields(Mapping)]
    if not isinstance(parts, dict) or not all(isinstance(v, str) and len(v) <= 200 for v in parts.values()):
        raise Invalid(f"A mapping names a column for some of {', '.join(known)}.")
    wrong = [str(part)[:40] for part in parts if part not in known]
    if wrong:
        raise Invalid(
            f"{', '.join(wrong)} is no part of an example; a mapping names a column for some of {', '.join(known)}."
        )
    return Mapping(**{part: name.strip().lower() for part, name in parts.items()})


def shapes_of(columns: Sequence[str]) -> list[str]:
    """All the shapes that rows with these columns could have, the one that is taken first.

    >>> shapes_of(["prompt", "response"]), shapes_of(["frage"])
    (['prompt_completion'], [])
    """
    present = set(columns)
    found = [shape for shape, needed in NEEDED.items() if all(present & set(names) for names in needed)]
    return [shape for shape in found if shape != "text" or len(found) == 1]


def of_shape(shape: str, columns: Sequence[str]) -> Mapping:
    """The mapping that a known shape amounts to, for showing."""
    names = [next((name for name in needed if name in columns), needed[0]) for needed in NEEDED[shape]]
    more = {part: part for part in ("input", "system") if part in columns and shape not in ("messages", "text")}
    if len(names) == 1:
        return Mapping(turns=names[0])
    more = more if shape == "alpaca" else {part: name for part, name in more.items() if part == "system"}
    return Mapping(question=names[0], answer=names[1], **more)


def guess(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> Mapping | None:
    """What the columns most likely hold, by their names, else by what stands in the first rows; None without a clue.

    >>> guess(["id", "Frage", "Antwort"], [])
    Mapping(turns='', question='Frage', answer='Antwort', input='', system='')
    """
    talk = next((name for name in columns if any(_is_talk(row.get(name)) for row in rows[:20])), "")
    if talk:
        return Mapping(turns=talk)
    plain = {re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_"): name for name in columns}
    found: dict[str, str] = {}
    for part in ("question", "answer", "input", "system"):
        names = [plain[name] for name in SYNONYMS[part] if name in plain and plain[name] not in found.values()]
        if names:
            found[part] = names[0]
    if {"question", "answer"} <= set(found):
        return Mapping(**found)
    texts = [name for name in columns if _share(rows, name) >= 0.8]
    if len(texts) == 1 and all(transcripts.turns_in(str(row.get(texts[0]))) for row in rows[:5]):
        return Mapping(turns=texts[0])
    first = found.get("question") or next((name for name in texts if name != found.get("answer")), "")
    second = found.get("answer") or next((name for name in texts if name != first), "")
    return Mapping(question=first, answer=second) if first and second else None


def _is_talk(value: Any) -> bool:
    if isinstance(value, str) and value.lstrip().startswith("[{") and len(value) < 2**20:
        try:
            value = load_json(value)
        except ValueError:
            return False
    return isinstance(value, list) and bool(value) and all(isinstance(t, dict) and {"role", "from"} & set(t) for t in value)


def _share(rows: Sequence[dict[str, Any]], name: str) -> float:
    """The share of the first rows in which a column holds words rather than a number, a code or nothing."""
    texts = [row.get(name) for row in rows[:50]]
    words = sum(isinstance(text, str) and (" " in text.strip() or len(text) > 12) for text in texts)
    return words / len(texts) if texts else 0.0


def messages_by(mapping: Mapping, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a row whose parts are where a mapping says. Raises Invalid with what hinders it."""
    if mapping.turns:
        return _talk(row.get(mapping.turns))
    question = _text(row.get(mapping.question), mapping.question)
    extra = _text(row.get(mapping.input) or "", mapping.input) if mapping.input else ""
    question = f"{question.rstrip()}\n\n{extra}" if extra.strip() else question
    return _with_system(row.get(mapping.system), _pair(question, _text(row.get(mapping.answer), mapping.answer)))


def messages_of(shape: str, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a row of a known shape. Raises Invalid with what hinders it."""
    if shape == "messages":
        return _turns(row["messages"])
    if shape == "text":
        return _talk(row["text"])
    if shape == "sharegpt":
        found = _turns(row.get("conversations", row.get("conversation")))
        return _with_system(row.get("system"), found) if found[0]["role"] != "system" else found
    if shape == "prompt_completion" and isinstance(row["prompt"], list):
        completion = row.get("completion", row.get("response"))
        rest = completion if isinstance(completion, list) else [{"role": "assistant", "content": completion}]
        return _turns([*row["prompt"], *rest])
    return messages_by(of_shape(shape, list(row)), row)


def _talk(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str) and not value.lstrip().startswith("["):
        found = transcripts.turns_in(value)
        if not found:
            raise Invalid(
                "it is plain text without a question and an answer; look at the file, write the question it answers, "
                "or mark them as Q: and A:."
            )
        return found
    return _turns(value)


def _pair(question: str, answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _with_system(value: Any, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    system = _text(value or "", "system")
    return [{"role": "system", "content": system}, *found] if system.strip() else found


def _text(value: Any, column: str) -> str:
    if isinstance(value, str):
        return value
    kind = "empty" if value is None else "a number" if isinstance(value, (int, float)) else "a list or an object"
    raise Invalid(f"{column} is {kind}, it should be text.")


def _turns(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):  # a CSV cell holds the turns as JSON
        try:
            value = load_json(value)
        except ValueError as problem:
            raise Invalid(f"the turns are not JSON ({problem}).") from problem
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        raise Invalid("there should be a list of turns with role and content, or with from and value.")
    turns = []
    for number, turn in enumerate(value, 1):
        key = "role" if "role" in turn or "from" not in turn else "from"
        said = turn.get(key)
        role = ROLE_NAMES.get(said.lower()) if isinstance(said, str) else None
        if role is None:
            shown = repr(said[:40]) if isinstance(said, str) else "that is no text"
            raise Invalid(f"turn {number} has the {key} {shown}; it should be system, user or assistant.")
        text = turn.get("content") if "content" in turn or "value" not in turn else turn["value"]
        turns.append({"role": role, "content": _parts(text, number)})
    return turns


def _parts(value: Any, number: int) -> str:
    if isinstance(value, list) and value and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in value):
        return "\n".join(part["text"] for part in value)
    if not isinstance(value, str):
        raise Invalid(f"turn {number} has no text; tool calls, pictures and sound cannot be taken in.")
    return value
