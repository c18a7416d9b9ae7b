"""The contributor's page through AppTest: drafts survive, belong to one person, and are sent by a click."""

from __future__ import annotations

from typing import Any

import pytest
from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory.base import people, store
from factory.base.people import Person
from factory.base.settings import ROOT, Settings
from factory.intake import contributions, datasets, drafts
from factory.intake.policy import Policy
from factory.sign_in import COOKIE
from pages.parts import table
from tests.test_drafts import GOOD, as_rows, talk


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
