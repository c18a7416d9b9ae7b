"""Before and after a run: what it would take here, what to write down about the machine, how right the estimate was."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
from typing import Any

from sqlite_utils import Database

from factory import __version__
from factory.base import store
from factory.base.settings import Settings
from factory.intake import datasets, formats
from factory.training import encoding, models, recipes
from factory.training import estimate as estimates
from factory.training.recipes import Recipe

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "tokenizers", "safetensors", "numpy")


def estimate_for(db: Database, settings: Settings, *, version_id: int, recipe: Recipe) -> estimates.Estimate:
    """What this recipe on this version would take here, with what earlier runs of the same model and method took.

    A few milliseconds after the first call for a version, which counts its tokens. Raises NotFound.
    """
    model = models.get(settings, recipe.base_model)
    counted = _token_counts(db, settings, version_id, model)
    past = store.rows(
        db,
        "select estimate, measured from runs where measured is not null and model_hash = ?"
        " and json_extract(recipe, '$.method') = ? order by id desc limit 9",
        model["hash"],
        recipe.method,
    )
    history = []
    for run in past:
        predicted, measured = json.loads(run["estimate"]), json.loads(run["measured"])
        if predicted["steps"] == measured["steps"] and not measured.get("resumed"):
            history.append({"arithmetic_seconds": predicted["arithmetic_seconds"], "seconds": measured["seconds"]})
    return estimates.estimate(
        recipe,
        model=model,
        rows_tokens=counted["rows"],
        held_out_tokens=min(counted["held_out"], estimates.CURVE_TOKENS),
        machine=estimates.machine(settings),
        history=history,
    )


def _token_counts(db: Database, settings: Settings, version_id: int, model: dict[str, Any]) -> dict[str, Any]:
    """Token counts of a version's rows and of its held-out set, kept in a small file: neither ever changes."""
    version = datasets.version(db, version_id)
    path = (
        settings.home
        / "token-counts"
        / f"{version['root'][:32]}-{(version['held_out_root'] or 'none')[:16]}-{model['hash'][:16]}.json"
    )
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        pass
    talks = [formats.messages(content) for _, _, content in datasets.version_content(db, version_id)]
    sealed = datasets.held_out_content(db, version["held_out_set_id"]) if version["held_out_set_id"] else []
    counted = {
        "rows": encoding.count_tokens(model["folder"], talks),
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


def manifest(recipe: Recipe, model: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """What would be needed to do it again: versions, machine, fingerprints."""
    found = {name: importlib.metadata.version(name) for name in LIBRARIES if importlib.util.find_spec(name)}
    return {
        "program": __version__,
        "python": platform.python_version(),
        "libraries": found,
        "system": f"{platform.system()} {platform.machine()}",
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
    """The estimate beside what came of it: rows of what, predicted, measured (None before the training has ended)."""
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
        }
        for key, (label, unit) in units.items()
    ]
