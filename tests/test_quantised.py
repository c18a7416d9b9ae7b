"""Training over weights kept in few bits: every kind trains, resumes exactly, and LoftQ gives back some of what was lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from factory.base.settings import Settings
from factory.training import adapter, checkpoints, encoding, loop, models, starts
from factory.training.encoding import EncodedRow
from factory.training.recipes import Recipe

pytestmark = pytest.mark.slow
BASE = Recipe(
    base_model="tiny", method="qlora", precision="fp32", rank=4, learning_rate=1e-2, effective_batch=2, epochs=20,
    max_steps=4, evaluations=0, early_stopping_patience=0, warmup_ratio=0.0, checkpoint_steps=1, keep_best=False,
)  # fmt: skip
KINDS = {
    "nf4": {},
    "fp4": {"quantization_type": "fp4", "double_quantization": False},
    "8 bits": {"quantization_bits": 8},
    "dora": {"dora": True},
    "loftq": {"initialization": "loftq"},
}


@pytest.fixture
def rows(settings: Settings, tiny_model: Path) -> list[EncodedRow]:
    """A tiny model in a fresh installation, and four rows for it."""
    torch.set_num_threads(1)
    models.fetch(settings, tiny_model, name="tiny")
    tokenizer = models.load_tokenizer(settings, "tiny")
    talks = [
        [{"role": "user", "content": f"Capital {n}?"}, {"role": "assistant", "content": f"It is {word}."}]
        for n, word in enumerate(("Paris", "Rome", "Oslo", "Bern"))
    ]
    return [encoding.encode(tokenizer, talk, example_id=n) for n, talk in enumerate(talks)]


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_every_kind_of_few_bits_trains_and_is_resumed_exactly(
    settings: Settings, rows: list[EncodedRow], tmp_path: Path, changes: dict[str, Any]
) -> None:
    recipe = dataclasses.replace(BASE, **changes)

    def fresh() -> Any:
        return models.load(settings, "tiny", recipe=recipe)[0]

    whole = [s.loss for s in loop.train(fresh(), rows, [], recipe, folder=tmp_path / "whole") if s.step]
    assert whole[-1] is not None
    assert whole[0] is not None
    assert whole[-1] < whole[0] - 0.1
    cut = []
    for step in loop.train(fresh(), rows, [], recipe, folder=tmp_path / "cut"):
        cut.append(step.loss)
        if step.step == 2:
            break
    rest = [s.loss for s in loop.train(fresh(), rows, [], recipe, folder=tmp_path / "cut", resume=True)]
    assert cut[1:] + rest == pytest.approx(whole, abs=1e-5)


def test_loftq_starts_nearer_to_the_unquantised_weights_and_leaves_the_run_as_a_plain_adapter(
    settings: Settings, rows: list[EncodedRow], tmp_path: Path
) -> None:
    from bitsandbytes.functional import dequantize_4bit
    from peft import PeftModel

    recipe = dataclasses.replace(BASE, initialization="loftq")
    tuned = adapter.with_adapter(models.load(settings, "tiny", recipe=recipe)[0], recipe)
    lost = mended = 0.0
    for name, layer in adapter.layers_of(tuned).items():
        kept = layer.get_base_layer().weight
        away = starts.weight_of(settings.models / "tiny", f"{name}.weight").float()
        away -= dequantize_4bit(kept.data, kept.quant_state).float()
        lost += float(away.norm()) ** 2
        delta = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        mended += float((away - layer.scaling["default"] * delta.detach()).norm()) ** 2
    assert mended < 0.9 * lost

    list(loop.train(models.load(settings, "tiny", recipe=recipe)[0], rows, [], recipe, folder=tmp_path))
    (tmp_path / "plain").mkdir()
    starts.write_plain(checkpoints.weights_to_keep(tmp_path)[0], tmp_path / starts.START, tmp_path / "plain")
    base = models.load(settings, "tiny")[0]
    before = encoding.mean_loss(encoding.row_losses(base, rows))
    plain = PeftModel.from_pretrained(base, str(tmp_path / "plain")).eval()
    assert plain.peft_config["default"].r == 2 * recipe.rank
    assert encoding.mean_loss(encoding.row_losses(plain, rows)) < before - 0.1


def test_a_measuring_leaves_the_gradients_of_four_bits_as_they_were(settings: Settings, rows: list[EncodedRow]) -> None:
    model, _ = models.load(settings, "tiny", recipe=dataclasses.replace(BASE, precision="auto"))
    tuned = adapter.with_adapter(model, BASE)

    def gradients() -> list[torch.Tensor]:
        tuned.train()
        tuned.zero_grad()
        for pack in encoding.packs(rows):
            encoding.backward(tuned, pack, divisor=1.0)
        return [parameter.grad.clone() for parameter in tuned.parameters() if parameter.grad is not None]

    before = gradients()
    tuned.eval()
    encoding.row_losses(tuned, rows)
    after = gradients()
    assert len(before) == len(after) > 0
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
