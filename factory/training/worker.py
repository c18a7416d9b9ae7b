"""Who works: a worker that starts one trainer at a time, and the trainer's own part of the line.

A trainer is a process in a session of its own that writes to its run's log file. It outlives the worker that started it;
the next worker finds it through its row. Nothing here imports torch before a run is claimed.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout
from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Conflict, DiskFull, FactoryError, Invalid, Unavailable
from factory.base.settings import ROOT, Settings
from factory.intake import deadlines, formats, held
from factory.training import (
    beside,
    checkpoints,
    circumstances,
    device,
    encoding,
    energy,
    gates,
    mixture,
    models,
    queue,
    reports,
    runs,
    searches,
    watch,
)  # fmt: skip
from factory.training.machine import peak_bytes, trainer_environment

OVERDUE_SECONDS = 600.0  # between looks at what waits for review beyond its deadline
HEARTBEAT_SECONDS = 2.0
TOLD = ("loss", "held_out_loss", "gradient_norm", "tokens_per_second", "memory_bytes", "learning_rate", "epoch")
Trainer = tuple[dict[str, Any], subprocess.Popen[bytes]]  # the run as it was before, and the process started for it
DEVICE_SECONDS = 3600.0  # how long a trainer waits for the device before it gives up
LAST_WORDS_BYTES, LAST_WORDS_SECONDS = 2**20, 30.0  # kept aside on the disk, so that a full one can still be told
TRAINER_NICENESS = 5  # pages and checks go first on a machine of two cores


def work_forever(
    settings: Settings, *, poll_seconds: float = 1.0, stop: threading.Event | None = None, in_turn: bool = False,
    also: Callable[[Settings, threading.Event], None] | None = None,
) -> None:  # fmt: skip
    """Start trainers for queued runs, one at a time, until SIGTERM (or `stop`); trainers that run are left running.

    `also` goes on in a thread of its own from when this is the worker. Raises Conflict when this installation has a
    worker already; with `in_turn` it waits until that one has ended.
    """
    stop = stop or threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock(settings), timeout=-1 if in_turn else 2)  # two: `alive` holds it a moment
    try:
        with lock.acquire(cancel_check=stop.is_set), store.connect(settings) as db:
            if also:
                threading.Thread(target=also, args=(settings, stop), daemon=True).start()
            trainer: Trainer | None = None
            sights, rounds_at = watch.Sights(), 0.0
            while not stop.is_set():
                trainer = _look_round(db, settings, trainer, sights)
                if time.monotonic() > rounds_at:
                    rounds_at = time.monotonic() + OVERDUE_SECONDS
                    with suppress(sqlite3.OperationalError, FactoryError):  # busy or full: at the next round
                        deadlines.settle_overdue(db)
                stop.wait(poll_seconds)
    except Timeout as problem:
        if not stop.is_set():
            raise Conflict("A worker is already at work for this installation; one is enough.") from problem


def _lock(settings: Settings) -> str:
    return str(settings.home / "worker.lock")


def alive(settings: Settings) -> bool:
    """Whether a worker is at work for this installation."""
    if not settings.home.is_dir():
        return False
    try:
        with FileLock(_lock(settings), timeout=0):
            return False
    except Timeout:
        return True


def _look_round(db: Database, settings: Settings, trainer: Trainer | None, sights: watch.Sights) -> Trainer | None:
    """One turn: notice who died or is stuck, and start the next queued run when nobody works."""
    try:
        held.let_go(db)
        left = None
        if trainer is not None and trainer[1].poll() is not None:
            _took_its_leave(db, settings, *trainer)
            left, trainer = trainer, None
        for gone in runs.reap(db):
            beside.note_death(db, gone, left[1].returncode if left and left[0]["id"] == gone else None)
        watch.end_the_stuck(db, sights)
        if trainer is not None or runs.listing(db, status="running", limit=1):
            return trainer
        searches.advance(db, settings)
        if (found := runs.next_in_line(db)) is None:
            return None
        run = runs.get(db, found)
        if queue.held_up_by(db, settings, run) is not None:
            queue.send_idle_chat_away(settings, run)
            return None
        try:
            return run, start_trainer(settings, run)
        except Unavailable as problem:
            runs.abandon(db, run["id"], str(problem))
        return None
    except (sqlite3.OperationalError, FactoryError):  # locked for long, or a full disk: look again at the next turn
        return trainer


def _took_its_leave(db: Database, settings: Settings, run: dict[str, Any], process: subprocess.Popen[bytes]) -> None:
    """A trainer ended. If it never claimed its run: one that was killed is started again, one that fell is not."""
    if process.returncode < 0:
        return  # by a signal, so not by the run's fault; it is still in the queue
    words = runs.log_tail(settings, run["folder"], lines=1) or "no words"
    words = f"Its trainer ended (code {process.returncode}) before it began: {words}"
    runs.abandon(db, run["id"], words, attempt=run["attempts"])


def start_trainer(settings: Settings, run: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start a process that works on a queued run: `python -m factory work ID`, in its own session, writing to a file."""
    folder = settings.runs / run["folder"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "factory", "work", str(run["id"])],
                cwd=ROOT, env=trainer_environment(settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
    except OSError as problem:
        raise Unavailable(
            f"The trainer of run {run['id']} cannot be started ({problem.strerror}); check disk and memory."
        ) from problem
    with suppress(psutil.Error):
        psutil.Process(process.pid).nice(TRAINER_NICENESS)
    return process


@contextmanager
def holding(db: Database, settings: Settings, run_id: int) -> Iterator[dict[str, Any]]:
    """Have a queued run and the device to oneself for a block: claimed, its heart beating, ended as done or with the reason.

    Gives the run with its `token`. A block that ended the run itself (as paused, say) is left at that. A full disk pauses
    it, any other FactoryError fails it. Raises Conflict when the run is not in the queue, so a second start is refused.
    """
    with ExitStack() as stack:
        _wait_for_the_device(db, settings, run_id, stack)
        run = runs.claim(db, run_id=run_id)
        if run is None:
            raise _not_queued(db, run_id)
        finished = threading.Event()
        heart = threading.Thread(target=_beat, args=(settings, run_id, run["token"], finished), daemon=True)
        heart.start()
        reserve = _reserve(settings, run)
        status, error = "done", None
        try:
            yield run
        except BaseException as problem:
            status, error = _how_it_ended(problem)
            raise
        finally:
            finished.set()
            heart.join()
            _end(db, run, status, error, reserve)


def _wait_for_the_device(db: Database, settings: Settings, run_id: int, stack: ExitStack) -> None:
    """Have the device, unless somebody else takes the run meanwhile: then nobody needs this process any more."""
    until = time.monotonic() + DEVICE_SECONDS
    while True:
        if runs.get(db, run_id)["status"] != "queued":
            raise _not_queued(db, run_id)
        taking = device.held(settings, device.RUN, f"Run {run_id} is training", run_id=run_id, wait_seconds=2)
        try:
            stack.enter_context(taking)
            return
        except Conflict:
            if time.monotonic() > until:
                raise


def _not_queued(db: Database, run_id: int) -> Conflict:
    state = runs.get(db, run_id)["status"]
    return Conflict(f"Run {run_id} is {state}, not queued, so it cannot be started; resume it, or wait for it to end.")


def _how_it_ended(problem: BaseException) -> tuple[str, str]:
    if isinstance(problem, DiskFull):
        return "paused", str(problem)
    if isinstance(problem, FactoryError):
        return "failed", str(problem)
    if isinstance(problem, OSError) and checkpoints.is_full(problem):
        words = f"The disk is full ({problem.filename or problem.strerror}); free some space, then resume the run."
        return "paused", words
    if isinstance(problem, Exception):
        kind = f"{type(problem).__name__}: {str(problem)[:300]}"
        return "failed", f"A bug in this program stopped the run ({kind}); see its log."
    return "interrupted", "The process was asked to end; resume goes on from the last checkpoint."


def _reserve(settings: Settings, run: dict[str, Any]) -> Path:
    """A little of the disk kept aside in the run's folder, so that the row of a run can still be changed on a full one."""
    path = settings.runs / run["folder"] / "reserve"
    with suppress(OSError):  # a disk that is that full is told at the first checkpoint
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(LAST_WORDS_BYTES))
    return path


