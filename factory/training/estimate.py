"""What a run will take on this machine, from arithmetic: memory, time and disk, before anything is started.

The arithmetic follows the structure of a training, not today's code: libraries, frozen weights, adapter with optimizer,
what one pack keeps for its backward, one chunk of logits; packs forward and backward, held-out packs forward, states
saved. What a machine really takes is put in by an `Observation`: a preflight or a finished run, as factors on the same
arithmetic, so that it also tells about recipes near the one it measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from factory.training import places, prompts
from factory.training.machine import machine
from factory.training.recipes import Recipe, steps_total

__all__ = ["machine"]  # and all that is defined here
LIBRARY_BYTES = 500_000_000  # Python with torch, transformers and peft, before any weights
CUDA_BYTES = 600_000_000  # what CUDA takes for itself
UNUSED_SHARE = 1.3  # of what a pack takes: memory that the allocator keeps but cannot use for the next shape
LABELS_PER_CHUNK = 512  # as in encoding, which imports nothing heavy but is read after this module
CHECKPOINTS_KEPT = 2  # newest and best
QUANTISED_BYTES = {4: 0.56, 8: 1.1}  # for each weight, with its scales
OPTIMIZER_BYTES = {"adamw": 8, "adamw_8bit": 2, "paged_adamw_8bit": 2, "adafactor": 1}  # for each number of the adapter
START_SECONDS = 12.0  # imports and loading
ROW_SECONDS = 0.001  # to render and tokenise a row
SAVE_SECONDS = 0.3
ANSWERS_SECONDS = 3.0
ANSWERS_SHARE = 0.1  # of the time: rounds of answers between the first and the last wait until there is room
CPU_EFFICIENCY = 0.65  # of the speed of one large matrix product, as measured in the whole loop
GPU_EFFICIENCY = 0.30
CURVE_TOKENS = 20_000  # of the held-out set are measured along the way; the evaluation afterwards takes all
TIGHT_SHARE = 0.85
GUESS = "A guess from arithmetic: memory and time may be off by half."


@dataclass(frozen=True)
class Observation:
    """What was measured on this machine for one recipe, as factors on this module's arithmetic for it.

    `exact`: it was this very choice in all that costs anything. `words` completes "Measured by …" or "Scaled from …".
    """

    words: str = ""
    exact: bool = False
    runs: int = 1
    libraries_bytes: int | None = None
    memory: float = 1.0  # on a pack's activations and logits
    training: float = 1.0  # on the seconds of a pack forward and backward
    measuring: float = 1.0  # on the seconds of a held-out pack
    pack_seconds: float = 0.0  # for any pack, however small
    start_seconds: float = START_SECONDS
    row_seconds: float = ROW_SECONDS
    save_seconds: float = SAVE_SECONDS
    answers_seconds: float = ANSWERS_SECONDS  # of one round of answers, written down as the model learns
    tokens: float = 1.0  # real tokens for one that was counted quickly
    label_share: float | None = None
    computed_share: float | None = None  # of the rows' tokens: a prefix that a pack shares is computed once
    longest_pack: int | None = None


@dataclass(frozen=True)
class Estimate:
    """What a run will take. `fits` is fits, tight or no; `sure` says in a sentence how far to trust it.

    `memory_parts` and `disk_parts` say in bytes what it is for; what is summed up is `memory_bytes` and `disk_bytes`.
    """

    memory_bytes: int
    memory_available_bytes: int
    arithmetic_seconds: float  # before anything measured corrected it
    seconds_low: float
    seconds: float
    seconds_high: float
    disk_bytes: int
    steps: int
    tokens_per_epoch: int
    tokens_per_second: float
    fits: str
    sure: str
    notes: tuple[str, ...] = ()
    memory_parts: dict[str, int] = field(default_factory=dict)
    arithmetic_parts: dict[str, int] = field(default_factory=dict)  # the same before anything measured corrected it
    arithmetic_tokens_per_second: float = 0.0  # likewise
    arithmetic_pack_seconds: float = 0.0  # likewise, of packs alone: start, encoding and saving aside
    flops: float = 0.0  # the speed that the arithmetic took the machine to have
    disk_parts: dict[str, int] = field(default_factory=dict)
    longest_pack: int = 0
    measured: bool = False  # by a preflight or a run of this very choice


def adapter_parameters(recipe: Recipe, model: dict[str, Any]) -> int:
    """How many numbers the adapter has: rank x (in + out) for every matrix that gets one."""
    return places.trained(recipe, model)


def bytes_each(recipe: Recipe, machine: dict[str, Any]) -> int:
    """Bytes of one number of the frozen weights and of what goes through them."""
    return {"bf16": 2, "fp16": 2, "fp32": 4}.get(recipe.precision, 4 if machine["dtype"] == "float32" else 2)


def memory_parts(
    recipe: Recipe, model: dict[str, Any], *, longest_pack: int, machine: dict[str, Any], seen: Observation | None = None
) -> dict[str, int]:
    """Peak memory of a trainer in bytes, by what it is for: weights, adapter, activations, logits, libraries.

    `adapter` holds its gradients and the optimizer too; `activations` are those of the longest pack; `logits` one chunk.
    """
    seen = seen or Observation()
    wide = bytes_each(recipe, machine)
    hidden, middle, layers = model["hidden_size"], model["intermediate"], model["layers"]
    embedding = model["vocabulary"] * hidden * (1 if model["tied"] else 2)
    matrices = model["parameters"] - embedding
    weights = (
        matrices * QUANTISED_BYTES[recipe.quantization_bits] + embedding * 4 + model["parameters"]
        if recipe.method == "qlora"
        else model["parameters"] * wide
    )
    adapter = adapter_parameters(recipe, model) * (8 + OPTIMIZER_BYTES.get(recipe.optimizer, 8))
    # kept for the backward of one layer: inputs of norms and matrices, q k v before and after their rotation,
    # attention's output, gate, up and what comes of them
    numbers = 12 * hidden + 3 * (model["heads"] + 2 * model["kv_heads"]) * model["head_dim"] + 6 * middle
    lora = 7 * recipe.rank * 4 + (7 * hidden * wide if recipe.dora else 0)
    kept_layers = 1 + math.sqrt(layers) if recipe.gradient_checkpointing else layers
    activations = longest_pack * (kept_layers * (numbers * wide + lora) + layers * hidden * wide)
    mask = longest_pack**2 * (wide + 1)
    logits = 3 * min(longest_pack, LABELS_PER_CHUNK) * model["vocabulary"] * 4
    unused = 1.0 if machine["gpu"] else UNUSED_SHARE
    libraries = seen.libraries_bytes or (CUDA_BYTES if machine["gpu"] else LIBRARY_BYTES)
    return {
        "libraries": int(libraries),
        "weights": int(weights),
        "adapter": int(adapter),
        "activations": int((activations + mask) * unused * seen.memory),
        "logits": int(logits * unused * seen.memory),
    }


def pack_seconds(
    recipe: Recipe, model: dict[str, Any], machine: dict[str, Any], *, tokens: float, labels: float, training: bool = True
) -> float:
    """Seconds of one pack by arithmetic: through every layer, the head only for its labels; forward, or backward too."""
    matrices = model["parameters"] - model["vocabulary"] * model["hidden_size"] * (1 if model["tied"] else 2)
    adapter = adapter_parameters(recipe, model)
    forward = tokens * (2 * (matrices + adapter) + 4 * tokens * model["heads"] * model["head_dim"] * model["layers"])
    head = 2 * model["vocabulary"] * model["hidden_size"] * labels
    work = forward + head
    if training:
        work = (3 if recipe.gradient_checkpointing else 2) * forward + 2 * tokens * adapter + 2 * head
    speed = machine["flops"] * (GPU_EFFICIENCY if machine["gpu"] else CPU_EFFICIENCY)
    if recipe.method == "qlora" and not machine["gpu"]:
        speed *= 0.8  # 4-bit weights are unpacked each time they are used
    return float(work / speed)


@dataclass(frozen=True)
class Load:
    """How much a recipe has to do with these rows: all that the formulas need to know of the data."""

    rows: int
    longest: int  # tokens of the longest row, within the maximum length
    epoch_tokens: int
    cut: int  # rows longer than the maximum length
    label_share: float
    shared_tokens: int = 0  # that all rows begin with
    held_out_tokens: int = 0


def load_of(
    recipe: Recipe,
    rows_tokens: Sequence[int],
    *,
    held_out_tokens: int = 0,
    label_share: float = 0.7,
    shared_tokens: int = 0,
    factor: float = 1.0,
) -> Load:
    """The load of rows with these lengths in tokens; `factor` corrects lengths that were counted quickly."""
    counted = numpy.asarray(rows_tokens, dtype=numpy.float64)
    lengths = numpy.minimum((counted * factor).astype(numpy.int64), recipe.max_length)
    longest = int(lengths.max()) if len(lengths) else 0
    return Load(
        rows=len(lengths),
        longest=longest,
        epoch_tokens=int(lengths.sum()),
        cut=int((counted * factor > recipe.max_length).sum()),
        label_share=label_share,
        shared_tokens=min(shared_tokens, max(0, longest - 1)),
        held_out_tokens=held_out_tokens,
    )


def like(rows_tokens: Sequence[int], count: int = 200) -> list[int]:
    """At most `count` lengths that stand for all of these: evenly chosen by size, the longest among them.

    >>> like([5, 1, 9, 3], 2)
    [3, 9]
    """
    ordered = sorted(rows_tokens)
    return [ordered[(place + 1) * len(ordered) // count - 1] for place in range(count)] if len(ordered) > count else ordered


def longest_pack(recipe: Recipe, load: Load) -> int:
    """How many tokens the largest pack has: as many as go at once, or one longer row; never more than a step has."""
    mean = load.epoch_tokens / max(1, load.rows)
    step = max(mean * min(recipe.effective_batch, max(1, load.rows)), load.longest, 1)
    return int(min(max(recipe.tokens_at_once, load.longest), step))


def laid(recipe: Recipe, load: Load, rows: float, seen: Observation) -> tuple[float, float]:
    """How many packs so many average rows make, and how many tokens are computed for each."""
    if not rows or not load.epoch_tokens:
        return 0.0, 0.0
    mean, limit = load.epoch_tokens / load.rows, float(max(recipe.tokens_at_once, load.longest))
    shared = min(load.shared_tokens, 0.9 * mean)
    own = rows * (mean - shared)
    if seen.exact and seen.computed_share:
        computed = rows * mean * seen.computed_share
        packs = max(1.0, computed / limit)
    else:
        # a pack is closed when the next row does not fit: on average half a row is left free
        packs = max(1.0, own / max(1.0, limit - shared - 0.5 * min(mean, limit - shared)))
        packs = min(packs, rows)
        computed = own + packs * shared
    packs = math.ceil(packs - 1e-9) if packs < 4 else packs
    return packs, computed / packs


def _seconds(
    recipe: Recipe, model: dict[str, Any], machine: dict[str, Any], load: Load, seen: Observation
) -> tuple[float, float]:
    """Seconds of a whole training, from the process's start to its last state on disk, and those of packs alone."""
    steps = steps_total(recipe, load.rows)
    share = load.label_share if seen.label_share is None or not seen.exact else seen.label_share

    def of(rows: float, training: bool) -> float:
        packs, tokens = laid(recipe, load, rows, seen)
        factor = seen.training if training else seen.measuring
        labels = rows * load.epoch_tokens / max(1, load.rows) * share / max(1.0, packs)
        one = pack_seconds(recipe, model, machine, tokens=tokens, labels=labels, training=training)
        return packs * (one * factor + seen.pack_seconds * (1 if training else 0.3))

    measurings = (recipe.evaluations + 2 if steps else 1) if load.held_out_tokens else 0
    saves = max(2, measurings)
    held_rows = load.held_out_tokens / max(1.0, load.epoch_tokens / max(1, load.rows)) if load.rows else 0.0
    trained = steps * of(min(recipe.effective_batch, max(1, load.rows)), True)
    packs = trained + measurings * of(held_rows, False)
    whole = packs + saves * seen.save_seconds
    if prompts.wanted(recipe.sample_prompts) and seen.answers_seconds:
        rounds = 2 + min(recipe.evaluations if measurings else 0, int(ANSWERS_SHARE * whole / seen.answers_seconds))
        whole += min(rounds, steps + 1) * seen.answers_seconds
    every = 60 * recipe.checkpoint_minutes
    saves_between = max(0, int(whole / every) - saves) if every else 0
    rows = load.rows + held_rows
    return seen.start_seconds + rows * seen.row_seconds + whole + saves_between * seen.save_seconds, packs


