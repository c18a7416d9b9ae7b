"""Commands about training: train, runs, worker, work."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import yaml
from sqlite_utils import Database

from factory import terminal
from factory.base.errors import Invalid, NotFound
from factory.base.settings import Settings
from factory.commands.desk import Desk, file_at, fraction_told, say, told, versions_named
from factory.credit import rounds
from factory.training import mixture, preflight, presets, recipes, runs
from factory.training import worker as workers


def train(desk: Desk, arguments: argparse.Namespace) -> int:
    """Queue a run and follow it to its credits, with a worker of its own where none is alive."""
    recipe, data = recipe_typed(desk.db, arguments), data_typed(desk.db, arguments)
    versions = mixture.checked(desk.db, [(data["version_id"], data["weight"]), *data["more"]])
    rows = sum(version["row_count"] for version in versions)
    for warning in recipes.warnings(recipe, rows, held_out=bool(versions[0]["held_out_root"])):
        told(f"Note: {warning}")
    if arguments.preflight:
        told(tried(desk, recipe, **data)["verdict"])
    run_id = runs.create(
        desk.db, person=desk.person, recipe=recipe, name=arguments.name, settings=desk.settings, anyway=arguments.anyway,
        **data,
    )  # fmt: skip
    if arguments.detach:
        run = runs.get(desk.db, run_id)
        say(desk, run, f"Run {run_id} is queued. `runs follow {run_id}` watches it; a worker takes it.")
        return 0
    return _follow(desk, run_id)


def data_typed(db: Database, arguments: argparse.Namespace) -> dict[str, Any]:
    """The versions that were typed, or that the recipe's file names, as `runs.create` takes them: version_id, weight, more.

    Raises NotFound, Invalid.
    """
    (version, weight), *more = versions_named(db, _datasets_typed(arguments))
    return {"version_id": version["id"], "weight": weight, "more": [(other["id"], times) for other, times in more]}


def tried(desk: Desk, recipe: recipes.Recipe, **data: Any) -> dict[str, Any]:
    """Do a preflight and wait for it, telling how far it is."""
    tell = fraction_told(quiet=desk.json)
    return preflight.wait(
        desk.db, desk.settings, recipe=recipe, person=desk.person, progress=lambda share, words: tell(words, share), **data,
    )  # fmt: skip


def recipe_typed(db: Database, arguments: argparse.Namespace) -> recipes.Recipe:
    """The recipe of a preset or file, with what was typed on top. Raises Invalid with every problem at once."""
    if arguments.preset and arguments.recipe:
        raise Invalid("Start from a preset or from a file, not from both.")
    start = recipes.Recipe()
    if arguments.preset:
        start = presets.get(db, arguments.preset)
    if arguments.recipe:
        start = recipes.from_yaml(file_at(arguments.recipe).read_text(encoding="utf-8"))
    changes = typed(arguments)
    settings = recipes.to_dict(start) | changes
    if settings["alpha_linked"] and "alpha" not in changes:
        del settings["alpha"]  # it follows the rank that was typed
    return recipes.from_dict(settings)


def typed(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings of a recipe that were typed as options."""
    return {
        knob.name: _value(getattr(arguments, f"knob_{knob.name}"), knob.kind)
        for knob in recipes.knobs()
        if getattr(arguments, f"knob_{knob.name}", None) is not None
    }


def _datasets_typed(arguments: argparse.Namespace) -> Sequence[str]:
    """The datasets that were typed, else those that the recipe's file names. Raises Invalid where neither names one."""
    if arguments.dataset:
        return list(arguments.dataset)
    found = recipes.datasets_in(file_at(arguments.recipe).read_text(encoding="utf-8")) if arguments.recipe else ()
    if not found:
        raise Invalid("Say what to train on: --dataset SLUG@1, or a line `dataset: SLUG@1` in the recipe's file.")
    return found


def _value(text: str, kind: str) -> Any:
    if kind == "str":
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # which the recipe refuses in its own words


def follow(desk: Desk, run_id: int) -> dict[str, Any] | None:
    """The run as it ended, watched until then, with a worker of its own where none is alive; None: watched no longer."""
    with a_worker(desk.settings), terminal.bars(quiet=desk.json) as tell:
        try:
            return terminal.follow(desk.db, desk.settings, run_id, tell)
        except KeyboardInterrupt:
            told(f"\nRun {run_id} goes on. `runs follow {run_id}` watches it, `runs stop {run_id}` ends it.")
            return None


