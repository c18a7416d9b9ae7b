"""Curves of runs as they are drawn: thinned so that no spike is lost, laid over steps, epochs, tokens or training time."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from sqlite_utils import Database

Point = tuple[int, float, float]  # step, value, the moment it was measured
AXES = {
    "step": "",
    "epoch": "epoch",
    "tokens": "tokens_seen",
    "time": "training_seconds",
}  # axis → the metric that places it

# A long curve is cut into buckets of equally many steps; of each bucket its lowest and its highest point stay. Both are
# found by walking the primary key: as fast as reading every row, and a hundredth of them reaches Python and the browser.
THINNED = """
    with recursive
    bucket(place) as (select 0 union all select place + 1 from bucket where place + 1 < :buckets),
    span as (
        select value as name,
            (select min(step) from metrics where run_id = :run and name = wanted.value) as low,
            (select max(step) from metrics where run_id = :run and name = wanted.value) as high,
            (select count(*) from metrics where run_id = :run and name = wanted.value) as points
        from json_each(:names) as wanted),
    part as (
        select name, low + (high - low + 1) * place / :buckets as first,
            low + (high - low + 1) * (place + 1) / :buckets as after
        from span, bucket where points > :points),
    picked(name, step) as (
        select name, step from metrics where run_id = :run and name in (select name from span where points <= :points)
        union select name, low from span where points > :points
        union select name, high from span where points > :points
        union select name, (select step from metrics where run_id = :run and name = part.name
            and step >= first and step < after order by value, step limit 1) from part where first < after
        union select name, (select step from metrics where run_id = :run and name = part.name
            and step >= first and step < after order by value desc, step desc limit 1) from part where first < after)
    select metrics.name, metrics.step, metrics.value, metrics.at
    from picked join metrics on metrics.run_id = :run and metrics.name = picked.name and metrics.step = picked.step
    order by metrics.name, metrics.step
"""

# One seek for each point, however long the curves are.
SMALL = """
    with recursive
    part(place) as (select 0 union all select place + 1 from part where place + 1 < :points),
    span as (
        select value as run_id,
            (select min(step) from metrics where run_id = runs.value and name = :name) as low,
            (select max(step) from metrics where run_id = runs.value and name = :name) as high
        from json_each(:runs) as runs),
    picked as (
        select distinct run_id, low + (high - low) * place / (:points - 1) as step from span, part where low is not null)
    select run_id, (select value from metrics where run_id = picked.run_id and name = :name and step >= picked.step
        order by step limit 1) from picked order by run_id, step
"""


def read(db: Database, run_id: int, names: Sequence[str], *, points: int = 1000) -> dict[str, list[Point]]:
    """Several curves of a run in one query, each thinned to about `points`: name → [(step, value, at)], by step.

    First and last, and the lowest and highest of every bucket of steps, always stay: a spike of one step is never lost.
    """
    curves: dict[str, list[Point]] = {name: [] for name in names}
    values = {"run": run_id, "names": json.dumps(sorted(curves)), "points": points, "buckets": max(1, points // 2)}
    for name, step, value, at in db.execute(THINNED, values):
        curves[name].append((int(step), float(value), float(at)))
    return curves


def metrics(db: Database, run_id: int, names: Sequence[str], *, points: int = 1000) -> dict[str, list[tuple[int, float]]]:
    """Curves as (step, value); see `read`."""
    found = read(db, run_id, names, points=points)
    return {name: [(step, value) for step, value, _ in curve] for name, curve in found.items()}


def small(db: Database, run_ids: Sequence[int], *, name: str = "loss", points: int = 24) -> dict[int, list[float]]:
    """A few evenly chosen values of one curve of many runs at once, for a line beside each in a list: run → values."""
    lines: dict[int, list[float]] = {run_id: [] for run_id in run_ids}
    values = {"runs": json.dumps(list(lines)), "name": name, "points": points}
    for run_id, value in db.execute(SMALL, values):
        lines[int(run_id)].append(float(value))
    return lines


def axes(curves: Mapping[str, Sequence[Point]]) -> list[str]:
    """Along what these curves can be drawn: always the step, the others where the trainer wrote them down."""
    return [axis for axis, metric in AXES.items() if not metric or curves.get(metric)]


def along(points: Sequence[Point], ruler: Sequence[Point]) -> list[tuple[float, float]]:
    """Points with their step replaced by what `ruler` says of it; a straight line is drawn between what it knows.

    `ruler` is a curve of (step, place on the axis, at); step 0 lies at 0. An empty ruler leaves the steps as they are.

    >>> along([(0, 9.0, 0.0), (5, 8.0, 0.0), (20, 7.0, 0.0)], [(10, 1.0, 0.0), (20, 2.0, 0.0)])
    [(0.0, 9.0), (0.5, 8.0), (2.0, 7.0)]
    """
    return [(place(step, ruler), value) for step, value, _ in points]


def place(step: float, ruler: Sequence[Point]) -> float:
    """Where a step lies on an axis; see `along`."""
    if not ruler:
        return float(step)
    at = bisect_left(ruler, step, key=lambda point: point[0])
    if at == len(ruler):  # past the last known one: go on at the pace of the whole
        last_step, last_place, _ = ruler[-1]
        return last_place * step / last_step if last_step else last_place
    step_after, place_after, _ = ruler[at]
    step_before, place_before = (ruler[at - 1][0], ruler[at - 1][1]) if at else (0, 0.0)
    if step_after == step_before:
        return place_after
    return place_before + (place_after - place_before) * (step - step_before) / (step_after - step_before)


def step_at(moment: float, curve: Sequence[Point]) -> int:
    """The last step of a curve that was made by a moment; 0 before the first.

    >>> step_at(7.0, [(1, 2.0, 5.0), (2, 1.9, 6.5), (3, 1.8, 8.0)])
    2
    """
    made = [step for step, _, at in curve if at <= moment]
    return max(made, default=0)