def estimate(
    recipe: Recipe,
    *,
    model: dict[str, Any],
    rows_tokens: Sequence[int],
    machine: dict[str, Any],
    held_out_tokens: int = 0,
    label_share: float = 0.7,
    shared_tokens: int = 0,
    seen: Observation | None = None,
) -> Estimate:
    """What a run with this recipe will take on this machine.

    `model` as `models.get` gives it, `rows_tokens` the length of each row, `held_out_tokens` those measured each time,
    `shared_tokens` how many all rows begin with, `seen` what was measured here for this recipe or one like it.
    """
    plain, known = Observation(), seen or Observation()
    load = load_of(
        recipe, rows_tokens, held_out_tokens=held_out_tokens, label_share=label_share, shared_tokens=shared_tokens,
        factor=known.tokens,
    )  # fmt: skip
    steps = steps_total(recipe, load.rows)
    pack = known.longest_pack if known.exact and known.longest_pack else longest_pack(recipe, load)
    parts = memory_parts(recipe, model, longest_pack=pack, machine=machine, seen=known)
    memory, available = sum(parts.values()), int(machine["memory_available_bytes"])
    (seconds, _), (bare, packs) = (_seconds(recipe, model, machine, load, which) for which in (known, plain))
    trained = load.epoch_tokens / max(1, load.rows) * steps * min(recipe.effective_batch, max(1, load.rows))
    spread, sure = _trust(seen)
    fits = "no" if memory > available else "tight" if memory > TIGHT_SHARE * available else "fits"
    disk = disk_parts(recipe, model)
    start = known.start_seconds
    return Estimate(
        memory_bytes=memory,
        memory_available_bytes=available,
        arithmetic_seconds=bare,
        arithmetic_pack_seconds=packs,
        flops=machine["flops"],
        seconds_low=start + (seconds - start) * spread[0],
        seconds=seconds,
        seconds_high=start + (seconds - start) * spread[1],
        disk_bytes=disk["checkpoints"],
        steps=steps,
        tokens_per_epoch=load.epoch_tokens,
        tokens_per_second=_rate(recipe, model, machine, load, known) if trained else 0.0,
        fits=fits,
        sure=sure,
        notes=tuple(_notes(recipe, load)),
        memory_parts=parts,
        arithmetic_parts=memory_parts(recipe, model, longest_pack=pack, machine=machine),
        arithmetic_tokens_per_second=_rate(recipe, model, machine, load, plain) if trained else 0.0,
        disk_parts=disk,
        longest_pack=pack,
        measured=known.exact,
    )


