from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Conflict
from factory.base.settings import Settings
from factory.intake import datasets
from factory.training import beside, failures, loop, models, runs, samples, worker
from factory.training.recipes import Recipe
from tests import trained

TINY = Recipe(base_model="tiny", rank=4, epochs=3, effective_batch=1, evaluations=2, early_stopping_patience=0)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    return {"builder": builder, "version": version}


def queued(db: Database, settings: Settings, house: dict[str, Any], **changes: Any) -> int:
    recipe = dataclasses.replace(TINY, **changes)
    return runs.create(db, person=house["builder"], version_id=house["version"]["id"], settings=settings, recipe=recipe)


def steps_of(db: Database, run_id: int) -> list[tuple[int, int]]:
    return [(row["step"], row["position"]) for row in samples.listing(db, run_id)]


def test_a_run_answers_the_same_questions_at_every_measuring_and_none_of_the_sealed_ones(
    db: Database, settings: Settings, house: Any
) -> None:
    run_id = queued(db, settings, house, sample_prompts="2")
    assert worker.train_run(db, settings, run_id) == "done"
    rows = samples.listing(db, run_id)
    steps = sorted({row["step"] for row in rows})
    assert (steps[0], steps[-1]) == (0, 9), "always at the untouched base and at the end"
    assert set(steps) <= {0, 3, 6, 9}
    assert steps_of(db, run_id) == [(step, position) for step in steps for position in (0, 1)]
    asked = {row["prompt"] for row in rows}
    assert len(asked) == 2
    assert asked <= set(trained.ANSWERS)
    assert not asked & set(trained.HELD_OUT)
    assert all(row["seconds"] > 0 and row["held_out_loss"] is not None for row in rows)
    again = queued(db, settings, house, sample_prompts="2")
    assert samples.questions(db, runs.get(db, again)) == samples.questions(db, runs.get(db, run_id))


def test_a_builder_may_ask_own_questions_or_none(db: Database, settings: Settings, house: Any) -> None:
    own = queued(db, settings, house, sample_prompts="Who are <b>you</b>?\n\nWhat is 2 + 2?", max_steps=1)
    none = queued(db, settings, house, sample_prompts="0", max_steps=1)
    for run_id in (own, none):
        worker.train_run(db, settings, run_id)
    assert {row["prompt"] for row in samples.listing(db, own)} == {"Who are <b>you</b>?", "What is 2 + 2?"}
    assert samples.listing(db, none) == []


def test_asking_changes_nothing_in_what_is_learnt(db: Database, settings: Settings, house: Any) -> None:
    made = [queued(db, settings, house, sample_prompts=text, dropout=0.3) for text in ("3", "0")]
    for run_id in made:
        worker.train_run(db, settings, run_id)
    asked, silent = (runs.metrics(db, run_id, ["loss", "held_out_loss", "gradient_norm"]) for run_id in made)
    assert asked == silent


def test_a_run_that_was_paused_keeps_each_answer_once_and_counts_tokens_and_seconds_on(
    db: Database, settings: Settings, house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, run_id = queued(db, settings, house), queued(db, settings, house)
    worker.train_run(db, settings, whole)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "wish", lambda db, run_id: "pause" if runs.get(db, run_id)["steps_done"] >= 4 else None)
        assert worker.train_run(db, settings, run_id) == "paused"
    before = samples.listing(db, run_id)
    runs.resume(db, run_id, person=house["builder"])
    assert worker.train_run(db, settings, run_id) == "done"
    rows = samples.listing(db, run_id)
    assert rows[: len(before)] == before
    assert len(steps_of(db, run_id)) == len(set(steps_of(db, run_id)))
    names = ["tokens_seen", "training_seconds"]
    ours, theirs = (runs.metrics(db, each, names) for each in (run_id, whole))
    assert ours["tokens_seen"] == theirs["tokens_seen"]
    seconds = [value for _, value in ours["training_seconds"]]
    assert len(seconds) == 10
    assert seconds == sorted(seconds)


def test_answers_cannot_be_changed_and_only_the_runs_own_process_writes_them(
    db: Database, settings: Settings, house: Any
) -> None:
    run_id = queued(db, settings, house)
    claimed = runs.claim(db) or {}
    asked = [[{"role": "user", "content": "Why?"}]]
    with pytest.raises(Conflict, match="no longer belongs"):
        samples.record(db, run_id, "another", 0, asked, [("Because.", False)], seconds=1.0)
    samples.record(db, run_id, claimed["token"], 0, asked, [("Because.", False)], seconds=1.0)
    samples.record(db, run_id, claimed["token"], 0, asked, [("Otherwise.", False)], seconds=1.0)
    assert [row["answer"] for row in samples.listing(db, run_id)] == ["Because."]
    for change in ("update samples set answer = 'x'", "delete from samples"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), store.writing(db):
            db.execute(change)


