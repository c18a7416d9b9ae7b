"""Whether the workshop stays fair under attack: 90 simulated days through the real functions, on a real database.

    python -m benchmarks.gaming [--quick] [--days 90] [--seeds 10] [--first-seed 1] [--processes 2] [--out FOLDER]

Honest experts and careful newcomers contribute beside a flooder, a copier, a paraphraser, a ring of 20 accounts of one
person and a vandal; honest reviewers judge beside colluders, somebody who accepts everything, and the vandal. `gaming_world`
says who does what and how often honest reviewers err. With `--data`, a folder of JSON or JSONL files, rows are real ones;
without it they are generated. A second, smaller world a seed and number of accounts tells what splitting one's work gains.
`--out` keeps the figures of each seed as it ends, and a later run goes on from there. `--quick` takes under 50 s: 12 days,
one seed, so that not every claim can be shown. The last line printed is one JSON object with every figure and pass or fail
per claim and seed; ranks by count and by raw rate, over the same decisions, are the controls.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any

from sqlite_utils import Database

from benchmarks import gaming_table, gaming_texts
from benchmarks.gaming_table import BADLY
from benchmarks.gaming_texts import HONEST_KINDS, Texts
from benchmarks.gaming_world import DAY, HOURS, Member, World, cast
from factory.base import store
from factory.credit import leaderboards
from factory.intake import policy as policies
from factory.intake import reviewers
from factory.intake.policy import Policy

HONEST = ("expert", "newcomer")
SPLITS = (1, 2, 4, 16)
DEALS = 4  # ways to hand the same rows to so many accounts
WORK = 120
LIMITS = {"split_gain": 1.02, "accepted_spam": 0.01, "wrongly_refused": 0.02, "repaired": 0.8, "weight_left": 0.9}


def opened(folder: Path, name: str, seed: int) -> Database:
    """A fresh database whose secret draw follows from the seed, so that a run can be repeated."""
    db = store.open_store(folder / f"{name}.db")
    db.execute("pragma synchronous = off")  # the disk is not what is measured here
    db.execute("update draw_secret set value = ?", [random.Random(f"secret {seed}").randbytes(32)])
    db.conn.commit()
    return db


def ranked(world: World, by: str) -> list[Member]:
    """Contributors in the order of a rule: standing (the board of the program), count or rate of acceptance.

    Who is equal by count or rate is in a drawn order: these rules say nothing about it, and the board's own order would.
    """
    board = leaderboards.contributors(world.db, dataset_id=world.dataset_id)
    if by != "standing":
        random.Random(f"equals {world.seed}").shuffle(board)
    if by == "count":
        board.sort(key=lambda r: -r["accepted"])
    elif by == "rate":
        board.sort(key=lambda r: -(r["accepted"] / r["decided"] if r["decided"] else 0.0))
    named = {member.name: member for member in world.members}
    return [named[record["name"]] for record in board]


def tops(world: World) -> dict[str, Any]:
    """For each rule, the roles of the first ten and how many honest experts are among as many as there are."""
    told = {}
    for by in ("standing", "count", "rate"):
        order = ranked(world, by)
        experts = [place for place, member in enumerate(order, 1) if member.role == "expert"]
        attackers = [place for place, member in enumerate(order, 1) if member.role not in HONEST]
        told[by] = {
            "first_ten": dict(Counter(member.role for member in order[:10])),
            "experts_in_top": sum(place <= len(experts) for place in experts) / max(1, len(experts)),
            "honest_in_top": 1 - sum(place <= len(experts) for place in attackers) / max(1, len(experts)),
            "best_attacker": min(attackers, default=None),
            "worst_expert": max(experts, default=None),
        }
    return told


def outcomes(world: World, days: int) -> dict[str, Any]:
    """What was taken in and what was refused, held against what the rows truly are."""
    states = {r["example_id"]: r for r in store.rows(world.db, "select * from example_states")}
    accepted = [i for i, r in states.items() if r["state"] == "accepted"]
    spam = [i for i in accepted if world.rows[i].kind not in HONEST_KINDS]
    honest = [i for i in states if i in world.rows and world.authors[i].role in HONEST and world.rows[i].kind == "good"]
    decisions = store.rows(world.db, "select example_id, decision, by, at from decisions order by id")
    rejected = {d["example_id"]: d["at"] for d in decisions if d["decision"] == "rejected"}
    refused = rejected.keys() & set(honest)
    by_checks = sum(n for key, n in world.dropped.items() if key in {f"{role} good" for role in HONEST})
    appealed = {r["example_id"]: r for r in store.rows(world.db, "select * from appeals")}
    # Left out: what its author had less than two days to see, and appeals that nobody has answered yet.
    over = [i for i in refused if rejected[i] < world.moment - 2 * DAY and (i not in appealed or appealed[i]["answer"])]
    again = {states[i]["cluster_id"] for i in accepted}  # a row that was sent again is of the same cluster
    waits = [(r["decided_at"] or world.moment) - r["created_at"] for i in honest for r in [states[i]]]
    silent = sum(d["by"] == "deadline" for d in decisions if d["example_id"] in set(honest))
    per_kind = Counter(f"{world.authors[i].role} {world.rows[i].kind}" for i in accepted)
    return {
        "rows": len(states),
        "accepted": len(accepted),
        "accepted_by": dict(sorted(per_kind.items())),
        "tried_by": dict(sorted(world.tried.items())),
        "refused_by_checks": dict(sorted(world.dropped.items())),
        "accepted_spam": len(spam) / max(1, len(accepted)),
        "accepted_slips": sum(world.rows[i].kind == "slip" for i in accepted) / max(1, len(accepted)),
        "honest_good": len(honest),
        "refused_by_review": len(refused),
        "good_refused_by_checks": by_checks,
        "wrongly_refused": (len(refused) + by_checks) / max(1, len(honest) + by_checks),
        "refused_and_over": len(over),
        "appealed": sum(i in appealed for i in over),
        "repaired_of_refused": mean(states[i]["cluster_id"] in again for i in over) if over else None,
        "longest_wait_days": max(waits, default=0.0) / DAY,
        "median_wait_days": median(waits) / DAY if waits else 0.0,
        "honest_decided_by_silence": silent / max(1, len(honest)),
        "verdicts": store.value(world.db, "select count(*) from verdicts"),
        "gold_verdicts": store.value(world.db, "select count(*) from gold_verdicts"),
        "deadline_days": policies.current(world.db, world.dataset_id)[1].deadline_days,
        "days": days,
    }


def weights(world: World) -> dict[str, dict[str, float]]:
    """For each reviewer the weight of a verdict (`reviewers.Accuracy.weight`) at the end and after 50; 1 is a newcomer's."""
    with store.clock(lambda: world.moment):
        return {
            member.name: {
                "judged": world.judged[member.name],
                "at_50": world.weights[member.name].get(50, 1.0),
                "at_end": reviewers.accuracy(world.db, member.who.id).weight,
            }
            for member in world.members
            if member.reviews
        }


