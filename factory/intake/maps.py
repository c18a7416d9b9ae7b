"""Maps of datasets: what the rows of a frozen version are about, drawn once in the background and then only read.

Topics are found on a fair sample, every row is counted into its topic, and at most 5,000 rows are drawn. The sample is those
rows whose content hashes come first: each row has the same chance, and a row stays on the map from version to version.
Held-out rows are laid onto the map too, but neither topics nor words come from them. This module alone writes its tables.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Invalid, NotFound
from factory.intake import datasets, formats, meaning, topics

POINTS, SAMPLE, BATCH = 5_000, 20_000, 2_000
MODEL = f"{meaning.NAME} {meaning.VERSION}"
MAP = "select m.*, v.number as version from topic_maps m join dataset_versions v on v.id = m.version_id"
Progress = Callable[[str, int, int], None]  # what is being done, done, of how many


def draw(
    db: Database, version_id: int, *, progress: Progress | None = None, most_points: int = POINTS, most_sampled: int = SAMPLE
) -> int:
    """Draw the map of a version, some 10,000 rows a second and half a minute for the points; its id.

    A version is drawn once: asking again gives the same map. A sample of 20,000
    rows is held in memory, whatever the version holds. Raises NotFound, Invalid for a version without a word in it.
    """
    tell = progress or (lambda words, done, of: None)
    began = time.monotonic()
    version = datasets.version(db, version_id)
    set_id = version["held_out_set_id"]
    known = _known(db, version_id)
    if known is not None:
        return known
    sample = _sample(db, version_id, most_sampled)
    tell("reading", 0, version["row_count"])
    texts = [text_of(content) for _, content in sample]
    vectors = meaning.vectors(texts)
    if not vectors.any():
        raise Invalid("The rows of this version have no words that could be placed; a map needs words.")
    tell("grouping", 0, 0)
    centroids, numbers = topics.group(vectors, before=_centroids_before(db, version["dataset_id"]))
    count, close = len(centroids), topics.closeness(vectors, centroids, numbers)
    words = topics.telling_words(texts, numbers.tolist(), count)
    rows, people = _counted(db, version, centroids, tell)
    tell("drawing", 0, 0)
    drawn = topics.places(vectors[:most_points])
    points = [
        (sample[at][0], int(numbers[at]), float(vectors[at] @ centroids[numbers[at]]), float(x), float(y))
        for at, (x, y) in enumerate(drawn)
    ]
    found = [
        {
            "number": number, "words": json.dumps(words[number], ensure_ascii=False), "rows": rows[number],
            "people": len(people[number]), "centroid": centroids[number].astype("<f4").tobytes(), "closeness": close[number],
            **_middle([point for point in points if point[1] == number]),
        }
        for number in range(count)
    ]  # fmt: skip
    questions = _questions(db, set_id, centroids, close) if set_id else []
    record = {
        "dataset_id": version["dataset_id"], "version_id": version_id, "held_out_set_id": set_id,
        "model": MODEL, "method": topics.METHOD, "row_count": version["row_count"], "point_count": len(points),
        "seconds": time.monotonic() - began, "made_at": store.now(),
    }  # fmt: skip
    map_id = _keep(db, record, found, points, questions)
    tell("drawing", 1, 1)
    return map_id


def text_of(content: str) -> str:
    """What of a canonical text is placed on a map: all that is said in it."""
    return formats.text_of(content)


def _known(db: Database, version_id: int) -> int | None:
    sql = "select id from topic_maps where version_id = ? and model = ? and method = ?"
    found = store.value(db, sql, version_id, MODEL, topics.METHOD)
    return None if found is None else int(found)


def _sample(db: Database, version_id: int, most: int) -> list[tuple[int, str]]:
    sql = (
        "select r.example_id, e.content from (select example_id, content_hash from version_rows where version_id = ?"
        " order by content_hash limit ?) r join examples e on e.id = r.example_id order by r.content_hash"
    )
    return [(row[0], row[1]) for row in db.execute(sql, [version_id, most])]


def _counted(
    db: Database, version: dict[str, Any], centroids: meaning.Vectors, tell: Progress
) -> tuple[list[int], list[set[int]]]:
    """How many rows fall into each topic, and whose they are; every row of the version is read, some at a time."""
    rows, people = [0] * len(centroids), [set[int]() for _ in centroids]
    done = 0
    for batch in _batches(db, version["id"]):
        numbers, _ = topics.nearest(meaning.vectors([text_of(content) for _, content in batch]), centroids)
        for number, (person_id, _) in zip(numbers.tolist(), batch, strict=True):
            rows[number] += 1
            people[number].add(person_id)
        done += len(batch)
        tell("reading", done, version["row_count"])
    return rows, people


def _batches(db: Database, version_id: int) -> Iterator[list[tuple[int, str]]]:
    sql = (
        "select e.person_id, e.content from version_rows r join examples e on e.id = r.example_id"
        " where r.version_id = ? and r.position >= ? and r.position < ? order by r.position"
    )
    start = 0
    while batch := db.execute(sql, [version_id, start, start + BATCH]).fetchall():  # short reads: nobody waits for them
        yield batch
        start += BATCH


def _centroids_before(db: Database, dataset_id: int) -> meaning.Vectors | None:
    """The centroids of the newest map, so that topics keep their numbers; None where it is of another model."""
    found = latest(db, dataset_id)
    if found is None or found["model"] != MODEL:
        return None
    return centroids_of(db, found["id"])


def centroids_of(db: Database, map_id: int) -> meaning.Vectors:
    """The centroids of a map's topics, by number: float32 [k, 256]."""
    found = store.rows(db, "select centroid from topics where map_id = ? order by number", map_id)
    return np.stack([np.frombuffer(row["centroid"], dtype="<f4") for row in found]).astype(np.float32)


