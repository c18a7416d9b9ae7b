"""Gold items, reviewers' accuracy, weighed consensus, deadlines: a reviewer who does not look decides little."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.intake import appeals, consensus, contributions, datasets, deadlines, gold, reviewers, reviews, standing
from factory.intake import policy as policies
from factory.intake.policy import Policy

WORDS = (
    "amber basil cedar delta ember fjord grove heron inlet joust kayak lotus mango nylon ocean pearl quilt raven sable tulip"
)


@dataclass(frozen=True)
class House:
    dataset_id: int
    owner: Person
    author: Person
    judges: tuple[Person, ...]


def rows(count: int, start: int = 0) -> list[list[dict[str, str]]]:
    words = WORDS.split()
    made = []
    for number in range(start, start + count):
        chosen = random.Random(number).sample(words, 8)
        made.append(
            [
                {"role": "user", "content": f"What is number {number} of the {' '.join(chosen[:4])}?"},
                {"role": "assistant", "content": f"Number {number} is a {' '.join(chosen[4:])}, as {number * 7919} shows."},
            ]
        )
    return made


def offer(db: Database, house: House, count: int, start: int = 0, person: Person | None = None) -> list[int]:
    sent = contributions.submit(
        db, house.dataset_id, person=person or house.author, rows=rows(count, start), source="form", licence="CC0-1.0",
        attested=True,
    )  # fmt: skip
    assert not sent.refused
    return sent.example_ids


@pytest.fixture
def house(db: Database) -> House:
    db.execute("update draw_secret set value = ?", [bytes(32)])  # which place is gold is the same in every run
    owner = people.create(db, "owner", roles=("curator",))
    policy = Policy(gold_share=0.5, daily_base_examples=1000, near_duplicate_jaccard=0.95)
    made = datasets.create(
        db, slug="a", title="A", purpose="p", guidelines="g", licence="CC0-1.0", owner=owner, policy=policy
    )
    judges = tuple(people.create(db, f"judge{i}", roles=("reviewer",)) for i in range(5))
    return House(made["id"], owner, people.create(db, "ada"), judges)


def settle(db: Database, house: House, ids: Sequence[int], decision: str = "accept", by: slice = slice(0, 2)) -> None:
    for example_id in ids:
        for judge in house.judges[by]:
            with store.writing(db):  # as through decide, without the gold that the queue would mix in
                record = {"example_id": example_id, "reviewer_id": judge.id, "decision": decision, "at": store.now()}
                store.insert(db, "verdicts", record | {"reason": None if decision == "accept" else "wrong"})
                reviews._settle(db, example_id, policies.current(db, house.dataset_id)[1])


def work(db: Database, house: House, judge: Person, says: dict[int, str], steps: int) -> list[int]:
    """Judge what the queue brings; the gold items that were among it."""
    met = []
    for _ in range(steps):
        queue = reviews.queue(db, house.dataset_id, reviewer=judge, limit=1)
        if not queue:
            break
        example_id = queue[0]["example_id"]
        decision = says.get(example_id, "accept")
        reviews.decide(db, example_id, reviewer=judge, decision=decision, reason=None if decision == "accept" else "wrong")
        if gold.feedback(db, example_id, reviewer=judge):
            met.append(example_id)
    return met


def test_gold_comes_up_like_any_other_and_is_answered_at_once(db: Database, house: House) -> None:
    ids = offer(db, house, 20)
    settle(db, house, ids[:5])
    settle(db, house, ids[5:10], "reject")
    judge = house.judges[2]
    met = work(db, house, judge, {one: "reject" for one in ids[5:10]}, 12)
    assert met
    assert set(met) <= set(ids[:10])
    told = gold.feedback(db, met[0], reviewer=judge)
    assert told is not None
    assert told["right"]
    assert told["said"] == told["expected"]
    shown = reviews.queue(db, house.dataset_id, reviewer=judge)
    assert len({tuple(row) for row in shown}) == 1  # the same keys, gold or not


def test_among_the_first_fifty_verdicts_gold_is_twice_as_frequent(db: Database, house: House) -> None:
    policy = replace(policies.current(db, house.dataset_id)[1], gold_share=0.2)
    settle(db, house, offer(db, house, 3))
    open_ones = offer(db, house, 4 * gold.FIRST, start=10)
    found = [0, 0]
    for judge in house.judges[2:]:
        for place, example_id in enumerate(open_ones):
            found[place >= gold.FIRST] += gold.due(db, house.dataset_id, reviewer=judge, policy=policy) is not None
            with store.writing(db):
                record = {"example_id": example_id, "reviewer_id": judge.id, "decision": "accept", "at": store.now()}
                store.insert(db, "verdicts", record)
    assert 0.3 < found[0] / (3 * gold.FIRST) < 0.5
    assert 0.14 < found[1] / (9 * gold.FIRST) < 0.26


def test_a_gold_verdict_never_changes_what_is_settled(db: Database, house: House) -> None:
    ids = offer(db, house, 12)
    settle(db, house, ids[:6])
    met = work(db, house, house.judges[2], dict.fromkeys(ids, "reject"), 10)
    assert met
    for example_id in met:
        assert store.value(db, "select state from example_states where example_id = ?", example_id) == "accepted"
        assert store.value(db, "select count(*) from verdicts where example_id = ?", example_id) == 2


def test_a_settled_example_that_is_not_due_as_gold_is_refused(db: Database, house: House) -> None:
    ids = offer(db, house, 12)
    settle(db, house, ids[:6])
    policy = policies.current(db, house.dataset_id)[1]
    judge = house.judges[2]
    due = gold.due(db, house.dataset_id, reviewer=judge, policy=policy)
    other = next(one for one in ids[:6] if one != due)
    with pytest.raises(Conflict, match="accepted already"):
        reviews.decide(db, other, reviewer=judge, decision="accept")


def test_nobody_gets_their_own_or_what_they_judged_as_gold(db: Database, house: House) -> None:
    ids = offer(db, house, 8)
    settle(db, house, ids[:4])
    policy = replace(policies.current(db, house.dataset_id)[1], gold_share=0.5)
    for person in (*house.judges[:2], house.author):
        assert gold.due(db, house.dataset_id, reviewer=person, policy=policy) is None
    disputed = offer(db, house, 1, start=50)
    with store.writing(db):  # settled, but not by all: no gold
        for judge, decision in zip(house.judges[:3], ("reject", "accept", "accept"), strict=True):
            record = {"example_id": disputed[0], "reviewer_id": judge.id, "decision": decision, "at": store.now()}
            store.insert(db, "verdicts", record | {"reason": None if decision == "accept" else "wrong"})
        assert reviews._settle(db, disputed[0], replace(policy, confidence=0.6)) == "accepted"
    settle(db, house, ids[4:], by=slice(0, 2))
    drawn = set()
    for _ in range(40):
        drawn.add(gold.due(db, house.dataset_id, reviewer=house.judges[4], policy=policy))
        with store.writing(db):  # the next place of the queue
            record = {"example_id": offer(db, house, 1, start=100 + len(drawn) * 50 + _)[0], "at": store.now()}
            store.insert(db, "verdicts", record | {"reviewer_id": house.judges[4].id, "decision": "accept"})
    assert disputed[0] not in drawn
    assert len(drawn) > 1


def test_whoever_accepts_everything_soon_weighs_little(db: Database, house: House) -> None:
    ids = offer(db, house, 60)
    bad = set(ids[1:30:2])
    for example_id in ids[:30]:
        settle(db, house, [example_id], "reject" if example_id in bad else "accept")
    lazy, careful = house.judges[2], house.judges[3]
    work(db, house, lazy, {}, 30)
    work(db, house, careful, {one: "reject" for one in bad}, 30)
    found = reviewers.accuracy(db, lazy.id), reviewers.accuracy(db, careful.id)
    assert found[0].gold_seen >= 8
    assert found[0].value < 0.7 < 0.8 < found[1].value
    assert found[0].good_right > 0.8 > 0.5 > found[0].bad_right


def test_verdicts_of_people_who_are_often_wrong_do_not_settle(db: Database, house: House) -> None:
    pairs = [("accept", (0.65, 0.6)), ("accept", (0.65, 0.6))]
    assert consensus.settled(pairs, quorum=2, at_most=5, confidence=0.75) is None
    assert consensus.settled([*pairs, ("accept", (0.8, 0.8))], quorum=2, at_most=5, confidence=0.75) == "accept"
    assert (
        consensus.settled([*pairs, ("reject", (0.9, 0.9)), ("reject", (0.9, 0.9))], quorum=2, at_most=5, confidence=0.75)
        == "reject"
    )


def test_more_are_asked_while_reviewers_disagree_but_not_for_ever(db: Database, house: House) -> None:
    first = offer(db, house, 1)[0]
    sterner = replace(policies.current(db, house.dataset_id)[1], confidence=0.95)
    datasets.set_policy(db, house.dataset_id, sterner, person=house.owner)
    said = ("accept", "reject", "return", "accept", "reject")
    states = []
    for judge, decision in zip(house.judges, said, strict=True):
        states.append(
            reviews.decide(db, first, reviewer=judge, decision=decision, reason=None if decision == "accept" else "wrong")
        )
    assert states[:4] == ["waiting"] * 4
    assert states[4] != "waiting"


def test_a_dispute_that_strikes_gold_gives_the_reviewer_back_what_it_cost(db: Database, house: House) -> None:
    ids = offer(db, house, 12)
    settle(db, house, ids[:6])
    judge, third = house.judges[2], house.judges[3]
    missed = work(db, house, judge, dict.fromkeys(ids, "reject"), 8)[0]
    before = reviewers.accuracy(db, judge.id).value
    dispute_id = gold.dispute(db, missed, reviewer=judge, words="Both reviewers overlooked the date.")
    with pytest.raises(Conflict):
        gold.dispute(db, missed, reviewer=judge, words="Again.")
    assert [one["dispute_id"] for one in gold.open_disputes(db, reviewer=third)] == [dispute_id]
    for involved in (judge, house.judges[0]):
        assert gold.open_disputes(db, reviewer=involved) == []
        with pytest.raises(NotAllowed):
            gold.answer(db, dispute_id, reviewer=involved, answer="struck", words="So it is.")
    with pytest.raises(Invalid):
        gold.answer(db, dispute_id, reviewer=third, answer="maybe", words="?")
    gold.answer(db, dispute_id, reviewer=third, answer="struck", words="The date is wrong indeed.")
    with pytest.raises(Conflict):
        gold.answer(db, dispute_id, reviewer=third, answer="upheld", words="Or not.")
    assert reviewers.accuracy(db, judge.id).value > before
    assert gold.feedback(db, missed, reviewer=judge)["dispute"] == "struck"  # type: ignore[index]


def test_a_dispute_needs_a_gold_item_and_words(db: Database, house: House) -> None:
    first = offer(db, house, 1)[0]
    with pytest.raises(NotFound):
        gold.dispute(db, first, reviewer=house.judges[0], words="No.")
    with pytest.raises(Invalid):
        gold.dispute(db, first, reviewer=house.judges[0], words=" ")


def test_an_overturned_decision_weighs_against_those_who_made_it(db: Database, house: House) -> None:
    first = offer(db, house, 1)[0]
    settle(db, house, [first], "reject")
    before = reviewers.accuracy(db, house.judges[0].id).value
    appeal_id = appeals.appeal(db, first, person=house.author, words="It is right: look at the number.")
    appeals.answer_appeal(db, appeal_id, reviewer=house.judges[2], answer="overturned", words="It is.")
    found = reviewers.accuracy(db, house.judges[0].id)
    assert found.value < before
    assert (found.appeals_seen, found.appeals_right) == (1, 0)


def test_a_declared_conflict_takes_the_example_out_of_ones_queue_only(db: Database, house: House) -> None:
    ids = offer(db, house, 3)
    reviews.declare_conflict(db, ids[0], reviewer=house.judges[0], words="I know this text.")
    reviews.declare_conflict(db, ids[0], reviewer=house.judges[0])
    seen = {
        judge.id: [r["example_id"] for r in reviews.queue(db, house.dataset_id, reviewer=judge)]
        for judge in house.judges[:2]
    }
    assert seen == {house.judges[0].id: ids[1:], house.judges[1].id: ids}
    with pytest.raises(NotAllowed, match="conflict"):
        reviews.decide(db, ids[0], reviewer=house.judges[0], decision="accept")
    reviews.decide(db, ids[1], reviewer=house.judges[0], decision="accept")
    with pytest.raises(Conflict, match="too late"):
        reviews.declare_conflict(db, ids[1], reviewer=house.judges[0])


def age(db: Database, days: float) -> None:
    with store.writing(db):
        db.execute("drop trigger examples_refuses_update")
        for table in ("examples", "states"):
            db.execute(f"update {table} set created_at = created_at - ?", [days * 86400])
        db.execute("update waiting_examples set since = since - ?", [days * 86400])


def test_nobody_waits_longer_than_the_deadline(db: Database, house: House) -> None:
    ids = offer(db, house, 3)
    reviews.decide(db, ids[0], reviewer=house.judges[0], decision="accept")
    reviews.decide(db, ids[1], reviewer=house.judges[0], decision="reject", reason="wrong")
    assert deadlines.settle_overdue(db) == []
    age(db, 15)
    assert deadlines.settle_overdue(db) == [(ids[0], "accepted"), (ids[1], "rejected"), (ids[2], "returned")]
    assert deadlines.settle_overdue(db) == []
    last = store.row(db, 'select decision, "by", reason from decisions where example_id = ?', ids[2])
    assert last == {"decision": "returned", "by": "deadline", "reason": "unseen"}
    assert reviews.WHY["unseen"].endswith("against you.")


def test_an_appeal_that_nobody_answers_lifts_the_decision(db: Database, house: House) -> None:
    first = offer(db, house, 1)[0]
    settle(db, house, [first], "reject")
    appeals.appeal(db, first, person=house.author, words="It is right: look at the number.")
    policy = policies.current(db, house.dataset_id)[1]
    shown = contributions.show(db, first, person=house.author)
    assert deadlines.due_at(policy, shown) == shown["appeal"]["at"] + 7 * 86400
    assert deadlines.settle_overdue(db) == []
    with store.writing(db):
        db.execute("update appeals set at = at - ?", [8 * 86400])
    assert deadlines.settle_overdue(db) == [(first, "returned")]
    assert deadlines.settle_overdue(db) == []
    after = contributions.show(db, first, person=house.author)
    assert (after["state"], after["appeal"]["answer"], deadlines.due_at(policy, after)) == ("returned", "overturned", None)
    assert standing.of(db, house.author.id, house.dataset_id).decided == 0
    assert appeals.open_appeals(db, house.dataset_id, reviewer=house.judges[3]) == []


def test_silence_accepts_somebody_whose_work_is_known_to_be_good(db: Database, house: House) -> None:
    settle(db, house, offer(db, house, 30))
    late = offer(db, house, 1, start=40)
    stranger = offer(db, house, 1, start=60, person=people.create(db, "newcomer"))
    age(db, 15)
    assert dict(deadlines.settle_overdue(db)) == {late[0]: "accepted", stranger[0]: "returned"}
