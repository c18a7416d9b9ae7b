"""What triggers keep is what one would count: after random histories every sum equals the plain computation."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.credit import leaderboards, ledger
from factory.intake import datasets, standing
from factory.intake import policy as policies
from tests import credit_rows as rows

DAY = 24 * 3600.0
PLAIN_STATES = """
    select e.id as example_id, e.dataset_id, e.person_id, e.submission_id, e.cluster_id, e.created_at,
        case when w.example_id is not null then 'withdrawn' when e.refused_by_checks then 'refused'
            when d.decision is not null then d.decision else 'waiting' end as state, d.at as decided_at, d.reason as reason
    from examples e left join withdrawals w on w.example_id = e.id
    left join decisions d on d.id = (select max(id) from decisions where example_id = e.id) order by e.id
"""
PLAIN_OUTCOMES = """
    with decided as (
        select e.person_id, e.dataset_id, e.cluster_id, d.decision, d.at,
            row_number() over (partition by e.person_id, e.cluster_id order by e.id desc) as place
        from examples e join decisions d on d.id = (select max(id) from decisions where example_id = e.id)
        where d.decision <> 'returned')
    select person_id, dataset_id, decision = 'accepted' as accepted, cast(at / 86400 as integer) as day, count(*) as clusters
    from decided where place = 1 group by 1, 2, 3, 4
