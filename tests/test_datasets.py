"""Datasets: opened with everything they need, held-out rows defended, versions that nobody can change unseen."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.intake import browsing, contributions, datasets, formats, merkle, reviews
from factory.intake.policy import Policy

TREES = ("ash", "beech", "cedar", "elm", "hazel", "larch", "maple", "oak", "pine", "rowan")


@pytest.fixture
def curator(db: Database) -> Person:
    return people.create(db, "curator", roles=("curator", "reviewer"))


@pytest.fixture
def dataset_id(db: Database, curator: Person) -> int:
    return int(opened(db, curator)["id"])


def opened(db: Database, owner: Person, slug: str = "trees", **changes: Any) -> dict[str, Any]:
    options = {"title": "Trees", "purpose": "To know trees.", "guidelines": "Be right.", "licence": "CC0-1.0", **changes}
    return datasets.create(db, slug=slug, owner=owner, policy=Policy(quorum=1, daily_base_examples=50), **options)


def row(tree: str) -> list[dict[str, Any]]:
    said = f"{tree.title()} wood is known for {tree}-like grain, and {tree} leaves tell it apart."
    return [{"role": "user", "content": f"How do I know {tree}?"}, {"role": "assistant", "content": said}]


def take_in(db: Database, dataset_id: int, curator: Person, trees: tuple[str, ...], name: str = "ada") -> list[int]:
    person = people.find(db, name) or people.create(db, name)
    rows = [row(tree) for tree in trees]
    made = contributions.submit(db, dataset_id, person=person, rows=rows, source="form", licence="CC0-1.0", attested=True)
    for example_id in made.example_ids:
        reviews.decide(db, example_id, reviewer=curator, decision="accept")
    return made.example_ids


def test_all_that_is_wrong_with_a_new_dataset_is_said_at_once(db: Database, curator: Person) -> None:
    with pytest.raises(Invalid) as caught:
        opened(db, curator, slug="No Spaces", title=" ", licence="mine")
    assert len(caught.value.problems) == 3
    with pytest.raises(Invalid, match="not a number"):
        opened(db, curator, slug="42")
    with pytest.raises(NotAllowed, match="curator"):
        opened(db, people.create(db, "ada"))


def test_a_short_name_is_taken_once(db: Database, curator: Person, dataset_id: int) -> None:
    with pytest.raises(Conflict, match="taken"):
        opened(db, curator)
    assert datasets.get(db, "trees")["id"] == datasets.get(db, dataset_id)["id"] == datasets.get(db, str(dataset_id))["id"]
    with pytest.raises(NotFound):
        datasets.get(db, "bushes")


def test_the_list_of_datasets_is_one_query_however_many_there_are(db: Database, curator: Person, dataset_id: int) -> None:
    def queries() -> int:
        seen: list[str] = []
        db.conn.set_trace_callback(seen.append)
        datasets.everything(db)
        db.conn.set_trace_callback(None)
        return sum(statement.lstrip().startswith("select") for statement in seen)

    before = queries()
    for number in range(5):
        opened(db, curator, slug=f"more-{number}")
    assert queries() == before == 1


def test_counts_say_what_became_of_every_row(db: Database, curator: Person, dataset_id: int) -> None:
    ids = take_in(db, dataset_id, curator, TREES[:3])
    take_in(db, dataset_id, curator, TREES[3:4], name="bob")
    contributions.withdraw(db, ids[0], person=people.get(db, "ada"), reason="wrong tree")
    rows = [row("oak"), row("ash"), row("beech")]
    contributions.submit(
        db, dataset_id, person=people.get(db, "bob"), rows=rows, source="form", licence="CC0-1.0", attested=True
    )
    found = datasets.get(db, dataset_id)
    told = {
        key: found[key] for key in ("accepted", "waiting", "refused", "withdrawn", "people", "versions", "held_out_rows")
    }
    assert told == {
        "accepted": 3,
        "waiting": 2,
        "refused": 1,
        "withdrawn": 1,
        "people": 2,
        "versions": 0,
        "held_out_rows": None,
    }
    counted = {"waiting": 2, "accepted": 3, "returned": 0, "rejected": 0, "refused": 1, "withdrawn": 1}
    assert datasets.counts(db, dataset_id) == counted
    assert datasets.refusals(db, dataset_id) == [
        {"code": "exact_duplicate", "examples": 1, "people": 1, "title": "already there, word for word"}
    ]
    assert [(day["accepted"], day["rejected"]) for day in datasets.acceptance_over_time(db, dataset_id)] == [(4, 0)]


def test_examples_are_found_by_state_and_words_and_name_no_author_before_acceptance(
    db: Database, curator: Person, dataset_id: int
) -> None:
    take_in(db, dataset_id, curator, TREES[:3])
    rows = [
        row("oak"),
        [{"role": "user", "content": "100% of what?"}, {"role": "assistant", "content": "Of all trees under_score here."}],
    ]
    contributions.submit(
        db, dataset_id, person=people.get(db, "ada"), rows=rows, source="form", licence="CC0-1.0", attested=True
    )
    assert [e["author"] for e in browsing.examples(db, dataset_id, person=curator)] == [None, None, "ada", "ada", "ada"]
    assert len(browsing.examples(db, dataset_id, person=curator, state="waiting")) == 2
    assert [e["example_id"] for e in browsing.examples(db, dataset_id, person=curator, search="CEDAR")] == [3]
    assert [e["example_id"] for e in browsing.examples(db, dataset_id, person=curator, search="100%")] == [5]
    assert [e["example_id"] for e in browsing.examples(db, dataset_id, person=curator, search="under_sc trees")] == [5]
    assert [e["example_id"] for e in browsing.examples(db, dataset_id, person=curator, limit=2, offset=1)] == [4, 3]
    assert browsing.examples(db, dataset_id, person=curator, search='" OR *) cedar') == []
    assert browsing.examples(db, dataset_id + 1, person=curator, search="cedar") == []
    how_many = [browsing.how_many(db, dataset_id, person=curator, state="accepted", search=words) for words in ("", "cedar")]
    assert how_many == [3, 1]
    assert browsing.how_many(db, dataset_id, person=people.get(db, "ada"), state="waiting") == 2


def test_rows_that_are_not_accepted_are_read_by_their_author_and_by_those_who_judge(
    db: Database, curator: Person, dataset_id: int
) -> None:
    ids = take_in(db, dataset_id, curator, TREES[:2])
    ada, stranger = people.get(db, "ada"), people.create(db, "stranger")
    judge = people.create(db, "judge", roles=("reviewer",))
    contributions.withdraw(db, ids[0], person=ada, reason="it was private")
    contributions.submit(db, dataset_id, person=ada, rows=[row("oak")], source="form", licence="CC0-1.0", attested=True)

    def seen(person: Person) -> list[str]:
        return sorted(e["state"] for e in browsing.examples(db, dataset_id, person=person))

    assert seen(stranger) == ["accepted"]
    assert seen(judge) == ["accepted", "waiting"]
    assert seen(ada) == seen(curator) == ["accepted", "waiting", "withdrawn"]


def test_a_version_is_what_is_accepted_in_order(db: Database, curator: Person, dataset_id: int) -> None:
    with pytest.raises(Invalid, match="Nothing is accepted"):
        datasets.freeze(db, dataset_id, person=curator)
    ids = take_in(db, dataset_id, curator, TREES[:4])
    version = datasets.freeze(db, dataset_id, person=curator, note="first")
    content = list(datasets.version_content(db, version["id"]))
    assert [(position, example_id) for position, example_id, _ in content] == list(enumerate(ids))
    assert version["root"] == merkle.merkle_root([formats.content_hash(text) for _, _, text in content])
    assert (version["number"], version["row_count"], version["slug"], version["note"]) == (1, 4, "trees", "first")
    with pytest.raises(Conflict, match="Nothing changed"):
        datasets.freeze(db, dataset_id, person=curator)
    take_in(db, dataset_id, curator, TREES[4:5])
    assert datasets.freeze(db, dataset_id, person=curator)["number"] == 2
    assert [v["number"] for v in datasets.versions(db, dataset_id)] == [2, 1]
    assert [text for *_, text in datasets.version_content(db, version["id"])] == [text for *_, text in content]


def test_only_the_owner_or_a_curator_freezes_and_sets_rules(db: Database, curator: Person, dataset_id: int) -> None:
    take_in(db, dataset_id, curator, TREES[:2])
    ada = people.get(db, "ada")
    for call in (
        lambda: datasets.freeze(db, dataset_id, person=ada),
        lambda: datasets.set_policy(db, dataset_id, Policy(quorum=1), person=ada),
        lambda: datasets.seal_held_out(db, dataset_id, person=ada, rows=[row("oak")]),
    ):
        with pytest.raises(NotAllowed):
            call()
    with pytest.raises(NotFound):
        datasets.freeze(db, 99, person=curator)


def test_held_out_rows_are_bound_to_the_version_frozen_after(db: Database, curator: Person, dataset_id: int) -> None:
    take_in(db, dataset_id, curator, TREES[:2])
    without = datasets.freeze(db, dataset_id, person=curator)
    sealed = datasets.seal_held_out(db, dataset_id, person=curator, rows=[row("oak"), row("pine")])
    with_it = datasets.freeze(db, dataset_id, person=curator)
    assert (without["held_out_set_id"], with_it["held_out_set_id"]) == (None, sealed["id"])
    assert with_it["held_out_root"] == sealed["root"]
    assert datasets.held_out_content(db, sealed["id"]) == [formats.canonical(row("oak")), formats.canonical(row("pine"))]
    assert datasets.get(db, dataset_id)["held_out_rows"] == 2


def test_rows_that_leaked_cannot_be_held_out(db: Database, curator: Person, dataset_id: int) -> None:
    ids = take_in(db, dataset_id, curator, TREES[:3])
    rows = [row("oak"), row("ash"), row("oak"), [{"role": "user", "content": "x"}], row("beech")]
    with pytest.raises(Invalid) as caught:
        datasets.seal_held_out(db, dataset_id, person=curator, rows=rows)
    assert [p.split()[1].rstrip(":") for p in caught.value.problems] == ["3", "4", "2", "5"]
    assert f"example {ids[1]}" in caught.value.problems[-1]
    assert datasets.held_out(db, dataset_id) is None
    with pytest.raises(Invalid):
        datasets.seal_held_out(db, dataset_id, person=curator, rows=[])


def test_frozen_rows_refuse_change(db: Database, curator: Person, dataset_id: int) -> None:
    take_in(db, dataset_id, curator, TREES[:3])
    datasets.seal_held_out(db, dataset_id, person=curator, rows=[row("oak")])
    datasets.freeze(db, dataset_id, person=curator)
    for table in ("dataset_versions", "version_rows", "held_out_sets", "held_out_rows", "decisions", "policies"):
        for statement in (f"update {table} set rowid = rowid", f"delete from {table}"):
            if table in ("version_rows", "held_out_rows"):
                statement = statement.replace("set rowid = rowid", "set position = position + 100")
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)


@pytest.mark.parametrize(
    ("table", "statement", "words"),
    [
        (
            "examples",
            "update examples set content = replace(content, 'Cedar', 'Ceder') where id = 3",
            "Row 2 of trees version 1 (example 3)",
        ),
        (
            "examples",
            "update examples set content_hash = 'ab' where id = 2",
            "Row 1 of trees version 1 (example 2) has another hash",
        ),
        (
            "version_rows",
            "update version_rows set content_hash = 'zz' where position = 1",
            "Row 1 of trees version 1 (example 2)",
        ),
        ("version_rows", "delete from version_rows where position = 0", "Row 0 of trees version 1 is missing"),
        ("version_rows", "delete from version_rows where position = 3", "do not give its root"),
        ("dataset_versions", "update dataset_versions set root = 'ab'", "do not give its root"),
        ("held_out_rows", "update held_out_rows set content = 'x' where position = 1", "Row 1 of the held-out set"),
    ],
)
def test_verification_names_the_first_row_that_was_tampered_with(
    db: Database, curator: Person, dataset_id: int, table: str, statement: str, words: str
) -> None:
    take_in(db, dataset_id, curator, TREES[:4])
    datasets.seal_held_out(db, dataset_id, person=curator, rows=[row("oak"), row("pine")])
    version = datasets.freeze(db, dataset_id, person=curator)
    datasets.verify_version(db, version["id"])
    with store.writing(db):
        for verb in ("update", "delete"):
            db.execute(f"drop trigger {table}_refuses_{verb}")
        assert db.execute(statement).rowcount == 1
    with pytest.raises(Invalid) as caught:
        datasets.verify_version(db, version["id"])
    assert words in str(caught.value)
