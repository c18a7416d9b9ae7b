"""One-time sign-in links: a secret that is kept as its hash and works once, for half an hour."""

from __future__ import annotations

import hashlib
import secrets

from sqlite_utils import Database

from factory.base import store

LINK_SECONDS = 30 * 60


def issue(db: Database, person_id: int) -> str:
    """The secret of a new link for a person, the only time it is seen."""
    token = secrets.token_urlsafe(32)
    moment = store.now()
    with store.writing(db):
        db.execute("delete from sign_in_links where expires_at < ?", [moment - 24 * 3600])
        record = {"token_hash": digest(token), "person_id": person_id, "created_at": moment}
        store.insert(db, "sign_in_links", record | {"expires_at": moment + LINK_SECONDS})
    return token


def use(db: Database, token: str) -> int | None:
    """The id of the person a link was made for; None where it was used, is too old or is not known."""
    with store.writing(db):
        used = db.execute(
            "update sign_in_links set used_at = :now where token_hash = :hash and used_at is null and expires_at > :now",
            {"now": store.now(), "hash": digest(token)},
        ).rowcount
        person_id = store.value(db, "select person_id from sign_in_links where token_hash = ?", digest(token))
    return int(person_id) if used == 1 else None


def forget(db: Database, person_id: int) -> None:
    """Forget a person's links, in the caller's transaction."""
    db.execute("delete from sign_in_links where person_id = ?", [person_id])


def digest(token: str) -> str:
    """What is kept of a secret that is long and random: its sha-256."""
    return hashlib.sha256(token.encode()).hexdigest()
