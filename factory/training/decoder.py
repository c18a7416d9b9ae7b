"""A Llama-like decoder with LoRA, its forward and its backward written out for packs: the fast way through a model.

Exactly what the model's own modules compute (a test compares every gradient), with less work: q, k, v and gate, up are one
product each, attention stays inside the rows, nothing is kept that is cheap to compute again, the last layer and the head
look only at the places that predict a label, and nothing is computed that no adapter needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from factory.training import attention, compiled
from factory.training.attention import Heads, Plan, Rows
from factory.training.lora import Wide
from factory.training.packing import Pack

LABELS_PER_CHUNK = 256  # so many rows of logits exist at once


@dataclass(frozen=True)
class Norm:
    """An RMSNorm's weight [D] and what keeps it from dividing by nothing."""

    weight: Tensor
    eps: float


@dataclass(frozen=True)
class Layer:
    """One decoder layer: its products and norms."""

    norm: Norm
    qkv: Wide
    out: Wide
    norm_2: Norm
    gate_up: Wide
    down: Wide


@dataclass(frozen=True)
class Decoder:
    """A whole model: `rotary` and `embed` are the model's own modules, `head` [vocabulary, D] its output weights."""

    layers: Sequence[Layer]
    heads: Heads
    norm: Norm
    embed: Any
    rotary: Any
    head: Tensor
    recompute: bool  # gradient checkpointing: keep each layer's input alone


@dataclass
class Way:
    """What all layers need to know of one pack: its attention, cos and sin, and where labels are predicted."""

    plan: Plan | Rows
    cos: Tensor  # [T, E / 2], float32
    sin: Tensor
    asked: Tensor  # [N], places in the pack, each once
    labels: Tensor  # [labels], places in `asked`
    targets: Tensor  # [labels], tokens


@dataclass(frozen=True)
class Kept:
    """What one layer keeps for its backward: whatever a matrix product or a sum over a row was needed for."""

    x: Tensor  # its input [T, D]
    rate: Tensor
    heads: Tensor  # turned queries and keys, and values [T, heads.all, E]
    attended: list[Tensor | None]  # what attention wants back
    read: Tensor  # what attention read [T or N, queries * E]
    x_2: Tensor
    rate_2: Tensor
    both: Tensor  # [gate | up]
    inners: tuple[Tensor | None, ...]  # x Aᵀ of each of its four products


def way(decoder: Decoder, pack: Pack) -> Way:
    """A pack made ready for a decoder."""
    device = decoder.head.device
    positions = torch.tensor([pack.positions], device=device)
    cos, sin = decoder.rotary(torch.empty(0, dtype=torch.float32, device=device), positions)
    half = cos.shape[-1] // 2
    sources = torch.tensor([label[0] for label in pack.labels], device=device, dtype=torch.long)
    asked, labels = sources.unique(return_inverse=True)
    return Way(
        attention.plan(pack, decoder.heads, decoder.head), cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous(),
        asked, labels, torch.tensor([label[1] for label in pack.labels], device=device, dtype=torch.long),
    )  # fmt: skip


def forward(decoder: Decoder, pack: Pack, way: Way, *, keep: bool) -> tuple[Tensor, list[Kept | Tensor]]:
    """The last hidden states before the final norm at the places asked for [N, D], and what `backward` needs."""
    x = decoder.embed(torch.tensor([pack.tokens], device=decoder.head.device))[0].detach()
    kept: list[Kept | Tensor] = []
    for number, layer in enumerate(decoder.layers):
        last = number == len(decoder.layers) - 1
        after, all_of_it = _layer(decoder, layer, x, way, last=last, keep=keep and not decoder.recompute)
        if keep:
            kept.append(x if decoder.recompute else all_of_it)
        x = after
    return x, kept


def _layer(decoder: Decoder, layer: Layer, x: Tensor, way: Way, *, last: bool, keep: bool) -> tuple[Tensor, Kept]:
    h, rate = compiled.norm(x, layer.norm.weight, layer.norm.eps)
    qkv, inner_qkv = layer.qkv.forward(h)
    table = qkv.view(len(x), decoder.heads.all, decoder.heads.width)
    compiled.rotate_(table, decoder.heads.queries + decoder.heads.keys, way.cos, way.sin)
    read, attended = attention.forward(table.view(-1, decoder.heads.width), way.plan, keep=keep)
    before = x
    if last:
        read, before = read.index_select(0, way.asked), x.index_select(0, way.asked)
    x_2, inner_out = layer.out.forward(read, before)
    h_2, rate_2 = compiled.norm(x_2, layer.norm_2.weight, layer.norm_2.eps)
    both, inner_both = layer.gate_up.forward(h_2)
    after, inner_down = layer.down.forward(compiled.gated(both), x_2)
    inners = (inner_qkv, inner_out, inner_both, inner_down)
    return after, Kept(x, rate, table, attended, read, x_2, rate_2, both, inners)


