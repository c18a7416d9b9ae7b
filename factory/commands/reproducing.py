"""The command `reproduce`: a finished run trained again, and what came of it."""

from __future__ import annotations

import argparse
from typing import Any

from factory.adapters import reproduction
from factory.commands.desk import Desk, say, told
from factory.commands.training import follow
from factory.training import runs


def reproduce(desk: Desk, arguments: argparse.Namespace) -> int:
    """Train a run again, follow it and say identical, near or different; 1 when it is different or did not end well."""
    if arguments.show:
        runs.get(desk.db, arguments.run)
        mine = reproduction.find(desk.db, arguments.run)
        found = ([mine] if mine else []) + reproduction.of(desk.db, arguments.run)
        say(desk, found, "\n\n".join(_text(one) for one in found) or f"Nobody has reproduced run {arguments.run} yet.")
        return 0
    again = reproduction.begin(desk.db, desk.settings, arguments.run, person=desk.person)
    if arguments.detach:
        words = (
            f"Run {again} is queued and trains run {arguments.run} again. `reproduce {again} --show` says what came of it."
        )
        say(desk, reproduction.get(desk.db, again), words)
        return 0
    run = follow(desk, again)
    if run is None:
        return 130
    found_now = reproduction.get(desk.db, again)
    if found_now["verdict"] is None:
        told(f"Run {again} is {run['status']}, so there is nothing to compare. {run['error'] or ''}".rstrip())
    say(desk, found_now, _text(found_now))
    return 0 if found_now["verdict"] in ("identical", "near") else 1


def _text(found: dict[str, Any]) -> str:
    head = f"Run {found['run_id']} trains run {found['original_run_id']} again."
    words = found["findings"]["words"] if found["findings"] else ["It has not been compared yet."]
    return "\n".join([head, *(f"  {sentence}" for sentence in words)])
