"""Ten contributors and two reviewers write at once, each in a process of their own: no error, no lost row.

    python -m benchmarks.together [--minutes 5] [--pause 0.5] [--examples 10000] [--home FOLDER] [--quick]

Contributors submit one to five rows, withdraw or revise now and then; reviewers judge what their queue gives. Between two
deeds each waits `--pause` seconds on average; 0 is as fast as it goes. The store is filled by `benchmarks.populate` first;
one in FOLDER is used as it is, and written to. Afterwards all is counted again: rows that processes were told are kept
against rows that are there, the sums that triggers keep against a plain count, `credit.verify`, and SQLite's own
check. The last line printed is one JSON object; run it on an otherwise idle machine. `errors` and `lost` have to be 0.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from benchmarks import populate
from benchmarks.scale import percentile
from factory.base import people, store
from factory.base.errors import Conflict
from factory.base.people import Person
from factory.base.settings import Settings
from factory.credit import verify
from factory.intake import contributions, datasets, policy, reviews

CONTRIBUTORS, REVIEWERS = 10, 2
STATES = "select dataset_id, person_id, state, count(*) from example_states group by 1, 2, 3"


class Hand:
    """One process: what it did, how long each deed took, and what went wrong."""

    def __init__(self, home: Path, name: str, number: int) -> None:
        self.settings, self.name, self.draw = Settings(home=home), name, random.Random(number)
        self.words = populate.Words(1000 + number)
        self.did: Counter[str] = Counter()
        self.taken: dict[str, list[float]] = {"submit": [], "decide": [], "queue": []}
        self.problems: list[str] = []
        self.mine: list[int] = []

    def rows(self, count: int) -> list[list[dict[str, str]]]:
        """New examples."""
        talks = [self.words.talk() for _ in range(count)]
        return [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in talks]

    def timed(self, what: str, does: Any) -> Any:
        """The answer of a deed, its seconds noted."""
        began = time.perf_counter()
        answer = does()
        self.taken[what].append((time.perf_counter() - began) * 1000)
        return answer

    def contribute(self, db: Database, person: Person) -> None:
        """Submit a few rows; withdraw or revise one of one's own now and then."""
        rows = self.rows(self.draw.randint(1, 5))
        given = {"source": "api", "licence": "CC-BY-4.0", "attested": True}
        made = self.timed("submit", lambda: contributions.submit(db, 1, person=person, rows=rows, **given))
        self.did["submissions"] += 1
        self.did["rows"] += len(made.example_ids)
        self.mine += made.example_ids
        if self.mine and self.draw.random() < 0.1:
            one = self.mine.pop(self.draw.randrange(len(self.mine)))
            state = store.value(db, "select state from example_states where example_id = ?", one)
            try:
                if state == "waiting" and self.draw.random() < 0.5:
                    contributions.revise(db, one, person=person, messages=self.rows(1)[0])
                    self.did["rows"] += 1
                    self.did["submissions"] += 1
                elif state not in ("withdrawn", "refused"):
                    contributions.withdraw(db, one, person=person, reason="a second thought")
                else:
                    return
                self.did["withdrawals"] += 1
            except Conflict:  # a reviewer was quicker
                self.did["overtaken"] += 1

    def review(self, db: Database, person: Person) -> None:
        """Judge the first of the queue."""
        queue = self.timed("queue", lambda: reviews.queue(db, 1, reviewer=person, limit=20))
        if not queue:
            self.did["empty queues"] += 1
            return
        said = self.draw.choices(("accept", "reject", "return"), (8, 1, 1))[0]
        reason = None if said == "accept" else "wrong"
        try:
            one = queue[0]["example_id"]
            self.timed("decide", lambda: reviews.decide(db, one, reviewer=person, decision=said, reason=reason, seconds=5.0))
            self.did["verdicts"] += 1
        except Conflict:  # it was withdrawn or settled since the queue was read
            self.did["overtaken"] += 1

    def work(self, seconds: float, pause: float, does: str, ready: Any) -> None:
        """Go on for so long, once everybody is ready."""
        with store.connect(self.settings) as db:
            person = people.get(db, self.name)
            contributions.preflight(db, 1, person=person, rows=self.rows(1))  # a server has read its small models long ago
            ready.wait()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                try:
                    getattr(self, does)(db, person)
                except Exception as problem:  # whatever goes wrong is what is looked for here
                    self.problems.append(f"{type(problem).__name__}: {problem}")
                if pause:
                    time.sleep(self.draw.expovariate(1 / pause))


