from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from factory.training import reading
from factory.training.reading import Facts, Points
from factory.training.recipes import Recipe

RECIPE = Recipe(epochs=4.0)


def facts(steps: int = 100, *, done: int | None = None, status: str = "done", recipe: Recipe = RECIPE) -> Facts:
    return Facts(recipe, status, steps, steps if done is None else done, steps / 4)


def falling(steps: int = 100, *, start: float = 2.5, end: float = 1.5, scatter: float = 0.05, seed: int = 0) -> Points:
    """An ordinary training curve: fast at first, then slowly, with the scatter of small batches."""
    draw = random.Random(seed)
    fall = [end + (start - end) * math.exp(-4 * step / steps) for step in range(1, steps + 1)]
    return [(step, value * (1 + draw.gauss(0, scatter))) for step, value in enumerate(fall, 1)]


def measured(*values: float, every: int = 10) -> Points:
    return [(place * every, value) for place, value in enumerate(values)]


def codes(loss: Points, held_out: Points = (), **about: Any) -> list[str]:
    return [found.code for found in reading.read({"loss": loss, "held_out_loss": held_out}, facts(**about))]


LEARNT = measured(2.6, 2.2, 2.0, 1.9, 1.85, 1.82, 1.81, 1.80, 1.796, 1.794, 1.793)
BY_HEART = measured(2.6, 2.2, 2.0, 1.9, 1.95, 2.05, 2.2, 2.3, 2.4, 2.5, 2.6)
STILL = measured(2.6, 2.2, 2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 1.2)
STANDS = measured(2.6, 2.0, 1.9, 1.85, 1.801, 1.8, 1.802, 1.8, 1.801, 1.8, 1.801)
WIDE = [(step, value * (0.4 if step % 2 else 1.6)) for step, value in falling(scatter=0.2)]
LEVEL = [(step, 2.5 + 0.02 * (step % 3)) for step in range(1, 101)]
RISING = [(step, 2.0 + step / 50) for step in range(1, 101)]


def jumped(loss: Points, step: int, value: float) -> Points:
    return [(at, value if at == step else old) for at, old in loss]


@pytest.mark.parametrize(
    ("loss", "held_out", "about", "expected"),
    [
        (falling(), LEARNT, {}, {"gain"}),
        (falling(), BY_HEART, {}, {"overfitting", "gain"}),
        (falling(), STILL, {}, {"still_learning", "gain"}),
        (falling(), STILL, {"status": "running", "steps": 200, "done": 100}, {"gain"}),
        (falling(), STANDS, {}, {"flat", "gain"}),
        (jumped(falling(), 60, 5.0), LEARNT, {}, {"spike", "gain"}),
        (WIDE, LEARNT, {"recipe": Recipe(effective_batch=2)}, {"noisy", "gain"}),
        (LEVEL, measured(2.6, 2.6, 2.599, 2.6), {}, {"not_falling", "no_gain"}),
        (RISING, measured(2.0, 2.4, 3.0, 4.0), {}, {"diverging", "no_gain"}),
        (falling(6), measured(2.6, 2.5, every=3), {"steps": 6}, {"few_steps", "gain"}),
        (falling(60), BY_HEART[:7], {"steps": 100, "done": 60}, {"overfitting", "early_stop", "gain"}),
        (falling(), (), {}, set()),
        ((), (), {}, set()),
        ((), measured(2.6), {"status": "running", "done": 0}, set()),
    ],
)
def test_each_sentence_is_said_of_the_curve_it_is_about_and_of_no_other(
    loss: Points, held_out: Points, about: dict[str, Any], expected: set[str]
) -> None:
    assert set(codes(loss, held_out, **about)) == expected


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("scatter", [0.0, 0.05, 0.12])
def test_ordinary_scatter_is_called_neither_a_spike_nor_a_fault(seed: int, scatter: float) -> None:
    draw = random.Random(seed)
    held_out = [(step, value * (1 + draw.gauss(0, 0.001))) for step, value in LEARNT]
    found = reading.read({"loss": falling(300, scatter=scatter, seed=seed), "held_out_loss": held_out}, facts(300))
    assert [each.code for each in found if each.tone == "warn"] == []


def test_what_matters_most_comes_first_and_brings_its_numbers() -> None:
    found = reading.read({"loss": jumped(falling(), 60, 5.0), "held_out_loss": BY_HEART}, facts())
    assert [each.tone for each in found] == ["warn", "warn", "good"]
    by_code = {each.code: each for each in found}
    assert "step 30" in by_code["overfitting"].sentence
    assert "the best one is what will be kept" in by_code["overfitting"].sentence
    assert "At step 60 5.00" in by_code["spike"].evidence
    assert by_code["spike"].changes == {"learning_rate": 1e-4}
    assert by_code["gain"].sentence == "The held-out loss fell by 27%."
    assert "2.600" in by_code["gain"].evidence


def test_what_to_try_is_a_recipe_that_can_be_trained() -> None:
    from dataclasses import replace

    from factory.training import recipes

    for loss, held_out in (
        (falling(), BY_HEART),
        (falling(), STILL),
        (falling(), STANDS),
        (LEVEL, ()),
        (RISING, ()),
        (WIDE, ()),
    ):
        for recipe in (RECIPE, Recipe(max_steps=100, keep_best=False, effective_batch=1, dropout=0.2)):
            for each in reading.read({"loss": loss, "held_out_loss": held_out}, facts(recipe=recipe)):
                assert recipes.problems(replace(recipe, **each.changes)) == []
                assert all(getattr(recipe, name) != value for name, value in each.changes.items()), each
                assert each.evidence


def test_a_curve_that_was_thinned_is_not_called_noisy() -> None:
    wide = [(step, 1.0 + step % 2) for step in range(reading.MOST_POINTS)]
    assert "noisy" not in codes(wide, recipe=Recipe(effective_batch=2))


RECORDED = json.loads((Path(__file__).parent / "recorded_curves.json").read_text())


@pytest.mark.parametrize("name", list(RECORDED))
def test_of_recorded_runs_it_says_what_a_person_would(name: str) -> None:
    found = RECORDED[name]
    about = Facts(
        Recipe(**found["recipe"]), found["status"], found["steps_total"], found["steps_done"], found["steps_per_epoch"]
    )
    said = reading.read({"loss": found["loss"], "held_out_loss": found["held_out_loss"]}, about)
    assert {each.code for each in said} == set(found["says"])
