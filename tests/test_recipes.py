from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from factory.base.errors import Invalid
from factory.training import possible, recipes
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
    rates = [rate for _, rate in recipes.planned_rates(Recipe(learning_rate=1e-3, warmup_ratio=0.1), 100)]
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


@pytest.mark.parametrize("schedule", ["cosine", "linear", "cosine_with_restarts", "polynomial", "inverse_sqrt", "constant"])
@pytest.mark.parametrize("warmup", [0, 10])
def test_every_schedule_falls_as_the_one_of_the_same_name_in_transformers(schedule: str, warmup: int) -> None:
    import torch
    from transformers import optimization

    make = {
        "cosine": optimization.get_cosine_schedule_with_warmup,
        "linear": optimization.get_linear_schedule_with_warmup,
        "cosine_with_restarts": optimization.get_cosine_with_hard_restarts_schedule_with_warmup,
        "polynomial": optimization.get_polynomial_decay_schedule_with_warmup,
        "inverse_sqrt": optimization.get_inverse_sqrt_schedule,
        "constant": optimization.get_constant_schedule_with_warmup,
    }[schedule]
    more = {"cosine_with_restarts": {"num_cycles": 3}, "polynomial": {"power": 2.0, "lr_end": 0.0}}.get(schedule, {})
    if schedule not in ("inverse_sqrt", "constant"):
        more["num_training_steps"] = 50
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer, num_warmup_steps=warmup, **more)
    theirs = []
    for _ in range(50):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    recipe = Recipe(
        learning_rate=1e-3, schedule=schedule, schedule_cycles=3, schedule_power=2.0, warmup_ratio=0.0, warmup_steps=warmup
    )
    ours = [rate * 1e3 for _, rate in recipes.planned_rates(recipe, 50)]
    assert ours[warmup:] == pytest.approx(theirs[warmup:], abs=1e-6)
    assert ours[:warmup] == pytest.approx([(step + 1) / warmup for step in range(warmup)])  # ours is never nothing


CPU = {"gpu": None, "dtype": "float32"}
IMPOSSIBLE = [
    ({"method": "qlora", "initialization": "pissa"}, None, "PiSSA"),
    ({"initialization": "loftq"}, None, "QLoRA"),
    ({"method": "qlora", "quantization_bits": 8, "initialization": "loftq"}, None, "4 bits"),
    ({"dora": True, "initialization": "pissa"}, None, "DoRA"),
    ({"method": "qlora", "dora": True, "quantization_bits": 8}, None, "8-bit"),
    ({"mask_history": True, "completions_only": False}, None, "last answer"),
    ({"targets": "chosen", "target_modules": " , "}, None, "target_modules"),
    ({"layers": "9-4"}, None, "backwards"),
    ({"layers": "some"}, None, "first 8"),
    ({"optimizer": "paged_adamw_8bit"}, CPU, "NVIDIA"),
    ({"precision": "fp16"}, CPU, "float16"),
    ({"precision": "bf16"}, CPU, "50 times slower"),
]


@pytest.mark.parametrize(("changes", "machine", "word"), IMPOSSIBLE)
def test_what_cannot_go_together_is_refused_with_the_reason(changes: dict[str, Any], machine: Any, word: str) -> None:
    (told,) = recipes.problems(Recipe(**changes), machine=machine)
    assert word in told
    if machine is None:
        with pytest.raises(Invalid, match=word):
            recipes.from_dict(changes)
    *_, (field, value) = changes.items()
    others = {name: value for name, value in changes.items() if name != field}
    assert word in (possible.blocked(Recipe(**others), field, value, machine=machine) or "")
    assert possible.impossible(Recipe(), machine=CPU) == {}


def test_a_gpu_or_a_processor_with_bfloat16_makes_more_possible() -> None:
    assert recipes.problems(Recipe(precision="bf16"), machine={"gpu": None, "dtype": "bfloat16"}) == []
    card = {"gpu": "a card", "dtype": "bfloat16"}
    assert recipes.problems(Recipe(precision="fp16", optimizer="paged_adamw_8bit"), machine=card) == []


