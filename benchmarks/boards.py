"""How long the adapters' board and a comparison of 50 runs take, against asking the store for one thing at a time.

    python -m benchmarks.boards [--quick]

A store is filled with 1,000 runs, each with its curve, adapter, evaluation and neutral text (200 with `--quick`). Both ways
rank alike, which is checked. The last line printed is one JSON object: `ratio` is one thing at a time over our ranking
(`rank_ms`); `board_ms` and `compare_ms` include the figures as JSON, which the server sends, and should stay below 300.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory import charts
from factory.adapters import comparison, evaluation, forgetting, kept
from factory.base import people, store
from factory.base.settings import Settings
from factory.credit import leaderboards
from factory.training import curves, recipes, runs
from tests import credit_rows as rows

ROOT, COMPARED = "a" * 64, 50
RANKS, RATES, SCHEDULES = (4, 8, 16, 32, 64), (5e-5, 1e-4, 2e-4, 5e-4), ("cosine", "linear", "constant")


def fill(db: Database, count: int, *, steps: int) -> list[int]:
    """Runs that ended, each with all that is stored of it; their ids."""
    owner, draws = people.maintainer(db).id, random.Random(7)
    dataset_id, policy_id = rows.dataset(db, owner)
    version_id = rows.version(db, dataset_id, policy_id, [rows.example(db, dataset_id, owner, "Because.")], owner=owner)
    made = []
    for _ in range(count):
        recipe = recipes.Recipe(
            rank=draws.choice(RANKS), learning_rate=draws.choice(RATES), schedule=draws.choice(SCHEDULES),
            epochs=draws.choice((1.0, 2.0, 3.0)), base_model="tiny",
        )  # fmt: skip
        base, tuned, seconds = 2.0, 1.5 + draws.random() / 4, draws.uniform(60, 3600)
        measured = {
            "seconds": seconds, "steps": steps, "tokens": int(150 * seconds), "tokens_per_second": 150.0,
            "memory_bytes": 10**9 + recipe.rank * 10**7, "energy_joules": 20 * seconds, "energy_from": "a guess",
        }  # fmt: skip
        adapter_id, evaluation_id = rows.adapter(db, version_id, owner, base=base, tuned=tuned, root=ROOT, measured=measured)
        run_id = int(store.value(db, "select run_id from adapters where id = ?", adapter_id))
        chosen = json.dumps(recipes.to_dict(recipe))
        db.execute("update runs set recipe = ?, held_out_root = ? where id = ?", [chosen, ROOT, run_id])
        passages = [(300.0 + draws.random(), 100) for _ in range(24)]
        figures = {"base_loss": 3.0, "tuned_loss": 3.02, "difference": 0.02, "low": 0.01, "high": 0.03}
        forgetting.write(db, evaluation_id, figures, passages, passages)
        points = [(run_id, "loss", step, base * math.exp(-step / steps / 3), 1.0) for step in range(1, steps + 1)]
        points += [(run_id, "held_out_loss", step, tuned, 1.0) for step in range(0, steps + 1, max(1, steps // 8))]
        db.conn.executemany("insert into metrics (run_id, name, step, value, at) values (?, ?, ?, ?, ?)", points)
        made.append(run_id)
    return made


def rank(db: Database) -> list[dict[str, Any]]:
    """What stands on the board, best first."""
    return leaderboards.adapters(db, held_out_root=ROOT)


def board(db: Database) -> list[int]:
    """The adapters' board as the page asks for it; adapters in the order of their rank."""
    leaderboards.held_out_roots(db)
    leaderboards.not_ranked(db, ROOT)
    listed = rank(db)
    titles = {"x_title": "minutes", "y_title": "percent"}
    charts.scatter(listed, label="adapter", x="minutes", y="gain_percent", **titles).to_json()
    charts.intervals(
        listed[:20], label="adapter", value="gain_percent", low="gain_low", high="gain_high", x="percent"
    ).to_json()
    json.dumps(listed)
    return [row["adapter_id"] for row in listed]


def board_by_one(db: Database) -> list[int]:
    """The same from the functions that know one adapter, one run, one evaluation."""
    told = []
    for adapter in kept.listing(db, limit=10**6):
        run, found = runs.get(db, adapter["run_id"]), evaluation.latest(db, adapter["id"])
        if found is not None and found["held_out_root"] == ROOT:
            gain, minutes = -found["difference"] / found["base_loss"], run["measured"]["seconds"] / 60
            told.append((-gain, adapter["id"], minutes, forgetting.find(db, found["id"])))
    return [adapter_id for _, adapter_id, *_ in sorted(told, key=lambda each: each[:2])]


def compare(db: Database, run_ids: list[int]) -> list[int]:
    """A comparison as the page asks for it, curves and parallel coordinates drawn; runs in the order of their rank."""
    found = comparison.compare(db, run_ids)
    read = {str(run_id): curves.metrics(db, run_id, ("loss", "held_out_loss"), points=80) for run_id in run_ids}
    charts.overlay(read, smoothing=0.6).to_json()
    charts.parallel(comparison.dimensions(found, run_ids), colours=[run["held_out_loss"] for run in found["runs"]]).to_json()
    json.dumps(found)
    return list(found["sets"][0]["runs"])


def milliseconds(does: Callable[[], Any], *, times: int) -> float:
    """The median time of a call, after one that warms up."""
    does()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        does()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 runs instead of 1,000, and fewer rounds")
    quick = parser.parse_args().quick
    count, steps, times = (200, 50, 3) if quick else (1000, 200, 7)
    with tempfile.TemporaryDirectory() as folder, store.connect(Settings(home=Path(folder))) as db:
        with store.writing(db):
            run_ids = fill(db, count, steps=steps)
        assert board(db) == board_by_one(db), "both ways must rank alike"
        chosen = run_ids[:: count // COMPARED][:COMPARED]
        ours, one_by_one = milliseconds(lambda: rank(db), times=times), milliseconds(lambda: board_by_one(db), times=times)
        drawn = milliseconds(lambda: board(db), times=times)
        side_by_side = milliseconds(lambda: compare(db, chosen), times=times)
    result = {
        "runs": count,
        "compared": COMPARED,
        "rank_ms": round(ours, 1),
        "one_by_one_ms": round(one_by_one, 1),
        "board_ms": round(drawn, 1),
        "compare_ms": round(side_by_side, 1),
        "ratio": round(one_by_one / ours, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
