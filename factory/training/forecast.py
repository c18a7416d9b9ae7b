"""Before and after a run: what it would take here, what to write down about the machine, how right the estimate was."""

from __future__ import annotations

import dataclasses
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
from sqlite_utils import Database

from factory import __version__
from factory.base import store
from factory.base.errors import Conflict, Invalid
from factory.base.settings import Settings
from factory.intake import datasets, formats
from factory.training import circumstances, encoding, fitting, mixture, models, observed, recipes
from factory.training import estimate as estimates
from factory.training.estimate import Estimate, Observation
from factory.training.fitting import Change
from factory.training.recipes import Recipe

COUNTED = 4_000  # rows of a version; of more a sample is tokenised
OPENING_TOKENS = 24  # of a template's own system prompt, which rows without one begin with


@dataclass(frozen=True)
class Ground:
    """What estimates for one version and one model on this machine stand on."""

    model: dict[str, Any]
    machine: dict[str, Any]
    version_root: str
    counted: dict[str, Any]

    def seen(self, db: Database, recipe: Recipe) -> Observation | None:
        """What was measured here that tells most about a recipe."""
        return observed.best(db, version_root=self.version_root, recipe=recipe, model=self.model, machine=self.machine)

    def estimate(self, recipe: Recipe, seen: Observation | None) -> Estimate:
        """What a recipe would take, by what was seen."""
        rows, held_out = self.counted["rows"], self.counted["held_out"]
        if recipe.max_samples:
            rows = estimates.like(rows, recipe.max_samples)
        if recipe.validation_share and not held_out and rows:
            kept = max(1, round(recipe.validation_share * len(rows)))
            rows, held_out = estimates.like(rows, len(rows) - kept), kept * sum(rows) // len(rows)
        return estimates.estimate(
            recipe,
            model=self.model,
            rows_tokens=rows,
            held_out_tokens=min(held_out, estimates.CURVE_TOKENS),
            shared_tokens=self.counted["shared"],
            machine=self.machine,
            seen=seen,
        )


def ground(
    db: Database,
    settings: Settings,
    *,
    version_id: int,
    model_name: str,
    weight: float = 1.0,
    more: mixture.Sources = (),
) -> Ground:
    """What is known before a recipe is chosen; counts the version's tokens the first time. Raises NotFound.

    With `more` versions or a weight the rows are those of one epoch of the mixture.
    """
    model = models.get(settings, model_name)
    counted, root = _token_counts(db, settings, version_id, model), datasets.version(db, version_id)["root"]
    if more or weight != 1:
        sources = [(version_id, weight), *more]
        mixed = [(_token_counts(db, settings, one, model)["rows"], times) for one, times in sources]
        counted, root = {**counted, "rows": mixture.in_epoch(mixed)}, mixture.root(db, sources)
    return Ground(model, machine_now(db, settings), root, counted)


def lengths(db: Database, settings: Settings, *, version_id: int, model: dict[str, Any]) -> list[int]:
    """The tokens of each row of a version in its order, as counted quickly. Raises NotFound."""
    rows: list[int] = _token_counts(db, settings, version_id, model)["rows"]
    return rows


def estimate_for(
    db: Database,
    settings: Settings,
    *,
    version_id: int,
    recipe: Recipe,
    weight: float = 1.0,
    more: mixture.Sources = (),
) -> Estimate:
    """What this recipe on this version would take here, with what preflights and earlier runs of the model took.

    A few milliseconds after the first call for a version, which counts its tokens. Raises NotFound.
    """
    here = ground(db, settings, version_id=version_id, model_name=recipe.base_model, weight=weight, more=more)
    return here.estimate(recipe, here.seen(db, recipe))


def change_that_fits(
    db: Database,
    settings: Settings,
    *,
    version_id: int,
    recipe: Recipe,
    weight: float = 1.0,
    more: mixture.Sources = (),
) -> Change | None:
    """The smallest change after which the recipe fits this machine; None where it fits already, or where none helps."""
    here = ground(db, settings, version_id=version_id, model_name=recipe.base_model, weight=weight, more=more)
    first = here.estimate(recipe, here.seen(db, recipe))
    if first.fits != "no":
        return None
    scaled = {}
    for method in ("lora", "qlora"):
        seen = here.seen(db, dataclasses.replace(recipe, method=method))
        scaled[method] = dataclasses.replace(seen, exact=False) if seen else None
    few = {**here.counted, "rows": estimates.like(here.counted["rows"])}
    small = dataclasses.replace(here, counted=few)
    return fitting.smallest_change(
        recipe,
        lambda changed: small.estimate(changed, scaled[changed.method]).memory_bytes,
        available=first.memory_available_bytes,
    )


def card(
    db: Database,
    settings: Settings,
    *,
    version_id: int,
    recipe: Recipe,
    weight: float = 1.0,
    more: mixture.Sources = (),
) -> dict[str, Any]:
    """All that a person should know before a start: estimate (a dict), fix (what to set, or None), sentence (or None).

    The sentence is there where the recipe does not fit. Raises NotFound, Invalid (the recipe, the mixture).
    """
    mixture.checked(db, [(version_id, weight), *more])
    model = models.get(settings, recipe.base_model)
    problems = recipes.problems(recipe, machine=estimates.machine(settings), model=model)
    if problems:
        raise Invalid(problems)
    guess = estimate_for(db, settings, version_id=version_id, recipe=recipe, weight=weight, more=more)
    if guess.fits != "no":
        return {"estimate": dataclasses.asdict(guess), "fix": None, "sentence": None}
    change = change_that_fits(db, settings, version_id=version_id, recipe=recipe, weight=weight, more=more)
    return {
        "estimate": dataclasses.asdict(guess),
        "fix": change.sets if change else None,
        "sentence": fitting.sentence(guess, change),
    }


