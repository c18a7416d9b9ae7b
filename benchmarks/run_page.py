"""How long the server works to draw the charts of a run with 100,000 numbers, thinned in SQL against drawn whole.

    python -m benchmarks.run_page [--quick]

Fills a run in a temporary installation, then reads its curves, makes every figure of its page and writes them as the browser
gets them. Run it on an otherwise idle machine. The last line printed is one JSON object; the promise is `p95_ms` under 300.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from sqlite_utils import Database

from factory import run_charts
from factory.base import store
from factory.training import curves

SERIES = (
    "loss",
    "learning_rate",
    "gradient_norm",
    "tokens_per_second",
    "memory_bytes",
    "epoch",
    "tokens_seen",
    "training_seconds",
)
GAUGES = ("gradient_norm", "learning_rate", "tokens_per_second", "memory_bytes")
ROWS = 100_000


def fill(db: Database) -> None:
    """One run's metrics, 100,000 in all; a bare database without the tables around them is enough to read curves from."""
    draw, steps = random.Random(0), ROWS // len(SERIES)
    rows = [(1, name, step, draw.random(), float(step)) for name in SERIES for step in range(1, steps + 1)]
    rows += [(1, "held_out_loss", step, draw.random(), float(step)) for step in range(0, steps + 1, steps // 10)]
    db.execute("pragma foreign_keys = off")
    with store.writing(db):
        db.conn.executemany("insert into metrics (run_id, name, step, value, at) values (?, ?, ?, ?, ?)", rows)


def draw_page(db: Database, points: int) -> int:
    """All that the page's charts take from rows to JSON; how many characters that is."""
    found = curves.read(db, 1, (*SERIES, "held_out_loss", "checkpoint"), points=points)
    axis = run_charts.axis("time", found, steps_total=ROWS // len(SERIES))
    figures = [run_charts.loss(found, axis, smoothing=0.6)]
    figures += [run_charts.gauge(found[name], axis, name=name, smoothing=0.6) for name in GAUGES]
    return sum(len(figure.to_json()) for figure in figures)


def timed(db: Database, points: int, rounds: int) -> tuple[list[float], int]:
    """Milliseconds of each round, and the characters sent."""
    taken, size = [], draw_page(db, points)  # the first one imports Plotly's parts
    for _ in range(rounds):
        began = time.perf_counter()
        draw_page(db, points)
        taken.append((time.perf_counter() - began) * 1000)
    return sorted(taken), size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 8 if parser.parse_args().quick else 40
    with tempfile.TemporaryDirectory() as folder, store.connect(Path(folder) / "factory.db") as db:
        fill(db)
        thinned, small = timed(db, 1000, rounds)
        whole, large = timed(db, 10 * ROWS, max(3, rounds // 8))
    middle = statistics.median(thinned)
    result = {
        "rows": ROWS,
        "p50_ms": round(middle, 1),
        "p95_ms": round(thinned[max(0, round(0.95 * len(thinned)) - 1)], 1),
        "whole_p50_ms": round(statistics.median(whole), 1),
        "ratio": round(statistics.median(whole) / middle, 1),
        "kilobytes": round(small / 1000),
        "whole_kilobytes": round(large / 1000),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
