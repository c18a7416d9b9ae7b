"""Tries to sign in, counted, so that passwords cannot be guessed by trying."""

from __future__ import annotations

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import NotAllowed

FAILURES_PER_NAME, FAILURES_PER_ADDRESS, FAILURE_WINDOW_SECONDS = 8, 30, 15 * 60


def begin(db: Database, name: str, address: str) -> int:
    """Count a try, as a failure until it succeeds; its id. Raises NotAllowed where too many failed of late."""
    since = store.now() - FAILURE_WINDOW_SECONDS
    failures = "select count(*) from sign_in_attempts where {} = ? and at > ? and not succeeded"
    with store.writing(db):
        if (
            store.value(db, failures.format("name"), name, since) >= FAILURES_PER_NAME
            or store.value(db, failures.format("address"), address, since) >= FAILURES_PER_ADDRESS
        ):
            raise NotAllowed("Too many tries that failed; wait 15 minutes, then try again.")
        # Counted as a failure first, so that tries at the same moment cannot pass the limit together.
        attempt = store.insert(db, "sign_in_attempts", {"name": name, "address": address, "at": store.now(), "succeeded": 0})
        db.execute("delete from sign_in_attempts where at < ?", [since - 30 * 24 * 3600])
    return attempt


def succeed(db: Database, attempt: int) -> None:
    """Note that a try succeeded, in the caller's transaction."""
    db.execute("update sign_in_attempts set succeeded = 1 where id = ?", [attempt])


def forget(db: Database, name: str) -> None:
    """Forget every try under this name, in the caller's transaction."""
    db.execute("delete from sign_in_attempts where name = ?", [name])
