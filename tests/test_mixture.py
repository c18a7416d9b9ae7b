from __future__ import annotations

import dataclasses
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from factory.base.errors import Invalid
from factory.base.settings import Settings
from factory.intake import contributions, datasets, reviews
from factory.training import forecast, loop, mixture, queue, runs
from factory.training.encoding import EncodedRow
from factory.training.recipes import Recipe
from tests import trained

OTHERS = {
    "What is the capital of France?": trained.ANSWERS["What is the capital of France?"],  # it is in the first version too
    "Who wrote the play Hamlet?": "It was Shakespeare who wrote the play of the Danish prince.",  # held out by the first
    "How deep is the deepest place of the sea?": "The Challenger Deep goes down almost eleven kilometres below the waves.",
    "Why do cats purr when they are content?": "Muscles of the voice box twitch, and the breath between makes them hum.",
}
TINY = Recipe(base_model="tiny", rank=4)


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> dict[str, Any]:
    """Two frozen versions of different datasets; the first one alone has a held-out set."""
    trained.home_model(settings, tiny_model)
    builder, ada, first = trained.frozen_version(db)
    other = datasets.create(
        db, slug="others", title="Others", purpose="More questions.", guidelines="One sentence.", licence="CC-BY-4.0",
        owner=builder,
    )  # fmt: skip
    rows = [trained.talk(question, answer) for question, answer in OTHERS.items()]
    given = contributions.submit(db, other["id"], person=ada, rows=rows, source="form", licence="CC-BY-4.0", attested=True)
    second = trained.people.get(db, "second")
    for example_id in given.example_ids:
        for reviewer in (builder, second):
            reviews.decide(db, example_id, reviewer=reviewer, decision="accept")
    return {"builder": builder, "first": first, "second": datasets.freeze(db, other["id"], person=builder)}


def test_an_epoch_takes_each_row_as_often_as_its_weight_says() -> None:
    weights = [1.0] * 4 + [0.5] * 6 + [2.5] * 2
    assert mixture.epoch_size(weights) == 4 + 3 + 5
    seen: Counter[int] = Counter()
    for epoch in range(200):
        order = mixture.epoch_order(weights, seed=1, epoch=epoch)
        assert len(order) == 12
        assert order == mixture.epoch_order(weights, seed=1, epoch=epoch)
        seen.update(order)
    assert all(seen[place] == 200 for place in range(4))
    assert all(70 <= seen[place] <= 130 for place in range(4, 10)), "each of the six comes in about half of the epochs"
    assert all(400 <= seen[place] <= 600 for place in (10, 11))
    assert mixture.epoch_order(weights, seed=2, epoch=0) != mixture.epoch_order(weights, seed=1, epoch=0)


def test_the_loop_takes_rows_by_their_weights() -> None:
    rows = [EncodedRow(n, (1, 2), (False, True), weight=w) for n, w in enumerate((1.0, 1.0, 3.0, 0.5, 0.5))]
    recipe = Recipe(effective_batch=2, seed=5)
    epoch = [row.example_id for step in range(1, 4) for row in loop.rows_of_step(rows, recipe, step)]
    assert Counter(row for row in epoch if row < 3) == {0: 1, 1: 1, 2: 3}
    assert len([row for row in epoch if row >= 3]) == 1


def test_rows_in_two_versions_count_once_and_rows_too_close_to_the_held_out_set_are_left_out(
    db: Database, settings: Settings, house: dict[str, Any]
) -> None:
    found = mixture.material(db, mixture.checked(db, [(house["first"]["id"], 1.0), (house["second"]["id"], 0.5)]), TINY)
    texts = [row.content for row in found.rows]
    assert len(texts) == len(set(texts)) == 3 + 2
    assert [row.weight for row in found.rows] == [1.0] * 3 + [0.5] * 2
    assert not any("Hamlet" in text for text in texts)
    assert any("once" in words for words in found.notes)
    assert any("held-out set" in words for words in found.notes)
    assert len(found.held_out) == len(trained.HELD_OUT)


def test_a_run_remembers_its_versions_and_passes_them_on(db: Database, settings: Settings, house: dict[str, Any]) -> None:
    sources = {"version_id": house["first"]["id"], "weight": 2.0, "more": [(house["second"]["id"], 0.5)]}
    run_id = runs.create(db, person=house["builder"], recipe=TINY, settings=settings, **sources)
    assert mixture.named(db, run_id) == "questions@1:2 + others@1:0.5"
    child = queue.clone(db, settings, run_id, person=house["builder"], changes={"seed": 7})
    assert mixture.again(db, child) == {key: sources[key] for key in ("weight", "more")}
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute("update run_sources set weight = 1 where run_id = ?", [run_id])
    alone = runs.create(db, person=house["builder"], recipe=TINY, settings=settings, version_id=house["first"]["id"])
    assert mixture.named(db, alone) == "questions@1"
    steps = [runs.get(db, each)["estimate"]["tokens_per_epoch"] for each in (run_id, alone)]
    assert steps[0] > 1.9 * steps[1]


@pytest.mark.parametrize(
    ("sources", "word"),
    [
        ([("first", 1.0), ("first", 1.0)], "twice"),
        ([("first", 0.0)], "weight"),
        ([("first", 1.0), ("second", 99.0)], "others@1"),
    ],
)
def test_versions_that_cannot_be_mixed_are_refused_with_every_problem(
    db: Database, settings: Settings, house: dict[str, Any], sources: list[tuple[str, float]], word: str
) -> None:
    (first, weight), *more = [(house[name]["id"], weight) for name, weight in sources]
    with pytest.raises(Invalid, match=word):
        runs.create(db, person=house["builder"], version_id=first, recipe=TINY, settings=settings, weight=weight, more=more)
    assert runs.listing(db) == []


def test_a_limit_and_a_validation_share_draw_rows_by_the_seed(
    db: Database, settings: Settings, house: dict[str, Any]
) -> None:
    second = mixture.checked(db, [(house["second"]["id"], 1.0)])

    def drawn(**changes: Any) -> mixture.Material:
        return mixture.material(db, second, dataclasses.replace(TINY, **changes))

    assert [len(drawn(max_samples=n).rows) for n in (0, 1, 3, 99)] == [4, 1, 3, 4]
    assert drawn(max_samples=2) == drawn(max_samples=2)
    assert len({drawn(max_samples=2, seed=seed).rows for seed in range(20)}) > 2
    split = drawn(validation_share=0.3)
    assert (len(split.rows), len(split.held_out)) == (2, 2)
    assert not {row.content for row in split.rows} & set(split.held_out)
    sealed = mixture.material(
        db, mixture.checked(db, [(house["first"]["id"], 1.0)]), dataclasses.replace(TINY, validation_share=0.3)
    )
    assert (len(sealed.rows), len(sealed.held_out)) == (3, 3), "the sealed set is what is measured on"
    guess = forecast.estimate_for(
        db, settings, version_id=house["second"]["id"], recipe=dataclasses.replace(TINY, max_samples=2, effective_batch=1)
    )
    assert guess.steps == 4
