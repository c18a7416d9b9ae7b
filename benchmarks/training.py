"""How fast training is, how near to the wall of matrix products, and in how much memory: ours beside TRL's SFTTrainer.

    python -m benchmarks.training [--data FILE] [--rows N] [--trl-env FOLDER] [--quick]

Both train LoRA on the same rows with the same recipe, each in a process of its own, one after the other; run it on an
otherwise idle machine. TRL is installed into an environment under the data folder the first time (`--trl-env` takes one that
is there). Tokens are each row's own, for both. What each has learned is measured in float32 on the same held-out rows. The
wall is what a step would take if it were nothing but its matrix products, at the rate at which this machine does products of
those shapes in the same run. `--quick` takes under 50 s and holds ours against a plain padded loop over peft, without TRL.
The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.packing import padded
from factory import WAITING
from factory.base import settings as settings_module
from factory.base.settings import ROOT, Settings
from factory.intake import formats, sample
from factory.training import encoding, models
from factory.training.encoding import EncodedRow
from factory.training.machine import trainer_environment
from factory.training.recipes import Recipe

MAX_LENGTH, BATCH, HELD_OUT = 1024, 4, 24
RECIPE = Recipe(
    rank=16, learning_rate=2e-4, schedule="constant", warmup_ratio=0, effective_batch=BATCH, epochs=1, evaluations=0,
    early_stopping_patience=0, max_length=MAX_LENGTH, micro_batch_tokens=1536, checkpoint_minutes=0,
)  # fmt: skip
TRL_PACKAGES = ("torch==2.13.0", "trl==1.16.0", "transformers==5.23.0", "peft==0.21.2", "datasets", "accelerate")
TRL_WAYS: dict[str, dict[str, Any]] = {
    "trl, defaults": {"checkpointing": True, "group_by_length": False, "bf16": False, "weights": "float32"},
    "trl, best in float32": {"checkpointing": False, "group_by_length": True, "bf16": False, "weights": "float32"},
    "trl, bf16=True": {"checkpointing": False, "group_by_length": True, "bf16": True, "weights": "float32"},
    "trl, bfloat16 weights": {"checkpointing": False, "group_by_length": True, "bf16": False, "weights": "bfloat16"},
}


def conversations(settings: Settings, file: Path | None) -> list[list[dict[str, str]]]:
    """Rows of one question and one answer: from a file in any format the intake reads, or from the sample dataset."""
    if file is None:
        return [question.messages for question in sample.questions()[0]]
    talks = [row.messages for row in formats.read(file, name=file.name, settings=settings).rows if row.messages]
    random.Random(0).shuffle(talks)
    return talks


def encoded(settings: Settings, talks: list[list[dict[str, str]]]) -> list[EncodedRow]:
    tokenizer = models.load_tokenizer(settings, models.DEFAULT)
    return [encoding.encode(tokenizer, talk, example_id=n, max_length=MAX_LENGTH) for n, talk in enumerate(talks)]


def load(settings: Settings, dtype: str) -> Any:
    """The default base model in a precision of choice, frozen."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = models.get(settings, models.DEFAULT)["folder"]
    return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).requires_grad_(False).eval()


def ours(settings: Settings, wanted: dict[str, Any]) -> dict[str, Any]:
    """One training by this program's own loop."""
    from factory.training import checkpoints, fastpath, loop

    rows = encoded(settings, wanted["rows"])
    model = load(settings, wanted["dtype"])
    steps = list(loop.train(model, rows, [], RECIPE, folder=Path(wanted["out"])))[2:]  # step 0 is the base, step 1 warms up
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tokens = sum(step.tokens for step in steps)
    seconds = sum(step.tokens / (step.tokens_per_second or 1) for step in steps)
    return {
        "tokens_per_second": tokens / seconds,
        "peak_gb": peak / 1e6,
        "adapter": str(checkpoints.weights_to_keep(Path(wanted["out"]))[0]),
        "way": fastpath.sentence(model.train()),
    }


def wall(settings: Settings, wanted: dict[str, Any]) -> dict[str, Any]:
    """The tokens/s that matrix products alone would allow, in a process apart: its matrices are not training's memory."""
    rows = encoded(settings, wanted["rows"])
    whole = sum(len(row.tokens) for row in rows)
    return {"wall_tokens_per_second": whole / wall_seconds(load(settings, wanted["dtype"]), rows)}


