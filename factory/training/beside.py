"""What a trainer writes down beside its losses: how far it is in tokens and seconds, its GPU, answers, and why it broke."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.training import failures, gauges, runs, samples

SAMPLE_SHARE = 0.1  # of the training time: answers between the first and the last wait until there is room
GPU_SECONDS = 2.0  # asking the driver takes a moment, and the fastest steps are shorter than that


def along(
    db: Database, run: dict[str, Any], steps: Iterable[Any], *, model: Any, tokenizer: Any
) -> Iterator[tuple[Any, dict[str, float | None]]]:
    """The steps of `loop.train`, each with what else is to be recorded of it; answers are asked for where it measured.

    `run` has its token. What was counted before a pause goes on being counted. When the loop breaks, its facts stay with the
    run before the error rises. Yields (Step, metric name → value).
    """
    asked = samples.questions(db, run)
    began, spent, looked = time.monotonic(), 0.0, 0.0
    before: dict[str, float] | None = None
    tokens = 0
    gauge: dict[str, float] = {}
    runs.heartbeat(db, run["id"], run["token"], manifest={"failure": None, "memory_kills": gauges.memory_kills()})
    try:
        for step in steps:
            if before is None:
                before = _counted(db, run["id"], before_step=step.step)
            tokens += step.tokens
            now = time.monotonic()
            if now - looked >= GPU_SECONDS:
                looked, gauge = now, gauges.gpu(model.device)
            yield (
                step,
                {
                    "tokens_seen": before["tokens_seen"] + tokens,
                    "training_seconds": before["training_seconds"] + now - began,
                    "checkpoint": 1.0 if step.checkpoint and step.ended != "paused" else None,
                    **gauge,
                },
            )
            if _to_be_asked(step, spent=spent, elapsed=time.monotonic() - began):
                spent += samples.ask(db, run, step.step, asked, model=model, tokenizer=tokenizer)
    except (failures.OutOfMemory, failures.NotANumber) as problem:
        runs.heartbeat(db, run["id"], run["token"], manifest={"failure": problem.facts})
        raise


def _counted(db: Database, run_id: int, *, before_step: int) -> dict[str, float]:
    """Tokens and seconds up to the step before, as an earlier process of this run wrote them down, else 0."""
    return {
        name: store.value(
            db,
            "select value from metrics where run_id = ? and name = ? and step < ? order by step desc limit 1",
            run_id,
            name,
            before_step,
        )
        or 0.0
        for name in ("tokens_seen", "training_seconds")
    }


def _to_be_asked(step: Any, *, spent: float, elapsed: float) -> bool:
    """At the untouched base, at the end, and at each measuring between them while that takes a small share of the time."""
    if step.step == 0 or step.ended in ("done", "stopped"):
        return True
    return step.held_out_loss is not None and spent <= SAMPLE_SHARE * elapsed


def note_death(db: Database, run_id: int, exit_code: int | None) -> None:
    """Write down what is known of how a run's process died without a word; nothing where that says nothing.

    `exit_code` is known to whoever started the process: -9 is a kill that cannot be caught, which is how the kernel ends
    a process when memory runs out. Where the kernel counts those, its count is compared with the one at the start.
    """
    at_start = runs.get(db, run_id)["manifest"].get("memory_kills")
    counted = at_start is not None and gauges.memory_kills() > at_start
    if counted:
        words = "Since this run began, the kernel has ended a process here because memory ran out."
    elif exit_code == -9:
        words = (
            "The process was ended by signal 9, which nobody asked for here; that is how a system short of memory ends one."
        )
    else:
        return
    runs.note(db, run_id, failures.KILLED, words)
