"""What a search varies: which settings of a recipe, between which values. Pure: text in, ranges and recipes out."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factory.base.errors import Invalid
from factory.training import recipes
from factory.training.recipes import Knob, Recipe

SAME_LENGTH = "decides how long a trial is; a search compares trials of equal length"
SAME_RULER = "changes what the held-out loss is counted over, so losses could not be compared"
NO_EFFECT = "changes how a run is computed or told, not what is learnt"
LEFT_ALONE = {
    "base_model": SAME_RULER, "max_length": SAME_RULER, "completions_only": SAME_RULER, "system_prompt": SAME_RULER,
    "epochs": SAME_LENGTH, "max_steps": SAME_LENGTH, "evaluations": SAME_LENGTH, "early_stopping_patience": SAME_LENGTH,
    "keep_best": NO_EFFECT, "micro_batch_tokens": NO_EFFECT, "gradient_checkpointing": NO_EFFECT, "report_to": NO_EFFECT,
    "checkpoint_minutes": NO_EFFECT, "checkpoint_steps": NO_EFFECT, "logging_steps": NO_EFFECT, "packing": NO_EFFECT,
    "max_samples": SAME_LENGTH,
    "validation_share": SAME_RULER, "mask_history": SAME_RULER, "alpha_linked": "is undone by varying alpha itself",
}  # fmt: skip
USUAL = {"rank": "8,16,32", "learning_rate": "5e-5..1e-3", "dropout": "0..0.1", "effective_batch": "8,16,32",
         "alpha": "16,32,64", "warmup_ratio": "0..0.1", "weight_decay": "0..0.1"}  # fmt: skip
GRID_POINTS = 3
LARGEST_GRID = 500


@dataclass(frozen=True)
class Range:
    """The values of one setting: `choices`, or everything from `low` to `high` (evenly in the exponent with `log`)."""

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False  # only whole numbers

    def holds(self, value: Any) -> bool:
        """Whether a value lies in this range."""
        return value in self.choices if self.choices else self.low <= value <= self.high

    def points(self, count: int = GRID_POINTS) -> tuple[Any, ...]:
        """The choices, or `count` values from low to high, for a grid.

        >>> Range("learning_rate", low=1e-4, high=1e-2, log=True).points()
        (0.0001, 0.001, 0.01)
        """
        if self.choices:
            return self.choices
        shares = [place / max(1, count - 1) for place in range(count)]
        if self.log:
            values = [self.low * (self.high / self.low) ** share for share in shares]
        else:
            values = [self.low + (self.high - self.low) * share for share in shares]
        return tuple(dict.fromkeys(round(value) if self.whole else tidy(value) for value in values))

    @property
    def words(self) -> str:
        """As a person would write it, and as `read` reads it.

        >>> Range("rank", choices=(8, 16)).words
        '8,16'
        """
        if self.choices:
            return ",".join(str(choice).lower() if isinstance(choice, bool) else f"{choice}" for choice in self.choices)
        return f"{self.low:g}..{self.high:g}"


def tidy(value: float) -> float:
    """A number with three digits, as a person would choose it.

    >>> tidy(0.00021537)
    0.000215
    """
    return float(f"{value:.3g}")


def knobs() -> list[Knob]:
    """The settings that a search can vary."""
    return [
        knob
        for knob in recipes.knobs()
        if knob.name not in LEFT_ALONE
        and knob.kind in ("int", "float", "bool", "str")
        and (knob.choices or knob.scale == "toggle" or knob.low is not None)
    ]


def read(over: Mapping[str, str | Sequence[Any]]) -> tuple[Range, ...]:
    """The ranges that a person wrote: `low..high`, or choices as `a,b,c` or a list; "" stands for the usual range.

    Raises Invalid with every problem.

    >>> read({"rank": "8,16", "learning_rate": "1e-5..1e-3"})[1]
    Range(name='learning_rate', choices=(), low=1e-05, high=0.001, log=True, whole=False)
    """
    known, found, problems = {knob.name: knob for knob in knobs()}, [], []
    for name, written in over.items():
        if name in LEFT_ALONE:
            problems.append(f"{name} cannot be searched: it {LEFT_ALONE[name]}.")
        elif name not in known:
            problems.append(f"There is no setting {name!r} to search; choose among {', '.join(known)}.")
        else:
            try:
                found.append(_range(known[name], written))
            except Invalid as problem:
                problems += problem.problems
    if not over:
        problems.append("Choose at least one setting to vary, such as learning_rate.")
    if problems:
        raise Invalid(problems)
    return tuple(found)


def usual(knob: Knob) -> str:
    """The range to offer for a setting: what people usually try, or all it has."""
    if knob.name in USUAL:
        return USUAL[knob.name]
    if knob.scale == "toggle":
        return "false,true"
    return ",".join(map(str, knob.choices)) if knob.choices else f"{knob.low:g}..{knob.high:g}"


def _range(knob: Knob, written: str | Sequence[Any]) -> Range:
    written = usual(knob) if written == "" else written
    if isinstance(written, str) and ".." in written and not knob.choices and knob.scale != "toggle":
        low, _, high = written.partition("..")
        ends = [_value(knob, low), _value(knob, high)]
        if not ends[0] < ends[1]:
            raise Invalid(f"{knob.name} from {low} to {high} is no range; the first has to be the smaller one.")
        log = knob.scale == "log" and ends[0] > 0
        return Range(knob.name, low=float(ends[0]), high=float(ends[1]), log=log, whole=knob.kind == "int")
    parts = [part for part in written.split(",") if part.strip()] if isinstance(written, str) else list(written)
    choices = tuple(dict.fromkeys(_value(knob, part) for part in parts))
    if not choices:
        raise Invalid(f"{knob.name} has no values to try; write them as 8,16,32 or as 1e-5..1e-3.")
    return Range(knob.name, choices=choices)


def _value(knob: Knob, written: Any) -> Any:
    """One value of a setting. Raises Invalid in the recipe's own words."""
    text = str(written).strip()
    value: Any = text
    if knob.kind == "bool":
        value = {"true": True, "false": False}.get(text.lower(), text)
    elif knob.kind in ("int", "float"):
        try:
            value = float(text)
        except ValueError:
            value = text
        if knob.kind == "int" and isinstance(value, float) and value.is_integer():
            value = int(value)
    wrong = recipes.problems(dataclasses.replace(Recipe(alpha_linked=False), **{knob.name: value}))
    if wrong:
        raise Invalid(wrong)
    return value


