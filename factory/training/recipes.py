"""Every setting of a run: presets, checks and warnings over a Recipe, and a recipe as YAML, as a dict and as a hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from factory.base.errors import Invalid
from factory.training import advice, possible, prompts, recipe_yaml
from factory.training.knobs import Advice, Knob
from factory.training.recipe import Recipe
from factory.training.schedules import learning_rate_at, planned_rates, steps_per_epoch, steps_total

__all__ = [  # and all that is defined here: the one name under which the rest of the program knows recipes
    "Advice", "Knob", "Recipe", "learning_rate_at", "planned_rates", "steps_per_epoch", "steps_total",
]  # fmt: skip

PRESETS: dict[str, Recipe] = {
    "quick try": Recipe(rank=8, epochs=1, max_steps=40, effective_batch=8, evaluations=4, max_length=512),
    "balanced": Recipe(),
    "small data": Recipe(rank=8, epochs=3, effective_batch=8, learning_rate=1e-4, dropout=0.05, early_stopping_patience=2),
    "new domain": Recipe(rank=64, epochs=3, warmup_ratio=0.05, max_length=2048, evaluations=12),
    "low memory": Recipe(method="qlora", rank=8, max_length=512, micro_batch_tokens=256, gradient_checkpointing=True),
}


def knobs() -> list[Knob]:
    """Every setting with its default, range, unit and help, in the order a person meets them."""
    return [
        Knob(
            field.name,
            str(field.type),
            field.default,
            *(_of_kind(field.metadata[name], str(field.type)) for name in ("low", "high", "step")),
            **{name: field.metadata[name] for name in ("choices", "scale", "unit", "help", "group", "topic")},
        )
        for field in dataclasses.fields(Recipe)
    ]


def problems(
    recipe: Recipe, *, machine: Mapping[str, Any] | None = None, model: Mapping[str, Any] | None = None
) -> list[str]:
    """Everything that is wrong with a recipe, one sentence each; an empty list when it can be trained.

    With `machine` (`estimate.machine`) and `model` (`models.get`) also what is impossible only there.
    """
    found = []
    for each in knobs():
        value = getattr(recipe, each.name)
        if not _has_kind(value, each.kind):
            found.append(f"{each.name} is {_shown(value)}; it has to be {_kind_words(each)}.")
        elif each.choices and value not in each.choices:
            found.append(f"{each.name} is {_shown(value)}; choose one of {', '.join(map(str, each.choices))}.")
        elif each.low is not None and each.high is not None and not each.low <= value <= each.high:
            found.append(f"{each.name} is {_shown(value)}; it has to be from {_number(each.low)} to {_number(each.high)}.")
    found += prompts.problems(recipe.base_model, recipe.system_prompt, recipe.sample_prompts)
    if isinstance(recipe.target_modules, str) and len(recipe.target_modules) > 2000:
        found.append("target_modules has over 2,000 characters; name each matrix once.")
    if not found:  # clashes are between values that are each sound
        found += [clash.why for clash in possible.clashes(recipe, machine=machine, model=model)]
    return found


def advices(recipe: Recipe, rows: int | None = None, *, held_out: bool | None = None) -> list[Advice]:
    """What is allowed but unwise or has no effect, each with the settings that would mend it.

    `rows` is how many will be trained on and `held_out` whether a sealed set comes with them, when known.
    """
    told = [found for look in advice.LOOKS for found in [look(recipe, rows)] if found]
    default = Recipe()
    for name, why in possible.idle(recipe, held_out=held_out).items():
        if name != "alpha" and getattr(recipe, name) != getattr(default, name):
            words = name.replace("_", " ")
            told.append(Advice(f"The setting {words} has no effect here: {why}", {name: getattr(default, name)}))
    return told


def warnings(recipe: Recipe, rows: int | None = None, *, held_out: bool | None = None) -> list[str]:
    """The words of `advices`."""
    return [each.words for each in advices(recipe, rows, held_out=held_out)]


def _has_kind(value: Any, kind: str) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "float":
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, str)


def _kind_words(each: Knob) -> str:
    words = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text"}[each.kind]
    return words if each.low is None or each.high is None else f"{words} from {_number(each.low)} to {_number(each.high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def _shown(value: Any) -> str:
    if isinstance(value, list | dict | tuple | set):  # never spelt out: a few YAML aliases can stand for gigabytes
        return f"a {type(value).__name__}"
    return repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "…"


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Every setting by name."""
    return dataclasses.asdict(recipe)


def from_dict(settings: Any, *, lines: Mapping[str, int] | None = None) -> Recipe:
    """The recipe with these settings, defaults for the rest. Raises Invalid with every problem.

    `lines` says where in a file each setting stands, so that a problem can say it too.

    >>> from_dict({"rank": 8}).alpha
    16
    """
    if not isinstance(settings, dict):
        raise Invalid("A recipe is a list of lines `setting: value`; this is something else.")
    known = {each.name: each for each in knobs()}
    places = lines or {}
    unknown = [recipe_yaml.unknown(name, known, places) for name in settings if name not in known]
    recipe = Recipe(**{name: _of_kind(value, known[name].kind) for name, value in settings.items() if name in known})
    found = [*unknown, *(recipe_yaml.placed(problem, places) for problem in problems(recipe))]
    if recipe.alpha_linked is True and "alpha" in settings and settings["alpha"] != recipe.alpha:
        found.append(
            f"alpha is {_shown(settings['alpha'])} but alpha_linked keeps it at {recipe.alpha}; drop it, or unlink it."
        )
    if found:
        raise Invalid(found)
    return recipe


def _of_kind(value: Any, kind: str) -> Any:
    """YAML reads 2e-4 as text and 1.0 as a fraction: mean what the person meant, leave the rest to `problems`."""
    if kind in ("float", "int") and isinstance(value, str):
        try:
            value = float(value[:-1]) / 100 if value.endswith("%") else float(value)
        except ValueError:
            return value
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**53 else value
    if kind == "int" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "str" and isinstance(value, list) and all(isinstance(part, str) for part in value) and len(value) < 200:
        return ", ".join(value)  # target_modules: [q_proj, v_proj]
    if kind == "str" and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9:
        return str(value)  # sample_prompts: 3
    return value


def to_yaml(recipe: Recipe, *, datasets: Sequence[str] = (), every: bool = False) -> str:
    """The recipe as a person would write it, what differs from the defaults, or `every` setting; `from_yaml` reads it back.

    `datasets` are written in front, each as `train --dataset` takes it.
    """
    return recipe_yaml.write(to_dict(recipe), knobs(), datasets=datasets, every=every)


def from_yaml(text: str) -> Recipe:
    """The recipe that a YAML text describes, defaults for what it leaves out. Raises Invalid with every problem."""
    said = recipe_yaml.read(text)
    return from_dict(said.settings, lines=said.lines)


def datasets_in(text: str) -> tuple[str, ...]:
    """The datasets that a recipe's YAML names, each as `train --dataset` takes it. Raises Invalid."""
    return recipe_yaml.read(text).datasets


def recipe_hash(recipe: Recipe) -> str:
    """A sha-256 that is equal for equal recipes."""
    return hashlib.sha256(json.dumps(to_dict(recipe), sort_keys=True).encode()).hexdigest()


def differences(recipe: Recipe, parent: Recipe) -> dict[str, tuple[Any, Any]]:
    """What changed since another recipe: setting → (there, here).

    >>> differences(Recipe(seed=1), Recipe())
    {'seed': (42, 1)}
    """
    ours, theirs = to_dict(recipe), to_dict(parent)
    return {name: (theirs[name], ours[name]) for name in ours if ours[name] != theirs[name]}
