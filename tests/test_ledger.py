"""The book of credits: shares, payments, holds, counters, and nothing that can be changed."""

from __future__ import annotations

import json
import sqlite3
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.settings import Settings
from factory.credit import ledger
from tests import credit_rows as rows

MICRO = ledger.MICRO


@pytest.fixture
def world(db: Database) -> dict[str, int]:
    """Two people with two accepted examples each, a third whose rows hurt; an adapter that takes 10% away; attributed."""
    ana, bo, cy = (rows.person(db, name) for name in ("ana", "bob", "cyd"))
    dataset_id, policy_id = rows.dataset(db, ana)
    made = [rows.example(db, dataset_id, who, f"answer {n}") for n, who in enumerate((ana, ana, bo, bo, cy))]
    version_id = rows.version(db, dataset_id, policy_id, made, owner=ana)
    adapter_id, evaluation_id = rows.adapter(db, version_id, ana)
    values = [
        (made[0], ana, 0.2, 0.01),
        (made[1], ana, 0.1, 0.01),
        (made[2], bo, 0.1, 0.01),
        (made[3], bo, 0.0, 0.0),
        (made[4], cy, -0.3, 0.1),
    ]
    attribution_id = rows.attributed(db, adapter_id, evaluation_id, values)
    return {
        "ana": ana, "bob": bo, "cyd": cy, "dataset": dataset_id, "policy": policy_id, "version": version_id,
        "adapter": adapter_id, "attribution": attribution_id, **{f"example{n}": one for n, one in enumerate(made)},
    }  # fmt: skip


values = st.dictionaries(st.integers(1, 50), st.tuples(st.floats(-10, 10), st.floats(0, 3)), max_size=20)


@given(values, st.integers(0, 10**15))
def test_shares_sum_to_exactly_the_pool_or_to_nothing(people_values: dict[int, tuple[float, float]], pool: int) -> None:
    split = ledger.shares({p: v for p, (v, _) in people_values.items()}, {p: e for p, (_, e) in people_values.items()}, pool)
    certain = {p for p, (v, e) in people_values.items() if v - ledger.Z * e > 0}
    assert sum(split.values()) == (pool if certain else 0)
    assert all(amount >= 0 for amount in split.values())
    assert {p for p, amount in split.items() if amount} <= certain


@given(values, st.integers(0, 10**9))
def test_shares_do_not_depend_on_order(people_values: dict[int, tuple[float, float]], pool: int) -> None:
    forth, back = (dict(sorted(people_values.items(), reverse=way)) for way in (False, True))
    one, other = (
        ledger.shares({p: v for p, (v, _) in d.items()}, {p: e for p, (_, e) in d.items()}, pool) for d in (forth, back)
    )
    assert one == other


def test_what_rounding_leaves_goes_to_the_largest_remainder_then_to_the_lower_id() -> None:
    assert ledger.shares({3: 1.0, 1: 1.0, 2: 1.0}, dict.fromkeys((1, 2, 3), 0.0), 100) == {1: 34, 2: 33, 3: 33}
    assert ledger.shares({1: 1.0, 2: 2.0}, {1: 0.0, 2: 0.0}, 100) == {1: 33, 2: 67}


def test_a_value_that_is_not_certain_or_not_a_number_earns_nothing() -> None:
    split = ledger.shares({1: 1.0, 2: 1.0, 3: float("nan"), 4: float("inf")}, {1: 0.1, 2: 0.7, 3: 0.0, 4: 0.0}, 10)
    assert split == {1: 10, 2: 0, 3: 0, 4: 0}


def test_progress_is_paid_in_proportion_and_the_book_balances(db: Database, world: dict[str, int]) -> None:
    transaction = ledger.pay(db, world["attribution"])
    paid = ledger.receipt(db, transaction)
    assert paid["kind"] == "pay"
    minted = -ledger.balance(db, "pool")
    assert minted == pytest.approx(100 * MICRO, abs=1)  # 10% at 10 credits each; the percent is a float
    assert [e["account"] for e in paid["entries"]] == ["pool", f"person:{world['ana']}", f"person:{world['bob']}"]
    assert ledger.balance(db, f"person:{world['ana']}") == pytest.approx(0.75 * minted, abs=1)
    assert ledger.balance(db, f"person:{world['bob']}") == pytest.approx(0.25 * minted, abs=1)
    assert ledger.balance(db, f"person:{world['cyd']}") == 0
    assert store.value(db, "select sum(micro_credits) from ledger_entries") == 0
    formula = paid["formula"]
    assert (formula["rule"], formula["rule_version"], formula["seeds"], formula["reason"]) == ("progress", 1, [42], "")
    assert formula["evaluation"]["low"] < formula["evaluation"]["high"] < 0


def test_an_attribution_is_paid_once(db: Database, world: dict[str, int]) -> None:
    assert ledger.pay(db, world["attribution"]) == ledger.pay(db, world["attribution"])
    assert len(ledger.entries(db)) == 3


def test_two_processes_paying_at_once_pay_once(settings: Settings, db: Database, world: dict[str, int]) -> None:
    found: list[int] = []

    def pay() -> None:
        with store.connect(settings) as own:
            found.append(ledger.pay(own, world["attribution"]))

    threads = [threading.Thread(target=pay) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1, 1, 1, 1]


