"""The longest packs of a very choice, trained on for real for a few steps: what a preflight measures.

The trainer's own loop does it, on rows chosen so that its first steps are the worst ones: forward, backward, optimizer,
a held-out pack, a state saved and read back by a second loop. Nothing of it is kept.
"""

from __future__ import annotations

import dataclasses
import gc
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sqlite_utils import Database

from factory.base.errors import Invalid
from factory.base.settings import Settings
from factory.intake import datasets, formats
from factory.training import encoding, loop, models, packing, samples
from factory.training.encoding import EncodedRow
from factory.training.machine import peak_bytes
from factory.training.recipes import Recipe

Tell = Callable[[float, str], None]
SAMPLED_ROWS = 128  # encoded to see how the rows of this data lie in packs
LONGEST_ROWS = 8
STEPS = 5  # the longest pack, half of it, both again, then rows as they come
VARIED_PACKS = 8  # of other sizes: each leaves gaps and prepared products of its own in memory


@dataclass(frozen=True)
class Chosen:
    """Rows of the longest pack that was found, as many rows as they come, and how the sampled rows lie in packs."""

    longest: list[EncodedRow]
    usual: list[EncodedRow]
    computed_share: float
    label_share: float
    tokens_factor: float
    seconds_per_row: float


def measure(
    db: Database,
    settings: Settings,
    *,
    versions: Sequence[dict[str, Any]],
    recipe: Recipe,
    counts: Sequence[int],
    tell: Tell,
) -> dict[str, Any]:
    """Train a few steps on the longest packs of a recipe and its versions, and say what they took.

    `counts` are their rows' lengths in tokens as counted quickly, one version after the other. Returns libraries_bytes,
    peak_bytes, longest_pack (tokens), steps and held_out (packs as [tokens, labels], seconds), start_seconds, row_seconds,
    save_seconds, checkpoint_bytes, and of the sampled rows tokens_factor, label_share, computed_share.
    Raises Invalid where no row can be trained on, Unavailable where memory or disk runs out.
    """
    tell(0.02, "reading the data")
    began = time.monotonic()
    version = versions[0]
    for each in versions:
        datasets.verify_version(db, each["id"])
    content = [text for each in versions for _, _, text in datasets.version_content(db, each["id"])]
    verified = time.monotonic() - began
    import peft  # noqa: F401  (what follows is measured from here on)
    import transformers  # noqa: F401

    libraries = peak_bytes()
    tell(0.1, "loading the model")
    loading = time.monotonic()
    model, tokenizer = models.load(settings, recipe.base_model, recipe=recipe)
    loaded = time.monotonic() - loading
    tell(0.3, "choosing the longest rows")
    chosen = choose(tokenizer, content, counts, recipe)
    with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=_scratch(settings)) as folder:
        found = _train(model, chosen, recipe, Path(folder), bool(version["held_out_root"]), tell)
        tell(0.75, "packs of other sizes")
        _varied(model, chosen, recipe)
        asked = samples.questions(db, {"recipe": recipe, "version_id": version["id"]})
        found |= _answered(model, tokenizer, asked, recipe)
        found["start_seconds"] += verified + loaded + (loading - began - verified)
        peak = _peak(model)
        tell(0.85, "reading the saved state back")
        del model
        gc.collect()
        again, _ = models.load(settings, recipe.base_model, recipe=recipe)
        _read_back(again, chosen, recipe, Path(folder))
    on_gpu = torch.cuda.is_available()
    return {
        **found,
        "peak_bytes": peak,
        "libraries_bytes": 0 if on_gpu else libraries,
        "row_seconds": chosen.seconds_per_row,
        "tokens_factor": chosen.tokens_factor,
        "label_share": chosen.label_share,
        "computed_share": chosen.computed_share,
        "device": "cuda" if on_gpu else "cpu",
    }


def _scratch(settings: Settings) -> Path:
    settings.runs.mkdir(parents=True, exist_ok=True)  # the disk that the run's own states will go to
    return settings.runs


