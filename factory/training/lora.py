"""Linear layers with LoRA that share one input, as one wide product forward and one backward, without saved copies.

The frozen weights of, say, q, k and v stand in one table, and beside them the adapters' B, times their scaling:

    table [outputs, inputs + ranks] = [ W_q | s B_q   0     0   ]      down [ranks, inputs] = [ A_q ]
                                      [ W_k |  0    s B_k   0   ]                             [ A_k ]
                                      [ W_v |  0      0   s B_v ]                             [ A_v ]

so y = x Wᵀ + (x downᵀ) (s B)ᵀ, and one product dy · table gives both dy·W and s·dy·B, of which dx and dA are made.
The modules keep working: their weights become views of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


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
            place.copy_(member.weight.detach())
            member.weight.data = place
        self.weight = self.table[:, : self.inputs]
        self.up = self.table[:, self.inputs :]
        self.down: Tensor = first.new_zeros(rank, self.inputs)
        biases = [getattr(linear, "bias", None) for linear, _ in members]
        self.bias: Tensor | None = None
        if any(bias is not None for bias in biases):
            each = zip(self.members, biases, strict=True)
            self.bias = torch.cat(
                [b.detach() if b is not None else first.new_zeros(m.outputs.stop - m.outputs.start) for m, b in each]
            )

    @property
    def whole(self) -> bool:
        """Whether the layers' weights are still those in the table (a merge may have put others in their place)."""
        step, width = self.table.element_size() * self.table.shape[1], self.table.data_ptr()
        return all(member.weight.data_ptr() == width + member.outputs.start * step for member in self.members)

    def refresh(self) -> None:
        """Take over what the optimizer has changed in the adapters."""
        with torch.no_grad():  # versions of tensors tell nothing here: the fused optimizer does not count them up
            for member in self.members:
                if member.adapter:
                    self.up[member.outputs, member.ranks] = member.adapter.b * member.adapter.scaling
                    self.down[member.ranks] = member.adapter.a

    def forward(self, x: Tensor, plus: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """All outputs [T, outputs], `plus` added to them, and x Aᵀ [T, ranks], which `backward` wants."""
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
        if not self.ranks:
            return torch.mm(dy, self.weight), None
        both = torch.mm(dy, self.table)
        outer = both[:, self.inputs :].contiguous()
        return torch.addmm(both[:, : self.inputs], outer, self.down), outer

    def back_inner(self, dy: Tensor) -> Tensor | None:
        """As `back`, where nobody asks for the gradient towards x."""
        return torch.mm(dy, self.up) if self.ranks else None

    def gradients(self, x: Tensor, inner: Tensor | None, outer: Tensor | None, dy: Tensor) -> None:
        """Add to the adapters' gradients, from what `forward` was given and gave, and what `back` was given and gave."""
        if inner is None or outer is None:
            return
        down = torch.mm(outer.t(), x)
        for member, adapter in self._trained():
            _add(adapter.a, down[member.ranks])
            _add(adapter.b, torch.mm(dy[:, member.outputs].t(), inner[:, member.ranks]), adapter.scaling)

    def _trained(self) -> Iterator[tuple[Member, Adapter]]:
        return ((m, m.adapter) for m in self.members if m.adapter and m.adapter.a.requires_grad)


def _add(parameter: torch.nn.Parameter, gradient: Tensor, scale: float = 1.0) -> None:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    parameter.grad.add_(gradient, alpha=scale)