def test_a_setting_without_effect_is_said_and_can_be_taken_back() -> None:
    told = recipes.advices(Recipe(quantization_type="fp4", schedule_power=3.0), 3000)
    assert [advice.mend for advice in told] == [{"quantization_type": "nf4"}, {"schedule_power": 2.0}]
    assert all("no effect" in advice.words for advice in told)
    assert recipes.warnings(Recipe(validation_share=0.1), 3000) == []
    assert "sealed" in recipes.warnings(Recipe(validation_share=0.1), 3000, held_out=True)[0]


def test_every_mending_mends() -> None:
    poor = Recipe(
        rank=64, alpha_linked=False, alpha=512, learning_rate=8e-3, effective_batch=64, epochs=8, completions_only=False,
        evaluations=1, max_samples=500, lora_plus_ratio=16.0, precision="fp16", rslora=True,
    )  # fmt: skip
    told = recipes.advices(poor, 40)
    assert len(told) >= 9
    for advice in told:
        if advice.mend:
            mended = dataclasses.replace(poor, **advice.mend)
            assert advice.words not in recipes.warnings(mended, 40)
            assert recipes.problems(mended) == []


def test_a_list_of_modules_may_be_written_as_a_list() -> None:
    assert recipes.from_yaml("targets: chosen\ntarget_modules: [q_proj, v_proj]").target_modules == "q_proj, v_proj"


def test_what_is_written_is_only_what_differs_and_reads_back_equal() -> None:
    recipe = Recipe(rank=8, learning_rate=1e-5, system_prompt="Be kind.\n\n  And brief: # always.", sample_prompts="3")
    text = recipes.to_yaml(recipe, datasets=["questions@1"])
    said = [line.partition(":")[0] for line in text.splitlines() if line[:1].isalpha()]
    assert said == ["dataset", "learning_rate", "base_model", "rank", "system_prompt"]
    assert "# How much an adapter can hold" in text
    assert recipes.from_yaml(text) == recipe
    assert recipes.datasets_in(text) == ("questions@1",)
    whole = recipes.to_yaml(recipe, every=True)
    assert recipes.from_yaml(whole) == recipe
    assert all(f"\n{knob.name}:" in whole for knob in recipes.knobs() if knob.name != "alpha")  # which follows the rank


def test_an_error_names_its_line_and_what_was_meant() -> None:
    with pytest.raises(Invalid) as refused:
        recipes.from_yaml("# mine\nrank: 7\nlearning_rat: 1e-4\nzzz: 1\n")
    assert refused.value.problems == [
        "There is no setting learning_rat in line 3; did you mean learning_rate?",
        "There is no setting zzz in line 4; `python -m factory train --help` lists those there are.",
        "Line 2: rank is 7; choose one of 4, 8, 16, 32, 64, 128, 256.",
    ]
    with pytest.raises(Invalid, match="line 1 and again in line 2"):
        recipes.from_yaml("rank: 8\nRank: 16")


def test_people_may_write_names_and_numbers_as_they_are_used_to() -> None:
    read = recipes.from_yaml("Learning rate: 2e-4\nmax-steps: 1e2\nwarmup_ratio: 5%\nsample_prompts: 3\nepochs: '3'")
    assert read == Recipe(learning_rate=2e-4, max_steps=100, warmup_ratio=0.05, sample_prompts="3", epochs=3.0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("dataset: a@1", ("a@1",)),
        ("dataset: [a@1, 'b@2:0.5']", ("a@1", "b@2:0.5")),
        ("dataset:\n  - a\n  - {dataset: b@2, weight: 2}", ("a", "b@2:2")),
        ("dataset:\n  a@1: 1\n  b@2: 0.5", ("a@1", "b@2:0.5")),
        ("rank: 8", ()),
    ],
)
def test_a_recipe_file_may_name_its_data(text: str, named: tuple[str, ...]) -> None:
    assert recipes.datasets_in(text) == named
    assert recipes.from_yaml(text).method == "lora"


@pytest.mark.parametrize("text", ["dataset: []", "dataset: 3", "dataset: [{weight: 2}]", "dataset: {a@1: many}"])
def test_data_that_cannot_be_read_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(Invalid, match=r"[Ll]ine 2"):
        recipes.from_yaml("rank: 8\n" + text)
