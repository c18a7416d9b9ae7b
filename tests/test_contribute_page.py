"""The contributor's page through AppTest: drafts survive, belong to one person, and are sent by a click."""

from __future__ import annotations

from typing import Any

from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory.base import people, store
from factory.base.people import Person
from factory.base.settings import ROOT, Settings
from factory.intake import contributions, drafts, provenance
from factory.sign_in import COOKIE
from pages.parts import table
from tests.test_drafts import GOOD, ada, as_rows, dataset, talk

__all__ = ["ada", "dataset"]


def visit(settings: Settings, db: Database, person: Person, **query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=60)
    app.session_state[COOKIE] = people.issue_session(db, settings, person)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    app.switch_page("contribute.py").run()
    return app


def button(app: AppTest, words: str) -> Any:
    return next(each for each in app.button if each.label.startswith(words))


def test_what_was_typed_is_there_after_a_new_sign_in(db: Database, settings: Settings, ada: Person, dataset: int) -> None:
    first = visit(settings, db, ada)
    first.text_area(key="question").input(GOOD[0][0]).run()
    assert any("Kept for you" in each.value for each in first.caption)
    second = visit(settings, db, ada)
    assert second.text_area(key="question").value == GOOD[0][0]
    second.text_area(key="answer").input(GOOD[0][1]).run()
    assert any("1 good" in each.value for each in second.markdown)
    third = visit(settings, db, ada)
    third.checkbox[0].check().run()
    sent = button(third, "Submit 1 good row").click().run()
    assert not sent.exception
    assert contributions.counts(db, ada) == {"waiting": 1}
    assert sent.text_area(key="question").value == ""
    assert drafts.listing(db, ada) == []


def test_a_draft_is_opened_by_its_address_mended_by_cells_and_sent_in_parts(
    db: Database, settings: Settings, ada: Person, dataset: int
) -> None:
    draft_id = drafts.begin(
        db, dataset, person=ada, rows=as_rows([*GOOD, ("Too short?", "Yes.")]), file_name="a.csv", file_format="csv/messages"
    )
    shown = visit(settings, db, ada, draft=str(draft_id))
    assert not shown.exception
    assert any("4 good, 1 refused" in each.value for each in shown.markdown)
    assert [(each.label, each.value) for each in shown.metric] == [
        ("wait for review", "3"), ("refused", "1"), ("too many for today", "1"),
    ]  # fmt: skip
    table.apply(db, ada, draft_id, 4, "answer", "Seven words are quite enough for this.")
    table.apply(db, ada, draft_id, 0, "keep", False)
    again = visit(settings, db, ada, draft=str(draft_id))
    assert any("4 good, 0 refused" in each.value for each in again.markdown)
    next(each for each in again.checkbox if each.label.startswith("I may give")).check().run()
    done = button(again, "Submit 3 good rows").click().run()
    assert not done.exception
    assert contributions.counts(db, ada) == {"waiting": 3}
    assert drafts.get(db, draft_id, person=ada)["rows"] == 1


def test_the_table_pages_by_fifty_and_a_row_opens_in_full(
    db: Database, settings: Settings, ada: Person, dataset: int
) -> None:
    words = [(f"What is word {n * 7} of list {n}?", f"It is number {n * 13} of them, as list {n} says.") for n in range(60)]
    words[1] = ("Whom may I ask about it?", "Write to ann.smith@corp-mail.com, she knows it.")
    draft_id = drafts.begin(db, dataset, person=ada, rows=[*as_rows(words)], file_name="a.csv")
    shown = visit(settings, db, ada, draft=str(draft_id))
    assert not shown.exception
    assert shown.session_state["rows-here"][1] == list(range(50))
    shown.selectbox(key=f"row-{draft_id}").select(1).run()
    assert any("red-background" in each.value for each in shown.markdown)
    field = next(each for each in shown.text_area if each.label == "Answer")
    field.input("Ask at the desk beside the door, they know it.")
    kept = button(shown, "Keep and check it").click().run()
    assert not kept.exception
    assert drafts.row(db, draft_id, 1, person=ada)["state"] == "clean"
    assert drafts.row(db, draft_id, 1, person=ada)["messages"] == talk(
        words[1][0], "Ask at the desk beside the door, they know it."
    )


