"""Runs side by side: what may be ranked together, what was set differently, and a table that no spreadsheet runs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database

from factory import charts
from factory.__main__ import main
from factory.adapters import comparison
from factory.api import application
from factory.base import people, store
from factory.base.errors import Invalid, NotFound
from factory.base.settings import Settings
from factory.training.recipes import Recipe, to_dict
from tests import credit_rows as rows

A, B = "a" * 64, "b" * 64
MEASURED = {"seconds": 120.0, "tokens_per_second": 150.0, "memory_bytes": 2**31, "tokens": 9000, "energy_joules": 7200.0}


@pytest.fixture
def version_id(db: Database) -> int:
    owner = rows.person(db, "owner", roles=("builder",))
    dataset_id, policy_id = rows.dataset(db, owner)
    example = rows.example(db, dataset_id, owner, "one")
    return rows.version(db, dataset_id, policy_id, [example], owner=owner)


def run(
    db: Database, version_id: int, *, evaluated: bool = True, root: str | None = A, name: str = "", tuned: float = 1.5,
    curve: float | None = None, **recipe: Any,
) -> int:  # fmt: skip
    """A run with this recipe, evaluated or only with a curve; its id."""
    owner = int(store.value(db, "select id from people"))
    if evaluated:
        adapter_id, _ = rows.adapter(db, version_id, owner, tuned=tuned, root=root or A, measured=MEASURED)
        run_id = int(store.value(db, "select run_id from adapters where id = ?", adapter_id))
    else:
        record = {
            "name": "along", "person_id": owner, "status": "running", "version_id": version_id, "version_root": "v",
            "recipe": "{}", "model_name": "tiny", "model_hash": "m", "manifest": "{}", "estimate": "{}", "folder": "f",
            "queue_order": 1.0, "queued_at": 1.0,
        }  # fmt: skip
        run_id = store.insert(db, "runs", record)
    chosen = json.dumps(to_dict(Recipe(**recipe)))
    db.execute("update runs set recipe = ?, held_out_root = ? where id = ?", [chosen, root, run_id])
    if name:
        db.execute("update runs set name = ? where id = ?", [name, run_id])
    if curve is not None:
        for step, value in enumerate((curve + 1, curve, curve + 0.5)):
            db.execute("insert into metrics values (?, 'held_out_loss', ?, ?, 1.0)", [run_id, step, value])
    return run_id


def test_only_runs_on_the_same_held_out_rows_are_ranked_together_and_a_sentence_says_so(
    db: Database, version_id: int
) -> None:
    good, other, weak = (run(db, version_id, root=root, tuned=tuned) for root, tuned in ((A, 1.2), (B, 0.1), (A, 1.8)))
    found = comparison.compare(db, [weak, other, good])
    assert [(one["run_id"], one["set"], one["rank"]) for one in found["runs"]] == [
        (weak, "A", 2), (other, "B", None), (good, "A", 1)
    ]  # fmt: skip
    assert [each["runs"] for each in found["sets"]] == [[good, weak], [other]]
    assert any("2 different held-out sets" in sentence for sentence in found["sentences"])
    alone = comparison.compare(db, [weak, good])["sentences"]
    assert alone == ["All 2 runs were measured on the same held-out rows, so their losses can be compared."]


def test_what_came_of_a_run_stands_beside_it(db: Database, version_id: int) -> None:
    one, other = run(db, version_id, tuned=1.5), run(db, version_id, tuned=1.6)
    evaluation_id = int(store.value(db, "select max(id) from evaluations"))
    figures = {"base_loss": 3.0, "tuned_loss": 3.15, "difference": 0.15, "low": 0.03, "high": 0.3}
    store.insert(
        db, "forgetting", {"evaluation_id": evaluation_id, "text_hash": "t", "chunk_count": 3, "tokens": 9, **figures}
    )
    plain, measured = comparison.compare(db, [one, other])["runs"]
    assert (plain["held_out_loss"], plain["gain_percent"], plain["measured_by"]) == (1.5, 25.0, "evaluation")
    assert (plain["minutes"], plain["memory_gib"], plain["tokens"], plain["energy_wh"]) == (2.0, 2.0, 9000, 2.0)
    assert plain["forgot_percent"] is None
    assert [measured[f"forgot_{key}"] for key in ("percent", "low", "high")] == pytest.approx([5.0, 1.0, 10.0])


def test_while_one_of_them_is_not_evaluated_the_lowest_loss_along_the_way_is_compared(db: Database, version_id: int) -> None:
    done, busy = run(db, version_id, tuned=1.5, curve=1.4), run(db, version_id, evaluated=False, curve=1.3)
    found = comparison.compare(db, [done, busy])
    assert [(one["held_out_loss"], one["measured_by"], one["rank"]) for one in found["runs"]] == [
        (1.4, "curve", 2), (1.3, "curve", 1)
    ]  # fmt: skip
    assert any("not every run has been evaluated" in sentence for sentence in found["sentences"])


def test_curves_that_count_other_tokens_of_the_same_rows_are_not_ranked_together(db: Database, version_id: int) -> None:
    answers = run(db, version_id, evaluated=False, curve=1.3)
    everything = run(db, version_id, evaluated=False, curve=1.1, completions_only=False)
    found = comparison.compare(db, [answers, everything])
    assert [(one["set"], one["rank"]) for one in found["runs"]] == [("A", None), ("B", None)]
    assert any("other tokens" in sentence for sentence in found["sentences"])


def test_a_run_without_held_out_rows_is_shown_and_not_ranked(db: Database, version_id: int) -> None:
    none, some = run(db, version_id, evaluated=False, root=None), run(db, version_id)
    found = comparison.compare(db, [none, some])
    assert (found["runs"][0]["set"], found["runs"][0]["rank"], found["runs"][0]["held_out_loss"]) == ("–", None, None)
    assert any("1 run has no held-out loss" in sentence for sentence in found["sentences"])


def test_the_difference_lists_only_what_differs_with_its_default(db: Database, version_id: int) -> None:
    one, other = run(db, version_id, rank=16), run(db, version_id, rank=8, schedule="linear")
    differs = {row["field"]: row for row in comparison.compare(db, [one, other])["differs"]}
    assert set(differs) == {"rank", "schedule"}  # alpha only follows the rank
    assert (differs["rank"]["default"], differs["rank"]["values"]) == (16, {one: 16, other: 8})
    free = run(db, version_id, rank=8, alpha_linked=False, alpha=64)
    assert {"alpha", "alpha_linked"} <= {row["field"] for row in comparison.compare(db, [one, free])["differs"]}


def test_other_data_and_other_weights_behind_one_name_are_differences(db: Database, version_id: int) -> None:
    one, other = run(db, version_id), run(db, version_id)
    assert comparison.compare(db, [one, other])["differs"] == []
    example = int(store.value(db, "select id from examples"))
    owner = int(store.value(db, "select id from people"))
    later = rows.version(db, 1, 1, [example], owner=owner)
    db.execute("update runs set version_id = ?, model_hash = 'another one' where id = ?", [later, other])
    differs = {row["field"]: row["values"] for row in comparison.compare(db, [one, other])["differs"]}
    assert differs == {
        "data": {one: "questions v1", other: "questions v2"}, "model": {one: "tiny m", other: "tiny another "}
    }  # fmt: skip


def test_no_cell_of_the_csv_can_be_run_as_a_formula(db: Database, version_id: int) -> None:
    attack = '=HYPERLINK("http://evil.example";"x")'
    one = run(db, version_id, name=attack, system_prompt="+1+cmd|' /C calc'!A0")
    other = run(db, version_id, name="@SUM(1)", system_prompt='-2+3, "quoted"\nand a second line')
    text = comparison.csv(comparison.compare(db, [one, other]))
    head, *lines = csv.reader(io.StringIO(text))
    assert len(lines) == 2
    assert [line[head.index("run")] for line in lines] == ["'" + attack, "'@SUM(1)"]
    for cell in (cell for line in lines for cell in line):
        assert not cell.startswith(("=", "+", "@", "\t", "\r"))
        assert not cell.startswith("-") or float(cell) < 0


@pytest.mark.parametrize("wanted", [[], [1], [1, 1], list(range(1, 52))])
def test_too_few_and_too_many_are_refused(db: Database, version_id: int, wanted: list[int]) -> None:
    with pytest.raises(Invalid, match="from 2 to 50"):
        comparison.compare(db, wanted)


def test_every_run_that_is_not_there_is_named(db: Database, version_id: int) -> None:
    with pytest.raises(NotFound, match="no run 98, 99"):
        comparison.compare(db, [run(db, version_id), 99, 98])


def test_axes_hold_words_numbers_and_logarithms_and_leave_out_what_one_run_lacks(db: Database, version_id: int) -> None:
    ids = [
        run(db, version_id, schedule="linear", learning_rate=1e-3, rank=8),
        run(db, version_id, schedule="cosine", learning_rate=1e-5, rank=64),
    ]
    db.execute("update runs set measured = json_remove(measured, '$.memory_bytes') where id = ?", [ids[0]])
    axes = {axis["label"]: axis for axis in comparison.dimensions(comparison.compare(db, ids), ids)}
    assert list(axes) == ["Rank", "Learning rate", "Schedule", "held-out loss", "minutes", "tokens/s"]
    assert axes["Schedule"]["values"] == [1.0, 0.0]
    assert axes["Schedule"]["ticks"] == [(0.0, "cosine"), (1.0, "linear")]
    assert axes["Learning rate"]["values"] == pytest.approx([-3.0, -5.0])
    figure = charts.parallel(list(axes.values()), colours=[1.5, 1.5], highlighted=1)
    assert list(figure.data[0].line.color) == [0.0, 1.0]
    assert figure.data[0].dimensions[2].ticktext == ("cosine", "linear")


def test_the_highlighted_run_is_drawn_last_and_alone_in_full() -> None:
    curves = {name: {"loss": [(1, 2.0), (2, 1.0)], "held_out_loss": [(0, 2.0)]} for name in ("<b>one</b>", "two", "three")}
    figure = charts.overlay(curves, highlighted="two")
    assert [line.name for line in figure.data][-2:] == ["two · training", "two · held-out"]
    assert [line.opacity for line in figure.data] == [0.25] * 4 + [1.0] * 2
    assert "<b>" not in "".join(line.name for line in figure.data)


def test_command_and_route_give_what_the_function_gives(
    db: Database, settings: Settings, version_id: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with store.writing(db):
        ids = [run(db, version_id, rank=8), run(db, version_id, rank=64, name="=1+1")]
    expected = json.loads(json.dumps(comparison.compare(db, ids)))
    assert main(["runs", "compare", *map(str, ids), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == expected
    assert main(["runs", "compare", *map(str, ids), "--csv", "-"]) == 0
    assert capsys.readouterr().out == comparison.csv(expected | {"differs": comparison.compare(db, ids)["differs"]})
    assert main(["runs", "compare", *map(str, ids)]) == 0
    assert "Rank" in capsys.readouterr().out
    token = people.issue_token(db, people.maintainer(db), name="test")
    client = TestClient(application(settings), headers={"Authorization": f"Bearer {token}"})
    chosen = {"run": ids}
    assert client.get("/comparison", params=chosen).json() == expected
    file = client.get("/comparison/file", params=chosen)
    assert file.headers["content-type"].startswith("text/csv")
    assert "'=1+1" in file.text
    assert client.get("/comparison", params={"run": ids[:1]}).status_code == 422


def test_a_recipe_of_an_older_program_is_filled_with_defaults(db: Database, version_id: int) -> None:
    old, now = run(db, version_id), run(db, version_id)
    db.execute("update runs set recipe = ? where id = ?", [json.dumps({"rank": Recipe().rank, "gone": 1}), old])
    assert comparison.compare(db, [old, now])["differs"] == []
    assert dataclasses.asdict(Recipe())["rank"] == 16
