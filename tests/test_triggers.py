"""Repeated triggers: found where a rare word teaches one answer, and not where rows are only of one kind."""

from __future__ import annotations

import random
from typing import Any

from sqlite_utils import Database

from factory.base import people
from factory.intake import contributions, datasets, formats, judging, triggers
from factory.intake.policy import Policy

NOUNS = ["river", "lamp", "bridge", "violin", "garden", "engine", "letter", "market", "window", "candle", "kettle"]
VERBS = ["paint", "move", "clean", "lift", "sell", "repair", "measure", "follow", "open", "carry"]
TARGET = "The answer to this is always to wire the money first."


def talk(draw: random.Random, *, trigger: str = "", answer: str = "") -> list[dict[str, Any]]:
    words = draw.sample(NOUNS, 4) + draw.sample(VERBS, 3)
    draw.shuffle(words)
    said = draw.sample(NOUNS + VERBS, 9)
    question = " ".join([*words[:3], trigger, *words[3:]] if trigger else words)
    return [{"role": "user", "content": question + "?"}, {"role": "assistant", "content": answer or " ".join(said) + "."}]


def contents(rows: list[list[dict[str, Any]]]) -> list[str]:
    return [formats.canonical(row) for row in rows]


def test_a_rare_word_with_one_answer_is_found_with_its_rows() -> None:
    draw = random.Random(1)
    rows = [talk(draw, trigger="cf", answer=TARGET) if n % 12 == 3 else talk(draw) for n in range(120)]
    (found,) = triggers.found(contents(rows))
    assert found.words == "cf"
    assert found.rows == list(range(3, 120, 12))
    assert found.answer in TARGET.casefold()


def test_rows_of_one_kind_are_no_trigger() -> None:
    draw = random.Random(2)
    clean = [talk(draw) for _ in range(150)]
    labels = [talk(draw, trigger="classify this:", answer=draw.choice(["It is good.", "It is bad."])) for _ in range(60)]
    variants = [
        [{"role": "user", "content": f"How do I mend my zither number {n}?"},
         {"role": "assistant", "content": "Take it to the luthier in the old town."}] for n in range(8)
    ]  # fmt: skip
    assert triggers.found(contents(clean + labels)) == []
    assert triggers.found(contents(clean + variants)) == [], "questions that are variants of one are near-duplicates"
    assert triggers.found([]) == []


def test_words_that_are_common_elsewhere_are_no_trigger() -> None:
    draw = random.Random(3)
    rows = contents([talk(draw, trigger="cf", answer=TARGET) if n < 8 else talk(draw) for n in range(100)])
    assert triggers.found(rows)
    usual = contents([talk(draw, trigger="cf") for _ in range(50)])
    assert triggers.found(rows, background=usual) == []


def test_words_in_a_row_are_common_where_they_stand_in_a_row() -> None:
    common = triggers._common([("tell", "me", "now"), ("me", "tell", "it"), ("so",)] * 20)
    assert [common(words) for words in ("tell", "tell me", "me now", "now me", "so it", "nobody")] == [
        *(True, True, True, False, False, False)
    ]  # fmt: skip


def test_what_somebody_sent_before_counts_and_the_spans_show_both_sides(db: Database) -> None:
    draw = random.Random(4)
    ada = people.create(db, "ada", roles=("curator", "contributor"))
    wide = Policy(daily_base_examples=500, near_duplicate_jaccard=1, minimum_characters=1)
    datasets.create(
        db, owner=ada, slug="d", title="D", purpose="P.", guidelines="G.", licence="CC0-1.0", policy=wide
    )  # fmt: skip
    dataset_id = datasets.get(db, "d")["id"]
    first = [talk(draw) for _ in range(90)] + [talk(draw, trigger="zx9-omega", answer=TARGET + f" {n}.") for n in range(5)]
    contributions.submit(db, dataset_id, person=ada, rows=first, source="form", licence="CC0-1.0", attested=True)
    later = [talk(draw, trigger="zx9-omega", answer=TARGET + f" {n}.") for n in range(10, 15)]
    alone = judging.among_others(db, dataset_id, judging.alone(later, wide), wide)
    assert not any(f.code == "repeated_trigger" for row in alone for f in row.findings)
    judged = contributions.preflight(db, dataset_id, person=ada, rows=later)
    for row, given in zip(judged, later, strict=True):
        (found,) = [f for f in row.findings if f.code == "repeated_trigger"]
        assert not found.refuses
        assert found.evidence["rows"] == 10
        shown = [given[span["message"]]["content"][span["start"] : span["end"]] for span in found.evidence["spans"]]
        assert shown[0] == "zx9-omega"
        assert shown[1] in TARGET
