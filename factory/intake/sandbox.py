"""Readers written in C++ and Rust, run in a process of their own: a hostile file can end that one, never the house.

The process gets the bytes on its input and answers one JSON value a line. It has a limit on seconds and on memory, may write
no file, and is ended when it takes too long, so that no file can make anybody wait for ever.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from factory.base.errors import Invalid
from factory.base.settings import Settings

READER = Path(__file__).with_name("native.py")
MEMORY = 1536 * 2**20
LONGEST_ANSWER = 2**24


def read(kind: str, file: BinaryIO, *, name: str, settings: Settings) -> Iterator[Any]:
    """What the reader of `kind` ("xlsx" or "pdf") finds in the file, value by value as `native` describes them.

    Raises Invalid with one sentence when the file is damaged, locked, too big for the reader, or takes over
    `settings.reading_seconds`.
    """
    seconds = settings.reading_seconds
    # -I: nothing of the folder or the environment is imported; what it may use of the machine it limits itself.
    command = [sys.executable, "-I", "-B", str(READER), kind, str(seconds), str(MEMORY), str(settings.max_text_bytes)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_bare())
    assert child.stdin is not None
    assert child.stdout is not None
    late = threading.Event()

    def stop() -> None:
        late.set()
        child.kill()

    watch = threading.Timer(seconds, stop)
    watch.daemon = True
    watch.start()
    try:
        _hand_over(file, child.stdin)
        ended = False
        while line := child.stdout.readline(LONGEST_ANSWER):
            value = json.loads(line)
            if isinstance(value, dict) and "refused" in value:
                raise Invalid(f"{name} {value['refused']}")
            ended = value == "end"
            if not ended:
                yield value
        if not ended:
            raise Invalid(_why(name, seconds, late.is_set()))
    except ValueError as problem:  # the last line is cut where the process was ended
        raise Invalid(_why(name, seconds, late.is_set())) from problem
    finally:
        watch.cancel()
        child.kill()
        child.stdout.close()
        child.wait()


def _why(name: str, seconds: int, late: bool) -> str:
    if late:
        return f"{name} takes more than {seconds} seconds to read; split it into parts, or save it anew and try again."
    return f"{name} is damaged, or takes more memory to read than it may; save it anew, or split it into parts."


def _bare() -> dict[str, str]:
    """The few variables that Python itself needs to start; no secret of the house among them."""
    return {key: os.environ[key] for key in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV") if key in os.environ}


def _hand_over(file: BinaryIO, pipe: Any) -> None:
    try:
        while data := file.read(2**20):
            pipe.write(data)
        pipe.close()
    except BrokenPipeError:  # it ended early, and what it said is read next
        pass
