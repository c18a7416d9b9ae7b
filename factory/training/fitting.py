"""The smallest change that makes a recipe fit the memory there is, and the sentence that offers it.

Settings that leave the result as it is are tried first (fewer tokens at once, gradient checkpointing), then 4-bit
weights, then a smaller adapter, and last shorter rows; one setting before two, a small step before a large one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from factory.training import recipes
from factory.training.estimate import TIGHT_SHARE, Estimate
from factory.training.recipes import Recipe

# how much a person gives up with each setting, the least first
ORDER = ("micro_batch_tokens", "gradient_checkpointing", "method", "rank", "max_length")
SHORTEST_ROW = 128


@dataclass(frozen=True)
class Change:
    """A recipe that fits, what it sets (name → value) and the memory it then takes."""

    recipe: Recipe
    sets: dict[str, Any]
    memory_bytes: int

    @property
    def words(self) -> str:
        """What to set, as one would type it."""
        shown = {True: "on", False: "off"}
        return " and ".join(f"{name} {shown.get(value, value)}" for name, value in self.sets.items())


def ladders(recipe: Recipe) -> dict[str, list[Any]]:
    """The values to which each setting could be taken down, the nearest first.

    >>> ladders(Recipe(rank=16))["rank"], ladders(Recipe(method="qlora"))["method"]
    ([8, 4], [])
    """
    ranks = next(each.choices for each in recipes.knobs() if each.name == "rank")
    return {
        "micro_batch_tokens": _halves(recipe.micro_batch_tokens, 128),
        "gradient_checkpointing": [] if recipe.gradient_checkpointing else [True],
        "method": [] if recipe.method == "qlora" else ["qlora"],
        "rank": sorted((rank for rank in ranks if rank < recipe.rank), reverse=True),
        "max_length": _halves(recipe.max_length, SHORTEST_ROW),
    }


def _halves(value: int, lowest: int) -> list[int]:
    """
    >>> _halves(512, 128), _halves(700, 128)
    ([256, 128], [512, 256, 128])
    """
    powers = (2**power for power in range(16, 0, -1))
    return [power for power in powers if lowest <= power < value]


def smallest_change(recipe: Recipe, memory: Callable[[Recipe], int], *, available: int) -> Change | None:
    """The smallest change of a recipe after which `memory` of it is not even tight; None where there is none.

    Where nothing leaves room to spare, one that just fits. Looks at some two thousand recipes at most.
    """
    steps = ladders(recipe)
    ways = [[(name, place, value) for place, value in enumerate([None, *steps[name]])] for name in ORDER]

    def cost(way: tuple[tuple[str, int, Any], ...]) -> tuple[int, int, int]:
        moved = [(ORDER.index(name), place) for name, place, _ in way if place]
        return len(moved), sum(2**order for order, _ in moved), sum(place for _, place in moved)

    for limit in (int(TIGHT_SHARE * available), available):
        for way in sorted(itertools.product(*ways), key=cost):
            sets = {name: value for name, place, value in way if place}
            changed = replace(recipe, **sets)
            if sets and not recipes.problems(changed) and (taken := memory(changed)) <= limit:
                return Change(changed, sets, taken)
    return None


def sentence(guess: Estimate, change: Change | None) -> str:
    """Why a recipe that does not fit is not started, and what to do."""
    need, free = (f"{number / 2**30:.1f} GiB" for number in (guess.memory_bytes, guess.memory_available_bytes))
    if change is None:
        way = "no setting makes it fit: choose a smaller base model, or free some memory"
    else:
        way = f"it fits with {change.words}, at about {change.memory_bytes / 2**30:.1f} GiB"
    return f"This needs about {need} of memory and {free} are free; {way}."
