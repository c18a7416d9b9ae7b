"""One contributor's rank, explained in the numbers it is made of: decisions by age, what each weighs, and who stands beside.

Reads the sums that triggers keep (`outcome_days`), a row for each day on which something of this person was decided: never
a verdict. A row that nearly repeats another is of the same cluster, and a cluster counts once.
"""

from __future__ import annotations

from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.credit import leaderboards
from factory.intake import standing

BANDS = ((30, "within 30 days"), (90, "31 to 90 days ago"), (365, "91 to 365 days ago"), (None, "older"))
DECIDED = """
    select o.day, o.accepted, sum(o.clusters) as clusters, sum(o.clusters * fade(max(:today - o.day, 0), h.days)) as weight
    from outcome_days o join half_lives h on h.dataset_id = o.dataset_id
    where o.person_id = :person and o.clusters > 0 and (:dataset is null or o.dataset_id = :dataset)
    group by o.day, o.accepted
"""


def explained(db: Database, person_id: int, *, dataset_id: int | None = None) -> dict[str, Any]:
    """`leaderboards.why` with its arithmetic. Raises NotFound for an unknown person.

    Further keys: `ages`, a dictionary for each age of decisions (age, accepted, not_accepted, weight, each: what one of them
    weighs on average); `good` and `weight`, their weighted sums; `arithmetic`, the two sentences that lead from these to the
    standing; `beside`, the next above, this person and the next below (rank, person, lower, rate, accepted, decided, is_me).
    """
    told = leaderboards.why(db, person_id, dataset_id=dataset_id)
    days = store.rows(db, DECIDED, person=person_id, dataset=dataset_id, today=standing.today())
    good = sum(day["weight"] for day in days if day["accepted"])
    weight = sum(day["weight"] for day in days)
    return {
        **told,
        "ages": _ages(days),
        "good": good,
        "weight": weight,
        "arithmetic": arithmetic(good, weight) if weight else [],
        "beside": _beside(person_id, told),
    }


def _ages(days: list[dict[str, Any]]) -> list[dict[str, Any]]:
    today, found, youngest = standing.today(), [], -1
    for oldest, words in BANDS:
        ends = today + 1 if oldest is None else oldest
        inside = [day for day in days if youngest < today - day["day"] <= ends]
        youngest = ends
        clusters = sum(day["clusters"] for day in inside)
        if clusters:
            accepted = sum(day["clusters"] for day in inside if day["accepted"])
            weight = sum(day["weight"] for day in inside)
            found.append({
                "age": words, "accepted": accepted, "not_accepted": clusters - accepted, "weight": weight,
                "each": weight / clusters,
            })  # fmt: skip
    return found


def arithmetic(good: float, weight: float) -> list[str]:
    """How weighted sums of decisions become a standing.

    >>> arithmetic(18.0, 20.0)[0]
    'Accepted decisions weigh 18.0 of 20.0 together: a rate of 90.0%.'
    >>> arithmetic(18.0, 20.0)[1]
    'The interval of 95% around it (Wilson) goes from 69.9% to 97.2%; its lower end, 0.699, is the standing.'
    """
    low, high = standing.wilson_lower(good, weight), standing.wilson_upper(good, weight)
    return [
        f"Accepted decisions weigh {good:,.1f} of {weight:,.1f} together: a rate of {good / weight:.1%}.",
        f"The interval of 95% around it (Wilson) goes from {low:.1%} to {high:.1%};"
        f" its lower end, {low:.3f}, is the standing.",
    ]


def _beside(person_id: int, told: dict[str, Any]) -> list[dict[str, Any]]:
    keys = ("rank", "person_id", "person", "is_demo", "lower", "rate", "accepted", "decided", "provisional")
    near = told.get("beside", [])
    return [{**{key: one[key] for key in keys}, "is_me": one["person_id"] == person_id} for one in near]
