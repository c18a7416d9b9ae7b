"""A verdict on the page can be taken back for a moment: it is written down at once and counts a little later.

Each reviewer has at most one verdict on hold. It counts with their next one, or when ten seconds are over and somebody opens
the review page or the worker comes round; until then the example is neither decided by it nor shown to this reviewer again.
What is on hold is in the database, so a closed window loses nothing. Gold counts at once, since its answer is told at once.
"""

from __future__ import annotations

from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, FactoryError
from factory.base.people import Person
from factory.intake import reviews

UNDO_SECONDS = 10.0


def say(
    db: Database,
    example_id: int,
    *,
    reviewer: Person,
    decision: str,
    reason: str | None = None,
    note: str = "",
    seconds: float | None = None,
) -> bool:
    """Put a verdict on hold, after letting go of the one before; False where it counts already, being one on gold.

    Raises what `reviews.decide` raises, at once.
    """
    with store.writing(db):
        let_go(db, reviewer=reviewer)
        if reviews.may_decide(db, example_id, reviewer=reviewer, decision=decision, reason=reason, note=note) != "waiting":
            reviews.decide(db, example_id, reviewer=reviewer, decision=decision, reason=reason, note=note, seconds=seconds)
            return False
        record = {
            "reviewer_id": reviewer.id, "example_id": example_id, "decision": decision, "reason": reason, "note": note,
            "seconds": seconds, "at": store.now(),
        }  # fmt: skip
        store.insert(db, "held_verdicts", record)
        return True


def on_hold(db: Database, reviewer: Person) -> dict[str, Any] | None:
    """The verdict that this reviewer can still take back: example_id, decision, left (seconds); else None."""
    found = store.row(db, "select example_id, decision, at from held_verdicts where reviewer_id = ?", reviewer.id)
    if found is None:
        return None
    left = found["at"] + UNDO_SECONDS - store.now()
    return {"example_id": found["example_id"], "decision": found["decision"], "left": left} if left > 0 else None


def take_back(db: Database, *, reviewer: Person) -> int:
    """Forget the verdict on hold, as if it had not been said; its example waits again. Raises Conflict when it counts."""
    people.need(reviewer, "reviewer")
    with store.writing(db):
        found = on_hold(db, reviewer)
        if found is None:
            raise Conflict("It is too late: your last verdict counts already. A wrong one can be outvoted or appealed.")
        db.execute("delete from held_verdicts where reviewer_id = ?", [reviewer.id])
        return int(found["example_id"])


def let_go(db: Database, *, reviewer: Person | None = None) -> int:
    """Let verdicts count whose moment is over (or the one of this reviewer, whatever its age); how many there were.

    One that cannot count any more, because others settled the example meanwhile, is dropped.
    """
    overdue = "select * from held_verdicts where at <= ? or reviewer_id = ? order by at"
    who = reviewer.id if reviewer else None
    if not store.rows(db, overdue, store.now() - UNDO_SECONDS, who):
        return 0  # nothing to write, so nobody waits for the lock
    with store.writing(db):
        found = store.rows(db, overdue, store.now() - UNDO_SECONDS, who)
        for one in found:
            db.execute("delete from held_verdicts where reviewer_id = ?", [one["reviewer_id"]])
            _count(db, one)
    return len(found)


def _count(db: Database, one: dict[str, Any]) -> None:
    judge = people.find(db, one["reviewer_id"])
    if judge is None:
        return
    try:
        reviews.decide(
            db, one["example_id"], reviewer=judge, decision=one["decision"], reason=one["reason"], note=one["note"],
            seconds=one["seconds"],
        )  # fmt: skip
    except FactoryError:
        return
