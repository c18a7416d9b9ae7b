"""Visits to the real app as a browser makes them: over its websocket, signed in by cookie, until the script has finished."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

from factory.base import people, store
from factory.base.settings import ROOT, Settings
from factory.sign_in import COOKIE

PATIENCE = 120.0


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


@contextmanager
def served(home: Path, port: int) -> Iterator[psutil.Process]:
    """The app on an installation, in a process of its own, for the length of a `with` block."""
    told = {**os.environ, "FACTORY_HOME": str(home), "FACTORY_PORT": str(port)}
    command = [sys.executable, "-m", "factory", "serve", "--no-browser", "--no-sample"]
    with subprocess.Popen(command, cwd=ROOT, env=told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _until_up(port)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _until_up(port: int) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/_stcore/health").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError("The app did not come up.")


def busy(app: psutil.Process) -> float:
    """Milliseconds of processor time that the app has used so far: what a page costs however busy the machine is."""
    family = [app, *app.children(recursive=True)]
    return sum(1000 * (times.user + times.system) for times in (process.cpu_times() for process in family))


def memory(app: psutil.Process) -> int:
    """Resident bytes of the largest process of the app: the one that serves pages."""
    family = [app, *app.children(recursive=True)]
    return max(process.memory_info().rss for process in family)


@contextmanager
def signed_in(settings: Settings, port: int, name: str) -> Iterator[ClientConnection]:
    """A browser's connection of somebody who is signed in."""
    with store.connect(settings) as db:
        cookie = people.issue_session(db, settings, people.get(db, name))
    here = f"127.0.0.1:{port}"
    with connect(
        f"ws://{here}/_stcore/stream", subprotocols=["streamlit"], origin=f"http://{here}",  # type: ignore[arg-type, list-item]
        additional_headers={"Cookie": f"{COOKIE}={cookie}"}, max_size=None,
    ) as browser:  # fmt: skip
        yield browser


def visit(browser: ClientConnection, page: str, query: str = "") -> tuple[float, int, list[str]]:
    """Open a page: milliseconds until its last element came, bytes received, and errors that it shows."""
    wish = BackMsg()
    wish.rerun_script.page_name = "" if page == "home" else page
    wish.rerun_script.query_string = query
    began, size, shown = time.perf_counter(), 0, list[str]()
    browser.send(wish.SerializeToString())
    while True:
        data = browser.recv(timeout=PATIENCE)
        message = ForwardMsg()
        message.ParseFromString(data)  # type: ignore[arg-type]
        size += len(data)
        element = message.delta.new_element
        if element.WhichOneof("type") == "exception":
            shown.append(element.exception.message)
        elif element.WhichOneof("type") == "alert" and element.alert.format == element.alert.ERROR:
            shown.append(element.alert.body)
        if message.WhichOneof("type") == "script_finished":
            return (time.perf_counter() - began) * 1000, size, shown
