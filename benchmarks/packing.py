"""How much faster a training step is when rows are packed and share their prefix, against plain padded batches.

    python -m benchmarks.packing [--quick]

Both take the same rows, the same base model and the same LoRA, and give the same gradients (a test holds that). Run it on an
otherwise idle machine; `--quick` takes under 50 s. The last line printed is one JSON object; the figure is `ratio`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from factory.base import settings as settings_module
from factory.intake import sample
from factory.training import encoding, loop, models
from factory.training.encoding import EncodedRow
from factory.training.recipes import Recipe


def padded(model: Any, rows: list[EncodedRow], batch: int, pad: int) -> None:
    """What a plain trainer does: batches padded to their longest row, logits at every position."""
    import torch

    labels = sum(row.label_tokens for row in rows)
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        width = max(len(row.tokens) for row in chosen)
        fill = [width - len(row.tokens) for row in chosen]
        tokens = torch.tensor([[*row.tokens, *[pad] * extra] for row, extra in zip(chosen, fill, strict=True)])
        mask = torch.tensor([[1] * len(row.tokens) + [0] * extra for row, extra in zip(chosen, fill, strict=True)])
        marks = torch.tensor([[*row.supervised, *[False] * extra] for row, extra in zip(chosen, fill, strict=True)])
        logits = model(input_ids=tokens, attention_mask=mask).logits[:, :-1].float()
        wanted = tokens[:, 1:].masked_fill(~marks[:, 1:], -100)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-100, reduction="sum")
        (loss / labels).backward()


def packed(model: Any, rows: list[EncodedRow], tokens_per_pack: int) -> None:
    """What this program does."""
    labels = sum(row.label_tokens for row in rows)
    for pack in encoding.packs(rows, tokens_per_pack=tokens_per_pack):
        encoding.backward(model, pack, divisor=labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds")
    chosen = parser.parse_args()
    settings = settings_module.load()
    if models.find(settings, models.DEFAULT) is None:
        models.fetch(settings, models.DEFAULT)
    model, tokenizer = models.load(settings, models.DEFAULT, method="lora")
    tuned = loop.with_adapter(model, Recipe(rank=16))
    tuned.train()
    talks = [question.messages for question in sample.questions()[0]]
    rows = [encoding.encode(tokenizer, talk) for talk in talks[: 16 if chosen.quick else 48]]
    pad = tokenizer.pad_token_id or 0
    times: dict[str, list[float]] = {"padded": [], "packed": []}
    for _ in range(2 if chosen.quick else 5):  # in turn, so that a drift of the machine's speed meets both
        for name, run in (("padded", lambda: padded(tuned, rows, 4, pad)), ("packed", lambda: packed(tuned, rows, 1024))):
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
            tuned.zero_grad(set_to_none=True)
    tokens = sum(len(row.tokens) for row in rows)
    speed = {name: tokens / statistics.median(seconds) for name, seconds in times.items()}
    result = {
        "rows": len(rows),
        "tokens": tokens,
        "dtype": str(model.dtype).removeprefix("torch."),
        "padded_tokens_per_second": round(speed["padded"], 1),
        "packed_tokens_per_second": round(speed["packed"], 1),
        "ratio": round(speed["packed"] / speed["padded"], 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
