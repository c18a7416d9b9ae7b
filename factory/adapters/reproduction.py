"""Training a run again from what was written down of it, and saying whether the same came out: identical, near, different.

    identical   the same bytes of weights, from the same step, and every loss the same number
    near        no loss further than 2% from the one before, no held-out loss further than 1%, the weights no further from
                the old ones than a tenth of their length
    different   all else

A reproduction is a run like any other, with the run it repeats as its parent, save that it earns no credits: its progress
was paid for once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory.adapters import evaluation, kept
from factory.base import store
from factory.base.errors import Conflict, NotFound
from factory.base.people import Person, need
from factory.base.settings import Settings
from factory.training import circumstances, mixture, recipes, runs

LOSS, HELD_OUT, WEIGHTS = 0.02, 0.01, 0.1  # relative, see above
OF_THE_RUN_ITSELF = ("reproduces", "threads_wanted", "recipe_hash")  # in a manifest, and no reason for anything
TELLING = {
    "identical": "Identical: the same weights, byte for byte, and every loss the same number.",
    "near": "Near: not the same bytes, but within the tolerance.",
    "different": "Different: beyond the tolerance.",
}


def begin(db: Database, settings: Settings, run_id: int, *, person: Person) -> int:
    """Put a run in the queue that trains a finished one again; its id. Needs the role builder.

    It takes recipe, dataset version, base model and number of threads from what was stored of the run. What else differs on
    this machine is no obstacle, it becomes part of the verdict. Raises NotFound (run, model), NotAllowed, Conflict where the
    run is not done, began with another run's weights, or where its data or base model is not what it was.
    """
    need(person, "builder")
    run = runs.get(db, run_id)
    if run["status"] != "done" or kept.find_by_run(db, run_id) is None:
        raise Conflict(
            f"Run {run_id} is {run['status']}; only a run that is done, with its adapter kept, can be reproduced."
        )
    if run["starts_from"] is not None:
        raise Conflict(f"Run {run_id} goes on from run {run['starts_from']}; reproduce that one.")
    wanted = {"reproduces": run_id, "threads_wanted": run["manifest"].get("threads")}
    again = runs.create(
        db, person=person, version_id=run["version_id"], recipe=run["recipe"], settings=settings, parent_run_id=run_id,
        name=f"Again: {run['name']}"[:80].rstrip(), manifest={key: value for key, value in wanted.items() if value},
        **mixture.again(db, run_id),
    )  # fmt: skip
    with store.writing(db):
        record = {"run_id": again, "original_run_id": run_id, "person_id": person.id, "asked_at": store.now()}
        store.insert(db, "reproductions", record)
    runs.note(db, run_id, "reproduced", f"{person.display_name} asked for it again, as run {again}.")
    return again


def find(db: Database, run_id: int) -> dict[str, Any] | None:
    """What is known of a run as a reproduction, or None where it is none: see `get`."""
    found = store.row(db, "select * from reproductions where run_id = ?", run_id)
    return found and found | {"findings": json.loads(found["findings"]) if found["findings"] else None}


def get(db: Database, run_id: int) -> dict[str, Any]:
    """A reproduction: run_id, original_run_id, person_id, asked_at, verdict (None: not yet), findings, compared_at.

    Raises NotFound.
    """
    found = find(db, run_id)
    if found is None:
        raise NotFound(f"Run {run_id} reproduces no other; `reproduce RUN` starts a run that does.")
    return found


def of(db: Database, original_run_id: int) -> list[dict[str, Any]]:
    """The reproductions of a run as `get` gives them, newest first."""
    ids = store.rows(db, "select run_id from reproductions where original_run_id = ? order by run_id desc", original_run_id)
    return [get(db, row["run_id"]) for row in ids]


def compare(db: Database, settings: Settings, run_id: int) -> dict[str, Any]:
    """Hold a reproduction whose adapter is kept against its original, store the verdict, and return it as `get` does.

    Findings: weights (same, largest_difference, relative_difference), losses (steps, largest_relative_difference),
    held_out (the same), evaluation (there, here: nats, None where not measured), step (there, here), circumstances (a list
    of what, there, here), resumed and words (sentences). Raises NotFound, and Conflict before there is an adapter.
    """
    asked = get(db, run_id)
    both = [runs.get(db, asked["original_run_id"]), runs.get(db, run_id)]
    adapters = [kept.find_by_run(db, run["id"]) for run in both]
    there, here = adapters
    if there is None or here is None:
        raise Conflict(f"Run {run_id} has no adapter to compare yet; `runs follow {run_id}` watches it.")
    curves = [runs.metrics(db, run["id"], ["loss", "held_out_loss"], points=10**9) for run in both]
    measured = [evaluation.latest(db, adapter["id"]) for adapter in (there, here)]
    findings: dict[str, Any] = {
        "weights": _weights(*(kept.folder(db, settings, adapter["id"]) for adapter in (there, here)))
        | {"same": there["sha256"] == here["sha256"]},
        "losses": _curves(curves[0]["loss"], curves[1]["loss"]),
        "held_out": _curves(curves[0]["held_out_loss"], curves[1]["held_out_loss"]),
        "evaluation": {name: one and one["tuned_loss"] for name, one in zip(("there", "here"), measured, strict=True)},
        "step": {"there": there["step"], "here": here["step"]},
        "circumstances": _circumstances(*both),
        "resumed": [
            f"Run {run['id']} was broken off and resumed." for run in both if (run["measured"] or {}).get("resumed")
        ],
    }
    verdict = _verdict(findings)
    findings["words"] = _words(verdict, findings)
    with store.writing(db):
        db.execute(
            "update reproductions set verdict = ?, findings = ?, compared_at = ? where run_id = ?",
            [verdict, json.dumps(findings), store.now(), run_id],
        )
    return get(db, run_id)


def _weights(there: Path, here: Path) -> dict[str, Any]:
    """How far two adapters lie apart: the largest difference of a number, and the distance over the first one's length."""
    import numpy as np
    from safetensors.numpy import load_file

    old, new = load_file(there / kept.WEIGHTS), load_file(here / kept.WEIGHTS)
    if {name: tensor.shape for name, tensor in old.items()} != {name: tensor.shape for name, tensor in new.items()}:
        return {"largest_difference": None, "relative_difference": None}
    apart = {name: new[name].astype(np.float64) - old[name] for name in old}
    length = sum(float((tensor.astype(np.float64) ** 2).sum()) for tensor in old.values())
    distance = sum(float((tensor**2).sum()) for tensor in apart.values())
    return {
        "largest_difference": max((float(np.abs(tensor).max()) for tensor in apart.values()), default=0.0),
        "relative_difference": (distance / length) ** 0.5 if length else float(distance > 0),
    }