def need_fit(
    db: Database,
    settings: Settings,
    guess: Estimate,
    *,
    version_id: int,
    recipe: Recipe,
    anyway: bool = False,
    weight: float = 1.0,
    more: mixture.Sources = (),
) -> str:
    """Raises Conflict where an estimate does not fit this machine, with the change that makes it fit.

    With `anyway` it returns what to write down instead; nothing where it fits.
    """
    if guess.fits != "no":
        return ""
    change = change_that_fits(db, settings, version_id=version_id, recipe=recipe, weight=weight, more=more)
    words = fitting.sentence(guess, change)
    if not anyway:
        raise Conflict(f"{words} To queue it all the same, say so (--anyway, or anyway).")
    return f" It was to be queued although it does not fit: {words[0].lower()}{words[1:]}"


def machine_now(db: Database, settings: Settings) -> dict[str, Any]:
    """This machine, with what is free for the next training: what a running one holds comes free before it starts."""
    here = estimates.machine(settings)
    if here["gpu"]:
        return here
    held = 0
    for run in store.rows(db, "select pid from runs where status = 'running' and pid is not null"):
        with suppress(psutil.Error):
            held += psutil.Process(run["pid"]).memory_info().rss
    return {**here, "memory_available_bytes": here["memory_available_bytes"] + held}


def _token_counts(db: Database, settings: Settings, version_id: int, model: dict[str, Any]) -> dict[str, Any]:
    """Token counts of a version's rows and of its held-out set, kept in a small file: neither ever changes."""
    version = datasets.version(db, version_id)
    path = (
        settings.home
        / "token-counts"
        / f"{version['root'][:32]}-{(version['held_out_root'] or 'none')[:16]}-{model['hash'][:16]}.json"
    )
    try:
        return _kept(path, path.stat().st_mtime_ns)
    except (OSError, ValueError):
        pass
    rows, shared = rows_tokens(db, version, model["folder"])
    sealed = datasets.held_out_content(db, version["held_out_set_id"]) if version["held_out_set_id"] else []
    counted = {
        "rows": rows,
        "shared": shared,
        "held_out": sum(encoding.count_tokens(model["folder"], [formats.messages(content) for content in sealed])),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(counted))
        os.replace(draft, path)
    except OSError:
        pass  # they are counted again next time
    return counted


@lru_cache(maxsize=8)
def _kept(path: Path, written: int) -> dict[str, Any]:
    """The counts in a file, in memory too: of hundreds of thousands of rows, reading them takes longer than a page may."""
    return dict(json.loads(path.read_text()))


def rows_tokens(db: Database, version: dict[str, Any], folder: str, *, counted: int = COUNTED) -> tuple[list[int], int]:
    """About how many tokens each row of a version has, and with how many all begin.

    Of more than `counted` rows the longest and evenly chosen ones are tokenised; the others are taken to have as
    many tokens to a byte as the evenly chosen.
    """
    sizes = datasets.version_sizes(db, version["id"])
    longest: list[int] = []
    usual = range(len(sizes))
    if len(sizes) > counted:
        longest = sorted(usual, key=lambda place: -sizes[place][1])[: counted // 2]
        usual = usual[:: len(sizes) // (counted // 2)]
    chosen = sorted({*longest, *usual})
    talks = [formats.messages(content) for content in datasets.contents(db, [sizes[place][0] for place in chosen])]
    counts = dict(zip(chosen, encoding.count_tokens(folder, talks), strict=True))
    ratio = sum(counts[place] for place in usual) / max(1, sum(sizes[place][1] for place in usual))
    rows = [counts.get(place) or max(1, round(ratio * size)) for place, (_, size) in enumerate(sizes)]
    return rows, 0 if any(talk[0]["role"] == "system" for talk in talks) else OPENING_TOKENS


def manifest(recipe: Recipe, model: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """What would be needed to do it again: versions, machine, fingerprints."""
    return {
        "program": __version__,
        **circumstances.here(),
        "cores": machine["cores"],
        "gpu": machine["gpu"],
        "dtype": machine["dtype"],
        "model_hash": model["hash"],
        "model_source": model["source"],
        "template_hash": model["template_hash"],
        "recipe_hash": recipes.recipe_hash(recipe),
        "seed": recipe.seed,
    }


def seconds_left(run: dict[str, Any]) -> float:
    """How long the training of a run still takes, from its last steps, or from the estimate before there are any."""
    per_step = run["seconds_per_step"]
    if not per_step:
        per_step = run["estimate"]["seconds"] / max(1, run["estimate"]["steps"])
    return float(per_step) * max(0, (run["steps_total"] or 0) - run["steps_done"])


def predicted_against_measured(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The estimate beside what came of it: rows of what, predicted, measured and error_percent.

    The last two are None before the training has ended; the error is how much more was measured than predicted.
    """
    guess, found = run["estimate"], run["measured"] or {}
    units = {
        "memory_bytes": ("memory, MiB", 2**20),
        "seconds": ("time, seconds", 1),
        "disk_bytes": ("disk, MiB", 2**20),
        "steps": ("steps", 1),
        "tokens_per_second": ("tokens a second", 1),
    }
    return [
        {
            "what": label,
            "predicted": round(guess[key] / unit, 1),
            "measured": round(found[key] / unit, 1) if key in found else None,
            "error_percent": round(100 * (found[key] / guess[key] - 1), 1) if guess[key] and key in found else None,
        }
        for key, (label, unit) in units.items()
    ]
