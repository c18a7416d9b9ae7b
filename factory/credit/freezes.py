"""Credits held while something is examined: in the book, with a reason and an end, given back or taken back at the end.

A freeze is about a person (what they have, and what is paid to them meanwhile) or about an adapter (all that was and is paid
for it). What it holds moves from 'person:ID' to 'held:ID' by transactions of kind 'freeze'. It ends by 'release', the exact
opposite, by itself at its date; or by 'take_back', by which what it held goes back to the pool. Each of these is a pure
function of rows before it, so `verify` recomputes it like a payment.
"""

from __future__ import annotations

import json
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.credit import book
from factory.credit.book import POOL, account, held
from factory.intake import sanctions
from factory.intake.sanctions import DAY_SECONDS, day

RULE, RULE_VERSION = "freeze", 1
MOST_DAYS = 90
KINDS = {"freeze": "held", "release": "given back", "take_back": "taken back"}
SHOWN = """
    select f.*, p.display_name as person, coalesce(p.is_demo, 0) as is_demo, d.name as adapter, d.run_id,
        b.display_name as by_name, e.outcome, e.reason as end_reason, e.at as ended_at, x.display_name as ended_by_name
    from freezes f left join people p on p.id = f.person_id left join adapters d on d.id = f.adapter_id
    join people b on b.id = f.by_id left join freeze_ends e on e.freeze_id = f.id left join people x on x.id = e.by_id
"""
OPEN = "not exists (select 1 from freeze_ends where freeze_id = f.id)"
# The kinds are named twice: as the index of freezes names them, without which every payment's formula would be read.
HOLDING = "t.kind in ('freeze', 'release', 'take_back') and t.kind = 'freeze' and json_extract(t.formula, '$.freeze_id')"
Entries = list[tuple[str, int]]


def freeze(
    db: Database,
    *,
    by: Person,
    reason: str,
    days: float,
    who: int | str | None = None,
    adapter_id: int | None = None,
    run_id: int | None = None,
) -> int:
    """Hold the credits of a person, or of an adapter (by its id, or the run's), for at most `days`; the freeze's id.

    `reason` is for everybody to read. Those whose credits are held see it on their next page.
    Raises NotAllowed unless `by` is an admin who is not concerned, Invalid, NotFound, Conflict where one holds already.
    """
    people.need(by, "admin")
    problems = sanctions.wording(reason)
    if not 0 < days <= MOST_DAYS:
        problems.append(f"Credits are held for up to {MOST_DAYS} days, then they are given back; {days:g} is outside.")
    if sum(one is not None for one in (who, adapter_id, run_id)) != 1:
        problems.append("Name one person, one adapter or one run.")
    if problems:
        raise Invalid(problems)
    person_id = people.get(db, who).id if who is not None else None
    with store.writing(db):
        if person_id is None:
            adapter_id = _adapter(db, adapter_id, run_id)
        _need_unconcerned(db, by, person_id, adapter_id)
        again = f"select id from freezes f where f.person_id is ? and f.adapter_id is ? and {OPEN}"
        if held_by := store.value(db, again, person_id, adapter_id):
            raise Conflict(f"These credits are held already, by freeze {held_by}; end that one first.")
        now = store.now()
        record = {"person_id": person_id, "adapter_id": adapter_id, "reason": reason.strip(), "by_id": by.id, "at": now}
        freeze_id = store.insert(db, "freezes", {**record, "ends_at": now + days * DAY_SECONDS})
        _write(db, "freeze", *reckon(db, freeze_id), adapter_id=adapter_id)
    return freeze_id


def _adapter(db: Database, adapter_id: int | None, run_id: int | None) -> int:
    found = store.value(db, "select id from adapters where id = ? or run_id = ?", adapter_id, run_id)
    if found is None:
        wanted = f"adapter {adapter_id}" if adapter_id is not None else f"adapter of run {run_id}"
        raise NotFound(f"There is no {wanted}; the page of adapters lists those there are.")
    return int(found)


def _need_unconcerned(db: Database, by: Person, person_id: int | None, adapter_id: int | None) -> None:
    builder = "select 1 from adapters d join runs r on r.id = d.run_id where d.id = ? and r.person_id = ?"
    if by.id == person_id or store.value(db, builder, adapter_id, by.id):
        raise NotAllowed("This is about your own credits or your own run; another admin decides.")
    if adapter_id is not None and account(by.id) in {name for name, _ in _paid(db, adapter_id, before=2**62)}:
        raise NotAllowed("You were paid for this adapter; another admin decides.")


def _write(db: Database, kind: str, formula: dict[str, Any], entries: Entries, *, adapter_id: int | None) -> None:
    if entries:
        book.append(db, kind, formula, entries, adapter_id=adapter_id, attribution_id=None)


