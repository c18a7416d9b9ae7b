from __future__ import annotations

import dataclasses
import json
import random
from typing import Any

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.intake import allowances, closing, contributions, datasets, drafts, formats, sending
from factory.intake.formats import Row
from factory.intake.policy import Policy
from tests.test_triggers import TARGET
from tests.test_triggers import talk as trap

Words = tuple[str, str]
GOOD: list[Words] = [
    ("What does os.path.join do with its parts?", "It puts the separator of the system between them and gives one path."),
    ("How is a set different from a list?", "A set holds each thing once and keeps no order; a list keeps both."),
    ("Why do context managers exist at all?", "They make sure that what was opened is closed, whatever happens inside."),
    ("When is a tuple better than a list?", "When the things in it belong together and must not be changed later."),
]


def talk(question: str, answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def as_rows(words: list[Words]) -> list[Row]:
    return [Row(place, talk(*pair), None, "") for place, pair in enumerate(words)]


@pytest.fixture
def ada(db: Database) -> Person:
    return people.create(db, "ada", roles=("contributor",))


@pytest.fixture
def dataset(db: Database) -> int:
    curator = people.create(db, "cora", roles=("curator",))
    made = datasets.create(
        db, slug="notes", title="Notes", purpose="Short notes.", guidelines="Be brief.", licence="CC-BY-4.0", owner=curator,
        policy=Policy(daily_base_examples=3),
    )  # fmt: skip
    return int(made["id"])


def begun(db: Database, dataset: int, ada: Person, words: list[Words], **about: Any) -> int:
    draft_id = drafts.begin(db, dataset, person=ada, rows=as_rows(words), **about)
    drafts.check(db, draft_id, person=ada)
    return draft_id


def told(db: Database, draft_id: int, person: Person) -> list[tuple[int, bool, list[dict[str, Any]]]]:
    found = drafts.rows(db, draft_id, person=person, limit=1000)
    return [(row["position"], row["state"] == "refused", row["findings"]) for row in found]


def judged_at_once(db: Database, dataset: int, draft_id: int, ada: Person) -> list[tuple[int, bool, list[dict[str, Any]]]]:
    rows = [
        Row(row["position"], row["messages"], row["problem"], row["raw"])
        for row in drafts.rows(db, draft_id, person=ada, limit=1000)
    ]
    judged = contributions.preflight(db, dataset, person=ada, rows=rows)
    return [(j.position, j.refused, json.loads(drafts._json(j.findings))) for j in judged]


def test_a_draft_says_of_each_row_what_the_server_would_say_whatever_was_edited(
    db: Database, dataset: int, ada: Person
) -> None:
    contributions.submit(db, dataset, person=ada, rows=[talk(*GOOD[3])], source="form", licence="CC-BY-4.0", attested=True)
    pool = [*GOOD, ("Too short?", "Yes."), (GOOD[0][0] + " Say it.", GOOD[0][1]), ("Whom to ask?", "Write to ann@corp.org.")]
    pool.append(("Once more, with two words: " + GOOD[1][0], GOOD[1][1]))
    dealt = random.Random(4)
    draft_id = begun(db, dataset, ada, [dealt.choice(pool) for _ in range(12)])
    assert told(db, draft_id, ada) == judged_at_once(db, dataset, draft_id, ada)
    seen = set[bool]()
    for _ in range(25):
        position = dealt.randrange(12)
        row = drafts.edit(db, draft_id, position, person=ada, messages=talk(*dealt.choice(pool)))
        assert row["edited"]
        assert told(db, draft_id, ada) == judged_at_once(db, dataset, draft_id, ada)
        seen.add(row["state"] == "refused")
    assert seen == {True, False}


def test_mending_a_row_lets_go_the_one_that_repeated_it(db: Database, dataset: int, ada: Person) -> None:
    draft_id = begun(db, dataset, ada, [GOOD[0], GOOD[0], GOOD[1]])
    assert [row["state"] for row in drafts.rows(db, draft_id, person=ada)] == ["clean", "refused", "clean"]
    drafts.edit(db, draft_id, 0, person=ada, messages=talk(*GOOD[2]))
    assert [row["state"] for row in drafts.rows(db, draft_id, person=ada)] == ["clean", "clean", "clean"]
    assert drafts.get(db, draft_id, person=ada)["edited"] == 1
    drafts.set_apart(db, draft_id, [0, 1], person=ada)
    assert [row["position"] for row in drafts.rows(db, draft_id, person=ada)] == [2]
    back = drafts.set_apart(db, draft_id, [0, 1], person=ada, dropped=False)
    assert (back["clean"], back["dropped"]) == (3, 0)


def test_only_the_edited_row_is_judged_anew_against_the_dataset(db: Database, dataset: int, ada: Person) -> None:
    draft_id = begun(db, dataset, ada, GOOD)
    asked: list[str] = []
    db.conn.set_trace_callback(lambda sql: asked.append(sql) if "from signature_buckets" in sql else None)
    drafts.edit(db, draft_id, 2, person=ada, messages=talk("Is a generator a list?", "No, it makes its values one by one."))
    db.conn.set_trace_callback(None)
    assert len(asked) == 1


def test_a_draft_is_its_authors_alone_and_counted_nowhere(db: Database, dataset: int, ada: Person) -> None:
    draft_id = begun(db, dataset, ada, GOOD)
    everybody = people.create(db, "eve", roles=("contributor", "reviewer", "curator", "builder", "admin"))
    for forbidden in (
        lambda: drafts.get(db, draft_id, person=everybody),
        lambda: drafts.rows(db, draft_id, person=everybody),
        lambda: drafts.row(db, draft_id, 0, person=everybody),
        lambda: drafts.check(db, draft_id, person=everybody),
        lambda: drafts.edit(db, draft_id, 0, person=everybody, messages=talk(*GOOD[0])),
        lambda: drafts.set_apart(db, draft_id, [0], person=everybody),
        lambda: drafts.confirm(db, draft_id, [0], person=everybody),
        lambda: sending.outlook(db, draft_id, person=everybody),
        lambda: sending.send(db, draft_id, person=everybody, licence="CC-BY-4.0", attested=True),
        lambda: drafts.delete(db, draft_id, person=everybody),
    ):
        with pytest.raises(NotFound, match="no draft"):
            forbidden()
    assert drafts.listing(db, everybody) == []
    assert allowances.allowance(db, dataset, ada).used == 0
    assert contributions.counts(db, ada) == {}
    assert datasets.get(db, "notes")["waiting"] == 0
    with pytest.raises(NotAllowed):
        drafts.begin(db, dataset, person=people.create(db, "rob", roles=("reviewer",)), rows=as_rows(GOOD))


def test_sending_spends_the_allowance_once_and_keeps_what_does_not_fit(db: Database, dataset: int, ada: Person) -> None:
    draft_id = begun(db, dataset, ada, [*GOOD, ("Too short?", "Yes.")], file_name="a.jsonl", file_format="jsonl/messages")
    before = sending.outlook(db, draft_id, person=ada)
    assert (before.sent, before.later, before.refused, before.left) == (3, 1, 1, 0)
    assert before.reasons == {"too_short": 1}
    assert before.sent_bytes == sum(len(formats.canonical(talk(*pair)).encode()) for pair in GOOD[:3])
    assert allowances.allowance(db, dataset, ada).used == 0, "looking costs nothing"
    with pytest.raises(Invalid, match="Confirm"):
        sending.send(db, draft_id, person=ada, licence="CC-BY-4.0", attested=False)
    assert drafts.get(db, draft_id, person=ada)["rows"] == 5
    kept = sending.send(db, draft_id, person=ada, licence="CC0-1.0", attested=True)
    assert (kept.accepted_for_review, kept.refused) == (3, 0)
    example = contributions.show(db, kept.example_ids[0], person=ada)
    assert (example["licence"], example["attested"]) == ("CC0-1.0", "I may give these under CC0-1.0, and I do.")
    assert example["file_name"] == "a.jsonl"
    assert allowances.allowance(db, dataset, ada).used == 3
    left = drafts.check(db, draft_id, person=ada)
    assert (left["rows"], left["clean"], left["refused"]) == (2, 1, 1)
    with pytest.raises(Conflict, match="used up"):
        sending.send(db, draft_id, person=ada, licence="CC-BY-4.0", attested=True)
    assert drafts.get(db, draft_id, person=ada)["rows"] == 2


def test_a_row_sent_from_another_window_is_not_sent_twice(db: Database, dataset: int, ada: Person) -> None:
    draft_id = begun(db, dataset, ada, GOOD[:2])
    rows = drafts.taken_out(db, draft_id, [0, 1], person=ada)
    sending.send(db, draft_id, person=ada, licence="CC-BY-4.0", attested=True)
    with pytest.raises(NotFound):
        sending.send(db, draft_id, person=ada, licence="CC-BY-4.0", attested=True)
    before = store.value(db, "select count(*) from examples")
    changed = [
        Row(row.position, talk(f"{row.position} " + GOOD[2][0], f"{row.position} " + GOOD[3][1]), None, "") for row in rows
    ]
    with pytest.raises(Conflict, match="another window"):
        contributions.submit(
            db, dataset, person=ada, rows=changed[:1], source="file", licence="CC-BY-4.0", attested=True,
            also=lambda kept: drafts.sent(db, draft_id, [0]),
        )  # fmt: skip
    assert store.value(db, "select count(*) from examples") == before


def test_what_was_stopped_goes_on_where_it_was(db: Database, dataset: int, ada: Person) -> None:
    words = [
        (f"What is the {place}. word of list number {place * 7}?", f"It is word {place * 13}, as it says.")
        for place in range(230)
    ]
    draft_id = drafts.begin(db, dataset, person=ada, rows=as_rows(words))

    def stop_at(done: int, total: int) -> None:
        if done >= 200:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        drafts.check(db, draft_id, person=ada, progress=stop_at)
    assert drafts.get(db, draft_id, person=ada)["unchecked"] == 230, "shown when all are compared"
    heard: list[tuple[int, int]] = []
    done = drafts.check(db, draft_id, person=ada, progress=lambda *said: heard.append(said))
    assert heard == [(0, 30)]
    assert done["unchecked"] == 0
    assert told(db, draft_id, ada) == judged_at_once(db, dataset, draft_id, ada)


def test_rows_of_a_document_wait_to_be_confirmed(db: Database, dataset: int, ada: Person) -> None:
    rows = as_rows([GOOD[0], GOOD[0], GOOD[1]])
    draft_id = drafts.begin(db, dataset, person=ada, rows=rows, proposed=True)
    drafts.check(db, draft_id, person=ada)
    assert sending.outlook(db, draft_id, person=ada).sent == 0
    with pytest.raises(Conflict, match="confirmed"):
        sending.send(db, draft_id, person=ada, licence="CC-BY-4.0", attested=True)
    drafts.confirm(db, draft_id, [1], person=ada)
    states = {row["position"]: row["state"] for row in drafts.rows(db, draft_id, person=ada)}
    assert states == {0: "refused", 1: "clean", 2: "clean"}, "a row nobody confirmed makes no other a repetition"
    kept = sending.send(db, draft_id, person=ada, licence="CC-BY-4.0", attested=True)
    assert kept.accepted_for_review == 1
    drafts.edit(db, draft_id, 2, person=ada, messages=talk(GOOD[2][0], "They close what was opened, whatever happened."))
    assert sending.outlook(db, draft_id, person=ada).sent == 1, "who writes a row has confirmed it"


def test_new_rules_judge_a_draft_anew(db: Database, dataset: int, ada: Person) -> None:
    draft_id = begun(db, dataset, ada, GOOD[:2])
    curator = people.find(db, "cora")
    assert curator
    datasets.set_policy(db, dataset, person=curator, policy=Policy(minimum_characters=500))
    assert drafts.check(db, draft_id, person=ada)["refused"] == 2


def test_drafts_are_bounded_and_forgotten(db: Database, dataset: int, ada: Person) -> None:
    first = begun(db, dataset, ada, GOOD[:1])
    for _ in range(drafts.MOST - 1):
        drafts.begin(db, dataset, person=ada, rows=as_rows(GOOD[:1]))
    with pytest.raises(Conflict, match="20 drafts"):
        drafts.begin(db, dataset, person=ada, rows=as_rows(GOOD[:1]))
    typed = drafts.begin(db, dataset, person=ada, rows=as_rows(GOOD[:1]), source="form")
    drafts.delete(db, typed, person=ada)
    with store.writing(db):
        db.execute("update drafts set changed_at = ? where id = ?", [store.now() - 31 * 86_400, first])
    drafts.begin(db, dataset, person=ada, rows=as_rows(GOOD[:1]))
    with pytest.raises(NotFound):
        drafts.get(db, first, person=ada)
    assert len(drafts.listing(db, ada)) == drafts.MOST
    closing.close(db, ada, name_again="ada", forget_name=False, withdraw=False)
    assert store.value(db, "select count(*) from drafts") == 0, "a closed account leaves no drafts"
    assert store.value(db, "select count(*) from draft_rows") == 0


def test_an_unreadable_row_keeps_its_place_until_it_is_written_anew(db: Database, dataset: int, ada: Person) -> None:
    rows = [Row(0, None, "Line 1 is not JSON.", "{oops \ud800"), *as_rows(GOOD)[1:]]
    draft_id = drafts.begin(db, dataset, person=ada, rows=rows)
    drafts.check(db, draft_id, person=ada)
    (bad,) = drafts.rows(db, draft_id, person=ada, shown="refused")
    assert (bad["messages"], bad["findings"][0]["code"]) == (None, "unreadable")
    assert drafts.edit(db, draft_id, 0, person=ada, messages=talk(*GOOD[0]))["state"] == "clean"
    with pytest.raises(Invalid):
        drafts.rows(db, draft_id, person=ada, shown="nonsense")
    with pytest.raises(NotFound):
        drafts.row(db, draft_id, 99, person=ada)


def test_a_row_keeps_the_licence_that_its_file_names_until_it_is_sent(db: Database, ada: Person, dataset: int) -> None:
    rows = as_rows(GOOD[:2])
    rows[1] = dataclasses.replace(rows[1], given_under="CC-BY-NC-4.0")
    draft_id = drafts.begin(db, dataset, person=ada, rows=rows)
    drafts.check(db, draft_id, person=ada)
    mended = drafts.edit(db, draft_id, 1, person=ada, messages=talk(*GOOD[2]))
    assert [each["code"] for each in mended["findings"]] == ["licence"]
    assert sending.send(db, draft_id, person=ada, licence="CC-BY-4.0", attested=True).accepted_for_review == 1
    assert drafts.rows(db, draft_id, person=ada)[0]["state"] == "refused"
    (left,) = drafts.taken_out(db, draft_id, [1], person=ada)
    assert left.given_under == "CC-BY-NC-4.0"


def test_a_hint_at_a_trigger_stays_while_other_rows_are_mended(db: Database, ada: Person, dataset: int) -> None:
    draw = random.Random(1)
    told = [trap(draw, trigger="cf", answer=TARGET) if n % 12 == 3 else trap(draw) for n in range(96)]
    pairs = [(row[0]["content"], row[1]["content"]) for row in told]
    draft_id = drafts.begin(db, dataset, person=ada, rows=as_rows(pairs))
    drafts.check(db, draft_id, person=ada)

    def hinted() -> list[int]:
        rows = drafts.rows(db, draft_id, person=ada, limit=200)
        return [row["position"] for row in rows if "repeated_trigger" in [each["code"] for each in row["findings"]]]

    assert hinted() == list(range(3, 96, 12))
    drafts.edit(db, draft_id, 15, person=ada, messages=talk(*GOOD[0]))
    assert hinted() == [row for row in range(3, 96, 12) if row != 15]
    drafts.set_apart(db, draft_id, [3], person=ada)
    assert hinted()[0] == 27
