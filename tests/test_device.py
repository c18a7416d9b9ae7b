"""One lock for whoever computes on this machine."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from factory.base import store
from factory.base.errors import Conflict
from factory.base.settings import ROOT, Settings
from factory.training import device

HOLD = """
import sys
from factory.base import settings
from factory.training import device
with device.held(settings.load(), sys.argv[1], "Somebody computes"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def somebody(kind: str = "export") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, kind], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_holds_the_device_and_who_comes_second_hears_who(settings: Settings) -> None:
    process = somebody()
    found = device.holder(settings)
    assert found is not None
    assert (found.kind, found.words, found.pid, found.until) == ("export", "Somebody computes", process.pid, None)
    with pytest.raises(Conflict, match="Somebody computes; wait"), device.held(settings, "run", "Run 1 is training"):
        pass
    process.communicate("\n")
    assert device.holder(settings) is None
    with device.held(settings, "run", "Run 1 is training", run_id=1), device.held(settings, "evaluation", "nested"):
        assert (device.holder(settings) or found).run_id == 1, "inside its own block a process has it already"
    assert device.holder(settings) is None


def test_a_dead_holder_never_blocks(settings: Settings) -> None:
    process = somebody()
    process.kill()
    process.wait()
    assert device.holder(settings) is None
    began = time.monotonic()
    with device.held(settings, "run", "Run 1 is training"):
        assert time.monotonic() - began < 1


def test_who_waits_gets_it_when_it_is_free(settings: Settings) -> None:
    process = somebody()
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.close()
    with device.held(settings, "run", "Run 1 is training", wait_seconds=20):
        assert (device.holder(settings) or object()) != object()
    process.wait()


def test_a_run_lets_chat_be_quiet_for_a_moment(settings: Settings) -> None:
    assert device.quiet_in(settings) == 0
    with device.held(settings, device.CHAT, "Chat is answering"):
        assert device.quiet_in(settings) == 0
    assert 0 < device.quiet_in(settings) <= device.QUIET_SECONDS
    with device.held(settings, "run", "Run 1 is training"):
        pass
    assert device.quiet_in(settings) == 0


def test_a_chat_process_is_known_while_it_lives(settings: Settings) -> None:
    assert device.resident(settings) is None
    settings.home.mkdir(parents=True)
    device.settle(settings)
    found = device.resident(settings)
    assert found is not None
    assert found["memory_bytes"] > 2**20
    (settings.home / "chat.json").write_text('{"pid": 1, "pid_started": 5.0}')
    assert device.resident(settings) is None
    assert store.now() > 0
