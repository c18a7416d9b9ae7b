"""Fill a store with as many examples as a grown workshop has, valid to the last hash, to measure on.

    python -m benchmarks.populate HOME [--examples 1000000] [--seed 1]

A hundredth as many people as examples, three verdicts an example, five datasets of very different size, versions, runs,
adapters, a ledger, maps, sanctions, held credits. Rows are written in bulk, through every constraint and trigger;
`credit.verify` finds nothing wrong.

The last line printed is one JSON object: how many rows of what, how long it took, and how large the file is.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sqlite_utils import Database

from benchmarks import populate_rest, populate_runs
from factory.base import store
from factory.base.settings import Settings
from factory.intake import checks, formats, reviews, similarity
from factory.intake import policy as policies
from factory.intake.merkle import merkle_root

DAY, YEARS = 86_400.0, 2.0
CHUNK = 20_000
DATASETS = (("field-notes", 0.90), ("bicycle-repair", 0.05), ("bread", 0.03), ("knots", 0.015), ("lichens", 0.005))
VERSIONS = (0.3, 0.65, 0.95)  # of the time, when a version of each dataset is frozen
HELD_OUT = 200
ROLES = {"reviewer": 0.03, "builder": 0.02, "curator": 0.001, "admin": 0.0005}
REFUSED, NEAR, WAITING_TAIL, WITHDRAWN, HINTED = 0.06, 0.02, 0.02, 0.015, 0.03


@dataclass
class World:
    """What has been written so far, as far as later rows lean on it."""

    db: Database
    draw: random.Random
    size: int
    began: float
    until: float
    people: list[int] = field(default_factory=list)
    reviewers: list[int] = field(default_factory=list)
    policies: dict[int, int] = field(default_factory=dict)
    held_out: dict[int, tuple[int, str]] = field(default_factory=dict)
    recent: dict[int, list[tuple[int, str, str]]] = field(default_factory=dict)  # dataset: what may be nearly repeated
    accepted: dict[int, list[tuple[float, float, int, str]]] = field(default_factory=dict)  # from, until, id, hash
    buckets: dict[int, list[np.ndarray]] = field(default_factory=dict)
    indexed: dict[int, list[np.ndarray]] = field(default_factory=dict)
    verdicts: int = 0
    submissions: int = 0


class Words:
    """Sentences of made-up words: each topic has words of its own among those everybody uses."""

    def __init__(self, seed: int, *, vocabulary: int = 30_000, topics: int = 400) -> None:
        self.draws = np.random.default_rng(seed)
        ends = [a + b for a in "bcdfghklmnprstvwz" for b in "aeiou"]
        picked = self.draws.integers(0, len(ends), (vocabulary, 4))
        sizes = self.draws.integers(2, 5, vocabulary)
        self.all = np.array(["".join(ends[i] for i in row[:size]) for row, size in zip(picked, sizes, strict=True)])
        self.topics = self.draws.integers(0, vocabulary, (topics, 400))

    def some(self, topic: int, count: int) -> list[str]:
        """So many words, half of them the topic's."""
        common = (len(self.all) * self.draws.random(count) ** 2).astype(np.int64)
        own = self.topics[topic, self.draws.integers(0, self.topics.shape[1], count)]
        return [str(word) for word in self.all[np.where(self.draws.random(count) < 0.5, own, common)]]

    def talk(self) -> tuple[str, str]:
        """A question and its answer."""
        topic, lengths = int(self.draws.integers(0, len(self.topics))), (8 + self.draws.gamma(2.0, [3.0, 18.0])).astype(int)
        question, answer = self.some(topic, int(lengths[0])), self.some(topic, int(lengths[1]))
        return "How " + " ".join(question) + "?", " ".join(answer).capitalize() + "."


def measured(talk: tuple[str, str]) -> tuple[str, str, bytes]:
    """The canonical text of a talk, its hash and its buckets: the slow part, done in processes of its own."""
    content = formats.canonical([{"role": "user", "content": talk[0]}, {"role": "assistant", "content": talk[1]}])
    marks = np.array(similarity.features(content).marks, dtype=np.int64)
    return content, formats.content_hash(content), marks.tobytes()


