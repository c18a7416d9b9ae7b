"""Which examples mean the same in other words: codes of their vectors find candidates, the vectors decide.

A vector's code is the side of 64 fixed planes on which it lies; three runs of 20 sides are the buckets it falls into. What
is looked for tries the buckets of its own code and those that differ in sides near which it lies (168 in all). Of pairs
with a cosine of 0.95 a bucket is shared by 96 of 100, of 0.97 by 99. Why no vector library: docs/decisions/0021.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from factory.base import store
from factory.intake import formats, meaning
from factory.intake.meaning import Vectors

MODEL = f"{meaning.NAME} {meaning.VERSION}"
PLANES, SIDES, TABLES, UNSURE, FLIPPED, SEED = 64, 20, 3, 10, 2, 20_260_101
FAR, VERIFIED, FOUND = 17, 3, 400  # sides in which candidates may differ; how many are compared; rows read of a lookup
MOST_EARLIER = 2_000
KEPT = 8_192
_vectors: OrderedDict[str, Vectors] = OrderedDict()
_lock = Lock()  # requests are answered in several threads
ACTIVE = "('waiting', 'accepted', 'returned')"


def vectors_of(contents: Sequence[str]) -> Vectors:
    """The vectors of canonical texts: of all that is said in them, [n, 256], each of length 1.

    A vector follows from the text alone, so those of the last texts are kept by `formats.content_hash` in this process,
    8 MB at most.
    """
    keys = [formats.content_hash(content) for content in contents]
    known = kept(keys)
    missing = {key: content for key, content, vector in zip(keys, contents, known, strict=True) if vector is None}
    fresh = dict(zip(missing, meaning.vectors([formats.text_of(each) for each in missing.values()]), strict=True))
    _keep(fresh)
    if not keys:
        return np.zeros((0, meaning.DIMENSIONS), dtype=np.float32)
    return np.stack([fresh[key] if vector is None else vector for key, vector in zip(keys, known, strict=True)])


def kept(hashes: Sequence[str]) -> list[Vectors | None]:
    """The vectors of texts that this process still has, by the hash of each; None for the others."""
    with _lock:
        found = [_vectors.get(key) for key in hashes]
        for key, vector in zip(hashes, found, strict=True):
            if vector is not None:
                _vectors.move_to_end(key)
    return found


def _keep(fresh: dict[str, Vectors]) -> None:
    with _lock:
        for key, vector in fresh.items():
            _vectors[key] = vector.copy()  # a row of its own: a view would hold on to all of its batch
        while len(_vectors) > KEPT:
            _vectors.popitem(last=False)


def catch_up(db: Database, dataset_id: int, *, most: int = MOST_EARLIER) -> int:
    """Write the codes of up to `most` examples that have none yet, oldest first; how many. Inside a transaction."""
    reached = store.row(db, "select model, example_id from meaning_reached where dataset_id = ?", dataset_id)
    if reached is None or reached["model"] != MODEL:  # what another model wrote cannot be compared with
        db.execute("delete from meaning_codes where dataset_id = ?", [dataset_id])
        db.execute("delete from meaning_reached where dataset_id = ?", [dataset_id])
        db.execute(
            "insert into meaning_reached (dataset_id, model, example_id) values (?, ?, 0)", [dataset_id, MODEL]
        )  # fmt: skip
    found = store.rows(
        db,
        "select id, content from examples where dataset_id = ? and refused_by_checks = 0 and id > ? order by id limit ?",
        dataset_id,
        reached["example_id"] if reached and reached["model"] == MODEL else 0,
        most,
    )
    if not found:
        return 0
    sides = _sides(vectors_of([record["content"] for record in found]))
    codes = _codes(sides)
    records = [
        (dataset_id, bucket, record["id"], code)
        for record, row, code in zip(found, sides > 0, codes, strict=True)
        for bucket in _buckets(row)
    ]
    db.conn.executemany(
        "insert or ignore into meaning_codes (dataset_id, bucket, example_id, code) values (?, ?, ?, ?)", records
    )
    db.execute("update meaning_reached set example_id = ? where dataset_id = ?", [found[-1]["id"], dataset_id])
    return len(found)


def nearest(
    db: Database, dataset_id: int, vectors: Vectors, *, at_least: float, except_ids: tuple[int, ...] = ()
) -> list[tuple[int, float] | None]:
    """For each vector the example taken in that means most nearly the same and the cosine, or None below `at_least`."""
    sides = _sides(vectors)
    candidates = [
        _candidates(db, dataset_id, row, code, except_ids) if vector.any() else []
        for row, code, vector in zip(sides, _codes(sides), vectors, strict=True)
    ]
    wanted = sorted({example_id for each in candidates for example_id in each})
    contents = _contents(db, wanted)
    places = {example_id: place for place, example_id in enumerate(contents)}
    theirs = vectors_of(list(contents.values()))
    found: list[tuple[int, float] | None] = []
    for vector, each in zip(vectors, candidates, strict=True):
        alike = [(float(vector @ theirs[places[one]]), one) for one in each if one in places]
        best = max(alike, default=(0.0, 0))
        found.append((best[1], best[0]) if best[0] >= at_least else None)
    return found


def _candidates(
    db: Database, dataset_id: int, sides: NDArray[np.float32], code: int, except_ids: tuple[int, ...]
) -> list[int]:  # fmt: skip
    probes = [probe for table in range(TABLES) for probe in _probes(sides, table)]
    cursor = db.conn.execute(
        "select example_id, code from meaning_codes where dataset_id = ?"
        f" and bucket in ({_marks(len(probes))}) limit {FOUND}",
        [dataset_id, *probes],
    )
    near = {example_id: (theirs ^ code).bit_count() for example_id, theirs in cursor}
    close = sorted((far, example_id) for example_id, far in near.items() if far <= FAR and example_id not in except_ids)
    return [example_id for _, example_id in close[:VERIFIED]]


def _contents(db: Database, example_ids: list[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for start in range(0, len(example_ids), 500):
        some = example_ids[start : start + 500]
        sql = f"""select e.id, e.content from examples e join example_states s on s.example_id = e.id
            where e.id in ({_marks(len(some))}) and s.state in {ACTIVE}"""
        found.update((record["id"], record["content"]) for record in store.rows(db, sql, *some))
    return found


@cache
def _marks(count: int) -> str:
    return ", ".join("?" * count)


@cache
def _planes() -> NDArray[np.float32]:
    # This old generator's numbers are promised never to change, and stored codes depend on them.
    return np.random.RandomState(SEED).standard_normal((meaning.DIMENSIONS, PLANES)).astype(np.float32)


def _sides(vectors: Vectors) -> NDArray[np.float32]:
    """How far above (or, negative, below) each plane the vectors lie: [n, 64]."""
    return (vectors @ _planes()).astype(np.float32)


def _codes(sides: NDArray[np.float32]) -> list[int]:
    """The sides as one number each, with a sign, as SQLite has them."""
    packed = np.packbits(sides > 0, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little", signed=True) for row in packed]


def _key(above: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(above, bitorder="little").tobytes(), "little")


def _buckets(above: NDArray[np.bool_]) -> list[int]:
    return [(table << SIDES) | _key(above[table * SIDES : (table + 1) * SIDES]) for table in range(TABLES)]


def _probes(sides: NDArray[np.float32], table: int) -> list[int]:
    """The bucket of a table, and those across one or two of the ten planes nearest to the vector."""
    mine = sides[table * SIDES : (table + 1) * SIDES]
    key = (table << SIDES) | _key(mine > 0)
    unsure = [1 << int(place) for place in np.argsort(np.abs(mine))[:UNSURE]]
    flips = [sum(some) for count in range(FLIPPED + 1) for some in combinations(unsure, count)]
    return [key ^ flip for flip in flips]
