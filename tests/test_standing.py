"""Standing: the order people expect, clusters once, old work fading, nothing stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from factory.base import people, store
from factory.base.people import Person
from factory.intake import contributions, datasets, reviews, standing
from factory.intake.policy import Policy

DAY = 24 * 3600.0


@pytest.fixture
def dataset_id(db: Database) -> int:
    owner = people.create(db, "owner", roles=("curator",))
    policy = Policy(daily_base_examples=1_000, quorum=1, standing_half_life_days=100)
    made = datasets.create(
        db, slug="a", title="A", purpose="p", guidelines="g", licence="CC0-1.0", owner=owner, policy=policy
    )
    return int(made["id"])


def word(number: int) -> str:
    return "".join(chr(97 + (number * k + number // 26) % 26) for k in (1, 3, 7, 11)) + str(number)


def offer(db: Database, dataset_id: int, name: str, decisions: list[str]) -> tuple[Person, list[int]]:
    """A person's examples with these decisions: accept, return, reject, or "" for none."""
    person = people.find(db, name) or people.create(db, name)
    judge = people.find(db, "judge") or people.create(db, "judge", roles=("reviewer",))
    start = int(store.value(db, "select count(*) from examples"))
    rows = [
        [
            {"role": "user", "content": f"{word(i)}?"},
            {"role": "assistant", "content": f"{word(i)}a {word(i)}b {word(i)}c {word(i)}d"},
        ]
        for i in range(start, start + len(decisions))
    ]
    made = contributions.submit(db, dataset_id, person=person, rows=rows, source="form", licence="CC0-1.0", attested=True)
    for example_id, decision in zip(made.example_ids, decisions, strict=True):
        if decision:
            reviews.decide(db, example_id, reviewer=judge, decision=decision, reason="noise")
    return person, made.example_ids


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    moment = store.now() + seconds
    monkeypatch.setattr(store.time, "time", lambda: moment)


def test_six_kinds_of_contributor_rank_as_people_expect() -> None:
    kinds = {
        "expert": (95, 100),
        "steady": (160, 200),
        "careful": (18, 20),
        "flooder": (300, 1000),
        "lucky": (1, 1),
        "spammer": (0, 500),
    }
    lower = {kind: round(standing.wilson_lower(*seen), 3) for kind, seen in kinds.items()}
    assert lower == {"expert": 0.888, "steady": 0.739, "careful": 0.699, "flooder": 0.272, "lucky": 0.207, "spammer": 0.0}


@given(st.floats(0, 1e6), st.floats(0, 1))
def test_the_interval_holds_the_rate(n: float, share: float) -> None:
    low, high = standing.wilson_lower(n * share, n), standing.wilson_upper(n * share, n)
    assert 0 <= low <= high <= 1
    if n > 0:
        assert low - 1e-9 <= share <= high + 1e-9


def test_one_lucky_row_does_not_beat_steady_work(db: Database, dataset_id: int) -> None:
    offer(db, dataset_id, "lucky", ["accept"])
    offer(db, dataset_id, "steady", ["accept"] * 9 + ["reject"])
    offer(db, dataset_id, "noisy", ["reject"] * 10)
    table = standing.table(db, dataset_id)
    assert [(r["rank"], r["name"], r["accepted"], r["decided"]) for r in table] == [
        (1, "steady", 9, 10),
        (2, "lucky", 1, 1),
        (3, "noisy", 0, 10),
    ]
    assert [r["provisional"] for r in table] == [False, True, False]


def test_returned_waiting_and_refused_rows_are_not_decided(db: Database, dataset_id: int) -> None:
    ada, _ = offer(db, dataset_id, "ada", ["accept", "return", ""])
    bad = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "short"}]]
    contributions.submit(db, dataset_id, person=ada, rows=bad, source="form", licence="CC0-1.0", attested=True)
    found = standing.of(db, ada.id, dataset_id)
    assert (found.accepted, found.decided, found.rate) == (1, 1, 1.0)
    entry = standing.table(db)[0]
    assert (entry["submitted"], entry["refused"], entry["waiting"]) == (4, 1, 1)


def test_a_cluster_counts_once_with_its_newest_decision(db: Database, dataset_id: int) -> None:
    ada, ids = offer(db, dataset_id, "ada", ["reject"])
    content = [
        {"role": "user", "content": f"{word(0)}?"},
        {"role": "assistant", "content": f"{word(0)}a {word(0)}b {word(0)}c {word(0)}d indeed"},
    ]
    fresh = contributions.revise(db, ids[0], person=ada, messages=content)
    assert standing.of(db, ada.id).decided == 1
    reviews.decide(db, fresh, reviewer=people.get(db, "judge"), decision="accept")
    found = standing.of(db, ada.id)
    assert (found.accepted, found.decided) == (1, 1)


def test_withdrawing_a_rejected_row_does_not_mend_a_standing(db: Database, dataset_id: int) -> None:
    ada, ids = offer(db, dataset_id, "ada", ["accept", "reject"])
    before = standing.of(db, ada.id)
    for example_id in ids:
        contributions.withdraw(db, example_id, person=ada, reason="tidying")
    assert standing.of(db, ada.id) == before


def test_old_decisions_weigh_less(db: Database, dataset_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, _ = offer(db, dataset_id, "ada", ["accept"] * 40)
    fresh = standing.of(db, ada.id)
    assert fresh.lower == pytest.approx(standing.wilson_lower(40, 40))
    later(monkeypatch, 100 * DAY)
    aged = standing.of(db, ada.id)
    assert (aged.accepted, aged.decided, aged.rate) == (40, 40, 1.0)
    assert aged.lower == pytest.approx(standing.wilson_lower(20, 20))
    offer(db, dataset_id, "ada", ["reject"] * 20)
    assert standing.of(db, ada.id).rate == pytest.approx(0.5)


def test_standing_in_one_dataset_is_not_standing_in_another(db: Database, dataset_id: int) -> None:
    other = datasets.create(
        db,
        slug="b",
        title="B",
        purpose="p",
        guidelines="g",
        licence="CC0-1.0",
        owner=people.get(db, "owner"),
        policy=Policy(quorum=1),
    )
    ada, _ = offer(db, dataset_id, "ada", ["accept"] * 3)
    offer(db, other["id"], "ada", ["reject"])
    assert standing.of(db, ada.id, other["id"]).accepted == 0
    assert (standing.of(db, ada.id).accepted, standing.of(db, ada.id).decided) == (3, 4)


def test_somebody_unknown_has_no_standing_yet(db: Database) -> None:
    found = standing.of(db, people.create(db, "ada").id)
    assert (found.decided, found.lower, found.upper, found.provisional) == (0, 0.0, 1.0, True)
    assert standing.table(db) == []
