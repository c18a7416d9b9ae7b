from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from factory.training import encoding, fastpath
from factory.training.adapter import add_noise
from factory.training.encoding import EncodedRow

VOCABULARY = 256
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "num_hidden_layers": 3,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def base(kind: str = "Llama", **changes: Any) -> Any:
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SMALL, **changes})
    model = getattr(transformers, f"{kind}ForCausalLM")._from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name or "bias" in name:
                weight.add_(0.1 * torch.randn_like(weight))
            if "embed" in name:
                weight.mul_(10)  # as large as a trained model's; the first norm would blow up float32's own errors
    return model.requires_grad_(False)


def with_lora(model: Any, targets: Any = "all-linear", **changes: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM", init_lora_weights=False, **changes)
    return get_peft_model(model, config).train()


def rows_of(lengths: list[int], *, prefix: int = 0, seed: int = 3) -> list[EncodedRow]:
    chance = random.Random(seed)
    shared = [chance.randrange(VOCABULARY) for _ in range(prefix)]
    made = []
    for number, length in enumerate(lengths):
        tokens = shared + [chance.randrange(VOCABULARY) for _ in range(length)]
        marks = [False, *(chance.random() < 0.6 for _ in tokens[1:-1]), True]
        made.append(EncodedRow(number, tuple(tokens), tuple(marks)))
    return made


def alone(model: Any, rows: list[EncodedRow]) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients one row at a time through the model's own modules, as any textbook computes them."""
    total = 0.0
    for row in rows:
        loss = plain_loss(model, row)
        loss.backward()
        total += loss.item()
    return total, gradients(model)


def plain_loss(model: Any, row: EncodedRow) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([row.tokens])).logits[0, :-1].log_softmax(-1)
    nll = -logits.gather(1, torch.tensor(row.tokens[1:])[:, None])[:, 0]
    return (nll * torch.tensor(row.supervised[1:])).sum()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    model.zero_grad()
    return found


def check(model: Any, rows: list[EncodedRow], tokens_per_pack: int = 100_000) -> None:
    loss, expected = alone(model, rows)
    assert fastpath.why_not(model) is None
    packs = encoding.packs(rows, tokens_per_pack=tokens_per_pack)
    total = sum(encoding.backward(model, pack, divisor=1.0) for pack in packs)
    assert total == pytest.approx(loss, rel=1e-5)
    found = gradients(model)
    assert found.keys() == expected.keys()
    for name, theirs in expected.items():
        assert float(theirs.abs().max()) > 0, name
        assert (found[name] - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max())), name
    measured = encoding.row_losses(model, rows, tokens_per_pack=tokens_per_pack)
    assert sum(value for value, _ in measured) == pytest.approx(loss, rel=1e-5)


