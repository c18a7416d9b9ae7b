"""Merkle roots as RFC 6962 defines them, and proofs for each row."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.intake import merkle

HASHES = st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), min_size=1, max_size=40)


def by_the_book(leaves: list[str]) -> bytes:
    """The recursive definition of the RFC, word for word."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + bytes.fromhex(leaves[0])).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + by_the_book(leaves[:split]) + by_the_book(leaves[split:])).digest()


@given(HASHES)
def test_the_root_is_that_of_the_rfc(hashes: list[str]) -> None:
    assert merkle.merkle_root(hashes) == by_the_book(hashes).hex()


@given(HASHES, st.data())
def test_a_path_proves_its_row_at_its_place_and_no_other(hashes: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(hashes) - 1))
    path = merkle.merkle_path(hashes, place)
    root = merkle.merkle_root(hashes)
    assert merkle.root_from_path(hashes[place], place, len(hashes), path) == root
    assert merkle.root_from_path("ab" * 32, place, len(hashes), path) != root or hashes[place] == "ab" * 32


@pytest.mark.parametrize("count", [2, 3, 8, 13])
def test_order_and_length_change_the_root(count: int) -> None:
    hashes = [hashlib.sha256(bytes([i])).hexdigest() for i in range(count)]
    roots = {merkle.merkle_root(hashes), merkle.merkle_root(hashes[::-1]), merkle.merkle_root(hashes[:-1])}
    assert len(roots) == 3
