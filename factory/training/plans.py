"""What a search is to do: which settings between which values, how, and within what budget."""

from __future__ import annotations

from dataclasses import dataclass

from factory.base.errors import Invalid
from factory.training import proposals, recipes, spaces
from factory.training.recipes import Recipe
from factory.training.spaces import Range


@dataclass(frozen=True)
class Plan:
    """What a search does: ranges by setting, in their written form, and its budget. 0 is no limit."""

    over: dict[str, str]
    method: str = "tpe"
    pruner: str = "median"
    trials: int = 12
    minutes: float = 0.0
    steps: int = 0  # of the starting recipe, for each trial; 0 is the recipe's own length
    measurings: int = 4
    seed: int = 42
    whole_line: bool = False  # keep, measure, attribute and pay every trial like any other run

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The ranges as `spaces.read` gives them."""
        return spaces.read(self.over)


def problems(plan: Plan, recipe: Recipe) -> list[str]:
    """Everything that is wrong with a plan for a recipe, one sentence each."""
    found = recipes.problems(recipe)
    try:
        if plan.method == "grid":
            spaces.grid(plan.ranges, seed=plan.seed)
        else:
            spaces.read(plan.over)
    except Invalid as problem:
        found += problem.problems
    if plan.method not in proposals.METHODS:
        found.append(f"There is no method {plan.method!r}; choose one of {', '.join(proposals.METHODS)}.")
    if plan.pruner not in proposals.PRUNERS:
        found.append(f"There is no pruner {plan.pruner!r}; choose one of {', '.join(proposals.PRUNERS)}.")
    if not 1 <= plan.trials <= 500:
        found.append(f"{plan.trials} trials cannot be run; choose from 1 to 500.")
    if not 0 <= plan.minutes <= 100_000 or not 0 <= plan.steps <= 100_000 or not 1 <= plan.measurings <= 50:
        found.append("Choose 0 to 100,000 minutes and steps, and 1 to 50 measurings.")
    if not recipe.epochs and not recipe.max_steps:
        found.append("The starting recipe trains nothing; raise its epochs.")
    return found
