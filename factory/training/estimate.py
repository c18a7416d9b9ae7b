"""What a run will take on this machine, from arithmetic: memory, time and disk, before anything is started.

The formulas count what the loop really does: frozen weights, adapter and optimizer, activations of one pack, one chunk
of logits; forward and backward through every layer, the head only where there are labels. The constants were fitted to
measured runs; where runs of this machine are known, their speed replaces the guess.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from factory.base.settings import Settings
from factory.training import places
from factory.training.recipes import Recipe, steps_total

BASE_BYTES = 900_000_000  # a Python process with torch, transformers and peft, before any weights
LABELS_PER_CHUNK = 512  # as in encoding, which imports nothing heavy but is read after this module
CHECKPOINTS_KEPT = 3  # newest, best, and the one being written
START_SECONDS = 15.0  # imports and loading
CPU_EFFICIENCY = 0.65  # of the speed of one large matrix product, as measured in the whole loop
GPU_EFFICIENCY = 0.30
GUESSED_GPU_FLOPS = 60e12
CURVE_TOKENS = 20_000  # of the held-out set are measured along the way; the evaluation afterwards takes all
TIGHT_SHARE = 0.85


@dataclass(frozen=True)
class Estimate:
    """What a run will take. `fits` is fits, tight or no; `sure` says in a sentence how far to trust it."""

    memory_bytes: int
    memory_available_bytes: int
    arithmetic_seconds: float  # before earlier runs corrected it
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


def machine(settings: Settings) -> dict[str, Any]:
    """This machine: cores, memory_bytes, memory_available_bytes, gpu (name or None), gpu_bytes, dtype, flops (per second).

    The speed is measured once, in a fifth of a second, and kept in the installation's folder.
    """
    known = _measured_once(settings)
    return {**known, "memory_available_bytes": known["gpu_bytes"] or psutil.virtual_memory().available}


def _measured_once(settings: Settings) -> dict[str, Any]:
    path = settings.home / "machine.json"
    signs = {"node": platform.node(), "cores": os.cpu_count() or 1, "memory_bytes": psutil.virtual_memory().total}
    try:
        known = json.loads(path.read_text())
        if all(known.get(key) == value for key, value in signs.items()):
            return dict(known)
    except (OSError, ValueError, AttributeError):
        pass
    gpu, gpu_bytes = _gpu()
    bfloat = _has_bfloat16()
    flops = GUESSED_GPU_FLOPS if gpu else _matrix_flops() * (1.6 if bfloat else 1.0)
    known = {**signs, "gpu": gpu, "gpu_bytes": gpu_bytes, "flops": flops}
    known["dtype"] = "bfloat16" if gpu or bfloat else "float32"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(known, indent=2))
        os.replace(draft, path)
    except OSError:
        pass  # a full disk costs a second measuring, not the estimate
    return known


def _matrix_flops() -> float:
    """Floating-point operations per second of a float32 matrix product on all cores, the best of several tries."""
    import numpy

    a = numpy.ones((768, 768), dtype=numpy.float32)
    best, until = 1.0, time.perf_counter() + 0.2
    while time.perf_counter() < until:
        start = time.perf_counter()
        a @ a
        best = max(best, 2 * 768**3 / (time.perf_counter() - start))
    return best


def _has_bfloat16() -> bool:
    """Whether this processor has bfloat16 instructions, as far as the system tells without torch."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _gpu() -> tuple[str | None, int]:
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        words = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.splitlines()[0]
        name, mebibytes = words.rsplit(",", 1)
        return name.strip(), int(mebibytes) * 2**20
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None, 0


def adapter_parameters(recipe: Recipe, model: dict[str, Any]) -> int:
    """How many numbers the adapter has: rank x (in + out) for every matrix that gets one."""
    return places.trained(recipe, model)


def memory_bytes(recipe: Recipe, model: dict[str, Any], *, longest_pack: int, dtype: str = "float32") -> int:
    """Peak memory of a trainer: weights, adapter, gradients, optimizer, one pack's activations, one chunk of logits."""
    wide = 4 if dtype == "float32" else 2
    hidden, middle, layers = model["hidden_size"], model["intermediate"], model["layers"]
    embedding = model["vocabulary"] * hidden * (1 if model["tied"] else 2)
    matrices = model["parameters"] - embedding
    weights = (
        matrices * 0.56 + embedding * 4 + model["parameters"] if recipe.method == "qlora" else model["parameters"] * wide
    )
    adapter = adapter_parameters(recipe, model) * (16 if recipe.optimizer == "adamw" else 10)
    # kept for the backward of one layer, fitted to measured runs: inputs of norms and matrices, q k v before and after
    # their rotation, attention's output, gate, up and what comes of them
    numbers = 12 * hidden + 3 * (model["heads"] + 2 * model["kv_heads"]) * model["head_dim"] + 6 * middle
    lora = 7 * recipe.rank * 4
    kept_layers = 1 + math.sqrt(layers) if recipe.gradient_checkpointing else layers
    activations = longest_pack * (kept_layers * (numbers * wide + lora) + layers * hidden * wide)
    mask = longest_pack**2 * (wide + 1)
    logits = 3 * LABELS_PER_CHUNK * model["vocabulary"] * 4
    return int(BASE_BYTES + weights + adapter + activations + mask + logits)