def hand(home: Path, job: tuple[str, str], number: int, seconds: float, pause: float, ready: Any, told: Any) -> None:
    """A process's whole life."""
    name, does = job
    mine = Hand(home, name, number)
    mine.work(seconds, pause, does, ready)
    told.put((mine.did, mine.taken, mine.problems))


def prepare(db: Database) -> tuple[list[str], list[str]]:
    """Accounts of those who will write, in a dataset whose limits do not stop them; names."""
    owner = people.maintainer(db)
    mark = store.value(db, "select count(*) from people")
    rules = policy.Policy(daily_base_examples=10_000, daily_cap_examples=10_000)
    datasets.set_policy(db, 1, rules, person=owner)
    made = {role: [f"{role}-{mark}-{n}" for n in range(count)] for role, count in
            (("contributor", CONTRIBUTORS), ("reviewer", REVIEWERS))}  # fmt: skip
    for role, names in made.items():
        for name in names:
            people.create(db, name, roles=(role,))
    return made["contributor"], made["reviewer"]


def counted(db: Database) -> dict[str, int]:
    """How many rows each table has that is written to."""
    tables = ("submissions", "examples", "withdrawals")
    verdicts = "select (select count(*) from verdicts) + (select count(*) from gold_verdicts)"
    return {**{t: store.value(db, f"select count(*) from {t}") for t in tables}, "verdicts": store.value(db, verdicts)}


def looked_through(db: Database) -> list[str]:
    """What is wrong with a store: its own checks, and every person's counts against a plain count."""
    found = [row[0] for row in db.execute("pragma integrity_check") if row[0] != "ok"]
    found += [f"foreign key of {row[0]}" for row in db.execute("pragma foreign_key_check")]
    plain = {(d, p, s): n for d, p, s, n in db.execute(STATES)}
    for entry in store.rows(db, "select * from tallies"):
        for state in datasets.STATES:
            if entry[state] != plain.get((entry["dataset_id"], entry["person_id"], state), 0):
                found.append(f"tallies of person {entry['person_id']} in dataset {entry['dataset_id']}: {state}")
    verify.verify(db)
    return found


def run(home: Path, *, minutes: float, pause: float) -> dict[str, Any]:
    """Let them write, then look what is there."""
    with store.connect(Settings(home=home)) as db:
        contributors, reviewers = prepare(db)
        before = counted(db)
    context = multiprocessing.get_context("spawn")
    jobs = [(name, "contribute") for name in contributors] + [(name, "review") for name in reviewers]
    told, ready = context.Queue(), context.Barrier(len(jobs))
    processes = [
        context.Process(target=hand, args=(home, job, number, 60 * minutes, pause, ready, told))
        for number, job in enumerate(jobs)
    ]
    for process in processes:
        process.start()
    answers = [told.get(timeout=60 * minutes + 300) for _ in processes]
    for process in processes:
        process.join()
    did: Counter[str] = sum((answer[0] for answer in answers), Counter())
    problems = [problem for answer in answers for problem in answer[2]]
    taken = {what: [ms for answer in answers for ms in answer[1][what]] for what in ("submit", "queue", "decide")}
    with store.connect(Settings(home=home)) as db:
        after, wrong = counted(db), looked_through(db)
    names = {"rows": "examples", "submissions": "submissions", "withdrawals": "withdrawals", "verdicts": "verdicts"}
    lost = {key: did[key] - (after[table] - before[table]) for key, table in names.items()}
    figures = {f"{what}_{kind}_ms": percentile(values, share) for what, values in taken.items() if values
               for kind, share in (("p50", 0.5), ("p95", 0.95), ("p100", 1.0))}  # fmt: skip
    return {"minutes": minutes, "pause_seconds": pause, **did, "errors": len(problems), "first_errors": problems[:5],
            "lost": sum(abs(number) for number in lost.values()), "wrong": wrong[:5], **figures}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--pause", type=float, default=0.5)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--quick", action="store_true", help="20 seconds on 1,000 examples")
    chosen = parser.parse_args()
    minutes, examples = (1 / 3, 1000) if chosen.quick else (chosen.minutes, chosen.examples)
    with tempfile.TemporaryDirectory() as folder:
        home = chosen.home or Path(folder)
        if not Settings(home=home).database.exists():
            print(f"filled: {populate.populate(Settings(home=home), examples=examples)}", flush=True)
        result = run(home, minutes=minutes, pause=chosen.pause)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