def test_only_progress_over_what_was_paid_on_the_same_held_out_set_is_paid(db: Database, world: dict[str, int]) -> None:
    ledger.pay(db, world["attribution"])

    def next_adapter(tuned: float, root: str = "r" * 64) -> dict[str, object]:
        adapter_id, evaluation_id = rows.adapter(db, world["version"], world["ana"], tuned=tuned, root=root)
        return ledger.receipt(
            db,
            ledger.pay(db, rows.attributed(db, adapter_id, evaluation_id, [(world["example0"], world["ana"], 0.2, 0.01)])),
        )

    better = next_adapter(1.7)  # 15%, of which 10 were paid
    assert better["formula"]["pool_micro_credits"] == pytest.approx(50 * MICRO, abs=2)
    worse = next_adapter(1.75)
    assert (worse["kind"], worse["entries"]) == ("hold", [])
    assert "already paid" in worse["formula"]["reason"]
    elsewhere = next_adapter(1.9, root="q" * 64)
    assert elsewhere["formula"]["pool_micro_credits"] == pytest.approx(50 * MICRO, abs=2)


@pytest.mark.parametrize(("tuned", "spread", "value"), [(1.99, 0.05, 0.1), (2.1, 0.01, 0.1), (1.8, 0.01, -0.1)])
def test_what_is_not_certain_is_held_with_its_reason(
    db: Database, world: dict[str, int], tuned: float, spread: float, value: float
) -> None:
    adapter_id, evaluation_id = rows.adapter(db, world["version"], world["ana"], tuned=tuned, spread=spread)
    attribution_id = rows.attributed(db, adapter_id, evaluation_id, [(world["example0"], world["ana"], value, 0.01)])
    held = ledger.receipt(db, ledger.pay(db, attribution_id))
    assert (held["kind"], held["entries"], held["formula"]["pool_micro_credits"]) == ("hold", [], 0)
    assert held["formula"]["reason"].endswith("nothing is paid.")
    assert ledger.balance(db, "pool") == 0


def test_a_countered_payment_leaves_zero_and_both_stay_in_the_book(db: Database, world: dict[str, int]) -> None:
    admin = people.create(db, "admin", roles=("admin",))
    paid = ledger.pay(db, world["attribution"])
    ana = people.get(db, world["ana"])
    with pytest.raises(NotAllowed):
        ledger.counter(db, paid, person=ana, reason="because")
    with pytest.raises(Invalid):
        ledger.counter(db, paid, person=admin, reason=" ")
    opposite = ledger.counter(db, paid, person=admin, reason="wrong held-out set")
    assert all(line["micro_credits"] == 0 for line in ledger.balances(db))
    assert ledger.receipt(db, paid)["countered_by"] == opposite
    with pytest.raises(Conflict):
        ledger.counter(db, paid, person=admin, reason="once more")
    with pytest.raises(Invalid):
        ledger.counter(db, opposite, person=admin, reason="and back")
    assert [line["kind"] for line in ledger.statement(db, world["ana"])] == ["counter", "pay"]
    # Progress that was taken back can be earned again, by an attribution that is right.
    adapter_id, evaluation_id = rows.adapter(db, world["version"], world["ana"])
    again = ledger.pay(db, rows.attributed(db, adapter_id, evaluation_id, [(world["example0"], world["bob"], 0.2, 0.01)]))
    assert ledger.receipt(db, again)["kind"] == "pay"


def test_a_statement_says_what_was_paid_for_and_its_balance_runs(db: Database, world: dict[str, int]) -> None:
    ledger.pay(db, world["attribution"])
    adapter_id, evaluation_id = rows.adapter(db, world["version"], world["ana"], tuned=1.6)
    ledger.pay(db, rows.attributed(db, adapter_id, evaluation_id, [(world["example0"], world["ana"], 0.2, 0.01)]))
    newest, oldest = ledger.statement(db, world["ana"])
    assert newest["balance_micro_credits"] == ledger.balance(db, f"person:{world['ana']}")
    assert oldest["balance_micro_credits"] == oldest["micro_credits"]
    assert newest["balance_micro_credits"] == oldest["micro_credits"] + newest["micro_credits"]
    assert (oldest["dataset"], oldest["version"], oldest["method"], oldest["rows"]) == ("questions", 1, "damped_fisher", 2)
    assert (oldest["value"], oldest["error"]) == pytest.approx((0.3, 0.01 * 2**0.5))
    assert ledger.statement(db, world["cyd"]) == []


def test_the_book_refuses_update_and_delete(db: Database, world: dict[str, int]) -> None:
    ledger.pay(db, world["attribution"])
    for statement in (
        "update ledger_entries set micro_credits = 0",
        "delete from ledger_entries",
        "update ledger_transactions set kind = 'hold'",
        "delete from ledger_transactions",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)
        db.rollback()


def test_every_hash_can_be_recomputed_from_a_receipt_alone(db: Database, world: dict[str, int]) -> None:
    previous = ledger.GENESIS
    ledger.pay(db, world["attribution"])
    ledger.counter(db, 1, person=people.create(db, "admin", roles=("admin",)), reason="a mistake")
    for number in (1, 2):
        record = json.loads(json.dumps(ledger.receipt(db, number)))  # as downloaded
        assert record["previous_hash"] == previous
        assert (
            ledger.transaction_hash({**record, "formula": ledger.canonical(record["formula"])}, record["entries"])
            == record["hash"]
        )
        previous = record["hash"]


def test_what_does_not_exist_is_not_found(db: Database) -> None:
    with pytest.raises(NotFound):
        ledger.pay(db, 7)
    with pytest.raises(NotFound):
        ledger.receipt(db, 7)
    assert ledger.find(db, 7) is None
