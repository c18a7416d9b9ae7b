"""Commands about the house: serve, sample, verify, doctor, and base models."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from contextlib import suppress

from factory import checkup, terminal
from factory.base.errors import Unavailable
from factory.base.settings import ROOT
from factory.commands.desk import Desk, fraction_told, say, told
from factory.commands.people import sign_in_address
from factory.credit import verify as verification
from factory.intake import sample
from factory.training import models

HEALTHY_SECONDS = 60


def serve(desk: Desk, arguments: argparse.Namespace) -> int:
    """Start the app: base model, sample dataset, sign-in link, browser; ends with Ctrl-C."""
    host, port = arguments.host or desk.settings.host, arguments.port or desk.settings.port
    _need_free(host, port)
    if not arguments.no_sample:
        _fetch_default(desk)
        with terminal.bars(quiet=desk.json) as tell:
            sample.fill(desk.db, desk.settings, progress=tell)
    command = [
        sys.executable, "-m", "streamlit", "run", "app.py", "--server.address", host, "--server.port", str(port),
        "--server.headless", "true", "--browser.gatherUsageStats", "false",
    ]  # fmt: skip
    command += ["--server.maxUploadSize", str(max(1, desk.settings.max_upload_bytes // 2**20))]
    here = {"FACTORY_HOME": str(desk.settings.home), "FACTORY_HOST": host, "FACTORY_PORT": str(port)}
    here["FACTORY_SERVED_BY"] = str(os.getpid())  # without this process the app ends too
    environment = os.environ | here
    # In a session of its own, so that Ctrl-C reaches this process alone and the app is then asked to end.
    app = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _wait_until_healthy(app, host, port)
        link = sign_in_address(desk, desk.person, host=host, port=port)
        words = f"\n  Model Factory is running. Sign in (once, within 30 minutes):\n  {link}\n"
        say(desk, {"link": link, "pid": app.pid}, words)
        sys.stdout.flush()
        if not arguments.no_browser and _has_display():
            webbrowser.open(link)
        return app.wait()
    except KeyboardInterrupt:
        told("Stopping. A run that is being trained goes on; start again to see it.")
        return 0
    finally:
        _end(app)
        signal.signal(signal.SIGTERM, previous)


def _fetch_default(desk: Desk) -> None:
    """The base model, where it is missing, in a process of its own: converting it takes torch and a gigabyte."""
    if models.find(desk.settings, models.DEFAULT) is None:
        fetched = subprocess.run([sys.executable, "-m", "factory", "models", "fetch"], stdout=sys.stderr, check=False)
        if fetched.returncode:
            told("The app starts without a base model; `models fetch` tries again.")


def _need_free(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except (OSError, OverflowError) as problem:
        raise Unavailable(
            f"The address {host}:{port} cannot be used ({getattr(problem, 'strerror', None) or problem});"
            f" another program may have it: stop that, or choose another with --port {min(port + 1, 65535)}."
        ) from problem


def _wait_until_healthy(app: subprocess.Popen[bytes], host: str, port: int) -> None:
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is reached without a proxy
    deadline = time.monotonic() + HEALTHY_SECONDS
    while time.monotonic() < deadline:
        if app.poll() is not None:
            raise Unavailable(f"The app ended at once (code {app.returncode}); what it wrote above says why.")
        with suppress(OSError), direct.open(f"http://{name}:{port}/_stcore/health", timeout=2):
            return
        time.sleep(0.2)
    raise Unavailable(f"The app did not answer within {HEALTHY_SECONDS} seconds; look at what it wrote above.")


def _has_display() -> bool:
    if os.environ.get("CI"):
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _end(app: subprocess.Popen[bytes]) -> None:
    if app.poll() is None:
        app.terminate()
        try:
            app.wait(timeout=15)
        except subprocess.TimeoutExpired:
            app.kill()
            app.wait()


def fill_sample(desk: Desk, arguments: argparse.Namespace) -> None:
    """Make the sample dataset, or complete it."""
    with terminal.bars(quiet=desk.json) as tell:
        filled = sample.fill(desk.db, desk.settings, progress=tell)
    columns = ["display_name", "sent", "refused", "accepted", "returned", "rejected", "waiting"]
    words = f"{filled['dataset']}@{filled['version']}: {filled['rows']} rows, root {filled['root']}"
    say(desk, filled, f"{terminal.table(filled['by_person'], columns)}\n\n{words}")


def verify(desk: Desk, arguments: argparse.Namespace) -> None:
    """Recompute everything that can be; refuses with the first row that was tampered with."""
    tell = fraction_told(quiet=desk.json)
    found = verification.verify(desk.db, progress=lambda share, words: tell(words, share))
    looked_at = ("examples", "held_out_sets", "versions", "attributions", "transactions", "entries")
    counts = ", ".join(f"{name.replace('_', ' ')} {found[name]:,}" for name in looked_at)
    say(desk, found, f"All is as it was written ({counts}).\nHead of the ledger: {found['head']}")


def doctor(desk: Desk, arguments: argparse.Namespace) -> int:
    """Look at everything this installation stands on; 1 when something is wrong."""
    findings = checkup.findings(desk.db, desk.settings)
    marks = {"good": "ok  ", "note": "note", "bad": "BAD "}
    lines = [f"{marks[f.state]}  {f.about:<12} {f.sentence}" for f in findings]
    say(desk, findings, "\n".join(lines))
    return 1 if any(finding.state == "bad" for finding in findings) else 0


def models_list(desk: Desk, arguments: argparse.Namespace) -> None:
    """List the base models that are here."""
    found = models.list_models(desk.settings)
    columns = ["name", "parameters", "layers", "licence", "source"]
    say(desk, found, terminal.table(found, columns) or "No base model is here yet; `models fetch` brings the default one.")


def models_fetch(desk: Desk, arguments: argparse.Namespace) -> None:
    """Bring a base model here."""
    found = models.fetch(desk.settings, arguments.name or models.DEFAULT, progress=fraction_told(quiet=desk.json))
    say(desk, found, f"{found['name']} is here: {found['parameters']:,} parameters in {found['folder']}.")


def models_show(desk: Desk, arguments: argparse.Namespace) -> None:
    """Say what is known of a base model."""
    found = models.get(desk.settings, arguments.name)
    say(desk, found, "\n".join(f"{name:<16} {value}" for name, value in found.items()))