def _end(db: Database, run: dict[str, Any], status: str, error: str | None, reserve: Path) -> None:
    """End a run, if need be in the room kept aside; a disk where not even that helps gets half a minute."""
    until = time.monotonic() + LAST_WORDS_SECONDS
    while True:
        try:
            with suppress(Conflict):  # it was ended inside, or another process has it by now
                runs.end(db, run["id"], run["token"], status, error=error)
            break
        except DiskFull:
            if time.monotonic() > until:
                break  # whoever looks for lost processes says it later
            reserve.unlink(missing_ok=True)
            time.sleep(0.2)
    with suppress(OSError):
        reserve.unlink(missing_ok=True)


def _beat(settings: Settings, run_id: int, token: str, finished: threading.Event) -> None:
    """Keep a run's heartbeat fresh also in steps that last minutes; over its own connection, since it is another thread."""
    with store.connect(settings) as db:
        while not finished.wait(HEARTBEAT_SECONDS):
            try:
                runs.heartbeat(db, run_id, token)
            except Conflict:
                return  # the loop finds out by itself at its next step
            except (sqlite3.OperationalError, Unavailable):
                continue  # a full or busy disk: the next beat may get through


def train_run(db: Database, settings: Settings, run_id: int) -> str:
    """Claim a queued run, train it and end it: done, stopped, paused or yielded. For the whole line see `line.work`."""
    with holding(db, settings, run_id) as run:
        ended = train(db, settings, run)
        give_back(db, run, ended)
        return ended