def _curves(there: Sequence[tuple[int, float]], here: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Two curves step by step: same (every number), steps, largest_relative_difference (None: other steps).

    >>> _curves([(1, 2.0), (2, 1.0)], [(1, 2.0), (2, 1.01)])["largest_relative_difference"]
    0.01
    """
    if [step for step, _ in there] != [step for step, _ in here]:
        return {"same": False, "steps": min(len(there), len(here)), "largest_relative_difference": None}
    apart = [abs(new - old) / max(abs(old), 1e-9) for (_, old), (_, new) in zip(there, here, strict=True)]
    largest = round(max(apart, default=0.0), 12)
    return {"same": list(there) == list(here), "steps": len(there), "largest_relative_difference": largest}


def _circumstances(original: dict[str, Any], again: dict[str, Any]) -> list[dict[str, Any]]:
    """What differs: data, model, recipe, and everything the two manifests say."""
    sheets = []
    for run in (original, again):
        known = {name: value for name, value in run["manifest"].items() if name not in OF_THE_RUN_ITSELF}
        data = {
            "dataset version": run["version_root"],
            "held-out set": run["held_out_root"],
            "base model": run["model_hash"],
        }
        sheets.append({**known, **data, "recipe": recipes.to_dict(run["recipe"])})
    return circumstances.differences(*sheets)


def _verdict(findings: dict[str, Any]) -> str:
    """
    >>> same = {"same": True, "largest_relative_difference": 0.0, "relative_difference": 0.0}
    >>> step = {"there": 3, "here": 3}
    >>> _verdict({"weights": same, "losses": same, "held_out": same, "step": step})
    'identical'
    >>> near = {"same": False, "largest_relative_difference": 0.005, "relative_difference": 0.03}
    >>> _verdict({"weights": near, "losses": near, "held_out": near, "step": step})
    'near'
    """
    step = findings["step"]["there"] == findings["step"]["here"]
    if step and all(findings[part]["same"] for part in ("weights", "losses", "held_out")):
        return "identical"
    measured = (
        (findings["losses"]["largest_relative_difference"], LOSS),
        (findings["held_out"]["largest_relative_difference"], HELD_OUT),
        (findings["weights"]["relative_difference"], WEIGHTS),
    )
    near = step and all(found is not None and found <= most for found, most in measured)
    return "near" if near else "different"


def _words(verdict: str, findings: dict[str, Any]) -> list[str]:
    """The verdict in sentences: how far apart, and why."""
    words = [TELLING[verdict]]
    if verdict != "identical":
        losses, held_out, weights = (findings[name] for name in ("losses", "held_out", "weights"))
        words += [
            _apart("The training loss", losses["largest_relative_difference"], LOSS),
            _apart("The held-out loss", held_out["largest_relative_difference"], HELD_OUT),
            _apart("The weights", weights["relative_difference"], WEIGHTS),
        ]
        if findings["step"]["there"] != findings["step"]["here"]:
            words.append(
                "The kept weights are from step {there} there and from step {here} here.".format(**findings["step"])
            )
    reasons = [f"{one['what']}: {one['there']} there, {one['here']} here" for one in findings["circumstances"]]
    if reasons:
        words.append("What differs: " + "; ".join(reasons) + ".")
    elif verdict != "identical":
        words.append("Of all that was written down nothing differs.")
    return words + findings["resumed"]


def _apart(what: str, found: float | None, most: float) -> str:
    """
    >>> _apart("The weights", 0.0312, 0.1)
    'The weights differ by up to 3.1% (tolerance 10%).'
    """
    verb = "differ" if what.endswith("s") and not what.endswith("ss") else "differs"
    if found is None:
        return f"{what} cannot be compared step by step: other steps were measured, or the shapes differ."
    return f"{what} {verb} by up to {100 * found:.2g}% (tolerance {most:.0%})."
