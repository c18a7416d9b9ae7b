"""What a run is trained on: one frozen dataset version or several with weights, as rows in a seeded order.

A weight is how often a version's rows come in an epoch: 0.5 draws half of them anew each time, 2 takes each twice. The first
version's held-out set is what the run is measured on, so rows of the others that are too close to it are left out. This
module alone writes run_sources.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Invalid
from factory.intake import datasets, formats, similarity
from factory.intake.policy import Policy
from factory.training.recipe import Recipe

LIGHTEST, HEAVIEST, MOST = 0.01, 10.0, 8
CLOSE = Policy().held_out_jaccard  # the usual rule and not a dataset's own, which may change between a run and its resume
Sources = Sequence[tuple[int, float]]  # version id and weight, the first one first


@dataclass(frozen=True)
class Row:
    """One training row: which example, its canonical text, how often it comes in an epoch."""

    example_id: int
    content: str
    weight: float


@dataclass(frozen=True)
class Material:
    """All a run reads: rows to train on, texts it is measured on along the way, and sentences on what was left out."""

    rows: tuple[Row, ...]
    held_out: tuple[str, ...]
    notes: tuple[str, ...]


def checked(db: Database, sources: Sources) -> list[dict[str, Any]]:
    """The versions of `sources` with their `weight`, or Invalid with every problem. Raises NotFound."""
    found = [datasets.version(db, version_id) | {"weight": float(weight)} for version_id, weight in sources]
    problems = [
        f"The weight of {v['slug']}@{v['number']} is {v['weight']:g}; it has to be from {LIGHTEST:g} to {HEAVIEST:g}."
        for v in found
        if not LIGHTEST <= v["weight"] <= HEAVIEST
    ]
    twice = {v["id"] for v in found if sum(other["id"] == v["id"] for other in found) > 1}
    problems += [
        f"{v['slug']}@{v['number']} is named twice; give it a higher weight instead." for v in found if v["id"] in twice
    ]
    if len(found) > MOST:
        problems.append(f"A run mixes at most {MOST} versions; freeze some of them together.")
    if problems:
        raise Invalid(list(dict.fromkeys(problems)))
    return found


def root(db: Database, sources: Sources) -> str:
    """A name for exactly these versions with these weights in this order. Raises NotFound."""
    parts = [f"{datasets.version(db, version_id)['root']}:{float(weight):g}" for version_id, weight in sources]
    return "mixed " + hashlib.sha256("\n".join(parts).encode()).hexdigest()


def write(db: Database, run_id: int, sources: Sources) -> None:
    """Write down which versions a run is made of; inside the transaction that writes the run."""
    for position, (version_id, weight) in enumerate(sources):
        store.insert(
            db, "run_sources", {"run_id": run_id, "position": position, "version_id": version_id, "weight": float(weight)}
        )


def of_run(db: Database, run_id: int) -> list[dict[str, Any]]:
    """The versions of a run, the first one first: what `datasets.version` gives, and `weight`."""
    found = store.rows(db, "select version_id, weight from run_sources where run_id = ? order by position", run_id)
    if not found:  # a run without rows here has its one version
        only = store.value(db, "select version_id from runs where id = ?", run_id)
        found = [{"version_id": only, "weight": 1.0}] if only is not None else []
    return [datasets.version(db, row["version_id"]) | {"weight": row["weight"]} for row in found]


def verify(db: Database, run_id: int) -> None:
    """Nothing, where every version of a run still is what it was frozen as. Raises Conflict as `datasets.verify_version`."""
    for version in of_run(db, run_id):
        datasets.verify_version(db, version["id"])


def again(db: Database, run_id: int) -> dict[str, Any]:
    """The weights of a run as `runs.create` takes them, for a run on the same data."""
    first, *more = of_run(db, run_id)
    return {"weight": first["weight"], "more": [(version["id"], version["weight"]) for version in more]}


def named(db: Database, run_id: int) -> str:
    """A run's data in a line, as the command takes it: each version with its weight where that is not 1."""
    return " + ".join(
        f"{v['slug']}@{v['number']}" + (f":{v['weight']:g}" if v["weight"] != 1 else "") for v in of_run(db, run_id)
    )


