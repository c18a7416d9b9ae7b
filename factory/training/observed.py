"""What was measured on this machine, as corrections of the arithmetic: preflights first, then finished runs.

A measurement holds for the very choice it was made with: the same model, data and machine, and a recipe that differs
only in settings that cost nothing. For other recipes of the same model and method it is scaled by the arithmetic.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.people import Person
from factory.training import estimate
from factory.training.estimate import START_SECONDS, Observation
from factory.training.machine import fingerprint
from factory.training.recipes import Recipe, to_dict

# what changes neither the memory nor the seconds of a pack; a setting that is not named here is taken to cost something
COST_NOTHING = frozenset(
    (
        *("learning_rate", "epochs", "max_steps", "schedule", "warmup_ratio", "weight_decay", "gradient_norm", "alpha"),
        *("alpha_linked", "seed", "keep_best", "early_stopping_patience", "evaluations", "checkpoint_minutes"),
        *("checkpoint_steps", "schedule_cycles", "schedule_power", "warmup_steps", "adam_beta1", "adam_beta2", "rslora"),
        *("lora_plus_ratio", "logging_steps", "report_to"),
    )
)
LOOKED_AT = 24  # the newest of each kind


def cost_hash(recipe: Recipe) -> str:
    """A sha-256 that is equal for recipes whose packs cost the same.

    >>> cost_hash(Recipe(learning_rate=1e-4)) == cost_hash(Recipe()) != cost_hash(Recipe(rank=8))
    True
    """
    kept = {name: value for name, value in to_dict(recipe).items() if name not in COST_NOTHING}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def record(
    db: Database,
    *,
    person: Person,
    version_id: int,
    version_root: str,
    recipe: Recipe,
    model: dict[str, Any],
    machine: dict[str, Any],
    measured: dict[str, Any],
) -> int:
    """Keep what a preflight measured; its id. `version_root` names the version, or the mixture that begins with it."""
    kept = {
        "person_id": person.id,
        "version_id": version_id,
        "version_root": version_root,
        "model_hash": model["hash"],
        "cost_hash": cost_hash(recipe),
        "recipe": json.dumps(to_dict(recipe), sort_keys=True),
        "machine": fingerprint(machine),
        "measured": json.dumps(measured),
        "at": store.now(),
    }
    with store.writing(db):
        return store.insert(db, "preflights", kept)


def find(
    db: Database, *, version_root: str, recipe: Recipe, model: dict[str, Any], machine: dict[str, Any]
) -> dict[str, Any] | None:
    """The newest preflight of this very choice on this machine, or None: id, at, recipe and measured."""
    found = store.row(
        db,
        "select id, at, recipe, measured from preflights where model_hash = ? and machine = ? and cost_hash = ?"
        " and version_root = ? order by id desc limit 1",
        model["hash"],
        fingerprint(machine),
        cost_hash(recipe),
        version_root,
    )
    return {**found, "measured": json.loads(found["measured"])} if found else None


def best(
    db: Database, *, version_root: str, recipe: Recipe, model: dict[str, Any], machine: dict[str, Any]
) -> Observation | None:
    """What tells most about this recipe: a preflight of it, a run of it, else those of the recipes nearest to it."""
    exact = find(db, version_root=version_root, recipe=recipe, model=model, machine=machine)
    if exact:
        return _of_preflight(recipe, exact["measured"], model, machine, exact=True)
    of_runs = _runs(db, version_root=version_root, recipe=recipe, model=model, machine=machine)
    same = [seen for _, seen in of_runs if seen.exact]
    if same:
        return same[0]
    near = _preflights_near(db, recipe, model, machine)
    if near:
        return min(near, key=lambda pair: pair[0])[1]
    return _together([seen for _, seen in of_runs])


def _recipe(text: str) -> Recipe:
    known = {field.name for field in dataclasses.fields(Recipe)}
    return Recipe(**{name: value for name, value in json.loads(text).items() if name in known})


def _preflights_near(
    db: Database, recipe: Recipe, model: dict[str, Any], machine: dict[str, Any]
) -> list[tuple[float, Observation]]:
    found = store.rows(
        db,
        "select recipe, measured from preflights where model_hash = ? and machine = ? order by id desc limit ?",
        model["hash"],
        fingerprint(machine),
        LOOKED_AT,
    )
    near = []
    for row in found:
        other = _recipe(row["recipe"])
        if other.method == recipe.method:
            measured = json.loads(row["measured"])
            near.append((_far(recipe, other, model), _of_preflight(other, measured, model, machine, exact=False)))
    return near


def _far(recipe: Recipe, other: Recipe, model: dict[str, Any]) -> float:
    """How unlike two recipes are in what a pack costs: doublings of rank, of tokens at once, and switches."""
    adapters = (estimate.adapter_parameters(each, model) for each in (recipe, other))
    doublings = abs(math.log2(next(adapters) / next(adapters)))
    doublings += abs(math.log2(recipe.micro_batch_tokens / other.micro_batch_tokens))
    doublings += 0.5 * abs(math.log2(recipe.max_length / other.max_length))
    changed = {name for name, value in to_dict(recipe).items() if value != to_dict(other)[name]}
    return doublings + 2 * len(changed - COST_NOTHING - {"rank", "micro_batch_tokens", "max_length", "effective_batch"})


def _of_preflight(
    recipe: Recipe, measured: dict[str, Any], model: dict[str, Any], machine: dict[str, Any], *, exact: bool
) -> Observation:
    """A preflight's figures as factors on the arithmetic for the recipe it was made with."""
    bare = Observation(libraries_bytes=measured["libraries_bytes"])
    parts = estimate.memory_parts(recipe, model, longest_pack=measured["longest_pack"], machine=machine, seen=bare)
    steps = measured["steps"]
    work = [_work(recipe, model, machine, step, training=True) for step in steps]
    factor, each = line_through(
        [(seconds, len(step["packs"]), step["seconds"]) for seconds, step in zip(work, steps, strict=True)]
    )
    held = measured.get("held_out")
    forward = _work(recipe, model, machine, held, training=False) if held else 0.0
    return Observation(
        words=f"a preflight of {'this very choice' if exact else 'a similar choice'} on this machine",
        exact=exact,
        libraries_bytes=measured["libraries_bytes"],
        memory=_left(measured["peak_bytes"], parts),
        training=factor,
        measuring=max(0.05, held["seconds"] / len(held["packs"]) - 0.3 * each) / (forward / len(held["packs"]))
        if held
        else factor,
        pack_seconds=each,
        start_seconds=measured["start_seconds"] + max(0.0, measured["first_answers_seconds"] - measured["answers_seconds"]),
        answers_seconds=measured["answers_seconds"],
        row_seconds=measured["row_seconds"],
        save_seconds=measured["save_seconds"],
        tokens=measured["tokens_factor"],
        label_share=measured["label_share"],
        computed_share=measured["computed_share"],
        longest_pack=measured["longest_pack"],
    )


