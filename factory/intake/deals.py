"""Who is asked about what, where there are many reviewers: by a draw that nobody can foresee or choose.

Up to eight people who review are asked about everything. Of more, each example is dealt to about as many as may be needed
(five), so that two who agree on something beforehand seldom meet at the same example. The longer it waits, the more are
asked; at half of its deadline, everybody. The draw is the installation's secret, the reviewer and the example, so nothing
is stored.
"""

from __future__ import annotations

import hashlib

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import NotAllowed
from factory.intake.policy import Policy
from factory.intake.standing import DAY_SECONDS

FEW = 8  # people of whom each is asked about everything
ACTIVE_DAYS = 14
PATIENCE_DAYS = 14.0  # where a dataset has no deadline
SLACK = 0.03  # more became active since the queue was shown


def part(active: int, *, at_most: int) -> float:
    """The share of new examples that each of so many reviewers is asked about, where `at_most` verdicts may be needed.

    >>> part(5, at_most=5), part(16, at_most=5), part(100, at_most=9)
    (1.0, 0.3125, 0.09)
    """
    return 1.0 if active <= max(FEW, at_most) else at_most / active


def asked(drawn: float, *, share: float, waited_days: float, deadline_days: float) -> bool:
    """Whether a reviewer who drew `drawn` (0 to 1) is asked about an example by now.

    >>> [asked(0.7, share=0.5, waited_days=days, deadline_days=14) for days in (0, 2, 3, 7)]
    [False, False, True, True]
    """
    patience = (deadline_days or PATIENCE_DAYS) / 2
    return drawn < share + (1 - share) * min(1.0, max(0.0, waited_days / patience))


def active(db: Database, *, besides: int | None = None) -> int:
    """How many people gave a verdict within 14 days; `besides` is somebody who is not counted."""
    since = store.now() - ACTIVE_DAYS * DAY_SECONDS
    return int(
        store.value(
            db,
            "select count(*) from (select person_id from roles where role in ('reviewer', 'admin') group by person_id) r"
            " where person_id is not ? and exists (select 1 from verdicts where reviewer_id = r.person_id and at > ?)",
            besides,
            since,
        )
    )


def _secret(db: Database) -> bytes:
    return bytes(store.value(db, "select value from draw_secret"))


def _drawn(secret: bytes, reviewer_id: int, example_id: int) -> float:
    digest = hashlib.blake2b(b"dealt %d %d" % (reviewer_id, example_id), key=secret[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64


def drawn(db: Database, kind: str, reviewer_id: int, example_id: int) -> float:
    """What a reviewer drew (0 to 1) for something else about an example than judging it, such as answering an appeal."""
    words = f"{kind} {reviewer_id} {example_id}".encode()
    digest = hashlib.blake2b(words, key=_secret(db)[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64


def learn(db: Database, reviewer_id: int, policy: Policy) -> None:
    """Teach this connection the SQL function dealt(example_id, since) for one reviewer and one dataset's rules."""
    share = part(active(db, besides=reviewer_id) + 1, at_most=policy.quorum_at_most)  # the first verdict changes no queue
    if share >= 1:
        db.conn.create_function("dealt", 2, lambda example_id, since: 1)
        return
    secret, now, deadline = _secret(db), store.now(), policy.deadline_days
    db.conn.create_function(
        "dealt",
        2,
        lambda example_id, since: asked(
            _drawn(secret, reviewer_id, example_id),
            share=share,
            waited_days=(now - since) / DAY_SECONDS,
            deadline_days=deadline,
        ),
    )


def need_dealt(db: Database, reviewer_id: int, example_id: int, since: float, policy: Policy) -> None:
    """Raises NotAllowed where this reviewer is not asked about the example, so that nobody picks what they judge.

    What was shown is taken: one more may have become active since.
    """
    share = part(active(db, besides=reviewer_id), at_most=policy.quorum_at_most)
    if share >= 1:
        return
    waited = (store.now() - since) / DAY_SECONDS
    drawn = _drawn(_secret(db), reviewer_id, example_id) - SLACK
    if not asked(drawn, share=share, waited_days=waited, deadline_days=policy.deadline_days):
        raise NotAllowed("Others were drawn to judge this one; your own queue has the next.")
