"""How often a reviewer is right, from what became of the examples they judged. Nothing is stored.

Four kinds of evidence: gold items, whose outcome was settled before they were shown (weight 1); decisions that an appeal
overturned or upheld (weight 2, somebody uninvolved looked again); decisions that were struck as gold after a dispute, which
speak against those who made them (weight 2); and settled examples on which at least one other reviewer said what stands
(weight 1/2, since reviewers can err together). Examples that were good and those that were not are counted apart, so that
whoever accepts everything is right on the good ones and never on the others, and their word soon tells nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.people import Person
from factory.intake import consensus

USUAL, USUAL_WEIGHT = 0.8, 3.0  # what a reviewer nobody knows is taken for, as if seen on so many examples of each kind
RECENT = 300  # verdicts of each kind that are looked at: what is old says little, and a decision stays quick
FEW = 50  # verdicts after which a weight is to have found its place

EVIDENCE = """
    select said, truth, weight, kind, known_at from (
        select g.decision as said, g.expected as truth, 1.0 as weight, 'gold' as kind, g.at as known_at
        from gold_verdicts g
        where g.reviewer_id = :me and not exists
            (select 1 from gold_verdicts y join gold_disputes x on x.gold_verdict_id = y.id
             where y.example_id = g.example_id and x.answer = 'struck')
        order by g.id desc limit :recent)
    union all
    select v.decision, d.truth,
        case when d.by = 'appeal' or a.answer = 'upheld' then 2.0 else 0.5 end,
        case when d.by = 'appeal' or a.answer = 'upheld' then 'appeals' else 'peers' end,
        coalesce(a.answered_at, d.at)
    from (select id, example_id, decision from verdicts where reviewer_id = :me order by at desc limit :recent) v
    join (select id, example_id, at, by, case decision when 'accepted' then 'accept' when 'returned' then 'return'
            else 'reject' end as truth from decisions) d
        on d.id = (select max(id) from decisions where example_id = v.example_id)
    left join appeals a on a.example_id = v.example_id and a.answered_by is not null
    where d.by = 'appeal' or (d.by = 'review' and (a.answer = 'upheld' or exists
        (select 1 from verdicts o where o.example_id = v.example_id and o.id <> v.id and o.decision = d.truth)))
    union all
    select v.decision, case v.decision when 'accept' then 'reject' else 'accept' end, 2.0, 'struck', max(x.answered_at)
    from (select id, example_id, decision from verdicts where reviewer_id = :me order by at desc limit :recent) v
    join gold_verdicts g on g.example_id = v.example_id
    join gold_disputes x on x.gold_verdict_id = g.id and x.answer = 'struck' and x.answered_by is not null
    where v.decision = g.expected group by v.id
"""
ALIKE = f"select said, truth, weight, kind, count(*) as times from ({EVIDENCE}) group by said, truth, weight, kind"
KINDS = ("gold", "peers", "appeals")


@dataclass(frozen=True)
class Accuracy:
    """How often one reviewer is right: `value` on good and other examples alike; `seen` and `right` count the evidence."""

    value: float
    good_right: float  # on examples that were to be accepted
    bad_right: float  # on those that were not
    gold_seen: int
    gold_right: int
    peers_seen: int
    peers_right: int
    appeals_seen: int
    appeals_right: int
    struck: int  # decisions of theirs that were struck as gold

    @property
    def trust(self) -> consensus.Trust:
        """What weighs their verdicts."""
        return self.good_right, self.bad_right

    @property
    def above_chance(self) -> float:
        """Agreement with what stands, 1 for all of it and 0 for as much as guessing: Youden's index."""
        return self.good_right + self.bad_right - 1

    @property
    def weight(self) -> float:
        """What their verdict tells, 1 for somebody new and 0 for nothing; bounded, so at most 4/3."""
        return consensus.weight(self.trust) / consensus.weight((USUAL, USUAL))


def accuracy(db: Database, reviewer_id: int) -> Accuracy:
    """How far a reviewer's verdicts can be relied on; 0.8 of each kind for somebody of whom nothing is known."""
    return weigh(store.rows(db, ALIKE, me=reviewer_id, recent=RECENT))


def weigh(evidence: list[dict[str, Any]]) -> Accuracy:
    """The accuracy that pieces of evidence (said, truth, weight, kind, and how many times) make together.

    >>> lazy = [{"said": "accept", "truth": truth, "weight": 1.0, "kind": "gold"} for truth in ("accept", "reject") * 6]
    >>> found = weigh(lazy)
    >>> found.gold_seen, found.gold_right, round(found.weight, 2)
    (12, 6, 0.28)
    """
    right, seen = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
    counts = {f"{kind}_{what}": 0 for kind in KINDS for what in ("seen", "right")}
    struck = 0
    for one in evidence:
        good, hit, times = one["truth"] == "accept", _same(one["said"], one["truth"]), one.get("times", 1)
        seen[good] += one["weight"] * times
        right[good] += one["weight"] * times * hit
        if one["kind"] == "struck":
            struck += times
        else:
            counts[f"{one['kind']}_seen"] += times
            counts[f"{one['kind']}_right"] += times * hit
    shares = {kind: (right[kind] + USUAL * USUAL_WEIGHT) / (seen[kind] + USUAL_WEIGHT) for kind in (True, False)}
    return Accuracy(sum(shares.values()) / 2, shares[True], shares[False], **counts, struck=struck)


