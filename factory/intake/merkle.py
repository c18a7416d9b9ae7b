"""Merkle trees over SHA-256 hashes in hex, as RFC 6962 section 2.1 draws them, with the hashes' bytes as leaves.

A root names exactly these hashes in this order. A path proves that one of them is at its place, without the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def merkle_root(hashes: Sequence[str]) -> str:
    """The root over `hashes`, in their order.

    >>> merkle_root([])[:16]
    'e3b0c44298fc1c14'
    >>> merkle_root(["00" * 32]) == hashlib.sha256(bytes(33)).hexdigest()
    True
    """
    if not hashes:
        return hashlib.sha256(b"").hexdigest()
    return _levels(hashes)[-1][0].hex()


def _levels(hashes: Sequence[str]) -> list[list[bytes]]:
    levels = [[hashlib.sha256(b"\0" + bytes.fromhex(leaf)).digest() for leaf in hashes]]
    while len(levels[-1]) > 1:
        level = levels[-1]
        # An odd one at the end rises as it is: the same tree as the RFC's split at the largest power of two.
        paired = [hashlib.sha256(b"\1" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        levels.append(paired + level[len(level) - len(level) % 2 :])
    return levels


def merkle_path(hashes: Sequence[str], place: int) -> list[str]:
    """The neighbours, from leaf to root, that prove that `hashes[place]` is at its place."""
    path = []
    for level in _levels(hashes)[:-1]:
        neighbour = place ^ 1
        if neighbour < len(level):
            path.append(level[neighbour].hex())
        place //= 2
    return path


def root_from_path(leaf: str, place: int, count: int, path: Sequence[str]) -> str:
    """The root to which a path leads from the leaf at `place` of `count`: compare it with the one that was published.

    >>> hashes = ["00" * 32, "11" * 32, "22" * 32]
    >>> root_from_path(hashes[2], 2, 3, merkle_path(hashes, 2)) == merkle_root(hashes)
    True
    """
    node = hashlib.sha256(b"\0" + bytes.fromhex(leaf)).digest()
    neighbours = iter(path)
    while count > 1:
        if place ^ 1 < count:
            neighbour = bytes.fromhex(next(neighbours, ""))
            node = hashlib.sha256(b"\1" + (neighbour + node if place % 2 else node + neighbour)).digest()
        place, count = place // 2, (count + 1) // 2
    return node.hex()