MODELS: dict[str, Callable[[], Any]] = {
    "grouped heads": base,
    "a key head to each query head": lambda: base(num_key_value_heads=6),
    "one key head": lambda: base(num_key_value_heads=1),
    "tied": lambda: base(tie_word_embeddings=True),
    "mistral": lambda: base("Mistral", sliding_window=None),
    "qwen2 with biases": lambda: base("Qwen2"),
    "biases everywhere": lambda: base(attention_bias=True, mlp_bias=True),
    "scaled positions": lambda: base(rope_parameters={"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0}),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("prefix", [0, 9])
def test_every_gradient_is_that_of_plain_peft_one_row_at_a_time(name: str, prefix: int) -> None:
    check(with_lora(MODELS[name]()), rows_of([5, 31, 2, 17, 40, 12, 33], prefix=prefix))


@pytest.mark.parametrize(
    "targets", [["q_proj"], ["v_proj", "down_proj"], ["k_proj", "up_proj", "o_proj"], r".*\.1\..*(gate|down)_proj"]
)
def test_layers_without_an_adapter_are_left_alone(targets: Any) -> None:
    check(with_lora(base(), targets), rows_of([5, 31, 17], prefix=4))


def test_several_packs_add_up() -> None:
    rows = rows_of([5, 31, 2, 17, 40, 12, 33], prefix=3)
    assert len(encoding.packs(rows, tokens_per_pack=64)) > 2
    check(with_lora(base()), rows, tokens_per_pack=64)


def test_rows_too_long_to_be_looked_at_at_once_are_taken_in_pieces() -> None:
    check(with_lora(base(num_hidden_layers=2)), rows_of([1100, 40, 700], prefix=6))


def test_rows_that_are_equal_or_begin_others_share_all_they_can() -> None:
    one = rows_of([30])[0]
    rows = [one, EncodedRow(1, one.tokens, one.supervised), EncodedRow(2, one.tokens[:12], (False, *(True,) * 11))]
    check(with_lora(base()), rows)
    check(with_lora(base()), [*rows, *rows_of([3, 5], seed=4)])


def test_scaling_and_checkpointing_change_nothing_in_the_result() -> None:
    rows = rows_of([5, 31, 17], prefix=4)
    check(with_lora(base(), lora_alpha=8, use_rslora=True), rows)
    model = with_lora(base())
    model.get_base_model().activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    check(model, rows)


def test_adapters_that_were_changed_switched_off_or_merged_are_seen() -> None:
    model = with_lora(base()).eval()
    rows = rows_of([5, 31, 17])

    def measured() -> float:
        with torch.no_grad():
            expected = sum(plain_loss(model, row).item() for row in rows)
        assert sum(loss for loss, _ in encoding.row_losses(model, rows)) == pytest.approx(expected, rel=1e-5)
        return round(expected, 3)

    first = measured()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5 if parameter.requires_grad else 1.0)
    second = measured()
    with model.disable_adapter():
        third = measured()
    assert len({first, second, third}) == 3
    model.merge_adapter(safe_merge=True)
    assert measured() == pytest.approx(second, abs=2e-3)
    model.unmerge_adapter()
    assert measured() == pytest.approx(second, abs=2e-3)


def test_bfloat16_loses_about_the_same() -> None:
    model, rows = with_lora(base()), rows_of([50, 31, 17, 90], prefix=4)
    with torch.no_grad():
        whole = encoding.mean_loss(encoding.row_losses(model, rows))
    half = with_lora(base().to(torch.bfloat16))
    for name, parameter in half.named_parameters():
        if "lora" in name:
            parameter.data = dict(model.named_parameters())[name].data.clone()
    assert fastpath.why_not(half) is None
    assert encoding.mean_loss(encoding.row_losses(half, rows)) == pytest.approx(whole, rel=5e-3)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "another family": (lambda: with_lora(base("Qwen3")), "qwen3"),
    "a sliding window": (lambda: with_lora(base("Mistral", sliding_window=8)), "slides"),
    "another activation": (lambda: with_lora(base(hidden_act="gelu")), "gelu"),
    "DoRA": (lambda: with_lora(base(), use_dora=True), "more than plain LoRA"),
    "dropout": (lambda: with_lora(base(), lora_dropout=0.1), "dropout"),
    "float16": (lambda: with_lora(base().to(torch.float16)), "float16"),
    "more is trained": (lambda: with_lora(base(), modules_to_save=["norm"]), "more than plain LoRA weights"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_does_not_know_goes_through_the_models_own_modules(name: str) -> None:
    made, word = REFUSED[name]
    model, rows = made(), rows_of([5, 31, 17], prefix=4)
    assert word in (fastpath.why_not(model) or "")
    assert fastpath.find(model) is None
    if name in ("dropout", "float16", "a sliding window"):
        return
    loss, expected = alone(model, rows)
    assert encoding.backward(model, encoding.packs(rows)[0], divisor=1.0) == pytest.approx(loss, rel=1e-5)
    found = gradients(model)
    for parameter, theirs in expected.items():
        assert (found[parameter] - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max())), parameter


def test_dropout_does_not_stand_in_the_way_of_measuring() -> None:
    model = with_lora(base(), lora_dropout=0.1)
    assert fastpath.find(model) is None
    assert fastpath.find(model.eval()) is not None


def test_something_that_listens_to_a_layer_is_heard() -> None:
    model = with_lora(base())
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    handle = layer.register_forward_hook(lambda *_: None)
    assert "listens" in (fastpath.why_not(model) or "")
    handle.remove()
    assert fastpath.why_not(model) is None
    add_noise(model, 5.0)
    assert "embeddings" in (fastpath.why_not(model) or "")
    assert fastpath.why_not(model.eval()) is None, "there is no noise in measuring"
