"""How many optimizer steps a recipe takes, and the learning rate of each of them."""

from __future__ import annotations

import math

from factory.training.recipe import Recipe

LONG = 10_000  # steps over which an inverse square root falls when there is no warm-up, as in transformers


def steps_per_epoch(recipe: Recipe, rows: int) -> int:
    """Optimizer steps in which every row is seen once; the last one takes what is left over."""
    return math.ceil(rows / recipe.effective_batch)


def steps_total(recipe: Recipe, rows: int) -> int:
    """Optimizer steps of a whole run; 0 when there is nothing to train.

    >>> steps_total(Recipe(epochs=1.5, effective_batch=16), 100)
    11
    """
    steps = round(recipe.epochs * steps_per_epoch(recipe, rows) + 1e-9)
    if recipe.epochs > 0 and rows:
        steps = max(1, steps)
    if not rows:
        return 0
    return min(steps, recipe.max_steps) if recipe.max_steps else steps


def planned_rates(recipe: Recipe, total: int, *, most: int = 400) -> list[tuple[int, float]]:
    """(optimizer step, its learning rate), the first one first: every step, or about `most` of them and both ends.

    >>> planned_rates(Recipe(learning_rate=1.0, schedule="constant", warmup_ratio=0), 7, most=2)
    [(1, 1.0), (5, 1.0), (7, 1.0)]
    """
    steps = range(1, total + 1, -(-total // most) or 1)
    return [(step, learning_rate_at(recipe, step, total)) for step in sorted({*steps, *([total] if total else [])})]


def learning_rate_at(recipe: Recipe, step: int, total: int) -> float:
    """The rate of optimizer step 1 ≤ `step` ≤ `total`: a straight warm-up, then the schedule down to nothing after the last.

    The formulas are those of transformers' schedulers of the same names; a constant one and an inverse square root never
    reach nothing.

    >>> recipe = Recipe(learning_rate=1.0, warmup_ratio=0.5, schedule="linear")
    >>> [learning_rate_at(recipe, step, 4) for step in (1, 2, 3, 4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup = min(recipe.warmup_steps, total) or round(recipe.warmup_ratio * total)
    if step <= warmup:
        return recipe.learning_rate * step / warmup
    return recipe.learning_rate * _height(recipe, step - 1 - warmup, total - warmup, warmup)


def _height(recipe: Recipe, done: int, of: int, warmup: int) -> float:
    """How much of the full rate is left when `done` of the `of` steps after the warm-up are done."""
    share = done / max(1, of)
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * share))
    if recipe.schedule == "cosine_with_restarts":
        return 0.5 * (1 + math.cos(math.pi * (recipe.schedule_cycles * share % 1.0)))
    if recipe.schedule == "linear":
        return 1 - share
    if recipe.schedule == "polynomial":
        return float((1 - share) ** recipe.schedule_power)
    if recipe.schedule == "inverse_sqrt":
        scale = warmup or LONG
        return math.sqrt(scale / (done + scale))
    return 1.0