def _peak(model: Any) -> int:
    return int(torch.cuda.max_memory_allocated()) if model.device.type == "cuda" else peak_bytes()


def choose(tokenizer: Any, content: Sequence[str], counts: Sequence[int], recipe: Recipe) -> Chosen:
    """The rows to rehearse with: of the longest pack that these rows lie in, by the recipe's batch and limits.

    `content` are the rows as JSON, `counts` their lengths. Raises Invalid where no row can be trained on.
    """
    order = sorted(range(len(content)), key=lambda place: -counts[place])
    rest = order[LONGEST_ROWS:]
    random.Random(0).shuffle(rest)
    picked = order[:LONGEST_ROWS] + rest[: SAMPLED_ROWS - LONGEST_ROWS]
    began = time.monotonic()
    rows = [
        encoding.encode(
            tokenizer, formats.messages(content[place]), example_id=place, system_prompt=recipe.system_prompt,
            max_length=recipe.max_length, completions_only=recipe.completions_only, mask_history=recipe.mask_history,
        )
        for place in picked
    ]  # fmt: skip
    seconds = (time.monotonic() - began) / max(1, len(rows))
    usable = [row for row in rows if row.label_tokens]
    if not usable:
        raise Invalid("No row has anything to train on within the maximum length; raise max_length.")
    long = [row for row in usable if row.example_id in set(order[:LONGEST_ROWS])] or usable[:1]
    usual = [row for row in usable if row not in long] or usable
    batches = [usual[start : start + recipe.effective_batch] for start in range(0, len(usual), recipe.effective_batch)]
    whole = [batch for batch in batches if len(batch) == len(batches[0])]
    packs = [(pack, batch) for batch in whole for pack in packing.packs(batch, tokens_per_pack=recipe.tokens_at_once)]
    computed = sum(len(pack.tokens) for pack, _ in packs)
    tokens = sum(len(row.tokens) for batch in whole for row in batch)
    worst = [*long, *usual][: recipe.effective_batch]
    packs += [(pack, worst) for pack in packing.packs(worst, tokens_per_pack=recipe.tokens_at_once)]
    longest, of = max(packs, key=lambda pair: (len(pair[0].tokens), len(pair[0].labels)))
    sampled = [counts[row.example_id] for row in rows]
    return Chosen(
        longest=[of[place] for place in longest.rows],
        usual=usual,
        computed_share=computed / tokens,
        label_share=sum(row.label_tokens for row in usual) / sum(len(row.tokens) for row in usual),
        tokens_factor=sum(len(row.tokens) for row in rows) / max(1, sum(min(recipe.max_length, n) for n in sampled)),
        seconds_per_row=seconds,
    )


