"""Maps of real rows: topics that make sense, all rows counted, held-out rows never told, and drawn but once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database

from factory import __main__
from factory.base import people, store
from factory.base.errors import Conflict, NotAllowed, NotFound
from factory.base.settings import Settings
from factory.intake import contributions, datasets, formats, mapping, maps, meaning, topics
from tests import credit_rows as rows

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
FILES = ("messages.jsonl", "alpaca.json", "sharegpt.json", "prompt_completion.csv", "question_answer.parquet")
SECRET = "zanzibarite"  # a word of the held-out rows alone


@dataclass(frozen=True)
class World:
    """The samples as a dataset: its store, which file each example is from, its version and map."""

    db: Database
    settings: Settings
    of_file: dict[int, str]
    version_id: int
    map_id: int


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = Settings(home=tmp_path_factory.mktemp("maps") / "home")
    with store.connect(settings) as db:
        yield world_of(db, settings)


def world_of(db: Database, settings: Settings) -> World:
    owner = rows.person(db, "owner", roles=("curator", "contributor"))
    dataset_id, policy_id = rows.dataset(db, owner)
    of_file, kept_out = {}, []
    for name in FILES:
        for place, row in enumerate(formats.read(SAMPLES / name, name=name, settings=settings).rows):
            assert row.messages
            if place % 8 == 0:
                row.messages[-1]["content"] += f" {SECRET}"
                kept_out.append(row.messages)
            else:
                of_file[rows.example(db, dataset_id, owner, "", talk=row.messages)] = name
    set_id, _ = rows.held_out(db, dataset_id, owner, kept_out)
    version_id = rows.version(db, dataset_id, policy_id, list(of_file), owner=owner, held_out=set_id)
    return World(db, settings, of_file, version_id, maps.draw(db, version_id))


def test_rows_of_one_subject_fall_together(world: World) -> None:
    drawn = maps.points(world.db, world.map_id)
    assert len(drawn) == len(world.of_file)
    of_topic: dict[int, Counter[str]] = {}
    for point in drawn:
        of_topic.setdefault(point["number"], Counter())[world.of_file[point["example_id"]]] += 1
    with_their_like = sum(count.most_common(1)[0][1] for count in of_topic.values())
    assert with_their_like / len(drawn) > 0.7  # a fifth by chance, somewhat more in small groups


def test_rows_that_lie_near_each_other_on_the_map_are_of_one_topic(world: World) -> None:
    drawn = maps.points(world.db, world.map_id)
    places = np.array([(point["x"], point["y"]) for point in drawn])
    numbers = np.array([point["number"] for point in drawn])
    far = np.linalg.norm(places[:, None] - places[None], axis=2) + np.eye(len(places)) * 1e9
    assert (numbers[far.argmin(axis=1)] == numbers).mean() > 0.7


def test_every_row_counts_into_one_topic_and_topics_have_telling_names(world: World) -> None:
    found = maps.topics_of(world.db, world.map_id)
    assert sum(topic["rows"] for topic in found) == len(world.of_file)
    said = {word for topic in found for word in topic["words"]}
    assert {"commit", "ssh", "branch"} <= said
    best = maps.typical(world.db, world.map_id, found[0]["number"], limit=3)
    assert [row["likeness"] for row in best] == sorted((row["likeness"] for row in best), reverse=True)


def test_held_out_rows_are_placed_but_none_of_their_words_is_told(world: World) -> None:
    placed = store.value(world.db, "select count(*) from topic_questions where map_id = ?", world.map_id)
    assert placed == store.value(world.db, "select row_count from held_out_sets")
    told = json.dumps([maps.topics_of(world.db, world.map_id), maps.points(world.db, world.map_id)])
    assert SECRET not in told


def test_a_map_is_drawn_once_and_topics_keep_their_numbers_in_the_next_version(db: Database, settings: Settings) -> None:
    world = world_of(db, settings)
    assert maps.draw(db, world.version_id) == world.map_id
    assert maps.due(db, 1) is None
    before = {point["example_id"]: point["number"] for point in maps.points(db, world.map_id)}
    contributions.withdraw(db, min(before), person=people.get(db, "owner"), reason="mine")
    version = datasets.freeze(db, 1, person=people.get(db, "owner"))
    assert maps.due(db, 1) == {"id": version["id"], "number": 2, "row_count": len(before) - 1}
    after = {point["example_id"]: point["number"] for point in maps.points(db, maps.draw(db, version["id"]))}
    assert min(before) not in after
    assert sum(after[one] == before[one] for one in after) / len(after) > 0.95
    assert min(before) not in {point["example_id"] for point in maps.points(db, world.map_id)}  # nor on the older map


def test_a_large_version_is_drawn_from_a_fair_sample_and_counted_whole(db: Database) -> None:
    owner = rows.person(db, "owner")
    dataset_id, policy_id = rows.dataset(db, owner)
    given = [rows.example(db, dataset_id, owner, f"number {n} of many rows about bread") for n in range(120)]
    version_id = rows.version(db, dataset_id, policy_id, given, owner=owner)
    found = maps.get(db, maps.draw(db, version_id, most_points=30, most_sampled=50))
    assert (found["row_count"], found["point_count"]) == (120, 30)
    assert sum(topic["rows"] for topic in maps.topics_of(db, found["id"])) == 120
    first = store.rows(db, "select id from examples order by content_hash limit 30")
    assert {point["example_id"] for point in maps.points(db, found["id"])} == {row["id"] for row in first}


def test_few_rows_and_odd_ones_have_a_map_too(db: Database) -> None:
    owner = rows.person(db, "owner")
    dataset_id, policy_id = rows.dataset(db, owner)
    given = [rows.example(db, dataset_id, owner, words) for words in ("日本語だけ", "🙂", "one")]
    map_id = maps.draw(db, rows.version(db, dataset_id, policy_id, given, owner=owner))
    assert [topic["rows"] for topic in maps.topics_of(db, map_id)] == [3]


def test_groups_of_equal_vectors_are_the_same_each_time() -> None:
    vectors = meaning.vectors([f"{word} {n}" for word in ("bread", "tyre", "river") for n in range(20)])
    assert np.array_equal(topics.group(vectors)[1], topics.group(vectors)[1])


def test_the_command_draws_and_the_page_sees_how_far_it_is(
    db: Database, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = rows.person(db, "owner", roles=("contributor",))
    dataset_id, policy_id = rows.dataset(db, owner)
    with pytest.raises(NotFound, match="Nothing is frozen yet"):
        mapping.begin(db, settings, dataset_id, person=people.get(db, "owner"))
    given = [rows.example(db, dataset_id, owner, f"the answer about bread number {n}") for n in range(12)]
    rows.version(db, dataset_id, policy_id, given, owner=owner)
    assert mapping.look(db, settings, dataset_id).state == "none"
    with pytest.raises(NotAllowed):
        mapping.begin(db, settings, dataset_id, person=people.create(db, "guest", roles=()))
    assert __main__.main(["map", "questions", "--as", "owner"]) == 0
    assert "12 rows in 1 topic;" in capsys.readouterr().out
    assert mapping.look(db, settings, dataset_id).state == "ready"


def test_two_processes_do_not_draw_one_map(db: Database, settings: Settings) -> None:
    from filelock import FileLock

    owner = rows.person(db, "owner")
    dataset_id, policy_id = rows.dataset(db, owner)
    rows.version(db, dataset_id, policy_id, [rows.example(db, dataset_id, owner, "one")], owner=owner)
    lock = mapping.path_of(settings, dataset_id).with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    with FileLock(lock), pytest.raises(Conflict, match="being drawn already"):
        mapping.alone(db, settings, dataset_id, progress_to=None, tell=lambda words, done, of: None)