def backward(decoder: Decoder, way: Way, kept: list[Kept | Tensor], dx: Tensor) -> None:
    """Add to every adapter's gradient, from that towards what `forward` gave; `kept` is used up."""
    for number in reversed(range(len(decoder.layers))):
        last = number == len(decoder.layers) - 1
        layer, of = decoder.layers[number], kept.pop()
        if isinstance(of, Tensor):
            _, of = _layer(decoder, layer, of, way, last=last, keep=True)
        found = _layer_back(decoder, layer, of, way, dx, number=number)
        if found is None:
            return
        dx = found


def _layer_back(decoder: Decoder, layer: Layer, of: Kept, way: Way, dx: Tensor, *, number: int) -> Tensor | None:
    """The gradient towards a layer's input, or None where nobody wants it."""
    inner_qkv, inner_out, inner_both, inner_down = of.inners
    dm, outer = layer.down.back(dx)
    dboth, m = compiled.gated_back(dm, of.both)
    layer.down.gradients(m, inner_down, outer, dx)
    dh, outer = layer.gate_up.back(dboth)
    d_2, h = compiled.norm_back(dh, of.x_2, layer.norm_2.weight, of.rate_2, dx)
    layer.gate_up.gradients(h, inner_both, outer, dboth)
    dread, outer = layer.out.back(d_2)
    layer.out.gradients(of.read, inner_out, outer, d_2)
    read = of.read
    if number == len(decoder.layers) - 1:
        dread, d_2, read = (_spread(some, way.asked, len(of.x)) for some in (dread, d_2, read))
    table = attention.backward(dread, of.heads.view(-1, decoder.heads.width), way.plan, of.attended, read)
    compiled.rotate_(table, decoder.heads.queries + decoder.heads.keys, way.cos, way.sin, back=True)
    dqkv = table.view(len(of.x), -1)
    if number == 0:  # the embeddings are frozen
        h, _ = compiled.norm(of.x, layer.norm.weight, layer.norm.eps)
        layer.qkv.gradients(h, inner_qkv, layer.qkv.back_inner(dqkv), dqkv)
        return None
    dh, outer = layer.qkv.back(dqkv)
    d, h = compiled.norm_back(dh, of.x, layer.norm.weight, of.rate, d_2)
    layer.qkv.gradients(h, inner_qkv, outer, dqkv)
    return d


def _spread(some: Tensor, places: Tensor, total: int) -> Tensor:
    return some.new_zeros(total, some.shape[1]).index_copy_(0, places, some)


def states(decoder: Decoder, pack: Pack) -> Tensor:
    """The last hidden state at each place that predicts a label: [labels, D], without gradients."""
    ready = way(decoder, pack)
    with torch.no_grad():
        x, _ = forward(decoder, pack, ready, keep=False)
        return compiled.norm(x, decoder.norm.weight, decoder.norm.eps)[0].index_select(0, ready.labels)


def train_on(decoder: Decoder, pack: Pack, *, divisor: float) -> float:
    """Add the gradients of (summed loss / `divisor`) to the adapters; the summed loss in nats."""
    ready = way(decoder, pack)
    with torch.no_grad():
        x, kept = forward(decoder, pack, ready, keep=True)
        hidden, rate = compiled.norm(x, decoder.norm.weight, decoder.norm.eps)
        hidden = hidden.index_select(0, ready.labels)
        total = 0.0
        dhidden = torch.empty_like(hidden)
        for start in range(0, len(hidden), LABELS_PER_CHUNK):
            part = slice(start, start + LABELS_PER_CHUNK)
            loss, dlogits = compiled.nll_back_(hidden[part] @ decoder.head.t(), ready.targets[part], 1 / divisor)
            torch.mm(dlogits, decoder.head, out=dhidden[part])
            total += float(loss.double().sum())
        if len(ready.asked) < len(ready.labels):
            dhidden = x.new_zeros(x.shape).index_add_(0, ready.labels, dhidden)
        elif len(hidden):
            dhidden = torch.empty_like(x).index_copy_(0, ready.labels, dhidden)
        dx, _ = compiled.norm_back(dhidden, x, decoder.norm.weight, rate, None)
        backward(decoder, ready, kept, dx)
    return total