def _work(recipe: Recipe, model: dict[str, Any], machine: dict[str, Any], step: dict[str, Any], *, training: bool) -> float:
    return sum(
        estimate.pack_seconds(recipe, model, machine, tokens=tokens, labels=labels, training=training)
        for tokens, labels in step["packs"]
    )


def _left(peak: int, parts: dict[str, int]) -> float:
    """The factor on activations and logits that makes the parts add up to a measured peak."""
    moving = parts["activations"] + parts["logits"]
    return max(0.05, (peak - sum(parts.values()) + moving) / max(1, moving))


def line_through(points: list[tuple[float, float, float]]) -> tuple[float, float]:
    """(factor, seconds for each pack) for points (arithmetic seconds, packs, measured seconds), by least relative error.

    Neither is negative: noise must not make a larger pack cheaper than a small one.

    >>> line_through([(1.0, 1, 2.5), (2.0, 1, 4.5)])
    (2.0, 0.5)
    """
    weighted = [(work / seconds, packs / seconds) for work, packs, seconds in points]
    a, b, d = (sum(x[i] * x[j] for x in weighted) for i, j in ((0, 0), (0, 1), (1, 1)))
    right = [sum(x[i] for x in weighted) for i in (0, 1)]
    determinant = a * d - b * b
    factor, each = right[0] / a, 0.0
    if determinant > 1e-9 * a * d:
        straight = (right[0] * d - right[1] * b) / determinant, (a * right[1] - b * right[0]) / determinant
        if min(straight) >= 0:
            factor, each = straight
    return round(factor, 9), round(each, 9)


def _runs(
    db: Database, *, version_root: str, recipe: Recipe, model: dict[str, Any], machine: dict[str, Any]
) -> list[tuple[bool, Observation]]:
    """Finished runs of this model and method on this kind of machine, newest first, as observations."""
    past = store.rows(
        db,
        "select recipe, version_root, estimate, measured from runs where measured is not null and model_hash = ?"
        " and json_extract(recipe, '$.method') = ? and json_extract(manifest, '$.cores') = ?"
        " and json_extract(manifest, '$.gpu') is ? order by id desc limit ?",
        model["hash"],
        recipe.method,
        machine["cores"],
        machine["gpu"],
        LOOKED_AT,
    )
    found = []
    for run in past:
        guess, measured = json.loads(run["estimate"]), json.loads(run["measured"])
        told, seen_rate = guess.get("arithmetic_tokens_per_second"), measured["tokens_per_second"]
        if measured.get("resumed") or not told or not seen_rate:
            continue
        same = run["version_root"] == version_root and cost_hash(_recipe(run["recipe"])) == cost_hash(recipe)
        faster = machine["flops"] / (guess.get("flops") or machine["flops"])  # the speed may have been measured anew
        factor, packs = faster * told / seen_rate, max(0.01, guess["arithmetic_pack_seconds"] / faster)
        start = START_SECONDS
        if guess["steps"] == measured["steps"]:  # else it was stopped early, and its total tells nothing
            besides = guess["arithmetic_seconds"] - START_SECONDS - guess["arithmetic_pack_seconds"]
            factor = min(factor, max(0.02, (measured["seconds"] - besides - 1) / packs))
            start = max(1.0, measured["seconds"] - besides - factor * packs)
        seen = Observation(
            words="an earlier run of this very choice on this machine" if same else "an earlier run on this machine",
            exact=same,
            memory=_left(measured["memory_bytes"], guess["arithmetic_parts"]),
            training=factor,
            measuring=factor,
            start_seconds=start,
        )
        found.append((same, seen))
    return found


def _together(seen: list[Observation]) -> Observation | None:
    """Several runs as one observation: the middle of their factors."""
    if not seen:
        return None
    middle = {
        name: sorted(getattr(each, name) for each in seen)[len(seen) // 2]
        for name in ("memory", "training", "measuring", "start_seconds")
    }
    words = f"{len(seen)} earlier runs of this model on this machine" if len(seen) > 1 else seen[0].words
    return dataclasses.replace(seen[0], words=words, runs=len(seen), **middle)
