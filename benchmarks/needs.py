"""How long a dataset's map takes to draw, and how long its board takes to answer, at 10,000, 100,000 and 1,000,000 rows.

    python -m benchmarks.needs            # all three sizes
    python -m benchmarks.needs --quick    # 3,000 rows only

Rows are made of real questions and answers (the samples that ship with the program), mixed by a seed. The map is drawn
once a version in the background; the board, the points and the first page's three topics are what pages read. Prints one
JSON object: seconds to draw, memory of the process at its highest, p50 and p95 of each reading in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database

from factory.base import people, store
from factory.base.settings import ROOT, Settings
from factory.credit import needs, rewards
from factory.intake import datasets, formats, maps

FILES = ("messages.jsonl", "alpaca.json", "sharegpt.json", "prompt_completion.csv", "question_answer.parquet")
SIZES, QUICK, REPEATS, BATCH = (10_000, 100_000, 1_000_000), (3_000,), 40, 5_000


def texts(settings: Settings) -> list[list[dict[str, str]]]:
    """The real rows that ship with the program."""
    folder = ROOT / "data" / "samples"
    read = [formats.read(folder / name, name=name, settings=settings).rows for name in FILES]
    return [row.messages for rows in read for row in rows if row.messages]


def fill(db: Database, count: int, material: list[list[dict[str, str]]], seed: int = 7) -> int:
    """A frozen version of so many accepted rows, each a question of one real row and the answer of another; its id."""
    chance, owner = random.Random(seed), people.maintainer(db)
    dataset = datasets.create(
        db, slug=f"rows-{count}", title="Rows", purpose="p", guidelines="g", licence="CC0-1.0", owner=owner
    )
    held_out = [
        [{"role": "user", "content": f"Held out {n}: {row[0]['content']}"}, row[-1]] for n, row in enumerate(material)
    ]
    sealed = datasets.seal_held_out(db, dataset["id"], person=owner, rows=held_out[::3])
    with store.writing(db):
        record = {
            "dataset_id": dataset["id"],
            "person_id": owner.id,
            "source": "file",
            "licence": "CC0-1.0",
            "created_at": 1.0,
        }
        submission = store.insert(db, "submissions", record)
        first = 1 + (store.value(db, "select max(id) from examples") or 0)
        for start in range(0, count, BATCH):
            made = []
            for number in range(start, min(count, start + BATCH)):
                question, answer = chance.choice(material), chance.choice(material)
                content = formats.canonical(
                    [{"role": "user", "content": f"{question[-2]['content']} ({number})"}, answer[-1]]
                )
                made.append(
                    (first + number, submission, dataset["id"], owner.id, number, content, formats.content_hash(content))
                )
            db.conn.executemany(
                "insert into examples (id, submission_id, dataset_id, person_id, position, content, content_hash, bytes,"
                " cluster_id, refused_by_checks, created_at) values (?, ?, ?, ?, ?, ?, ?, 200, ?, 0, 1.0)",
                [(*row, row[0]) for row in made],
            )
            db.conn.executemany(
                'insert into decisions (example_id, decision, "by", verdict_ids, at)'
                " values (?, 'accepted', 'import', '[]', 1.0)",
                [(row[0],) for row in made],
            )
    version = datasets.freeze(db, dataset["id"], person=owner)
    assert version["held_out_set_id"] == sealed["id"]
    return int(version["id"])


def timed(read: Callable[[], object]) -> dict[str, float]:
    """p50 and p95 of a reading, milliseconds."""
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        read()
        taken.append(1000 * (time.perf_counter() - began))
    taken.sort()
    return {"p50_ms": round(taken[len(taken) // 2], 2), "p95_ms": round(taken[int(0.95 * len(taken))], 2)}


def measure(count: int) -> dict[str, object]:
    """One size, in a store of its own."""
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home))
        with store.connect(settings) as db:
            version_id = fill(db, count, texts(settings))
            dataset_id = datasets.version(db, version_id)["dataset_id"]
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            began = time.perf_counter()
            map_id = maps.draw(db, version_id)
            seconds = time.perf_counter() - began
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return {
                "rows": count,
                "drawing_seconds": round(seconds, 1),
                "memory_before_mb": before // 1024,
                "memory_at_most_mb": after // 1024,
                "points": maps.get(db, map_id)["point_count"],
                "board": timed(lambda: needs.board(db, dataset_id)),
                "points_read": timed(lambda: maps.points(db, map_id)),
                "most_needed": timed(lambda: needs.most_needed(db)),
                "settling_nothing": timed(lambda: rewards.settle(db)),
            }


def main() -> None:
    """Measure what was asked for and print it."""
    arguments = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--rows", type=int, help="this size only")
    chosen = arguments.parse_args()
    sizes = (chosen.rows,) if chosen.rows else QUICK if chosen.quick else SIZES
    print(json.dumps({"benchmark": "needs", "sizes": [measure(size) for size in sizes]}, indent=2))


if __name__ == "__main__":
    main()