def give_back(db: Database, run: dict[str, Any], ended: str) -> None:
    """Give a run back that `train` left as stopped, paused or yielded: the last goes on by itself. A done one is left."""
    if ended == "yielded":
        queue.make_way(db, run["id"], run["token"])
    elif ended != "done":
        runs.end(db, run["id"], run["token"], ended)


def train(db: Database, settings: Settings, run: dict[str, Any]) -> str:
    """The training stage of a run that `holding` gave: done, stopped, paused or yielded. Goes on from the last checkpoint.

    Raises Conflict when the base model or the data is not what the run was made for, Invalid when no row can be used.
    """
    run_id, token, recipe = run["id"], run["token"], run["recipe"]
    folder = settings.runs / run["folder"]
    resumed = checkpoints.newest(folder)
    if resumed is not None:
        told = resumed[1].told
        if told:  # its process may have been lost between saving this step and telling it
            runs.record(db, run_id, token, {name: told.get(name) for name in _told_at(told["step"])}, step=told["step"])
        if resumed[1].ended == "done" or (resumed[1].ended, run["wish"]) == ("stopped", "stop"):
            return str(resumed[1].ended)
    base = _base(settings, run)
    mixture.verify(db, run_id)
    began = time.monotonic()
    print(f"run {run_id}: loading {base['name']}", flush=True)
    circumstances.as_before(run["manifest"])
    model, tokenizer = models.load(settings, base["name"], recipe=recipe)
    from factory.training import loop

    rows, held_out = _encoded(db, run, tokenizer, gates.end_tokens(base["folder"], tokenizer))
    measured_rows = loop.curve_rows(held_out)
    if len(measured_rows) < len(held_out):
        words = (
            f"The curve measures {len(measured_rows)} of {len(held_out)} held-out rows; the evaluation afterwards takes all."
        )
        runs.note(db, run_id, "note", words)
    runs.heartbeat(db, run_id, token, stage="train", manifest=circumstances.in_trainer(model))
    seconds, tokens, peak, steps_done, ended = 0.0, 0, 0, 0, "done"
    wishes, asked = list[str | None](), searches.wish_of(db, run_id)

    def wish() -> str | None:
        wishes.append(asked())
        return "pause" if wishes[-1] == "yield" else wishes[-1]

    look = energy.meter(counted := energy.source(watts_per_core=settings.cpu_watts, gpu_uuid=energy.gpu_uuid(model)))
    steps = loop.train(model, rows, measured_rows, recipe, folder=folder, resume=True, wish=wish)
    for step, more in beside.along(db, run, reports.written(db, run, steps, folder), model=model, tokenizer=tokenizer):
        _tell(db, run_id, token, step, look(), more, every=recipe.logging_steps)
        tokens, peak, steps_done = tokens + step.tokens, max(peak, step.memory_bytes), step.step
        seconds += step.tokens / step.tokens_per_second if step.tokens_per_second else 0.0
        ended = step.ended or ended
        if step.ended == "done" and step.step < step.steps_total:
            runs.note(db, run_id, "note", f"Stopped early after step {step.step}: the held-out loss no longer falls.")
    if ended != "paused":
        measured = {
            "memory_bytes": peak if model.device.type == "cuda" else max(peak, peak_bytes()),
            "seconds": time.monotonic() - began,
            "disk_bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
            "steps": steps_done,
            "tokens_per_second": tokens / seconds if seconds else 0.0,
            "resumed": resumed is not None,
            **energy.spent(db, run_id),
            "energy_from": counted.words,
        }
        runs.heartbeat(db, run_id, token, measured=measured)
    return "yielded" if ended == "paused" and wishes[-1] == "yield" else ended


