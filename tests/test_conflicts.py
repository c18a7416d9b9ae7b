"""Ties between accounts that rows show: they stop the assignment, are written down, and nobody honest is caught."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import conflicts, contributions, datasets, deals, reviews
from factory.intake.policy import Policy
from tests.test_gold import rows


@pytest.fixture
def house(db: Database) -> tuple[int, Person]:
    owner = people.create(db, "owner", roles=("curator",))
    policy = Policy(quorum=3, quorum_at_most=9, gold_share=0, daily_base_examples=1000, near_duplicate_jaccard=0.95)
    made = datasets.create(
        db, slug="a", title="A", purpose="p", guidelines="g", licence="CC0-1.0", owner=owner, policy=policy
    )
    return made["id"], owner


def offer(db: Database, dataset_id: int, person: Person, count: int, start: int) -> list[int]:
    return contributions.submit(
        db, dataset_id, person=person, rows=rows(count, start), source="form", licence="CC0-1.0", attested=True
    ).example_ids


def both(db: Database, name: str) -> Person:
    return people.create(db, name, roles=("contributor", "reviewer"))


def judge(db: Database, ids: Sequence[int], reviewer: Person, *, accepts: int) -> None:
    """Accept the first so many of the examples, reject the others, as long as that is not forbidden."""
    for place, example_id in enumerate(ids):
        decision = "accept" if place < accepts else "reject"
        reviews.decide(db, example_id, reviewer=reviewer, decision=decision, reason="wrong")


def queued(db: Database, dataset_id: int, reviewer: Person) -> set[int]:
    return {one["example_id"] for one in reviews.queue(db, dataset_id, reviewer=reviewer, limit=200)}


def test_somebody_who_alone_accepts_all_of_one_author_is_not_asked_about_them_again(
    db: Database, house: tuple[int, Person]
) -> None:
    dataset_id, owner = house
    friend, poor, fair = both(db, "friend"), people.create(db, "poor"), people.create(db, "fair")
    honest = [both(db, f"honest{i}") for i in range(2)]
    by_poor, by_fair = offer(db, dataset_id, poor, 60, 0), offer(db, dataset_id, fair, 20, 100)
    for one in honest:
        judge(db, by_poor[40:50], one, accepts=2)
    judge(db, by_fair[:10], friend, accepts=6)
    judge(db, by_poor[:19], friend, accepts=30)
    assert conflicts.tied(db, friend.id, poor.id) is None  # 19 is not enough to say so
    judge(db, by_poor[19:20], friend, accepts=30)
    assert conflicts.tied(db, friend.id, poor.id) == "favours"
    assert not queued(db, dataset_id, friend) & set(by_poor)
    assert queued(db, dataset_id, friend) & set(by_fair)
    with pytest.raises(NotAllowed, match="far more often"):
        reviews.decide(db, by_poor[29], reviewer=friend, decision="accept")
    told = conflicts.mine(db, friend)
    assert [(one["kind"], one["people"]) for one in told] == [("favours", 1)]
    assert "poor" not in str(told)  # the queue stays blind
    found = conflicts.listing(db, person=owner)[0]
    assert (found["reviewer"], found["author"], found["evidence"]["judged"]) == ("friend", "poor", 20)
    assert store.value(db, "select count(*) from verdicts where reviewer_id = ?", friend.id) == 30  # what was said stands


def test_two_who_accept_each_other_against_everybody_else_are_found_sooner(db: Database, house: tuple[int, Person]) -> None:
    dataset_id, _ = house
    one, other, honest = both(db, "one"), both(db, "other"), [both(db, f"honest{i}") for i in range(3)]
    own = {one.id: offer(db, dataset_id, one, 30, 0), other.id: offer(db, dataset_id, other, 30, 100)}
    fair = offer(db, dataset_id, people.create(db, "fair"), 12, 200)
    for place, judging in enumerate(honest):
        for ids in own.values():
            judge(db, ids[12 + 6 * place : 18 + 6 * place], judging, accepts=1)
    for judging in (one, other):
        judge(db, fair[:8], judging, accepts=4)
    judge(db, own[one.id][:12], other, accepts=20)
    assert conflicts.tied(db, other.id, one.id) is None
    judge(db, own[other.id][:8], one, accepts=20)
    assert (conflicts.tied(db, other.id, one.id), conflicts.tied(db, one.id, other.id)) == ("mutual", "mutual")


def test_an_author_who_is_good_and_a_reviewer_who_is_mild_are_no_conflict(db: Database, house: tuple[int, Person]) -> None:
    dataset_id, _ = house
    good, poor = people.create(db, "good"), people.create(db, "poor")
    mild, stern, second = both(db, "mild"), both(db, "stern"), both(db, "second")
    by_good, by_poor = offer(db, dataset_id, good, 40, 0), offer(db, dataset_id, poor, 40, 100)
    judge(db, by_good, stern, accepts=38)
    judge(db, by_poor, stern, accepts=4)
    judge(db, by_good[:20], second, accepts=19)
    judge(db, by_poor[:20], second, accepts=3)
    judge(db, by_poor, mild, accepts=39)
    judge(db, by_good, mild, accepts=40)
    assert conflicts.mine(db, stern) == []
    assert conflicts.mine(db, mild) == []


def test_one_mailbox_a_shared_address_and_shared_copies_are_ties_and_a_school_is_none(
    db: Database, house: tuple[int, Person], settings: Settings
) -> None:
    dataset_id, owner = house
    ada = people.create(db, "ada", email="Ada+one@example.org", roles=("contributor", "reviewer"))
    again = people.create(db, "again", email="ada@example.org", roles=("reviewer",))
    near, far = both(db, "near"), both(db, "far")
    pupils = [both(db, f"pupil{i}") for i in range(6)]
    with store.writing(db):
        for person, address in [(ada, "203.0.113.7"), (near, "203.0.113.7"), (far, "127.0.0.1"), (again, "127.0.0.1")]:
            _signed_in(db, person, address)
        for pupil in pupils:
            _signed_in(db, pupil, "198.51.100.1")
    first = offer(db, dataset_id, far, 4, 0)
    assert contributions.submit(
        db, dataset_id, person=pupils[0], rows=rows(3, 0), source="form", licence="CC0-1.0", attested=True
    ).refused == 3  # fmt: skip
    assert conflicts.sweep(db) == 5
    assert conflicts.sweep(db) == 0
    kinds = {(one["reviewer"], one["author"], one["kind"]) for one in conflicts.listing(db, person=owner)}
    both_ways = {
        (x, y, kind) for a, b, kind in (("ada", "again", "mailbox"), ("ada", "near", "address")) for x, y in ((a, b), (b, a))
    }
    assert kinds == both_ways | {("pupil0", "far", "alike")}  # who copies does not judge whom they copy, but is judged
    assert not queued(db, dataset_id, pupils[0]) & {first[3]}
    assert queued(db, dataset_id, pupils[1]) == set(first)


def _signed_in(db: Database, person: Person, address: str) -> None:
    store.insert(db, "sign_in_attempts", {"name": person.name, "address": address, "at": store.now(), "succeeded": 1})


def test_a_curator_lifts_a_tie_with_words_and_it_is_not_found_again(db: Database, house: tuple[int, Person]) -> None:
    dataset_id, owner = house
    people.create(db, "ada", email="ada@example.org")
    twin = people.create(db, "twin", email="ada@example.org", roles=("reviewer", "curator"))
    ids = offer(db, dataset_id, people.get(db, "ada"), 2, 0)
    conflicts.sweep(db)
    found = next(one for one in conflicts.listing(db, person=owner) if one["reviewer"] == "twin")
    assert queued(db, dataset_id, twin) == set()
    with pytest.raises(Conflict, match="yourself"):
        conflicts.lift(db, found["conflict_id"], person=twin, words="It is only me.")
    with pytest.raises(Invalid):
        conflicts.lift(db, found["conflict_id"], person=owner, words=" ")
    conflicts.lift(db, found["conflict_id"], person=owner, words="A family shares the mailbox.")
    with pytest.raises(Conflict, match="already"):
        conflicts.lift(db, found["conflict_id"], person=owner, words="Again.")
    assert conflicts.sweep(db) == 0
    assert queued(db, dataset_id, twin) == set(ids)


def test_of_many_reviewers_each_example_is_dealt_to_some_and_in_time_to_all(db: Database, house: tuple[int, Person]) -> None:
    dataset_id, _ = house
    crowd = [both(db, f"judge{i:02}") for i in range(24)]
    before = offer(db, dataset_id, people.create(db, "before"), 24, 500)
    with store.writing(db):
        for person, example_id in zip(crowd, before, strict=True):  # all of them are active
            record = {"example_id": example_id, "reviewer_id": person.id, "decision": "accept", "at": store.now()}
            store.insert(db, "verdicts", record)
    ids = set(offer(db, dataset_id, people.create(db, "author"), 60, 0))
    hands = [queued(db, dataset_id, person) & ids for person in crowd]
    asked = [sum(example_id in hand for hand in hands) for example_id in ids]
    assert 7 < sum(asked) / len(asked) < 11  # nine: as many as may be needed
    assert len({frozenset(hand) for hand in hands}) == 24
    refused = 0
    for example_id in ids - hands[0]:
        try:
            reviews.decide(db, example_id, reviewer=crowd[0], decision="accept")
        except NotAllowed:
            refused += 1
    assert refused > 10
    with store.writing(db):
        db.execute("update waiting_examples set since = since - ?", [7 * 86400])
    assert queued(db, dataset_id, crowd[1]) >= ids - {one for one in ids if one in hands[0]}
    assert deals.active(db) == 24


def test_ones_own_first_verdict_takes_nothing_out_of_ones_queue(db: Database, house: tuple[int, Person]) -> None:
    dataset_id, _ = house
    before = offer(db, dataset_id, people.create(db, "before"), 9, 500)
    with store.writing(db):
        for number, example_id in enumerate(before):
            judge = both(db, f"judge{number}")
            record = {"example_id": example_id, "reviewer_id": judge.id, "decision": "accept", "at": store.now()}
            store.insert(db, "verdicts", record)
    ids = offer(db, dataset_id, people.create(db, "author"), 40, 0)
    newcomer = both(db, "newcomer")
    hand = queued(db, dataset_id, newcomer)
    first, *others = sorted(hand & set(ids))
    reviews.decide(db, first, reviewer=newcomer, decision="accept")
    assert deals.active(db) == 10
    assert queued(db, dataset_id, newcomer) == hand - {first}
    for example_id in others:
        reviews.decide(db, example_id, reviewer=newcomer, decision="accept")