def _half(row: EncodedRow) -> EncodedRow:
    """The first half of a row, with the same share of its tokens trained on."""
    length = max(2, len(row.tokens) // 2)
    labels = max(1, round(row.label_tokens * length / len(row.tokens)))
    marks = [False] * (length - labels) + [True] * labels
    return EncodedRow(row.example_id, row.tokens[:length], tuple(marks))


def _rehearsed(recipe: Recipe, rows: int) -> Recipe:
    """The recipe as it is in all that costs anything, for a few steps of so many rows, measured at its ends only."""
    return dataclasses.replace(
        recipe, effective_batch=rows, epochs=1.0, max_steps=0, evaluations=0, early_stopping_patience=0,
        checkpoint_minutes=0.0, checkpoint_steps=0,
    )  # fmt: skip


def _in_order(steps: Sequence[Sequence[EncodedRow]], recipe: Recipe) -> list[EncodedRow]:
    """Rows laid so that the loop's own shuffle brings `steps` in this order."""
    width = len(steps[0])
    places = [EncodedRow(place, (0,), (False,)) for place in range(width * len(steps))]
    laid = list(places)
    for number, step in enumerate(steps, 1):
        for place, row in zip(loop.rows_of_step(places, recipe, number), step, strict=True):
            laid[place.example_id] = row
    return laid


def _train(model: Any, chosen: Chosen, recipe: Recipe, folder: Path, measured_too: bool, tell: Tell) -> dict[str, Any]:
    width = len(chosen.longest)
    half = [_half(row) for row in chosen.longest]
    usual = [chosen.usual[place % len(chosen.usual)] for place in range(width)]
    batches = [chosen.longest, half, chosen.longest, half, usual]
    short = _rehearsed(recipe, width)
    held_out = chosen.longest if measured_too else []
    began = time.monotonic()
    told: list[tuple[loop.Step, float]] = []
    for step in loop.train(model, _in_order(batches, short), held_out, short, folder=folder):
        told.append((step, time.monotonic()))
        tell(0.35 + 0.45 * len(told) / (STEPS + 1), f"step {step.step} of {STEPS}")
    held: dict[str, Any] | None = None
    if measured_too:
        at = time.monotonic()
        loop.held_out_loss(model, held_out, short)
        held = {"packs": _sizes(held_out, recipe), "seconds": time.monotonic() - at}
    steps: list[dict[str, Any]] = [
        {"packs": _sizes(batch, recipe), "seconds": step.tokens / step.tokens_per_second}
        for batch, (step, _) in zip(batches, told[1:], strict=True)
        if step.tokens_per_second
    ]
    spent = held["seconds"] if held else 0.0
    saving = max(0.01, told[-1][1] - told[-2][1] - steps[-1]["seconds"] - spent)
    return {
        "steps": steps[2:],  # the first of each shape also makes what later ones find made
        "held_out": held,
        "longest_pack": max(tokens for tokens, _ in _sizes(chosen.longest, recipe)),
        "start_seconds": max(0.0, told[0][1] - began - spent - saving),
        "save_seconds": saving,
        "checkpoint_bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
    }


def _varied(model: Any, chosen: Chosen, recipe: Recipe) -> None:
    """Forward and backward of packs of other sizes, as a training meets them, and of the longest one among them.

    Nothing is learned: what counts is the memory that stays with each size.
    """
    rows = (chosen.usual * (1 + recipe.effective_batch // len(chosen.usual)))[: max(SAMPLED_ROWS, recipe.effective_batch)]
    starts = range(0, len(rows), recipe.effective_batch)
    batches = [rows[start : start + recipe.effective_batch] for start in starts]
    found = [pack for batch in batches for pack in packing.packs(batch, tokens_per_pack=recipe.tokens_at_once)]
    sizes = {len(pack.tokens): pack for pack in found}
    longest = packing.packs(chosen.longest, tokens_per_pack=recipe.tokens_at_once)
    model.train()
    for pack in (*list(sizes.values())[:VARIED_PACKS], *longest):
        encoding.backward(model, pack, divisor=1.0)
    for parameter in model.parameters():
        parameter.grad = None


def _answered(model: Any, tokenizer: Any, asked: Any, recipe: Recipe) -> dict[str, float]:
    """Seconds of the answers that a trainer writes down at its first and last step and where it measures."""
    seconds = [0.0, 0.0]
    for place in range(2 if asked else 0):  # the first round also loads what answering needs
        began = time.monotonic()
        samples.answers(model, tokenizer, asked, system_prompt=recipe.system_prompt)
        seconds[place] = time.monotonic() - began
    return {"first_answers_seconds": seconds[0], "answers_seconds": seconds[1]}


def _sizes(rows: Sequence[EncodedRow], recipe: Recipe) -> list[tuple[int, int]]:
    """(tokens, labels) of the packs that rows are laid into."""
    return [(len(pack.tokens), len(pack.labels)) for pack in packing.packs(rows, tokens_per_pack=recipe.tokens_at_once)]


def _read_back(model: Any, chosen: Chosen, recipe: Recipe, folder: Path) -> None:
    """Put the saved state into a fresh model and optimizer, as a run that is resumed does it."""
    width = len(chosen.longest)
    for _ in loop.train(model, chosen.longest * STEPS, [], _rehearsed(recipe, width), folder=folder, resume=True):
        pass
