"""Offering, revising, withdrawing: nothing is spent before submitting, nothing half is kept."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from threading import Thread
from typing import Any

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import contributions, datasets, formats, reviews
from factory.intake.formats import Row
from factory.intake.policy import Policy

TOPICS = (
    *("apple", "bread", "cheese", "dill", "egg", "fennel", "garlic", "honey", "ice", "jam"),
    *("kale", "lemon", "mint", "nutmeg", "onion", "pepper", "quince", "rice", "sage", "thyme"),
)


def row(number: int, answer: str = "") -> list[dict[str, Any]]:
    """A good row; each number has words of its own."""
    topic = TOPICS[number % len(TOPICS)] + (str(number // len(TOPICS)) if number >= len(TOPICS) else "")
    said = answer or f"{topic.title()} keeps best in a cool {number}th drawer, wrapped in {topic}-coloured cloth."
    return [{"role": "user", "content": f"Where do I keep {topic}?"}, {"role": "assistant", "content": said}]


@dataclass(frozen=True)
class House:
    dataset_id: int
    curator: Person
    ada: Person
    bob: Person


@pytest.fixture
def house(db: Database) -> House:
    curator = people.create(db, "curator", roles=("curator", "reviewer"))
    policy = Policy(daily_base_examples=5, quorum=1)
    made = datasets.create(
        db, slug="kitchen", title="Kitchen", purpose="p", guidelines="g", licence="CC-BY-4.0", owner=curator, policy=policy
    )
    return House(made["id"], curator, people.create(db, "ada"), people.create(db, "bob", roles=("contributor", "reviewer")))


def submit(
    db: Database, house: House, rows: list[Any], *, person: Person | None = None, **changes: Any
) -> contributions.Submission:
    options = {"source": "form", "licence": "CC-BY-4.0", "attested": True, **changes}
    return contributions.submit(db, house.dataset_id, person=person or house.ada, rows=rows, **options)


def state_of(db: Database, example_id: int) -> str:
    return str(store.value(db, "select state from example_states where example_id = ?", example_id))


def everything_stored(db: Database) -> list[int]:
    return [
        store.value(db, f"select count(*) from {table}")
        for table in ("submissions", "examples", "findings", "signature_buckets")
    ]


def test_preflight_says_what_submit_will_do_and_writes_nothing(db: Database, house: House) -> None:
    rows = [
        row(0),
        row(1, "Too short."),
        row(0),
        row(2, "Ask ada@lovelace.org where she keeps hers."),
        [{"role": "user", "content": "x"}],
    ]
    judged = contributions.preflight(db, house.dataset_id, person=house.ada, rows=rows)
    assert everything_stored(db) == [0, 0, 0, 0]
    assert [[f.code for f in j.findings] for j in judged] == [[], ["too_short"], ["repeated_in_file"], ["email"], ["schema"]]
    assert submit(db, house, rows).judged == judged


def test_preflight_takes_rows_as_they_were_read_unreadable_ones_too(db: Database, house: House) -> None:
    rows = [Row(0, None, "Line 1 is not JSON.", "{"), Row(1, row(1), None, "…")]
    judged = contributions.preflight(db, house.dataset_id, person=house.ada, rows=rows)
    assert [(j.position, j.refused) for j in judged] == [(0, True), (1, False)]
    assert judged[0].findings[0].sentence == "Line 1 is not JSON."


def test_preflight_marks_good_rows_beyond_the_allowance(db: Database, house: House) -> None:
    rows = [row(i) for i in range(6)]
    rows.insert(2, row(9, "short"))
    judged = contributions.preflight(db, house.dataset_id, person=house.ada, rows=rows)
    assert [j.quota_ok for j in judged] == [True] * 6 + [False]


def test_more_than_todays_allowance_is_refused_and_nothing_is_written(db: Database, house: House) -> None:
    submit(db, house, [row(0)])
    before = everything_stored(db)
    with pytest.raises(Conflict, match=r"4 more today and these are 5 good rows"):
        submit(db, house, [row(i) for i in range(1, 6)])
    assert everything_stored(db) == before
    assert submit(db, house, [row(i) for i in range(1, 5)]).accepted_for_review == 4
    with pytest.raises(Conflict, match="The next place opens in 24 hours"):
        submit(db, house, [row(7)])


def test_refused_rows_spend_nothing_and_are_kept_with_their_reason(db: Database, house: House) -> None:
    made = submit(db, house, [row(i, "short") for i in range(8)])
    assert (made.accepted_for_review, made.refused, len(made.example_ids)) == (0, 8, 8)
    assert contributions.allowance(db, house.dataset_id, house.ada).used == 0
    shown = contributions.show(db, made.example_ids[0], person=house.ada)
    assert shown["state"] == "refused"
    assert shown["findings"][0]["code"] == "too_short"
    assert shown["findings"][0]["evidence"] == {"characters": 5, "limit": 20}


def test_what_a_stranger_can_pile_up_is_bounded(db: Database, house: House) -> None:
    made = submit(db, house, [row(i, "short") for i in range(contributions.KEPT_REFUSED + 50)])
    assert made.refused == contributions.KEPT_REFUSED + 50
    assert len(made.example_ids) == contributions.KEPT_REFUSED
    assert submit(db, house, [row(1, "word and others " * 50_000)]).example_ids == []
    with pytest.raises(Invalid, match="10,000"):
        submit(db, house, [row(1)] * 10_001)


def test_a_refused_row_with_personal_data_is_kept_without_it(db: Database, house: House) -> None:
    made = submit(db, house, [row(0, "My number is +49 30 901820 and my mail is ada@lovelace.org, call me.")])
    stored = "".join(
        str(value)
        for table in ("examples", "findings")
        for r in store.rows(db, f"select * from {table}")
        for value in r.values()
    )
    assert made.refused == 1
    assert "lovelace" not in stored
    assert "901820" not in stored
    assert contributions.mine(db, house.ada)[0]["sentences"]


def test_the_same_words_are_taken_in_once_whoever_sends_them(db: Database, house: House) -> None:
    first = submit(db, house, [row(0)]).example_ids[0]
    copies = [row(0), row(0, row(0)[1]["content"].upper()), row(0, row(0)[1]["content"].replace("cool", "cold"))]
    made = submit(db, house, copies, person=house.bob)
    assert [j.findings[0].code for j in made.judged] == ["exact_duplicate", "near_duplicate", "near_duplicate"]
    assert {j.findings[0].evidence["example_id"] for j in made.judged} == {first}
    clusters = store.rows(db, "select distinct cluster_id from examples where id <> ?", first)
    assert clusters == [{"cluster_id": first}]


def test_held_out_questions_cannot_be_submitted_nor_read_from_the_refusal(db: Database, house: House) -> None:
    datasets.seal_held_out(db, house.dataset_id, person=house.curator, rows=[row(3)])
    made = submit(
        db, house, [row(3), [{**row(3)[0]}, {"role": "assistant", "content": "Some other words, quite unlike it."}]]
    )
    assert [[f.code for f in j.findings] for j in made.judged] == [["held_out_overlap"]] * 2
    assert made.judged[1].findings[0].evidence == {"limit": Policy().held_out_jaccard}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"licence": "CC-BY-SA-4.0"}, "cannot go into"),
        ({"licence": " "}, "Say under which licence"),
        ({"attested": False}, "Confirm"),
        ({"source": "pigeon"}, "pigeon"),
        ({"rows": []}, "no rows"),
    ],
)
def test_a_submission_without_what_it_needs_is_refused(
    db: Database, house: House, changes: dict[str, Any], words: str
) -> None:
    rows = changes.pop("rows", [row(0)])
    with pytest.raises(Invalid, match=words):
        submit(db, house, rows, **changes)
    assert everything_stored(db) == [0, 0, 0, 0]


def test_a_compatible_licence_is_taken_and_remembered(db: Database, house: House) -> None:
    made = submit(db, house, [row(0)], licence="CC0-1.0", source="file", file_name="rows.csv", file_format="csv")
    shown = contributions.show(db, made.example_ids[0], person=house.ada)
    assert (shown["licence"], shown["source"], shown["file_name"]) == ("CC0-1.0", "file", "rows.csv")


def test_only_contributors_submit_and_only_to_what_is_there(db: Database, house: House) -> None:
    with pytest.raises(NotAllowed, match="contributor"):
        submit(db, house, [row(0)], person=people.create(db, "guest", roles=()))
    with pytest.raises(NotFound):
        contributions.submit(db, 99, person=house.ada, rows=[row(0)], source="form", licence="CC0-1.0", attested=True)


def test_html_and_scripts_are_taken_as_text(db: Database, house: House) -> None:
    answer = "Write <script>alert(1)</script> between the tags <b>and</b> it runs: '; drop table examples; --"
    example_id = submit(db, house, [row(0, answer)]).example_ids[0]
    assert contributions.show(db, example_id, person=house.ada)["messages"][1]["content"] == answer


def test_a_withdrawn_example_leaves_the_next_version_and_its_history_stays(db: Database, house: House) -> None:
    ids = submit(db, house, [row(0), row(1)]).example_ids
    for example_id in ids:
        reviews.decide(db, example_id, reviewer=house.bob, decision="accept")
    datasets.freeze(db, house.dataset_id, person=house.curator)
    contributions.withdraw(db, ids[0], person=house.ada, reason="a mistake")
    second = datasets.freeze(db, house.dataset_id, person=house.curator)
    assert [example_id for _, example_id, _ in datasets.version_content(db, second["id"])] == [ids[1]]
    shown = contributions.show(db, ids[0], person=house.ada)
    assert (shown["state"], shown["versions"], shown["withdrawal"]["reason"]) == ("withdrawn", [1], "a mistake")
    with pytest.raises(Conflict):
        contributions.withdraw(db, ids[0], person=house.ada, reason="again")


def test_only_the_author_or_a_curator_withdraws_and_says_why(db: Database, house: House) -> None:
    ids = submit(db, house, [row(0), row(1), row(2)]).example_ids
    with pytest.raises(NotAllowed):
        contributions.withdraw(db, ids[0], person=house.bob, reason="not mine")
    with pytest.raises(Invalid):
        contributions.withdraw(db, ids[0], person=house.ada, reason=" ")
    contributions.withdraw(db, ids[0], person=house.curator, reason="asked by letter")
    assert contributions.withdraw_all(db, house.ada, reason="leaving") == 2
    assert contributions.counts(db, house.ada) == {"withdrawn": 3}


def test_a_revision_supersedes_without_competing_with_its_original(db: Database, house: House) -> None:
    old = submit(db, house, [row(0)]).example_ids[0]
    reviews.decide(db, old, reviewer=house.bob, decision="return", reason="form")
    better = row(0, row(0)[1]["content"].replace("cool", "cold"))
    fresh = contributions.revise(db, old, person=house.ada, messages=better)
    assert (state_of(db, old), state_of(db, fresh)) == ("withdrawn", "waiting")
    shown = contributions.show(db, fresh, person=house.ada)
    assert (shown["supersedes"], shown["cluster_id"]) == (old, old)
    assert contributions.show(db, old, person=house.ada)["superseded_by"] == fresh
    assert contributions.allowance(db, house.dataset_id, house.ada).used == 2


def test_a_revision_that_does_not_pass_changes_nothing(db: Database, house: House) -> None:
    old = submit(db, house, [row(0)]).example_ids[0]
    before = everything_stored(db)
    with pytest.raises(Invalid, match="at least 20"):
        contributions.revise(db, old, person=house.ada, messages=row(0, "short"))
    with pytest.raises(Conflict, match="Nothing is changed"):
        contributions.revise(db, old, person=house.ada, messages=row(0))
    with pytest.raises(NotAllowed):
        contributions.revise(db, old, person=house.bob, messages=row(5))
    assert everything_stored(db) == before
    reviews.decide(db, old, reviewer=house.bob, decision="accept")
    with pytest.raises(Conflict, match="accepted"):
        contributions.revise(db, old, person=house.ada, messages=row(5))


def test_review_stays_blind_in_both_directions(db: Database, house: House) -> None:
    example_id = submit(db, house, [row(0)]).example_ids[0]
    assert contributions.show(db, example_id, person=house.bob)["author"] is None
    reviews.decide(db, example_id, reviewer=house.bob, decision="reject", reason="wrong", note="It melts.")
    shown = contributions.show(db, example_id, person=house.ada)
    assert shown["verdicts"] == [
        {"decision": "reject", "reason": "wrong", "note": "It melts.", "at": shown["verdicts"][0]["at"], "reviewer": None}
    ]
    assert contributions.show(db, example_id, person=house.bob)["author"] is None
    seen_by_curator = contributions.show(db, example_id, person=house.curator)
    assert (seen_by_curator["author"], seen_by_curator["verdicts"][0]["reviewer"]) == ("ada", "bob")
    with pytest.raises(NotAllowed):
        contributions.show(db, example_id, person=people.create(db, "eve"))


def test_one_finds_ones_own_by_state_newest_first(db: Database, house: House) -> None:
    ids = submit(db, house, [row(0), row(1), row(2, "short")]).example_ids
    assert [m["example_id"] for m in contributions.mine(db, house.ada)] == ids[::-1]
    assert [m["example_id"] for m in contributions.mine(db, house.ada, state="waiting", limit=1, offset=1)] == [ids[0]]
    assert contributions.mine(db, house.bob) == []
    assert contributions.counts(db, house.ada, house.dataset_id) == {"waiting": 2, "refused": 1}


def test_content_that_was_taken_in_cannot_be_rewritten(db: Database, house: House) -> None:
    submit(db, house, [row(0)])
    for statement in (
        "update examples set content = 'x'",
        "delete from examples",
        "update findings set code = 'x'",
        "delete from submissions",
    ):
        if statement.startswith("update findings"):
            submit(db, house, [row(1, "short")])
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)


def test_stored_hashes_are_those_of_the_content(db: Database, house: House) -> None:
    submit(db, house, [row(0, "Ünïcödé words that are long enough, \r\nwith lines.  "), row(1)])
    for record in store.rows(db, "select content, content_hash, bytes from examples"):
        assert formats.content_hash(record["content"]) == record["content_hash"]
        assert len(record["content"].encode()) == record["bytes"]
        assert formats.canonical(list(formats.messages(record["content"]))) == record["content"]


def test_two_submissions_at_the_same_moment_cannot_pass_the_allowance_together(
    db: Database, house: House, settings: Settings
) -> None:
    outcomes: list[str] = []

    def send(start: int) -> None:
        with store.connect(settings) as own:
            try:
                submit(own, house, [row(start + i) for i in range(4)])
                outcomes.append("taken in")
            except Conflict:
                outcomes.append("refused")

    threads = [Thread(target=send, args=(start,)) for start in (0, 5, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "refused", "taken in"]
    assert contributions.allowance(db, house.dataset_id, house.ada).left == 1


def test_the_same_row_from_two_people_at_the_same_moment_is_taken_in_once(
    db: Database, house: House, settings: Settings
) -> None:
    def send(person: Person) -> None:
        with store.connect(settings) as own:
            submit(own, house, [row(0)], person=person)

    threads = [Thread(target=send, args=(person,)) for person in (house.ada, house.bob)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert datasets.counts(db, house.dataset_id)["waiting"] == 1
    assert datasets.refusals(db, house.dataset_id)[0]["code"] == "exact_duplicate"


@pytest.mark.parametrize("moment", [1, 2])  # before the rows are held against others, and between that and the lock
def test_at_whatever_moment_anothers_copy_comes_one_of_the_two_is_refused(
    db: Database, house: House, settings: Settings, moment: int
) -> None:
    submit(db, house, [row(1)])  # nothing is loaded for the first time below
    asked = 0

    def clock() -> float:
        nonlocal asked
        if not db.conn.in_transaction:
            asked += 1
            if asked == moment:
                with store.clock(lambda: 1_000.0), store.connect(settings) as other:
                    assert not submit(other, house, [row(2)], person=house.bob).refused
        return 1_000.0

    with store.clock(clock):
        made = submit(db, house, [row(2), row(3)])
    assert asked >= moment
    assert [found.code for each in made.findings.values() for found in each if found.refuses] == ["exact_duplicate"]
    assert store.value(db, "select count(*) from examples where not refused_by_checks") == 3
