"""Electricity of a training: counted where something counts, estimated and said so where nothing does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlite_utils import Database

from factory.base import store
from factory.base.settings import Settings
from factory.training import energy, recipes, runs, worker
from tests import trained


def package(folder: Path, number: str, name: str, microjoules: int, *, whole: int = 10_000_000) -> Path:
    """A counter as Linux shows it under /sys/class/powercap."""
    place = folder / f"intel-rapl:{number}"
    place.mkdir(parents=True)
    for file, text in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", whole)):
        (place / file).write_text(f"{text}\n")
    return place / "energy_uj"


def test_every_package_and_its_memory_count_and_a_counter_that_starts_again_loses_nothing(tmp_path: Path) -> None:
    first, second = package(tmp_path, "0", "package-0", 9_000_000), package(tmp_path, "1", "package-1", 1_000_000)
    memory, core = package(tmp_path, "0:0", "dram", 0), package(tmp_path, "0:1", "core", 0)
    found = energy.source(watts_per_core=10, powercap=tmp_path)
    assert found.words == "the processor's own counter"
    look = energy.meter(found)
    for counter, value in ((first, 500_000), (second, 3_000_000), (memory, 250_000), (core, 9_000_000)):
        counter.write_text(str(value))
    assert look().joules == pytest.approx(1.5 + 2 + 0.25)  # the core lies inside its package
    assert look().joules == 0


def test_without_a_counter_it_is_processor_time_at_a_wattage_that_is_said(tmp_path: Path) -> None:
    found = energy.source(watts_per_core=25, powercap=tmp_path / "none")
    assert found.words == "CPU seconds at an assumed 25 W a busy core"
    look = energy.meter(found)
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    spent = look()
    assert spent.cpu_seconds > 0.05
    assert spent.joules == pytest.approx(25 * spent.cpu_seconds)


def test_a_counter_that_may_not_be_read_is_no_counter(tmp_path: Path) -> None:
    package(tmp_path, "0", "package-0", 1).unlink()  # as for an account that has no right to it
    assert energy.source(watts_per_core=10, powercap=tmp_path).counters == ()


def test_a_gpu_that_does_not_count_is_said_to_be_missing(tmp_path: Path) -> None:
    words = energy.source(watts_per_core=10, gpu_uuid="GPU-00000000", powercap=tmp_path).words
    assert words == "CPU seconds at an assumed 10 W a busy core, without the GPU, which does not count"


def test_a_run_that_was_paused_adds_up_what_both_its_processes_took(
    db: Database, settings: Settings, tiny_model: Path
) -> None:
    import torch

    torch.set_num_threads(1)
    builder, _, version = trained.frozen_version(db)
    recipe = recipes.Recipe(
        base_model=trained.home_model(settings, tiny_model), rank=4, effective_batch=1, epochs=2, evaluations=0
    )
    run_id = runs.create(db, person=builder, version_id=version["id"], recipe=recipe, settings=settings)
    claimed = runs.claim(db, run_id=run_id)
    assert claimed is not None
    runs.ask(db, run_id, "pause", person=builder)
    assert worker.train(db, settings, claimed) == "paused"
    runs.end(db, run_id, claimed["token"], "paused")
    before = energy.spent(db, run_id)
    assert before["cpu_seconds"] > 0
    runs.resume(db, run_id, person=builder)
    assert worker.train_run(db, settings, run_id) == "done"
    measured = runs.get(db, run_id)["measured"]
    counted = store.rows(db, "select step from metrics where run_id = ? and name = 'energy_joules' order by step", run_id)
    assert [row["step"] for row in counted] == list(range(7))  # the untouched base, then three rows twice
    assert measured["tokens"] == 2 * sum(row["value"] for row in tokens_of_first_epoch(db, run_id))
    assert measured["training_seconds"] >= before["training_seconds"] > 0
    assert measured["cpu_seconds"] > before["cpu_seconds"]
    assert measured["energy_joules"] > before["energy_joules"]
    assert measured["energy_from"] == energy.source(watts_per_core=settings.cpu_watts).words


def tokens_of_first_epoch(db: Database, run_id: int) -> list[dict[str, float]]:
    """How far the count had come after the first three of six steps."""
    return store.rows(db, "select value from metrics where run_id = ? and name = 'tokens_seen' and step = 3", run_id)