class Splitter(World):
    """A world in which one person sends the same work, three rows a day, from so many accounts in turn.

    Reviewers come at the same hours and say the same of the same row however many accounts there are: else two more errs in
    one of the worlds would weigh as much as what is looked for.
    """

    def __init__(self, db: Database, seed: int, members: list[Member], texts: Texts, quality: float, deal: int) -> None:
        """`quality`: the share of good rows; the others have wrong answers. `deal` says which account sends which."""
        super().__init__(db, seed, members, texts)
        draw = random.Random(f"work {seed} {quality}")
        self.accounts = [member for member in members if member.role == "splitter"]
        work = [texts.good() if draw.random() < quality else texts.wrong() for _ in range(WORK)]
        senders = [self.accounts[number % len(self.accounts)] for number in range(WORK)]
        random.Random(f"deal {seed} {deal}").shuffle(senders)
        self.work = iter(zip(senders, work, strict=True))

    def _plan(self, day: int) -> Iterator[tuple[float, Member, Any]]:
        for member in self.members:
            self.rng = random.Random(f"plan {self.seed} {member.name} {day}")
            yield from self.plan_of(member)

    def _review(self, member: Member) -> None:
        self.rng = random.Random(f"review {self.seed} {member.name} {self.moment}")
        super()._review(member)

    def opinion(self, member: Member, example_id: int, *, care: float = 1.0) -> str:
        """As every reviewer's, from a draw of its own for each row and reviewer."""
        kept = self.rng
        self.rng = random.Random(f"said {self.seed} {member.name} {self.rows[example_id].question} {care}")
        try:
            return super().opinion(member, example_id, care=care)
        finally:
            self.rng = kept

    def contribute(self, member: Member) -> None:
        """The first account's turn is the turn of all of them."""
        if member is self.accounts[0]:
            for sender, row in itertools.islice(self.work, 3):
                self.submit(sender, row)


