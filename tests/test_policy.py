"""Policies: every problem is listed, the newest counts, licences go only where they may."""

from __future__ import annotations

import json
import re

import pytest
from sqlite_utils import Database

from factory.base import people
from factory.base.errors import Invalid, NotFound
from factory.intake import datasets, policy
from factory.intake.policy import LICENCES, Policy


def test_a_policy_survives_json() -> None:
    changed = Policy(quorum=3, near_duplicate_jaccard=0.75)
    assert policy.from_json(policy.to_json(changed)) == changed


def test_all_problems_of_a_policy_are_listed_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        policy.from_json(
            json.dumps({"quorum": 0, "near_duplicate_jaccard": "much", "qorum": 2, "daily_base_examples": True})
        )
    words = " ".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    for name in ("quorum is 0", "near_duplicate_jaccard is 'much'", "'qorum'", "daily_base_examples is True"):
        assert name in words


@pytest.mark.parametrize("text", ["", "[]", "nonsense", "[" * 100_000, '{"daily_growth": NaN}', '{"daily_growth": 1e999}'])
def test_what_is_no_policy_is_one_sentence(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        policy.from_json(text)
    assert len(caught.value.problems) == 1


def test_a_cap_below_the_base_is_refused() -> None:
    with pytest.raises(Invalid, match="cap"):
        Policy(daily_base_examples=50, daily_cap_examples=10)


def test_every_rule_says_what_it_is_and_its_default_is_in_range() -> None:
    for rule in policy.fields():
        assert rule["help"], rule["name"]
        assert rule["low"] is None or rule["low"] <= rule["default"] <= rule["high"], rule["name"]


def test_every_licence_takes_itself_and_only_known_ones() -> None:
    for licence, taken in LICENCES.items():
        assert licence in taken
        assert taken <= set(LICENCES)


@pytest.mark.parametrize(("dataset", "rows"), [("CC0-1.0", "MIT"), ("MIT", "CC-BY-SA-4.0"), ("CC-BY-4.0", "CC-BY-SA-4.0")])
def test_a_stricter_licence_does_not_go_into_a_freer_dataset(dataset: str, rows: str) -> None:
    assert re.search("cannot go into", policy.licence_problem(dataset, rows) or "")


def test_the_newest_policy_counts_and_the_old_one_stays_known(db: Database) -> None:
    owner = people.create(db, "curator", roles=("curator",))
    dataset = datasets.create(
        db, slug="a", title="A", purpose="p", guidelines="g", licence="CC0-1.0", owner=owner, policy=Policy(quorum=1)
    )
    first, _ = policy.current(db, dataset["id"])
    second = datasets.set_policy(db, dataset["id"], Policy(quorum=3), person=owner)
    assert policy.current(db, dataset["id"]) == (second, Policy(quorum=3))
    assert datasets.set_policy(db, dataset["id"], Policy(quorum=3), person=owner) == second
    assert [record["id"] for record in datasets.policy_history(db, dataset["id"])] == [second, first]


def test_a_dataset_that_is_not_there_has_no_policy(db: Database) -> None:
    with pytest.raises(NotFound):
        policy.current(db, 7)


def test_rules_of_words_take_a_list_and_refuse_what_is_none() -> None:
    assert policy.words(policy.from_json('{"languages": "en, de"}').languages) == ["en", "de"]
    with pytest.raises(Invalid, match="English"):
        policy.from_json('{"languages": "English"}')
    with pytest.raises(Invalid, match="languages"):
        policy.Policy(languages=7)  # type: ignore[arg-type]
