"""Several runs side by side: what was set differently, what came of it, and which of them may be ranked together at all.

A loss is only comparable on the same held-out rows, cut into the same tokens and measured in the same way. Runs for which
all of that is equal form a set; ranks, and axes of loss, are made inside a set and never across two.
"""

from __future__ import annotations

import csv as files
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database

from factory.adapters import forgetting
from factory.base import store
from factory.base.errors import Invalid, NotFound
from factory.intake.formats import csv_safe
from factory.training import recipes

FEWEST, MOST = 2, 50
NO_SET = "–"
MEASURING = (
    "max_length",
    "completions_only",
    "mask_history",
    "system_prompt",
)  # of a recipe: what the curve's loss depends on
OUTCOMES = {  # what came of a run: column, and its name with unit for people
    "held_out_loss": "held-out loss",
    "minutes": "minutes",
    "memory_gib": "memory, GiB",
    "tokens_per_second": "tokens/s",
}
COLUMNS = (
    *("set", "rank", "run_id", "run", "person", "status", "dataset", "version", "base_model", "adapter_id", "held_out_root"),
    *(
        "held_out_loss",
        "measured_by",
        "gain_percent",
        "gain_low",
        "gain_high",
        "forgot_percent",
        "forgot_low",
        "forgot_high",
    ),
    *("minutes", "memory_gib", "tokens", "tokens_per_second", "energy_wh", "steps"),
)
CHOSEN = """
    select r.id as run_id, r.name as run, p.display_name as person, r.status, d.slug as dataset, v.number as version,
        r.version_root, r.model_name as base_model, r.model_hash, r.recipe, r.steps_done as steps, a.id as adapter_id,
        coalesce(e.held_out_root, r.held_out_root) as held_out_root, e.base_loss, e.tuned_loss, e.label_tokens, e.row_count,
        -100.0 * e.difference / nullif(e.base_loss, 0) as gain_percent, -100.0 * e.high / nullif(e.base_loss, 0) as gain_low,
        -100.0 * e.low / nullif(e.base_loss, 0) as gain_high,
        f.base_loss as elsewhere, f.difference as forgot, f.low as forgot_least, f.high as forgot_most,
        (select min(value) from metrics where run_id = r.id and name = 'held_out_loss') as curve_loss,
        coalesce(json_extract(r.measured, '$.training_seconds'), json_extract(r.measured, '$.seconds')) / 60.0
                as minutes,
        json_extract(r.measured, '$.memory_bytes') / 1073741824.0 as memory_gib,
        json_extract(r.measured, '$.tokens') as tokens,
        json_extract(r.measured, '$.tokens_per_second') as tokens_per_second,
        json_extract(r.measured, '$.energy_joules') / 3600.0 as energy_wh
    from json_each(?) as wanted join runs r on r.id = wanted.value join people p on p.id = r.person_id
        join dataset_versions v on v.id = r.version_id join datasets d on d.id = v.dataset_id
        left join adapters a on a.run_id = r.id
        left join evaluations e on e.id = (select max(id) from evaluations where adapter_id = a.id)
        left join forgetting f on f.evaluation_id = e.id
    order by wanted.key
"""


