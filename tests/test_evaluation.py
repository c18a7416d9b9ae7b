"""Base against tuned: the interval is honest, and what is written is what was measured."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlite_utils import Database

from factory.adapters import evaluation, kept
from factory.base import store
from factory.base.errors import Invalid, NotFound
from factory.base.settings import Settings
from factory.training import encoding, models
from tests import trained


def test_the_interval_holds_the_true_difference_about_95_times_in_a_hundred() -> None:
    draws = np.random.default_rng(7)
    held = 0
    for trial in range(200):
        tokens = draws.integers(5, 60, 40)
        base = tokens * draws.gamma(4, 0.5, 40)
        tuned = base + tokens * draws.normal(-0.1, 0.3, 40)  # the true difference is -0.1 nats a token
        found = evaluation.paired(base, tuned, tokens, resamples=400, seed=trial)
        held += found.low <= -0.1 <= found.high
    assert 176 <= held <= 198


def test_what_makes_a_row_hard_for_both_models_does_not_widen_the_interval() -> None:
    tokens = np.full(50, 10)
    hardness = np.random.default_rng(1).uniform(1, 100, 50)
    found = evaluation.paired(hardness, hardness - 1, tokens)
    assert found.difference == pytest.approx(-0.1)
    assert found.high - found.low < 1e-9


def test_a_long_row_weighs_as_many_tokens_as_it_has() -> None:
    found = evaluation.paired([9.0, 2.0], [9.0, 1.0], [9, 1])
    assert (found.base_loss, found.tuned_loss) == (pytest.approx(1.1), pytest.approx(1.0))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    draws = np.random.default_rng(3)
    base, tuned, tokens = draws.uniform(1, 9, 30), draws.uniform(1, 9, 30), draws.integers(1, 9, 30)
    assert evaluation.paired(base, tuned, tokens) == evaluation.paired(base, tuned, tokens)
    assert evaluation.paired(base, tuned, tokens) != evaluation.paired(base, tuned, tokens, seed=1)


def test_rows_without_an_answer_change_nothing() -> None:
    with_empty = evaluation.paired([4.0, 0.0], [2.0, 0.0], [2, 0])
    assert (with_empty.base_loss, with_empty.tuned_loss) == (2.0, 1.0)
    assert np.isfinite([with_empty.low, with_empty.high]).all()


@pytest.mark.parametrize(
    ("base", "tuned", "tokens", "words"),
    [
        ([], [], [], "nothing to compare"),
        ([1.0], [1.0], [0], "nothing to compare"),
        ([1.0], [float("nan")], [3], "not a number"),
    ],
)
def test_nothing_to_compare_is_refused_with_a_sentence(
    base: list[float], tuned: list[float], tokens: list[int], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        evaluation.paired(base, tuned, tokens)


@pytest.fixture
def past(db: Database, settings: Settings, tiny_model: Path) -> trained.Past:
    torch.set_num_threads(1)
    return trained.past(db, settings, tiny_model)


def test_what_is_written_is_what_was_measured(db: Database, settings: Settings, past: trained.Past) -> None:
    heard: list[tuple[float, str]] = []
    found = evaluation.evaluate(db, settings, past.adapter_id, progress=lambda share, words: heard.append((share, words)))
    rows = evaluation.rows_of(db, found["id"])
    assert found["held_out_root"] == past.version["held_out_root"]
    assert found["row_count"] == len(rows) == len(trained.HELD_OUT)
    assert found["label_tokens"] == sum(row["label_tokens"] for row in rows)
    for who in ("base", "tuned"):
        assert found[f"{who}_loss"] == pytest.approx(sum(row[f"{who}_loss"] for row in rows) / found["label_tokens"])
        assert found[f"{who}_perplexity"] == pytest.approx(np.exp(found[f"{who}_loss"]))
    assert found["difference"] == pytest.approx(found["tuned_loss"] - found["base_loss"])
    assert found["low"] < found["difference"] < found["high"]
    assert evaluation.latest(db, past.adapter_id) == evaluation.get(db, found["id"]) == found
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert (shares[0], heard[-1]) == (0.0, (1.0, "done"))


def test_the_losses_are_those_of_the_plain_base_and_of_the_plain_adapter(
    db: Database, settings: Settings, past: trained.Past
) -> None:
    found = evaluation.rows_of(db, evaluation.evaluate(db, settings, past.adapter_id)["id"])
    talks = [trained.talk(question, answer) for question, answer in trained.HELD_OUT.items()]
    for who, place in (("base", None), ("tuned", kept.folder(db, settings, past.adapter_id))):
        model, tokenizer = models.load(settings, "tiny", adapter_folder=place)
        expected = encoding.row_losses(model, [encoding.encode(tokenizer, talk) for talk in talks])
        assert [row[f"{who}_loss"] for row in found] == pytest.approx([loss for loss, _ in expected], rel=1e-4)
        assert [row["label_tokens"] for row in found] == [count for _, count in expected]


def test_answers_stand_side_by_side_under_their_question(db: Database, settings: Settings, past: trained.Past) -> None:
    found = evaluation.generations_of(db, evaluation.evaluate(db, settings, past.adapter_id)["id"])
    assert {row["prompt"]: row["expected"] for row in found} == trained.HELD_OUT
    assert all(row["base_text"] != row["tuned_text"] for row in found)


def test_answers_written_together_are_those_written_alone(db: Database, settings: Settings, past: trained.Past) -> None:
    place = kept.folder(db, settings, past.adapter_id)
    model, tokenizer = models.load(settings, "tiny", adapter_folder=place)
    model.float()  # in bfloat16 the scores of an untrained model tie
    asked = [[{"role": "user", "content": question}] for question in (*trained.HELD_OUT, "Why?")]
    together = evaluation._answers(model, tokenizer, asked, "")
    assert together == [evaluation._answers(model, tokenizer, [one], "")[0] for one in asked]


def test_measuring_again_adds_a_row_and_changes_none(db: Database, settings: Settings, past: trained.Past) -> None:
    first = evaluation.evaluate(db, settings, past.adapter_id)
    second = evaluation.evaluate(db, settings, past.adapter_id)
    assert evaluation.get(db, first["id"]) == first
    same = ("base_loss", "tuned_loss", "difference", "low", "high", "label_tokens")
    assert {key: first[key] for key in same} == {key: second[key] for key in same}
    assert (evaluation.latest(db, past.adapter_id) or {})["id"] == second["id"] > first["id"]
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute("update evaluations set tuned_loss = 0")


def test_a_version_without_a_held_out_set_cannot_be_measured_and_leaves_nothing(
    db: Database, settings: Settings, tiny_model: Path
) -> None:
    past = trained.past(db, settings, tiny_model, held_out=False)
    with pytest.raises(Invalid, match="without a held-out set"):
        evaluation.evaluate(db, settings, past.adapter_id)
    assert evaluation.latest(db, past.adapter_id) is None
    with pytest.raises(NotFound):
        evaluation.get(db, 1)
    with pytest.raises(NotFound):
        evaluation.evaluate(db, settings, 99)


def test_another_chat_template_than_that_of_the_training_is_not_measured_with(
    db: Database, settings: Settings, past: trained.Past
) -> None:
    template = settings.models / "tiny" / "chat_template.jinja"
    template.write_text(" " + template.read_text())
    with pytest.raises(Invalid, match="another chat template"):
        evaluation.evaluate(db, settings, past.adapter_id)
    assert evaluation.latest(db, past.adapter_id) is None


def test_a_measuring_that_breaks_off_leaves_no_half(db: Database, settings: Settings, past: trained.Past) -> None:
    def stop_late(share: float, words: str) -> None:
        if "answers with the adapter" in words:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(db, settings, past.adapter_id, progress=stop_late)
    tables = ("evaluations", "evaluation_rows", "generations")
    assert [store.value(db, f"select count(*) from {table}") for table in tables] == [0, 0, 0]
