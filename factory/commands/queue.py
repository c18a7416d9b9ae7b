"""Commands about the queue and the device: move, order, clone, extend, retry, device."""

from __future__ import annotations

import argparse

from factory import terminal
from factory.adapters import talk
from factory.base.errors import Invalid
from factory.commands.desk import Desk, say
from factory.commands.training import typed
from factory.training import device as devices
from factory.training import queue, runs


def runs_queue(desk: Desk, arguments: argparse.Namespace) -> None:
    """List what waits, in its order, and why the first is not started."""
    line = [{**run, "waits": queue.held_up_by(desk.db, desk.settings, run)} for run in queue.waiting(desk.db)]
    columns = ["id", "name", "person", "steps_done", "steps_total", "priority", "waits"]
    say(desk, line, terminal.table(line, columns) or "Nothing waits.")


def runs_move(desk: Desk, arguments: argparse.Namespace) -> None:
    """Move one of your queued runs among your own; an admin moves any."""
    queue.move(desk.db, arguments.run, arguments.where, person=desk.person)
    runs_queue(desk, arguments)


def runs_order(desk: Desk, arguments: argparse.Namespace) -> None:
    """Give your queued runs this order, in the places they have; those not named follow."""
    queue.put_in_order(desk.db, arguments.runs, person=desk.person)
    runs_queue(desk, arguments)


def runs_clone(desk: Desk, arguments: argparse.Namespace) -> None:
    """Queue a run with the recipe and data of another and some settings changed."""
    changes = typed(arguments)
    if not changes:
        raise Invalid("Say what the clone changes, as with `--rank 32`; `runs retry` tries the same run again.")
    made = queue.clone(desk.db, desk.settings, arguments.run, person=desk.person, changes=changes, name=arguments.name)
    run = runs.get(desk.db, made)
    changed = ", ".join(f"{name} {there} → {here}" for name, there, here in queue.difference(desk.db, run))
    say(desk, run, f"Run {made} is queued as a clone of run {arguments.run}: {changed or 'nothing is different'}.")


def runs_extend(desk: Desk, arguments: argparse.Namespace) -> None:
    """Queue a new run that goes on where an ended one stopped, for some epochs more."""
    made = queue.extend(
        desk.db, desk.settings, arguments.run, person=desk.person, epochs=arguments.epochs, name=arguments.name
    )
    words = next(event["words"] for event in runs.events(desk.db, made) if event["kind"] == "extends")
    say(desk, runs.get(desk.db, made), f"Run {made} is queued. {words}")


def runs_retry(desk: Desk, arguments: argparse.Namespace) -> None:
    """Try a failed or interrupted run again, from its last checkpoint."""
    queue.retry(desk.db, arguments.run, person=desk.person)
    say(desk, runs.get(desk.db, arguments.run), f"Run {arguments.run} is queued again.")


def device(desk: Desk, arguments: argparse.Namespace) -> None:
    """Say who computes on this machine, or ask the run that does to make way."""
    if arguments.free:
        said = queue.free(desk.db, desk.settings, person=desk.person)
        say(desk, {"said": said}, said)
        return
    if arguments.free_chat:
        said = "The chat process was ended." if talk.free(desk.settings) else "No chat process holds memory."
        say(desk, {"said": said}, said)
        return
    found, chat = devices.holder(desk.settings), devices.resident(desk.settings)
    lines = [f"{found.words} (process {found.pid})." if found else "Nobody holds the device."]
    if chat:
        lines.append(f"The chat process (process {chat['pid']}) keeps {terminal.size(chat['memory_bytes'])} of memory.")
    say(desk, {"holder": vars(found) if found else None, "chat": chat}, "\n".join(lines))
