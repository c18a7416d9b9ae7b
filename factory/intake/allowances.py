"""How much somebody may offer in a day, in examples and bytes: a base for everybody, more for those who do good work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from factory.base import store
from factory.base.people import Person
from factory.intake import policy as policies
from factory.intake import standing
from factory.intake.policy import Policy
from factory.intake.standing import Standing

DAY_SECONDS = 24 * 3600.0
TWO_OF_THREE = 2 / 3  # of what was decided have to be accepted, or nothing is earned beyond the base


@dataclass(frozen=True)
class Allowance:
    """How many examples a person may still submit to a dataset: `left` of `limit`, and why, in two sentences.

    Bytes are those of the canonical texts. Both limits hold.
    """

    limit: int
    used: int
    left: int
    limit_bytes: int
    used_bytes: int
    left_bytes: int
    standing_lower: float
    because: str
    next_step: str


def allowance(db: Database, dataset_id: int, person: Person) -> Allowance:
    """How much a person may submit within 24 hours.

    limit = min(cap, base × upper end of standing + growth × clusters accepted in 30 days × lower end of standing), by the
    dataset's policy: it grows with good work, shrinks gently as that ages or is turned down, and never reaches zero.
    Bytes are `daily_bytes_per_example` for each of them. There is no growth where less than two of three are accepted: what
    is good in a flood would else pay for the flood, in the hours of reviewers.
    Examples that checks refused are not counted as used.
    """
    _, policy = policies.current(db, dataset_id)
    now = store.now()
    proven = standing.of(db, person.id, dataset_id)
    lower, base = proven.lower, base_of(policy, proven)
    accepted = standing.accepted_since(db, person.id, dataset_id, now - 30 * DAY_SECONDS)
    earned = int(policy.daily_growth * accepted * lower) if proven.rate >= TWO_OF_THREE else 0
    limit = min(policy.daily_cap_examples, base + earned)
    spent = store.row(
        db,
        "select count(*) as used, coalesce(sum(bytes), 0) as bytes, min(created_at) as first_at from examples"
        " where person_id = ? and dataset_id = ? and created_at > ? and not refused_by_checks",
        person.id,
        dataset_id,
        now - DAY_SECONDS,
    ) or {"used": 0, "bytes": 0, "first_at": None}
    left = max(0, limit - spent["used"])
    limit_bytes = limit * policy.daily_bytes_per_example
    left_bytes = max(0, limit_bytes - spent["bytes"])
    words = _allowance_words(policy, limit, accepted, proven, min(left, left_bytes), spent["first_at"])
    return Allowance(limit, spent["used"], left, limit_bytes, spent["bytes"], left_bytes, lower, *words)


def base_of(policy: Policy, proven: Standing) -> int:
    """The part of a day's limit that need not be earned: all for the unknown, less the surer it is that little is good.

    >>> new, poor = Standing(0, 0, 0.0, 0.0, 1.0, True), Standing(0, 40, 0.0, 0.0, 0.088, False)
    >>> base_of(Policy(), new), base_of(Policy(), poor)
    (20, 2)
    """
    return max(1, math.ceil(policy.daily_base_examples * proven.upper))


def covered(allowed: Allowance, sizes: Sequence[int]) -> list[bool]:
    """Which of examples with these sizes in bytes, taken in their order, fit into what is left for today.

    One that does not fit is passed over, and smaller ones after it may still fit.
    """
    left, left_bytes, fits = allowed.left, allowed.left_bytes, []
    for size in sizes:
        fits.append(left > 0 and size <= left_bytes)
        left, left_bytes = (left - 1, left_bytes - size) if fits[-1] else (left, left_bytes)
    return fits


def _allowance_words(
    policy: Policy, limit: int, accepted: int, proven: Standing, left: int, first_at: float | None
) -> tuple[str, str]:
    because = (
        f"Everybody may submit {policy.daily_base_examples:,} examples within 24 hours,"
        f" of {policy.daily_bytes_per_example:,} bytes on average"
    )
    if limit > policy.daily_base_examples:
        because += (
            f"; you may submit {limit:,}, as {accepted:,} of yours were accepted in 30 days, with a standing of"
            f" {proven.lower:.2f}"
        )
    elif limit < policy.daily_base_examples:
        because += (
            f"; you may submit {limit:,}, as {proven.accepted:,} of your {proven.decided:,} decided ones were accepted"
        )
    if left == 0 and first_at is not None:
        hours = max(0.0, first_at + DAY_SECONDS - store.now()) / 3600
        step = (
            f"The next place opens in {hours:.0f} hours."
            if hours >= 1.5
            else f"The next place opens in {hours * 60:.0f} minutes."
        )
    elif limit >= policy.daily_cap_examples:
        step = "This is the most anybody may submit."
    elif proven.decided and proven.rate < TWO_OF_THREE:
        step = "More is earned again once at least two of three of yours that are decided were accepted."
    else:
        step = f"Each accepted example adds up to {policy.daily_growth:g} a day, the more the more of yours are accepted."
    return because + ".", step
