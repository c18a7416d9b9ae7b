"""How far a person's work can be relied on: the lower end of what their rate of acceptance may truly be.

Nothing is stored. What counts is a *cluster*: an example with its revisions and near-repetitions is one, and its newest
decision is its outcome. Returned examples are not decided yet; what checks refused was never judged; an overturned
rejection counts as the acceptance it became; a withdrawal changes nothing. Old decisions weigh less, by the half-life in
the dataset's policy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.intake import policy as policies
from factory.intake.policy import Policy

PROVISIONAL_BELOW = 10
DAY_SECONDS = 24 * 3600.0

# One row a person, dataset, outcome and day, so that a page over many decisions stays small.
OUTCOMES = """
    with decided as (
        select e.person_id, e.dataset_id, e.cluster_id, d.decision, d.at,
            row_number() over (partition by e.person_id, e.cluster_id order by e.id desc) as place
        from examples e join decisions d on d.id = (select max(id) from decisions where example_id = e.id)
        where d.decision <> 'returned' and (:person_id is null or e.person_id = :person_id)
            and (:dataset_id is null or e.dataset_id = :dataset_id)
    )
    select person_id, dataset_id, decision = 'accepted' as accepted, cast(at / 86400 as integer) as day, count(*) as clusters
    from decided where place = 1 group by 1, 2, 3, 4
"""


@dataclass(frozen=True)
class Standing:
    """One person's: clusters `accepted` of `decided`, their `rate`, and its 95% interval; one ranks by its `lower` end.

    `rate`, `lower` and `upper` are weighted by recency. `provisional` until ten clusters are decided.
    """

    accepted: int
    decided: int
    rate: float
    lower: float
    upper: float
    provisional: bool


def wilson_lower(successes: float, n: float, z: float = 1.96) -> float:
    """The lower end of Wilson's interval for a rate seen as `successes` of `n`; 0 where nothing was seen.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference".

    >>> [round(wilson_lower(s, n), 3) for s, n in ((95, 100), (160, 200), (18, 20), (300, 1000), (1, 1), (0, 500))]
    [0.888, 0.739, 0.699, 0.272, 0.207, 0.0]
    """
    if n <= 0:
        return 0.0
    rate = successes / n
    middle = rate + z * z / (2 * n)
    spread = z * math.sqrt(max(0.0, (rate * (1 - rate) + z * z / (4 * n)) / n))
    return max(0.0, (middle - spread) / (1 + z * z / n))


def wilson_upper(successes: float, n: float, z: float = 1.96) -> float:
    """The upper end of Wilson's interval; 1 where nothing was seen.

    >>> round(wilson_upper(1, 1), 3)
    1.0
    """
    return 1.0 - wilson_lower(n - successes, n, z) if n > 0 else 1.0


def of(db: Database, person_id: int, dataset_id: int | None = None) -> Standing:
    """A person's standing in one dataset, or in all of them together."""
    outcomes = store.rows(db, OUTCOMES, person_id=person_id, dataset_id=dataset_id)
    return _standing(outcomes, _half_lives(db))


def accepted_since(db: Database, person_id: int, dataset_id: int, since: float) -> int:
    """How many of a person's clusters in a dataset were accepted on the day of `since` or later."""
    outcomes = store.rows(db, OUTCOMES, person_id=person_id, dataset_id=dataset_id)
    return sum(o["clusters"] for o in outcomes if o["accepted"] and o["day"] >= int(since // DAY_SECONDS))


def _half_lives(db: Database) -> dict[int, float]:
    newest = (
        "select dataset_id, rules from policies p"
        " where version = (select max(version) from policies where dataset_id = p.dataset_id)"
    )
    return {
        record["dataset_id"]: policies.from_json(record["rules"]).standing_half_life_days
        for record in store.rows(db, newest)
    }


def _standing(outcomes: list[dict[str, Any]], half_lives: dict[int, float]) -> Standing:
    today = store.now() / DAY_SECONDS
    accepted = decided = 0
    good = weight = 0.0
    for outcome in outcomes:
        half_life = half_lives.get(outcome["dataset_id"], Policy.standing_half_life_days)
        age = max(0.0, math.floor(today) - outcome["day"])
        share = outcome["clusters"] * (0.5 ** (age / half_life) if half_life > 0 else 1.0)
        weight += share
        decided += outcome["clusters"]
        if outcome["accepted"]:
            good += share
            accepted += outcome["clusters"]
    rate = good / weight if weight > 0 else 0.0
    return Standing(
        accepted, decided, rate, wilson_lower(good, weight), wilson_upper(good, weight), decided < PROVISIONAL_BELOW
    )


def table(db: Database, dataset_id: int | None = None) -> list[dict[str, Any]]:
    """Everybody who submitted something, best standing first; the older account goes first where two are equal.

    Dictionaries with rank, person_id, name, display_name, is_demo, submitted, refused (by checks), waiting, accepted,
    decided, rate, lower, upper, provisional, last_at.
    """
    people = store.rows(
        db,
        """select p.id as person_id, p.name, p.display_name, p.is_demo, p.created_at, count(*) as submitted,
            sum(s.state = 'refused') as refused, sum(s.state = 'waiting') as waiting, max(s.created_at) as last_at
        from example_states s join people p on p.id = s.person_id
        where :dataset_id is null or s.dataset_id = :dataset_id group by p.id""",
        dataset_id=dataset_id,
    )
    outcomes: dict[int, list[dict[str, Any]]] = {}
    for outcome in store.rows(db, OUTCOMES, person_id=None, dataset_id=dataset_id):
        outcomes.setdefault(outcome["person_id"], []).append(outcome)
    half_lives = _half_lives(db)
    ranked = [(record, _standing(outcomes.get(record["person_id"], []), half_lives)) for record in people]
    ranked.sort(key=lambda pair: (-pair[1].lower, -pair[1].accepted, pair[0]["created_at"], pair[0]["person_id"]))
    return [
        {
            "rank": rank,
            **{key: value for key, value in record.items() if key != "created_at"},
            "accepted": found.accepted,
            "decided": found.decided,
            "rate": found.rate,
            "lower": found.lower,
            "upper": found.upper,
            "provisional": found.provisional,
        }
        for rank, (record, found) in enumerate(ranked, 1)
    ]
