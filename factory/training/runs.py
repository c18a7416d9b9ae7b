"""Runs, their metrics and events: the queue, who works on what, and what was measured. The only writer of these tables.

    queued → running → done
       ↑        ├→ paused · stopped      a person asked
       │        ├→ failed                the trainer says why
       │        └→ interrupted           the trainer is gone without a word
       └─ resume ──┘                     from the last checkpoint; a queued run can also be cancelled

A running run belongs to one process: pid, that process's start time, and a token which every write must show.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import secrets
import signal
from collections.abc import Sequence
from typing import Any

import psutil
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import datasets
from factory.training import estimate, forecast, models, recipes
from factory.training.forecast import estimate_for, predicted_against_measured, seconds_left
from factory.training.recipes import Recipe

__all__ = ["estimate_for", "predicted_against_measured", "seconds_left"]  # and all that is defined here
STATUSES = ("queued", "running", "paused", "stopped", "interrupted", "failed", "cancelled", "done")
NOBODY = {"token": None, "pid": None, "pid_started": None, "wish": None}  # what a run has whom no process works on
RESUMABLE = ("paused", "stopped", "interrupted", "failed")
LOG_TAIL_BYTES = 64 * 1024

RUN = """
    select r.*, p.name as person, p.display_name, v.number as version_number, v.row_count as version_rows,
        d.id as dataset_id, d.slug as dataset_slug, d.title as dataset_title,
        (select id from adapters a where a.run_id = r.id) as adapter_id,
        (select min(value) from metrics where run_id = r.id and name = 'held_out_loss') as held_out_loss,
        (select value from metrics where run_id = r.id and name = 'held_out_loss' order by step limit 1)
            as first_held_out_loss,
        (select (max(at) - min(at)) / nullif(count(*) - 1, 0) from
            (select at from metrics where run_id = r.id and name = 'loss' order by step desc limit 20)) as seconds_per_step
    from runs r join people p on p.id = r.person_id
        join dataset_versions v on v.id = r.version_id join datasets d on d.id = v.dataset_id
