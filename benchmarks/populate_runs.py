"""Runs, adapters, measurements and payments for `benchmarks.populate`; the payments are the real function's."""

from __future__ import annotations

import json
import random
from typing import Any

from sqlite_utils import Database

from factory.adapters import forgetting
from factory.base import store
from factory.credit import ledger
from factory.training import recipes
from tests import credit_rows

STEPS = 200
MANIFEST = {"program": "0", "python": "3.11", "libraries": {"torch": "2"}, "model_source": "tiny", "device": "cpu"}


def train(
    db: Database,
    draw: random.Random,
    versions: dict[int, int],
    held_out: dict[int, tuple[int, str]],
    *,
    builders: list[int],
    count: int,
) -> None:
    """So many runs that ended, on the datasets' newest versions; a third of the adapters are attributed and paid."""
    best: dict[str, float] = {}
    for number in range(count):
        dataset_id = draw.choices(list(versions), [4, *[1] * (len(versions) - 1)])[0]
        root, version_id = held_out[dataset_id][1], versions[dataset_id]
        recipe = recipes.Recipe(rank=draw.choice((4, 8, 16, 32)), learning_rate=draw.choice((1e-4, 2e-4)), base_model="tiny")
        seconds = draw.uniform(60, 3600)
        facts = {"seconds": seconds, "steps": STEPS, "tokens": int(150 * seconds), "tokens_per_second": 150.0,
                 "memory_bytes": 10**9, "energy_joules": 20 * seconds, "energy_from": "a guess"}  # fmt: skip
        base = 2.0
        tuned = best.get(root, 1.9) - 0.001 if number % 3 == 0 else draw.uniform(1.5, 1.95)
        with store.writing(db):
            owner = draw.choice(builders)
            adapter_id, evaluation_id = credit_rows.adapter(
                db, version_id, owner, base=base, tuned=tuned, spread=0.02, root=root, measured=facts
            )
            run_id = int(store.value(db, "select run_id from adapters where id = ?", adapter_id))
            at = store.now() - draw.random() * 300 * 86_400
            db.execute(
                "update runs set recipe = ?, manifest = ?, held_out_root = ?, queued_at = ?, started_at = ?, ended_at = ?"
                " where id = ?",
                [json.dumps(recipes.to_dict(recipe)), json.dumps(MANIFEST), root, at, at, at + seconds, run_id],
            )
            db.execute("update adapters set kept_at = ? where id = ?", [at + seconds, adapter_id])
            passages = [(300.0, 100) for _ in range(8)]
            lost = {"base_loss": 3.0, "tuned_loss": 3.02, "difference": 0.02, "low": 0.01, "high": 0.03}
            forgetting.write(db, evaluation_id, lost, passages, passages)
            curve = [(run_id, "loss", step, base - step / STEPS, at) for step in range(1, STEPS + 1)]
            curve += [(run_id, "held_out_loss", step, tuned, at) for step in range(0, STEPS + 1, 25)]
            db.conn.executemany("insert into metrics (run_id, name, step, value, at) values (?, ?, ?, ?, ?)", curve)
            if number % 3 == 0:
                best[root] = tuned
                ledger.pay(db, attribute(db, draw, adapter_id, evaluation_id, version_id))


def attribute(db: Database, draw: random.Random, adapter_id: int, evaluation_id: int, version_id: int) -> int:
    """The measured influence of up to two thousand rows of a version; the attribution's id."""
    size = int(store.value(db, "select row_count from dataset_versions where id = ?", version_id))
    places = json.dumps(sorted(draw.sample(range(size), min(2000, size))))
    found: list[dict[str, Any]] = store.rows(
        db,
        "select e.id, e.person_id from version_rows r join examples e on e.id = r.example_id"
        " where r.version_id = ? and r.position in (select value from json_each(?))",
        version_id,
        places,
    )
    rows = [(row["id"], row["person_id"], draw.gauss(0.001, 0.001), 0.0002) for row in found]
    return credit_rows.attributed(db, adapter_id, evaluation_id, rows)
