from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from factory import run_charts
from factory.base import store
from factory.base.settings import Settings
from factory.training import curves, runs
from tests import trained


@pytest.fixture
def run_id(db: Database, settings: Settings, tiny_model: Path) -> int:
    builder, _, version = trained.frozen_version(db)
    recipe = runs.Recipe(base_model=trained.home_model(settings, tiny_model), rank=4)
    return runs.create(db, person=builder, version_id=version["id"], settings=settings, recipe=recipe)


def fill(db: Database, run_id: int, name: str, values: dict[int, float], *, seconds: float = 1.0) -> None:
    rows = [(run_id, name, step, value, 1000.0 + seconds * step) for step, value in values.items()]
    with store.writing(db):
        db.conn.executemany("insert into metrics (run_id, name, step, value, at) values (?, ?, ?, ?, ?)", rows)


def test_of_a_long_curve_every_spike_and_both_ends_stay(db: Database, run_id: int) -> None:
    draw = random.Random(1)
    values = {step: 2 + draw.random() for step in range(1, 20_001)}
    spikes = {step: 50.0 + step / 1000 for step in (7, 5003, 5004, 19_999)}
    fill(db, run_id, "loss", values | spikes)
    fill(db, run_id, "held_out_loss", {step: 3.0 for step in range(0, 20_001, 1000)})
    found = curves.read(db, run_id, ["loss", "held_out_loss", "nothing"], points=400)
    assert 350 <= len(found["loss"]) <= 402
    steps = [step for step, *_ in found["loss"]]
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (1, 20_000)
    assert {7, 5004, 19_999} <= set(steps), "of two spikes in one bucket the higher stays"
    assert all(value == (values | spikes)[step] and at == 1000.0 + step for step, value, at in found["loss"])
    assert [step for step, *_ in found["held_out_loss"]] == list(range(0, 20_001, 1000)), "a short curve stays whole"
    assert found["nothing"] == []


def test_a_short_curve_with_gaps_and_a_level_one_stay_whole(db: Database, run_id: int) -> None:
    gappy = {1: 1.0, 2: 1.0, 3: 1.0, 900_000: 1.0}
    fill(db, run_id, "loss", gappy)
    assert curves.metrics(db, run_id, ["loss"], points=10)["loss"] == list(gappy.items())
    fill(db, run_id, "level", {step: 5.0 for step in range(1000)})
    level = curves.metrics(db, run_id, ["level"], points=10)["level"]
    assert (level[0], level[-1]) == ((0, 5.0), (999, 5.0))


def test_a_hundred_thousand_numbers_are_thinned_in_a_moment(db: Database, run_id: int) -> None:
    for name in ("loss", "gradient_norm", "learning_rate", "memory_bytes", "tokens_per_second"):
        fill(db, run_id, name, {step: step % 97 / 10 for step in range(20_000)})
    names = ["loss", "gradient_norm", "learning_rate", "memory_bytes", "tokens_per_second"]
    began = time.process_time()
    found = curves.read(db, run_id, names)
    assert time.process_time() - began < 1.0, "some 50 ms where nothing else runs"
    assert all(900 <= len(found[name]) <= 1002 for name in names)


def test_the_small_lines_of_a_list_are_a_few_points_each(db: Database, run_id: int) -> None:
    fill(db, run_id, "loss", {step: 1 / step for step in range(1, 5001)})
    lines = curves.small(db, [run_id, 99], points=20)
    assert lines[99] == []
    assert len(lines[run_id]) == 20
    assert (lines[run_id][0], lines[run_id][-1]) == (1.0, 1 / 5000)
    assert lines[run_id] == sorted(lines[run_id], reverse=True)


def test_steps_are_laid_over_epochs_tokens_or_training_time() -> None:
    found = {
        "loss": [(1, 2.0, 10.0), (2, 1.5, 20.0)],
        "held_out_loss": [(0, 2.5, 5.0)],
        "tokens_seen": [(1, 100.0, 10.0), (2, 260.0, 20.0)],
        "training_seconds": [(1, 5.0, 10.0), (2, 400.0, 20.0)],
    }
    assert curves.axes(found) == ["step", "tokens", "time"]
    by_tokens = run_charts.axis("tokens", found, steps_total=4)
    assert by_tokens.of(found["loss"]) == [(100.0, 2.0), (260.0, 1.5)]
    assert by_tokens.of(found["held_out_loss"]) == [(0.0, 2.5)]
    assert by_tokens.end == 520.0, "at the pace so far"
    by_time = run_charts.axis("time", found, steps_total=2)
    assert by_time.title == "training time (minutes)"
    assert by_time.of(found["loss"])[-1] == (pytest.approx(400 / 60), 1.5)
    assert run_charts.axis("epoch", found, steps_total=2).title == "optimizer step", (
        "what was not recorded cannot be an axis"
    )


def test_pauses_and_resumes_stand_where_they_happened_and_the_first_start_does_not() -> None:
    loss = [(step, 2.0, 100.0 + step) for step in range(1, 11)]
    kinds = [
        ("queued", 90),
        ("started", 99),
        ("paused", 104.5),
        ("queued", 200),
        ("started", 104.6),
        ("note", 105),
        ("done", 120),
    ]
    marks = run_charts.happened([{"kind": kind, "at": at, "words": "because"} for kind, at in kinds], loss)
    assert [(mark.step, mark.word) for mark in marks] == [(4, "paused"), (4, "resumed")]


def drawn(figure: Any) -> dict[str, Any]:
    assert json.loads(figure.to_json())["layout"], "it can be sent to a browser"
    return {trace.name: trace for trace in figure.data}


def test_the_loss_chart_shows_the_raw_curve_faintly_its_average_the_best_and_what_happened() -> None:
    found = {
        "loss": [(step, 3.0 - step / 10 + (step % 2), 0.0) for step in range(1, 11)],
        "held_out_loss": [(0, 3.0, 0.0), (5, 2.0, 0.0), (10, 2.2, 0.0)],
        "checkpoint": [(5, 1.0, 0.0), (10, 1.0, 0.0)],
    }
    axis = run_charts.axis("step", found, steps_total=20)
    marks = [run_charts.Mark(5, "paused", "Ada <b>asked</b>"), run_charts.Mark(5, "resumed")]
    figure = run_charts.loss(found, axis, smoothing=0.9, log=True, marks=marks)
    traces = drawn(figure)
    assert set(traces) == {"each step", "training, smoothed", "held-out", "best, kept: 2.000 at step 5", "checkpoint"}
    assert traces["each step"]["opacity"] < 0.5
    assert list(traces["best, kept: 2.000 at step 5"]["x"]) == [5.0]
    assert list(traces["checkpoint"]["x"]) == [5.0, 10.0]
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.xaxis.range == (0, 20.2)
    assert [note.text for note in figure.layout.annotations] == ["paused, resumed"]
    assert "<b>" not in figure.layout.annotations[0].hovertext
    assert set(drawn(run_charts.loss(found, axis))) == {"training", "held-out", "best, kept: 2.000 at step 5", "checkpoint"}
    assert drawn(run_charts.loss({}, axis)) == {}


def test_a_gauge_shows_what_was_predicted_beside_what_came() -> None:
    points = [(step, 2.0 * 2**30, 0.0) for step in range(1, 5)]
    axis = run_charts.axis("step", {}, steps_total=4)
    figure = run_charts.gauge(points, axis, name="memory_bytes", predicted=3.0 * 2**30)
    assert list(drawn(figure)["memory bytes"]["y"]) == [2.0] * 4
    assert "predicted 3.00 GiB" in [note.text for note in figure.layout.annotations]
