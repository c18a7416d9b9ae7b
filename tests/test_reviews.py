"""Review: blind, never one's own, settled by agreement in one transaction, open to one appeal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, FactoryError, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import appeals, contributions, datasets, reviews, standing
from factory.intake.policy import Policy

FRUITS = ("apple", "banana", "cherry", "damson", "elderberry", "fig")


@dataclass(frozen=True)
class House:
    dataset_id: int
    author: Person
    judges: tuple[Person, ...]
    ids: list[int]


def rows_about(names: tuple[str, ...]) -> list[list[dict[str, Any]]]:
    return [
        [
            {"role": "user", "content": f"What is {n}?"},
            {"role": "assistant", "content": f"{n.title()}: {n} tree, {n} pie, {n} juice."},
        ]
        for n in names
    ]


def offer(db: Database, dataset_id: int, person: Person, names: tuple[str, ...]) -> list[int]:
    made = contributions.submit(
        db, dataset_id, person=person, rows=rows_about(names), source="form", licence="CC0-1.0", attested=True
    )
    return made.example_ids


@pytest.fixture
def house(db: Database) -> House:
    owner = people.create(db, "owner", roles=("curator",))
    made = datasets.create(
        db,
        slug="a",
        title="A",
        purpose="p",
        guidelines="g",
        licence="CC0-1.0",
        owner=owner,
        policy=Policy(quorum=2, gold_share=0),
    )
    author = people.create(db, "ada", roles=("contributor", "reviewer"))
    judges = tuple(people.create(db, f"judge{i}", roles=("contributor", "reviewer")) for i in range(4))
    return House(made["id"], author, judges, offer(db, made["id"], author, FRUITS[:3]))


def queued(db: Database, house: House, reviewer: Person) -> list[int]:
    return [record["example_id"] for record in reviews.queue(db, house.dataset_id, reviewer=reviewer)]


def test_two_agreeing_verdicts_settle_an_example(db: Database, house: House) -> None:
    first = house.ids[0]
    assert reviews.decide(db, first, reviewer=house.judges[0], decision="accept") == "waiting"
    assert reviews.decide(db, first, reviewer=house.judges[1], decision="accept", seconds=12.5) == "accepted"
    decision = store.row(db, "select * from decisions where example_id = ?", first)
    assert decision is not None
    assert (decision["decision"], decision["by"], decision["verdict_ids"]) == ("accepted", "review", "[1, 2]")


def test_disagreement_asks_for_more_and_the_majoritys_reason_is_kept(db: Database, house: House) -> None:
    first, judges = house.ids[0], house.judges
    assert reviews.decide(db, first, reviewer=judges[0], decision="accept") == "waiting"
    assert reviews.decide(db, first, reviewer=judges[1], decision="reject", reason="wrong") == "waiting"
    assert reviews.decide(db, first, reviewer=judges[2], decision="return", reason="form") == "waiting"
    assert (
        reviews.decide(db, first, reviewer=judges[3], decision="reject", reason="wrong", note="No such tree.") == "rejected"
    )
    state = store.row(db, "select state, reason from example_states where example_id = ?", first)
    assert state == {"state": "rejected", "reason": "wrong"}


def test_the_queue_is_blind_and_never_holds_ones_own(db: Database, house: House) -> None:
    assert queued(db, house, house.author) == []
    assert reviews.remaining(db, house.dataset_id, reviewer=house.author) == 0
    shown = reviews.queue(db, house.dataset_id, reviewer=house.judges[0])
    assert [record["example_id"] for record in shown] == house.ids
    assert set(shown[0]) == {"example_id", "dataset_id", "content", "messages", "created_at", "hints", "made_from"}
    with pytest.raises(NotAllowed, match="your own"):
        reviews.decide(db, house.ids[0], reviewer=house.author, decision="accept")


def test_the_queue_begins_with_what_is_closest_to_its_decision(db: Database, house: House) -> None:
    reviews.decide(db, house.ids[2], reviewer=house.judges[0], decision="accept")
    assert queued(db, house, house.judges[1]) == [house.ids[2], house.ids[0], house.ids[1]]
    assert queued(db, house, house.judges[0]) == house.ids[:2]
    assert reviews.remaining(db, house.dataset_id, reviewer=house.judges[0]) == 2
    assert reviews.waiting_anywhere(db, reviewer=house.judges[1]) == [
        {"dataset_id": house.dataset_id, "slug": "a", "title": "A", "waiting": 3}
    ]


def test_whoever_sent_a_near_duplicate_does_not_judge_the_original(db: Database, house: House) -> None:
    copier = house.judges[0]
    copied = offer(db, house.dataset_id, copier, FRUITS[:1])
    assert store.value(db, "select state from example_states where example_id = ?", copied[0]) == "refused"
    assert house.ids[0] not in queued(db, house, copier)
    with pytest.raises(NotAllowed, match="nearly the same"):
        reviews.decide(db, house.ids[0], reviewer=copier, decision="reject", reason="repeats")


def test_one_person_has_one_verdict_and_settled_is_settled(db: Database, house: House) -> None:
    first = house.ids[0]
    reviews.decide(db, first, reviewer=house.judges[0], decision="accept")
    with pytest.raises(Conflict, match="already"):
        reviews.decide(db, first, reviewer=house.judges[0], decision="accept")
    reviews.decide(db, first, reviewer=house.judges[1], decision="accept")
    with pytest.raises(Conflict, match="accepted already"):
        reviews.decide(db, first, reviewer=house.judges[2], decision="reject", reason="wrong")
    assert store.value(db, "select count(*) from verdicts where example_id = ?", first) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decision": "maybe"}, "maybe"),
        ({"decision": "reject"}, "A reason is missing"),
        ({"decision": "return", "reason": "dislike"}, "'dislike' is not one"),
        ({"decision": "accept", "note": "x" * 3_000}, "3,000"),
    ],
)
def test_a_verdict_without_a_known_reason_is_refused(
    db: Database, house: House, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        reviews.decide(db, house.ids[0], reviewer=house.judges[0], **options)
    assert store.value(db, "select count(*) from verdicts") == 0


def test_only_reviewers_see_the_queue_and_judge(db: Database, house: House) -> None:
    eve = people.create(db, "eve")
    for call in (
        lambda: reviews.queue(db, house.dataset_id, reviewer=eve),
        lambda: reviews.decide(db, house.ids[0], reviewer=eve, decision="accept"),
        lambda: reviews.remaining(db, house.dataset_id, reviewer=eve),
    ):
        with pytest.raises(NotAllowed, match="reviewer"):
            call()
    with pytest.raises(NotFound):
        reviews.decide(db, 999, reviewer=house.judges[0], decision="accept")


def test_reviewers_at_the_same_moment_settle_an_example_once(db: Database, house: House, settings: Settings) -> None:
    first, outcomes = house.ids[0], list[str]()

    def judge(person: Person) -> None:
        with store.connect(settings) as own:
            try:
                outcomes.append(reviews.decide(own, first, reviewer=person, decision="accept"))
            except FactoryError as refused:
                outcomes.append(type(refused).__name__)

    threads = [Thread(target=judge, args=(person,)) for person in house.judges]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["Conflict", "Conflict", "accepted", "waiting"]
    assert store.value(db, "select count(*) from decisions where example_id = ?", first) == 1


def reject(db: Database, house: House, example_id: int) -> None:
    for judge in house.judges[:2]:
        reviews.decide(db, example_id, reviewer=judge, decision="reject", reason="wrong", note="Hm.")


def test_an_overturned_rejection_repairs_the_authors_standing(db: Database, house: House) -> None:
    first = house.ids[0]
    reject(db, house, first)
    assert (standing.of(db, house.author.id).accepted, standing.of(db, house.author.id).decided) == (0, 1)
    appeal_id = appeals.appeal(db, first, person=house.author, words="It is a tree indeed.")
    shown = appeals.open_appeals(db, house.dataset_id, reviewer=house.judges[2])
    assert [(a["appeal_id"], a["notes"]) for a in shown] == [(appeal_id, "Hm. Hm.")]
    assert appeals.answer_appeal(db, appeal_id, reviewer=house.judges[2], answer="overturned", words="Right.") == "accepted"
    assert (standing.of(db, house.author.id).accepted, standing.of(db, house.author.id).decided) == (1, 1)
    record = reviews.record_of(db, house.judges[0])
    assert (record["verdicts"], record["settled"], record["agreed"]) == (1, 1, 0)
    assert contributions.mine(db, house.author, state="accepted")[0]["appeal"] == "overturned"


def test_an_appeal_is_answered_by_somebody_uninvolved_once(db: Database, house: House) -> None:
    first = house.ids[0]
    reject(db, house, first)
    with pytest.raises(NotAllowed):
        appeals.appeal(db, first, person=house.judges[2], words="For a friend.")
    with pytest.raises(Invalid):
        appeals.appeal(db, first, person=house.author, words="  ")
    appeal_id = appeals.appeal(db, first, person=house.author, words="Look again.")
    with pytest.raises(Conflict, match="already"):
        appeals.appeal(db, first, person=house.author, words="Once more.")
    for involved in (house.author, house.judges[0]):
        assert appeals.open_appeals(db, house.dataset_id, reviewer=involved) == []
        with pytest.raises(NotAllowed):
            appeals.answer_appeal(db, appeal_id, reviewer=involved, answer="overturned", words="Yes.")
    assert appeals.answer_appeal(db, appeal_id, reviewer=house.judges[2], answer="upheld", words="No.") == "rejected"
    with pytest.raises(Conflict):
        appeals.answer_appeal(db, appeal_id, reviewer=house.judges[3], answer="overturned", words="Yes.")


def test_what_waits_or_is_accepted_has_nothing_to_appeal(db: Database, house: House) -> None:
    with pytest.raises(Conflict, match="waiting"):
        appeals.appeal(db, house.ids[0], person=house.author, words="Hurry.")


def test_an_appeal_cannot_let_a_copy_in_beside_what_was_accepted_since(db: Database, house: House) -> None:
    first = house.ids[0]
    reject(db, house, first)
    again = offer(db, house.dataset_id, people.create(db, "bea"), FRUITS[:1])[0]
    appeal_id = appeals.appeal(db, first, person=house.author, words="Mine was first.")
    with pytest.raises(Conflict, match=f"Example {again}"):
        appeals.answer_appeal(db, appeal_id, reviewer=house.judges[2], answer="overturned", words="Yes.")
    assert store.value(db, "select answer from appeals") is None


def test_the_nearest_neighbour_is_shown_without_its_author(db: Database, house: House) -> None:
    assert reviews.neighbours(db, house.ids[0], reviewer=house.judges[0]) is None
    rows = [
        [
            {"role": "user", "content": "What is apple?"},
            {"role": "assistant", "content": "Apple: apple tree and a good deal besides, to be sure."},
        ]
    ]
    contributions.submit(
        db, house.dataset_id, person=house.author, rows=rows, source="form", licence="CC0-1.0", attested=True
    )
    found = reviews.neighbours(db, house.ids[0], reviewer=house.judges[0])
    assert found is not None
    assert set(found) == {"example_id", "jaccard", "content", "messages"}
    assert 0 < found["jaccard"] < 0.6


def test_the_store_refuses_to_rewrite_verdicts(db: Database, house: House, tmp_path: Path) -> None:
    import sqlite3

    reviews.decide(db, house.ids[0], reviewer=house.judges[0], decision="accept")
    for statement in ("update verdicts set decision = 'reject', reason = 'wrong'", "delete from verdicts"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)
