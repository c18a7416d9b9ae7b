"""Credits held while something is examined: double-entry, replayable, given back by themselves, never silent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlite_utils import Database

from factory.base import people, schema, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.credit import freezes, ledger, verify
from tests import credit_rows as rows

WHY = "Rows of two accounts look like one hand; we look at them."
DAY = 86400.0


class World:
    """Ana and Bob with two rows each, an admin, and adapters that can be paid one after the other."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.ana, self.bob = (rows.person(db, name) for name in ("ana", "bob"))
        self.admin: Person = people.create(db, "root", roles=("admin",))
        self.dataset, self.policy = rows.dataset(db, self.ana)
        self.made = [rows.example(db, self.dataset, who, f"answer {n}") for n, who in enumerate((self.ana, self.bob))]
        self.set_id, self.root = rows.held_out(db, self.dataset, self.ana, [rows_talk("Is it?")])
        self.version = rows.version(db, self.dataset, self.policy, self.made, owner=self.ana, held_out=self.set_id)

    def paid(self, tuned: float, owner: int | None = None) -> tuple[int, int]:
        """An adapter with this loss, and the transaction that paid 3 parts of 4 to Ana and 1 to Bob."""
        adapter_id, evaluation_id = rows.adapter(self.db, self.version, owner or self.ana, tuned=tuned, root=self.root)
        figures = [(self.made[0], self.ana, 0.3, 0.01), (self.made[1], self.bob, 0.1, 0.01)]
        return adapter_id, ledger.pay(self.db, rows.attributed(self.db, adapter_id, evaluation_id, figures))

    def has(self, person_id: int) -> tuple[int, int]:
        """Micro-credits somebody may use, and those that are held."""
        return ledger.balance(self.db, ledger.account(person_id)), ledger.balance(self.db, ledger.held(person_id))


