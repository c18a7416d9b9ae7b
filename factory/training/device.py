"""Who computes on this machine: one lock for training, evaluation, attribution, exports and chat.

The rule. A run holds the device from its claim to its end, another long piece of work for as long as it lasts, chat for the
length of an answer. Who finds it held waits, or is refused with the name of the holder; only chat may answer beside a run,
slowly, where memory has room for both. A run can be asked to make way; it goes on by itself once chat has been quiet.

The lock is the system's own lock on a file, which ends with its process however that ends: a dead holder never blocks. A
small file beside it says who holds, for people to read. It belongs to one machine, and so does its folder.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from factory.base import store
from factory.base.errors import Conflict
from factory.base.settings import Settings

QUIET_SECONDS = 30.0  # so long after an answer a run may start: who reads an answer often asks again
CHAT, RUN = "chat", "run"


@dataclass(frozen=True)
class Holder:
    """Who holds the device, or held it last: `kind` is run, chat or another word; `until` is None while it is held."""

    kind: str
    words: str  # a sentence without its full stop: "Run 12 is training"
    pid: int
    pid_started: float
    since: float
    run_id: int | None = None
    until: float | None = None


_held: dict[str, FileLock] = {}  # what this process holds, by path
_depth: dict[str, int] = {}
_guard = threading.Lock()


@contextmanager
def held(
    settings: Settings, kind: str, words: str, *, run_id: int | None = None, wait_seconds: float = 0.0
) -> Iterator[None]:
    """Have the device for a block; inside another such block of the same process it is had already.

    Waits up to `wait_seconds` for who has it. Raises Conflict that names the holder.
    """
    path = str(settings.home / "device.lock")
    with _guard:
        nested = path in _held
        if nested:
            _depth[path] += 1
    if not nested:
        _take(settings, path, wait_seconds)
        me = psutil.Process()
        _say(settings, Holder(kind, words, me.pid, me.create_time(), store.now(), run_id))
    try:
        yield
    finally:
        _leave(settings, path)


def _take(settings: Settings, path: str, wait_seconds: float) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=wait_seconds, thread_local=False)
    try:
        lock.acquire(poll_interval=0.1)
    except Timeout as problem:
        found = holder(settings)
        who = found.words if found else "Another process computes on this machine"
        raise Conflict(f"{who}; wait for it to end, or free the device on the page of runs.") from problem
    with _guard:
        _held[path], _depth[path] = lock, 1


def _leave(settings: Settings, path: str) -> None:
    with _guard:
        _depth[path] -= 1
        if _depth[path]:
            return
        lock = _held.pop(path)
    found = last(settings)
    if found is not None:
        _say(settings, dataclasses.replace(found, until=store.now()))
    lock.release()


def holder(settings: Settings) -> Holder | None:
    """Who holds the device now, or None."""
    found = last(settings)
    if found is None or found.until is not None or not process_lives(found.pid, found.pid_started):
        return None
    return found


def quiet_in(settings: Settings) -> float:
    """Seconds until a run may start after chat's last answer; 0 where it may start now."""
    found = last(settings)
    if found is None or found.kind != CHAT or found.until is None:
        return 0.0
    return min(QUIET_SECONDS, max(0.0, found.until + QUIET_SECONDS - store.now()))


def last(settings: Settings) -> Holder | None:
    """Who holds the device or held it last; None where nobody ever did."""
    try:
        return Holder(**json.loads((settings.home / "device.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _say(settings: Settings, found: Holder) -> None:
    _write(settings.home / "device.json", dataclasses.asdict(found))


def _write(path: Path, values: dict[str, object]) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):  # on a full disk nobody can read who holds it; held it is all the same
        draft.write_text(json.dumps(values))
        os.replace(draft, path)


def settle(settings: Settings) -> None:
    """Say that this process keeps a model for chat in memory, also while it does not answer."""
    me = psutil.Process()
    _write(settings.home / "chat.json", {"pid": me.pid, "pid_started": me.create_time()})


def resident(settings: Settings) -> dict[str, int] | None:
    """The chat process that keeps a model in memory: pid and memory_bytes; None where there is none."""
    try:
        found = json.loads((settings.home / "chat.json").read_text())
        if not process_lives(found["pid"], found["pid_started"]):
            return None
        return {"pid": int(found["pid"]), "memory_bytes": int(psutil.Process(found["pid"]).memory_info().rss)}
    except (OSError, ValueError, TypeError, KeyError, psutil.Error):
        return None


def process_lives(pid: int | None, started: float | None) -> bool:
    """Whether the process with this pid and start time still runs; a reused pid is another process."""
    if pid is None or started is None:
        return False
    try:
        process = psutil.Process(pid)
        # a second of tolerance: the start time is counted from the boot time, which the clock can move
        return abs(process.create_time() - started) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
