"""Rows of tokens laid end to end without padding, what they begin with in common computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

TOKENS_PER_PACK = 512


@dataclass(frozen=True)
class EncodedRow:
    """One conversation as tokens; `supervised[i]` says whether token i is trained on (the first never is)."""

    example_id: int
    tokens: tuple[int, ...]
    supervised: tuple[bool, ...]
    truncated: bool = False
    answers: tuple[tuple[int, int], ...] = ()  # where each assistant turn begins and ends, were nothing cut
    weight: float = 1.0  # how often it comes in an epoch

    @cached_property
    def label_tokens(self) -> int:
        """How many tokens are trained on."""
        return sum(self.supervised[1:])


@dataclass(frozen=True)
class Pack:
    """Several rows laid end to end: a shared prefix, then what each row has of its own.

    `owners[i]` is -1 in the prefix, else the place in `rows` of the row that token belongs to. A label is a triple:
    the place in the pack whose hidden state predicts it, the token to predict, the row (its place in `rows`).
    """

    rows: tuple[int, ...]  # positions in the list that was packed
    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    owners: tuple[int, ...]
    prefix: int
    labels: tuple[tuple[int, int, int], ...]

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Where each row's own tokens begin and end in the pack; rows that are all prefix have none.

        >>> Pack((0, 1), (5, 6, 7, 8), (0, 1, 2, 1), (-1, 0, 0, 1), 1, ()).spans
        ((1, 3), (3, 4))
        """
        edges = [
            at for at in range(self.prefix, len(self.owners)) if at == self.prefix or self.owners[at] != self.owners[at - 1]
        ]
        return tuple(zip(edges, [*edges[1:], len(self.owners)], strict=True))


def packs(rows: Sequence[EncodedRow], *, tokens_per_pack: int = TOKENS_PER_PACK) -> list[Pack]:
    """Rows laid into packs of at most `tokens_per_pack` tokens (a longer row has one of its own).

    Rows that begin alike lie together, so that what they share is computed once. The same rows give the same packs.
    """
    order = sorted(range(len(rows)), key=lambda place: (rows[place].tokens, place))
    made: list[Pack] = []
    chosen: list[int] = []
    shared = total = 0  # of the chosen rows: common first tokens, and all their tokens
    for place in order:
        tokens = rows[place].tokens
        common = _common(rows[chosen[0]].tokens[:shared], tokens) if chosen else len(tokens)
        if chosen and total + len(tokens) - common * len(chosen) > tokens_per_pack:
            made.append(_pack(rows, chosen, shared))
            chosen, total, common = [], 0, len(tokens)
        chosen.append(place)
        shared, total = common, total + len(tokens)
    if chosen:
        made.append(_pack(rows, chosen, shared))
    return made


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """
    >>> _common([1, 2, 3], [1, 2, 4, 5])
    2
    """
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _pack(rows: Sequence[EncodedRow], chosen: list[int], shared: int) -> Pack:
    prefix = shared if len(chosen) > 1 else 0
    tokens = list(rows[chosen[0]].tokens[:prefix])
    positions, owners = list(range(prefix)), [-1] * prefix
    labels = []
    for owner, place in enumerate(chosen):
        row = rows[place]
        start = len(tokens)
        own = row.tokens[prefix:]
        tokens += own
        positions += range(prefix, prefix + len(own))
        owners += [owner] * len(own)
        for at in range(1, len(row.tokens)):
            if row.supervised[at]:
                source = at - 1
                labels.append((source if source < prefix else start + source - prefix, row.tokens[at], owner))
    return Pack(tuple(chosen), tuple(tokens), tuple(positions), tuple(owners), prefix, tuple(labels))