def _middle(points: list[tuple[int, int, float, float, float]]) -> dict[str, float]:
    """Where a topic's name stands: the middle of its points, which those far away do not move."""
    if not points:
        return {"x": 0.0, "y": 0.0}
    return {"x": float(np.median([point[3] for point in points])), "y": float(np.median([point[4] for point in points]))}


def _questions(db: Database, set_id: int, centroids: meaning.Vectors, close: list[float]) -> list[tuple[int, int | None]]:
    """The topic of each held-out row, None for one that is not close enough to any."""
    contents = datasets.held_out_content(db, set_id)
    numbers, likeness = topics.nearest(meaning.vectors([text_of(content) for content in contents]), centroids)
    return [
        (position, int(number) if like >= close[number] else None)
        for position, (number, like) in enumerate(zip(numbers, likeness, strict=True))
    ]


def _keep(
    db: Database,
    record: dict[str, Any],
    found: list[dict[str, Any]],
    points: list[tuple[int, int, float, float, float]],
    questions: list[tuple[int, int | None]],
) -> int:
    with store.writing(db):
        known = _known(db, record["version_id"])  # another process may have been faster
        if known is not None:
            return known
        map_id = store.insert(db, "topic_maps", record)
        for topic in found:
            store.insert(db, "topics", {"map_id": map_id, **topic})
        db.conn.executemany(
            "insert into topic_points (map_id, example_id, number, likeness, x, y) values (?, ?, ?, ?, ?, ?)",
            [(map_id, *point) for point in points],
        )
        db.conn.executemany(
            "insert into topic_questions (map_id, position, number) values (?, ?, ?)",
            [(map_id, *question) for question in questions],
        )
    return map_id


def latest(db: Database, dataset_id: int) -> dict[str, Any] | None:
    """The newest map of a dataset: the columns of `topic_maps` and version (its number); None before the first."""
    return store.row(db, f"{MAP} where m.dataset_id = ? order by m.id desc limit 1", dataset_id)


def get(db: Database, map_id: int) -> dict[str, Any]:
    """One map, as `latest` gives it. Raises NotFound."""
    found = store.row(db, f"{MAP} where m.id = ?", map_id)
    if found is None:
        raise NotFound(f"There is no map {map_id}; the page of a dataset shows its newest.")
    return found


def due(db: Database, dataset_id: int) -> dict[str, Any] | None:
    """The newest version of a dataset if no map was drawn of it yet: id, number, row_count."""
    return store.row(
        db,
        "select v.id, v.number, v.row_count from dataset_versions v where v.dataset_id = :dataset_id"
        " and v.id = (select max(id) from dataset_versions where dataset_id = :dataset_id) and not exists"
        " (select 1 from topic_maps m where m.version_id = v.id and m.model = :model and m.method = :method)",
        dataset_id=dataset_id,
        model=MODEL,
        method=topics.METHOD,
    )


def get_topic(db: Database, map_id: int, number: int) -> dict[str, Any]:
    """One topic: number, name, words, rows, people, closeness, x, y. Raises NotFound."""
    found = next((topic for topic in topics_of(db, map_id) if topic["number"] == number), None)
    if found is None:
        raise NotFound(f"This map has no topic {number}; `needs` lists those there are.")
    return found


def topics_of(db: Database, map_id: int) -> list[dict[str, Any]]:
    """The topics of a map by number: number, name, words (a list), rows, people, closeness, x, y."""
    found = store.rows(
        db, "select number, words, rows, people, closeness, x, y from topics where map_id = ? order by number", map_id
    )
    for topic in found:
        topic["words"] = json.loads(topic["words"])
        topic["name"] = ", ".join(topic["words"][:3]) or f"topic {topic['number'] + 1}"
    return found


def points(db: Database, map_id: int) -> list[dict[str, Any]]:
    """The rows that are drawn on a map, without those withdrawn since.

    Dictionaries: example_id, number, x, y, question (its first 120 characters).
    """
    return store.rows(
        db,
        "select p.example_id, p.number, p.x, p.y, "
        " substr(json_extract(e.content, '$.messages[#-2].content'), 1, 120) as question from topic_points p"
        " join examples e on e.id = p.example_id where p.map_id = ? and not exists"
        " (select 1 from withdrawals w where w.example_id = p.example_id) order by p.example_id",
        map_id,
    )


def typical(db: Database, map_id: int, number: int, *, limit: int = 10) -> list[dict[str, Any]]:
    """The drawn rows nearest to the middle of a topic, the most typical first: example_id, content, likeness."""
    return store.rows(
        db,
        "select p.example_id, p.likeness, e.content from topic_points p join examples e on e.id = p.example_id"
        " where p.map_id = ? and p.number = ? and not exists"
        " (select 1 from withdrawals w where w.example_id = p.example_id) order by p.likeness desc limit ?",
        map_id,
        number,
        limit,
    )