def _base(settings: Settings, run: dict[str, Any]) -> dict[str, Any]:
    base = models.get(settings, run["model_name"])
    if base["hash"] != run["model_hash"]:
        raise Conflict(f"The base model {base['name']} was replaced since this run was queued; start a new run.")
    return base


def _told_at(step: int) -> tuple[str, ...]:
    return TOLD if step else ("held_out_loss",)  # step 0 is the untouched base


def _tell(
    db: Database, run_id: int, token: str, step: Any, spent: energy.Spent, more: dict[str, float | None], *, every: int = 1
) -> None:
    values = {name: getattr(step, name) for name in _told_at(step.step)} | more
    if step.step and step.step % every and step.held_out_loss is None and not step.ended:
        values = {"checkpoint": more["checkpoint"]}
    if step.loss is not None or step.step == 0:
        used = {"cpu_seconds": spent.cpu_seconds, "energy_joules": spent.joules}
        runs.record(db, run_id, token, {**values, **used}, step=step.step)
    if step.step == 0 or step.checkpoint:
        runs.heartbeat(db, run_id, token, steps_total=step.steps_total)
    words = {name: round(value, 5) for name, value in values.items() if value is not None}
    print(json.dumps({"step": step.step, "of": step.steps_total, **words, "ended": step.ended}), flush=True)


def _encoded(
    db: Database, run: dict[str, Any], tokenizer: Any, ends: frozenset[int]
) -> tuple[list[encoding.EncodedRow], list[encoding.EncodedRow]]:
    """The training rows and the held-out rows of a run as tokens; rows that cannot be used are left out and said.

    Raises Invalid where the rows would teach something else than a chat asks for; see `gates`.
    """
    recipe = run["recipe"]
    if models.template_hash(tokenizer) != run["manifest"]["template_hash"]:
        raise Conflict("The base model's chat template was changed since this run was queued; start a new run.")

    def encoded(content: str, number: int) -> encoding.EncodedRow:
        return encoding.encode(
            tokenizer, formats.messages(content), example_id=number, system_prompt=recipe.system_prompt,
            max_length=recipe.max_length, completions_only=recipe.completions_only, mask_history=recipe.mask_history,
        )  # fmt: skip

    found = mixture.material(db, mixture.of_run(db, run["id"]), recipe)
    content_of = {row.example_id: row.content for row in found.rows}
    rows = [dataclasses.replace(encoded(row.content, row.example_id), weight=row.weight) for row in found.rows]
    held_out = [encoded(content, place) for place, content in enumerate(found.held_out)]
    for words in found.notes:
        runs.note(db, run["id"], "note", words)
    usable = [row for row in rows if row.label_tokens]
    if not usable:
        raise Invalid("No row has anything to train on within the maximum length; raise max_length, then start a new run.")
    talks = [formats.messages(content_of[row.example_id]) for row in usable]
    gates.enforce(tokenizer, usable, talks, ends=ends, system_prompt=recipe.system_prompt)
    cut = sum(row.truncated for row in usable)
    if len(usable) < len(rows) or cut:
        words = (
            f"{len(rows) - len(usable)} of {len(rows)} rows have nothing to train on and are left out; {cut} are cut short."
        )
        runs.note(db, run["id"], "note", words)
    return usable, [row for row in held_out if row.label_tokens]
