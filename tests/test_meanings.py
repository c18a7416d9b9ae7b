"""Codes of meaning: found again in other words, kept up with, and never across models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.intake import contributions, datasets, fit, formats, meaning, meanings, reviews, timeline
from factory.intake.policy import Policy

THINGS = ["bread", "lamps", "boats", "clocks", "maps", "shoes", "kites", "ropes", "bells", "doors", "coins", "gates"]
PLACES = ["Ghent", "Lagos", "Quito", "Osaka", "Perth", "Turin", "Cairo", "Tunis"]


def row(number: int) -> list[dict[str, Any]]:
    thing, place = THINGS[number % len(THINGS)], PLACES[number // len(THINGS) % len(PLACES)]
    question = f"Where in {place} do people mend old {thing} in winter?"
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": f"Behind the {place} market, where the {thing} hang. Ask for workshop {number}."},
    ]


def other_words(number: int) -> list[dict[str, Any]]:
    thing, place = THINGS[number % len(THINGS)], PLACES[number // len(THINGS) % len(PLACES)]
    return [
        {"role": "user", "content": f"In winter, where do people in {place} mend {thing} that are old?"},
        {
            "role": "assistant",
            "content": f"Ask for workshop {number}, where the {thing} hang: behind the market of {place}.",
        },
    ]


@pytest.fixture
def house(db: Database) -> dict[str, Any]:
    ada = people.create(db, "ada", roles=("curator", "contributor"))
    wide = Policy(daily_base_examples=500, near_duplicate_jaccard=0.95, meaning_cosine=0.9)
    datasets.create(
        db, owner=ada, slug="mending", title="Mending", purpose="Mend.", guidelines="Be.", licence="CC0-1.0", policy=wide
    )  # fmt: skip
    return {"ada": ada, "policy": wide, **datasets.get(db, "mending")}


def submitted(db: Database, house: dict[str, Any], rows: list[Any]) -> contributions.Submission:
    return contributions.submit(
        db, house["id"], person=house["ada"], rows=rows, source="form", licence="CC0-1.0", attested=True
    )  # fmt: skip


def test_the_same_in_other_words_is_a_hint_that_names_the_example(db: Database, house: dict[str, Any]) -> None:
    made = submitted(db, house, [row(number) for number in range(30)])
    judged = contributions.preflight(db, house["id"], person=house["ada"], rows=[other_words(7)])
    hint = next(found for found in judged[0].findings if found.code == "meaning_duplicate")
    assert not hint.refuses
    assert hint.evidence["example_id"] == made.example_ids[7]
    assert hint.evidence["cosine"] >= 0.9
    assert not judged[0].refused


def test_a_reviewer_reads_a_row_beside_what_it_says_in_other_words(db: Database, house: dict[str, Any]) -> None:
    made = submitted(db, house, [row(number) for number in range(30)])
    said_again = submitted(db, house, [other_words(7)]).example_ids[0]
    judge = people.create(db, "judge", roles=("reviewer",))
    assert reviews.neighbours(db, said_again, reviewer=judge) is None  # too few of the same word groups
    beside = timeline.beside(db, said_again, reviewer=judge)
    assert beside is not None
    assert (beside["kind"], beside["example_id"]) == ("meaning", made.example_ids[7])
    assert beside["cosine"] >= 0.9
    contributions.withdraw(db, made.example_ids[7], person=house["ada"], reason="mine")
    assert timeline.beside(db, said_again, reviewer=judge) is None


def test_the_lookup_finds_what_an_exact_search_finds(db: Database, house: dict[str, Any]) -> None:
    made = submitted(db, house, [row(number) for number in range(100)])
    mine = meanings.vectors_of([formats.canonical(other_words(number)) for number in range(100)])
    every = meanings.vectors_of([formats.canonical(row(number)) for number in range(100)])
    found = meanings.nearest(db, house["id"], mine, at_least=0.9)
    best = (mine @ every.T).max(axis=1)
    reachable = [place for place in range(100) if best[place] >= 0.95]
    assert len(reachable) >= 30
    assert sum(found[place] is not None for place in reachable) >= 0.9 * len(reachable)
    assert all(each is None or each[0] in made.example_ids for each in found)


def test_what_was_withdrawn_or_is_superseded_is_not_found(db: Database, house: dict[str, Any]) -> None:
    first = submitted(db, house, [row(1)]).example_ids[0]
    vectors = meanings.vectors_of([formats.canonical(row(1))])
    assert meanings.nearest(db, house["id"], vectors, at_least=0.5)[0] is not None
    assert meanings.nearest(db, house["id"], vectors, at_least=0.5, except_ids=(first,)) == [None]
    contributions.withdraw(db, first, person=house["ada"], reason="mine")
    assert meanings.nearest(db, house["id"], vectors, at_least=0.5) == [None]


def test_older_rows_are_caught_up_with_and_another_models_codes_are_thrown_away(db: Database, house: dict[str, Any]) -> None:
    submitted(db, house, [row(number) for number in range(5)])
    db.execute("delete from meaning_codes")
    db.execute("update meaning_reached set model = 'another', example_id = 5")
    with store.writing(db):
        assert meanings.catch_up(db, house["id"], most=3) == 3
        assert meanings.catch_up(db, house["id"], most=3) == 2
        assert meanings.catch_up(db, house["id"]) == 0
    assert store.value(db, "select count(*) from meaning_codes") == 5 * meanings.TABLES


def test_codes_are_the_same_on_every_machine() -> None:
    sides = meanings._sides(np.eye(256, dtype=np.float32)[:2])
    assert meanings._codes(sides) == [-3400525466038817918, -6931806469826043011]
    assert len(set(meanings._probes(sides[0], 0))) == 56


def test_a_row_about_something_else_is_a_hint_once_enough_is_accepted(db: Database, house: dict[str, Any]) -> None:
    strange = [
        {"role": "user", "content": "Prove that the square root of two is irrational."},
        {"role": "assistant", "content": "Suppose p/q were a reduced fraction whose square is 2; then both are even."},
    ]
    contents = [formats.canonical(strange), formats.canonical(row(77))]
    made = submitted(db, house, [row(number) for number in range(96) if number != 77])
    assert [f.code for f in fit.about(db, house["id"], contents, Policy())[0]] == []
    for example_id in made.example_ids:
        record = {"example_id": example_id, "decision": "accepted", "by": "import", "verdict_ids": "[]", "at": store.now()}
        store.insert(db, "decisions", record)
    hints = fit.about(db, house["id"], contents, Policy())
    assert [f.code for f in hints[0]] == ["off_topic"]
    assert "off_topic" not in [f.code for f in hints[1]]
    assert fit.about(db, house["id"], contents, Policy(topic_check=0, meaning_cosine=1)) == [[], []]


def test_what_is_kept_of_the_last_vectors_is_what_would_be_computed_and_never_more_than_fits() -> None:
    contents = [formats.canonical(row(number)) for number in range(40)]
    alone = np.concatenate([meaning.vectors([formats.text_of(content)]) for content in contents])
    for _ in range(2):
        assert np.array_equal(meanings.vectors_of(contents), alone)
    assert np.array_equal(meanings.vectors_of([*contents[:2], contents[0]]), alone[[0, 1, 0]])
    meanings._keep({f"other {number}": alone[0] for number in range(meanings.KEPT - 10)})
    assert len(meanings._vectors) == meanings.KEPT
    assert sum(vector is not None for vector in meanings.kept([formats.content_hash(content) for content in contents])) == 10
    assert np.array_equal(meanings.vectors_of(contents), alone)
    assert meanings.vectors_of([]).shape == (0, 256)


def test_the_likeness_to_the_nearest_three_leaves_oneself_out() -> None:
    vectors = np.linalg.qr(np.random.RandomState(1).standard_normal((256, 60)))[0].T.astype(np.float32)
    vectors[:30] += vectors[30:] / 3
    likeness = np.sort(vectors @ vectors.T, axis=1)
    assert np.allclose(fit._likeness(vectors, vectors), likeness[:, -3:].mean(axis=1))
    assert np.allclose(fit._likeness(vectors, vectors, leave_out=1), likeness[:, -4:-1].mean(axis=1))
