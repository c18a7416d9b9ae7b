"""Per-row gradients over the LoRA parameters, many rows in one backward, folded until they are small enough to keep.

The one module of credit that needs torch; `attribution` imports it when it measures, so that pages need not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from factory.base.errors import Invalid
from factory.training import encoding

SEED = 7
TOKENS_AT_ONCE = 768


def hashes(size: int, buckets: int, seed: int = SEED) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Where each of `size` coordinates is added in a sketch, and with which sign; as they are where `buckets` >= `size`."""
    if buckets >= size:
        return np.arange(size, dtype=np.int32), np.ones(size, dtype=np.int8)
    draws = np.random.default_rng(seed)
    places = draws.integers(0, buckets, size, dtype=np.int32)
    return places, (2 * draws.integers(0, 2, size, dtype=np.int8) - 1).astype(np.int8)


def sketch(gradients: NDArray[Any], buckets: int, seed: int = SEED) -> NDArray[np.float64]:
    """Gradients [rows, P] folded to [rows, buckets]: inner products stay right on average, off by about 1/sqrt(buckets).

    Each coordinate is added to one bucket with a random sign: the count-sketch of Charikar, Chen and Farach-Colton, 2002.
    """
    places, signs = hashes(gradients.shape[1], buckets, seed)
    width = min(buckets, gradients.shape[1])
    return np.stack([np.bincount(places, weights=row * signs, minlength=width) for row in gradients])


def of_rows(
    model: Any, rows: Sequence[encoding.EncodedRow], *, buckets: int, progress: Callable[[float], None] | None = None
) -> NDArray[np.float32]:
    """Each row's gradient of its summed loss over the LoRA parameters, sketched: [rows, buckets or fewer].

    `model` is a frozen PeftModel in eval mode, its adapter merged into the weights or not. What goes into a layer (x) and
    the gradient that comes back out of it (d) are enough: dA = s·(d·B)ᵀx and dB = s·dᵀ(x·Aᵀ), per row. So many rows share
    one backward, and where the adapter is merged that is almost twice as fast as one backward a row.
    """
    layers = _lora_layers(model)
    sizes = [(layer.lora_A[name].weight.numel(), layer.lora_B[name].weight.numel()) for layer, name in layers]
    places, signs = hashes(sum(map(sum, sizes)), buckets)
    parts = [size for pair in sizes for size in pair]
    device = model.device
    placed = torch.from_numpy(places).to(device).split(parts)
    signed = torch.from_numpy(signs).to(device).split(parts)
    folded = np.zeros((len(rows), min(buckets, sum(parts))), dtype=np.float32)
    done = 0
    for batch in _batches(rows):
        sums = torch.zeros(len(batch), folded.shape[1], device=device)

        def add(number: int, gradient: torch.Tensor, sums: torch.Tensor = sums) -> None:
            sums.index_add_(1, placed[number], gradient.flatten(1) * signed[number])

        _backward(model, [rows[place] for place in batch], layers, add)
        folded[batch] = sums.cpu().numpy()
        done += len(batch)
        if progress:
            progress(done / len(rows))
    return folded


def parameters(model: Any) -> int:
    """How many numbers a gradient over the LoRA parameters of this model has."""
    return sum(layer.lora_A[name].weight.numel() + layer.lora_B[name].weight.numel() for layer, name in _lora_layers(model))


def _lora_layers(model: Any) -> list[tuple[Any, str]]:
    """Every LoRA layer with the name of its active adapter, in the model's order."""
    from peft.tuners.lora import LoraLayer

    found = [(module, module.active_adapters[0]) for module in model.modules() if isinstance(module, LoraLayer)]
    found = [(layer, name) for layer, name in found if name in layer.lora_A]
    if not found:
        raise Invalid(
            "This adapter has no plain LoRA layers, so its gradients cannot be taken; credit works for LoRA and QLoRA."
        )
    return found


def has_dora(model: Any) -> bool:
    """Whether an adapter rescales whole weights; merged, it could no longer tell by how much."""
    return any(layer.use_dora.get(name) for layer, name in _lora_layers(model))


def _times(layer: Any, name: str) -> Any:
    """What a LoRA layer multiplies B(Ax) with: a number, with DoRA one for each output (its equation 5, the norm held)."""
    if not layer.use_dora.get(name):
        return layer.scaling[name]
    if layer.merged:
        raise Invalid("A merged DoRA adapter no longer tells its gradients; unmerge it first.")
    from peft.utils.integrations import dequantize_module_weight

    a, b = layer.lora_A[name].weight.float(), layer.lora_B[name].weight.float()
    whole = dequantize_module_weight(layer.get_base_layer()).float() + layer.scaling[name] * b @ a
    return layer.scaling[name] * layer.lora_magnitude_vector[name].weight.float() / whole.norm(dim=1)


def _batches(rows: Sequence[encoding.EncodedRow]) -> Iterator[list[int]]:
    """Places of rows that have labels, short ones together, so that little is padded; the others stay zero."""
    order = sorted((place for place, row in enumerate(rows) if row.label_tokens), key=lambda p: (len(rows[p].tokens), p))
    batch: list[int] = []
    for place in order:
        if batch and (len(batch) + 1) * len(rows[place].tokens) > TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _backward(
    model: Any,
    rows: Sequence[encoding.EncodedRow],
    layers: Sequence[tuple[Any, str]],
    add: Callable[[int, torch.Tensor], None],
) -> None:
    """One backward for several rows; `add` hears the number of each parameter and its gradient, [rows, …]."""

    def watch(number: int, layer: Any, name: str) -> Any:
        a, b, scaling = layer.lora_A[name].weight.float(), layer.lora_B[name].weight.float(), _times(layer, name)

        def forward(_: Any, given: tuple[Any, ...], output: Any) -> None:
            x = given[0].detach().float()

            def backward(d: torch.Tensor) -> None:
                d = d.float() * scaling
                add(2 * number, torch.einsum("btr,bti->bri", d @ b, x))
                add(2 * number + 1, torch.einsum("bto,btr->bor", d, x @ a.T))

            output.register_hook(backward)

        return layer.register_forward_hook(forward)

    base = model.get_base_model()
    width = max(len(row.tokens) for row in rows)
    # Padding stands at the end and attention looks back only, so it changes nothing; it has no label and no gradient.
    ids = torch.tensor([[*row.tokens, *[row.tokens[-1]] * (width - len(row.tokens))] for row in rows], device=model.device)
    labels = [(at, place - 1) for at, row in enumerate(rows) for place in range(1, len(row.tokens)) if row.supervised[place]]
    where = torch.tensor(labels, device=model.device).T
    watching = [watch(number, layer, name) for number, (layer, name) in enumerate(layers)]
    try:
        entry = base.get_input_embeddings()(ids).detach().requires_grad_()
        hidden = base.get_decoder()(inputs_embeds=entry, use_cache=False).last_hidden_state[where[0], where[1]]
        targets = ids[where[0], where[1] + 1]
        leaf = hidden.detach().requires_grad_()
        for start in range(0, len(targets), encoding.LABELS_PER_CHUNK):
            part = slice(start, start + encoding.LABELS_PER_CHUNK)
            encoding.label_nll(model, leaf[part], targets[part]).sum().backward()
        hidden.backward(leaf.grad)
    finally:
        for watched in watching:
            watched.remove()
