from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from factory.base.settings import Settings
from factory.training import estimate
from factory.training.estimate import Estimate, Observation
from factory.training.machine import TRIES
from factory.training.recipes import Recipe

MODEL = {
    "parameters": 134_515_008, "layers": 30, "hidden_size": 576, "intermediate": 1536, "heads": 9, "kv_heads": 3,
    "head_dim": 64, "vocabulary": 49152, "tied": True,
}  # fmt: skip
MACHINE = {
    "cores": 2, "memory_bytes": 24 * 2**30, "memory_available_bytes": 20 * 2**30, "gpu": None, "gpu_bytes": 0,
    "flops": 180e9, "dtype": "float32",
}  # fmt: skip
ROWS = [200] * 320


def guess(recipe: Recipe | None = None, *, machine: dict[str, Any] | None = None, **more: Any) -> Estimate:
    asked = {"model": MODEL, "rows_tokens": ROWS, "held_out_tokens": 5000, "machine": {**MACHINE, **(machine or {})}, **more}
    return estimate.estimate(recipe or Recipe(), **asked)


def test_an_adapter_has_as_many_numbers_as_peft_counts() -> None:
    assert estimate.adapter_parameters(Recipe(rank=16), MODEL) == 4_884_480
    assert estimate.adapter_parameters(Recipe(rank=16, targets="attention"), MODEL) == 1_843_200


def test_more_work_takes_longer_and_a_faster_machine_less() -> None:
    base = guess().seconds
    assert guess(Recipe(epochs=4)).seconds > 1.7 * base - 20
    assert guess(Recipe(rank=64)).seconds > base
    assert guess(Recipe(gradient_checkpointing=True)).seconds > 1.15 * base - 20
    assert guess(machine={"flops": 720e9}).seconds < 0.4 * base
    assert guess(Recipe(max_steps=4)).seconds < 0.3 * base


def test_what_saves_memory_saves_it_on_the_card_too() -> None:
    base = guess().memory_bytes
    assert guess(Recipe(method="qlora")).memory_bytes < base - 200e6
    assert guess(Recipe(micro_batch_tokens=256)).memory_bytes < base - 500e6
    assert guess(Recipe(gradient_checkpointing=True)).memory_bytes < base - 500e6
    assert guess(machine={"dtype": "bfloat16"}).memory_bytes < base - 200e6
    assert guess(Recipe(rank=128)).memory_bytes > base + 200e6


def test_what_does_not_fit_is_said() -> None:
    assert guess().fits == "fits"
    need = guess().memory_bytes
    assert guess(machine={"memory_available_bytes": int(need * 1.05)}).fits == "tight"
    assert guess(machine={"memory_available_bytes": need // 2}).fits == "no"


@pytest.mark.parametrize(
    ("name", "values", "of"),
    [
        ("rank", (4, 8, 16, 32, 64, 128, 256), ("memory_bytes", "seconds", "disk_bytes")),
        ("micro_batch_tokens", (128, 256, 512, 1024, 2048), ("memory_bytes",)),
        ("max_length", (64, 128, 256, 512, 1024), ("memory_bytes", "seconds", "tokens_per_epoch")),
        ("epochs", (1.0, 2.0, 4.0), ("seconds", "steps")),
        ("evaluations", (0, 4, 8, 40), ("seconds",)),
        ("method", ("qlora", "lora"), ("memory_bytes",)),
        ("gradient_checkpointing", (True, False), ("memory_bytes",)),
        ("gradient_checkpointing", (False, True), ("seconds",)),
        ("targets", ("attention", "mlp", "all-linear"), ("memory_bytes", "seconds", "disk_bytes")),
    ],
)
def test_turning_a_knob_up_never_lowers_what_it_costs(name: str, values: tuple[Any, ...], of: tuple[str, ...]) -> None:
    guesses = [guess(Recipe(**{name: value}), rows_tokens=[40, 300, 900] * 40) for value in values]
    for quantity in of:
        costs = [getattr(each, quantity) for each in guesses]
        assert costs == sorted(costs), (name, quantity, costs)
        assert costs[-1] > costs[0], (name, quantity)


def test_the_parts_of_memory_add_up_to_it() -> None:
    found = guess()
    assert sum(found.memory_parts.values()) == found.memory_bytes
    assert set(found.memory_parts) == {"libraries", "weights", "adapter", "activations", "logits"}
    assert found.disk_bytes == found.disk_parts["checkpoints"]


def test_what_was_measured_corrects_memory_and_time_and_the_card_says_so() -> None:
    bare = guess()
    assert "guess" in bare.sure
    seen = Observation(words="a preflight", memory=0.5, training=2.0, measuring=2.0, start_seconds=5, libraries_bytes=10**9)
    corrected = guess(seen=seen)
    assert corrected.sure.startswith("Scaled from a preflight")
    assert corrected.memory_parts["activations"] == pytest.approx(bare.memory_parts["activations"] / 2, rel=1e-6)
    assert corrected.memory_parts["libraries"] == 10**9
    assert corrected.tokens_per_second == pytest.approx(bare.tokens_per_second / 2)
    assert corrected.arithmetic_seconds == bare.arithmetic_seconds
    assert corrected.arithmetic_parts == bare.memory_parts
    exact = guess(seen=dataclasses.replace(seen, exact=True, longest_pack=100))
    assert exact.sure.startswith("Measured by a preflight")
    assert exact.longest_pack == 100
    assert exact.seconds_high / exact.seconds < corrected.seconds_high / corrected.seconds < 2
    assert corrected.seconds_low < corrected.seconds < corrected.seconds_high


def test_rows_that_will_be_cut_are_counted() -> None:
    assert "2 of 3 rows" in guess(rows_tokens=[100, 3000, 2000]).notes[0]
    assert guess(rows_tokens=[100, 3000, 2000]).tokens_per_epoch == 100 + 2 * 1024


def test_nothing_to_train_takes_next_to_nothing() -> None:
    assert guess(Recipe(epochs=0)).steps == 0
    assert guess(rows_tokens=[]).seconds < 120


def test_the_machine_is_not_measured_at_every_look(settings: Settings) -> None:
    first = estimate.machine(settings)
    assert first["flops"] > 1e9
    assert first["memory_available_bytes"] > 2**20
    kept = settings.home / "machine.json"
    written = kept.read_bytes()
    assert estimate.machine(settings)["flops"] == first["flops"]
    assert kept.read_bytes() == written, "it would say that it was tried once more"
    kept.write_text("[]")
    assert estimate.machine(settings)["cores"] == first["cores"]


def test_a_speed_that_was_measured_under_load_is_corrected_and_a_good_one_stays(settings: Settings) -> None:
    estimate.machine(settings)
    kept = settings.home / "machine.json"

    def told(flops: float, tries: int) -> float:
        kept.write_text(json.dumps(json.loads(kept.read_text()) | {"flops": flops, "tries": tries, "measured_at": 0.0}))
        return float(estimate.machine(settings)["flops"])

    assert told(1.0, 1) > 1e9
    assert json.loads(kept.read_text())["tries"] == 2
    assert told(1e18, 2) == 1e18
    assert told(1.0, TRIES) == 1.0, "it is not measured for ever"
