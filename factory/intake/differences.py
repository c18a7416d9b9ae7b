"""What differs between two texts, word by word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

from rapidfuzz.distance import Indel

Piece = tuple[str, str]  # "same", "gone" (only in the older) or "new" (only in the newer), and the words
WORD = re.compile(r"\s+|\w+|[^\w\s]")


def between(older: str, newer: str) -> list[Piece]:
    """The pieces that both texts are made of, in order: together, what is same and gone is the older one.

    The longest common sequence of words, spaces and marks (Indel distance); what is kept between two changes is shown as
    changed where it is only space, so that a changed phrase reads as one.

    >>> between("The cat sat down.", "The black cat lay down.")
    [('same', 'The '), ('new', 'black '), ('same', 'cat '), ('gone', 'sat'), ('new', 'lay'), ('same', ' down.')]
    >>> between("", "new"), between("same", "same")
    ([('new', 'new')], [('same', 'same')])
    """
    before, after = WORD.findall(older), WORD.findall(newer)
    found: list[tuple[str, str, str]] = []  # kind, what the older has there, what the newer has
    for step in Indel.opcodes(before, after):
        old = "".join(before[step.src_start : step.src_end])
        new = "".join(after[step.dest_start : step.dest_end])
        found.append(("same" if step.tag == "equal" else "changed", old, new))
    return _pieces(_joined(found))


def _joined(steps: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    joined: list[tuple[str, str, str]] = []
    for place, (kind, old, new) in enumerate(steps):
        # A lone space between two changes belongs to them.
        inside = 0 < place < len(steps) - 1 and kind == "same" and not old.strip()
        kind = "changed" if inside else kind
        if joined and joined[-1][0] == kind:
            joined[-1] = kind, joined[-1][1] + old, joined[-1][2] + new
        else:
            joined.append((kind, old, new))
    return joined


def _pieces(steps: Sequence[tuple[str, str, str]]) -> list[Piece]:
    pieces: list[Piece] = []
    for kind, old, new in steps:
        if kind == "same":
            pieces.append(("same", old))
        else:
            pieces += [(name, words) for name, words in (("gone", old), ("new", new)) if words]
    return pieces


def of_messages(older: Sequence[dict[str, str]], newer: Sequence[dict[str, str]]) -> list[tuple[str, list[Piece]]]:
    """Turn by turn, who speaks and what differs. A turn that only one of the two has is all gone or all new.

    >>> of_messages([{"role": "user", "content": "Why?"}], [{"role": "user", "content": "Why not?"}])
    [('user', [('same', 'Why'), ('new', ' not'), ('same', '?')])]
    """
    return [
        ((new or old or {})["role"], between((old or {}).get("content", ""), (new or {}).get("content", "")))
        for old, new in zip_longest(older, newer)
    ]
