"""What a run answers while it learns: the same few questions at every measuring. The only writer of its table.

The questions come from the training rows or from whoever started the run, never from the sealed held-out rows. Answers are
greedy and short, so that two of them differ only because the adapter does.
"""

from __future__ import annotations

import difflib
import random
import time
from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Conflict
from factory.intake import datasets, formats
from factory.training import encoding, prompts
from factory.training.machine import give_memory_back

NEW_TOKENS = 48
LONGEST_QUESTION = 1500  # characters: the answer is what should be read
MOST_SECONDS = 30.0  # of one round; a slow machine then cuts its answers short

Messages = list[dict[str, str]]


def questions(db: Database, run: dict[str, Any]) -> list[Messages]:
    """What this run is asked: what its recipe says, or questions of its training rows, the same at every call."""
    recipe = run["recipe"]
    wanted = prompts.wanted(recipe.sample_prompts)
    if isinstance(wanted, list):
        return [[{"role": "user", "content": text}] for text in wanted]
    if not wanted:
        return []
    asked = [_question(formats.messages(content)) for _, _, content in datasets.version_content(db, run["version_id"])]
    short = [question for question in asked if len(question[-1]["content"]) <= LONGEST_QUESTION] or asked
    return random.Random(f"{recipe.seed}-samples").sample(short, min(wanted, len(short)))


def _question(talk: Sequence[dict[str, str]]) -> Messages:
    """A conversation up to its first answer."""
    first = next((place for place, message in enumerate(talk) if message["role"] == "assistant"), len(talk))
    return [dict(message) for message in talk[:first]]


def answers(
    model: Any, tokenizer: Any, asked: Sequence[Messages], *, system_prompt: str = "", new_tokens: int = NEW_TOKENS
) -> list[tuple[str, bool]]:
    """Greedy answers of a model as it stands, all questions in one batch: (text, whether it was cut), in their order.

    The model is left in eval mode; no chance is drawn, so training goes on as if nothing had been asked.
    """
    import torch
    from transformers import GenerationConfig

    opening = [{"role": "system", "content": system_prompt}] if system_prompt else []
    texts = [
        encoding.rendered(tokenizer, talk if talk[0]["role"] == "system" else [*opening, *talk], prompt=True)
        for talk in asked
    ]
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    own = model.generation_config.eos_token_id
    ends = {token for token in (*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id) if token is not None}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)
    width = max(len(one) for one in ids)
    device = model.device
    given = torch.tensor([[pad] * (width - len(one)) + one for one in ids], device=device)
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in ids], device=device)
    how = GenerationConfig(
        max_new_tokens=new_tokens, do_sample=False, max_time=MOST_SECONDS, eos_token_id=sorted(ends), pad_token_id=pad
    )
    model.eval()
    give_memory_back()  # what training left in gaps would be held beside what answering takes
    with torch.no_grad():
        made = model.generate(input_ids=given, attention_mask=mask, generation_config=how, use_cache=True)
    said = []
    for tokens in made[:, width:].tolist():
        end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
        said.append((tokenizer.decode(tokens[:end], skip_special_tokens=True).strip(), end == len(tokens)))
    return said


def record(
    db: Database,
    run_id: int,
    token: str,
    step: int,
    asked: Sequence[Messages],
    said: Sequence[tuple[str, bool]],
    *,
    seconds: float,
) -> None:
    """Keep the answers of one step; what is there already stays. Raises Conflict when another process has the run."""
    moment = store.now()
    with store.writing(db):
        if store.value(db, "select token from runs where id = ?", run_id) != token:
            raise Conflict(f"Run {run_id} no longer belongs to this process, so its answers are not kept.")
        for position, (talk, (answer, cut)) in enumerate(zip(asked, said, strict=True)):
            db.execute(
                "insert or ignore into samples (run_id, step, position, prompt, answer, cut, seconds, at)"
                " values (?, ?, ?, ?, ?, ?, ?, ?)",
                [run_id, step, position, talk[-1]["content"], answer, int(cut), seconds / len(asked), moment],
            )


def has(db: Database, run_id: int, step: int) -> bool:
    """Whether the answers of a step are kept already, as they are where a resumed run passes it again."""
    return bool(store.value(db, "select 1 from samples where run_id = ? and step = ?", run_id, step))


def ask(db: Database, run: dict[str, Any], step: int, asked: Sequence[Messages], *, model: Any, tokenizer: Any) -> float:
    """Ask the model as it stands and keep its answers; the seconds that took, 0 where nothing was asked."""
    if not asked or has(db, run["id"], step):
        return 0.0
    began = time.monotonic()
    said = answers(model, tokenizer, asked, system_prompt=run["recipe"].system_prompt)
    seconds = time.monotonic() - began
    record(db, run["id"], run["token"], step, asked, said, seconds=seconds)
    return seconds


def listing(db: Database, run_id: int) -> list[dict[str, Any]]:
    """Every answer of a run by step and question: step, position, prompt, answer, cut, seconds, held_out_loss (or None)."""
    return store.rows(
        db,
        "select s.step, s.position, s.prompt, s.answer, s.cut, s.seconds, m.value as held_out_loss from samples s"
        " left join metrics m on m.run_id = s.run_id and m.name = 'held_out_loss' and m.step = s.step"
        " where s.run_id = ? order by s.step, s.position",
        run_id,
    )


def changed(before: str, after: str) -> list[tuple[str, bool]]:
    """The words of `after` in pieces, each with whether `before` did not have it there.

    >>> changed("a list of things", "a set of things")
    [('a ', False), ('set ', True), ('of things', False)]
    """
    old, new = _words(before), _words(after)
    pieces: list[tuple[str, bool]] = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if start < end:
            pieces.append(("".join(new[start:end]), kind != "equal"))
    return pieces


def _words(text: str) -> list[str]:
    """Words with the blanks after them; put together they are the text."""
    import re

    return re.findall(r"\S+\s*|^\s+", text)