def _rate(recipe: Recipe, model: dict[str, Any], machine: dict[str, Any], load: Load, seen: Observation) -> float:
    """Tokens of rows a second while training, measuring and saving aside."""
    rows = min(recipe.effective_batch, max(1, load.rows))
    packs, tokens = laid(recipe, load, rows, seen)
    share = load.label_share if seen.label_share is None or not seen.exact else seen.label_share
    all_tokens = rows * load.epoch_tokens / max(1, load.rows)
    one = pack_seconds(recipe, model, machine, tokens=tokens, labels=all_tokens * share / max(1.0, packs))
    return all_tokens / max(1e-6, packs * (one * seen.training + seen.pack_seconds))


def disk_parts(recipe: Recipe, model: dict[str, Any]) -> dict[str, int]:
    """Bytes on disk: the states kept (weights and optimizer), the adapter that is kept, and one merged copy, if made."""
    numbers = adapter_parameters(recipe, model)
    state = numbers * (4 + OPTIMIZER_BYTES.get(recipe.optimizer, 8)) + 200_000
    return {
        "checkpoints": CHECKPOINTS_KEPT * state,
        "adapter": numbers * 4 + 200_000,
        "merged": model["parameters"] * 2,
    }


def _trust(seen: Observation | None) -> tuple[tuple[float, float], str]:
    if seen is None:
        return (0.5, 2.0), GUESS
    if seen.exact:
        return (0.85, 1.2), f"Measured by {seen.words}: memory and time may still be off by a fifth."
    if seen.runs > 1:
        return (0.75, 1.35), f"Scaled from {seen.words}: time may be off by a third."
    return (0.65, 1.6), f"Scaled from {seen.words}: memory may be off by a quarter, time by half."


def _notes(recipe: Recipe, load: Load) -> list[str]:
    notes = []
    if load.cut:
        notes.append(f"{load.cut} of {load.rows} rows are longer than {recipe.max_length} tokens and will be cut.")
    return notes