def size(ranges: Sequence[Range]) -> int | None:
    """How many different recipes these ranges hold; None where they hold too many to count."""
    if any(not each.choices for each in ranges):
        return None
    return math.prod(len(each.choices) for each in ranges)


def grid(ranges: Sequence[Range], *, seed: int) -> list[dict[str, Any]]:
    """Every combination of the ranges' points, in a seeded order: a budget that ends early has looked everywhere.

    Raises Invalid where there are too many.
    """
    points = [each.points() for each in ranges]
    if math.prod(map(len, points)) > LARGEST_GRID:
        raise Invalid(
            f"This grid has {math.prod(map(len, points)):,} points, over {LARGEST_GRID}; vary less, or let TPE choose."
        )
    cells = [dict(zip([each.name for each in ranges], cell, strict=True)) for cell in itertools.product(*points)]
    random.Random(seed).shuffle(cells)
    return cells


def applied(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with a trial's settings; alpha follows the rank where it did, unless it is varied itself."""
    changes = dict(settings) | ({"alpha_linked": False} if "alpha" in settings else {})
    return dataclasses.replace(recipe, **changes)


def trial_recipe(recipe: Recipe, settings: Mapping[str, Any], *, steps: int, measurings: int) -> Recipe:
    """The recipe of one trial: as many rows as `steps` of the starting recipe see, measured `measurings` times between.

    Equal rows are equal tokens, since a search varies nothing that cuts or drops rows. Its pruning replaces early stopping.

    >>> trial_recipe(Recipe(effective_batch=16), {"effective_batch": 8}, steps=20, measurings=3).max_steps
    40
    """
    made = applied(recipe, settings)
    scaled = max(1, round(steps * recipe.effective_batch / made.effective_batch)) if steps else 0
    return dataclasses.replace(made, max_steps=scaled, evaluations=measurings, early_stopping_patience=0)
