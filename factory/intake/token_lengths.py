"""How many tokens a conversation has for the base models of a dataset, by the tokenizers that lie beside the database.

A byte-level tokenizer never makes more tokens than there are bytes, so that a short row need not be read by one at all.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory.base import store

# What a chat template puts around a turn: a mark, the role, a line end, a mark, a line end; and a system turn of its own.
TOKENS_A_TURN, TOKENS_AROUND = 6, 32


def longest(turns: list[dict[str, str]], models: Path, names: list[str]) -> tuple[str, int] | None:
    """The model to which a conversation is longest, and its tokens, template included; None where no model is fetched."""
    counted = [(name, count(turns, models / name / "tokenizer.json")) for name in names]
    return max(((name, tokens) for name, tokens in counted if tokens is not None), key=lambda pair: pair[1], default=None)


def count(turns: list[dict[str, str]], tokenizer: Path) -> int | None:
    """The tokens of a conversation with what a template adds (within a few), or None where there is no such tokenizer."""
    if not tokenizer.is_file():
        return None
    encoded = _tokenizer(tokenizer, tokenizer.stat().st_mtime_ns).encode_batch_fast(
        [turn["content"] for turn in turns], add_special_tokens=False
    )
    return around(turns) + sum(len(each.ids) for each in encoded)


def at_most(turns: list[dict[str, str]]) -> int:
    """What no byte-level tokenizer exceeds.

    >>> at_most([{"role": "user", "content": "Grüße"}])
    45
    """
    return around(turns) + sum(len(turn["content"].encode()) for turn in turns)


def around(turns: list[dict[str, str]]) -> int:
    """The tokens that a template adds, at most."""
    return TOKENS_AROUND + TOKENS_A_TURN * len(turns)


def models_beside(db: Database) -> Path:
    """The folder of base models in the installation that a database belongs to."""
    return Path(store.rows(db, "pragma database_list")[0]["file"]).parent / "models"


@lru_cache(maxsize=4)
def _tokenizer(path: Path, changed: int) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))
