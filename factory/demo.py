"""The main job on real input, from a terminal: rows, reviews, a training run, an adapter, credits, an export.

Nothing here decides anything: it calls, in their order, what the pages call, and reads the outcome from the rows.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from sqlite_utils import Database

from factory import terminal
from factory.adapters import exports, kept
from factory.base import store
from factory.base.errors import Unavailable
from factory.base.people import Person
from factory.base.settings import Settings
from factory.credit import leaderboards, ledger
from factory.credit import verify as verification
from factory.intake import checks, datasets, sample
from factory.training import models, runs, worker
from factory.training.recipes import Recipe

# Some 350 short rows: a small rank, a bold rate and a round and a half are enough for a new form of answer.
RECIPE = Recipe(
    method="lora", rank=8, learning_rate=5e-4, epochs=1.5, effective_batch=16, max_length=256, evaluations=3,
    early_stopping_patience=0,
)  # fmt: skip


def walk(
    db: Database, settings: Settings, *, person: Person, recipe: Recipe = RECIPE, quiet: bool = False
) -> dict[str, Any]:
    """The whole line on the sample dataset: what came in, what was trained, measured, paid and exported.

    Safe to repeat: the dataset is found, and a further run is made. Progress is drawn on stderr unless `quiet`.
    Raises Unavailable when the run fails, with the reason.
    """
    began = time.monotonic()
    with terminal.bars(quiet=quiet) as tell:
        _base_model(settings, recipe, tell)
        intake = sample.fill(db, settings, progress=tell)
        version = next(iter(datasets.versions(db, datasets.get(db, sample.SLUG)["id"])))
        run_id = runs.create(db, person=person, version_id=version["id"], recipe=recipe, name="demo", settings=settings)
        run = _worked_on(db, settings, run_id, tell)
        adapter = kept.find_by_run(db, run_id)
        if run["status"] != "done" or adapter is None:
            raise Unavailable(
                f"The demo's run {run_id} ended as {run['status']}: {run['error'] or 'no reason given'}."
                f" `python -m factory runs log {run_id}` shows more."
            )
        tell("export and load it back", 0, 0)
        exported = exports.export_peft(db, settings, adapter["id"], person=person)
        tell("export and load it back", 1, 1)
        checked = verification.verify(db, progress=lambda share, words: tell("verify", round(100 * share), 100))
    return {
        "intake": intake,
        "version": version,
        "run": run,
        "training": _training(db, run),
        "adapter": adapter,
        "credit": _credit(db, adapter["id"]),
        "board": leaderboards.contributors(db, dataset_id=version["dataset_id"]),
        "export": exported,
        "verified": checked,
        "seconds": time.monotonic() - began,
    }


def _base_model(settings: Settings, recipe: Recipe, tell: terminal.Told) -> None:
    if models.find(settings, recipe.base_model) is not None:
        return
    tell("fetch the base model", 0, 0)
    # In a process of its own, so that a gigabyte of converting is not held while the run trains.
    command = [sys.executable, "-m", "factory", "models", "fetch", recipe.base_model]
    fetched = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if fetched.returncode:
        raise Unavailable(fetched.stderr.strip().rpartition("\n")[2] or "The base model could not be fetched.")
    tell("fetch the base model", 1, 1)


def _worked_on(db: Database, settings: Settings, run_id: int, tell: terminal.Told) -> dict[str, Any]:
    """Work on the run in a process of its own, as the worker does; where a worker is alive, it does."""
    if worker.alive(settings):
        return terminal.follow(db, settings, run_id, tell)
    with worker.start_trainer(settings, runs.get(db, run_id)) as trainer:
        return terminal.follow(db, settings, run_id, tell, trainer=trainer)


def _training(db: Database, run: dict[str, Any]) -> dict[str, Any]:
    found = runs.metrics(db, run["id"], ["loss", "held_out_loss", "tokens_per_second"], points=10_000)
    speeds = [value for _, value in found.get("tokens_per_second", [])]
    held_out = [value for _, value in found.get("held_out_loss", [])]
    return {
        "steps": run["steps_done"],
        "minutes": ((run["ended_at"] or 0) - (run["started_at"] or 0)) / 60,
        "tokens_per_second": sum(speeds) / len(speeds) if speeds else None,
        "first_held_out_loss": held_out[0] if held_out else None,
        "last_held_out_loss": held_out[-1] if held_out else None,
    }


def _credit(db: Database, adapter_id: int) -> dict[str, Any] | None:
    attribution_id = store.value(db, "select id from attributions where adapter_id = ? order by id desc", adapter_id)
    return None if attribution_id is None else ledger.find(db, attribution_id)


def in_words(shown: dict[str, Any]) -> str:
    """The outcome of `walk` as a page of text for a person."""
    intake, adapter, training = shown["intake"], shown["adapter"], shown["training"]
    sent = sum(person["sent"] for person in intake["by_person"])
    refusals = ", ".join(f"{count} {checks.RULES[code].title}" for code, count in intake["refusals"].items())
    columns = ["display_name", "sent", "refused", "accepted", "returned", "rejected", "waiting"]
    percent = 100 * -adapter["difference"] / adapter["base_loss"]
    low, high = (100 * -adapter[end] / adapter["base_loss"] for end in ("high", "low"))
    speed = f", {training['tokens_per_second']:.0f} tokens/s" if training["tokens_per_second"] else ""
    return "\n".join(
        [
            f"\nROWS IN      {sent} from {len(intake['by_person'])} people",
            f"REFUSED      {sum(person['refused'] for person in intake['by_person'])} by checks: {refusals}",
            f"ACCEPTED     {intake['rows']} by two agreeing reviewers; {intake['held_out']} questions held out",
            terminal.table(intake["by_person"], columns),
            f"\nVERSION      {intake['dataset']}@{shown['version']['number']}, {shown['version']['row_count']} rows",
            f"ROOT         {shown['version']['root']}",
            f"TRAINING     {training['steps']} steps, {training['minutes']:.1f} minutes in all stages{speed}",
            f"HELD-OUT     base {adapter['base_loss']:.3f}, tuned {adapter['tuned_loss']:.3f} nats a token:"
            f" {percent:.1f}% less (95% interval {low:.1f}% to {high:.1f}%)",
            "\n" + _credit_in_words(shown["credit"], shown["board"]),
            f"\nLEDGER       verified: {shown['verified']['transactions']} transactions,"
            f" {shown['verified']['entries']} entries, head {str(shown['verified']['head'])[:16]}…",
            f"EXPORT       {shown['export']['path']}"
            + (" (loaded back: the same greedy tokens)" if shown["export"]["verified"] else " (NOT verified)"),
            f"TIME         {terminal.duration(shown['seconds'])}",
        ]
    )


def _credit_in_words(credit: dict[str, Any] | None, board: list[dict[str, Any]]) -> str:
    """Shares with their errors, in the order of the leaderboard, so that who earns nothing is seen too."""
    if credit is None:
        return "CREDIT       nothing was measured."
    measured = {person["person_id"]: person for person in credit["formula"]["people"]}
    records = []
    for person in board:
        share = measured.get(person["person_id"], {"rows": 0, "value": 0.0, "error": 0.0, "micro_credits": 0})
        records.append(
            {
                "rank": person["rank"],
                "contributor": person["person"],
                "standing": person["lower"],
                "rows trained on": share["rows"],
                "value (nats)": f"{share['value']:+.5f} ± {1.96 * share['error']:.5f}",
                "credits": share["micro_credits"] / 1e6,
            }
        )
    pool = credit["formula"]["pool_micro_credits"] / 1e6
    head = f"CREDIT       {credit['kind']}: {pool:,.2f} credits in the pool" + (
        f"; held, because {credit['formula']['reason']}" if credit["formula"]["reason"] else ""
    )
    return head + "\n" + terminal.table(records, list(records[0]) if records else [])