def compare(db: Database, run_ids: Sequence[int]) -> dict[str, Any]:
    """Two to fifty runs side by side, in the order given.

    - `runs`: a dictionary each, with the keys of COLUMNS. `set` is a letter, or a dash without a held-out loss; `rank`
      counts within it. `held_out_loss` is in nats per label token and `measured_by` says where from: the evaluation on all
      held-out rows, or the lowest along the way (curve). `forgot_percent` is the rise of the loss on the neutral text.
    - `differs`: what was set differently, data and model included: field, label, unit, default (None where there is none),
      values (by run_id). What is equal in all of them is left out.
    - `sets`: set, held_out_root, measured_by, runs (ids, best first).
    - `sentences`: what may be compared and what not.

    Raises Invalid for too few or too many, NotFound naming every run that is not there.
    """
    wanted = list(dict.fromkeys(run_ids))
    if not FEWEST <= len(wanted) <= MOST:
        raise Invalid(f"Choose from {FEWEST} to {MOST} different runs to compare; these are {len(wanted)}.")
    found = store.rows(db, CHOSEN, json.dumps(wanted))
    if missing := set(wanted) - {run["run_id"] for run in found}:
        raise NotFound(f"There is no run {', '.join(map(str, sorted(missing)))}; `runs list` shows those there are.")
    for run in found:
        run["recipe"] = json.loads(run["recipe"])
        measured = {"base_loss": run["elsewhere"] or 0.0, "difference": run["forgot"], "low": run["forgot_least"],
                    "high": run["forgot_most"]}  # fmt: skip
        unknown = dict.fromkeys(("forgot_percent", "forgot_low", "forgot_high"))
        run.update(forgetting.percent(measured) if run["elsewhere"] is not None else unknown)
    sets = _sets(found)
    return {
        "runs": [{name: run[name] for name in COLUMNS} for run in found],
        "differs": differences(found),
        "sets": sets,
        "sentences": _sentences(found, sets),
    }