def flops_per_token(recipe: Recipe, model: dict[str, Any], *, mean_pack: float) -> tuple[float, float]:
    """Floating-point operations for a token that goes through the layers in training, and in measuring (head aside)."""
    matrices = model["parameters"] - model["vocabulary"] * model["hidden_size"] * (1 if model["tied"] else 2)
    attention = 4 * mean_pack * model["heads"] * model["head_dim"] * model["layers"]
    forward = 2 * matrices + attention
    training = 2 * forward + (forward if recipe.gradient_checkpointing else 0) + 6 * adapter_parameters(recipe, model)
    return training, forward


def estimate(
    recipe: Recipe,
    *,
    model: dict[str, Any],
    rows_tokens: Sequence[int],
    machine: dict[str, Any],
    held_out_tokens: int = 0,
    label_share: float = 0.7,
    history: Sequence[dict[str, Any]] = (),
) -> Estimate:
    """What a run with this recipe will take on this machine.

    `model` as `models.get` gives it, `rows_tokens` the length of each row, `held_out_tokens` those measured each time,
    `history` earlier runs' {"arithmetic_seconds", "seconds"} of this model and method here.
    """
    lengths = [min(length, recipe.max_length) for length in rows_tokens]
    steps = steps_total(recipe, len(lengths))
    epoch_tokens = sum(lengths)
    trained = epoch_tokens / max(1, len(lengths)) * steps * min(recipe.effective_batch, max(1, len(lengths)))
    step_tokens = trained / max(1, steps)
    pack = int(min(max(recipe.micro_batch_tokens, max(lengths, default=0)), max(step_tokens, max(lengths, default=1))))
    training, forward = flops_per_token(recipe, model, mean_pack=0.75 * pack)
    head = 2 * model["vocabulary"] * model["hidden_size"] * label_share
    measurings = recipe.evaluations + 2 if held_out_tokens and steps else 1
    work = trained * (training + 2 * head) + held_out_tokens * measurings * (forward + head)
    speed = machine["flops"] * (GPU_EFFICIENCY if machine["gpu"] else CPU_EFFICIENCY)
    if recipe.method == "qlora" and not machine["gpu"]:
        speed *= 0.8  # 4-bit weights are unpacked each time they are used
    seconds = START_SECONDS + work / speed
    memory = memory_bytes(recipe, model, longest_pack=pack, dtype=machine["dtype"])
    spread, sure = (0.5, 2.0), "A guess from arithmetic: memory and time may be off by half."
    usable = [run for run in history if run.get("arithmetic_seconds") and run.get("seconds", 0) > START_SECONDS]
    if usable:
        factors = sorted(
            (run["seconds"] - START_SECONDS) / max(0.001, run["arithmetic_seconds"] - START_SECONDS) for run in usable
        )
        middle = factors[len(factors) // 2]
        seconds = START_SECONDS + work / speed * middle
        spread = (0.75, 1.35) if len(usable) > 1 else (0.65, 1.6)
        sure = f"Measured on {len(usable)} earlier run{'s' if len(usable) > 1 else ''} of this kind on this machine."
    available = int(machine["memory_available_bytes"])
    fits = "no" if memory > available else "tight" if memory > TIGHT_SHARE * available else "fits"
    disk = CHECKPOINTS_KEPT * adapter_parameters(recipe, model) * 12 + 2_000_000
    return Estimate(
        memory_bytes=memory,
        memory_available_bytes=available,
        arithmetic_seconds=START_SECONDS + work / speed,
        seconds_low=START_SECONDS + (seconds - START_SECONDS) * spread[0],
        seconds=seconds,
        seconds_high=START_SECONDS + (seconds - START_SECONDS) * spread[1],
        disk_bytes=disk,
        steps=steps,
        tokens_per_epoch=epoch_tokens,
        tokens_per_second=trained / max(1.0, seconds - START_SECONDS),
        fits=fits,
        sure=sure,
        notes=tuple(_notes(recipe, fits, rows_tokens, machine)),
    )


def _notes(recipe: Recipe, fits: str, rows_tokens: Sequence[int], machine: dict[str, Any]) -> list[str]:
    notes = []
    if fits != "fits":
        words = "Memory will be short" if fits == "tight" else "This needs more memory than is free"
        ways = ["fewer tokens at once (micro batch tokens)"] if recipe.micro_batch_tokens > 256 else []
        ways += [] if recipe.gradient_checkpointing else ["gradient checkpointing"]
        ways += [] if recipe.method == "qlora" else ["QLoRA"]
        notes.append(f"{words}; try {', '.join(ways) or 'a smaller model or shorter rows'}.")
    cut = sum(length > recipe.max_length for length in rows_tokens)
    if cut:
        notes.append(f"{cut} of {len(rows_tokens)} rows are longer than {recipe.max_length} tokens and will be cut.")
    if recipe.optimizer != "adamw" and not machine["gpu"]:
        notes.append("The paged 8-bit optimizer needs an NVIDIA GPU, and none was found here; choose adamw.")
    return notes