def material(db: Database, versions: Sequence[dict[str, Any]], recipe: Recipe) -> Material:
    """The rows of these versions as a run with this recipe reads them; `versions` as `checked` or `of_run` gives them.

    A row that is in two versions counts once, with the weight of the version named first. Of more than `max_samples`, and
    for a validation share, the seed draws. Raises Invalid when nothing is left to train on.
    """
    set_id = versions[0]["held_out_set_id"]
    sealed = datasets.held_out_content(db, set_id) if set_id else []
    chosen, notes = _gathered(db, versions, sealed)
    measured = list(sealed)
    if not sealed and recipe.validation_share:
        chosen, kept = _split(chosen, math.ceil(recipe.validation_share * len(chosen)), f"{recipe.seed}-validation")
        measured = [row.content for row in kept]
        notes.append(f"{len(kept)} rows are kept from training for the held-out curve.")
    if recipe.max_samples and len(chosen) > recipe.max_samples:
        notes.append(f"{recipe.max_samples} of {len(chosen)} rows are drawn.")
        _, chosen = _split(chosen, recipe.max_samples, f"{recipe.seed}-samples")
    if not chosen:
        raise Invalid("No row is left to train on; lower the validation share, or choose a version with more rows.")
    return Material(tuple(chosen), tuple(measured), tuple(notes))


def _gathered(db: Database, versions: Sequence[dict[str, Any]], sealed: Sequence[str]) -> tuple[list[Row], list[str]]:
    """The rows of all versions, each once, those of the first as they are; and what was left out, in words."""
    rows: dict[str, Row] = {}
    repeated, close = 0, 0
    crowd = similarity.crowd(list(sealed) if len(versions) > 1 else [])
    for place, version in enumerate(versions):
        for _, example_id, content in datasets.version_content(db, version["id"]):
            key = formats.content_hash(content)
            if key in rows:
                repeated += 1
            elif place and _too_close(crowd, content):
                close += 1
            else:
                rows[key] = Row(example_id, content, version["weight"])
    notes = [f"{repeated} rows are in more than one version and are trained on once."] if repeated else []
    if close:
        notes.append(f"{close} rows of the other versions are too close to the held-out set and are left out.")
    return list(rows.values()), notes


def _too_close(crowd: similarity.Crowd, content: str) -> bool:
    near = similarity.nearest_in(crowd, similarity.features(content), by_question=True) if crowd.members else None
    return near is not None and near[1] >= CLOSE


def _split(rows: list[Row], count: int, seed: str) -> tuple[list[Row], list[Row]]:
    """Rows apart from `count` drawn ones, and those, each in their old order."""
    drawn = set(random.Random(seed).sample(range(len(rows)), min(count, len(rows))))
    return [r for at, r in enumerate(rows) if at not in drawn], [r for at, r in enumerate(rows) if at in drawn]


def epoch_order(weights: Sequence[float], *, seed: int, epoch: int) -> list[int]:
    """The places of the rows of one epoch, in its order: each row as often as its weight says, parts of it drawn.

    Rows of one weight come round(weight x rows) times together, so every epoch has the same length.

    >>> sorted(epoch_order([1.0, 1.0, 2.0], seed=1, epoch=0)), len(epoch_order([0.5] * 4, seed=1, epoch=3))
    ([0, 1, 2, 2], 2)
    """
    chance = random.Random(f"{seed}-{epoch}")
    alike: dict[float, list[int]] = defaultdict(list)
    for place, weight in enumerate(weights):
        alike[weight].append(place)
    order: list[int] = []
    for weight, rows in alike.items():
        times, left = divmod(_times(weight, len(rows)), len(rows))
        order += rows * times
        if left:
            order += chance.sample(rows, left)
    chance.shuffle(order)
    return order


def epoch_size(weights: Sequence[float]) -> int:
    """How many rows one epoch has.

    >>> epoch_size([1.0, 1.0, 0.5, 0.5, 0.5])
    4
    """
    alike: dict[float, int] = defaultdict(int)
    for weight in weights:
        alike[weight] += 1
    return sum(_times(weight, count) for weight, count in alike.items())


def _times(weight: float, rows: int) -> int:
    return max(1, math.floor(weight * rows + 0.5))


def in_epoch(counted: Sequence[tuple[Sequence[int], float]]) -> list[int]:
    """For an estimate: the tokens of each row of one epoch, from each version's row lengths and weight.

    >>> in_epoch([([10, 20], 1.0), ([30], 2.0)])
    [10, 20, 30, 30]
    """
    lengths = [(length, weight) for rows, weight in counted for length in rows]
    order = epoch_order([weight for _, weight in lengths], seed=0, epoch=0)
    return sorted(lengths[place][0] for place in order)
