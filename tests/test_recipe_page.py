"""A recipe's file in the wizard: the data it names is chosen there, or what is not here is said."""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory.base import people, store
from factory.base.settings import ROOT, Settings
from factory.intake import contributions, datasets
from factory.sign_in import COOKIE
from tests import trained


def test_a_loaded_recipe_brings_its_data_or_says_that_it_is_not_here(
    db: Database, settings: Settings, tiny_model: Path
) -> None:
    trained.home_model(settings, tiny_model)
    builder, ada, first = trained.frozen_version(db)
    example_id = store.value(db, "select id from examples where person_id = ? limit 1", ada.id)
    contributions.withdraw(db, example_id, person=ada, reason="Not mine.")
    second = datasets.freeze(db, first["dataset_id"], person=builder)
    shown = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
    shown.session_state[COOKIE] = people.issue_session(db, settings, builder)
    shown.run()
    shown = shown.switch_page("train.py").run()
    for said, chosen, errors in (
        ("questions@1", first, 0),
        ("questions@2", second, 0),
        ("nowhere@1", second, 1),
        ("[questions@1, 'questions@2:0.5']", first, 0),
    ):
        shown = shown.text_area(key="yaml-in").set_value(f"dataset: {said}\nrank: 8\n").run()
        shown = next(b for b in shown.button if b.label == "Use it").click().run()
        assert not shown.exception
        assert len(shown.error) == errors, said
        assert shown.selectbox(key="version").value == str(chosen["id"])
    assert shown.number_input(key=f"weight-{second['id']}").value == 0.5