def split(folder: Path, seed: int, pairs: list[tuple[str, str]], accounts: int, quality: float, deal: int = 0) -> float:
    """Standing-weighted acceptance of one person's 120 rows in 40 days: accepted clusters times standing, summed."""
    members = [Member(f"self-{n:02}", "splitter", rows=1.0) for n in range(accounts)]
    members += [Member(f"reviewer-{n:02}", "reviewer", reviews=14) for n in range(5)]
    db = opened(folder, f"split-{seed}-{accounts}-{quality}-{deal}", seed)
    try:
        world = Splitter(db, seed, members, Texts(random.Random(f"texts {seed}"), pairs), quality, deal)
        world.run(WORK // 3)
        with store.clock(lambda: world.moment):
            board = leaderboards.contributors(db, dataset_id=world.dataset_id)
        return float(sum(record["accepted"] * record["lower"] for record in board))
    finally:
        db.close()


def splitting(folder: Path, seed: int, pairs: list[tuple[str, str]], qualities: tuple[float, ...]) -> dict[str, Any]:
    """What splitting gains over one account, for a good and for a middling worker.

    The mean of several deals: which of the rows an account happens to send is luck that nobody can choose, and it sways a
    single deal by some percent.
    """
    told: dict[str, Any] = {}
    for quality in qualities:
        reached = {
            k: mean(split(folder, seed, pairs, k, quality, deal) for deal in range(DEALS if k > 1 else 1)) for k in SPLITS
        }
        told[str(quality)] = {str(k): reached[k] / max(1e-9, reached[1]) for k in SPLITS[1:]}
    told["worst"] = max(gain for gains in list(told.values()) for gain in gains.values())
    return told


def held(board: dict[str, Any]) -> tuple[float, float]:
    """How well honest experts hold the top of a board; of two with as many of them, one without attackers is better."""
    return board["experts_in_top"], board["honest_in_top"]


def claims(found: dict[str, Any]) -> dict[str, bool]:
    """Pass or fail of each claim, from the figures of one seed."""
    board, rows, bad = found["tops"], found["outcomes"], [w for n, w in found["weights"].items() if n.startswith(BADLY)]
    judged = [w for w in bad if w["judged"] >= 50]
    repaired = rows["repaired_of_refused"]
    best = board["standing"]
    return {
        "experts_hold_the_top": best["experts_in_top"] >= 0.9 and best["honest_in_top"] == 1.0,
        "count_does_worse": held(board["count"]) < held(best),
        "rate_does_worse": held(board["rate"]) < held(best),
        "splitting_gains_nothing": found["splitting"]["worst"] <= LIMITS["split_gain"],
        "accepted_spam": rows["accepted_spam"] <= LIMITS["accepted_spam"],
        "wrongly_refused": rows["wrongly_refused"] <= LIMITS["wrongly_refused"],
        "repaired_by_appeal": repaired is None or repaired >= LIMITS["repaired"],
        "bad_reviewers_lose_weight": bool(judged) and all(w["at_50"] <= LIMITS["weight_left"] for w in judged),
        "nobody_waits_too_long": rows["longest_wait_days"] <= rows["deadline_days"] + HOURS / 24,
    }


def one_seed(seed: int, words: argparse.Namespace) -> dict[str, Any]:
    """All figures of one seed, with the claims."""
    started = time.process_time()
    pairs = gaming_texts.read(words.data)
    with tempfile.TemporaryDirectory(prefix="gaming-") as folder:
        db = opened(Path(folder), f"world-{seed}", seed)
        try:
            policy = Policy() if not words.quick else dataclasses.replace(Policy(), deadline_days=4)
            members, texts = cast(random.Random(f"cast {seed}")), Texts(random.Random(f"texts {seed}"), pairs)
            world = World(db, seed, members, texts, policy, careful=words.careful)
            world.run(words.days)
            with store.clock(lambda: world.moment):
                found = {
                    "seed": seed,
                    "tops": tops(world),
                    "outcomes": outcomes(world, words.days),
                    "weights": weights(world),
                }
        finally:
            db.close()
        found["splitting"] = splitting(Path(folder), seed, pairs, (0.9,) if words.quick else (0.9, 0.5))
    found["claims"] = claims(found)
    found["cpu_seconds"] = round(time.process_time() - started, 1)
    return found


def every_seed(words: argparse.Namespace) -> list[dict[str, Any]]:
    """The figures of each seed, in order; those that a run with the same words left in its folder are taken from there."""
    how = {"days": words.days, "quick": words.quick, "careful": words.careful, "data": str(words.data or "")}
    wanted = range(words.first_seed, words.first_seed + words.seeds)
    found: dict[int, dict[str, Any]] = {}
    for seed in wanted if words.out else ():
        file = words.out / f"seed-{seed:02}.json"
        kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if kept.get("how") == how:
            found[seed] = kept
    with ProcessPoolExecutor(words.processes, get_context("spawn"), max_tasks_per_child=1) as pool:
        running = {pool.submit(one_seed, seed, words): seed for seed in wanted if seed not in found}
        for done in as_completed(running):
            seed = running[done]
            found[seed] = {**done.result(), "how": how}
            if words.out:
                part = words.out / f"seed-{seed:02}.json"
                part.write_text(json.dumps(found[seed], indent=1), encoding="utf-8")
            failed = [claim for claim, held in found[seed]["claims"].items() if not held]
            print(f"seed {seed}: {', '.join(failed) or 'every claim holds'}", file=sys.stderr, flush=True)
    return [found[seed] for seed in wanted]


def main() -> None:
    """Run the seeds and print the figures."""
    parser = argparse.ArgumentParser(description="Whether the workshop stays fair under attack.")
    parser.add_argument("--quick", action="store_true", help="12 days and one seed")
    parser.add_argument("--days", type=int, help="days to simulate (default 90)")
    parser.add_argument("--seeds", type=int, help="how many seeds (default 10)")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="seeds to live through at the same time")
    parser.add_argument("--data", type=Path, help="a folder with JSON or JSONL files of real rows")
    parser.add_argument("--careful", action="store_true", help="colluders judge what is not their ring's as others do")
    parser.add_argument(
        "--out", type=Path, help="a folder for the figures of each seed; seeds found there are not run again"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/gaming.md")
    words = parser.parse_args()
    words.days, words.seeds = words.days or (12 if words.quick else 90), words.seeds or (1 if words.quick else 10)
    if words.out:
        words.out.mkdir(parents=True, exist_ok=True)
    # Each process has a core; more threads would only wait for each other.
    os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"})
    found = every_seed(words)
    passed = {claim: sum(one["claims"][claim] for one in found) for claim in found[0]["claims"]}
    # A handful of rows a seed is refused and each is a quarter or so of them: what became of them is told over all seeds.
    repaired = gaming_table.repaired_share(found)
    others = [count == len(found) for claim, count in passed.items() if claim != "repaired_by_appeal"]
    told = {
        "benchmark": "gaming",
        "days": words.days,
        "careful": words.careful,
        "limits": LIMITS,
        "passed": passed,
        "repaired_of_refused": repaired,
        "ok": all(others) and repaired >= LIMITS["repaired"],
        "seeds": found,
    }
    text = json.dumps(told)
    if words.out:
        (words.out / "gaming.json").write_text(text, encoding="utf-8")
    if words.write:
        gaming_table.write(told)
    print(text)


if __name__ == "__main__":
    main()