"""


def happen(db: Database, draw: random.Random, ids: dict[str, list[int]], taken: dict[int, int], now: float) -> None:
    """One thing that may happen to a store: an offer, a decision, a withdrawal, a finding, a new policy.

    `taken` maps examples to their datasets.
    """
    what = draw.random()
    who, dataset_id = draw.choice(ids["people"]), draw.choice(ids["datasets"])
    if what < 0.45 or not taken:
        like = [one for one, where in taken.items() if where == dataset_id and draw.random() < 0.05]
        at, refused = now - draw.random() * 50 * DAY, draw.random() < 0.15
        words, cluster = str(draw.random()), like[0] if like else None
        one = rows.example(db, dataset_id, who, words, at=at, decision=None, refused=refused, cluster=cluster)
        taken[one] = dataset_id
        return
    one = draw.choice(list(taken))
    if what < 0.85 and not store.value(db, "select refused_by_checks from examples where id = ?", one):
        said = draw.choice(("accepted", "accepted", "returned", "rejected"))
        about = {
            "example_id": one,
            "decision": said,
            "reason": None if said == "accepted" else draw.choice(("wrong", "form")),
        }
        at = now - draw.random() * 40 * DAY
        db.execute(
            'insert into decisions (example_id, decision, reason, "by", verdict_ids, at) values (?, ?, ?, ?, ?, ?)',
            [*about.values(), "review", "[]", at],
        )
    elif what < 0.9 and not store.value(db, "select 1 from withdrawals where example_id = ?", one):
        store.insert(db, "withdrawals", {"example_id": one, "person_id": who, "reason": "r", "at": now})
    elif what < 0.97:
        record = {"code": draw.choice(("email", "schema")), "refuses": int(draw.random() < 0.7), "rule_version": 1}
        store.insert(db, "findings", {"example_id": one, **record, "evidence": "{}", "sentence": "s"})
    else:
        number = 1 + store.value(db, "select max(version) from policies where dataset_id = ?", dataset_id)
        rules = policies.to_json(policies.Policy(standing_half_life_days=draw.choice((0, 7, 365))))
        about = {"dataset_id": dataset_id, "version": number, "rules": rules, "set_by": who, "set_at": now}
        store.insert(db, "policies", about)


@pytest.fixture(params=[1, 2, 3])
def lived(db: Database, request: pytest.FixtureRequest) -> Database:
    """A store in which 400 random things happened."""
    draw, people = random.Random(request.param), [rows.person(db, f"person{n}") for n in range(5)]
    ids = {"people": people, "datasets": [rows.dataset(db, people[0], slug=slug)[0] for slug in ("one", "two")]}
    taken: dict[int, int] = {}
    with store.writing(db):
        for _ in range(400):
            happen(db, draw, ids, taken, store.now())
    return db


def plainly(db: Database, person_id: int | None, dataset_id: int | None) -> tuple[int, int, float, float]:
    """Accepted, decided, and both weighted, counted from decisions."""
    today, sums = standing.today(), [0, 0, 0.0, 0.0]
    for one in store.rows(db, PLAIN_OUTCOMES):
        if person_id in (None, one["person_id"]) and dataset_id in (None, one["dataset_id"]):
            half_life = policies.current(db, one["dataset_id"])[1].standing_half_life_days
            share = one["clusters"] * store.fade(max(0, today - one["day"]), half_life)
            counted = (one["clusters"] * one["accepted"], one["clusters"], share * one["accepted"], share)
            sums = [have + more for have, more in zip(sums, counted, strict=True)]
    return sums[0], sums[1], sums[2], sums[3]


def test_every_state_is_what_its_rows_say(lived: Database) -> None:
    columns = "example_id, dataset_id, person_id, submission_id, cluster_id, created_at, state, decided_at, reason"
    assert store.rows(lived, f"select {columns} from example_states order by 1") == store.rows(lived, PLAIN_STATES)


def test_standing_is_what_decisions_say(lived: Database) -> None:
    for person_id in range(1, 6):
        for dataset_id in (None, 1, 2):
            accepted, decided, good, weight = plainly(lived, person_id, dataset_id)
            found = standing.of(lived, person_id, dataset_id)
            assert (found.accepted, found.decided) == (accepted, decided)
            assert found.lower == pytest.approx(standing.wilson_lower(good, weight), abs=1e-9)
            since = store.now() - 20 * DAY
            whose = (person_id, dataset_id)
            recent = [
                o["clusters"] for o in store.rows(lived, PLAIN_OUTCOMES)
                if o["accepted"] and o["day"] >= since // DAY and (o["person_id"], o["dataset_id"]) == whose
            ]  # fmt: skip
            assert dataset_id is None or standing.accepted_since(lived, person_id, dataset_id, since) == sum(recent)


def test_counts_of_a_dataset_are_what_its_rows_say(lived: Database) -> None:
    for dataset_id in (1, 2):
        states = [one for one in store.rows(lived, PLAIN_STATES) if one["dataset_id"] == dataset_id]
        counted = Counter(one["state"] for one in states)
        assert datasets.counts(lived, dataset_id) == {state: counted[state] for state in datasets.STATES}
        overview = datasets.get(lived, dataset_id)
        assert {state: overview[state] for state in datasets.STATES} == {state: counted[state] for state in datasets.STATES}
        assert overview["people"] == len({one["person_id"] for one in states if one["state"] == "accepted"})
        why = Counter((one["state"], one["reason"]) for one in states if one["state"] in ("rejected", "returned"))
        assert {(r["decision"], r["reason"]): r["examples"] for r in datasets.rejections(lived, dataset_id)} == why


def test_refusals_and_acceptance_over_time_are_what_rows_say(lived: Database) -> None:
    for dataset_id in (1, 2):
        told = store.rows(
            lived,
            "select f.code, count(distinct e.id) as examples, count(distinct e.person_id) as people from findings f"
            " join examples e on e.id = f.example_id where e.dataset_id = ? and f.refuses group by f.code",
            dataset_id,
        )
        refusals = datasets.refusals(lived, dataset_id)
        assert {(r["code"], r["examples"], r["people"]) for r in refusals} == {tuple(r.values()) for r in told}
        days: dict[str, Any] = {}
        for one in store.rows(
            lived,
            "select date(d.at, 'unixepoch') as day, d.decision from decisions d join examples e on e.id = d.example_id"
            " where e.dataset_id = ? and d.id = (select max(id) from decisions where example_id = e.id) order by d.at",
            dataset_id,
        ):
            day = days.setdefault(one["day"], {"day": one["day"], "accepted": 0, "rejected": 0, "returned": 0})
            day[one["decision"]] += 1
        assert datasets.acceptance_over_time(lived, dataset_id) == list(days.values())


def test_the_board_counts_what_people_offered(lived: Database) -> None:
    states = store.rows(lived, PLAIN_STATES)
    board = leaderboards.contributors(lived)
    assert sum(entry["submitted"] for entry in board) == len(states)
    for entry in board:
        own = [one for one in states if one["person_id"] == entry["person_id"]]
        assert entry["waiting"] == sum(one["state"] == "waiting" for one in own)
        assert entry["refused"] == sum(one["state"] == "refused" for one in own)
        assert entry["last_at"] == max(one["created_at"] for one in own)
    pages = [leaderboards.contributors(lived, limit=2, offset=offset) for offset in (0, 2, 4)]
    assert [entry for page in pages for entry in page] == board
    assert leaderboards.how_many_contributors(lived) == len(board)


def test_earnings_are_what_the_ledger_says(db: Database) -> None:
    owner, author = rows.person(db, "owner"), rows.person(db, "author")
    dataset_id, policy_id = rows.dataset(db, owner)
    held_out = rows.held_out(
        db, dataset_id, owner, [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]]
    )
    version_id = rows.version(db, dataset_id, policy_id, [rows.example(db, dataset_id, author, "w")], owner=owner)
    adapter_id, evaluation_id = rows.adapter(db, version_id, owner, root=held_out[1])
    transaction = ledger.pay(db, rows.attributed(db, adapter_id, evaluation_id, [(1, author, 1.0, 0.01)]))
    paid = ledger.balance(db, ledger.account(author))
    assert paid > 0
    assert leaderboards.credits_by_person(db, dataset_id=dataset_id) == {author: paid}
    assert leaderboards.credits_by_person(db, dataset_id=dataset_id, since=0.0) == {author: paid}
    ledger.counter(db, transaction, person=people.maintainer(db), reason="a mistake")
    assert leaderboards.credits_by_person(db) == {author: 0}


def test_withdrawn_rows_of_versions_are_what_withdrawals_say(db: Database) -> None:
    owner = rows.person(db, "owner")
    dataset_id, policy_id = rows.dataset(db, owner)
    taken = [rows.example(db, dataset_id, owner, f"word {n}") for n in range(4)]
    withdraw = {"person_id": owner, "reason": "r", "at": 9.0}
    store.insert(db, "withdrawals", {"example_id": taken[0], **withdraw})  # before it was frozen, as an import may have it
    first = rows.version(db, dataset_id, policy_id, taken, owner=owner)
    second = rows.version(db, dataset_id, policy_id, taken[2:], owner=owner)
    store.insert(db, "withdrawals", {"example_id": taken[2], **withdraw})
    found = store.rows(db, "select version_id, example_id from withdrawn_rows order by 1, 2")
    plain = "select version_id, example_id from version_rows natural join (select example_id from withdrawals) order by 1, 2"
    assert found == store.rows(db, plain)
    assert [(one["version_id"], one["example_id"]) for one in found] == [
        (first, taken[0]),
        (first, taken[2]),
        (second, taken[2]),
    ]