def _paid(db: Database, adapter_id: int, *, before: int, payment: int | None = None) -> Entries:
    """What people were paid for an adapter before a transaction, payments that were countered left out."""
    found = store.rows(
        db,
        "select e.account, sum(e.micro_credits) as amount from ledger_transactions t"
        " join ledger_entries e on e.transaction_id = t.id where t.adapter_id = :adapter and t.kind = 'pay'"
        " and t.id < :before and (:payment is null or t.id = :payment) and e.account <> 'pool'"
        " and not exists (select 1 from ledger_transactions c where c.kind = 'counter' and c.id < :before"
        "  and json_extract(c.formula, '$.counters') = t.id) group by e.account order by e.account",
        adapter=adapter_id,
        before=before,
        payment=payment,
    )
    return [(one["account"], one["amount"]) for one in found]


def reckon(
    db: Database, freeze_id: int, *, payment: int | None = None, before: int = 2**62
) -> tuple[dict[str, Any], Entries]:
    """What a freeze holds: the formula and the entries of its transaction, from the book before transaction `before`.

    With a `payment` only what that one paid. Nobody's account is held below zero.
    """
    found = get(db, freeze_id)
    if found["adapter_id"] is not None:
        wanted = _paid(db, found["adapter_id"], before=before, payment=payment)
    else:
        mine = account(found["person_id"])
        share = "select sum(micro_credits) from ledger_entries where account = ? and transaction_id = ?"
        paid = store.value(db, share, mine, payment) if payment else _balance(db, mine, before)
        wanted = [(mine, int(paid or 0))]
    entries: Entries = []
    for name, amount in wanted:
        amount = min(amount, _balance(db, name, before))
        if amount > 0:
            entries += [(name, -amount), (held(int(name.partition(":")[2])), amount)]
    return _formula(found, "freeze", found["reason"]) | {"payment": payment}, entries


def _formula(found: dict[str, Any], kind: str, reason: str) -> dict[str, Any]:
    about = {key: found[key] for key in ("person_id", "adapter_id", "ends_at")}
    return {"rule": RULE, "rule_version": RULE_VERSION, "freeze_id": found["id"], "does": kind, "reason": reason, **about}


def _balance(db: Database, name: str, before: int) -> int:
    total = "select coalesce(sum(micro_credits), 0) from ledger_entries where account = ? and transaction_id < ?"
    return int(store.value(db, total, name, before))


def reckon_end(db: Database, freeze_id: int, *, before: int = 2**62) -> tuple[str, dict[str, Any], Entries]:
    """How a freeze ended: kind, formula and entries of the transaction that ends it. Raises Invalid before that."""
    found = get(db, freeze_id)
    if found["outcome"] is None:
        raise Invalid(f"Freeze {freeze_id} has not ended.")
    kind = "release" if found["outcome"] == "released" else "take_back"
    holding = store.rows(
        db,
        "select e.account, sum(e.micro_credits) as amount from ledger_transactions t"
        " join ledger_entries e on e.transaction_id = t.id where t.kind = 'freeze' and t.id < ?"
        " and json_extract(t.formula, '$.freeze_id') = ? group by e.account having amount > 0 order by e.account",
        before,
        freeze_id,
    )
    entries: Entries = []
    for one in holding:
        back = POOL if kind == "take_back" else account(int(one["account"].partition(":")[2]))
        entries += [(one["account"], -one["amount"]), (back, one["amount"])]
    return kind, _formula(found, kind, found["end_reason"]), entries


def hold_back(db: Database, transaction_id: int) -> None:
    """Hold what a payment paid, where a freeze says so; in the caller's transaction, right behind the payment."""
    paid = store.row(db, "select kind, adapter_id from ledger_transactions where id = ?", transaction_id)
    if paid is None or paid["kind"] not in ("pay", "reward", "return"):
        return
    release_due(db)
    concerned = store.rows(
        db,
        f"select f.id, f.adapter_id from freezes f where {OPEN} and (f.adapter_id = :adapter or 'person:' || f.person_id in"
        " (select account from ledger_entries where transaction_id = :paid)) order by f.id",
        adapter=paid["adapter_id"],
        paid=transaction_id,
    )
    for one in concerned:
        formula, entries = reckon(db, one["id"], payment=transaction_id)
        _write(db, "freeze", formula, entries, adapter_id=one["adapter_id"])


def end(db: Database, freeze_id: int, *, by: Person, outcome: str, reason: str) -> None:
    """Give back what a freeze held ('released'), or let it go back to the pool ('taken back'), with a reason for everybody.

    Raises NotAllowed unless `by` is an admin who is not concerned, Invalid, NotFound, Conflict when it ended.
    """
    people.need(by, "admin")
    problems = sanctions.wording(reason)
    if outcome not in ("released", "taken back"):
        problems.append("A freeze ends released or taken back.")
    if problems:
        raise Invalid(problems)
    with store.writing(db):
        found = get(db, freeze_id)
        if found["outcome"]:
            raise Conflict(f"Freeze {freeze_id} has ended: {found['outcome']}.")
        _need_unconcerned(db, by, found["person_id"], found["adapter_id"])
        _end(db, found, outcome, reason.strip(), by.id)


