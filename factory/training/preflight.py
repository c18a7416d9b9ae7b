"""A preflight: the longest packs of a recipe tried for seconds in a process of its own, before a run is started.

    begin  starts the process and returns at once          state  what it is doing, or how it ended
    stop   ends it; nothing is left                        work   what that process does: measure, record, verdict

It holds the device like a run does: two at once would spoil each other's times. What it measured is
a row that later estimates use (`observed`). A killed one leaves no row, and its folder goes with the next look.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from sqlite_utils import Database

from factory.base import people
from factory.base.errors import Conflict, FactoryError, Invalid, NotAllowed, Unavailable
from factory.base.people import Person
from factory.base.settings import ROOT, Settings
from factory.training import device, forecast, mixture, models, observed, recipes
from factory.training.machine import machine, trainer_environment
from factory.training.recipes import Recipe

Tell = Callable[[float, str], None]
SECONDS = 20  # about how long one takes with the embedded base model


def begin(
    db: Database,
    settings: Settings,
    *,
    version_id: int,
    recipe: Recipe,
    person: Person,
    weight: float = 1.0,
    more: mixture.Sources = (),
) -> None:
    """Start a preflight of a recipe on a version; `state` tells of it. Needs the role builder.

    Raises NotAllowed, NotFound, Invalid (the recipe, or a mixture of versions), Conflict where one is under way or a run
    trains, Unavailable.
    """
    people.need(person, "builder")
    sources = [(version_id, weight), *more]
    versions = mixture.checked(db, sources)
    model = models.get(settings, recipe.base_model)
    problems = recipes.problems(recipe, machine=machine(settings), model=model)
    if problems:
        raise Invalid(problems)
    if not any(version["row_count"] for version in versions):
        raise Invalid("This dataset version has no rows to try; freeze one that has.")
    clear(settings)
    busy = device.holder(settings)
    if busy:
        raise Conflict(f"{busy.words} and would spoil the measuring; try when it has ended, or start without a preflight.")
    folder = _folder(settings)
    named = [f"{each}:{times:g}" for each, times in sources]
    command = [sys.executable, "-m", "factory", "rehearse", *named, "--as", person.name]
    try:
        folder.mkdir(parents=True)
        (folder / "recipe.yaml").write_text(recipes.to_yaml(recipe), encoding="utf-8")
        with (folder / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=trainer_environment(settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
    except OSError as problem:
        shutil.rmtree(folder, ignore_errors=True)
        raise Unavailable(f"The preflight cannot be started ({problem.strerror}); check disk and memory.") from problem
    _write(settings, _about(process.pid, version_id, recipe, person, 0.0, "starting"))
    # a child that has ended stays a zombie until somebody asks for it: nobody else will
    threading.Thread(target=process.wait, daemon=True).start()


def _about(pid: int, version_id: int, recipe: Recipe, person: Person, share: float, words: str) -> dict[str, Any]:
    return {
        "pid": pid, "pid_started": psutil.Process(pid).create_time(), "since": time.time(), "version_id": version_id,
        "cost_hash": observed.cost_hash(recipe), "person_id": person.id, "share": share, "words": words, "ended": None,
    }  # fmt: skip


def _folder(settings: Settings) -> Path:
    return settings.home / "preflight"


def _write(settings: Settings, about: dict[str, Any]) -> None:
    path = _folder(settings) / "state.json"
    draft = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):  # it was stopped, or the disk is full: it goes on untold
        draft.write_text(json.dumps(about))
        os.replace(draft, path)


def state(settings: Settings) -> dict[str, Any] | None:
    """What the preflight of this installation is doing, or how the last one ended; None where there is none.

    Keys: under_way, share (0 to 1), words, since (a moment), version_id, cost_hash, person_id, ended (None, or one
    sentence about how it went wrong). One that was measured leaves its row and nothing here.
    """
    path = _folder(settings) / "state.json"
    try:
        about: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    lives = device.process_lives(about["pid"], about["pid_started"])
    if not lives and not about["ended"]:
        for left in settings.runs.glob("rehearsal-*"):
            shutil.rmtree(left, ignore_errors=True)
        about["ended"] = (
            "The preflight ended without a word, most likely because memory ran out; lower the tokens at once or the"
            " maximum length, or turn on gradient checkpointing or QLoRA."
        )
    return {**about, "under_way": lives and not about["ended"]}


def clear(settings: Settings) -> None:
    """Forget how the last preflight ended. Raises Conflict while one is under way."""
    about = state(settings)
    if about and about["under_way"]:
        raise Conflict("A preflight is under way already; wait for it, or stop it first.")
    _sweep(settings)


def stop(settings: Settings, *, person: Person) -> None:
    """End the preflight that is under way and leave nothing of it; does nothing where there is none.

    Raises NotAllowed unless it is one's own, or one is an admin.
    """
    people.need(person, "builder")
    about = state(settings)
    if about and about["under_way"]:
        if about["person_id"] != person.id and not person.may("admin"):
            raise NotAllowed("This preflight was started by somebody else; only they or an admin can stop it.")
        with suppress(ProcessLookupError, PermissionError):
            os.kill(about["pid"], signal.SIGKILL)
        with suppress(psutil.Error):
            psutil.Process(about["pid"]).wait(10)
    _sweep(settings)


def _sweep(settings: Settings) -> None:
    shutil.rmtree(_folder(settings), ignore_errors=True)
    for left in settings.runs.glob("rehearsal-*"):
        shutil.rmtree(left, ignore_errors=True)


def wait(
    db: Database,
    settings: Settings,
    *,
    version_id: int,
    recipe: Recipe,
    person: Person,
    progress: Tell,
    weight: float = 1.0,
    more: mixture.Sources = (),
) -> dict[str, Any]:
    """Begin a preflight and wait for it; the estimate it leads to is `forecast.estimate_for`'s from then on.

    Returns what `found` does. Raises what `begin` raises, and FactoryError with the sentence it ended with.
    """
    begin(db, settings, version_id=version_id, recipe=recipe, person=person, weight=weight, more=more)
    try:
        while (about := state(settings)) and about["under_way"]:
            progress(about["share"], about["words"])
            time.sleep(0.2)
    except BaseException:
        stop(settings, person=person)
        raise
    ended = state(settings)
    if ended:
        _sweep(settings)
        raise Unavailable(ended["ended"])
    result = found(db, settings, version_id=version_id, recipe=recipe, weight=weight, more=more)
    if result is None:
        raise Unavailable("The preflight was stopped before it had measured anything; begin it again.")
    return result


def found(
    db: Database,
    settings: Settings,
    *,
    version_id: int,
    recipe: Recipe,
    weight: float = 1.0,
    more: mixture.Sources = (),
) -> dict[str, Any] | None:
    """The preflight that holds for this very choice here: id, at, measured and verdict; None where there is none."""
    here = forecast.ground(db, settings, version_id=version_id, model_name=recipe.base_model, weight=weight, more=more)
    row = observed.find(db, version_root=here.version_root, recipe=recipe, model=here.model, machine=here.machine)
    if row is None:
        return None
    guess = here.estimate(recipe, here.seen(db, recipe))
    return {**row, "verdict": verdict(row["measured"], guess.fits)}


def verdict(measured: dict[str, Any], fits: str) -> str:
    """What a preflight found, in one sentence.

    >>> verdict({"peak_bytes": 2 * 2**30, "longest_pack": 512, "steps": [{"packs": [(512, 300)], "seconds": 2.0}]}, "fits")
    'It fits: the longest pack (512 tokens) took 2.0 GiB at most and 2.0 seconds, and its state was saved and read back.'
    """
    words = {
        "fits": "It fits",
        "tight": "It fits, but only just",
        "no": "It ran, but more memory is needed than is free now",
    }
    seconds, gibibytes = max(step["seconds"] for step in measured["steps"]), measured["peak_bytes"] / 2**30
    return (
        f"{words[fits]}: the longest pack ({measured['longest_pack']:,} tokens) took {gibibytes:.1f} GiB at most"
        f" and {seconds:.1f} seconds, and its state was saved and read back."
    )


def work(
    db: Database,
    settings: Settings,
    *,
    version_id: int,
    recipe: Recipe,
    person: Person,
    weight: float = 1.0,
    more: mixture.Sources = (),
) -> int:
    """Do a preflight in this process and record it; the id of its row. Raises what `rehearsal.measure` raises.

    Raises Conflict where somebody else computes on this machine.
    """
    people.need(person, "builder")
    versions = mixture.checked(db, [(version_id, weight), *more])
    _first_to_be_killed()
    about = _about(os.getpid(), version_id, recipe, person, 0.0, "starting")

    def tell(share: float, words: str) -> None:
        _write(settings, {**about, "share": share, "words": words})

    try:
        with device.held(settings, "preflight", "A preflight is under way"):
            here = forecast.ground(
                db, settings, version_id=version_id, model_name=recipe.base_model, weight=weight, more=more
            )
            counts = [
                tokens
                for version in versions
                for tokens in forecast.lengths(db, settings, version_id=version["id"], model=here.model)
            ]
            from factory.training import rehearsal

            measured = rehearsal.measure(db, settings, versions=versions, recipe=recipe, counts=counts, tell=tell)
            made = observed.record(
                db, person=person, version_id=version_id, version_root=here.version_root, recipe=recipe, model=here.model,
                machine=here.machine, measured=measured,
            )  # fmt: skip
    except FactoryError as problem:
        _write(settings, {**about, "ended": str(problem)})
        raise
    _sweep(settings)
    return made


def _first_to_be_killed() -> None:
    """Ask Linux to end this process, not the app, should memory run out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
