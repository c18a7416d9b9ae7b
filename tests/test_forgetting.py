"""What an adapter forgot: measured on a text of its own, paired, and said in words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import torch
from sqlite_utils import Database

from factory.adapters import evaluation, forgetting, kept
from factory.base.settings import Settings
from factory.intake import sample
from factory.training import models
from tests import trained


@pytest.fixture
def past(db: Database, settings: Settings, tiny_model: Path) -> trained.Past:
    torch.set_num_threads(1)
    return trained.past(db, settings, tiny_model)


def test_an_evaluation_also_measures_both_models_on_the_neutral_text(
    db: Database, settings: Settings, past: trained.Past
) -> None:
    found = forgetting.find(db, evaluation.evaluate(db, settings, past.adapter_id)["id"])
    assert found is not None
    assert found["text_hash"] == forgetting.text_hash()
    assert found["chunk_count"] == len(forgetting.passages())
    assert found["low"] < found["difference"] < found["high"]
    model, tokenizer = models.load(settings, "tiny", adapter_folder=kept.folder(db, settings, past.adapter_id))
    losses = {}
    for who in ("base", "tuned"):  # each passage alone, by the model's own loss
        total = tokens = 0.0
        for passage in forgetting.passages():
            ids = torch.tensor([tokenizer.encode(passage)])
            with torch.no_grad(), model.disable_adapter() if who == "base" else torch.no_grad():
                total += float(model(input_ids=ids, labels=ids).loss) * (ids.numel() - 1)
            tokens += ids.numel() - 1
        losses[who] = total / tokens
        assert found["tokens"] == tokens
    assert found["base_loss"] == pytest.approx(losses["base"], rel=2e-3)
    assert found["tuned_loss"] == pytest.approx(losses["tuned"], rel=2e-3)
    for table in ("forgetting", "forgetting_chunks"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(f"update {table} set tuned_loss = 0")
    assert found["forgot_percent"] == pytest.approx(100 * found["difference"] / found["base_loss"])


def test_an_evaluation_from_before_has_nothing_to_say(db: Database) -> None:
    assert forgetting.find(db, 1) is None
    assert "not measured" in forgetting.in_words(None)


def test_the_passages_are_long_enough_to_tell_and_none_is_cut(settings: Settings, base_models: Path) -> None:
    from transformers import AutoTokenizer

    rows = forgetting.rows(AutoTokenizer.from_pretrained(base_models / "smollm2-135m-instruct"))
    lengths = [len(row.tokens) for row in rows]
    assert 1500 <= sum(lengths) <= 3000
    assert min(lengths) >= 50
    assert max(lengths) < forgetting.LONGEST_PASSAGE
    assert all(not row.supervised[0] and all(row.supervised[1:]) for row in rows)


def test_no_passage_shares_five_words_in_a_row_with_the_sample_dataset() -> None:
    asked, held_out = sample.questions()
    words = [question.asked + " " + question.answer for question in (*asked, *held_out)]
    known = {gram for text in words for gram in grams(text)}
    assert not {gram for passage in forgetting.passages() for gram in grams(passage)} & known


def grams(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[at : at + 5]) for at in range(len(words) - 4)}
