"""The whole line, from a queued run to paid credits. Read this first.

    stage      what it does                                          the row it leaves
    train      fits an adapter to a frozen dataset version           metrics; the weights lie in the run's folder
    keep       names the weights by their hash                       adapters
    evaluate   base against tuned on the sealed held-out rows        evaluations
    attribute  whose examples lowered that loss, and how surely      attributions
    pay        shares credits for the progress, or says why not      ledger_transactions

Each stage reads the rows before it and writes only its own, so a line that broke goes on at the first stage that left none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlite_utils import Database

from factory.adapters import evaluation, kept, reproduction
from factory.base.settings import Settings
from factory.credit import attribution, ledger
from factory.training import runs, searches, worker

Tell = Callable[[float, str], None]  # how much of a stage is done (0 to 1), and what is being done
Progress = Callable[[str, float, str], None]  # the same, with the stage in front


def _keep(db: Database, settings: Settings, run_id: int, tell: Tell) -> str:
    return f"Kept as adapter {kept.keep(db, settings, run_id)}."


def _evaluate(db: Database, settings: Settings, run_id: int, tell: Tell) -> str:
    found = evaluation.evaluate(db, settings, left(db, run_id)["keep"], progress=tell)
    return f"Held-out loss {found['base_loss']:.3f} before, {found['tuned_loss']:.3f} after training."


def _attribute(db: Database, settings: Settings, run_id: int, tell: Tell) -> str:
    found = attribution.get(db, attribution.attribute(db, settings, left(db, run_id)["keep"], progress=tell))
    return f"The influence of {found['settings']['rows']} rows was measured."


def _pay(db: Database, settings: Settings, run_id: int, tell: Tell) -> str:
    receipt = ledger.receipt(db, ledger.pay(db, left(db, run_id)["attribute"]))
    credits = receipt["formula"]["pool_micro_credits"] / ledger.MICRO
    return receipt["formula"]["reason"] or f"{credits:,.2f} credits were paid to {len(receipt['entries']) - 1} people."


AFTER_TRAINING = {"keep": _keep, "evaluate": _evaluate, "attribute": _attribute, "pay": _pay}
MOVED_SECONDS = 5.0
STAGES = ("train", *AFTER_TRAINING)
REPEATED = "This run reproduces another one, whose progress was attributed and paid for once; it earns nothing."
UNMEASURED = "This dataset version has no held-out rows: nothing is measured, attributed or paid; the adapter is kept."
ONLY_A_TRIAL = "A trial of search {}: its loss is compared, its adapter is not kept; train the best recipe in full instead."


def left(db: Database, run_id: int) -> dict[str, int]:
    """The stages that left their row for a run, with that row's id; training counts once its weights are kept."""
    adapter = kept.find_by_run(db, run_id)
    measured = adapter and evaluation.latest(db, adapter["id"])
    attributed = adapter and attribution.find(db, adapter["id"])
    paid = attributed and ledger.find(db, attributed["id"])
    found = {"train": adapter, "keep": adapter, "evaluate": measured, "attribute": attributed, "pay": paid}
    return {stage: int(row["id"]) for stage, row in found.items() if row}


def work(db: Database, settings: Settings, run_id: int, *, progress: Progress | None = None) -> str:
    """Take a queued run through every stage that left no row yet; returns how it ended: done, stopped, paused or yielded.

    A run is done only after it was paid, or held with a reason. Training that was stopped is kept, measured and paid as it
    is; training that was paused waits, and one that made way goes on by itself. A full disk pauses the run; whatever else
    goes wrong ends it as failed with the reason, what earlier stages left stays, and the error rises.
    Raises Conflict when the run is not in the queue.
    """
    with worker.holding(db, settings, run_id) as run:
        tell = _moving(db, run, progress or _say)
        ended = "done" if "train" in left(db, run_id) else worker.train(db, settings, run)
        trial, again = searches.trial_of(db, run_id), reproduction.find(db, run_id)
        for stage, do in AFTER_TRAINING.items():
            if ended in ("paused", "yielded") or stage in left(db, run_id):
                continue
            if trial and not trial["whole_line"]:
                runs.note(db, run_id, "note", ONLY_A_TRIAL.format(trial["search_id"]))
                break
            if again and stage == "attribute":
                runs.note(db, run_id, "note", REPEATED)
                break
            if run["held_out_root"] is None and stage != "keep":
                runs.note(db, run_id, "note", UNMEASURED)
                break
            runs.set_stage(db, run_id, run["token"], stage)
            runs.note(db, run_id, stage, do(db, settings, run_id, partial(tell, stage)))
        if again and "keep" in left(db, run_id):
            found = reproduction.compare(db, settings, run_id)
            runs.note(db, run_id, "reproduced", " ".join(found["findings"]["words"]))
        worker.give_back(db, run, ended)
    return ended


def _moving(db: Database, run: dict[str, Any], tell: Progress) -> Progress:
    """The same, and now and then the run's row learns that it got further, so that it does not look stuck."""
    told = [0.0]

    def told_too(stage: str, share: float, words: str) -> None:
        if time.monotonic() - told[0] > MOVED_SECONDS:
            told[0] = time.monotonic()
            runs.heartbeat(db, run["id"], run["token"], moved=True)
        tell(stage, share, words)

    return told_too


def _say(stage: str, share: float, words: str) -> None:
    print(f"{stage}: {share:4.0%} {words}", flush=True)
