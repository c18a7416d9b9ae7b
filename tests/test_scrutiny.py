"""Where many review, more is asked for an author who has proven nothing, and one answer does not overturn three."""

from __future__ import annotations

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import NotAllowed
from factory.base.people import Person
from factory.intake import appeals, consensus, contributions, datasets, deals, reviews, scrutiny
from factory.intake.policy import Policy
from tests import credit_rows

Rows = list[int]


@pytest.fixture
def dataset_id(db: Database) -> int:
    owner = people.create(db, "owner", roles=("curator",))
    rules = Policy(daily_base_examples=1_000, gold_share=0)
    about = {"slug": "a", "title": "A", "purpose": "p", "guidelines": "g", "licence": "CC0-1.0"}
    return int(datasets.create(db, **about, owner=owner, policy=rules)["id"])


def reviewing(db: Database, dataset_id: int, count: int) -> list[Person]:
    """So many people who gave a verdict just now."""
    about = credit_rows.example(db, dataset_id, people.create(db, "long-ago").id, "anything at all")
    judges = [people.create(db, f"judge-{n:02}", roles=("reviewer",)) for n in range(count)]
    for judge in judges:
        store.insert(db, "verdicts", {"example_id": about, "reviewer_id": judge.id, "decision": "accept", "at": store.now()})
    assert deals.active(db) == count
    return judges


def offer(db: Database, dataset_id: int, name: str) -> tuple[Person, int]:
    author = people.find(db, name) or people.create(db, name)
    asked = [
        {"role": "user", "content": f"What is {name}?"},
        {"role": "assistant", "content": f"{name} is a name of somebody."},
    ]
    made = contributions.submit(db, dataset_id, person=author, rows=[asked], source="form", licence="CC0-1.0", attested=True)
    return author, made.example_ids[0]


def judge(db: Database, example_id: int, judges: list[Person], decision: str, most: int) -> list[str]:
    """The states after each verdict of those who are asked, `most` at most."""
    states: list[str] = []
    for reviewer in judges:
        if len(states) < most and (not states or states[-1] == "waiting"):
            try:
                states.append(reviews.decide(db, example_id, reviewer=reviewer, decision=decision, reason="wrong"))
            except NotAllowed:
                continue
    return states


def widen(db: Database, table: str, column: str) -> None:
    """As if it had waited for eight days: everybody is asked by then."""
    db.execute(f"update {table} set {column} = {column} - ?", [8 * 86_400.0])
    db.conn.commit()


def test_a_newcomer_needs_three_where_many_review_and_two_where_few_do(db: Database, dataset_id: int) -> None:
    judges = reviewing(db, dataset_id, 12)
    _, first = offer(db, dataset_id, "ada")
    widen(db, "waiting_examples", "since")
    assert judge(db, first, judges, "accept", 2) == ["waiting", "waiting"]
    policy = Policy(gold_share=0)
    assert scrutiny.needed(db, first, policy).quorum == 3
    db.execute("update people set disabled_at = 1.0 where name >= 'judge-06'")
    db.execute("delete from roles where person_id in (select id from people where disabled_at is not null)")
    db.conn.commit()
    assert scrutiny.needed(db, first, policy) == scrutiny.Needed(policy.quorum, policy.confidence)


def test_a_trusted_author_needs_what_the_policy_says(db: Database, dataset_id: int) -> None:
    judges = reviewing(db, dataset_id, 12)
    author = people.create(db, "ada")
    for n in range(40):
        credit_rows.example(db, dataset_id, author.id, f"ada says {n}", at=store.now())
    _, mine = offer(db, dataset_id, "ada")
    widen(db, "waiting_examples", "since")
    assert judge(db, mine, judges, "accept", 3)[-2:] == ["waiting", "accepted"]


def test_a_poor_record_asks_for_more_certainty_and_is_no_verdict() -> None:
    usual = (0.85, 0.85)
    asked = {"quorum": 3, "at_most": 5, "confidence": 0.99}
    three = [("accept", usual)] * 3
    assert consensus.settled(three, **asked, good_before=0.5) == "accept"
    assert consensus.settled(three, **asked, good_before=0.1) is None
    assert consensus.settled([("accept", usual)] * 4, **asked, good_before=0.1) == "accept"


def test_what_is_likely_good_but_not_certain_is_returned_and_not_refused() -> None:
    mixed = [("accept", (0.8, 0.8))] * 3 + [("reject", (0.8, 0.8))] * 2
    bounds = {"quorum": 3, "at_most": 5, "confidence": 0.99}
    assert consensus.settled(mixed, **bounds, at_last=0.95) == "return"
    assert consensus.settled(mixed, **bounds) == "accept"


def test_an_appeal_is_answered_by_who_was_drawn_and_does_not_outvote_three(db: Database, dataset_id: int) -> None:
    judges = reviewing(db, dataset_id, 12)
    author, mine = offer(db, dataset_id, "ada")
    widen(db, "waiting_examples", "since")
    assert judge(db, mine, judges, "reject", 5)[-1] == "rejected"
    appeal_id = appeals.appeal(db, mine, person=author, words="It is right.")
    uninvolved = [
        j
        for j in judges
        if not store.value(db, "select 1 from verdicts where example_id = ? and reviewer_id = ?", mine, j.id)
    ]
    drawn = [j for j in uninvolved if appeals.open_appeals(db, dataset_id, reviewer=j)]
    assert len(drawn) < len(uninvolved)
    other = next(j for j in uninvolved if j not in drawn)
    with pytest.raises(NotAllowed, match="Others were drawn"):
        appeals.answer_appeal(db, appeal_id, reviewer=other, answer="overturned", words="I see it so.")
    widen(db, "appeals", "at")
    assert appeals.open_appeals(db, dataset_id, reviewer=other)
    assert appeals.answer_appeal(db, appeal_id, reviewer=other, answer="overturned", words="I see it so.") == "returned"
    assert contributions.show(db, mine, person=author)["reason"] == "again"
