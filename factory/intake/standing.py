"""How far a person's work can be relied on: the lower end of what their rate of acceptance may truly be.

What counts is a *cluster*: an example with its revisions and near-repetitions is one, and its newest decision is its
outcome. Returned examples are not decided yet; what checks refused was never judged; an overturned rejection counts as the
acceptance it became; a withdrawal changes nothing. Old decisions weigh less, by the half-life in the dataset's policy. The
sums are kept by triggers as decisions come (`outcomes` and `standings` in the schema).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlite_utils import Database

from factory.base import store

PROVISIONAL_BELOW = 10
DAY_SECONDS = 24 * 3600.0

# Sums that triggers keep (see the schema); weights are faded on from the day of a person's newest outcome to today.
FADED = """
    select s.person_id, sum(s.accepted) as accepted, sum(s.decided) as decided,
        sum(s.good * fade(max(:today - s.day, 0), h.days)) as good,
        sum(s.weight * fade(max(:today - s.day, 0), h.days)) as weight
    from standings s left join half_lives h on h.dataset_id = s.dataset_id
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
    found = store.row(
        db,
        f"{FADED} where s.person_id = :person_id and (:dataset_id is null or s.dataset_id = :dataset_id)",
        person_id=person_id,
        dataset_id=dataset_id,
        today=today(),
    )
    return _standing(found or {})


def today() -> int:
    """The present day (UTC), counted since 1970."""
    return int(store.now() // DAY_SECONDS)


def accepted_since(db: Database, person_id: int, dataset_id: int, since: float) -> int:
    """How many of a person's clusters in a dataset were accepted on the day of `since` or later."""
    found = store.value(
        db,
        "select sum(clusters) from outcome_days where dataset_id = ? and person_id = ? and day >= ? and accepted",
        dataset_id,
        person_id,
        int(since // DAY_SECONDS),
    )
    return int(found or 0)


def _standing(sums: dict[str, Any]) -> Standing:
    accepted, decided = sums.get("accepted") or 0, sums.get("decided") or 0
    good, weight = max(0.0, sums.get("good") or 0.0), sums.get("weight") or 0.0
    good = min(good, weight)  # what rounding adds to a sum that was faded many times
    rate = good / weight if weight > 0 else 0.0
    return Standing(
        accepted, decided, rate, wilson_lower(good, weight), wilson_upper(good, weight), decided < PROVISIONAL_BELOW
    )


Sums = tuple[int, int, float, float]  # clusters accepted, decided; the same faded by their age


def order(db: Database, dataset_id: int | None = None, *, ties: Mapping[int, int] | None = None) -> list[tuple[int, Sums]]:
    """Everybody who submitted something, with what their standing is made of (see `made_of`), best first.

    Who is provisional goes below; of two who are equal the one with more of `ties` (person to number) goes first, then the
    one with more accepted clusters, then the older account. One pass over sums, however many examples there are.
    """
    one = "" if dataset_id is None else " where dataset_id = :dataset_id"
    now, named = today(), {} if dataset_id is None else {"dataset_id": dataset_id}
    half_lives = dict(db.execute("select dataset_id, days from half_lives").fetchall())
    nothing: Sums = (0, 0, 0.0, 0.0)
    sums: dict[int, Sums] = {}
    columns = "person_id, dataset_id, day, accepted, decided, good, weight"
    for person_id, where, day, accepted, decided, good, weight in db.execute(f"select {columns} from standings{one}", named):
        left, had = store.fade(max(now - day, 0), half_lives.get(where)), sums.get(person_id, nothing)
        sums[person_id] = (had[0] + accepted, had[1] + decided, had[2] + good * left, had[3] + weight * left)
    offered = f"select id, created_at from people where id in (select person_id from tallies{one})"
    paid = ties or {}
    keys = []
    for person_id, created_at in db.execute(offered, named):
        found = sums.get(person_id, nothing)
        lower = wilson_lower(min(max(found[2], 0.0), found[3]), found[3])
        provisional = found[1] < PROVISIONAL_BELOW
        keys.append((provisional, -lower, -paid.get(person_id, 0), -found[0], created_at, person_id, found))
    keys.sort()
    return [(key[5], key[6]) for key in keys]


def made_of(sums: Sums) -> Standing:
    """The standing that these sums are."""
    return _standing(dict(zip(("accepted", "decided", "good", "weight"), sums, strict=True)))


def table(db: Database, dataset_id: int | None = None) -> list[dict[str, Any]]:
    """Everybody who submitted something, best standing first; the older account goes first where two are equal.

    Dictionaries with rank, person_id, name, display_name, is_demo, submitted, refused (by checks), waiting, accepted,
    decided, rate, lower, upper, provisional, last_at.
    """
    everybody = [(person_id, made_of(sums)) for person_id, sums in order(db, dataset_id)]
    ranked = sorted(everybody, key=lambda pair: (-pair[1].lower, -pair[1].accepted))
    who = offered(db, [person_id for person_id, _ in ranked], dataset_id)
    return [{"rank": rank, **who[person_id], **asdict(one)} for rank, (person_id, one) in enumerate(ranked, 1)]


def offered(db: Database, person_ids: Sequence[int], dataset_id: int | None = None) -> dict[int, dict[str, Any]]:
    """What these people offered, by id: person_id, name, display_name, is_demo, submitted, refused, waiting, last_at."""
    found = store.rows(
        db,
        """select p.id as person_id, p.name, p.display_name, p.is_demo, sum(t.submitted) as submitted,
            sum(t.refused) as refused, sum(t.waiting) as waiting, max(t.last_at) as last_at
        from tallies t join people p on p.id = t.person_id
        where t.person_id in (select value from json_each(:ids)) and (:dataset_id is null or t.dataset_id = :dataset_id)
        group by p.id""",
        ids=json.dumps(list(person_ids)),
        dataset_id=dataset_id,
    )
    return {record["person_id"]: record for record in found}