def _end(db: Database, found: dict[str, Any], outcome: str, reason: str, by_id: int | None) -> None:
    record = {"freeze_id": found["id"], "outcome": outcome, "by_id": by_id, "reason": reason, "at": store.now()}
    store.insert(db, "freeze_ends", record)
    kind, formula, entries = reckon_end(db, found["id"])
    _write(db, kind, formula, entries, adapter_id=found["adapter_id"])


def release_due(db: Database) -> list[int]:
    """Give back what is held beyond its date; the ids of those freezes. Workers, payments and the page of credits do so."""
    late = f"select f.* from freezes f where {OPEN} and f.ends_at <= ? order by f.id"
    if not store.row(db, late, store.now()):
        return []
    with store.writing(db):
        due = store.rows(db, late, store.now())
        for found in due:
            _end(db, found, "released", f"Its end date, {day(found['ends_at'])}, came.", None)
    return [found["id"] for found in due]


def get(db: Database, freeze_id: int) -> dict[str, Any]:
    """One freeze, as `listing` has it. Raises NotFound."""
    found = store.row(db, f"{SHOWN} where f.id = ?", freeze_id)
    if found is None:
        raise NotFound(f"There is no freeze {freeze_id}; the page of credits lists what is held.")
    return found


def listing(db: Database, *, limit: int = 50, offset: int = 0) -> list[dict[str, Any]]:
    """Every freeze, newest first, for everybody.

    Keys: id, person_id, person, is_demo, adapter_id, adapter, run_id, reason, by_id, by_name, at, ends_at, outcome (None:
    holds now), end_reason, ended_at, ended_by_name (None: by its date), micro_credits (held, all told).
    """
    found = store.rows(db, f"{SHOWN} order by f.id desc limit ? offset ?", limit, offset)
    return [{**one, "micro_credits": sum(amount for _, amount in _held(db, one["id"]))} for one in found]


def _held(db: Database, freeze_id: int) -> Entries:
    found = store.rows(
        db,
        f"select e.account, sum(e.micro_credits) as amount from ledger_transactions t"
        f" cross join ledger_entries e on e.transaction_id = t.id where {HOLDING} = ? and e.micro_credits > 0"
        " group by e.account",
        freeze_id,
    )
    return [(one["account"], one["amount"]) for one in found]


def notices(db: Database, person: Person) -> list[str]:
    """What somebody whose credits are held, or may be, is told on every page, one sentence for each freeze."""
    concerned = store.rows(
        db,
        f"{SHOWN} where {OPEN} and (f.person_id = :person or exists (select 1 from ledger_transactions t"
        f" cross join ledger_entries e on e.transaction_id = t.id where {HOLDING} = f.id and e.account = :held))"
        " order by f.id",
        person=person.id,
        held=held(person.id),
    )
    told = []
    for one in concerned:
        amount = dict(_held(db, one["id"])).get(held(person.id), 0) / book.MICRO
        about = f"paid for the adapter {one['adapter']} " if one["adapter_id"] else ""
        told.append(
            f"{amount:,.2f} of your credits {about}are held until {day(one['ends_at'])}, while this is examined:"
            f" {one['reason']} Then they are given back, unless it turns out that they have to be taken back; the page"
            f" Credits shows what is held (number {one['id']})."
        )
    return told


def in_the_way_of_counter(db: Database, payment: dict[str, Any]) -> str:
    """Why a payment (as `ledger.receipt` has it) cannot be countered now, in words; "" where it can."""
    for entry in payment["entries"]:
        if entry["person_id"] is None:
            continue
        taken = store.value(
            db,
            "select t.id from ledger_transactions t join ledger_entries e on e.transaction_id = t.id"
            " where t.kind = 'take_back' and t.id > ? and e.account = ? limit 1",
            payment["id"],
            held(entry["person_id"]),
        )
        if taken:
            return f"Transaction {taken} took credits of {entry['person']} back since; to counter would take them twice."
    open_one = f"select f.id from freezes f where {OPEN} and (f.adapter_id = ? or 'person:' || f.person_id in"
    open_one += " (select account from ledger_entries where transaction_id = ?)) limit 1"
    if holding := store.value(db, open_one, payment["adapter_id"], payment["id"]):
        return f"Freeze {holding} holds credits of this payment; end it first, then counter what is left."
    return ""


def of_transaction(formula: str) -> tuple[int, int | None]:
    """The freeze that a transaction belongs to, and the payment it followed, from its formula."""
    found = json.loads(formula)
    return int(found["freeze_id"]), found.get("payment")
