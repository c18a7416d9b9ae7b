"""Whether a model can take the fast way of `decoder`, exactly, and the decoder made of it; else why not, in one sentence.

Everything that the written-out forward and backward do not know is refused here and goes through the model's own modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch

from factory.training import compiled
from factory.training.attention import Heads
from factory.training.decoder import Decoder, Layer, Norm
from factory.training.lora import Adapter, Wide

FAMILIES = {"llama", "mistral", "qwen2"}  # RMSNorm before each half, rotary positions, silu(gate) * up, nothing else
ROTARY = {"default", "linear", "llama3", "yarn"}  # those whose angles depend on nothing but the position
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
_made: WeakKeyDictionary[Any, tuple[tuple[Any, ...], Decoder]] = WeakKeyDictionary()


def find(model: Any) -> Decoder | None:
    """The decoder of a model (a causal language model or the PeftModel around it), up to date; None where `why_not`."""
    base = _base(model)
    reason, adapters = _look(base)
    if reason is not None:
        _made.pop(base, None)
        return None
    checkpointing = bool(base.training and getattr(base.get_decoder(), "gradient_checkpointing", False))
    key = (checkpointing, *((id(a.a), id(a.b), a.scaling) if a else None for a in adapters))
    known = _made.pop(base, None)
    if known is None or known[0] != key or not all(wide.whole for wide in _wides(known[1])):
        known = None  # its weights are given back before new ones are made
        known = (key, _decoder(base, dict(zip(map(id, _linears(base)), adapters, strict=True)), checkpointing))
    _made[base] = known
    for wide in _wides(known[1]):
        wide.refresh()
    return known[1]


def why_not(model: Any) -> str | None:
    """Why a model must go through its own modules, in one sentence; None where the fast way computes exactly the same."""
    return _look(_base(model))[0]


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _look(base: Any) -> tuple[str | None, list[Adapter | None]]:
    """Why not, or None and the adapter of each linear layer: asked for every pack, so each layer is looked at once."""
    reasons = {
        f"models of the kind {base.config.model_type} have no fast way yet": base.config.model_type not in FAMILIES,
        "on a GPU the model's own attention is used; the fast way was measured on processors only": base.device.type
        != "cpu",
        f"the fast way does not compute in {base.dtype}": base.dtype not in (torch.float32, torch.bfloat16),
    }
    found = [reason for reason, holds in reasons.items() if holds] or _strange(base)
    if found:
        return found[0], []
    adapters: list[Adapter | None] = []
    for linear in _linears(base):
        if reason := _unfit(linear, base.training):
            return reason, []
        adapters.append(adapter(linear))
    known = {id(weight) for lora in adapters if lora for weight in (lora.a, lora.b)}
    if any(parameter.requires_grad and id(parameter) not in known for parameter in base.parameters()):
        return "more than plain LoRA weights are trained", []
    return None, adapters


def sentence(model: Any) -> str:
    """Which way a model goes, and why, for a log."""
    if reason := why_not(model):
        return f"Going through the model's own modules: {reason}."
    sums = "compiled here" if compiled.library() else "by torch's own operations, for want of a C compiler"
    return f"Going the fast way (decoder.py), the sums between its matrix products {sums}."


def _strange(base: Any) -> list[str]:
    """What a model of a known family does that the fast way does not."""
    config, head = base.config, base.get_output_embeddings()
    reasons = {
        f"the fast way knows the activation silu, not {config.hidden_act}": config.hidden_act != "silu",
        "this model's attention slides over long rows": _sliding(config),
        "this model's rotary positions depend on the row's length": (config.rope_parameters or {}).get("rope_type")
        not in ROTARY,
        "this model drops out attention": bool(base.training and getattr(config, "attention_dropout", 0)),
        "something changes the embeddings on their way in": base.training and _listened(base),
        "this model's head is no plain matrix": type(head) is not torch.nn.Linear or head.bias is not None,
    }
    return [reason for reason, holds in reasons.items() if holds]


def _listened(base: Any) -> bool:
    """Whether hooks stand at the model's entry, as NEFTune's noise does."""
    modules = (base.get_decoder(), base.get_input_embeddings())
    hooks = [hook for of in modules for hook in (*of._forward_hooks.values(), *of._forward_pre_hooks.values())]
    return any(getattr(hook, "__name__", "") != "make_inputs_require_grads" for hook in hooks)  # checkpointing's own


def _sliding(config: Any) -> bool:
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return any(kind != "full_attention" for kind in kinds)
    return getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)


def _unfit(linear: Any, training: bool) -> str | None:
    """Why a linear layer, with what peft made of it, is none that `lora.Wide` can compute."""
    core = getattr(linear, "base_layer", linear)
    if type(core) is not torch.nn.Linear:
        return f"its linear layers are of the kind {type(core).__name__}"
    if any(module._forward_hooks or module._forward_pre_hooks for module in (linear, core)):
        return "something listens to its linear layers"
    if core is linear:
        return None
    if type(linear).__module__ != "peft.tuners.lora.layer" or type(linear).__name__ != "Linear":
        return f"its adapters are of the kind {type(linear).__name__}"
    active = [name for name in linear.active_adapters if name in linear.lora_A]
    if linear.disable_adapters or linear.merged or not active:
        return None
    if len(active) > 1:
        return "several adapters are active at once"
    (name,) = active
    if name in linear.lora_variant or linear.use_dora.get(name) or linear.lora_bias.get(name) or linear.fan_in_fan_out:
        return "its adapter is more than plain LoRA"
    if training and getattr(linear.lora_dropout[name], "p", 0.0) > 0:
        return "its adapter has dropout"
    return None


def adapter(linear: Any) -> Adapter | None:
    """The LoRA adapter that is active in a linear layer that `why_not` has nothing against, or None."""
    if not hasattr(linear, "lora_A") or linear.disable_adapters or linear.merged:
        return None
    for name in linear.active_adapters:
        if name in linear.lora_A:
            return Adapter(linear.lora_A[name].weight, linear.lora_B[name].weight, float(linear.scaling[name]))
    return None


def _linears(base: Any) -> Iterator[Any]:
    for layer in base.get_decoder().layers:
        for part, names in ((layer.self_attn._modules, ATTENTION), (layer.mlp._modules, MLP)):
            yield from (part[name] for name in names)


def _wides(decoder: Decoder) -> Iterator[Wide]:
    for layer in decoder.layers:
        yield from (layer.qkv, layer.out, layer.gate_up, layer.down)


def _decoder(base: Any, adapters: dict[int, Adapter | None], checkpointing: bool) -> Decoder:
    stack, config = base.get_decoder(), base.config
    _off_the_file(base)

    def wide(part: Any, *names: str) -> Wide:
        each = (getattr(part, name) for name in names)
        return Wide([(getattr(linear, "base_layer", linear), adapters[id(linear)]) for linear in each])

    layers = [
        Layer(
            _norm(layer.input_layernorm),
            wide(layer.self_attn, *ATTENTION[:3]),
            wide(layer.self_attn, ATTENTION[3]),
            _norm(layer.post_attention_layernorm),
            wide(layer.mlp, *MLP[:2]),
            wide(layer.mlp, MLP[2]),
        )
        for layer in stack.layers
    ]
    first = stack.layers[0].self_attn
    heads = Heads(config.num_attention_heads, config.num_key_value_heads, first.head_dim, float(first.scaling))
    head = base.get_output_embeddings().weight.detach()
    return Decoder(layers, heads, _norm(stack.norm), stack.embed_tokens, stack.rotary_emb, head, checkpointing)


def _off_the_file(base: Any) -> None:
    """Copy what stays out of the tables, so that nothing refers to the mapped weights file and its pages are let go."""
    in_tables = {id(getattr(linear, "base_layer", linear).weight) for linear in _linears(base)}
    for parameter in base.parameters():
        if not parameter.requires_grad and id(parameter) not in in_tables:
            parameter.data = parameter.data.clone()


def _norm(module: Any) -> Norm:
    return Norm(module.weight.detach(), float(module.variance_epsilon))
