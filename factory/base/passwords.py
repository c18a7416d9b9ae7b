"""Passwords: what makes one good enough, and how it is kept and compared without being known."""

from __future__ import annotations

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MINIMUM_PASSWORD = 10
_hasher = PasswordHasher()


def problems(password: str, name: str) -> list[str]:
    """What is wrong with a password for an account of this name; nothing where it is good.

    >>> problems("three or four words", "ada")
    []
    """
    if len(password) < MINIMUM_PASSWORD:
        return [f"A password has at least {MINIMUM_PASSWORD} characters; three or four random words are easy to remember."]
    if len(password) > 1000:
        return ["A password has at most 1,000 characters."]
    if name and name in password.lower():
        return ["The password contains the name; choose one that does not."]
    return []


def hashed(password: str) -> str:
    """What is kept of a password: argon2id with a salt of its own."""
    return _hasher.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Whether this is the password; where none is stored, no, after the same work."""
    try:
        return _hasher.verify(stored or _decoy(), password[:1000]) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def wants_rehash(stored: str) -> bool:
    """Whether a hash was made with weaker settings than today's."""
    return _hasher.check_needs_rehash(stored)


@cache
def _decoy() -> str:
    """Something to verify against where nobody has the name, so that it takes as long."""
    return _hasher.hash(secrets.token_hex(16))
