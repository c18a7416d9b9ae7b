"""The rows of runs: read here, and changed here and nowhere else; `runs` and `queue` say when and why.

A run's row is changed in one statement that names the states it may be in, and the token of the process that has it: so of
two that want the same run exactly one gets it, and who lost a run can write nothing more for it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Conflict, NotFound
from factory.base.settings import Settings
from factory.training.recipes import Recipe

STATUSES = ("queued", "running", "paused", "stopped", "interrupted", "failed", "cancelled", "done")
NOBODY = {"token": None, "pid": None, "pid_started": None}  # what a run has whom no process works on
LOG_TAIL_BYTES = 64 * 1024

RUN = """
    select r.*, p.name as person, p.display_name, v.number as version_number, v.row_count as version_rows,
        d.id as dataset_id, d.slug as dataset_slug, d.title as dataset_title,
        (select id from adapters a where a.run_id = r.id) as adapter_id,
        (select min(value) from metrics where run_id = r.id and name = 'held_out_loss') as held_out_loss,
        (select value from metrics where run_id = r.id and name = 'held_out_loss' order by step limit 1)
            as first_held_out_loss,
        (select (max(at) - min(at)) / nullif(count(*) - 1, 0) from
            (select at from metrics where run_id = r.id and name = 'loss' and at >= coalesce(r.claimed_at, 0)
             order by step desc limit 20)) as seconds_per_step
    from runs r join people p on p.id = r.person_id
        join dataset_versions v on v.id = r.version_id join datasets d on d.id = v.dataset_id
"""


def add(db: Database, record: dict[str, Any]) -> int:
    """Write the row of a new run, and return its id; its folder is named by it."""
    run_id = store.insert(db, "runs", {**record, "folder": ""})
    change(db, run_id, STATUSES, {"folder": f"run-{run_id}"})
    return run_id


def change(db: Database, run_id: int, among: Sequence[str], changes: dict[str, Any], *, token: str | None = None) -> bool:
    """Change a run if it is in one of these states (and has this token), in one statement; whether it was."""
    columns, states = ", ".join(f"{name} = ?" for name in changes), ", ".join("?" * len(among))
    done = db.execute(
        f"update runs set {columns} where id = ? and status in ({states}) and (? is null or token = ?)",
        [*changes.values(), run_id, *among, token, token],
    )
    return bool(done.rowcount)


def change_mine(db: Database, run_id: int, token: str, changes: dict[str, Any]) -> None:
    """Change a running run that this process has. Raises Conflict when another has it, or nobody."""
    if not change(db, run_id, ("running",), changes, token=token):
        raise Conflict(f"Run {run_id} no longer belongs to this process, which stops here; another may be working on it.")


def add_event(db: Database, run_id: int, kind: str, words: str) -> None:
    """Add a line to what happened to a run."""
    store.insert(db, "run_events", {"run_id": run_id, "at": store.now(), "kind": kind, "words": words})


def add_metrics(db: Database, run_id: int, values: dict[str, float | None], *, step: int) -> None:
    """Add numbers of a step; those known already stay, those that are None or not finite are left out."""
    moment = store.now()
    for name, value in values.items():
        if value is not None and math.isfinite(value):
            db.execute(
                "insert or ignore into metrics (run_id, name, step, value, at) values (?, ?, ?, ?, ?)",
                [run_id, name, step, float(value), moment],
            )


def copy_metrics(db: Database, from_run: int, to_run: int, *, steps: int) -> None:
    """Give a run the curves of another up to a step, with the moments they were measured at."""
    db.execute(
        "insert or ignore into metrics (run_id, name, step, value, at)"
        " select ?, name, step, value, at from metrics where run_id = ? and step <= ?",
        [to_run, from_run, steps],
    )


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
        " order by r.status = 'running' desc, r.status = 'queued' desc, case when r.status = 'queued' then -r.priority end,"
        " case when r.status = 'queued' then r.queue_order end, case when r.status = 'queued' then r.id else -r.id end"
        " limit ? offset ?",
        *wanted,
        limit,
        offset,
    )
    return [_parsed(run) for run in found]


def how_many(db: Database) -> int:
    """How many runs there are, in any state."""
    return int(store.value(db, "select count(*) from runs"))


def value_at(db: Database, run_id: int, name: str, step: int) -> float | None:
    """What was measured at one step, or None."""
    found: float | None = store.value(
        db, "select value from metrics where run_id = ? and name = ? and step = ?", run_id, name, step
    )
    return found


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