def _follow(desk: Desk, run_id: int) -> int:
    run = follow(desk, run_id)
    if run is None:
        return 130
    say(desk, run, f"Run {run_id} is {run['status']}." + (f" {run['error']}" if run["error"] else ""))
    return 0 if run["status"] == "done" else 1


@contextmanager
def a_worker(settings: Settings) -> Iterator[None]:
    """A worker for as long as the block lasts, waiting its turn while another is alive; its trainer outlives it."""
    command = [sys.executable, "-m", "factory", "worker", "--in-turn"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"FACTORY_HOME": str(settings.home)},
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def runs_list(desk: Desk, arguments: argparse.Namespace) -> None:
    """List the runs, newest first."""
    found = runs.listing(desk.db, status=arguments.status, limit=arguments.limit)
    columns = ["id", "name", "status", "stage", "steps_done", "steps_total", "model_name", "error"]
    say(desk, found, terminal.table(found, columns) or "No run is here yet; `train --dataset SLUG` starts one.")


def runs_show(desk: Desk, arguments: argparse.Namespace) -> None:
    """Say all about a run: its row, its events, its recipe."""
    run = runs.get(desk.db, arguments.run)
    events = runs.events(desk.db, arguments.run)
    lines = [f"{name:<16} {value}" for name, value in run.items() if not isinstance(value, (dict, list))]
    lines += [f"  {event['kind']:<14} {event['words']}" for event in events]
    compared = runs.predicted_against_measured(run)
    lines.append(terminal.table(compared, ["what", "predicted", "measured", "error_percent"]))
    say(desk, {**run, "events": events, "predicted_against_measured": compared}, "\n".join(lines))


def runs_stop(desk: Desk, arguments: argparse.Namespace) -> None:
    """End a run after its step and keep what it learnt."""
    runs.ask(desk.db, arguments.run, "stop", person=desk.person)
    _told(desk, arguments.run, "stops after its step; what it learnt is kept")


def runs_pause(desk: Desk, arguments: argparse.Namespace) -> None:
    """Hold a run after its step, to go on later."""
    runs.ask(desk.db, arguments.run, "pause", person=desk.person)
    _told(desk, arguments.run, f"pauses after its step; `runs resume {arguments.run}` goes on")


def runs_resume(desk: Desk, arguments: argparse.Namespace) -> None:
    """Put a paused, stopped or broken run back in the queue."""
    runs.resume(desk.db, arguments.run, person=desk.person)
    _told(desk, arguments.run, "is back in the queue and goes on from its last checkpoint")


def runs_cancel(desk: Desk, arguments: argparse.Namespace) -> None:
    """Take a run out of the queue."""
    runs.cancel(desk.db, arguments.run, person=desk.person)
    _told(desk, arguments.run, "is out of the queue")


def _told(desk: Desk, run_id: int, words: str) -> None:
    say(desk, runs.get(desk.db, run_id), f"Run {run_id} {words}.")


def runs_log(desk: Desk, arguments: argparse.Namespace) -> None:
    """Print what a run's process wrote."""
    log = desk.settings.runs / str(runs.get(desk.db, arguments.run)["folder"]) / "log.txt"
    if not log.is_file():
        raise NotFound(f"Run {arguments.run} has written nothing yet.")
    text = log.read_text(encoding="utf-8", errors="replace")
    say(desk, {"run": arguments.run, "log": text}, text.rstrip())


def runs_follow(desk: Desk, arguments: argparse.Namespace) -> int:
    """Watch a run until it ends; 1 when it did not end well."""
    return _follow(desk, arguments.run)


def worker(desk: Desk, arguments: argparse.Namespace) -> None:
    """Work on queued runs until stopped, or until the app that started this one is gone."""
    stop = threading.Event()
    if arguments.beside_app:
        threading.Thread(target=_stop_at_the_end_of_stdin, args=(stop,), daemon=True).start()
    workers.work_forever(desk.settings, stop=stop, in_turn=arguments.in_turn, also=rounds.forever)


def _stop_at_the_end_of_stdin(stop: threading.Event) -> None:
    with suppress(OSError):  # not through sys.stdin: a thread that waits in its buffer is an error when Python ends
        while os.read(0, 4096):
            pass
    stop.set()


def work(desk: Desk, arguments: argparse.Namespace) -> None:
    """Work on one run in this process, from its first unfinished stage on."""
    from factory import line

    line.work(desk.db, desk.settings, arguments.run)
