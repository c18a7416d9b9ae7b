"""A verdict can be taken back for a moment, and is never lost."""

from __future__ import annotations

import pytest
from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Conflict, Invalid
from factory.intake import datasets, deadlines, gold, held, reviews
from factory.intake import policy as policies
from tests.test_gold import House, house, offer, settle

__all__ = ["house"]


def no_gold(db: Database, house: House) -> None:
    datasets.set_policy(db, house.dataset_id, policies.Policy(gold_share=0), person=house.owner)


def test_a_verdict_on_hold_counts_with_the_next_one_and_not_before(db: Database, house: House) -> None:
    no_gold(db, house)
    first, second, third = offer(db, house, 3)
    judge, other = house.judges[:2]
    reviews.decide(db, first, reviewer=other, decision="accept")
    assert held.say(db, first, reviewer=judge, decision="accept")
    assert store.value(db, "select state from example_states where example_id = ?", first) == "waiting"
    assert [one["example_id"] for one in reviews.queue(db, house.dataset_id, reviewer=judge)] == [second, third]
    assert reviews.remaining(db, house.dataset_id, reviewer=judge) == 2
    assert held.say(db, second, reviewer=judge, decision="reject", reason="wrong", note="No.")
    assert store.value(db, "select state from example_states where example_id = ?", first) == "accepted"
    assert held.take_back(db, reviewer=judge) == second
    assert [one["example_id"] for one in reviews.queue(db, house.dataset_id, reviewer=judge)] == [second, third]
    with pytest.raises(Conflict, match="too late"):
        held.take_back(db, reviewer=judge)


def test_when_the_moment_is_over_it_counts_whoever_looks(db: Database, house: House) -> None:
    no_gold(db, house)
    first = offer(db, house, 1)[0]
    held.say(db, first, reviewer=house.judges[0], decision="reject", reason="wrong", note="No.", seconds=4.0)
    assert held.on_hold(db, house.judges[0]) is not None
    assert held.let_go(db) == 0
    with store.writing(db):
        db.execute("update held_verdicts set at = at - 11")
    assert held.on_hold(db, house.judges[0]) is None
    with pytest.raises(Conflict, match="too late"):
        held.take_back(db, reviewer=house.judges[0])
    deadlines.settle_overdue(db)
    kept = store.row(db, "select decision, reason, note, seconds from verdicts where example_id = ?", first)
    assert kept == {"decision": "reject", "reason": "wrong", "note": "No.", "seconds": 4.0}


def test_what_others_settled_meanwhile_is_dropped_and_what_is_wrong_is_said_at_once(db: Database, house: House) -> None:
    no_gold(db, house)
    first = offer(db, house, 1)[0]
    with pytest.raises(Invalid, match="reason"):
        held.say(db, first, reviewer=house.judges[2], decision="reject")
    held.say(db, first, reviewer=house.judges[2], decision="reject", reason="wrong")
    for judge in house.judges[:2]:
        reviews.decide(db, first, reviewer=judge, decision="accept")
    assert held.let_go(db, reviewer=house.judges[2]) == 1
    assert store.value(db, "select count(*) from verdicts where example_id = ?", first) == 2


def test_gold_counts_at_once(db: Database, house: House) -> None:
    ids = offer(db, house, 20)
    settle(db, house, ids[:10])
    judge = house.judges[2]
    for _ in range(12):
        example_id = reviews.queue(db, house.dataset_id, reviewer=judge, limit=1)[0]["example_id"]
        if not held.say(db, example_id, reviewer=judge, decision="accept"):
            assert gold.feedback(db, example_id, reviewer=judge) is not None
            break
    else:
        raise AssertionError("no gold came")
