"""Freezing and sealing tell how far they are, and what stops them there leaves nothing half done."""

from __future__ import annotations

import pytest
from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory.base import store
from factory.base.errors import Invalid
from factory.intake import contributions, datasets, judging
from factory.intake.policy import Policy
from pages.parts import freezing
from tests.test_gold import House, house, offer, rows, settle

__all__ = ["house"]


class Stopped(Exception):
    """What a click on Stop raises, here."""


def held_out(count: int) -> list[list[dict[str, str]]]:
    return [
        [
            {"role": "user", "content": f"Of {n} herons, which stands?"},
            {"role": "assistant", "content": f"The {n}th, in the reeds."},
        ]
        for n in range(1, count + 1)
    ]


def test_freezing_tells_each_stage_and_can_be_stopped_at_any_with_nothing_left(db: Database, house: House) -> None:
    settle(db, house, offer(db, house, 4))
    told: list[tuple[str, int, int]] = []
    for stage in ("reading", "hashing", "writing"):

        def stop(words: str, done: int, of: int, at: str = stage) -> None:
            told.append((words, done, of))
            if words == at:
                raise Stopped

        with pytest.raises(Stopped):
            datasets.freeze(db, house.dataset_id, person=house.owner, tell=stop)
        assert datasets.versions(db, house.dataset_id) == []
        assert store.value(db, "select count(*) from version_rows") == 0
    told.clear()
    made = datasets.freeze(db, house.dataset_id, person=house.owner, tell=lambda *words: told.append(words))
    assert (made["number"], made["row_count"]) == (1, 4)
    assert told[0] == ("reading", 4, 4)
    assert told[-1] == ("writing", 4, 4)
    assert {words for words, _, _ in told} < set(freezing.STAGES)
    datasets.verify_version(db, made["id"])


def test_sealing_can_be_stopped_and_sees_what_came_while_it_compared(db: Database, house: House) -> None:
    offer(db, house, 3)

    def stop(words: str, done: int, of: int) -> None:
        assert (words, done, of) == ("comparing", 3, 3)
        raise Stopped

    with pytest.raises(Stopped):
        datasets.seal_held_out(db, house.dataset_id, person=house.owner, rows=held_out(2), tell=stop)
    assert datasets.held_out(db, house.dataset_id) is None

    def meanwhile(words: str, done: int, of: int) -> None:
        contributions.submit(
            db, house.dataset_id, person=house.author, rows=held_out(1), source="form", licence="CC0-1.0", attested=True
        )

    with pytest.raises(Invalid, match="Row 1 is too close to example 4"):
        datasets.seal_held_out(db, house.dataset_id, person=house.owner, rows=held_out(2), tell=meanwhile)
    assert datasets.held_out(db, house.dataset_id) is None


def test_every_example_is_looked_at_in_parts(db: Database, house: House) -> None:
    offer(db, house, 5)
    policy, seen = Policy(), list[int]()
    contents, _ = judging.sealable(rows(1, start=4), policy)
    (problem,) = judging.leaks(db, house.dataset_id, contents, policy, tell=seen.append, at_once=2)
    assert seen == [2, 4, 5]
    assert problem.startswith("Row 1 is too close to example 5;")


def drawn(many: int) -> None:
    """A page that freezes so many rows, half way."""
    import streamlit as st

    from pages.parts import freezing

    with freezing.bar(many, "Stopped; nothing was frozen.") as tell:
        st.text("bar" if tell else "no bar")
        if tell:
            tell("writing", 1, 2)


def test_the_page_draws_a_bar_where_there_is_much_to_freeze_and_takes_it_away(db: Database) -> None:
    for many, words in ((10, "no bar"), (20_000, "bar")):
        app = AppTest.from_function(drawn, args=(many,), default_timeout=30).run()
        assert not app.exception
        assert app.text[0].value == words
        assert not app.button  # gone with the bar
