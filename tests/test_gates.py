"""What would be learnt wrongly does not pass: rows with nothing to learn, answers without an end, prompts no chat gives."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from factory.adapters import kept
from factory.base.errors import Conflict, Invalid
from factory.base.settings import Settings
from factory.intake import contributions, datasets, reviews
from factory.training import encoding, gates, models, runs, worker
from factory.training.recipes import Recipe
from tests import trained

ENDLESS = (
    "{% for m in messages %}### {{ m['role'] }}:\n{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}### assistant:\n{% endif %}"
)
RUN_ON = "{% for m in messages %}{{ m['content'] }}{% endfor %}"  # words of two turns grow together
TALK = [
    {"role": "user", "content": "What is this?"},
    {"role": "assistant", "content": "It is a cat"},
    {"role": "user", "content": "alogue, is it not?"},
    {"role": "assistant", "content": "Yes."},
]
LONGER = [
    {"role": "user", "content": "What lies on the table in the library, beside the old brass lamp?"},
    {"role": "assistant", "content": "On that table lies a large printed cat"},
    {"role": "user", "content": "alogue of garden plants, does it not, from some nursery?"},
    {"role": "assistant", "content": "Yes, a catalogue of roses and ferns that a nursery printed long ago."},
]
TINY = Recipe(base_model="tiny", rank=4, max_steps=1, effective_batch=1, evaluations=0)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def speaking(tokenizer: Any, template: str) -> Any:
    other = copy.deepcopy(tokenizer)
    other.chat_template = template
    return other


def judged(tokenizer: Any, talk: list[dict[str, str]], **options: Any) -> list[gates.Answer]:
    row = encoding.encode(tokenizer, talk, **options)
    ends = frozenset([tokenizer.eos_token_id])
    return gates.answers(tokenizer, row, talk, ends=ends, system_prompt=options.get("system_prompt", ""))


def test_the_embedded_models_own_template_passes_with_and_without_a_system_prompt(tokenizer: Any) -> None:
    for prompt in ("", "Answer in one word."):
        found = judged(tokenizer, TALK, system_prompt=prompt)
        assert [(one.ends, one.prompt) for one in found] == [(True, True)] * 2
        row = encoding.encode(tokenizer, TALK, system_prompt=prompt)
        for one, place in zip(found, (1, 3), strict=True):
            assert list(row.tokens[: one.start]) == kept.prompt(tokenizer, TALK[:place], system_prompt=prompt)
            assert row.tokens[one.sign] == tokenizer.eos_token_id  # type: ignore[index]


def test_a_template_without_an_end_of_turn_fails_unless_the_end_is_cut_off(tokenizer: Any) -> None:
    endless = speaking(tokenizer, ENDLESS)
    assert [one.ends for one in judged(endless, TALK)] == [False, False]
    (first,) = judged(endless, TALK, max_length=14)
    assert first.ends


def test_an_end_that_a_chat_does_not_stop_at_fails(tokenizer: Any) -> None:
    row = encoding.encode(tokenizer, TALK)
    other = frozenset([tokenizer.convert_tokens_to_ids("<|endoftext|>")])
    assert not any(one.ends for one in gates.answers(tokenizer, row, TALK, ends=other))


def test_words_that_grow_together_over_a_border_fail_the_prompt_gate(tokenizer: Any) -> None:
    first, second = judged(speaking(tokenizer, RUN_ON), TALK)
    assert (first.prompt, second.prompt) == (True, False)


def test_a_system_prompt_that_the_chat_does_not_give_fails_the_prompt_gate(tokenizer: Any) -> None:
    row = encoding.encode(tokenizer, TALK, system_prompt="Be brief.")
    found = gates.answers(tokenizer, row, TALK, ends=frozenset([tokenizer.eos_token_id]), system_prompt="")
    assert [one.prompt for one in found] == [False, False]


def test_an_answer_that_nothing_is_trained_on_needs_neither_end_nor_prompt(tokenizer: Any) -> None:
    row = encoding.encode(speaking(tokenizer, ENDLESS), TALK)
    silent = encoding.EncodedRow(1, row.tokens, (False,) * len(row.tokens), answers=row.answers)
    assert all(one.ends and one.prompt for one in gates.answers(tokenizer, silent, TALK, ends=frozenset()))


def test_answers_that_are_history_only_are_not_asked_for_their_end(tokenizer: Any) -> None:
    row = encoding.encode(speaking(tokenizer, ENDLESS), TALK, mask_history=True)
    found = gates.answers(tokenizer, row, TALK, ends=frozenset([tokenizer.eos_token_id]))
    assert [one.ends for one in found] == [True, False]


def test_every_failing_gate_is_a_sentence_with_the_rows_and_what_to_do(tokenizer: Any) -> None:
    other = speaking(tokenizer, RUN_ON)
    rows = [encoding.encode(other, TALK, example_id=number) for number in (7, 9)]
    with pytest.raises(Invalid) as refused:
        gates.enforce(other, rows, [TALK, TALK], ends=frozenset([tokenizer.eos_token_id]))
    assert len(refused.value.problems) == 2
    assert all("In 2 of 2 rows (7, 9)" in problem for problem in refused.value.problems)


def test_where_a_chat_stops_is_read_from_the_models_own_settings(tiny_model: Path, tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [0, 7]}')
    assert gates.end_tokens(tmp_path, tokenizer) == {0, 7, tokenizer.eos_token_id}
    (tmp_path / "generation_config.json").write_text("[]")
    assert gates.end_tokens(tmp_path, tokenizer) == {tokenizer.eos_token_id}
    assert tokenizer.eos_token_id in gates.end_tokens(tiny_model, tokenizer)


def test_the_trainer_refuses_rows_that_fail_a_gate(db: Database, settings: Settings, tiny_model: Path) -> None:
    trained.home_model(settings, tiny_model)
    (settings.models / "tiny" / "chat_template.jinja").write_text(ENDLESS)
    builder, _, version = trained.frozen_version(db)
    run_id = runs.create(db, person=builder, version_id=version["id"], settings=settings, recipe=TINY)
    with pytest.raises(Invalid, match="learn to stop"):
        worker.train_run(db, settings, run_id)
    assert "learn to stop" in runs.get(db, run_id)["error"]
    assert runs.get(db, run_id)["status"] == "failed"


def test_the_trainer_refuses_turns_that_no_chat_would_ask_like_that(
    db: Database, settings: Settings, tiny_model: Path
) -> None:
    trained.home_model(settings, tiny_model)
    template = settings.models / "tiny" / "chat_template.jinja"
    builder, ada, version = trained.frozen_version(db)
    given = contributions.submit(
        db, version["dataset_id"], person=ada, rows=[LONGER], source="form", licence="CC-BY-4.0", attested=True
    )
    for example_id in given.example_ids:
        for reviewer in (builder, trained.people.get(db, "second")):
            reviews.decide(db, example_id, reviewer=reviewer, decision="accept")
    version = datasets.freeze(db, version["dataset_id"], person=builder)
    template.write_text(RUN_ON)
    run_id = runs.create(db, person=builder, version_id=version["id"], settings=settings, recipe=TINY)
    with pytest.raises(Invalid, match="not those a chat would start it from"):
        worker.train_run(db, settings, run_id)


def test_a_template_changed_after_queueing_stops_the_run_and_a_run_after_it_starts(
    db: Database, settings: Settings, tiny_model: Path
) -> None:
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    before = runs.create(db, person=builder, version_id=version["id"], settings=settings, recipe=TINY)
    template = settings.models / "tiny" / "chat_template.jinja"
    template.write_text(" " + template.read_text())
    with pytest.raises(Conflict, match="template was changed since"):
        worker.train_run(db, settings, before)
    after = runs.create(db, person=builder, version_id=version["id"], settings=settings, recipe=TINY)
    assert worker.train_run(db, settings, after) == "done"
    assert runs.get(db, after)["manifest"]["template_hash"] == models.get(settings, "tiny")["template_hash"]
    assert runs.get(db, after)["manifest"]["template_hash"] != runs.get(db, before)["manifest"]["template_hash"]
