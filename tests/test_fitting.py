from __future__ import annotations

import dataclasses

import pytest

from factory.training import estimate, fitting
from factory.training.recipes import Recipe
from tests.test_estimate import MACHINE, MODEL, ROWS


def memory(recipe: Recipe) -> int:
    return estimate.estimate(recipe, model=MODEL, rows_tokens=[*ROWS, 900], machine=MACHINE).memory_bytes


RECIPE = Recipe(micro_batch_tokens=4096, rank=64)


def change(available: int, recipe: Recipe = RECIPE) -> fitting.Change | None:
    return fitting.smallest_change(recipe, memory, available=available)


def roomy(recipe: Recipe) -> int:
    """Memory in which a recipe is just not tight."""
    return int(memory(recipe) / estimate.TIGHT_SHARE) + 2


def test_fewer_tokens_at_once_come_first_and_no_fewer_than_needed() -> None:
    found = change(roomy(dataclasses.replace(RECIPE, micro_batch_tokens=2048)))
    assert found is not None
    assert found.sets == {"micro_batch_tokens": 2048}
    assert found.memory_bytes == memory(found.recipe)


def test_one_setting_is_changed_before_two_and_the_result_is_kept_where_it_can_be() -> None:
    alone = dataclasses.replace(RECIPE, gradient_checkpointing=True)
    least = dataclasses.replace(RECIPE, micro_batch_tokens=128)
    assert memory(alone) < memory(least), "else this test shows nothing"
    found = change(roomy(alone))
    assert found is not None
    assert found.sets == {"gradient_checkpointing": True}
    both = change(memory(alone) - 100_000_000)
    assert both is not None
    assert len(both.sets) == 2
    assert "micro_batch_tokens" in both.sets


def test_nothing_is_offered_where_nothing_helps_and_no_change_that_is_no_recipe() -> None:
    assert change(100_000_000) is None
    everything = Recipe(method="qlora", rank=4, micro_batch_tokens=128, gradient_checkpointing=True, max_length=128)
    assert change(memory(everything) // 2, everything) is None


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5, 0.4, 0.3])
def test_no_smaller_change_would_do(share: float) -> None:
    available = int(share * memory(RECIPE))
    found = change(available)
    if found is None:
        return
    limit = int(estimate.TIGHT_SHARE * available)
    assert found.memory_bytes <= available
    for name in found.sets:  # taking any one of them back makes it too large again
        back = dataclasses.replace(found.recipe, **{name: getattr(RECIPE, name)})
        assert memory(back) > limit, name


def test_the_sentence_says_what_is_missing_and_what_to_do() -> None:
    guess = estimate.estimate(RECIPE, model=MODEL, rows_tokens=ROWS, machine={**MACHINE, "memory_available_bytes": 2**31})
    words = fitting.sentence(
        guess, fitting.Change(RECIPE, {"micro_batch_tokens": 256, "gradient_checkpointing": True}, 2**30)
    )
    assert "2.0 GiB are free" in words
    assert "it fits with micro_batch_tokens 256 and gradient_checkpointing on, at about 1.0 GiB" in words
    assert "smaller base model" in fitting.sentence(guess, None)
