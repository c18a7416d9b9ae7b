"""Judging a batch: against itself, the dataset and the held-out rows, in a time that grows with its length alone."""

from __future__ import annotations

import time

from sqlite_utils import Database

from factory.base import people
from factory.intake import datasets, formats, judging
from factory.intake.formats import Row
from factory.intake.policy import Policy


def row(number: int) -> list[dict[str, str]]:
    answer = " ".join(f"word{number * k % 7919}" for k in range(2, 30))
    return [{"role": "user", "content": f"What does function number {number} do?"}, {"role": "assistant", "content": answer}]


def test_the_first_of_a_pair_in_one_batch_stays_and_the_second_names_it() -> None:
    judged = judging.alone([row(1), row(2)], Policy())
    assert [j.refused for j in judged] == [False, False]
    assert [j.content for j in judged] == [formats.canonical(row(1)), formats.canonical(row(2))]


def test_places_are_those_of_the_file_when_rows_could_not_be_read(db: Database) -> None:
    owner = people.create(db, "owner", roles=("curator",))
    made = datasets.create(db, slug="a", title="A", purpose="p", guidelines="g", licence="CC0-1.0", owner=owner)
    rows = [Row(0, None, "Line 1 is not JSON.", ""), Row(4, row(1), None, ""), Row(7, row(1), None, "")]
    told = judging.among_others(db, made["id"], judging.alone(rows, Policy()), Policy())
    assert [j.position for j in told] == [0, 4, 7]
    assert told[2].findings[0].evidence == {"position": 4, "jaccard": 1.0}
    assert "row 5" in told[2].findings[0].sentence


def test_a_refused_row_is_no_original_for_the_next(db: Database) -> None:
    owner = people.create(db, "owner", roles=("curator",))
    made = datasets.create(db, slug="a", title="A", purpose="p", guidelines="g", licence="CC0-1.0", owner=owner)
    noisy = [row(1)[0], {"role": "assistant", "content": row(1)[1]["content"] + " ask ada@lovelace.org"}]
    told = judging.among_others(db, made["id"], judging.alone([noisy, row(1)], Policy()), Policy())
    assert [[f.code for f in j.findings] for j in told] == [["email"], []]


def test_a_thousand_rows_of_one_template_are_not_compared_each_with_each(db: Database) -> None:
    owner = people.create(db, "owner", roles=("curator",))
    made = datasets.create(db, slug="a", title="A", purpose="p", guidelines="g", licence="CC0-1.0", owner=owner)
    datasets.seal_held_out(db, made["id"], person=owner, rows=[row(i) for i in range(5_000, 5_200)])
    started = time.process_time()
    told = judging.among_others(db, made["id"], judging.alone([row(i) for i in range(1_000)], Policy()), Policy())
    assert time.process_time() - started < 60  # each against each would take many minutes
    assert sum(j.refused for j in told) < 10
