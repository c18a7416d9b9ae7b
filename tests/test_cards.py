"""The model card: complete, from rows, and safe to show."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest
import torch
import yaml
from sqlite_utils import Database

from factory.adapters import cards, evaluation, kept
from factory.base.errors import NotFound
from factory.base.settings import Settings
from factory.training import recipes, runs
from tests import trained


@pytest.fixture
def past(db: Database, settings: Settings, tiny_model: Path) -> trained.Past:
    torch.set_num_threads(1)
    return trained.past(db, settings, tiny_model, system_prompt="Say ``` and <b>stop</b>.\n---\nlicense: none")


def head_of(card: str) -> dict[str, object]:
    before, head, _ = card.split("---\n", 2)
    assert before == ""
    found: dict[str, object] = yaml.safe_load(head)
    return found


def test_the_head_is_what_model_hubs_read(db: Database, past: trained.Past) -> None:
    assert head_of(cards.card(db, past.adapter_id)) == {
        "base_model": "tiny",
        "library_name": "peft",
        "license": "cc-by-4.0",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "model-factory", "questions"],
    }


def test_the_card_says_what_it_was_made_from(db: Database, past: trained.Past) -> None:
    card = cards.card(db, past.adapter_id)
    adapter = kept.get(db, past.adapter_id)
    for fact in (
        past.version["root"],
        adapter["sha256"],
        adapter["template_hash"],
        adapter["model_hash"],
        "3 accepted rows",
    ):
        assert str(fact) in card
    assert "| Careful (demo person, invented by the program) | 1 |" in card
    assert "Not measured" in card
    assert f"- torch {importlib.metadata.version('torch')}" in card


def test_the_recipe_in_the_card_is_the_recipe_of_the_run(db: Database, past: trained.Past) -> None:
    block = cards.card(db, past.adapter_id).split("yaml\n", 1)[1].split("\n````", 1)[0]
    assert recipes.from_yaml(block) == runs.get(db, past.run_id)["recipe"]


def test_names_titles_and_prompts_are_shown_and_never_obeyed(db: Database, past: trained.Past) -> None:
    kept.rename(db, past.adapter_id, "![x](http://evil) <img src=x> # |", person=past.builder)
    card = cards.card(db, past.adapter_id)
    assert "<script" not in card
    assert "<img" not in card
    assert re.search(r"(?<!\\)\]\(", card) is None  # no bracket that would make a link
    assert r"Ada &lt;script&gt;alert(1)&lt;/script&gt; \| \`x\`" in card
    assert card.count("\n---\n") <= 2  # the head's own end, and one inside the fenced system prompt
    assert head_of(card)["license"] == "cc-by-4.0"
    assert "````\nSay ``` and <b>stop</b>." in card


def test_results_come_with_their_interval_and_the_same_rows_give_the_same_card(
    db: Database, settings: Settings, past: trained.Past
) -> None:
    found = evaluation.evaluate(db, settings, past.adapter_id)
    card = cards.card(db, past.adapter_id)
    assert f"{found['difference']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})" in card
    assert f"{found['base_perplexity']:.3f} | {found['tuned_perplexity']:.3f}" in card
    assert found["held_out_root"] in card
    assert cards.card(db, past.adapter_id) == card


def test_a_licence_that_hubs_do_not_know_is_named(db: Database, past: trained.Past) -> None:
    head = cards._head("tiny", past.version | {"licence": "PSF-2.0"})
    assert "license: other\nlicense_name: psf-2.0\n" in head


def test_an_unknown_adapter_has_no_card(db: Database) -> None:
    with pytest.raises(NotFound):
        cards.card(db, 1)
