"""How often a reviewer is right, from what became of the examples they judged. Nothing is stored.

Three kinds of evidence: gold items, whose outcome was settled before they were shown (weight 1); decisions that an appeal
overturned or upheld (weight 2, somebody uninvolved looked again); and settled examples on which at least one other reviewer
said what stands (weight 1/2, since reviewers can err together). Examples that were good and those that were not are counted
apart and averaged, so that whoever accepts everything is right half of the time and not as often as the queue is good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from factory.base import store

USUAL, USUAL_WEIGHT = 0.8, 3.0  # what a reviewer nobody knows is taken for, as if seen on so many examples of each kind
RECENT = 500  # of each kind of evidence: what is old says little

EVIDENCE = """
    select said, truth, weight, kind from (
        select g.decision as said, g.expected as truth, 1.0 as weight, 'gold' as kind from gold_verdicts g
        where g.reviewer_id = :me and g.decision is not null and not exists
            (select 1 from gold_disputes x join gold_verdicts y on y.id = x.gold_verdict_id
             where y.example_id = g.example_id and x.answer = 'struck')
        order by g.id desc limit :recent)
    union all select said, truth, case by when 'appeal' then 2.0 else 0.5 end,
        case by when 'appeal' then 'appeal' else 'peers' end
    from (
        select v.decision as said, d.by,
            case d.decision when 'accepted' then 'accept' when 'returned' then 'return' else 'reject' end as truth
        from verdicts v join decisions d on d.id = (select max(id) from decisions where example_id = v.example_id)
        where v.reviewer_id = :me and (d.by = 'appeal' or (d.by = 'review' and exists
            (select 1 from verdicts o where o.example_id = v.example_id and o.reviewer_id <> v.reviewer_id
             and o.decision = case d.decision when 'accepted' then 'accept' when 'returned' then 'return'
                else 'reject' end)))
        order by v.id desc limit :recent)
"""


@dataclass(frozen=True)
class Accuracy:
    """How often one reviewer is right: `value` weighs their verdicts; `seen` and `right` count the evidence of each kind."""

    value: float
    good_right: float  # on examples that were to be accepted
    bad_right: float  # on those that were not
    gold_seen: int
    gold_right: int
    peers_seen: int
    peers_right: int
    appeals_seen: int
    appeals_right: int


def accuracy(db: Database, reviewer_id: int) -> Accuracy:
    """How far a reviewer's verdicts can be relied on, between 0 and 1; 0.8 for somebody of whom nothing is known."""
    return _accuracy(store.rows(db, EVIDENCE, me=reviewer_id, recent=RECENT))


def _accuracy(evidence: list[dict[str, Any]]) -> Accuracy:
    right, seen = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
    counts = dict.fromkeys([f"{kind}_{what}" for kind in ("gold", "peers", "appeals") for what in ("seen", "right")], 0)
    for one in evidence:
        good, hit = one["truth"] == "accept", _same(one["said"], one["truth"])
        seen[good] += one["weight"]
        right[good] += one["weight"] * hit
        kind = "appeals" if one["kind"] == "appeal" else one["kind"]
        counts[f"{kind}_seen"] += 1
        counts[f"{kind}_right"] += hit
    shares = {kind: (right[kind] + USUAL * USUAL_WEIGHT) / (seen[kind] + USUAL_WEIGHT) for kind in (True, False)}
    return Accuracy(sum(shares.values()) / 2, shares[True], shares[False], **counts)


def _same(said: str, truth: str) -> bool:
    # To return and to reject are both right for what was not to be accepted: which of the two is a matter of degree.
    return (said == "accept") == (truth == "accept")
