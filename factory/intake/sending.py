"""What would happen if a draft were sent, and sending it: the only step that spends the day's allowance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Conflict
from factory.base.people import Person
from factory.intake import contributions, drafts
from factory.intake import policy as policies
from factory.intake.allowances import DAY_SECONDS, Allowance, allowance, covered
from factory.intake.contributions import Submission


@dataclass(frozen=True)
class Outlook:
    """What would happen if a draft were sent now.

    `sent` rows would wait for review, `later` ones are good but more than today's allowance and stay in the draft, as do
    `refused`, `to_confirm` and `unchecked` ones. `reasons` counts refused rows by the code of what refuses them, hints by
    that of the hint. `left` and `left_bytes` are what could still be submitted today after that; `decided_by` is the moment
    at which silence would decide, or None.
    """

    sent: int
    sent_bytes: int
    later: int
    refused: int
    to_confirm: int
    unchecked: int
    dropped: int
    left: int
    left_bytes: int
    decided_by: float | None
    positions: list[int] = field(repr=False)
    reasons: dict[str, int] = field(default_factory=dict)
    hints: dict[str, int] = field(default_factory=dict)


def outlook(db: Database, draft_id: int, *, person: Person) -> Outlook:
    """What sending one's own draft would do, with nothing written. Raises NotFound."""
    draft = drafts.get(db, draft_id, person=person)
    allowed = allowance(db, draft["dataset_id"], person)
    _, policy = policies.current(db, draft["dataset_id"])
    good = drafts.good(db, draft_id, person=person)
    fits = [row for row, fit in zip(good, covered(allowed, [row["bytes"] for row in good]), strict=True) if fit]
    spent = sum(row["bytes"] for row in fits)
    refusing, hinting = _codes(db, draft_id)
    return Outlook(
        sent=len(fits),
        sent_bytes=spent,
        later=len(good) - len(fits),
        refused=draft["refused"],
        to_confirm=draft["to_confirm"],
        unchecked=draft["unchecked"],
        dropped=draft["dropped"],
        left=_left(allowed, len(fits)),
        left_bytes=max(0, allowed.left_bytes - spent),
        decided_by=store.now() + policy.deadline_days * DAY_SECONDS if policy.deadline_days and fits else None,
        positions=[row["position"] for row in fits],
        reasons=refusing,
        hints=hinting,
    )


def _left(allowed: Allowance, taken: int) -> int:
    return max(0, allowed.left - taken)


def _codes(db: Database, draft_id: int) -> tuple[dict[str, int], dict[str, int]]:
    """How many rows each code refuses, and to how many it is a hint, commonest first."""
    found = store.rows(
        db,
        "select json_extract(f.value, '$.code') as code, json_extract(f.value, '$.refuses') as refuses,"
        " count(distinct r.position) as rows from draft_rows r,"
        " json_each(case when coalesce(r.own, '[]') = '[]' then r.among else r.own end) f"
        " where r.draft_id = ? and not r.dropped and r.state in ('refused', 'hints') group by 1, 2",
        draft_id,
    )
    counted: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for record in found:
        counted[not record["refuses"]][record["code"]] += record["rows"]
    return dict(counted[0].most_common()), dict(counted[1].most_common())


def send(db: Database, draft_id: int, *, person: Person, licence: str, attested: bool) -> Submission:
    """Submit what is good, confirmed and within today's allowance; the rest stays in the draft for another day.

    In one transaction with taking the rows out of the draft, so that two windows cannot send them twice. Raises what
    `contributions.submit` raises, NotFound, and Conflict when nothing could be sent.
    """
    draft = drafts.check(db, draft_id, person=person)
    expected = outlook(db, draft_id, person=person)
    if not expected.positions:
        why = "today's allowance is used up" if expected.later else "no row of it is good and confirmed"
        raise Conflict(f"Nothing of this draft can be sent: {why}. It is kept for you.")
    return contributions.submit(
        db,
        draft["dataset_id"],
        person=person,
        rows=drafts.taken_out(db, draft_id, expected.positions, person=person),
        source=draft["source"],
        file_name=draft["file_name"],
        file_format=draft["file_format"],
        licence=licence,
        attested=attested,
        also=lambda kept: drafts.sent(db, draft_id, expected.positions),
    )
