"""The daily allowance: a base for everybody, more for good work, never less than the base."""

from __future__ import annotations

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict
from factory.base.people import Person
from factory.intake import allowances, contributions, datasets, reviews
from factory.intake.policy import Policy

DAY = 24 * 3600.0


@pytest.fixture
def dataset_id(db: Database) -> int:
    curator = people.create(db, "curator", roles=("curator",))
    policy = Policy(daily_base_examples=30, daily_cap_examples=40, quorum=1)
    made = datasets.create(
        db, slug="a", title="A", purpose="p", guidelines="g", licence="CC0-1.0", owner=curator, policy=policy
    )
    return int(made["id"])


def offer(db: Database, dataset_id: int, person: Person, count: int, decision: str) -> None:
    reviewer = people.find(db, "judge") or people.create(db, "judge", roles=("reviewer",))
    start = store.value(db, "select count(*) from examples")
    words = ["".join(chr(97 + (i * k) % 26) for k in (3, 5, 7, 11, 2)) + str(i) for i in range(start, start + count)]
    rows = [
        [{"role": "user", "content": f"{w}?"}, {"role": "assistant", "content": f"{w} {w[::-1]} {w}x {w}y {w}z and no more"}]
        for w in words
    ]
    made = contributions.submit(db, dataset_id, person=person, rows=rows, source="form", licence="CC0-1.0", attested=True)
    for example_id in made.example_ids:
        reviews.decide(db, example_id, reviewer=reviewer, decision=decision, reason="noise")


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    moment = store.now() + seconds
    monkeypatch.setattr(store.time, "time", lambda: moment)


def test_everybody_begins_with_the_base(db: Database, dataset_id: int) -> None:
    found = allowances.allowance(db, dataset_id, people.create(db, "ada"))
    assert (found.limit, found.used, found.left) == (30, 0, 30)
    assert "Everybody may submit 30 examples" in found.because
    assert found.next_step


def test_bytes_are_limited_as_well_as_examples(db: Database, dataset_id: int) -> None:
    ada = people.create(db, "ada")
    found = allowances.allowance(db, dataset_id, ada)
    assert (found.limit_bytes, found.left_bytes) == (120_000, 120_000)
    assert allowances.covered(found, [50_000, 60_000, 20_000, 10_000]) == [True, True, False, True]
    long = [
        [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": " ".join(str(n * k) for k in range(2_900))}]
        for n in (3, 5, 7, 11, 13, 17, 19, 23, 29)
    ]
    judged = contributions.preflight(db, dataset_id, person=ada, rows=long)
    assert not any(j.refused for j in judged)
    fits = sum(j.quota_ok for j in judged)
    assert 0 < fits < 9
    with pytest.raises(Conflict, match=f"send at most {fits} of them"):
        contributions.submit(db, dataset_id, person=ada, rows=long, source="form", licence="CC0-1.0", attested=True)
    contributions.submit(db, dataset_id, person=ada, rows=long[:fits], source="form", licence="CC0-1.0", attested=True)
    assert allowances.allowance(db, dataset_id, ada).left == 30 - fits


def test_accepted_work_raises_the_limit_up_to_the_cap(
    db: Database, dataset_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = people.create(db, "ada")
    offer(db, dataset_id, ada, 4, "accept")
    found = allowances.allowance(db, dataset_id, ada)
    assert found.limit == 30 + int(2.0 * 4 * found.standing_lower) > 30
    assert "4 of yours were accepted" in found.because
    offer(db, dataset_id, ada, 20, "accept")
    found = allowances.allowance(db, dataset_id, ada)
    assert (found.limit, found.used, found.left) == (40, 24, 16)
    assert "the most anybody may submit" in found.next_step


def test_rejected_work_lowers_the_limit_as_far_as_it_is_certain_and_never_to_nothing(db: Database, dataset_id: int) -> None:
    eve = people.create(db, "eve")
    offer(db, dataset_id, eve, 4, "reject")
    first = allowances.allowance(db, dataset_id, eve)
    offer(db, dataset_id, eve, 10, "reject")
    second = allowances.allowance(db, dataset_id, eve)
    assert 30 > first.limit > second.limit >= 1
    assert second.because.endswith(f"you may submit {second.limit}, as 0 of your 14 decided ones were accepted.")
    assert first.next_step.startswith("More is earned again once at least two of three")


def test_what_is_good_in_a_flood_does_not_pay_for_the_flood(db: Database, dataset_id: int) -> None:
    eve = people.create(db, "eve")
    offer(db, dataset_id, eve, 12, "accept")
    assert allowances.allowance(db, dataset_id, eve).limit == 40
    offer(db, dataset_id, eve, 12, "reject")
    found = allowances.allowance(db, dataset_id, eve)
    assert found.standing_lower > 0.3, "so that growth by standing alone would raise the limit"
    assert found.limit == 21


def test_places_open_again_after_a_day_and_old_work_stops_counting(
    db: Database, dataset_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = people.create(db, "ada")
    offer(db, dataset_id, ada, 20, "accept")
    later(monkeypatch, 1.1 * DAY)
    found = allowances.allowance(db, dataset_id, ada)
    assert (found.used, found.left) == (0, found.limit)
    assert found.limit > 30
    later(monkeypatch, 40 * DAY)
    assert allowances.allowance(db, dataset_id, ada).limit == 30


def test_what_is_used_up_says_when_the_next_place_opens(
    db: Database, dataset_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = people.create(db, "ada")
    offer(db, dataset_id, ada, 30, "reject")
    assert allowances.allowance(db, dataset_id, ada).next_step == "The next place opens in 24 hours."
    later(monkeypatch, 23.9 * 3600)
    assert allowances.allowance(db, dataset_id, ada).next_step == "The next place opens in 6 minutes."


def test_one_datasets_allowance_is_not_spent_in_another(db: Database, dataset_id: int) -> None:
    curator = people.get(db, "curator")
    other = datasets.create(db, slug="b", title="B", purpose="p", guidelines="g", licence="CC0-1.0", owner=curator)
    ada = people.create(db, "ada")
    offer(db, dataset_id, ada, 20, "accept")
    found = allowances.allowance(db, other["id"], ada)
    assert (found.limit, found.used, found.standing_lower) == (20, 0, 0)
