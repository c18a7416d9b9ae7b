"""What `benchmarks.scale` measures against: the same answers from first principles, or from another library."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from datasketch import MinHash, MinHashLSH
from sqlite_utils import Database

from factory.base import store
from factory.intake import formats, similarity, standing

OUTCOMES = """
    with decided as (
        select e.person_id, e.dataset_id, d.decision, d.at,
            row_number() over (partition by e.person_id, e.cluster_id order by e.id desc) as place
        from examples e join decisions d on d.id = (select max(id) from decisions where example_id = e.id)
        where d.decision <> 'returned'
    )
    select person_id, decision = 'accepted', cast(at / 86400 as integer), count(*)
    from decided where place = 1 group by 1, 2, 3
"""


def board_from_verdicts(db: Database) -> list[int]:
    """Everybody's id in the order of the board, every verdict and decision counted anew; one half-life everywhere."""
    db.execute("select example_id, count(*), sum(decision = 'accept') from verdicts group by example_id").fetchall()
    half_life, today = float(store.value(db, "select days from half_lives limit 1")), standing.today()
    sums: dict[int, list[float]] = {
        row[0]: [0.0, 0.0, 0.0, 0.0] for row in db.execute("select distinct person_id from examples")
    }
    for person_id, accepted, day, clusters in db.execute(OUTCOMES):
        share, one = clusters * store.fade(max(0, today - day), half_life), sums[person_id]
        one[0], one[1], one[2] = one[0] + share * accepted, one[1] + share, one[2] + clusters
        one[3] += clusters * accepted
    paid = dict(
        db.execute(
            "select cast(substr(account, 8) as integer), sum(micro_credits) from ledger_entries where account <> 'pool'"
            " group by 1"
        ).fetchall()
    )
    ages = dict(db.execute("select id, created_at from people").fetchall())
    return sorted(
        sums,
        key=lambda who: (
            sums[who][2] < standing.PROVISIONAL_BELOW, -standing.wilson_lower(sums[who][0], sums[who][1]),
            -paid.get(who, 0), -sums[who][3], ages[who], who,
        ),
    )  # fmt: skip


def _hashed(text: str) -> MinHash:
    made = MinHash(num_perm=similarity.PERMUTATIONS)
    made.update_batch([shingle.encode() for shingle in similarity.shingles(text)])
    return made


def datasketch_preflight(
    db: Database, dataset_id: int, talks: list[list[dict[str, str]]], *, rounds: int, computed: int
) -> dict[str, Any]:
    """Seconds that datasketch takes for the near-duplicates of a file among as many rows, threshold 0.8, all in memory.

    `computed` of the rows are really hashed (a millisecond each); the rest of the index is filled with signatures that are
    random, so that a million rows need not be hashed for an hour: looking up costs the same. Exact comparison of what is
    found is left out, which favours datasketch.
    """
    count = int(store.value(db, "select count(*) from states where dataset_id = ? and state <> 'refused'", dataset_id))
    index, draws = MinHashLSH(threshold=0.8, num_perm=similarity.PERMUTATIONS), np.random.default_rng(5)
    sql = "select e.id, e.content from states s join examples e on e.id = s.example_id where s.dataset_id = ? limit ?"
    began = time.perf_counter()
    real = 0
    for example_id, content in db.execute(sql, [dataset_id, computed]):
        index.insert(example_id, _hashed(formats.text_of(content)), check_duplication=False)
        real += 1
    a_row = (time.perf_counter() - began) / max(1, real)
    scheme = _hashed("").scheme
    for number in range(max(0, count - real)):
        values = draws.integers(0, 2**32, similarity.PERMUTATIONS, dtype=np.uint64)
        made = MinHash(num_perm=similarity.PERMUTATIONS, hashvalues=values, scheme=scheme)
        index.insert(-number - 1, made, check_duplication=False)
    texts = ["\n".join(turn["content"] for turn in talk) for talk in talks]
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        found = [index.query(_hashed(text)) for text in texts]
        taken.append(time.perf_counter() - began)
    return {"datasketch_seconds": round(sorted(taken)[len(taken) // 2], 2), "datasketch_rows": max(count, real),
            "datasketch_fill_seconds_if_hashed": round(a_row * count),
            "datasketch_found": sum(bool(one) for one in found)}  # fmt: skip