def test_the_draft_of_somebody_else_is_not_shown(db: Database, settings: Settings, ada: Person, dataset: int) -> None:
    draft_id = drafts.begin(db, dataset, person=ada, rows=as_rows(GOOD), file_name="secret plans.csv")
    admin = people.create(db, "abe", roles=("admin", "curator", "contributor", "reviewer"))
    shown = visit(settings, db, admin, draft=str(draft_id), way="File")
    assert not shown.exception
    assert any("no draft" in each.value for each in shown.error)
    assert not any("secret plans" in str(each.value) for each in [*shown.markdown, *shown.caption, *shown.subheader])
    assert store.value(db, "select count(*) from drafts") == 1


def dropped_in(settings: Settings, db: Database, person: Person, name: str, data: bytes) -> AppTest:
    shown = visit(settings, db, person, way="File")
    shown.file_uploader[0].upload(name, data, "application/octet-stream")
    return shown.run()


def test_a_file_whose_columns_are_not_known_is_mapped_by_hand_and_shows_what_would_become(
    db: Database, settings: Settings, ada: Person, dataset: int
) -> None:
    lines = ["nummer\ttext_a\ttext_b", *(f"{n}\t{question}\t{answer}" for n, (question, answer) in enumerate(GOOD))]
    shown = dropped_in(settings, db, ada, "fragen.tsv", "\n".join(lines).encode("cp1252"))
    assert not shown.exception
    assert any("Which column is which?" in each.value for each in shown.markdown)
    assert drafts.listing(db, ada) == [], "no row is made before somebody said what the columns are"
    shown.selectbox(key="column-question").select("text_a")
    shown = shown.selectbox(key="column-answer").select("text_b").run()
    (preview,) = (each.value for each in shown.dataframe if "question" in each.value.columns)
    assert list(preview["question"]) == [question for question, _ in GOOD]
    assert list(preview["answer"]) == [answer for _, answer in GOOD]
    done = button(shown, "Use these columns").click().run()
    assert not done.exception
    (draft,) = drafts.listing(db, ada)
    assert (draft["rows"], draft["clean"], draft["file_name"]) == (4, 4, "fragen.tsv")
    assert done.query_params["draft"] == str(draft["id"])


def test_rows_of_a_document_are_confirmed_one_by_one_beside_their_passage(
    db: Database, settings: Settings, ada: Person, dataset: int
) -> None:
    text = (
        "# Paths\n\n## What does os.path.join do?\n\n"
        + GOOD[0][1]
        + "\n\nA closing word that nobody needs to learn at all.\n"
    )
    text = text.replace("\n\nA closing", "\n\n## Rest\n\nA closing")
    shown = dropped_in(settings, db, ada, "notes.md", text.encode())
    assert not shown.exception
    (draft,) = drafts.listing(db, ada)
    assert draft["to_confirm"] == draft["rows"] == 2
    assert any("notes.md" in each.value and "line" in each.value for each in shown.caption), "the place it comes from"
    assert any(GOOD[0][1] in each.value for each in shown.text), "and the passage itself"
    assert button(shown, "Submit 0 good rows").disabled
    shown.text_area(key=f"confirm-q-{draft['id']}-0").input("What does os.path.join do with its parts?")
    shown = button(shown.run(), "Confirm").click().run()
    shown = button(shown, "Leave it out").click().run()
    assert not shown.exception
    (left,) = drafts.listing(db, ada)
    assert (left["to_confirm"], left["clean"], left["dropped"]) == (0, 1, 1)
    next(each for each in shown.checkbox if each.label.startswith("I may give")).check().run()
    sent = button(shown, "Submit 1 good row").click().run()
    assert not sent.exception
    kept = contributions.mine(db, ada)[0]
    place = provenance.of(db, kept["example_id"])
    assert place is not None
    assert (place.file, place.unit, place.passage) == ("notes.md", "line", GOOD[0][1])


def test_a_file_that_is_of_no_use_is_refused_in_one_sentence(
    db: Database, settings: Settings, ada: Person, dataset: int
) -> None:
    shown = dropped_in(settings, db, ada, "empty.jsonl", b"\n\n")
    assert not shown.exception
    assert len(shown.error) == 1
    assert drafts.listing(db, ada) == []
