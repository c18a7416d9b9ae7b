"""Paying bounties: which accepted rows fit, when an acceptance has stood long enough, and what flows back at the end.

A row is paid once, by the oldest open bounty it fits: if it came after that one was opened and before its end, is nobody's
copy, is not of the one who promised, and has stayed accepted for `stands_days`. A row that was withdrawn or overturned by
then is not paid. One withdrawn later keeps its credits, like every past credit; one overturned later is for an admin to
counter, and the credits go back to the bounty, or where they came from.
"""

from __future__ import annotations

from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed
from factory.base.people import Person
from factory.credit import book, bounties, freezes
from factory.credit.bounties import DAY_SECONDS

LOOKED_AT = 2_000  # rows at once
MOST_WORDS = 500
GRACE_DAYS = 30.0  # how long rows that came in time may still be decided
OPEN = f"{bounties.ROW} from bounties b where not exists (select 1 from bounty_ends where bounty_id = b.id)"


def settle(db: Database) -> list[dict[str, Any]]:
    """Look at what was accepted, pay what is due, end what is over: a dict for each transaction (kind, id, bounty_id).

    Safe to repeat at any time and from several processes. A worker does so every ten minutes.
    """
    done: list[dict[str, Any]] = []
    for bounty in store.rows(db, f"{OPEN} order by b.id"):
        done += _settle(db, bounty)
    with store.writing(db):
        done += _flow_back(db)
    return done


def _settle(db: Database, bounty: dict[str, Any]) -> list[dict[str, Any]]:
    while _look_round(db, bounty):
        pass
    with store.writing(db):
        done = _pay(db, bounty)
        _end(db, bounty)
    return done


def may_end(bounty: dict[str, Any], person: Person) -> bool:
    """Whether somebody may end a bounty early: who set it, or an admin, as long as it is open."""
    return not bounty["ended_at"] and not bounty["stopped_at"] and (bounty["opened_by"] == person.id or person.may("admin"))


def end_early(db: Database, bounty_id: int, *, person: Person, reason: str) -> dict[str, Any]:
    """End a bounty now, as if its date had come; the bounty, as `bounties.get` has it. For who set it, and for admins.

    Rows that came before are still decided and paid: their authors worked for it. What is left then flows back to where it
    came from, at once where no such row waits. Raises NotFound, NotAllowed, Invalid without a reason, Conflict when it is
    over or was ended already.
    """
    people.need(person, *bounties.ROLES)
    bounty = bounties.get(db, bounty_id)
    if bounty["ended_at"] or bounty["stopped_at"]:
        how = bounty["end_reason"] or "it was ended early, and waits for rows that came in time"
        raise Conflict(f"Bounty {bounty_id} has ended already: {how}.")
    if not may_end(bounty, person):
        raise NotAllowed(
            f"Bounty {bounty_id} was set by somebody else; ask {bounty['opened_by_name']} or an admin to end it."
        )
    if not 1 <= len(reason.strip()) <= MOST_WORDS:
        raise Invalid(f"Say in 1 to {MOST_WORDS} characters why it ends; those who work for it read that.")
    with store.writing(db):
        now = store.now()
        if store.value(db, "select 1 from bounty_stops where bounty_id = ?", bounty_id):
            raise Conflict(f"Bounty {bounty_id} was ended by somebody else in this moment.")
        record = {"bounty_id": bounty_id, "by_id": person.id, "reason": reason.strip(), "at": now}
        store.insert(db, "bounty_stops", record)
    for still in store.rows(db, f"{OPEN} and b.id = ?", bounty_id):
        _settle(db, still)
    with store.writing(db):
        _flow_back(db)
    return bounties.get(db, bounty_id)