def insert_all(db: Database, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
    """Many rows at once, as tuples in the order of the columns."""
    marks = ", ".join("?" * len(columns.split(",")))
    db.conn.executemany(f"insert into {table} ({columns}) values ({marks})", rows)


def found_people(world: World) -> None:
    """Accounts with roles, the first of them a curator and admin."""
    count, db = max(24, world.size // 100), world.db
    first = 1 + (store.value(db, "select max(id) from people") or 0)
    world.people = list(range(first, first + count))
    columns = "id, name, display_name, created_at"
    rows = [(n, f"person-{n}", f"Person {n:,}", world.began + world.draw.random() ** 2 * DAY) for n in world.people]
    insert_all(db, "people", columns, rows)
    granted: list[tuple[Any, ...]] = [(n, "contributor", world.began) for n in world.people]
    at = 0
    for role, share in ROLES.items():
        some = world.people[at : at + max(4 if role == "reviewer" else 1, round(count * share))]
        granted += [(n, role, world.began) for n in some]
        at += len(some)
        if role == "reviewer":
            world.reviewers = some
    insert_all(db, "roles", "person_id, role, granted_at", granted)


def found_datasets(world: World, words: Words) -> None:
    """Datasets with their policy and their sealed questions."""
    db = world.db
    owner = int(store.value(db, "select person_id from roles where role = 'curator'"))
    for slug, _ in DATASETS:
        about = {"slug": slug, "title": slug.replace("-", " ").capitalize(), "purpose": "Answers to how-questions.",
                 "guidelines": "One question, one answer.", "licence": "CC-BY-4.0", "owner_id": owner,
                 "created_at": world.began}  # fmt: skip
        dataset_id = store.insert(db, "datasets", about)
        rules = {"dataset_id": dataset_id, "version": 1, "rules": policies.to_json(policies.Policy()), "set_by": owner,
                 "set_at": world.began}  # fmt: skip
        world.policies[dataset_id] = store.insert(db, "policies", rules)
        rows = [measured(words.talk())[:2] for _ in range(min(HELD_OUT, max(5, world.size // 100)))]
        root = merkle_root([digest for _, digest in rows])
        sealed = {"dataset_id": dataset_id, "root": root, "row_count": len(rows), "sealed_by": owner,
                  "sealed_at": world.began}  # fmt: skip
        set_id = store.insert(db, "held_out_sets", sealed)
        insert_all(db, "held_out_rows", "set_id, position, content, content_hash",
                   [(set_id, place, *row) for place, row in enumerate(rows)])  # fmt: skip
        world.held_out[dataset_id] = (set_id, root)
        world.recent[dataset_id], world.accepted[dataset_id] = [], []
        world.buckets[dataset_id], world.indexed[dataset_id] = [], []


def chunks(world: World, words: Words, pool: ProcessPoolExecutor) -> Iterator[list[tuple[str, str, bytes]]]:
    """Contents with hash and buckets, so many at a time; the next are computed while these are written."""
    sizes = [CHUNK] * (world.size // CHUNK) + [world.size % CHUNK]
    ahead = None
    for size in [size for size in sizes if size]:
        talks = [words.talk() for _ in range(size)]
        following = pool.map(measured, talks, chunksize=500)
        if ahead is not None:
            yield list(ahead)
        ahead = following
    if ahead is not None:
        yield list(ahead)


@dataclass
class Batch:
    """Rows of one chunk, table by table."""

    submissions: list[tuple[Any, ...]] = field(default_factory=list)
    examples: list[tuple[Any, ...]] = field(default_factory=list)
    findings: list[tuple[Any, ...]] = field(default_factory=list)
    verdicts: list[tuple[Any, ...]] = field(default_factory=list)
    decisions: list[tuple[Any, ...]] = field(default_factory=list)
    appeals: list[tuple[Any, ...]] = field(default_factory=list)
    withdrawals: list[tuple[Any, ...]] = field(default_factory=list)
    gold: list[tuple[Any, ...]] = field(default_factory=list)

    def write(self, db: Database) -> None:
        """All of them, each table after those it points to."""
        insert_all(db, "submissions", "id, dataset_id, person_id, source, licence, created_at", self.submissions)
        insert_all(
            db, "examples", "id, submission_id, dataset_id, person_id, position, content, content_hash, bytes, cluster_id,"
            " refused_by_checks, created_at", self.examples,
        )  # fmt: skip
        insert_all(db, "findings", "example_id, code, refuses, rule_version, evidence, sentence", self.findings)
        insert_all(db, "verdicts", "id, example_id, reviewer_id, decision, reason, seconds, at", self.verdicts)
        insert_all(db, "decisions", 'example_id, decision, "by", reason, verdict_ids, at', self.decisions)
        insert_all(db, "appeals", "example_id, person_id, words, at, answered_by, answer, answer_words, answered_at",
                   self.appeals)  # fmt: skip
        insert_all(db, "withdrawals", "example_id, person_id, reason, at", self.withdrawals)
        insert_all(db, "gold_verdicts", "example_id, reviewer_id, decision, seconds, expected, at", self.gold)


def submission(world: World, batch: Batch, at: float) -> tuple[int, int, int, int]:
    """A new submission: its id, dataset and person, and how many examples it will have. Few people give most."""
    draw = world.draw
    dataset_id = draw.choices(list(world.policies), [share for _, share in DATASETS])[0]
    person_id = world.people[int(len(world.people) * draw.random() ** 2.2)]
    world.submissions += 1
    batch.submissions.append(
        (world.submissions, dataset_id, person_id, draw.choice(("form", "file", "api")), "CC-BY-4.0", at)
    )
    return world.submissions, dataset_id, person_id, min(1 + int(draw.expovariate(0.1)), 200)


def take_in(world: World, batch: Batch, first: int, contents: list[tuple[str, str, bytes]]) -> None:
    """The rows that a chunk of contents leaves, from the submission to the decision."""
    draw, span = world.draw, YEARS * 365 * DAY
    left = submitted = dataset_id = person_id = position = 0
    for place, (content, digest, marks) in enumerate(contents):
        example_id = first + place
        at = world.began + span * ((example_id - 1) / world.size) ** 0.7
        if not left:
            submitted, dataset_id, person_id, left = submission(world, batch, at)
            position = 0
        recent = world.recent[dataset_id]
        near = draw.choice(recent) if recent and draw.random() < NEAR else None
        refused = near is not None or draw.random() < REFUSED
        cluster = near[0] if near else example_id
        if near:
            content, digest = near[1], near[2]
        batch.examples.append((example_id, submitted, dataset_id, person_id, position, content, digest,
                               len(content.encode()), cluster, int(refused), at))  # fmt: skip
        left, position = left - 1, position + 1
        if refused:
            code = "near_duplicate" if near else draw.choice(("too_short", "email", "boilerplate", "repetitive", "secret"))
            evidence = json.dumps({"example_id": cluster, "jaccard": 1.0} if near else {})
            batch.findings.append((example_id, code, 1, 1, evidence, f"{checks.RULES[code].title.capitalize()}."))
            continue
        if draw.random() < HINTED:
            batch.findings.append((example_id, "echo", 0, 1, "{}", "An answer is the same as its question."))
        world.buckets[dataset_id].append(np.frombuffer(marks, dtype=np.int64))
        world.indexed[dataset_id].append(np.full(len(marks) // 8, example_id, dtype=np.int32))
        if draw.random() < 0.01:
            recent.append((example_id, content, digest))
        judge(world, batch, (example_id, dataset_id, person_id, digest, at))


def judge(world: World, batch: Batch, example: tuple[int, int, int, str, float]) -> None:
    """Verdicts, and what follows from them; the newest examples wait."""
    draw, (example_id, dataset_id, person_id, digest, at) = world.draw, example
    waits = example_id > world.size * (1 - WAITING_TAIL)
    verdict = draw.choices(("accept", "reject", "return"), (82, 10, 8))[0]
    others = [one for one in draw.sample(world.reviewers, min(6, len(world.reviewers))) if one != person_id]
    agreeing = draw.choice((0, 0, 1)) if waits else draw.choice((2, 3, 3, 4, 4))
    said = [verdict] * agreeing
    if not waits and draw.random() < 0.15:
        said.insert(0, draw.choice([other for other in reviews.DECISIONS if other != verdict]))
    ids, moment = [], at
    for reviewer_id, word in zip(others, said, strict=False):
        world.verdicts, moment = world.verdicts + 1, min(moment + draw.expovariate(1 / (0.5 * DAY)), world.until)
        reason = None if word == "accept" else draw.choice(list(reviews.REASONS))
        batch.verdicts.append((world.verdicts, example_id, reviewer_id, word, reason, draw.uniform(5, 90), moment))
        if word == verdict:
            ids.append(world.verdicts)
    if waits:
        return
    decision, reason = reviews.DECISIONS[verdict], None if verdict == "accept" else draw.choice(list(reviews.REASONS))
    batch.decisions.append((example_id, decision, "review", reason, json.dumps(ids), moment))
    if decision == "rejected" and draw.random() < 0.05:
        open_still = draw.random() < 0.1
        answer = None if open_still else "overturned" if draw.random() < 0.3 else "upheld"
        answered = (
            (None, None, None, None)
            if open_still
            else (others[-1], answer, "I looked again.", min(moment + 2 * DAY, world.until))
        )
        batch.appeals.append((example_id, person_id, "Please look again.", min(moment + DAY, world.until), *answered))
        if answer == "overturned":
            decision, moment = "accepted", min(moment + 2 * DAY, world.until)
            batch.decisions.append((example_id, decision, "appeal", None, "[]", moment))
    until = None
    if draw.random() < WITHDRAWN:
        until = min(moment + draw.uniform(3, 300) * DAY, world.until)
        batch.withdrawals.append((example_id, person_id, "withdrawn by its author", until))
    if decision == "accepted":
        world.accepted[dataset_id].append((moment, until or world.until + 1, example_id, digest))
        if draw.random() < 0.03 and len(others) == 6 and not store_has_gold(batch, example_id):
            word = draw.choices(("accept", "reject"), (9, 1))[0]
            batch.gold.append(
                (example_id, others[-1], word, draw.uniform(5, 60), "accept", min(moment + 5 * DAY, world.until))
            )


def store_has_gold(batch: Batch, example_id: int) -> bool:
    """Whether the newest gold item of the batch is this example."""
    return bool(batch.gold) and batch.gold[-1][0] == example_id


def index(world: World) -> int:
    """The similarity index, written in its own order, so that a hundred million entries are no random walk."""
    total = 0
    for dataset_id, parts in world.buckets.items():
        if not parts:
            continue
        buckets, examples = np.concatenate(parts), np.concatenate(world.indexed[dataset_id])
        parts.clear()
        order = np.argsort(buckets, kind="stable")
        buckets, examples = buckets[order], examples[order]
        for begin in range(0, len(order), 500_000):
            some = zip(buckets[begin : begin + 500_000].tolist(), examples[begin : begin + 500_000].tolist(), strict=True)
            with store.writing(world.db):
                world.db.conn.executemany(
                    "insert or ignore into signature_buckets (dataset_id, bucket, example_id) values (?, ?, ?)",
                    ((dataset_id, bucket, example) for bucket, example in some),
                )
        total += len(order)
    return total


def freeze(world: World, dataset_id: int, number: int, moment: float) -> int | None:
    """The version that a dataset had at a moment; its id, None where nothing was accepted by then."""
    rows = sorted(
        (example_id, digest) for at, until, example_id, digest in world.accepted[dataset_id] if at <= moment < until
    )
    if not rows:
        return None
    hashes = [digest for _, digest in rows]
    owner = store.value(world.db, "select owner_id from datasets where id = ?", dataset_id)
    record = {"dataset_id": dataset_id, "number": number, "root": merkle_root(hashes),
              "sorted_root": merkle_root(sorted(hashes)), "row_count": len(rows),
              "held_out_set_id": world.held_out[dataset_id][0], "policy_id": world.policies[dataset_id],
              "frozen_by": owner, "frozen_at": moment}  # fmt: skip
    with store.writing(world.db):
        version_id = store.insert(world.db, "dataset_versions", record)
        insert_all(world.db, "version_rows", "version_id, position, example_id, content_hash",
                   [(version_id, place, *row) for place, row in enumerate(rows)])  # fmt: skip
    return version_id


def populate(settings: Settings, *, examples: int, seed: int = 1, processes: int = 2) -> dict[str, Any]:
    """Fill a new store; how many rows of what there are, the seconds it took and the bytes of the file."""
    clock, words = time.monotonic(), Words(seed)
    with store.connect(settings) as db:
        now = store.now()
        world = World(db, random.Random(seed), examples, now - YEARS * 365 * DAY, now)
        db.execute("pragma synchronous = off")
        db.execute("pragma cache_size = -400000")
        with store.writing(db):
            found_people(world)
            found_datasets(world, words)
        first = 1
        with ProcessPoolExecutor(processes) as pool:
            for contents in chunks(world, words, pool):
                batch = Batch()
                take_in(world, batch, first, contents)
                with store.writing(db):
                    batch.write(db)
                first += len(contents)
                print(f"{first - 1:,} examples, {time.monotonic() - clock:.0f} s", flush=True)
        entries = index(world)
        versions = []
        for number, share in enumerate(VERSIONS, 1):
            made = {d: freeze(world, d, number, world.began + share * YEARS * 365 * DAY) for d in world.policies}
            versions.append({dataset_id: version_id for dataset_id, version_id in made.items() if version_id})
        populate_runs.train(db, world.draw, versions[-1], world.held_out, builders=world.people[:20],
                            count=max(6, min(300, examples // 1000)))  # fmt: skip
        rest = populate_rest.complete(db, world.draw, [words.talk() for _ in range(min(1000, examples // 10))])
        db.execute("pragma optimize")
        db.execute("pragma wal_checkpoint(truncate)")
        tables = ("people", "examples", "findings", "verdicts", "decisions", "withdrawals", "version_rows", "ledger_entries")
        counts = {table: store.value(db, f"select count(*) from {table}") for table in tables}
    return {**counts, **rest, "index_entries": entries, "bytes": settings.database.stat().st_size,
            "seconds": round(time.monotonic() - clock)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    print(json.dumps(populate(Settings(home=chosen.home), examples=chosen.examples, seed=chosen.seed)))


if __name__ == "__main__":
    main()
