"""The door: one ASGI application with the pages, the HTTP API, signing in, and the worker's lifetime.

Start it with `make run`, or `python -m factory serve`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psutil
import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import Mount

from factory import api, sign_in
from factory.base import settings as settings_module

settings = settings_module.load()


async def keep_a_worker() -> None:
    """Run the worker beside the app, and again when it ends; trainers are its children's children and outlive both."""
    while True:
        try:  # the worker ends when the pipe does, so that it outlives this process by no more than a moment
            command = (sys.executable, "-m", "factory", "worker", "--beside-app", "--in-turn")
            worker = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
        except OSError as problem:
            print(f"The worker could not be started ({problem}); the next try is in ten seconds.", flush=True)
            await asyncio.sleep(10)
            continue
        try:
            await worker.wait()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                worker.terminate()
            await worker.wait()
            raise
        await asyncio.sleep(2)


async def end_with_who_started_it() -> None:
    """End when `serve` is gone that started this app: killed, it could not ask, and its address would stay taken."""
    starter = os.environ.get("FACTORY_SERVED_BY")
    while starter and psutil.pid_exists(int(starter)):
        await asyncio.sleep(1)
    if starter:
        os.kill(os.getpid(), signal.SIGTERM)


def get_ready() -> None:
    """Load what pages are drawn with, and keep Python's collector off it: Streamlit calls for it after every page."""
    from factory import charts, run_charts  # noqa: F401 - with plotly and pandas

    gc.collect()
    gc.freeze()


@asynccontextmanager
async def lifespan(app: st.App) -> AsyncIterator[dict[str, object]]:
    """The worker lives as long as the app."""
    tasks = [
        asyncio.create_task(each) for each in (keep_a_worker(), end_with_who_started_it(), asyncio.to_thread(get_ready))
    ]
    yield {}
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def oidc_is_configured() -> bool:
    """True when the secrets file has an [auth] section for `st.login`."""
    from streamlit.runtime.secrets import secrets_singleton

    return secrets_singleton.load_if_toml_exists() and "auth" in secrets_singleton


app = st.App(
    "pages/index.py",
    lifespan=lifespan,
    routes=[*sign_in.routes(settings), Mount("/api", api.application(settings))],
    middleware=[Middleware(sign_in.Gate, settings=settings, open_to_oidc=oidc_is_configured())],
)