def _sets(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put every run in the set of those it can be ranked with, and rank them there; changes the runs."""
    evaluated = {
        root: all(run["tuned_loss"] is not None for run in found if run["held_out_root"] == root)
        for root in {run["held_out_root"] for run in found}
    }
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in found:
        by_evaluation = evaluated[run["held_out_root"]]
        run["measured_by"] = "evaluation" if by_evaluation else "curve"
        run["held_out_loss"] = run["tuned_loss"] if by_evaluation else run["curve_loss"]
        run["set"], run["rank"] = NO_SET, None
        if run["held_out_root"] is None or run["held_out_loss"] is None:
            run["measured_by"] = run["held_out_loss"] = None
            continue
        how = (run["label_tokens"],) if by_evaluation else (run["model_hash"], *(run["recipe"].get(n) for n in MEASURING))
        alike.setdefault((run["held_out_root"], run["measured_by"], *how), []).append(run)
    sets = []
    for number, (key, members) in enumerate(alike.items()):
        letter = chr(ord("A") + number) if number < 26 else f"A{chr(ord('A') + number - 26)}"
        members.sort(key=lambda run: run["held_out_loss"])
        for run in members:
            run["set"] = letter
            better = sum(other["held_out_loss"] < run["held_out_loss"] for other in members)
            run["rank"] = 1 + better if len(members) > 1 else None  # alone there is nobody to rank with
        sets.append(
            {"set": letter, "held_out_root": key[0], "measured_by": key[1], "runs": [run["run_id"] for run in members]}
        )
    return sets


def differences(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What differs between runs with the keys of the table: data, model, and the knobs of the recipe in their order.

    Alpha is left out where it only follows the rank. See `compare` for the keys.
    """
    data = {run["run_id"]: f"{run['dataset']} v{run['version']}" for run in found}
    weights = {run["run_id"]: f"{run['base_model']} {run['model_hash'][:8]}" for run in found}
    names = {run["run_id"]: run["base_model"] for run in found}
    # where names are equal, it is the weights behind the name that differ
    model = weights if len(set(weights.values())) > len(set(names.values())) else names
    rows: list[dict[str, Any]] = [
        {"field": "data", "label": "Data", "unit": "", "default": None, "values": data},
        {"field": "model", "label": "Base model", "unit": "", "default": recipes.Recipe.base_model, "values": model},
    ]
    follows = all(run["recipe"].get("alpha_linked", True) for run in found)
    for knob in recipes.knobs():
        if knob.name == "base_model" or (knob.name == "alpha" and follows):
            continue
        values = {run["run_id"]: run["recipe"].get(knob.name, knob.default) for run in found}
        rows.append({"field": knob.name, "label": knob.label, "unit": knob.unit, "default": knob.default, "values": values})
    return [row for row in rows if len({json.dumps(value) for value in row["values"].values()}) > 1]


def _sentences(found: Sequence[dict[str, Any]], sets: Sequence[dict[str, Any]]) -> list[str]:
    words = []
    roots = {each["held_out_root"] for each in sets}
    if len(sets) == 1 and len(sets[0]["runs"]) == len(found):
        words.append(f"All {len(found)} runs were measured on the same held-out rows, so their losses can be compared.")
    elif len(roots) > 1:
        words.append(
            f"These runs were measured on {len(roots)} different held-out sets. A loss on one says nothing about a loss on"
            " another, so each set is ranked and drawn by itself."
        )
    if len(sets) > len(roots):
        words.append(
            "Some share their held-out rows, but other tokens of them were counted (another base model, maximum length or"
            " system prompt, or questions trained on too): those stand in sets of their own."
        )
    along = [each["set"] for each in sets if each["measured_by"] == "curve"]
    if along:
        words.append(
            f"In set {', '.join(along)} not every run has been evaluated, so what is compared there is the lowest held-out"
            " loss along the way."
        )
    unmeasured = sum(run["set"] == NO_SET for run in found)
    if unmeasured:
        words.append(
            "1 run has no held-out loss and is not ranked."
            if unmeasured == 1
            else f"{unmeasured} runs have no held-out loss and are not ranked."
        )
    return words


def dimensions(compared: dict[str, Any], run_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Axes for parallel coordinates over some compared runs: what differs among them, then what came of it.

    Each: label, values (floats in the order of `run_ids`) and ticks (place, words), empty for a plain number. Choices and
    words stand at 0, 1, …; a knob on a log scale at its decimal logarithm. An outcome that one run lacks is left out.
    """
    scales = {knob.name: knob.scale for knob in recipes.knobs()}
    axes = []
    for row in compared["differs"]:
        values = [row["values"][run_id] for run_id in run_ids]
        if len({json.dumps(value) for value in values}) < 2:
            continue
        axes.append({"label": row["label"], **_placed(values, log=scales.get(row["field"]) == "log")})
    by_id = {run["run_id"]: run for run in compared["runs"]}
    for name, label in OUTCOMES.items():
        outcome = [by_id[run_id][name] for run_id in run_ids]
        if all(value is not None for value in outcome):
            axes.append({"label": label, "values": [float(value) for value in outcome], "ticks": []})
    return axes


def _placed(values: Sequence[Any], *, log: bool = False) -> dict[str, Any]:
    """Where settings stand on an axis.

    >>> _placed(["cosine", "linear", "cosine"])
    {'values': [0.0, 1.0, 0.0], 'ticks': [(0.0, 'cosine'), (1.0, 'linear')]}
    >>> _placed([0.001, 0.1], log=True)
    {'values': [-3.0, -1.0], 'ticks': [(-3.0, '0.001'), (-1.0, '0.1')]}
    """
    values = [json.dumps(value) if isinstance(value, list | dict) else value for value in values]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    distinct = sorted(set(values)) if numbers else sorted(set(values), key=str)
    if numbers and log and distinct[0] > 0:
        return {
            "values": [math.log10(value) for value in values],
            "ticks": [(math.log10(value), f"{value:g}") for value in distinct],
        }
    if numbers:
        few = [(float(value), f"{value:g}") for value in distinct] if len(distinct) <= 8 else []
        return {"values": [float(value) for value in values], "ticks": few}
    return {
        "values": [float(distinct.index(value)) for value in values],
        "ticks": [(float(place), shown(value)) for place, value in enumerate(distinct)],
    }


def shown(value: Any) -> str:
    """A setting as people read it.

    >>> shown(True), shown(2e-4), shown(""), shown("cosine")
    ('on', '0.0002', '(empty)', 'cosine')
    """
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value) or "(empty)"


def csv(compared: dict[str, Any]) -> str:
    """The table as CSV: a line a run, its figures and what was set differently; no cell can be run as a formula."""
    fields = {f"recipe.{row['field']}": row["values"] for row in compared["differs"]}
    written = io.StringIO()
    lines = files.writer(written, lineterminator="\n")
    lines.writerow([*COLUMNS, *fields])
    for run in compared["runs"]:
        lines.writerow([csv_safe(v) for v in (*(run[n] for n in COLUMNS), *(v[run["run_id"]] for v in fields.values()))])
    return written.getvalue()
