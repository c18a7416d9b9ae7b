from __future__ import annotations

import pytest

from factory.base.errors import Invalid
from factory.training import recipes
from factory.training.recipes import PRESETS, Recipe


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_survives_yaml(name: str) -> None:
    assert recipes.problems(PRESETS[name]) == []
    assert recipes.from_yaml(recipes.to_yaml(PRESETS[name])) == PRESETS[name]


def test_a_recipe_file_tells_all_that_is_wrong_at_once() -> None:
    text = "rank: 7\nlearning_rate: 3\nfoo: 1\nepochs: [1]\nseed: true\nschedule: stairs\nbase_model: ''\ndropout: .nan\n"
    with pytest.raises(Invalid) as refused:
        recipes.from_yaml(text)
    told = refused.value.problems
    assert len(told) == 8
    for word in ("foo", "rank", "learning_rate", "epochs", "seed", "schedule", "base_model", "dropout"):
        assert sum(word in problem for problem in told) == 1, word


def test_a_number_that_yaml_reads_as_text_is_still_a_number() -> None:
    assert recipes.from_yaml("learning_rate: 2e-4\nrank: 8.0\nepochs: 1").learning_rate == 2e-4


NO_RECIPES = ["- 1", "a: [", "[" * 5000, "x", "rank: 8\n\trank: 9", "!!python/object:os.system {}", "a" * 70_000]


@pytest.mark.parametrize("text", NO_RECIPES)
def test_what_is_no_recipe_is_refused_in_words(text: str) -> None:
    with pytest.raises(Invalid):
        recipes.from_yaml(text)


def test_yaml_aliases_that_stand_for_gigabytes_are_refused_at_once() -> None:
    layers = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))
    with pytest.raises(Invalid) as refused:
        recipes.from_yaml("a0: &a0 [x, x]\n" + layers + "\nrank: *a8")
    assert len(str(refused.value)) < 2000


def test_an_empty_recipe_is_the_default_one() -> None:
    assert recipes.from_yaml("") == Recipe()


def test_alpha_follows_the_rank_while_they_are_linked() -> None:
    assert Recipe(rank=64).alpha == 128
    assert Recipe(rank=64, alpha_linked=False, alpha=16).alpha == 16
    with pytest.raises(Invalid, match="alpha"):
        recipes.from_yaml("rank: 64\nalpha: 16")


def test_every_knob_explains_itself_and_its_default_is_within_its_range() -> None:
    for knob in recipes.knobs():
        assert knob.help.endswith("."), knob.name
        assert knob.group in ("simple", "advanced", "everything")
        if knob.scale in ("linear", "log"):
            assert knob.low is not None
            assert knob.high is not None
            assert knob.low <= knob.default <= knob.high
            assert {type(knob.low), type(knob.high)} == {type(knob.default)}, knob.name
        if knob.scale == "log":
            steps = knob.steps(knob.default)
            assert steps == sorted(set(steps))
            assert {knob.low, knob.high, knob.default} <= set(steps)


def test_the_rate_climbs_then_falls_to_nearly_nothing() -> None:
    rates = recipes.planned_rates(Recipe(learning_rate=1e-3, warmup_ratio=0.1), 100)
    assert len(rates) == 100
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == pytest.approx(1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 2e-6


def test_steps_follow_epochs_batch_and_limit() -> None:
    assert recipes.steps_total(Recipe(epochs=2, effective_batch=16), 100) == 14
    assert recipes.steps_total(Recipe(epochs=2, effective_batch=16, max_steps=5), 100) == 5
    assert recipes.steps_total(Recipe(epochs=0), 100) == 0
    assert recipes.steps_total(Recipe(), 0) == 0


def test_what_is_unwise_is_said_with_the_number_of_rows() -> None:
    assert recipes.warnings(Recipe(), 3000) == []
    told = " ".join(recipes.warnings(Recipe(rank=64, effective_batch=64, learning_rate=1e-3, epochs=8), 40))
    assert "40 rows" in told
    assert "learning rate" in told
    assert "64 rows a step" in told


def test_equal_recipes_have_equal_hashes_and_others_say_what_differs() -> None:
    assert recipes.recipe_hash(Recipe()) == recipes.recipe_hash(recipes.from_yaml(""))
    assert recipes.recipe_hash(Recipe(seed=1)) != recipes.recipe_hash(Recipe())
    assert recipes.differences(Recipe(rank=8), Recipe()) == {"rank": (16, 8), "alpha": (32, 16)}