def wall_seconds(model: Any, rows: list[EncodedRow]) -> float:
    """How long the matrix products alone of one epoch take here and now.

    For each step's packs: every frozen matrix forward and towards its input, the head where labels are, the four thin
    products of each adapter and two more for its gradients, and attention inside the rows. Each shape is timed at the
    packs' mean length; a pack counts by its tokens.
    """
    from factory.training import loop

    config, rank, deep = model.config, RECIPE.rank, model.config.num_hidden_layers
    packs = [
        pack
        for step in range(1, -(-len(rows) // BATCH) + 1)
        for pack in encoding.packs(loop.rows_of_step(rows, RECIPE, step), tokens_per_pack=RECIPE.micro_batch_tokens)
    ]
    tokens, labels = sum(len(pack.tokens) for pack in packs), sum(len(pack.labels) for pack in packs)
    typical, asked = tokens // len(packs), max(1, min(256, labels // len(packs)))
    width, inside = config.hidden_size, config.intermediate_size
    heads, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    layer = 0.0
    for inputs, outputs, count in (
        (width, heads + 2 * keys, 3),
        (heads, width, 1),
        (width, 2 * inside, 2),
        (inside, width, 1),
    ):
        layer += _seconds(model, typical, inputs, outputs, deep) + _seconds(model, typical, outputs, inputs, deep)
        layer += 3 * (_seconds(model, typical, inputs, count * rank, deep) + _seconds(model, typical, outputs, rank, deep))
    head = _seconds(model, asked, width, config.vocab_size) + _seconds(model, asked, config.vocab_size, width)
    looks = sum(
        (end - start) * (pack.prefix + end - start) + pack.prefix**2 / len(pack.spans)
        for pack in packs
        for start, end in pack.spans
    )
    attention = 6 * looks * heads / (typical * typical * heads) * _seconds(model, typical, config.head_dim, typical)
    attention *= heads / config.head_dim
    return deep * (tokens / typical * layer + attention) + labels / asked * head


def _seconds(model: Any, rows: int, inputs: int, outputs: int, count: int = 1) -> float:
    """The time of one product [rows, inputs] x [inputs, outputs] in the model's precision: the median of five rounds."""
    import torch

    x, each = torch.randn(rows, inputs).to(model.dtype), torch.randn(count, outputs, inputs).to(model.dtype)
    times = []
    for _ in range(6):
        began = time.perf_counter()
        for w in each:
            torch.mm(x, w.t())
        times.append((time.perf_counter() - began) / count)
    return statistics.median(times[1:])


def evaluate(settings: Settings, wanted: dict[str, Any]) -> dict[str, Any]:
    """The mean held-out loss (nats per label token, float32) of the base and with each adapter."""
    from peft import PeftModel

    rows = encoded(settings, wanted["rows"])
    found = {"base": encoding.mean_loss(encoding.row_losses(load(settings, "float32"), rows))}
    for name, folder in wanted["adapters"].items():
        model = PeftModel.from_pretrained(load(settings, "float32"), folder, is_trainable=False).eval()
        found[name] = encoding.mean_loss(encoding.row_losses(model, rows))
    return found


def quick(settings: Settings, talks: list[list[dict[str, str]]]) -> dict[str, Any]:
    """Ours against a plain padded loop over the same model and rows, in turn."""
    import torch

    from factory.training import fastpath, loop

    rows = encoded(settings, talks)
    dtype = models.device_and_dtype()["dtype"]
    plain, fast = (loop.with_adapter(load(settings, dtype), RECIPE).train() for _ in range(2))
    labels = sum(row.label_tokens for row in rows)
    packs = encoding.packs(rows, tokens_per_pack=RECIPE.micro_batch_tokens)
    ways = {
        "plain": lambda: padded(plain, rows, BATCH, 0),
        "ours": lambda: [encoding.backward(fast, pack, divisor=labels) for pack in packs],
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(3):  # in turn, so that a drift of the machine's speed meets both; the first round warms up
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    gradients = zip(*([p.grad for p in model.parameters() if p.requires_grad] for model in (plain, fast)), strict=True)
    apart = [float((a - b).norm() / a.norm()) for a, b in gradients if float(a.norm())]
    tokens = sum(len(row.tokens) for row in rows)
    speed = {name: tokens / min(seconds[1:]) for name, seconds in times.items()}
    return {
        "rows": len(rows),
        "tokens": tokens,
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "plain_tokens_per_second": round(speed["plain"], 1),
        "ours_tokens_per_second": round(speed["ours"], 1),
        "ratio": round(speed["ours"] / speed["plain"], 2),
        "median_relative_gradient_difference": statistics.median(apart) if apart else None,
        "way": fastpath.sentence(fast),
    }


def environment(settings: Settings, folder: Path | None) -> Path:
    """The Python of an environment with TRL, made when it is not there yet (minutes, and about 2 GB)."""
    folder = folder or settings.home / "trl-env"
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing TRL into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for packages in (TRL_PACKAGES[:1], TRL_PACKAGES[1:]):  # torch alone first, so that nothing else chooses its build
            subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    return python


def child(command: list[str], wanted: dict[str, Any], folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """What a process of its own found, from the last line it printed."""
    file = folder / "wanted.json"
    file.write_text(json.dumps(wanted), encoding="utf-8")
    quiet = {**environment, "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    ended = subprocess.run([*command, str(file)], cwd=ROOT, env=quiet, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    print(json.dumps({key: round(v, 3) if isinstance(v, float) else v for key, v in found.items()}), flush=True)
    return found


def as_it_was() -> dict[str, str]:
    """The environment without what this program sets for itself, so that a peer's threads wait as they would alone."""
    return {name: value for name, value in os.environ.items() if WAITING.get(name) != value}


def compare(settings: Settings, talks: list[list[dict[str, str]]], rows: int, trl: Path) -> dict[str, Any]:
    """Every way in turn, then what each has learned."""
    import torch

    chosen, held_out = talks[:rows], talks[rows : rows + HELD_OUT]
    lengths = [len(row.tokens) for row in encoded(settings, chosen)]
    dtypes = ["float32"] + (["bfloat16"] if models.device_and_dtype()["dtype"] == "bfloat16" else [])
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        common = {
            "rows": chosen, "lengths": lengths, "model": models.get(settings, models.DEFAULT)["folder"], "batch": BATCH,
            "rank": RECIPE.rank, "learning_rate": RECIPE.learning_rate, "seed": RECIPE.seed, "max_length": MAX_LENGTH,
            "threads": torch.get_num_threads(),
        }  # fmt: skip
        for dtype in dtypes:
            print(f"ours, {dtype}", flush=True)
            wanted = {**common, "dtype": dtype, "out": str(folder / f"ours-{dtype}")}
            told = [
                child(
                    [sys.executable, "-m", "benchmarks.training", "--part", part],
                    wanted,
                    folder,
                    trainer_environment(settings),
                )
                for part in ("wall", "ours", "wall")
            ]
            speed = statistics.mean(part["wall_tokens_per_second"] for part in (told[0], told[2]))
            share = told[1]["tokens_per_second"] / speed
            found[f"ours, {dtype}"] = {**told[1], "wall_tokens_per_second": speed, "share_of_the_wall": share}
        for number, (name, way) in enumerate(TRL_WAYS.items()):
            if "bf" in name and len(dtypes) == 1:
                continue
            print(name, flush=True)
            out = str(folder / f"trl-{number}")
            found[name] = child([str(trl), "benchmarks/trl_peer.py"], {**common, **way, "out": out}, folder, as_it_was())
            found[name]["adapter"] = out
        print("held-out losses", flush=True)
        wanted = {"rows": held_out, "adapters": {name: way.pop("adapter") for name, way in found.items()}}
        command = [sys.executable, "-m", "benchmarks.training", "--part", "evaluate"]
        losses = child(command, wanted, folder, trainer_environment(settings))
    for name, way in found.items():
        way["held_out_loss"] = losses[name]
    return {"rows": rows, "tokens": sum(lengths), "base_held_out_loss": losses["base"], "ways": found, **ratios(found)}


def ratios(ways: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the figures come to: ours in each precision against TRL's best in the same, and in float32."""
    peers = {
        "float32": [way for name, way in ways.items() if name == "trl, best in float32"],
        "bfloat16": [way for name, way in ways.items() if name.startswith("trl, bf")],
    }
    found: dict[str, Any] = {}
    for dtype, against in peers.items():
        if f"ours, {dtype}" not in ways or not against:
            continue
        own, best = ways[f"ours, {dtype}"], max(against, key=lambda way: way["tokens_per_second"])
        found[dtype] = {
            "times_trl_best_in_this_precision": own["tokens_per_second"] / best["tokens_per_second"],
            "times_trl_best_in_float32": own["tokens_per_second"] / peers["float32"][0]["tokens_per_second"],
            "share_of_the_wall": own["share_of_the_wall"],
            "memory_of_trl": own["peak_gb"] / best["peak_gb"],
            "held_out_loss_of_trl": own["held_out_loss"] / best["held_out_loss"],
        }
    return {"ratios": found}


PARTS = {"wall": wall, "ours": ours, "evaluate": evaluate}


def rounded(value: Any) -> Any:
    """All numbers to four digits after the point."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a file with conversations; without it the sample dataset")
    parser.add_argument("--rows", type=int, default=32, help="how many rows to train on")
    parser.add_argument("--trl-env", type=Path, help="the folder of an environment with TRL")
    parser.add_argument("--quick", action="store_true", help="without TRL: ours against a plain padded loop")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("wanted", type=Path, nargs="?", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    settings = settings_module.load()
    if chosen.part:
        wanted = json.loads(chosen.wanted.read_text(encoding="utf-8"))
        print(json.dumps(PARTS[chosen.part](settings, wanted)))
        return
    if models.find(settings, models.DEFAULT) is None:
        models.fetch(settings, models.DEFAULT)
    talks = conversations(settings, chosen.data)
    if chosen.quick:
        result = quick(settings, talks[:8])
    else:
        result = compare(settings, talks, chosen.rows, environment(settings, chosen.trl_env))
    print(json.dumps(rounded(result)))


if __name__ == "__main__":
    main()