def _same(said: str, truth: str) -> bool:
    # To return and to reject are both right for what was not to be accepted: which of the two is a matter of degree.
    return (said == "accept") == (truth == "accept")


def over_time(db: Database, reviewer_id: int) -> list[dict[str, Any]]:
    """How a weight came about: after each piece of evidence, oldest first, `at`, `reviews` given by then, `weight`, `kind`.

    Begins with what is assumed of somebody new. Only the newest 300 verdicts of each kind count, here as in a decision.
    """
    evidence = sorted(store.rows(db, EVIDENCE, me=reviewer_id, recent=RECENT), key=lambda one: float(one["known_at"]))
    moments = [
        record["at"]
        for table in ("verdicts", "gold_verdicts")
        for record in store.rows(db, f"select at from {table} where reviewer_id = ? order by id", reviewer_id)
    ]
    moments.sort()
    points: list[dict[str, Any]] = []
    if moments:
        points.append(
            {"at": moments[0], "reviews": 0, "weight": weigh([]).weight, "above_chance": 2 * USUAL - 1, "kind": ""}
        )
    sums: dict[tuple[str, str, float, str], dict[str, Any]] = {}
    for one in evidence:
        alike = sums.setdefault((one["said"], one["truth"], one["weight"], one["kind"]), {**one, "times": 0})
        alike["times"] += 1
        found = weigh(list(sums.values()))
        point = {"at": one["known_at"], "reviews": bisect_right(moments, one["known_at"]), "kind": one["kind"]}
        points.append({**point, "weight": found.weight, "above_chance": found.above_chance})
    return points


def board(db: Database, *, person: Person, limit: int = 50, offset: int = 0) -> list[dict[str, Any]]:
    """Everybody who reviews, whoever did last first, for curators.

    Dictionaries with person_id, name, display_name, is_demo, verdicts, accepted_share, seconds (mean of the newest),
    last_at, weight, above_chance, good_right, bad_right, gold_seen, gold_right, peers_seen, peers_right, appeals_seen,
    appeals_right, struck, ties (detected conflicts that stand). Raises NotAllowed.
    """
    people.need(person, "curator")
    found = store.rows(
        db,
        """select p.id as person_id, p.name, p.display_name, p.is_demo, w.last_at,
            (select count(*) from detected_conflicts k where k.reviewer_id = p.id and k.lifted_at is null) as ties
        from (select person_id, (select max(at) from verdicts where reviewer_id = person_id) as last_at
              from roles where role in ('reviewer', 'admin') group by person_id) w
        join people p on p.id = w.person_id where w.last_at is not null
        order by w.last_at desc limit ? offset ?""",
        limit,
        offset,
    )
    return [{**record, **summary(db, record["person_id"])} for record in found]


def how_many(db: Database) -> int:
    """How many people who may review have given a verdict."""
    return int(
        store.value(
            db,
            "select count(*) from (select distinct person_id from roles where role in ('reviewer', 'admin')) r"
            " where exists (select 1 from verdicts where reviewer_id = r.person_id)",
        )
    )


def summary(db: Database, reviewer_id: int) -> dict[str, Any]:
    """What is known of one reviewer, in the keys of `board`."""
    counted = store.row(
        db,
        "select coalesce(sum(judged), 0) as verdicts, coalesce(sum(accepted), 0) as accepted from review_pairs"
        " where reviewer_id = ?",
        reviewer_id,
    ) or {"verdicts": 0, "accepted": 0}
    seconds = store.value(
        db,
        "select avg(seconds) from (select seconds from verdicts where reviewer_id = ? order by at desc limit 100)",
        reviewer_id,
    )
    known = accuracy(db, reviewer_id)
    share = counted["accepted"] / counted["verdicts"] if counted["verdicts"] else None
    return {
        "verdicts": counted["verdicts"],
        "accepted_share": share,
        "seconds": seconds,
        "weight": known.weight,
        "above_chance": known.above_chance,
        "good_right": known.good_right,
        "bad_right": known.bad_right,
        **{f"{kind}_{what}": getattr(known, f"{kind}_{what}") for kind in KINDS for what in ("seen", "right")},
        "struck": known.struck,
    }
