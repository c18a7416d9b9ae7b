"""A rank is explained by numbers that give it when they are put together again, at every door."""

from __future__ import annotations

import json

import pytest
from sqlite_utils import Database

from factory.__main__ import main
from factory.base import store
from factory.base.errors import NotFound
from factory.credit import leaderboards, ranks
from factory.intake import standing
from tests import credit_rows as rows

DAY = 24 * 3600.0


def contribute(db: Database, dataset_id: int, name: str, decisions: list[tuple[str, float]]) -> int:
    """A person with these decisions, each so many days ago."""
    who = rows.person(db, name)
    for n, (decision, days) in enumerate(decisions):
        rows.example(db, dataset_id, who, f"{name} {n}", at=store.now() - days * DAY, decision=decision)
    return who


@pytest.fixture
def dataset_id(db: Database) -> int:
    return rows.dataset(db, rows.person(db, "owner"))[0]


def test_the_ages_add_up_to_the_standing_and_old_decisions_weigh_less(db: Database, dataset_id: int) -> None:
    mia = contribute(db, dataset_id, "mia", [("accepted", 1)] * 12 + [("rejected", 60)] * 3 + [("accepted", 400)] * 5)
    told = ranks.explained(db, mia, dataset_id=dataset_id)
    assert [(a["age"], a["accepted"], a["not_accepted"]) for a in told["ages"]] == [
        ("within 30 days", 12, 0), ("31 to 90 days ago", 0, 3), ("older", 5, 0)
    ]  # fmt: skip
    assert [a["each"] for a in told["ages"]] == sorted((a["each"] for a in told["ages"]), reverse=True)
    assert told["ages"][-1]["each"] == pytest.approx(0.5 ** (400 / 365), rel=0.01)
    found = standing.of(db, mia, dataset_id)
    assert standing.wilson_lower(told["good"], told["weight"]) == pytest.approx(found.lower)
    assert f"{found.lower:.3f}, is the standing" in told["arithmetic"][1]


def test_the_next_above_and_below_are_told_with_their_numbers(db: Database, dataset_id: int) -> None:
    contribute(db, dataset_id, "top", [("accepted", 1)] * 40)
    mia = contribute(db, dataset_id, "mia", [("accepted", 1)] * 20)
    contribute(db, dataset_id, "low", [("accepted", 1)] * 11)
    contribute(db, dataset_id, "new", [("accepted", 1)])
    told = ranks.explained(db, mia)
    assert [(one["rank"], one["person"], one["accepted"], one["is_me"]) for one in told["beside"]] == [
        (1, "top", 40, False), (2, "mia", 20, True), (3, "low", 11, False)
    ]  # fmt: skip
    assert [one["lower"] for one in told["beside"]] == [r["lower"] for r in leaderboards.contributors(db)[:3]]


def test_a_stranger_is_not_found_and_a_newcomer_has_no_numbers_yet(db: Database, dataset_id: int) -> None:
    newcomer = rows.person(db, "new")
    told = ranks.explained(db, newcomer)
    assert (told["rank"], told["ages"], told["beside"], told["arithmetic"]) == (None, [], [], [])
    with pytest.raises(NotFound):
        ranks.explained(db, 999)


def test_the_command_tells_the_same(db: Database, dataset_id: int, capsys: pytest.CaptureFixture[str]) -> None:
    mia = contribute(db, dataset_id, "mia", [("accepted", 1)] * 12)
    expected = ranks.explained(db, mia)
    assert main(["leaderboard", "--why", "mia", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ages"] == expected["ages"]
    assert main(["leaderboard", "--why", "mia"]) == 0
    assert "within 30 days" in capsys.readouterr().out
