"""Linear layers with LoRA that share one input, as one wide product forward and one backward, without saved copies.

The frozen weights of, say, q, k and v stand in one table, and beside them the adapters' B, times their scaling:

    table [outputs, inputs + ranks] = [ W_q | s B_q   0     0   ]      down [ranks, inputs] = [ A_q ]
                                      [ W_k |  0    s B_k   0   ]                             [ A_k ]
                                      [ W_v |  0      0   s B_v ]                             [ A_v ]

so y = x Wᵀ + (x downᵀ) (s B)ᵀ, and one product dy · table gives both dy·W and s·dy·B, of which dx and dA are made.
`compiled` does that in one go where it can. The modules keep working: their weights become views of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from factory.training import compiled
from factory.training.machine import let_go


@dataclass(frozen=True)
class Adapter:
    """One active LoRA adapter of one linear layer: y += scaling * (x Aᵀ) Bᵀ."""

    a: torch.nn.Parameter  # [rank, inputs]
    b: torch.nn.Parameter  # [outputs, rank]
    scaling: float


@dataclass(frozen=True)
class Member:
    """A linear layer's place in the table: its outputs, and its adapter's ranks where it has one."""

    weight: torch.nn.Parameter
    outputs: slice
    adapter: Adapter | None
    ranks: slice


class Wide:
    """Linear layers of one input. `members` are (base linear layer, its adapter or None)."""

    def __init__(self, members: Sequence[tuple[Any, Adapter | None]]) -> None:
        first = members[0][0].weight
        self.inputs = first.shape[1]
        self.members: list[Member] = []
        row = rank = 0
        for linear, adapter in members:
            ranks = adapter.a.shape[0] if adapter else 0
            outputs = linear.weight.shape[0]
            self.members.append(Member(linear.weight, slice(row, row + outputs), adapter, slice(rank, rank + ranks)))
            row, rank = row + outputs, rank + ranks
        self.ranks = rank
        self.table: Tensor = first.new_zeros(row, self.inputs + rank)
        for member in self.members:
            place = self.table[member.outputs, : self.inputs]
            mapped = member.weight.detach()
            place.copy_(mapped)
            let_go(mapped.data_ptr(), mapped.nbytes)  # or the weights' file and the tables are in memory at once
            member.weight.data = place
        self.weight = self.table[:, : self.inputs]
        self.up = self.table[:, self.inputs :]
        self.down: Tensor = first.new_zeros(rank, self.inputs)
        self._adapters = [(member, member.adapter) for member in self.members if member.adapter]
        biases = [getattr(linear, "bias", None) for linear, _ in members]
        self.bias: Tensor | None = None
        if any(bias is not None for bias in biases):
            each = zip(self.members, biases, strict=True)
            self.bias = torch.cat(
                [b.detach() if b is not None else first.new_zeros(m.outputs.stop - m.outputs.start) for m, b in each]
            )

        self.in_one_go = compiled.multiplies(self.table, self.inputs, row, rank) and all(
            weight.dtype == torch.float32 and weight.is_contiguous()  # they are read by their address
            for _, adapter in self._adapters
            for weight in (adapter.a, adapter.b)
        )
        starts = [(m.outputs.start, m.ranks.start, len(m.weight), a.a.shape[0]) for m, a in self._adapters]
        self._places = torch.tensor(starts).t().contiguous()
        self._scales = torch.tensor([adapter.scaling for _, adapter in self._adapters], dtype=torch.float32)

    @property
    def whole(self) -> bool:
        """Whether the layers' weights are still those in the table (a merge may have put others in their place)."""
        step, width = self.table.element_size() * self.table.shape[1], self.table.data_ptr()
        return all(member.weight.data_ptr() == width + member.outputs.start * step for member in self.members)

    def refresh(self) -> None:
        """Take over what the optimizer has changed in the adapters."""
        # versions of tensors tell nothing here: the fused optimizer does not count them up
        if self.in_one_go:
            weights = [adapter.a for _, adapter in self._adapters] + [adapter.b for _, adapter in self._adapters]
            compiled.linear_refresh(self.table, self.down, self._places, weights, self._scales)
            return
        with torch.no_grad():
            for member, adapter in self._adapters:
                self.up[member.outputs, member.ranks] = adapter.b * adapter.scaling
                self.down[member.ranks] = adapter.a

    def forward(self, x: Tensor, plus: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """All outputs [T, outputs], `plus` added to them, and x Aᵀ [T, ranks], which `backward` wants."""
        if self.in_one_go:
            y, inner = compiled.linear(x, self.table, self.down, plus)
            return (y if self.bias is None else y.add_(self.bias)), inner
        base = plus if plus is not None else self.bias
        y = torch.mm(x, self.weight.t()) if base is None else torch.addmm(base, x, self.weight.t())
        if plus is not None and self.bias is not None:
            y += self.bias
        if not self.ranks:
            return y, None
        inner = torch.mm(x, self.down.t())
        return y.addmm_(inner, self.up.t()), inner

    def back(self, dy: Tensor) -> tuple[Tensor, Tensor | None]:
        """The gradient towards x [T, inputs], and s dy B [T, ranks], which `gradients` wants."""
        if self.in_one_go:
            dx, outer = compiled.linear_back(dy, self.table, self.down, towards_x=True)
            assert dx is not None
            return dx, outer
        if not self.ranks:
            return torch.mm(dy, self.weight), None
        both = torch.mm(dy, self.table)
        outer = both[:, self.inputs :].contiguous()
        return torch.addmm(both[:, : self.inputs], outer, self.down), outer

    def back_inner(self, dy: Tensor) -> Tensor | None:
        """As `back`, where nobody asks for the gradient towards x."""
        if self.in_one_go:
            return compiled.linear_back(dy, self.table, self.down, towards_x=False)[1]
        return torch.mm(dy, self.up) if self.ranks else None

    def gradients(self, x: Tensor, inner: Tensor | None, outer: Tensor | None, dy: Tensor) -> None:
        """Add to the adapters' gradients, from what `forward` was given and gave, and what `back` was given and gave."""
        trained = [(member, adapter) for member, adapter in self._adapters if adapter.a.requires_grad]
        if inner is None or outer is None or not trained:
            return
        grads = [_grad(adapter.a) for _, adapter in trained] + [_grad(adapter.b) for _, adapter in trained]
        if self.in_one_go and len(trained) == len(self._adapters):
            compiled.linear_gradients(x, inner, outer, dy, self._places, grads, self._scales)
            return
        down = torch.mm(outer.t(), x)
        for (member, adapter), a, b in zip(trained, grads, grads[len(trained) :], strict=False):
            a.add_(down[member.ranks])
            b.add_(torch.mm(dy[:, member.outputs].t(), inner[:, member.ranks]), alpha=adapter.scaling)


def _grad(parameter: torch.nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
