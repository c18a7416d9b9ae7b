"""A simulated workshop on a real database: people with aims and habits, who use the program as pages would let them.

Reviewers see a row and its nearest neighbour and err at the rates of `ERRS`. Colluders know each other's rows, may judge
any row whose number they know, and judge the rest in a hurry (or as well as others: `careful`). Nothing here tells
the program who is honest or what a row is worth; what is asked of it are the functions behind the pages.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from benchmarks.gaming_texts import HONEST_KINDS, Row, Texts
from factory.base import people, store
from factory.base.errors import Conflict, FactoryError, Invalid, NotAllowed
from factory.base.people import Person
from factory.intake import allowances, appeals, contributions, datasets, deadlines, gold, reviewers, reviews
from factory.intake.policy import Policy

DAY = 24 * 3600.0
HOURS = 2  # between two looks at what is overdue; the worker of an installation looks more often
START = 1_700_006_400.0  # a midnight, UTC
HURRY = 3.0  # how much more often colluders err on what is not their ring's, unless they take care not to be noticed
# How often an honest reviewer says the wrong thing of a row of this kind; each is a little better or worse than that.
ERRS = {"good": 0.05, "slip": 0.15, "junk": 0.02, "wrong": 0.06, "repeat": 0.2, "damage": 0.2}
SEEN_BESIDE = 0.25  # from this likeness on, the neighbour that is shown makes a repetition as plain as a wrong answer
APPEALS = {True: 0.95, False: 0.3}  # how often an honest author, and another one, appeals against a rejection


@dataclass
class Member:
    """Somebody in the simulation. `rows` a day on average, `joins` on a day; `share` of what they send is as `kinds` say."""

    name: str
    role: str
    rows: float = 0.0
    joins: int = 0
    kinds: dict[str, float] = field(default_factory=dict)
    reviews: int = 0  # a day
    skill: float = 1.0  # what the rates of ERRS are multiplied with
    person: Person | None = None

    @property
    def who(self) -> Person:
        """Their account, once they joined."""
        assert self.person is not None
        return self.person


def cast(rng: random.Random) -> list[Member]:
    """Who takes part: the honest, and every kind of attack at once."""
    members = [Member(f"expert-{n:02}", "expert", 1.3, 0, {"good": 0.95, "slip": 0.05}) for n in range(10)]
    for n in range(14):
        rate, joins = rng.uniform(0.1, 0.7), rng.randint(0, 60)
        members.append(Member(f"newcomer-{n:02}", "newcomer", rate, joins, {"good": 0.85, "slip": 0.15}))
    members += [Member(f"passer-by-{n}", "newcomer", 0.04, rng.randint(0, 40), {"good": 1.0}) for n in range(8)]
    members += [
        # Half of a flood is good, or it is no attack on a board by count: with less, the daily limits dry it up.
        Member("flooder", "flooder", 40.0, 3, {"junk": 0.35, "wrong": 0.15, "good": 0.5}),
        Member("copier", "copier", 6.0, 10, {"copy": 0.9, "good": 0.1}),
        Member("paraphraser", "paraphraser", 3.0, 10, {"paraphrase": 0.8, "good": 0.2}),
        # A third of what the ring sends is good work of one person, so that the accounts look alive.
        *[Member(f"ring-{n:02}", "ring", 0.6, 5, {"wrong": 0.7, "good": 0.3}) for n in range(20)],
        Member("vandal", "vandal", 2.0, 0, {"damage": 0.6, "good": 0.4}, reviews=10),
        Member("lazy", "lazy", reviews=15),
        # They come with the ring: before, they would be people who judge in a hurry and nothing else.
        *[Member(f"colluder-{n}", "colluder", joins=5, reviews=12) for n in range(3)],
    ]
    members += [Member(f"reviewer-{n:02}", "reviewer", reviews=9, skill=rng.uniform(0.6, 1.4)) for n in range(16)]
    return members


class World:
    """One installation with one dataset, its people, and what each row truly is (which only they know)."""

    def __init__(
        self,
        db: Database,
        seed: int,
        members: list[Member],
        texts: Texts,
        policy: Policy | None = None,
        *,
        careful: bool = False,
    ) -> None:
        """Opens the dataset; nobody has joined yet. `careful`: colluders judge what is not their ring's as others do."""
        self.db, self.seed, self.members, self.texts, self.careful = db, seed, members, texts, careful
        self.rng = random.Random(f"people {seed}")
        self.moment = START
        owner = people.create(db, "owner", roles=("curator",))
        about = {"slug": "game", "title": "Game", "purpose": "p", "guidelines": "g", "licence": "CC0-1.0"}
        self.dataset_id = int(datasets.create(db, **about, owner=owner, policy=policy or Policy())["id"])
        self.rows: dict[int, Row] = {}
        self.authors: dict[int, Member] = {}
        self.answered: set[tuple[int, str]] = set()  # rows whose author has done something about their state
        self.dropped: dict[str, int] = defaultdict(int)  # what checks refused, by role of the author and kind of the row
        self.tried: dict[str, int] = defaultdict(int)
        self.weights: dict[str, dict[int, float]] = defaultdict(dict)  # of reviewers, by how much they have judged
        self.judged: dict[str, int] = defaultdict(int)

    def run(self, days: int) -> None:
        """Live through so many days."""
        with store.clock(lambda: self.moment):
            for day in range(days):
                self._join(day)
                clocks = [(hour, None, self._let_clocks_run) for hour in range(0, 24, HOURS)]
                for hour, member, act in sorted([*self._plan(day), *clocks], key=lambda planned: planned[0]):
                    self.moment = START + day * DAY + hour * 3600.0
                    act(member)

    def _let_clocks_run(self, _: None) -> None:
        deadlines.settle_overdue(self.db, limit=10_000)

    def _join(self, day: int) -> None:
        for member in self.members:
            if member.joins == day:
                roles = ["contributor"] * bool(member.rows) + ["reviewer"] * bool(member.reviews)
                member.person = people.create(self.db, member.name, roles=tuple(roles))

    def _plan(self, day: int) -> Iterator[tuple[float, Member, Any]]:
        for member in self.members:
            yield from self.plan_of(member)

    def plan_of(self, member: Member) -> Iterator[tuple[float, Member, Any]]:
        """At which hours of a day somebody does what."""
        if member.person is None:
            return
        if member.rows:
            yield self.rng.uniform(0, 24), member, self.contribute
        if member.role != "flooder" and member.rows:
            yield self.rng.uniform(0, 24), member, self._look_after
        if member.reviews:
            for _ in range(2):
                yield self.rng.uniform(0, 24), member, self._review

    # ---- contributing

    def _count(self, mean: float) -> int:
        whole, rest = divmod(mean * self.rng.uniform(0.5, 1.5), 1)
        return int(whole) + (self.rng.random() < rest)

    def _make(self, member: Member) -> Row | None:
        kind = self.rng.choices(list(member.kinds), list(member.kinds.values()))[0]
        if kind in ("copy", "paraphrase"):
            others = [row for i, row in self.rows.items() if row.kind == "good" and self.authors[i].role == "expert"]
            return getattr(self.texts, kind)(self.rng.choice(others[-400:])) if others else None
        return getattr(self.texts, kind)()

    def contribute(self, member: Member) -> None:
        """A day's work of somebody, as far as their allowance goes."""
        rows = [row for _ in range(self._count(member.rows)) if (row := self._make(member)) is not None]
        left = allowances.allowance(self.db, self.dataset_id, member.who).left
        for row in rows[:left]:
            self.submit(member, row)

    def submit(self, member: Member, row: Row) -> int | None:
        """Send one row; its number, or None where the checks refuse it or the day's allowance is spent."""
        self.tried[f"{member.role} {row.kind}"] += 1
        given = {"rows": [row.messages], "source": "form", "licence": "CC0-1.0", "attested": True}
        try:
            made = contributions.submit(self.db, self.dataset_id, person=member.who, **given)
        except Conflict:
            return None
        if made.refused:
            self.dropped[f"{member.role} {row.kind}"] += 1
            return None
        self.rows[made.example_ids[0]], self.authors[made.example_ids[0]] = row, member
        return made.example_ids[0]

    def _look_after(self, member: Member) -> None:
        """Mend what was returned, appeal against what was rejected."""
        for state in ("returned", "rejected"):
            for mine in contributions.mine(self.db, member.who, state=state, limit=50):
                example_id, row = mine["example_id"], self.rows[mine["example_id"]]
                if (example_id, state) in self.answered:
                    continue
                self.answered.add((example_id, state))
                honest = row.kind in HONEST_KINDS
                if state == "returned":
                    self._revise(member, example_id, row)
                elif row.kind != "slip" and self._may_appeal(example_id) and self.rng.random() < APPEALS[honest]:
                    appeals.appeal(self.db, example_id, person=member.who, words="Look again: this answers the question.")

    def _may_appeal(self, example_id: int) -> bool:
        return store.value(self.db, "select 1 from appeals where example_id = ?", example_id) is None

    def _revise(self, member: Member, example_id: int, row: Row) -> None:
        fresh = self.texts.mended(row)
        if row.kind not in HONEST_KINDS:
            fresh = Row(fresh.question, fresh.answer, row.kind)  # more words do not make it right
        try:
            new_id = contributions.revise(self.db, example_id, person=member.who, messages=fresh.messages)
        except (Conflict, Invalid):
            return
        self.rows[new_id], self.authors[new_id] = fresh, member

    # ---- reviewing

    def _review(self, member: Member) -> None:
        if member.role == "colluder":
            self._help_the_ring(member)
        for _ in range(self._count(member.reviews / 2)):
            found = reviews.queue(self.db, self.dataset_id, reviewer=member.who, limit=1)
            if not found:
                break
            self._judge(member, found[0]["example_id"])
        self._answer(member)

    def _help_the_ring(self, member: Member) -> None:
        """Accept what the ring sent in the last days: its numbers were told outside the program."""
        recent = [i for i in list(self.rows)[-400:] if self.authors[i].role == "ring"]
        for example_id in recent:
            if self.rng.random() < 0.5:
                try:
                    reviews.decide(self.db, example_id, reviewer=member.who, decision="accept")
                except (Conflict, NotAllowed):
                    continue
                self._note(member)

    def opinion(self, member: Member, example_id: int, *, care: float = 1.0) -> str:
        """What somebody says of a row: accept, return or reject."""
        row, author = self.rows[example_id], self.authors[example_id]
        hurry = HURRY if member.role == "colluder" and not self.careful else 1.0
        if member.role == "lazy" or (member.role == "colluder" and author.role == "ring"):
            return "accept"
        if member.role == "vandal" and self.rng.random() < 0.7:
            return "reject" if row.kind == "good" else "accept"
        errs = ERRS[row.kind] * member.skill * care * hurry
        if row.kind == "repeat":
            beside = reviews.neighbours(self.db, example_id, reviewer=member.who)
            errs = ERRS["wrong"] * member.skill * care * hurry if beside and beside["jaccard"] >= SEEN_BESIDE else errs
        wrong = self.rng.random() < errs
        if (row.kind == "good") != wrong:
            return "accept"
        mild = {"good": 0.5, "slip": 0.9, "junk": 0.02, "wrong": 0.15, "repeat": 0.05, "damage": 0.3}[row.kind]
        return "return" if self.rng.random() < mild else "reject"

    def _judge(self, member: Member, example_id: int) -> None:
        said = self.opinion(member, example_id)
        before = self.db.execute("select count(*) from gold_verdicts").fetchone()[0]
        reviews.decide(self.db, example_id, reviewer=member.who, decision=said, reason="wrong", seconds=20.0)
        self._note(member)
        if self.db.execute("select count(*) from gold_verdicts").fetchone()[0] > before:
            self._hear(member, example_id)

    def _hear(self, member: Member, example_id: int) -> None:
        told = gold.feedback(self.db, example_id, reviewer=member.who)
        if told and not told["right"] and member.role == "reviewer":
            good = self.opinion(member, example_id, care=0.5) == "accept"  # they look again, with more care
            if good == (told["said"] == "accept"):
                gold.dispute(self.db, example_id, reviewer=member.who, words="I looked again and see it as I did.")

    def _answer(self, member: Member) -> None:
        for one in appeals.open_appeals(self.db, self.dataset_id, reviewer=member.who)[:5]:
            accepts = self.opinion(member, one["example_id"], care=0.5) == "accept"
            answer = "overturned" if accepts else "upheld"
            try:
                appeals.answer_appeal(self.db, one["appeal_id"], reviewer=member.who, answer=answer, words="I looked again.")
            except FactoryError:
                continue
        for one in gold.open_disputes(self.db, reviewer=member.who, dataset_id=self.dataset_id)[:5]:
            good = self.opinion(member, one["example_id"], care=0.5) == "accept"
            answer = "upheld" if good == (one["expected"] == "accept") else "struck"
            gold.answer(self.db, one["dispute_id"], reviewer=member.who, answer=answer, words="I looked again.")

    def _note(self, member: Member) -> None:
        self.judged[member.name] += 1
        count = self.judged[member.name]
        if count in (10, 25, 50, 100, 200, 400):
            self.weights[member.name][count] = reviewers.accuracy(self.db, member.who.id).weight
