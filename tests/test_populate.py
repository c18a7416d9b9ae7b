"""A generated store is one that the true functions could have left: all that can be recomputed, holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlite_utils import Database

from benchmarks import populate
from factory.base import store
from factory.base.settings import Settings
from factory.credit import leaderboards, verify
from factory.intake import datasets, similarity, standing
from tests.test_tallies import PLAIN_STATES, plainly


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    settings = Settings(home=tmp_path_factory.mktemp("filled"))
    populate.populate(settings, examples=1500, processes=1)
    with store.connect(settings) as db:
        yield db


def test_a_generated_store_passes_verification(filled: Database) -> None:
    report = verify.verify(filled)
    assert report["examples"] == 1500
    assert report["minted"] > 0
    for version in datasets.versions(filled):
        datasets.verify_version(filled, version["id"])
    assert store.rows(filled, "pragma foreign_key_check") == []


def test_a_generated_store_has_states_and_standings_that_its_decisions_give(filled: Database) -> None:
    columns = "example_id, dataset_id, person_id, submission_id, cluster_id, created_at, state, decided_at, reason"
    assert store.rows(filled, f"select {columns} from example_states order by 1") == store.rows(filled, PLAIN_STATES)
    for entry in leaderboards.contributors(filled, dataset_id=1, limit=5):
        accepted, decided, good, weight = plainly(filled, entry["person_id"], 1)
        assert (entry["accepted"], entry["decided"]) == (accepted, decided)
        assert entry["lower"] == pytest.approx(standing.wilson_lower(good, weight), abs=1e-9)


def test_what_a_generated_store_holds_is_found_again(filled: Database) -> None:
    sought = "select example_id, dataset_id from states where state = 'accepted' order by example_id limit 20"
    for one in store.rows(filled, sought):
        content = store.value(filled, "select content from examples where id = ?", one["example_id"])
        assert similarity.nearest(filled, one["dataset_id"], content) == (one["example_id"], 1.0)
