from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from factory.base.settings import Settings
from factory.training import estimate
from factory.training.estimate import Estimate
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


def test_what_does_not_fit_is_said_with_ways_out() -> None:
    assert guess().fits == "fits"
    need = guess().memory_bytes
    assert guess(machine={"memory_available_bytes": int(need * 1.05)}).fits == "tight"
    small = guess(machine={"memory_available_bytes": need // 2})
    assert small.fits == "no"
    assert "QLoRA" in small.notes[0]
    last_resort = Recipe(method="qlora", micro_batch_tokens=256, gradient_checkpointing=True)
    assert "smaller model" in guess(last_resort, machine={"memory_available_bytes": 10**8}).notes[0]


def test_earlier_runs_correct_the_time_and_the_card_says_so() -> None:
    bare = guess()
    assert "guess" in bare.sure
    twice = {"arithmetic_seconds": 115.0, "seconds": 215.0}
    corrected = guess(history=[twice, twice, twice])
    assert "3 earlier runs" in corrected.sure
    assert corrected.seconds - estimate.START_SECONDS == pytest.approx(2 * (bare.seconds - estimate.START_SECONDS))
    assert corrected.arithmetic_seconds == bare.arithmetic_seconds
    assert corrected.seconds_high / corrected.seconds < bare.seconds_high / bare.seconds
    assert corrected.seconds_low < corrected.seconds < corrected.seconds_high


def test_rows_that_will_be_cut_are_counted() -> None:
    assert "2 of 3 rows" in guess(rows_tokens=[100, 3000, 2000]).notes[0]
    assert guess(rows_tokens=[100, 3000, 2000]).tokens_per_epoch == 100 + 2 * 1024


def test_nothing_to_train_takes_next_to_nothing() -> None:
    assert guess(Recipe(epochs=0)).steps == 0
    assert guess(rows_tokens=[]).seconds < 120
    assert "NVIDIA" in guess(Recipe(optimizer="paged_adamw_8bit")).notes[0]


def test_an_estimate_is_made_while_a_slider_moves() -> None:
    rows = [200] * 20_000
    began = time.perf_counter()
    for rank in (8, 16, 32, 64):
        guess(dataclasses.replace(Recipe(), rank=rank), rows_tokens=rows)
    assert (time.perf_counter() - began) / 4 < 0.05


def test_the_machine_is_measured_once(settings: Settings) -> None:
    first = estimate.machine(settings)
    assert first["flops"] > 1e9
    assert first["memory_available_bytes"] > 2**20
    began = time.perf_counter()
    assert estimate.machine(settings)["flops"] == first["flops"]
    assert time.perf_counter() - began < 0.05
    (settings.home / "machine.json").write_text("[]")
    assert estimate.machine(settings)["cores"] == first["cores"]
