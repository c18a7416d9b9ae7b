"""What an adapter cost the model elsewhere: the loss on a neutral text that no dataset is about, off and on.

The text ships with the program (`neutral_text.txt`, written for it, Apache-2.0): short passages of general prose, each on
another subject, each a chunk of its own. See docs/decisions/0010-forgetting-on-a-neutral-text.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.training import encoding
from factory.training.encoding import EncodedRow

TEXT = Path(__file__).with_name("neutral_text.txt")
LONGEST_PASSAGE = 512  # tokens, with a tokenizer that cuts words finely

Losses = list[tuple[float, int]]  # of each passage: summed negative log-likelihood in nats, and over how many tokens


def passages() -> list[str]:
    """The neutral text, a passage each.

    >>> len(passages())
    24
    """
    return [part.strip() for part in TEXT.read_text(encoding="utf-8").split("\n\n") if part.strip()]


def text_hash() -> str:
    """The sha-256 of the passages: what was forgotten can only be compared on the same text."""
    return hashlib.sha256("\n\n".join(passages()).encode()).hexdigest()


def rows(tokenizer: Any) -> list[EncodedRow]:
    """The passages as tokens, every one but the first to be predicted; plain prose, so no chat template is put around it."""
    encoded = []
    for place, passage in enumerate(passages()):
        tokens = tuple(tokenizer.encode(passage)[:LONGEST_PASSAGE])  # with the sign a text begins with, where there is one
        encoded.append(EncodedRow(place, tokens, (False, *(True,) * (len(tokens) - 1))))
    return encoded


def measure(model: Any, tokenizer: Any, *, progress: Callable[[float], None] = lambda share: None) -> tuple[Losses, Losses]:
    """The losses of a PeftModel in eval mode on the neutral text, a passage each, with its adapter off and with it on."""
    laid = rows(tokenizer)
    with model.disable_adapter():
        before = encoding.row_losses(model, laid, progress=lambda done: progress(done / 2))
    return before, encoding.row_losses(model, laid, progress=lambda done: progress(0.5 + done / 2))


def write(db: Database, evaluation_id: int, figures: dict[str, float], before: Losses, after: Losses) -> None:
    """Store what was measured beside an evaluation; inside the caller's transaction.

    `figures`: base_loss, tuned_loss, difference, low, high as `evaluation.paired` gives them.
    """
    record = {
        "evaluation_id": evaluation_id,
        "text_hash": text_hash(),
        "chunk_count": len(before),
        "tokens": sum(count for _, count in before),
        **figures,
    }
    store.insert(db, "forgetting", record)
    db.conn.executemany(
        "insert into forgetting_chunks (evaluation_id, position, tokens, base_loss, tuned_loss) values (?, ?, ?, ?, ?)",
        [
            (evaluation_id, position, count, base, tuned)
            for position, ((base, count), (tuned, _)) in enumerate(zip(before, after, strict=True))
        ],
    )


def find(db: Database, evaluation_id: int) -> dict[str, Any] | None:
    """What was measured on the neutral text in an evaluation, or None where it was not.

    Its columns, and forgot_percent, forgot_low, forgot_high: by how much the loss rose, with its 95% interval.
    """
    found = store.row(db, "select * from forgetting where evaluation_id = ?", evaluation_id)
    return found | percent(found) if found else None


def percent(found: dict[str, Any]) -> dict[str, float]:
    """The rise of the loss on the neutral text in percent of the base's; below zero it got better.

    >>> percent({"base_loss": 2.0, "difference": 0.1, "low": 0.05, "high": 0.2})
    {'forgot_percent': 5.0, 'forgot_low': 2.5, 'forgot_high': 10.0}
    """
    keys = {"forgot_percent": "difference", "forgot_low": "low", "forgot_high": "high"}
    return {name: 100 * found[key] / found["base_loss"] if found["base_loss"] else 0.0 for name, key in keys.items()}


def in_words(found: dict[str, Any] | None) -> str:
    """One sentence on what was forgotten.

    >>> in_words({"base_loss": 2.0, "difference": 0.1, "low": 0.05, "high": 0.2, "chunk_count": 24})
    'Forgot 5.0% (95% interval +2.5% to +10.0%): its loss on 24 passages of neutral text rose by that much.'
    >>> in_words({"base_loss": 2.0, "difference": 0.001, "low": -0.01, "high": 0.01, "chunk_count": 24})
    'No forgetting can be told on 24 passages of neutral text: the loss changed by +0.1% (95% interval -0.5% to +0.5%).'
    """
    if found is None:
        return "What it forgot was not measured; evaluate it again."
    told: Sequence[float] = tuple(percent(found).values())
    change, low, high = told
    on, interval = f"on {found['chunk_count']} passages of neutral text", f"(95% interval {low:+.1f}% to {high:+.1f}%)"
    if low <= 0 <= high:
        return f"No forgetting can be told {on}: the loss changed by {change:+.1f}% {interval}."
    if change > 0:
        return f"Forgot {change:.1f}% {interval}: its loss {on} rose by that much."
    return f"Forgot nothing: its loss {on} fell by {-change:.1f}% {interval}."
