"""Talking to a model from a process that must stay light: a page or a command asks, the chat process answers.

Over a Unix socket in the installation's folder go JSON messages, never pickled objects. Who connects must know the
installation's secret key, and so must who answers. One message asks:

    {"do": "talk", "model_name": …, "adapter_id": …, "messages": […], "max_tokens": …, "temperature": …, "seed": …}
    {"do": "status"}   {"do": "free"}

and any number answer: `{"piece": text}` as often as there is text, then `{"end": true}`; or `{"status": {…}}`; or
`{"error": sentence, "family": "Invalid"}`, which rises here again as that error.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from factory.base import errors
from factory.base.errors import FactoryError, Invalid, Unavailable
from factory.base.settings import ROOT, Settings, secret_key

SERVE = (sys.executable, "-m", "factory", "chat", "--serve")
START_SECONDS = 120.0
FREE_SECONDS = 10.0
MAXIMUM_MESSAGE_BYTES = 2**20
LONGEST_ADDRESS = 100  # the system's own limit lies between 104 and 108 bytes


def stream(
    settings: Settings,
    *,
    adapter_id: int | None,
    model_name: str,
    messages: Sequence[dict[str, str]],
    max_tokens: int = 200,
    temperature: float = 0.0,
    seed: int = 0,
    command: Sequence[str] = SERVE,
) -> Iterator[str]:
    """The answer in pieces of text, as they are made; `adapter_id` None asks the base model `model_name`.

    Starts the chat process when none is there, which takes some ten seconds. Somebody else's answer is finished first.
    Closing the iterator stops the generation. Raises what the chat process refuses (Invalid, NotFound, …), and
    Unavailable when it cannot be started or dies.
    """
    request = {
        "do": "talk",
        "adapter_id": adapter_id,
        "model_name": model_name,
        "messages": list(messages),
        "max_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
    }
    connection = _connect(settings) or _start(settings, command)
    try:
        for answer in _answers(settings, connection, request):
            if "piece" in answer:
                yield answer["piece"]
    finally:
        connection.close()


def status(settings: Settings) -> dict[str, Any] | None:
    """What the chat process is doing, or None where there is none.

    Keys: state ("idle", "loading" or "talking"), waiting (how many wait their turn), model_name, memory_bytes, pid,
    idle_seconds, exits_after_seconds.
    """
    found = _ask(settings, "status")
    return found["status"] if found else None


def free(settings: Settings) -> bool:
    """Stop the chat process and so give its memory back; False when there was none. An answer under way is cut off."""
    if _ask(settings, "free") is None:
        return False
    until = time.monotonic() + FREE_SECONDS
    while time.monotonic() < until and (connection := _connect(settings)):
        connection.close()
        time.sleep(0.05)
    return True


def _ask(settings: Settings, verb: str) -> dict[str, Any] | None:
    connection = _connect(settings)
    if connection is None:
        return None
    with connection:
        return next(_answers(settings, connection, {"do": verb}))


def address(settings: Settings) -> str:
    """Where the chat process listens: in `home`, or in a private folder of /tmp where that path would be too long."""
    usual = str(settings.home / "chat.sock")
    if len(os.fsencode(usual)) < LONGEST_ADDRESS:
        return usual
    name = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"factory-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return str(folder / f"{name}.sock")


def authkey(settings: Settings) -> bytes:
    """What both ends prove that they know, without saying it."""
    return hashlib.sha256(b"chat:" + secret_key(settings).encode()).digest()


def send(connection: Connection, message: dict[str, Any]) -> None:
    """Send one message."""
    connection.send_bytes(json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def receive(connection: Connection) -> dict[str, Any]:
    """The next message. Raises EOFError or OSError when the other end is gone, Invalid when it is not a JSON object."""
    text = connection.recv_bytes(MAXIMUM_MESSAGE_BYTES)
    try:
        message = json.loads(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as problem:
        raise Invalid("That is not a message of the chat process; it speaks JSON objects.") from problem
    if not isinstance(message, dict):
        raise Invalid("That is not a message of the chat process; it speaks JSON objects.")
    return message


def _connect(settings: Settings) -> Connection | None:
    try:
        return Client(address(settings), family="AF_UNIX", authkey=authkey(settings))
    except (FileNotFoundError, ConnectionError, EOFError):
        return None  # nobody listens, or it is just leaving
    except AuthenticationError as problem:
        raise Unavailable(
            "The chat process of this installation has another key than this one; stop it, then ask again."
        ) from problem


def _start(settings: Settings, command: Sequence[str]) -> Connection:
    """Start the chat process in a session of its own and wait until it listens."""
    log = settings.home / "chat.log"
    process = _spawn(settings, command, log)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        connection = _connect(settings)
        if connection is not None:
            return connection
        if process.returncode:
            raise Unavailable(f"The chat process ended at once; {log} says why.")
        if process.returncode == 0:  # another one held the place: it will listen, or it was just leaving
            process = _spawn(settings, command, log)
        time.sleep(0.1)
    raise Unavailable(f"The chat process did not answer within {START_SECONDS:.0f} seconds; {log} says why.")


def _spawn(settings: Settings, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "FACTORY_HOME": str(settings.home)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    except OSError as problem:
        raise Unavailable(
            f"The chat process cannot be started ({problem.strerror}); look at the machine, then try again."
        ) from problem
    # Somebody has to take note of its end, or it stays in the process table for as long as this one lives.
    threading.Thread(target=process.wait, daemon=True).start()
    return process


def _answers(settings: Settings, connection: Connection, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        send(connection, request)
        while True:
            answer = receive(connection)
            if "error" in answer:
                raise _family(answer.get("family"))(answer["error"])
            yield answer
            if "piece" not in answer:
                return
    except (EOFError, OSError) as problem:
        raise Unavailable(
            f"The chat process ended before its answer was complete; ask again, or look into {settings.home / 'chat.log'}."
        ) from problem


def _family(name: object) -> type[FactoryError]:
    found = getattr(errors, str(name), FactoryError)
    return found if isinstance(found, type) and issubclass(found, FactoryError) else FactoryError
