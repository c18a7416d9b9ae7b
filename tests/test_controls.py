"""Every control does what it says: seen in a tiny model that is really trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from factory.base.errors import Invalid
from factory.training import adapter, checkpoints, encoding, loop, places, starts
from factory.training.encoding import EncodedRow
from factory.training.recipes import Recipe

BASE = Recipe(
    rank=4, learning_rate=1e-2, effective_batch=4, epochs=20, max_steps=4, evaluations=1,
    early_stopping_patience=0, warmup_ratio=0.0, keep_best=False,
)  # fmt: skip
WORDS = ["Paris", "Rome", "Oslo", "Bern", "Wien", "Lima", "Cairo", "Delhi"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def rows(tiny_model: Path) -> list[EncodedRow]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    talks = [
        [{"role": "user", "content": f"Capital number {n}?"}, {"role": "assistant", "content": f"It is {name}."}]
        for n, name in enumerate(WORDS)
    ]
    return [encoding.encode(tokenizer, talk, example_id=n) for n, talk in enumerate(talks)]


@pytest.fixture
def fresh(tiny_model: Path) -> Callable[[], Any]:
    from transformers import AutoModelForCausalLM

    return lambda: AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32, attn_implementation="sdpa")


def adapter_with(fresh: Any, **changes: Any) -> Any:
    torch.manual_seed(0)
    return adapter.with_adapter(fresh(), dataclasses.replace(BASE, **changes))


def losses_of(fresh: Any, rows: list[EncodedRow], folder: Path, **changes: Any) -> list[float | None]:
    recipe = dataclasses.replace(BASE, **changes)
    return [step.loss for step in loop.train(fresh(), rows, [], recipe, folder=folder) if step.step]


def test_dora_learns_a_length_for_each_row_of_the_weights(fresh: Any) -> None:
    lengths = [w for name, w in adapter_with(fresh, dora=True).named_parameters() if "magnitude" in name]
    assert len(lengths) == 14
    assert all(w.requires_grad and w.dtype == torch.float32 for w in lengths)
    assert not any("magnitude" in name for name, _ in adapter_with(fresh).named_parameters())


def test_rslora_divides_by_the_root_of_the_rank(fresh: Any) -> None:
    for on, scale in ((False, 32 / 16), (True, 32 / 4)):
        layers = adapter.layers_of(adapter_with(fresh, rank=16, rslora=on)).values()
        assert {layer.scaling["default"] for layer in layers} == {scale}


def test_lora_plus_lets_the_b_matrices_learn_faster(fresh: Any) -> None:
    recipe = dataclasses.replace(BASE, lora_plus_ratio=16.0)
    tuned = adapter.with_adapter(fresh(), recipe)
    slow, fast = (optimizer := adapter.optimizer(tuned, recipe)).param_groups
    adapter.set_rate(optimizer, 1e-4)
    assert fast["lr"] == pytest.approx(16 * slow["lr"]) == pytest.approx(1.6e-3)
    names = {id(weight): name for name, weight in tuned.named_parameters()}
    assert all(".lora_B." in names[id(weight)] for weight in fast["params"])
    assert not any(".lora_B." in names[id(weight)] for weight in slow["params"])
    assert len(optimizer.param_groups[0]["params"]) == len(fast["params"]) == 14


def test_pissa_starts_from_the_weights_and_changes_nothing_at_first(
    fresh: Any, rows: list[EncodedRow], tmp_path: Path
) -> None:
    plain = fresh()
    tuned = adapter.with_adapter(fresh(), dataclasses.replace(BASE, initialization="pissa"), start=tmp_path / "start")
    for name, layer in adapter.layers_of(tuned).items():
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        whole = plain.get_submodule(name).weight
        assert torch.allclose(layer.get_base_layer().weight + layer.scaling["default"] * b @ a, whole, atol=1e-5)
        assert (layer.get_base_layer().weight - whole).abs().max() > 1e-3
    tuned.eval()
    before, after = (encoding.mean_loss(encoding.row_losses(model.eval(), rows)) for model in (plain, tuned))
    assert after == pytest.approx(before, abs=1e-5)


def test_what_pissa_learnt_leaves_the_run_as_a_plain_adapter_for_the_untouched_base(
    fresh: Any, rows: list[EncodedRow], tmp_path: Path
) -> None:
    from peft import PeftModel

    for rslora in (False, True):
        folder, target = tmp_path / str(rslora), tmp_path / f"plain-{rslora}"
        target.mkdir()
        model = fresh()
        recipe = dataclasses.replace(BASE, initialization="pissa", rslora=rslora)
        list(loop.train(model, rows, [], recipe, folder=folder))
        model.eval()
        trained = encoding.row_losses(model, rows)  # the layers are in it
        starts.write_plain(checkpoints.weights_to_keep(folder)[0], folder / starts.START, target)
        elsewhere = PeftModel.from_pretrained(fresh(), str(target)).eval()
        assert elsewhere.peft_config["default"].r == 2 * recipe.rank
        assert encoding.mean_loss(encoding.row_losses(elsewhere, rows)) == pytest.approx(
            encoding.mean_loss(trained), abs=1e-4
        )
        assert abs(encoding.mean_loss(trained) - encoding.mean_loss(encoding.row_losses(fresh().eval(), rows))) > 0.05


EACH = {
    "dora": {"dora": True},
    "rslora": {"rslora": True, "rank": 8},
    "lora+": {"lora_plus_ratio": 8.0},
    "pissa": {"initialization": "pissa", "learning_rate": 1e-3},
    "neftune": {"neftune_alpha": 5.0, "dropout": 0.1},
    "adafactor": {"optimizer": "adafactor"},
    "adamw 8 bit": {"optimizer": "adamw_8bit", "rank": 64},
    "layers": {"layers": "last 1", "targets": "chosen", "target_modules": "q_proj, up_proj"},
    "restarts": {"schedule": "cosine_with_restarts", "warmup_steps": 1},
    "no packing": {"packing": False},
}


@pytest.mark.parametrize("changes", EACH.values(), ids=EACH)
def test_a_run_with_any_control_is_resumed_exactly(
    fresh: Any, rows: list[EncodedRow], tmp_path: Path, changes: dict[str, Any]
) -> None:
    recipe = dataclasses.replace(BASE, checkpoint_steps=1, **changes)
    whole = [s.loss for s in loop.train(fresh(), rows, [], recipe, folder=tmp_path / "whole") if s.step]
    cut = []
    for step in loop.train(fresh(), rows, [], recipe, folder=tmp_path / "cut"):
        cut.append(step.loss)
        if step.step == 2:  # as a kill would: what came after is lost
            break
    torch.manual_seed(999)
    rest = [s.loss for s in loop.train(fresh(), rows, [], recipe, folder=tmp_path / "cut", resume=True)]
    assert cut[1:] + rest == pytest.approx(whole, abs=1e-5)
    assert len(rest) == 2


def test_noise_falls_on_the_words_only_while_training_and_differs_at_every_step(
    fresh: Any, rows: list[EncodedRow], tmp_path: Path
) -> None:
    tuned = adapter_with(fresh, neftune_alpha=5.0)
    ids = torch.tensor([rows[0].tokens])
    embed = tuned.get_base_model().get_input_embeddings()
    tuned.eval()
    calm = embed(ids)
    assert torch.equal(calm, embed(ids))
    tuned.train()
    moved = (embed(ids) - calm).abs()
    reach = 5 / (len(rows[0].tokens) * calm.shape[-1]) ** 0.5
    assert 0.9 * reach < moved.max() <= reach * 1.001
    assert not torch.equal(embed(ids), embed(ids))
    noisy, plain = (losses_of(fresh, rows, tmp_path / str(a), neftune_alpha=a) for a in (5.0, 0.0))
    assert noisy != pytest.approx(plain, abs=1e-4)


def test_chosen_modules_and_layers_get_the_adapter_and_no_others(fresh: Any) -> None:
    def names(**changes: Any) -> set[str]:
        return {name.removeprefix("model.layers.") for name in adapter.layers_of(adapter_with(fresh, **changes))}

    assert names(targets="chosen", target_modules="q_proj,v_proj", layers="first 1") == {
        "0.self_attn.q_proj", "0.self_attn.v_proj"
    }  # fmt: skip
    assert {name.split(".")[0] for name in names(layers="last 1")} == {"1"}
    assert len(names(layers="last 1")) == 7
    assert len(names()) == 14
    for changes, word in (({"targets": "chosen", "target_modules": "q_projj"}, "q_projj"), ({"layers": "7"}, "0 to 1")):
        with pytest.raises(Invalid, match=word):
            names(**changes)


def test_the_picture_of_a_model_counts_what_peft_trains(fresh: Any, tiny_model: Path) -> None:
    from factory.training import sources

    model = sources.describe(tiny_model, "tiny", "test") | {"folder": str(tiny_model)}
    for changes in (
        {},
        {"targets": "mlp", "dora": True},
        {"layers": "last 1"},
        {"targets": "chosen", "target_modules": "q_proj"},
    ):
        recipe = dataclasses.replace(BASE, **changes)
        tuned = adapter.with_adapter(fresh(), recipe)
        assert places.trained(recipe, model) == sum(w.numel() for w in tuned.parameters() if w.requires_grad), changes
        guessed = {key: value for key, value in model.items() if key != "folder"}
        assert places.trained(recipe, guessed) == places.trained(recipe, model)


def test_the_history_of_a_conversation_can_be_left_out_of_training(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    talk = [
        {"role": role, "content": words}
        for role, words in (("user", "One?"), ("assistant", "First."), ("user", "Two?"), ("assistant", "Second."))
    ]
    all_of_them, last = (encoding.encode(tokenizer, talk, mask_history=on) for on in (False, True))
    assert all_of_them.tokens == last.tokens

    def spoken(row: EncodedRow) -> str:
        return str(tokenizer.decode([t for t, on in zip(row.tokens, row.supervised, strict=True) if on]))

    assert spoken(last) == "Second.<|im_end|>"
    assert "First." in spoken(all_of_them)


def test_adam_and_its_memory_follow_the_recipe(fresh: Any) -> None:
    recipe = dataclasses.replace(BASE, adam_beta1=0.8, adam_beta2=0.95, weight_decay=0.1)
    (group,) = adapter.optimizer(adapter.with_adapter(fresh(), recipe), recipe).param_groups
    assert (group["betas"], group["weight_decay"]) == ((0.8, 0.95), 0.1)


def test_credit_reads_the_gradients_of_a_dora_adapter_as_autograd_does(fresh: Any, rows: list[EncodedRow]) -> None:
    from factory.credit import gradients

    tuned = adapter_with(fresh, dora=True)
    learnt = [weight for name, weight in tuned.named_parameters() if ".lora_A." in name or ".lora_B." in name]
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if ".lora_B." in name or "magnitude" in name:
                weight.add_(torch.randn_like(weight) * 0.05)
    tuned.eval()
    found = gradients.of_rows(tuned, rows[:3], buckets=gradients.parameters(tuned))
    for place, row in enumerate(rows[:3]):
        tuned.zero_grad()
        encoding.backward(tuned, encoding.packs([row])[0], divisor=1.0)
        expected = torch.cat([weight.grad.flatten() for weight in learnt])
        assert torch.allclose(torch.from_numpy(found[place]), expected, atol=1e-4 * float(expected.abs().max()))
