"""One SQLite file: opened safely by many processes at once, migrated once, written in short transactions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlite_utils import Database
from sqlite_utils.utils import dedupe_keys

from factory.base import settings as settings_module
from factory.base.errors import DiskFull, Unavailable
from factory.base.schema import MIGRATIONS, VERSION
from factory.base.settings import Settings

BUSY_MILLISECONDS = 30_000
_clock: ContextVar[Callable[[], float] | None] = ContextVar("clock", default=None)


def open_store(where: Settings | Path | None = None) -> Database:
    """Open the database of an installation, creating and migrating it when needed.

    `where` is the settings (default: from the environment) or the path of a database file. Two processes that open a
    new database at the same moment both succeed. The caller closes it; `connect` does so by itself.
    Raises Unavailable when the file cannot be opened or is newer than this code.
    """
    if where is None:
        where = settings_module.load()
    path = where.database if isinstance(where, Settings) else Path(where)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_MILLISECONDS / 1000, check_same_thread=False)
        db = Database(connection, strict=True)
        connection.create_function("fade", 2, fade, deterministic=True)
        db.execute(f"pragma busy_timeout = {BUSY_MILLISECONDS}")
        db.execute("pragma foreign_keys = on")
        db.execute("pragma synchronous = full")
        found = db.execute("pragma user_version").fetchone()[0]
        if found < VERSION:
            _migrate(db, path)
    except (OSError, sqlite3.DatabaseError) as problem:
        raise Unavailable(
            f"The database {path} cannot be opened ({problem}); check the folder's permissions and free space."
        ) from problem
    if found > VERSION:
        db.close()
        raise Unavailable(
            f"The database {path} was written by a newer version of this program; update the program, then start again."
        )
    return db


def _migrate(db: Database, path: Path) -> None:
    # The switch to WAL does not wait for other writers by itself, hence the file lock around it.
    with FileLock(path.with_name(path.name + ".lock"), timeout=BUSY_MILLISECONDS / 1000):
        db.execute("pragma journal_mode = wal")
        db.execute("begin immediate")
        try:
            MIGRATIONS.apply(db)
            db.execute(f"pragma user_version = {VERSION}")
            db.execute("commit")
        except BaseException:
            db.rollback()
            raise


@contextmanager
def connect(where: Settings | Path | None = None) -> Iterator[Database]:
    """`open_store` for the length of a `with` block."""
    db = open_store(where)
    try:
        yield db
    finally:
        db.close()


@contextmanager
def writing(db: Database) -> Iterator[Database]:
    """A transaction that may write, waiting its turn at the start; nested, it is a savepoint.

    A deferred transaction that reads first and writes later can fail with "database is locked" without waiting, so
    every write of this program goes through here.
    Raises DiskFull when it is; nothing of the block is kept then.
    """
    if db.conn.in_transaction:
        with db.atomic():
            yield db
        return
    try:
        db.execute("begin immediate")
        try:
            yield db
            db.execute("commit")
        except BaseException:
            if db.conn.in_transaction:
                db.rollback()
            raise
    except sqlite3.OperationalError as problem:
        if "disk is full" in str(problem) or "disk I/O" in str(problem):
            raise DiskFull("The disk is full, so nothing was saved; free some space and try again.") from problem
        raise


def state_of(db: Database) -> tuple[int, int]:
    """What changes with every write to the database, by this connection or another: equal states read the same rows.

    Ask before the first read and again inside `writing`: where both are equal, what was read still holds.
    """
    return int(value(db, "pragma data_version")), int(db.conn.total_changes)


def rows(db: Database, sql: str, *values: Any, **named: Any) -> list[dict[str, Any]]:
    """All rows of a query as dictionaries."""
    cursor, keys = _asked(db, sql, named or list(values))
    return [dict(zip(keys, found, strict=True)) for found in cursor]


def row(db: Database, sql: str, *values: Any, **named: Any) -> dict[str, Any] | None:
    """The first row of a query as a dictionary, or None."""
    cursor, keys = _asked(db, sql, named or list(values))
    found = cursor.fetchone()
    return None if found is None else dict(zip(keys, found, strict=True))


def _asked(db: Database, sql: str, values: Any) -> tuple[sqlite3.Cursor, list[str]]:
    # Database.query sets a savepoint around each query, in case it is none; that costs as much as a short query does.
    cursor = db.execute(sql, values)
    return cursor, dedupe_keys(column[0] for column in cursor.description)


def value(db: Database, sql: str, *values: Any, **named: Any) -> Any:
    """The first column of the first row, or None where there is no row."""
    found = db.execute(sql, named or list(values)).fetchone()
    return None if found is None else found[0]


def insert(db: Database, table: str, record: dict[str, Any]) -> int:
    """Insert one row and return its rowid."""
    columns = ", ".join(record)
    marks = ", ".join("?" for _ in record)
    return int(db.execute(f"insert into {table} ({columns}) values ({marks})", list(record.values())).lastrowid or 0)


def fade(days: float, half_life: float | None) -> float:
    """What a decision of some days ago still weighs; triggers of the schema call it too. Without a half-life, all of it.

    >>> fade(365, 365.0)
    0.5
    """
    return 0.5 ** (days / half_life) if half_life and half_life > 0 else 1.0


def now() -> float:
    """Seconds since 1970, UTC: how every moment is stored. What `clock` says, or the machine's."""
    told = _clock.get()
    return time.time() if told is None else told()


@contextmanager
def clock(told: Callable[[], float]) -> Iterator[None]:
    """Let `now` be what a function says for the length of a `with` block, in this thread: simulations run on such a clock.

    >>> with clock(lambda: 86_400.0):
    ...     now()
    86400.0
    """
    before = _clock.set(told)
    try:
        yield
    finally:
        _clock.reset(before)
