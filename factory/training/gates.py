"""Three gates in front of every training: what would teach a model something else than its answers is named and refused.

learns   some token of every row is trained on
ends     the end-of-turn token of every answer that is trained on is trained on too, so that the model learns to stop
prompt   a trained answer starts after the very tokens that a chat with the model would start it from
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.base.errors import Invalid
from factory.training import encoding
from factory.training.encoding import EncodedRow

GATES = {
    "learns": "Every row has something to learn",
    "ends": "Every trained answer learns where to end",
    "prompt": "Training asks with the very tokens a chat asks with",
}
SENTENCES = {
    "learns": "Nothing in this row would be trained on.",
    "ends": "The token that ends an answer is not trained on, so the model would not learn to stop.",
    "prompt": "The tokens before an answer are not those a chat would start it from, so the training would not carry over.",
}
ADVICE = {
    "learns": "raise max_length",
    "ends": "choose a base model whose template ends its turns with an end-of-sequence token",
    "prompt": "split those conversations into rows with one answer each, or choose another base model",
}


@dataclass(frozen=True)
class Answer:
    """One assistant turn of a row: tokens `start` to `end`, where its end-of-turn token stands (None: it has none).

    `ends` and `prompt` say whether it passes these gates.
    """

    start: int
    end: int
    sign: int | None
    ends: bool
    prompt: bool


def end_tokens(folder: str | Path, tokenizer: Any) -> frozenset[int]:
    """The ids at which a chat with the model in `folder` stops: its generation settings' and its tokenizer's own."""
    try:
        own = json.loads((Path(folder) / "generation_config.json").read_text("utf-8")).get("eos_token_id")
    except (OSError, ValueError, AttributeError):
        own = None
    known = own if isinstance(own, list) else [own]
    return frozenset(token for token in (*known, tokenizer.eos_token_id) if token is not None)


def answers(
    tokenizer: Any,
    row: EncodedRow,
    messages: Sequence[dict[str, str]],
    *,
    ends: frozenset[int],
    system_prompt: str = "",
    in_chat: Callable[..., list[int]] = encoding.prompt,
) -> list[Answer]:
    """What the gates find at each answer of a row that lies, at least in part, within what is left of it.

    An answer that nothing is trained on passes; so does one whose end is cut off. `ends` as `end_tokens` gives it.
    """
    turns = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    found = []
    for place, (start, end) in zip(turns, row.answers, strict=True):
        if start >= len(row.tokens):
            break
        trained = any(row.supervised[start:end])
        sign = next((at for at in reversed(range(start, min(end, len(row.tokens)))) if row.tokens[at] in ends), None)
        whole = end <= len(row.tokens)
        stops = not trained or (row.supervised[sign] if sign is not None else not whole)
        asked = not trained or in_chat(tokenizer, messages[:place], system_prompt=system_prompt) == list(row.tokens[:start])
        found.append(Answer(start, end, sign, stops, asked))
    return found


def enforce(
    tokenizer: Any,
    rows: Sequence[EncodedRow],
    talks: Sequence[Sequence[dict[str, str]]],
    *,
    ends: frozenset[int],
    system_prompt: str = "",
) -> None:
    """Nothing where rows may be trained on as they are. Raises Invalid with a sentence for each gate that one fails.

    Rows with nothing to learn are left out before: they pass the other gates.
    """
    failing: dict[str, list[int]] = {"ends": [], "prompt": []}
    for row, talk in zip(rows, talks, strict=True):
        found = answers(tokenizer, row, talk, ends=ends, system_prompt=system_prompt)
        for gate, which in failing.items():
            if not all(getattr(answer, gate) for answer in found):
                which.append(row.example_id)
    problems = [refusal(gate, which, len(rows)) for gate, which in failing.items() if which]
    if problems:
        raise Invalid(problems)


def refusal(gate: str, example_ids: Sequence[int], rows: int) -> str:
    """One sentence on a gate that rows fail: how many, which, and what to do.

    >>> refusal("learns", [7], 3)
    'In 1 of 3 rows (7): Nothing in this row would be trained on; raise max_length.'
    """
    shown = ", ".join(map(str, example_ids[:5])) + (", …" if len(example_ids) > 5 else "")
    return f"In {len(example_ids)} of {rows} rows ({shown}): {SENTENCES[gate][:-1]}; {ADVICE[gate]}."