def _look_round(db: Database, bounty: dict[str, Any]) -> bool:
    """Look at some accepted rows that this bounty has not seen; whether there may be more."""
    unseen = store.rows(
        db,
        "select e.id, e.content from example_states s join examples e on e.id = s.example_id"
        " where s.dataset_id = :dataset_id and s.state = 'accepted' and s.example_id > :after_example_id"
        " and s.created_at < :until and s.cluster_id = s.example_id and s.person_id <> :opened_by and not exists"
        " (select 1 from bounty_rows where bounty_id = :id and example_id = s.example_id) order by s.example_id limit :most",
        **{key: bounty[key] for key in ("id", "dataset_id", "after_example_id", "until", "opened_by")},
        most=LOOKED_AT,
    )
    seen = bounties.look(db, bounty, [row["content"] for row in unseen]) if unseen else []
    with store.writing(db):
        db.conn.executemany(
            "insert or ignore into bounty_rows (bounty_id, example_id, likeness, fits, at) values (?, ?, ?, ?, ?)",
            [
                (bounty["id"], row["id"], likeness, int(fits), store.now())
                for row, (likeness, fits) in zip(unseen, seen, strict=True)
            ],
        )
    return len(unseen) == LOOKED_AT


def waiting(db: Database, bounty: dict[str, Any]) -> list[dict[str, Any]]:
    """Accepted rows that fit a bounty and are not paid yet, in their order: example_id, person_id, due_at."""
    return store.rows(
        db,
        "select s.example_id, s.person_id, s.decided_at + :wait as due_at from bounty_rows r"
        " join example_states s on s.example_id = r.example_id where r.bounty_id = :id and r.fits and s.state = 'accepted'"
        " and not exists (select 1 from ledger_transactions t where t.kind = 'reward'"
        "  and json_extract(t.formula, '$.example_id') = r.example_id) order by s.decided_at, s.example_id",
        id=bounty["id"],
        wait=bounty["stands_days"] * DAY_SECONDS,
    )


def _pay(db: Database, bounty: dict[str, Any]) -> list[dict[str, Any]]:
    left = book.balance(db, bounties.purse(bounty["id"])) // bounty["each_micro_credits"]
    had = _paid_people(db, bounty["id"])
    done = []
    for row in waiting(db, bounty):
        if left == 0:
            break
        if row["due_at"] > store.now() or had.get(row["person_id"], 0) >= bounty["most_per_person"]:
            continue
        about = {"bounty_id": bounty["id"], "example_id": row["example_id"]}
        paid = bounties.write(db, "reward", about)
        freezes.hold_back(db, paid)
        had[row["person_id"]] = had.get(row["person_id"], 0) + 1
        left -= 1
        done.append({"kind": "reward", "id": paid, **about})
    return done


def _paid_people(db: Database, bounty_id: int) -> dict[int, int]:
    found = store.rows(
        db,
        "select e.person_id, count(*) as rows from ledger_transactions t"
        " join examples e on e.id = json_extract(t.formula, '$.example_id')"
        " where t.kind = 'reward' and json_extract(t.formula, '$.bounty_id') = ? group by e.person_id",
        bounty_id,
    )
    return {row["person_id"]: row["rows"] for row in found}


def _end(db: Database, bounty: dict[str, Any]) -> None:
    now, ended = store.now(), ""
    if book.balance(db, bounties.purse(bounty["id"])) < bounty["each_micro_credits"]:
        ended = "paid out"
    elif now >= bounty["until"]:
        undecided = (
            "select 1 from example_states where dataset_id = ? and state = 'waiting' and example_id > ? and created_at < ?"
        )
        in_time = (bounty["dataset_id"], bounty["after_example_id"], bounty["until"])
        still = store.value(db, f"{undecided} limit 1", *in_time) or any(row["due_at"] > now for row in waiting(db, bounty))
        if not still or now >= bounty["until"] + GRACE_DAYS * DAY_SECONDS:
            ended = "its date came"
    if ended and not store.value(db, "select 1 from bounty_ends where bounty_id = ?", bounty["id"]):
        store.insert(db, "bounty_ends", {"bounty_id": bounty["id"], "reason": ended, "at": now})


def _flow_back(db: Database) -> list[dict[str, Any]]:
    """What lies on the accounts of ended bounties goes back, also what a countered reward put there later."""
    over = store.rows(
        db,
        "select b.bounty_id from bounty_ends b join ledger_entries e on e.account = 'bounty:' || b.bounty_id"
        " group by b.bounty_id having sum(e.micro_credits) > 0 order by b.bounty_id",
    )
    found = [{"bounty_id": row["bounty_id"]} for row in over]
    done = [{"kind": "return", "id": bounties.write(db, "return", about), **about} for about in found]
    for one in done:
        freezes.hold_back(db, one["id"])
    return done