@pytest.mark.slow
def test_answers_in_one_batch_are_those_asked_one_by_one(settings: Settings, base_models: Path) -> None:
    trained.home_model(settings, base_models / models.DEFAULT)
    model, tokenizer = models.load(settings, models.DEFAULT)
    model = model.float()  # in bfloat16 a batch of another width may round the other way
    asked = [
        [{"role": "user", "content": "What is the capital of France?"}],
        [{"role": "user", "content": "Name three colours that a rainbow has, one after the other, and nothing else."}],
    ]
    together = samples.answers(model, tokenizer, asked, new_tokens=12)
    assert together == [samples.answers(model, tokenizer, [each], new_tokens=12)[0] for each in asked]
    assert "Paris" in together[0][0]
    assert not any("<|" in text for text, _ in together)


def test_between_first_and_last_answers_wait_until_they_are_a_small_share_of_the_time() -> None:
    def step(number: int, **about: Any) -> loop.Step:
        return loop.Step(number, 100, **about)

    assert beside._to_be_asked(step(0), spent=9, elapsed=9)
    assert beside._to_be_asked(step(100, ended="done"), spent=9, elapsed=9)
    assert beside._to_be_asked(step(50, held_out_loss=1.0), spent=1, elapsed=10)
    assert not beside._to_be_asked(step(50, held_out_loss=1.0), spent=1.1, elapsed=10)
    assert not beside._to_be_asked(step(51), spent=0, elapsed=10)
    assert not beside._to_be_asked(step(51, ended="paused"), spent=0, elapsed=10)


def test_a_loss_that_is_no_number_is_explained_with_what_to_try(
    db: Database, settings: Settings, house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = queued(db, settings, house, evaluations=0)
    monkeypatch.setattr(loop.encoding, "backward", lambda *_, **__: float("nan"))
    with pytest.raises(failures.NotANumber, match="no longer a number"):
        worker.train_run(db, settings, run_id)
    run = runs.get(db, run_id)
    found = failures.explain(run, runs.events(db, run_id))
    assert run["status"] == "failed"
    assert found is not None
    assert found.step == 1
    assert found.tries[0].changes == {"learning_rate": 1e-4}
    assert any("longest row" in sentence for sentence in found.evidence)
    runs.resume(db, run_id, person=house["builder"])
    assert failures.explain(runs.get(db, run_id), runs.events(db, run_id)) is None, "it is trying again"


def test_memory_that_ran_out_is_explained_with_the_longest_row_and_what_needs_less(
    db: Database, settings: Settings, house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def too_much(*_: Any, **__: Any) -> float:
        raise torch.OutOfMemoryError("none left")

    run_id = queued(db, settings, house, evaluations=0)
    monkeypatch.setattr(loop.encoding, "backward", too_much)
    with pytest.raises(failures.OutOfMemory, match="not enough memory"):
        worker.train_run(db, settings, run_id)
    found = failures.explain(runs.get(db, run_id), runs.events(db, run_id))
    assert found is not None
    assert "Memory ran out in step 1" in found.what
    assert any("longest row" in sentence for sentence in found.evidence)
    changes = [dict(each.changes) for each in found.tries]
    assert changes == [{"micro_batch_tokens": 256}, {"gradient_checkpointing": True}, {"method": "qlora"}]


def test_a_process_killed_from_outside_is_said_to_be_out_of_memory_only_as_far_as_that_is_known(
    db: Database, settings: Settings, house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(exit_code: int | None, *, counted: int) -> failures.Explanation | None:
        run_id = queued(db, settings, house)
        claimed = runs.claim(db) or {}
        monkeypatch.setattr(beside.gauges, "memory_kills", lambda: 3)
        runs.heartbeat(db, run_id, claimed["token"], manifest={"memory_kills": 3})
        runs.end(db, run_id, claimed["token"], "interrupted", error="gone")
        monkeypatch.setattr(beside.gauges, "memory_kills", lambda: counted)
        beside.note_death(db, run_id, exit_code)
        return failures.explain(runs.get(db, run_id), runs.events(db, run_id))

    sure, perhaps = killed(None, counted=4), killed(-9, counted=3)
    assert sure is not None
    assert perhaps is not None
    assert "very probably because memory ran out" in sure.what
    assert "perhaps because memory ran out" in perhaps.what
    assert sure.tries
    assert killed(1, counted=3) is None
    assert killed(None, counted=3) is None


def test_the_kernels_own_count_of_memory_kills_is_read_where_it_is(tmp_path: Path) -> None:
    from factory.training import gauges

    (tmp_path / "job").mkdir()
    (tmp_path / "own").write_text("0::/job\n")
    (tmp_path / "job" / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    (tmp_path / "vmstat").write_text("nr_free_pages 5\noom_kill 4\n")
    assert gauges.memory_kills(cgroups=tmp_path, vmstat=tmp_path / "vmstat", own=tmp_path / "own") == 6
    assert gauges.memory_kills(cgroups=tmp_path / "no", vmstat=tmp_path / "no", own=tmp_path / "no") == 0
    assert gauges.gpu(None) == {}


def test_a_version_of_many_rows_is_asked_short_questions(db: Database, settings: Settings, house: Any) -> None:
    run = runs.get(db, queued(db, settings, house, sample_prompts="8"))
    asked = samples.questions(db, run)
    rows = list(datasets.version_content(db, house["version"]["id"]))
    assert len(asked) == len(rows) == 3
    assert all(talk[-1]["role"] == "user" for talk in asked)
