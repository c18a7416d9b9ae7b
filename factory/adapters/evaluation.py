"""Base against tuned on the same sealed rows: how much better, and how sure that is."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sqlite_utils import Database

from factory.adapters import forgetting, kept
from factory.base import store
from factory.base.errors import Invalid, NotFound
from factory.base.settings import Settings
from factory.intake import datasets, formats
from factory.training import encoding, models

METHOD = "held-out loss of answers, unquantised in {dtype}, paired bootstrap over rows (1)"
RESAMPLES = 2000
SEED = 20260
GENERATIONS = 4
GENERATED_TOKENS = 48
LONGEST_ROW = 2048


@dataclass(frozen=True)
class Difference:
    """Losses in nats per label token; `difference` is tuned minus base, so below zero is better."""

    base_loss: float
    tuned_loss: float
    difference: float
    low: float
    high: float


def paired(
    base: ArrayLike,
    tuned: ArrayLike,
    tokens: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = 0.95,
) -> Difference:
    """The token-weighted difference of two models on the same rows, with a percentile bootstrap interval.

    `base` and `tuned` are losses summed over each row's label tokens, `tokens` how many those are, all of length rows.
    Rows are drawn with replacement, each with both of its losses, so what makes a row hard for both models cancels out.
    One row gives an interval of no width: that is ignorance, not certainty. Source: Efron and Tibshirani,
    "An Introduction to the Bootstrap", 1993, chapter 13.
    Raises Invalid when there is nothing to compare.

    >>> found = paired([20.0, 10.0], [10.0, 5.0], [10, 5])
    >>> found.base_loss, found.tuned_loss, found.difference
    (2.0, 1.0, -1.0)
    >>> found.low, found.high
    (-1.0, -1.0)
    """
    b, t, n = (np.asarray(values, dtype=np.float64) for values in (base, tuned, tokens))
    if not (b.shape == t.shape == n.shape) or b.ndim != 1 or not b.size or not n.sum() > 0:
        raise Invalid("There is nothing to compare: the held-out set has no row with an answer to measure on.")
    if not (np.isfinite(b).all() and np.isfinite(t).all()):
        raise Invalid("A held-out loss is not a number, so the weights are broken; train again with a lower learning rate.")
    draws = np.random.default_rng(seed)
    differences = np.empty(resamples)
    at_once = max(1, 2**20 // b.size)  # keeps the index of a large held-out set within some megabytes
    for start in range(0, resamples, at_once):
        rows = draws.integers(0, b.size, size=(min(at_once, resamples - start), b.size))
        # A resample of rows without any label token has no loss; the smallest count keeps it finite and at zero.
        counts = np.maximum(n[rows].sum(axis=1), np.finfo(float).tiny)
        differences[start : start + len(rows)] = (t - b)[rows].sum(axis=1) / counts
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(differences, [tail, 100 - tail])
    base_loss, tuned_loss = float(b.sum() / n.sum()), float(t.sum() / n.sum())
    return Difference(base_loss, tuned_loss, tuned_loss - base_loss, float(low), float(high))


def evaluate(
    db: Database, settings: Settings, adapter_id: int, *, progress: Callable[[float, str], None] | None = None
) -> dict[str, Any]:
    """Measure an adapter on the held-out set its dataset version was frozen with, and return the evaluation.

    One model is loaded, in this hardware's full precision also for an adapter trained by QLoRA, so base and tuned differ
    by the adapter alone: it is measured once off and once on. Only answers count, whatever the recipe trained on, and rows
    are cut at 2,048 tokens whatever its maximum length, so that adapters can be compared. The base is asked with the
    template's own system prompt: a builder's choice of words must not make the base look worse than it is. What the adapter
    forgot is measured on a neutral text. All of it and four greedy answers side by side are written in one transaction.
    `progress` hears the share done (0 to 1) and what is being done. Running it again adds another evaluation.
    Raises NotFound, Invalid (no held-out set, another template), Unavailable.
    """
    tell = progress or _silent
    began = time.monotonic()
    adapter = kept.get(db, adapter_id)
    version = datasets.version(db, adapter["version_id"])
    if version["held_out_set_id"] is None:
        raise Invalid(
            f"Version {version['number']} of {adapter['slug']} was frozen without a held-out set, so nothing can be"
            " measured; seal one, freeze a version and train on that."
        )
    talks = [formats.messages(content) for content in datasets.held_out_content(db, version["held_out_set_id"])]
    tell(0.0, "loading the model")
    place = kept.folder(db, settings, adapter_id)
    sheet = kept.sheet(place)
    model, tokenizer = models.load(settings, adapter["model_name"], adapter_folder=place)
    base = models.get(settings, adapter["model_name"])
    kept.need_fit(sheet, model_hash=base["hash"], template_hash=models.template_hash(tokenizer))
    plain = _encoded(tokenizer, talks)
    rows = _encoded(tokenizer, talks, system_prompt=sheet["system_prompt"])
    if [row.label_tokens for row in plain] != [row.label_tokens for row in rows]:
        raise Invalid("With this system prompt the held-out rows would lose words they are measured on; shorten the prompt.")
    with model.disable_adapter():
        before = encoding.row_losses(model, plain, progress=lambda done: tell(0.1 + 0.3 * done, "measuring the base"))
    after = encoding.row_losses(model, rows, progress=lambda done: tell(0.4 + 0.3 * done, "measuring the adapter"))
    elsewhere = forgetting.measure(
        model, tokenizer, progress=lambda done: tell(0.7 + 0.1 * done, "measuring what it forgot")
    )
    base_texts, tuned_texts = _side_by_side(model, tokenizer, talks, sheet["system_prompt"], tell)
    summary = {
        "adapter_id": adapter_id,
        "held_out_root": version["held_out_root"],
        "row_count": len(rows),
        "label_tokens": sum(count for _, count in before),
        **_figures(before, after),
        "method": METHOD.format(dtype=models.device_and_dtype()["dtype"]),
        "seconds": time.monotonic() - began,
        "at": store.now(),
    }
    with store.writing(db):
        evaluation_id = store.insert(db, "evaluations", summary)
        _write_rows(db, evaluation_id, before, after)
        _write_generations(db, evaluation_id, talks, base_texts, tuned_texts)
        forgetting.write(db, evaluation_id, _figures(*elsewhere), *elsewhere)
    tell(1.0, "done")
    return get(db, evaluation_id)


def _encoded(
    tokenizer: Any, talks: Sequence[Sequence[dict[str, str]]], *, system_prompt: str = ""
) -> list[encoding.EncodedRow]:
    """Held-out rows as tokens; a system prompt has its own room, so that it pushes no word of a row over the edge."""
    room = len(tokenizer.encode(system_prompt)) if system_prompt else 0
    return [
        encoding.encode(tokenizer, talk, example_id=at, system_prompt=system_prompt, max_length=LONGEST_ROW + room)
        for at, talk in enumerate(talks)
    ]


def _figures(before: forgetting.Losses, after: forgetting.Losses) -> dict[str, float]:
    return dataclasses.asdict(paired([loss for loss, _ in before], [loss for loss, _ in after], [n for _, n in before]))


def _silent(fraction: float, words: str) -> None:
    return None


def _side_by_side(
    model: Any,
    tokenizer: Any,
    talks: Sequence[Sequence[dict[str, str]]],
    system_prompt: str,
    tell: Callable[[float, str], None],
) -> tuple[list[str], list[str]]:
    """The base's and the adapter's answers to the first few conversations."""
    asked = [talk[:-1] for talk in talks[:GENERATIONS]]
    tell(0.8, "writing answers with the base")
    with model.disable_adapter():
        base_texts = _answers(model, tokenizer, asked, "")
    tell(0.9, "writing answers with the adapter")
    return base_texts, _answers(model, tokenizer, asked, system_prompt)


def _answers(model: Any, tokenizer: Any, asked: Sequence[Sequence[dict[str, str]]], system_prompt: str) -> list[str]:
    """Greedy answers of at most 48 new tokens, all conversations at once."""
    import torch
    from transformers import GenerationConfig

    prompts = [kept.prompt(tokenizer, talk, system_prompt=system_prompt) for talk in asked]
    longest = max(len(ids) for ids in prompts)
    ends = sorted(kept.end_tokens(model, tokenizer))
    filler = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    ids = torch.tensor([[filler] * (longest - len(ids)) + ids for ids in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device)
    greedy = GenerationConfig(do_sample=False, max_new_tokens=GENERATED_TOKENS, eos_token_id=ends, pad_token_id=filler)
    with torch.inference_mode():
        written = model.generate(input_ids=ids, attention_mask=mask, generation_config=greedy)
    return [text.strip() for text in tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)]


def _write_rows(
    db: Database, evaluation_id: int, before: Sequence[tuple[float, int]], after: Sequence[tuple[float, int]]
) -> None:
    db.conn.executemany(
        "insert into evaluation_rows (evaluation_id, position, label_tokens, base_loss, tuned_loss) values (?, ?, ?, ?, ?)",
        [
            (evaluation_id, position, count, base, tuned)
            for position, ((base, count), (tuned, _)) in enumerate(zip(before, after, strict=True))
        ],
    )


def _write_generations(
    db: Database,
    evaluation_id: int,
    talks: Sequence[Sequence[dict[str, str]]],
    base_texts: Sequence[str],
    tuned_texts: Sequence[str],
) -> None:
    for position, (talk, base, tuned) in enumerate(zip(talks, base_texts, tuned_texts, strict=False)):
        store.insert(
            db,
            "generations",
            {
                "evaluation_id": evaluation_id,
                "position": position,
                "prompt": talk[-2]["content"],
                "expected": talk[-1]["content"],
                "base_text": base,
                "tuned_text": tuned,
            },
        )


def get(db: Database, evaluation_id: int) -> dict[str, Any]:
    """One evaluation: its columns, and base_perplexity and tuned_perplexity. Raises NotFound."""
    found = store.row(db, "select * from evaluations where id = ?", evaluation_id)
    if found is None:
        raise NotFound(f"There is no evaluation {evaluation_id}; an adapter's page lists its own.")
    return _with_perplexity(found)


def latest(db: Database, adapter_id: int) -> dict[str, Any] | None:
    """The newest evaluation of an adapter, as `get` gives it, or None."""
    found = store.row(db, "select * from evaluations where adapter_id = ? order by id desc limit 1", adapter_id)
    return _with_perplexity(found) if found else None


def rows_of(db: Database, evaluation_id: int) -> list[dict[str, Any]]:
    """Each held-out row: position, label_tokens, base_loss and tuned_loss (nats, summed over the row's label tokens)."""
    return store.rows(
        db,
        "select position, label_tokens, base_loss, tuned_loss from evaluation_rows where evaluation_id = ?"
        " order by position",
        evaluation_id,
    )


def generations_of(db: Database, evaluation_id: int) -> list[dict[str, Any]]:
    """The answers side by side: position, prompt (the last question), expected, base_text, tuned_text."""
    return store.rows(
        db,
        "select position, prompt, expected, base_text, tuned_text from generations where evaluation_id = ?"
        " order by position",
        evaluation_id,
    )


def _with_perplexity(found: dict[str, Any]) -> dict[str, Any]:
    # Beyond e^700 a float ends; a loss of 700 nats a token is broken anyhow.
    return found | {f"{who}_perplexity": float(np.exp(min(found[f"{who}_loss"], 700.0))) for who in ("base", "tuned")}