"""


def create(
    db: Database,
    *,
    person: Person,
    version_id: int,
    recipe: Recipe,
    settings: Settings,
    name: str = "",
    parent_run_id: int | None = None,
) -> int:
    """Put a run in the queue and return its id; needs the role builder.

    Recipe, data root, model hash, library versions and the estimate are stored now, before anything runs.
    Raises NotAllowed, NotFound (version, model, parent), Invalid with every problem of the recipe.
    """
    people.need(person, "builder")
    problems = recipes.problems(recipe)
    if problems:
        raise Invalid(problems)
    version = datasets.version(db, version_id)
    model = models.get(settings, recipe.base_model)
    if parent_run_id is not None:
        get(db, parent_run_id)
    name = " ".join(name.split())
    problems = _problems_together(recipe, model, version, name)
    if problems:
        raise Invalid(problems)
    guess = estimate_for(db, settings, version_id=version_id, recipe=recipe)
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
        "manifest": json.dumps(forecast.manifest(recipe, model, estimate.machine(settings))),
        "estimate": json.dumps(dataclasses.asdict(guess)),
        "parent_run_id": parent_run_id,
        "folder": "",
        "queue_order": store.now(),
        "queued_at": store.now(),
        "steps_total": guess.steps,
    }
    with store.writing(db):
        run_id = store.insert(db, "runs", record)
        db.execute("update runs set folder = ? where id = ?", [f"run-{run_id}", run_id])
        _event(db, run_id, "queued", f"{person.display_name} put it in the queue.")
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
    token, me = secrets.token_hex(16), psutil.Process()
    with store.writing(db):
        found = store.value(
            db,
            "update runs set status = 'running', token = :token, pid = :pid, pid_started = :started, heartbeat_at = :now,"
            " started_at = coalesce(started_at, :now), ended_at = null, wish = null, error = null"
            " where status = 'queued' and id = (select id from runs where status = 'queued' and (:run is null or id = :run)"
            " order by queue_order, id limit 1) returning id",
            token=token,
            pid=me.pid,
            started=me.create_time(),
            now=store.now(),
            run=run_id,
        )
        if found is None:
            return None
        _event(db, found, "started", f"Process {me.pid} took it.")
    return {**get(db, found), "token": token}


def _change(db: Database, run_id: int, among: Sequence[str], changes: dict[str, Any], *, token: str | None = None) -> bool:
    """Change a run if it is in one of these states (and has this token), in one statement; whether it was."""
    columns, states = ", ".join(f"{name} = ?" for name in changes), ", ".join("?" * len(among))
    done = db.execute(
        f"update runs set {columns} where id = ? and status in ({states}) and (? is null or token = ?)",
        [*changes.values(), run_id, *among, token, token],
    )
    return bool(done.rowcount)


def _change_mine(db: Database, run_id: int, token: str, changes: dict[str, Any]) -> None:
    if not _change(db, run_id, ("running",), changes, token=token):
        raise Conflict(f"Run {run_id} no longer belongs to this process, which stops here; another may be working on it.")


def heartbeat(
    db: Database,
    run_id: int,
    token: str,
    *,
    stage: str | None = None,
    steps_total: int | None = None,
    manifest: dict[str, Any] | None = None,
    measured: dict[str, Any] | None = None,
) -> None:
    """Say that this process still works on the run, with what else is new.

    `manifest` adds to what was stored, `measured` replaces. Raises Conflict when another process has the run.
    """
    changes: dict[str, Any] = {"heartbeat_at": store.now(), "stage": stage, "steps_total": steps_total}
    with store.writing(db):
        if manifest:
            changes["manifest"] = json.dumps({**get(db, run_id)["manifest"], **manifest})
        if measured:
            changes["measured"] = json.dumps(measured)
        _change_mine(db, run_id, token, {name: value for name, value in changes.items() if value is not None})


def wish(db: Database, run_id: int) -> str | None:
    """What a person wishes of a run: stop, pause or None."""
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
        _change_mine(db, run_id, token, {"heartbeat_at": moment, "steps_done": step})
        for name, value in values.items():
            if value is not None and math.isfinite(value):
                db.execute(
                    "insert or ignore into metrics (run_id, name, step, value, at) values (?, ?, ?, ?, ?)",
                    [run_id, name, step, float(value), moment],
                )


def end(
    db: Database, run_id: int, token: str, status: str, *, error: str | None = None, measured: dict[str, Any] | None = None
) -> None:
    """Give the run back as done, stopped, paused, failed or interrupted. Raises Conflict when another process has it."""
    changes = {"status": status, "error": error, "ended_at": store.now(), **NOBODY}
    with store.writing(db):
        _change_mine(db, run_id, token, {**changes, **({"measured": json.dumps(measured)} if measured else {})})
        _event(db, run_id, status, error or f"It is {status}.")


def note(db: Database, run_id: int, kind: str, words: str) -> None:
    """Add a line to what happened to a run."""
    with store.writing(db):
        _event(db, run_id, kind, words)


def _event(db: Database, run_id: int, kind: str, words: str) -> None:
    store.insert(db, "run_events", {"run_id": run_id, "at": store.now(), "kind": kind, "words": words})


def ask(db: Database, run_id: int, wish: str, *, person: Person) -> None:
    """Ask a training run to stop (and keep what it has) or to pause; it does so at its next step.

    In a later stage a stop ends the process: the run is then interrupted, and a resume goes on at that stage.
    Raises NotAllowed unless it is one's own run (or one is an admin), Conflict when it is not training.
    """
    if wish not in ("stop", "pause"):
        raise Invalid(f"There is no wish {wish!r}; a run can be asked to stop or to pause.")
    with store.writing(db):
        run = _mine(db, run_id, person)
        if run["status"] == "running" and run["stage"] != "train":
            another = run["pid"] != os.getpid() and process_lives(run["pid"], run["pid_started"])
            if wish == "pause" or not another:
                raise Conflict(f"Run {run_id} is past its training (stage {run['stage']}), so there is nothing to {wish}.")
            os.kill(run["pid"], signal.SIGTERM)  # `reap` then finds it interrupted, and a resume goes on at this stage
            _event(db, run_id, "asked", f"{person.display_name} ended its stage {run['stage']}.")
            return
        if not _change(db, run_id, ("running",), {"wish": wish}):
            raise Conflict(f"Run {run_id} is {run['status']}, so there is nothing to {wish}.")
        _event(db, run_id, "asked", f"{person.display_name} asked it to {wish}.")


def _mine(db: Database, run_id: int, person: Person) -> dict[str, Any]:
    people.need(person, "builder")
    run = get(db, run_id)
    if run["person_id"] != person.id and not person.may("admin"):
        raise NotAllowed(f"Run {run_id} was started by {run['display_name']}; only they or an admin can change it.")
    return run


def cancel(db: Database, run_id: int, *, person: Person) -> None:
    """Take a run out of the queue. Raises NotAllowed, Conflict when it is not queued."""
    with store.writing(db):
        run = _mine(db, run_id, person)
        if not _change(db, run_id, ("queued",), {"status": "cancelled", "ended_at": store.now()}):
            raise Conflict(f"Run {run_id} is {run['status']}, not queued; a running run can be stopped or paused.")
        _event(db, run_id, "cancelled", f"{person.display_name} took it out of the queue.")


def resume(db: Database, run_id: int, *, person: Person) -> None:
    """Put a paused, stopped, interrupted or failed run back in the queue; it goes on from its last checkpoint.

    Raises NotAllowed, Conflict in any other state, and once a stopped run's adapter is kept, measured and paid as it is.
    """
    changes = {"status": "queued", "queue_order": store.now(), "ended_at": None, "error": None, **NOBODY}
    with store.writing(db):
        run = _mine(db, run_id, person)
        if run["status"] == "stopped" and run["adapter_id"]:
            raise Conflict(f"Run {run_id} was stopped and its adapter is kept as it is; start a new run to train further.")
        if not _change(db, run_id, RESUMABLE, changes):
            raise Conflict(f"Run {run_id} is {run['status']}; only one that is {', '.join(RESUMABLE)} can be resumed.")
        _event(db, run_id, "queued", f"{person.display_name} put it back in the queue.")


def abandon(db: Database, run_id: int, words: str) -> None:
    """Mark a queued run as failed because no trainer could be started for it; a claimed one is left alone."""
    with store.writing(db):
        if _change(db, run_id, ("queued",), {"status": "failed", "error": words, "ended_at": store.now()}):
            _event(db, run_id, "failed", words)


def reap(db: Database) -> list[int]:
    """Mark runs as interrupted whose process is gone: no such pid, or the pid is another process by now. Their ids."""
    gone = []
    for run in store.rows(db, "select id, pid, pid_started, token, steps_done from runs where status = 'running'"):
        if process_lives(run["pid"], run["pid_started"]):
            continue
        words = f"The process ended without a word after step {run['steps_done']}; resume goes on from the last checkpoint."
        changes = {"status": "interrupted", "error": words, "ended_at": store.now(), **NOBODY}
        with store.writing(db):
            if _change(db, run["id"], ("running",), changes, token=run["token"]):
                _event(db, run["id"], "interrupted", words)
                gone.append(int(run["id"]))
    return gone


def process_lives(pid: int | None, started: float | None) -> bool:
    """Whether the process with this pid and start time still runs; a reused pid is another process."""
    if pid is None or started is None:
        return False
    try:
        process = psutil.Process(pid)
        # a second of tolerance: the start time is counted from the boot time, which the clock can move
        return abs(process.create_time() - started) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def find(db: Database, run_id: int) -> dict[str, Any] | None:
    """The run with this id, or None; see `get`."""
    found = store.row(db, RUN + " where r.id = ?", run_id)
    return _parsed(found) if found else None


def get(db: Database, run_id: int) -> dict[str, Any]:
    """A run: its columns, with recipe (a Recipe), manifest, estimate and measured parsed, and what belongs to it.

    Also: person, display_name, version_number, version_rows, dataset_id, dataset_slug, dataset_title, adapter_id (or None),
    held_out_loss (lowest so far), first_held_out_loss, seconds_per_step (of the last 20). The token is left out.
    Raises NotFound.
    """
    run = find(db, run_id)
    if run is None:
        raise NotFound(f"There is no run {run_id}; `runs list` shows those there are.")
    return run


def _parsed(run: dict[str, Any]) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(Recipe)}
    settings = {name: value for name, value in json.loads(run["recipe"]).items() if name in known}
    loaded = {name: json.loads(run[name]) if run[name] else None for name in ("manifest", "estimate", "measured")}
    return {**{name: value for name, value in run.items() if name != "token"}, **loaded, "recipe": Recipe(**settings)}


def listing(
    db: Database, *, status: str | Sequence[str] | None = None, limit: int = 100, offset: int = 0
) -> list[dict[str, Any]]:
    """Runs as `get` gives them: those that are queued or running first, in their order, then the others, newest first."""
    wanted = [status] if isinstance(status, str) else list(status or STATUSES)
    found = store.rows(
        db,
        RUN + f" where r.status in ({', '.join('?' * len(wanted))})"
        " order by r.status = 'running' desc, r.status = 'queued' desc,"
        " case when r.status = 'queued' then r.queue_order end, r.id desc limit ? offset ?",
        *wanted,
        limit,
        offset,
    )
    return [_parsed(run) for run in found]


def metrics(db: Database, run_id: int, names: Sequence[str], *, points: int = 1000) -> dict[str, list[tuple[int, float]]]:
    """Curves as (step, value), each thinned to about `points`, first and last always among them."""
    curves = {}
    for name in names:
        found = db.execute(
            "select step, value from (select step, value, row_number() over (order by step) as place, count(*) over () as n"
            " from metrics where run_id = ? and name = ?)"
            " where place = n or (place - 1) % max(1, (n + ? - 1) / ?) = 0 order by step",
            [run_id, name, points, points],
        )
        curves[name] = [(int(step), float(value)) for step, value in found]
    return curves


def events(db: Database, run_id: int) -> list[dict[str, Any]]:
    """What happened to a run, oldest first: at, kind, words."""
    return store.rows(db, "select at, kind, words from run_events where run_id = ? order by id", run_id)


def log_tail(settings: Settings, folder: str, *, lines: int = 40) -> str:
    """The last lines of what a run's process wrote; empty where it wrote nothing yet."""
    path = settings.runs / folder / "log.txt"
    if path.resolve().parent.parent != settings.runs.resolve():
        return ""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    # a progress bar rewrites its line: only what it said last is worth reading
    return "\n".join([line.rsplit("\r", 1)[-1] for line in text.split("\n") if line.strip()][-lines:])
