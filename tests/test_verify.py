"""Verification finds the one row that was changed behind the program's back, and names it first."""

from __future__ import annotations

import re

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Invalid
from factory.base.schema import UNCHANGING
from factory.credit import ledger, verify
from factory.intake import formats
from tests import credit_rows as rows
from tests import trained


@pytest.fixture
def world(db: Database) -> Database:
    """A held-out set, two versions, three attributions: two payments, a hold and a counter. Guards are down."""
    ana, bob = rows.person(db, "ana"), rows.person(db, "bob")
    admin = people.create(db, "admin", roles=("admin",))
    dataset_id, policy_id = rows.dataset(db, ana)
    made = [rows.example(db, dataset_id, who, f"answer {n}") for n, who in enumerate((ana, ana, bob, bob))]
    set_id, root = rows.held_out(
        db, dataset_id, ana, [trained.talk(question, "So it is.") for question in ("Is it?", "Is it so?")]
    )
    for count, tuned, value in ((2, 1.8, 0.1), (3, 1.7, 0.2), (4, 1.99, 0.2)):
        version_id = rows.version(db, dataset_id, policy_id, made[:count], owner=ana, held_out=set_id)
        adapter_id, evaluation_id = rows.adapter(db, version_id, ana, tuned=tuned, root=root)
        figures = [
            (made[0], ana, value, 0.01),
            (made[1], ana, 0.01, 0.02),
            *[(one, bob, 0.07, 0.01) for one in made[2:count]],
        ]
        ledger.pay(db, rows.attributed(db, adapter_id, evaluation_id, figures))
    ledger.counter(db, 2, person=admin, reason="a wrong base model")
    for table in UNCHANGING:
        for verb in ("update", "delete"):
            db.execute(f"drop trigger {table}_refuses_{verb}")
    return db


def test_an_honest_store_is_verified_and_counted(world: Database) -> None:
    heard: list[float] = []
    report = verify.verify(world, progress=lambda share, words: heard.append(share))
    assert {key: report[key] for key in ("examples", "held_out_sets", "versions", "attributions", "transactions")} == {
        "examples": 4, "held_out_sets": 1, "versions": 3, "attributions": 3, "transactions": 4,
    }  # fmt: skip
    assert report["minted"] == -ledger.balance(world, "pool") > 0
    assert sum(line["micro_credits"] for line in report["balances"]) == 0
    assert report["head"] == store.value(world, "select hash from ledger_transactions where id = 4")
    assert heard[-1] == 1.0
    assert not world.conn.in_transaction


def test_an_empty_store_is_verified(db: Database) -> None:
    assert verify.verify(db)["transactions"] == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("update ledger_entries set micro_credits = 7 where transaction_id = 2 and position = 1", "ledger_entries (2, 1)"),
        ("update ledger_entries set account = 'person:2' where transaction_id = 1 and position", "ledger_entries (1, 1)"),
        ("delete from ledger_entries where transaction_id = 2 and position = 2", "ledger_entries (2, 2)"),
        ("insert into ledger_entries values (3, 0, 'person:1', 5)", "ledger_entries (3, 0)"),
        ("update ledger_entries set micro_credits = 0 where transaction_id = 4 and position = 0", "ledger_entries (4, 0)"),
        ("update ledger_transactions set at = at - 1 where id = 2", "ledger_transactions 2"),
        ("update ledger_transactions set formula = json_set(formula, '$.percent', 1) where id = 1", "ledger_transactions 1"),
        ("update ledger_transactions set attribution_id = null where id = 1", "ledger_transactions 1"),
        ("update examples set content = replace(content, 'answer 1', 'answer 9') where id = 2", "examples 2"),
        ("update examples set content_hash = 'f' where id = 3", "examples 3"),
        ("update held_out_rows set content = 'x' where position = 1", "held_out_rows (1, 1)"),
        ("update held_out_sets set root = 'x'", "held_out_sets 1"),
        ("update version_rows set content_hash = 'abcd' where version_id = 2 and position = 1", "version_rows (2, 1)"),
        ("update version_rows set example_id = 4 where version_id = 2 and position = 1", "version_rows (2, 1)"),
        ("delete from version_rows where version_id = 3 and position = 3", "dataset_versions 3"),
        ("update dataset_versions set root = 'x' where id = 2", "dataset_versions 2"),
        ("update attribution_rows set value = 9 where attribution_id = 2 and example_id = 3", "attribution_rows (2, 3)"),
        ("update attribution_rows set person_id = 1 where attribution_id = 3 and example_id = 4", "attribution_rows (3, 4)"),
        ("delete from attribution_rows where attribution_id = 2 and example_id = 3", "attributions 2"),
        ("update attribution_people set value = 5 where attribution_id = 2 and person_id = 2", "attribution_people (2, 2)"),
        ("update attribution_people set error = 0 where attribution_id = 2 and person_id = 2", "attribution_people (2, 2)"),
        ("update evaluations set tuned_loss = 1.0 where id = 2", "evaluations 2"),
        ("update policies set rules = json_set(rules, '$.credits_per_percent', 99)", "policies 1"),
    ],
)  # fmt: skip
def test_the_row_that_was_tampered_with_is_named_first(world: Database, change: str, named: str) -> None:
    world.execute("pragma foreign_keys = off")
    world.execute(change)
    world.conn.commit()
    with pytest.raises(Invalid, match=re.escape(named)) as refused:
        verify.verify(world)
    assert refused.value.problems[0].startswith(named + ":")


def test_a_forged_row_with_a_forged_hash_is_still_found(world: Database) -> None:
    content = store.value(world, "select content from examples where id = 2").replace("answer", "forgery")
    world.execute("update examples set content = ?, content_hash = ? where id = 2", [content, formats.content_hash(content)])
    world.conn.commit()
    with pytest.raises(Invalid) as refused:
        verify.verify(world)
    assert refused.value.problems[0].startswith("version_rows (1, 1):")


def test_a_transaction_taken_out_of_the_middle_is_missed(world: Database) -> None:
    world.execute("pragma foreign_keys = off")
    world.execute("delete from ledger_entries where transaction_id = 2")
    world.execute("delete from ledger_transactions where id = 2")
    world.conn.commit()
    with pytest.raises(Invalid) as refused:
        verify.verify(world)
    assert refused.value.problems[0].startswith("ledger_transactions 2: it is missing")


def test_one_rewritten_transaction_breaks_the_chain_even_with_a_right_hash(world: Database) -> None:
    record = store.row(world, "select * from ledger_transactions where id = 1")
    assert record is not None
    lines = store.rows(
        world, "select position, account, micro_credits from ledger_entries where transaction_id = 1 order by position"
    )
    record["at"] -= 1000
    world.execute(
        "update ledger_transactions set at = ?, hash = ? where id = 1",
        [record["at"], ledger.transaction_hash(record, lines)],
    )
    world.conn.commit()
    with pytest.raises(Invalid) as refused:
        verify.verify(world)
    assert refused.value.problems == [
        "ledger_transactions 2: it does not continue the chain; it or the transaction before it was rewritten."
    ]