def rows_talk(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": "So it is."}]


@pytest.fixture
def world(db: Database) -> World:
    return World(db)


def freeze(world: World, **about: object) -> int:
    return freezes.freeze(world.db, by=world.admin, reason=WHY, days=10, **about)  # type: ignore[arg-type]


def late(world: World, person_id: int) -> int:
    """A freeze of somebody that began ten days ago and whose end has just come."""
    with store.writing(world.db):
        record = {"person_id": person_id, "reason": WHY, "by_id": world.admin.id}
        moment = store.now()
        return store.insert(world.db, "freezes", {**record, "at": moment - 10 * DAY, "ends_at": moment - 1})


def test_what_a_person_has_and_what_is_paid_meanwhile_is_held_and_given_back(db: Database, world: World) -> None:
    _, first = world.paid(1.8)
    had = world.has(world.ana)[0]
    number = freeze(world, who="ana")
    assert world.has(world.ana) == (0, had)
    world.paid(1.6)
    more = world.has(world.ana)[1] - had
    assert world.has(world.ana)[0] == 0
    assert more > 0
    assert world.has(world.bob)[1] == 0
    freezes.end(db, number, by=world.admin, outcome="released", reason="They are two people after all.")
    assert world.has(world.ana) == (had + more, 0)
    report = verify.verify(db)
    assert report["transactions"] == 5
    kinds = [one["kind"] for one in store.rows(db, "select kind from ledger_transactions order by id")]
    assert kinds == ["pay", "freeze", "pay", "freeze", "release"]
    assert first == 1


def test_what_is_taken_back_goes_to_the_pool(db: Database, world: World) -> None:
    world.paid(1.8)
    minted = -ledger.balance(db, ledger.POOL)
    bobs = world.has(world.bob)[0]
    number = freeze(world, who="ana")
    freezes.end(db, number, by=world.admin, outcome="taken back", reason="Both accounts are hers, she said so.")
    assert world.has(world.ana) == (0, 0)
    assert -ledger.balance(db, ledger.POOL) == bobs < minted
    verify.verify(db)
    with pytest.raises(Conflict, match="take them twice"):
        ledger.counter(db, 1, person=world.admin, reason="and again")


def test_an_adapters_payments_are_held_whole_and_taken_back_its_progress_can_be_made_again(
    db: Database, world: World
) -> None:
    adapter_id, payment = world.paid(1.8)
    run_id = store.value(db, "select run_id from adapters where id = ?", adapter_id)
    number = freeze(world, run_id=run_id)
    assert world.has(world.ana)[0] == world.has(world.bob)[0] == 0
    with pytest.raises(Conflict, match=f"Freeze {number} holds"):
        ledger.counter(db, payment, person=world.admin, reason="wrong")
    with pytest.raises(Conflict, match="held already"):
        freeze(world, adapter_id=adapter_id)
    freezes.end(db, number, by=world.admin, outcome="taken back", reason="It was trained on the held-out rows.")
    assert ledger.balance(db, ledger.POOL) == 0
    assert ledger.best_paid(db, world.root) == 0
    _, again = world.paid(1.8)
    assert ledger.receipt(db, again)["kind"] == "pay"
    verify.verify(db)


def test_an_adapter_frozen_before_it_is_paid_is_held_when_it_is(db: Database, world: World) -> None:
    adapter_id, evaluation_id = rows.adapter(db, world.version, world.bob, tuned=1.8, root=world.root)
    freeze(world, adapter_id=adapter_id)
    assert store.value(db, "select count(*) from ledger_transactions") == 0
    figures = [(world.made[0], world.ana, 0.3, 0.01)]
    ledger.pay(db, rows.attributed(db, adapter_id, evaluation_id, figures))
    assert world.has(world.ana)[0] == 0 < world.has(world.ana)[1]
    verify.verify(db)


def test_nothing_is_held_beyond_its_date(db: Database, world: World) -> None:
    number = late(world, world.ana)
    world.paid(1.8)  # a payment looks first
    assert freezes.get(db, number)["outcome"] == "released"
    assert world.has(world.ana)[1] == 0 < world.has(world.ana)[0]
    again = late(world, world.bob)
    assert freezes.release_due(db) == [again]
    assert freezes.release_due(db) == []
    verify.verify(db)


def test_the_person_is_told_at_once_with_reason_end_and_amount(db: Database, world: World) -> None:
    world.paid(1.8)
    ana, bob = people.get(db, world.ana), people.get(db, world.bob)
    had = world.has(world.ana)[0] / ledger.MICRO
    number = freeze(world, who="ana")
    (told,) = freezes.notices(db, ana)
    assert f"{had:,.2f} of your credits" in told
    assert WHY in told
    assert freezes.notices(db, bob) == []
    assert freezes.listing(db)[0]["micro_credits"] == round(had * ledger.MICRO)
    freezes.end(db, number, by=world.admin, outcome="released", reason="They are two people after all.")
    assert freezes.notices(db, ana) == []


def test_only_admins_who_are_not_concerned_hold_and_end(db: Database, world: World) -> None:
    adapter_id, _ = world.paid(1.8, owner=world.admin.id)
    with pytest.raises(NotAllowed, match="own credits or your own run"):
        freeze(world, adapter_id=adapter_id)
    with pytest.raises(NotAllowed):
        freeze(world, who="root")
    people.set_roles(db, "bob", ("admin",), by=None)
    bob = people.get(db, "bob")
    with pytest.raises(NotAllowed, match="You were paid"):
        freezes.freeze(db, by=bob, reason=WHY, days=1, adapter_id=adapter_id)
    number = freeze(world, who="bob")
    with pytest.raises(NotAllowed):
        freezes.end(db, number, by=bob, outcome="released", reason="I am honest, believe me.")
    with pytest.raises(NotAllowed):
        freezes.freeze(db, by=people.get(db, "ana"), reason=WHY, days=1, who="bob")


def test_everything_that_is_missing_is_said(db: Database, world: World) -> None:
    with pytest.raises(Invalid) as refused:
        freezes.freeze(db, by=world.admin, reason="?", days=1000)
    assert len(refused.value.problems) == 3
    with pytest.raises(NotFound):
        freeze(world, adapter_id=99)
    with pytest.raises(NotFound):
        freeze(world, who="nobody")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("update freezes set person_id = 2", "freezes 1"),
        ("update freezes set reason = 'x'", "freezes 1"),
        ("update freeze_ends set outcome = 'taken back'", "freeze_ends 1"),
        ("delete from freeze_ends", "freeze_ends 1"),
        ("update ledger_entries set micro_credits = 5 where transaction_id = 2 and position", "ledger_entries (2, 1)"),
        ("update ledger_entries set account = 'x:2' where transaction_id = 3 and position = 0", "ledger_entries (3, 0)"),
    ],
)  # fmt: skip
def test_a_row_of_a_freeze_that_was_tampered_with_is_named(db: Database, world: World, change: str, named: str) -> None:
    world.paid(1.8)
    number = freeze(world, who="ana")
    freezes.end(db, number, by=world.admin, outcome="released", reason="They are two people after all.")
    for table in ("freezes", "freeze_ends", "ledger_entries"):
        for verb in ("update", "delete"):
            db.execute(f"drop trigger {table}_refuses_{verb}")
    db.execute("pragma foreign_keys = off")
    db.execute(change)
    db.conn.commit()
    with pytest.raises(Invalid, match=re.escape(named)) as refused:
        verify.verify(db)
    assert refused.value.problems[0].startswith(named + ":")


def test_a_ledger_of_the_first_version_is_brought_up_with_its_chain(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = Database(path, strict=True)
    schema.MIGRATIONS.apply(old, stop_before=next(iter(schema.LATER)))
    old.execute("pragma user_version = 1")
    old.execute("pragma foreign_keys = on")
    with store.writing(old):
        old.execute("insert into people (id, name, display_name, created_at) values (1, 'ana', 'Ana', 0)")
        record = {
            "id": 1, "kind": "counter", "formula": "{}", "adapter_id": None, "attribution_id": None, "at": 1.0,
            "previous_hash": ledger.GENESIS,
        }  # fmt: skip
        lines = [
            {"position": at, "account": name, "micro_credits": n}
            for at, (name, n) in enumerate([("pool", -5), ("person:1", 5)])
        ]
        store.insert(old, "ledger_transactions", {**record, "hash": ledger.transaction_hash(record, lines)})
        for line in lines:
            store.insert(old, "ledger_entries", {"transaction_id": 1, **line})
        before = store.rows(old, "select * from ledger_transactions"), store.rows(old, "select * from ledger_entries")
    old.close()
    with store.connect(path) as now:
        after = store.rows(now, "select * from ledger_transactions"), store.rows(now, "select * from ledger_entries")
        assert after == before
        assert store.rows(now, "pragma foreign_key_check") == []
        assert ledger.balance(now, "person:1") == 5
