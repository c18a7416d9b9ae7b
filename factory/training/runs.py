"""The life of a run: who works on it, what was measured, what a person asked of it. Its order in the queue: `queue`.

    queued → running → done
       ↑        ├→ paused · stopped      a person asked, or the disk is full
       │        ├→ failed                the trainer says why
       │        └→ interrupted           the trainer was lost again and again without a word
       ├─ resume ──┘                     from the last checkpoint; a queued run can also be cancelled
       └─ by itself                      the trainer was lost: up to three times without getting further

A running run belongs to one process: pid, that process's start time, and a token which every write must show.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import signal
from typing import Any

import psutil
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed
from factory.base.people import Person
from factory.base.settings import Settings
from factory.training import estimate, forecast, mixture, models, recipes, run_rows
from factory.training.curves import metrics
from factory.training.device import process_lives
from factory.training.forecast import estimate_for, predicted_against_measured, seconds_left
from factory.training.recipes import Recipe
from factory.training.run_rows import NOBODY, STATUSES, events, find, get, how_many, listing, log_tail

__all__ = [  # and all that is defined here
    "STATUSES", "estimate_for", "events", "find", "get", "how_many", "listing", "log_tail", "metrics",
    "predicted_against_measured", "process_lives", "seconds_left",
]  # fmt: skip
RESUMABLE = ("paused", "stopped", "interrupted", "failed")
ASKED = {"stop": "stop", "pause": "pause", "yield": "make way for a while"}
RETRIES = 3  # so often in a row a run is put back without a hand, when its process was lost
BACK_OFF_SECONDS = (2.0, 15.0, 60.0)  # before each of these


def create(
    db: Database,
    *,
    person: Person,
    version_id: int,
    recipe: Recipe,
    settings: Settings,
    name: str = "",
    parent_run_id: int | None = None,
    starts_from: int | None = None,
    priority: int = 0,
    anyway: bool = False,
    manifest: dict[str, Any] | None = None,
    weight: float = 1.0,
    more: mixture.Sources = (),
) -> int:
    """Put a run in the queue and return its id; needs the role builder.

    `more` are further versions and their weights, see `mixture`; `starts_from` is a run that it extends, see `queue.extend`.
    It waits behind all of its `priority` or a higher one. Recipe, data root, model hash, library versions, the estimate
    and `manifest` are stored now, before anything runs.
    Raises NotAllowed, NotFound, Invalid (every problem of the recipe), Conflict where it does not fit and not `anyway`.
    """
    people.need(person, "builder")
    version = mixture.checked(db, sources := [(version_id, weight), *more])[0]
    model = models.get(settings, recipe.base_model)
    if parent_run_id is not None:
        get(db, parent_run_id)
    name = " ".join(name.split())
    problems = recipes.problems(recipe, machine=estimate.machine(settings), model=model)
    problems += _problems_together(recipe, model, version, name)
    if problems:
        raise Invalid(problems)
    mixed: dict[str, Any] = {"weight": weight, "more": more}
    guess = estimate_for(db, settings, version_id=version_id, recipe=recipe, **mixed)
    short = forecast.need_fit(db, settings, guess, version_id=version_id, recipe=recipe, anyway=anyway, **mixed)
    record = {
        "name": name or f"{version['slug']} v{version['number']}, {recipe.method} r{recipe.rank}",
        "person_id": person.id,
        "status": "queued",
        "recipe": json.dumps(recipes.to_dict(recipe), sort_keys=True),
        "version_id": version_id,
        "version_root": version["root"],
        "held_out_root": version["held_out_root"],
        "model_name": model["name"],
        "model_hash": model["hash"],
        "manifest": json.dumps(forecast.manifest(recipe, model, estimate.machine(settings)) | (manifest or {})),
        "estimate": json.dumps(dataclasses.asdict(guess)),
        "parent_run_id": parent_run_id,
        "starts_from": starts_from,
        "priority": priority,
        "queue_order": store.now(),
        "queued_at": store.now(),
        "steps_total": guess.steps,
    }
    with store.writing(db):
        run_id = run_rows.add(db, record)
        mixture.write(db, run_id, sources)
        run_rows.add_event(db, run_id, "queued", f"{person.display_name} put it in the queue.{short}")
    return run_id


def _problems_together(recipe: Recipe, model: dict[str, Any], version: dict[str, Any], name: str) -> list[str]:
    """What is wrong only with this recipe on this model and this data."""
    found = []
    if not model["template_hash"]:
        found.append(f"{model['name']} has no chat template, so it cannot learn conversations; choose an instruct model.")
    if model["max_length"] and recipe.max_length > model["max_length"]:
        found.append(f"max_length is {recipe.max_length:,}; {model['name']} reads at most {model['max_length']:,} tokens.")
    if not version["row_count"]:
        found.append("This dataset version has no rows; freeze one that has.")
    if len(name) > 80:
        found.append("A run's name has at most 80 characters.")
    return found


def claim(db: Database, *, run_id: int | None = None) -> dict[str, Any] | None:
    """Make this process the one that works on a queued run (the first in the queue, or `run_id`); None when there is none.

    The run as `get` gives it, with `token`. Of several processes at once exactly one gets it.
    """
    token, me, moment = secrets.token_hex(16), psutil.Process(), store.now()
    with store.writing(db):
        found = run_id if run_id is not None else next_in_line(db)
        run = None if found is None else find(db, found)
        if run is None:
            return None
        changes = {
            **{"status": "running", "token": token, "pid": me.pid, "pid_started": me.create_time()},
            **{"heartbeat_at": moment, "moved_at": moment, "claimed_at": moment, "started_at": run["started_at"] or moment},
            **{"attempts": run["attempts"] + 1, "not_before": None, "ended_at": None, "error": None},
        }
        if not run_rows.change(db, run["id"], ("queued",), changes):
            return None
        run_rows.add_event(db, run["id"], "started", f"Process {me.pid} took it.")
    return {**get(db, run["id"]), "token": token}


def next_in_line(db: Database) -> int | None:
    """The queued run whose turn it is, or None; one that waits for a moment to come lets others pass."""
    found: int | None = store.value(
        db,
        "select id from runs where status = 'queued' and coalesce(not_before, 0) <= ?"
        " order by priority desc, queue_order, id limit 1",
        store.now(),
    )
    return found


def heartbeat(
    db: Database,
    run_id: int,
    token: str,
    *,
    stage: str | None = None,
    steps_total: int | None = None,
    manifest: dict[str, Any] | None = None,
    measured: dict[str, Any] | None = None,
    moved: bool = False,
) -> None:
    """Say that this process still works on the run, with what else is new, and whether it got further meanwhile.

    `manifest` adds to what was stored, `measured` replaces. Raises Conflict when another process has the run.
    """
    changes: dict[str, Any] = {"heartbeat_at": store.now(), "stage": stage, "steps_total": steps_total}
    if moved or stage or steps_total or manifest or measured:
        changes["moved_at"] = changes["heartbeat_at"]
    with store.writing(db):
        if manifest:
            changes["manifest"] = json.dumps({**get(db, run_id)["manifest"], **manifest})
        if measured:
            changes["measured"] = json.dumps(measured)
        run_rows.change_mine(db, run_id, token, {name: value for name, value in changes.items() if value is not None})


def wish(db: Database, run_id: int) -> str | None:
    """What a person wishes of a run: stop, pause, yield or None."""
    found: str | None = store.value(db, "select wish from runs where id = ?", run_id)
    return found


def set_stage(db: Database, run_id: int, token: str, stage: str) -> None:
    """Say which stage of the line a running run is in. Raises Conflict when another process has it."""
    heartbeat(db, run_id, token, stage=stage)


def record(db: Database, run_id: int, token: str, values: dict[str, float | None], *, step: int) -> None:
    """Add what was measured at a step. What is known of a step already stays: a resumed run repeats nothing.

    Numbers that are None or not finite are left out. Raises Conflict when another process has the run.
    """
    moment = store.now()
    with store.writing(db):
        run_rows.change_mine(db, run_id, token, {"heartbeat_at": moment, "moved_at": moment, "steps_done": step})
        run_rows.add_metrics(db, run_id, values, step=step)


def end(
    db: Database, run_id: int, token: str, status: str, *, error: str | None = None, measured: dict[str, Any] | None = None
) -> None:
    """Give the run back as done, stopped, paused, failed or interrupted. Raises Conflict when another process has it."""
    changes = {"status": status, "error": error, "ended_at": store.now(), "wish": None, **NOBODY}
    with store.writing(db):
        run_rows.change_mine(db, run_id, token, {**changes, **({"measured": json.dumps(measured)} if measured else {})})
        run_rows.add_event(db, run_id, status, error or f"It is {status}.")


def note(db: Database, run_id: int, kind: str, words: str) -> None:
    """Add a line to what happened to a run."""
    with store.writing(db):
        run_rows.add_event(db, run_id, kind, words)


def ask(db: Database, run_id: int, wish: str, *, person: Person) -> None:
    """Ask a training run to stop (and keep what it has), to pause, or to yield the device for a while.

    It does so after its present step. In a later stage a stop ends the process: the run is then interrupted, and a resume
    goes on at that stage.
    Raises NotAllowed unless it is one's own run (or one is an admin), Conflict when it is not training.
    """
    if wish not in ASKED:
        raise Invalid(f"There is no wish {wish!r}; a run can be asked to stop, to pause or to yield.")
    with store.writing(db):
        run = own(db, run_id, person)
        later = run["status"] == "running" and run["stage"] != "train"
        another = run["pid"] != os.getpid() and process_lives(run["pid"], run["pid_started"])
        if later and (wish != "stop" or not another):
            raise Conflict(f"Run {run_id} is past its training (stage {run['stage']}), so there is nothing to {wish}.")
        if not run_rows.change(db, run_id, ("running",), {"wish": wish}):
            raise Conflict(f"Run {run_id} is {run['status']}, so there is nothing to {wish}.")
        words = f"ended its stage {run['stage']}" if later else f"asked it to {ASKED[wish]}"
        run_rows.add_event(db, run_id, "asked", f"{person.display_name} {words}.")
    if later:
        os.kill(run["pid"], signal.SIGTERM)  # `reap` finds it gone as was wished, and a resume goes on at this stage


def own(db: Database, run_id: int, person: Person) -> dict[str, Any]:
    """A run that this person may change: their own, or any for an admin. Raises NotAllowed, NotFound."""
    people.need(person, "builder")
    run = get(db, run_id)
    if run["person_id"] != person.id and not person.may("admin"):
        raise NotAllowed(f"Run {run_id} was started by {run['display_name']}; only they or an admin can change it.")
    return run


def cancel(db: Database, run_id: int, *, person: Person) -> None:
    """Take a run out of the queue. Raises NotAllowed, Conflict when it is not queued."""
    with store.writing(db):
        run = own(db, run_id, person)
        if not run_rows.change(db, run_id, ("queued",), {"status": "cancelled", "ended_at": store.now()}):
            raise Conflict(f"Run {run_id} is {run['status']}, not queued; a running run can be stopped or paused.")
        run_rows.add_event(db, run_id, "cancelled", f"{person.display_name} took it out of the queue.")


def resume(db: Database, run_id: int, *, person: Person) -> None:
    """Put a paused, stopped, interrupted or failed run back in the queue; it goes on from its last checkpoint.

    Raises NotAllowed, Conflict in any other state, and once a stopped run's adapter is kept, measured and paid as it is.
    """
    fresh = {"ended_at": None, "error": None, "wish": None, "not_before": None, "retries": 0, "broke_at": None}
    changes = {"status": "queued", "queue_order": store.now(), **fresh, **NOBODY}
    with store.writing(db):
        run = own(db, run_id, person)
        if run["status"] == "stopped" and run["adapter_id"]:
            raise Conflict(f"Run {run_id} was stopped and its adapter is kept as it is; start a new run to train further.")
        if not run_rows.change(db, run_id, RESUMABLE, changes):
            raise Conflict(f"Run {run_id} is {run['status']}; only one that is {', '.join(RESUMABLE)} can be resumed.")
        run_rows.add_event(db, run_id, "queued", f"{person.display_name} put it back in the queue.")


def abandon(db: Database, run_id: int, words: str, *, attempt: int | None = None) -> None:
    """Mark a queued run as failed because no trainer could be started for it; a claimed one is left alone.

    `attempt` is how many processes had taken it before that trainer was started: one more, and it is another's by now.
    """
    with store.writing(db):
        if attempt is not None and get(db, run_id)["attempts"] != attempt:
            return
        if run_rows.change(db, run_id, ("queued",), {"status": "failed", "error": words, "ended_at": store.now()}):
            run_rows.add_event(db, run_id, "failed", words)


def reap(db: Database) -> list[int]:
    """Take runs from processes that are gone: no such pid, or the pid is another process by now. Their ids.

    Each goes back to the queue by itself, unless that was done `RETRIES` times since it last got further.
    """
    gone = []
    for run in store.rows(db, "select id, pid, pid_started, token from runs where status = 'running'"):
        if not process_lives(run["pid"], run["pid_started"]) and lost(db, run["id"], run["token"]):
            gone.append(int(run["id"]))
    return gone


def lost(db: Database, run_id: int, token: str, *, why: str = "The process ended without a word") -> bool:
    """Say that the process with this token is gone, and what becomes of its run; whether it still had it.

    Queued again after a pause, from where it stood; paused where that was wished; interrupted where a person ended the
    process, or where it keeps getting lost at the same place.
    """
    with store.writing(db):
        run = get(db, run_id)
        place = [run["stage"], run["steps_done"]]
        before = json.loads(run["broke_at"] or "null")
        further = before is None or before[0] != place[0] or before[1] < place[1]
        retries = 1 if further else run["retries"] + 1
        said = f"{why} {where(run)}"
        changes: dict[str, Any] = {"broke_at": json.dumps(place), "retries": retries, **NOBODY}
        if run["wish"] == "pause":
            changes |= {"status": "paused", "ended_at": store.now(), "wish": None}
            words = f"{said}; it was asked to pause, and resume goes on from the last checkpoint."
        elif (run["wish"] == "stop" and run["stage"] != "train") or retries > RETRIES:
            again = "" if retries <= RETRIES else f" for the {retries}th time in a row"
            words = f"{said}{again}; resume goes on from the last checkpoint. The log says more."
            changes |= {"status": "interrupted", "error": words, "ended_at": store.now(), "wish": None, "retries": 0}
        else:
            wait = BACK_OFF_SECONDS[min(retries, len(BACK_OFF_SECONDS)) - 1]
            wish = "stop" if run["wish"] == "stop" else None
            changes |= {"status": "queued", "not_before": store.now() + wait, "wish": wish}
            words = f"{said}; it goes on by itself in {wait:.0f} s (retry {retries} of {RETRIES})."
        if not run_rows.change(db, run_id, ("running",), changes, token=token):
            return False
        run_rows.add_event(db, run_id, "retry" if changes["status"] == "queued" else str(changes["status"]), words)
        return True


def where(run: dict[str, Any]) -> str:
    """Where a run stands, as the end of a sentence: after step 12, or in its stage evaluate."""
    return f"after step {run['steps_done']}" if run["stage"] == "train" else f"in its stage {run['stage']}"
