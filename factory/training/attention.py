"""Attention inside each row of a pack, forward and backward: every row looks at the pack's prefix and at itself.

In bfloat16, where the processor multiplies it, `attention.c` does it row by row and never writes the scores of a row.
Elsewhere it is matrix products: rows of about one length are padded to one block, so that few, large products do the work;
only attention ever sees the padding. A row's queries go in pieces of QUERIES, each looking only as far as it may.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from factory.training import compiled
from factory.training.packing import Pack

QUERIES = 512  # a longer row's queries go in pieces, whose probabilities are computed again rather than kept
SLACK = 1.25  # rows share a block while it has at most so many times the scores that they need
SCORES = 2**23  # of one block


@dataclass(frozen=True)
class Heads:
    """How many query heads and key/value heads there are, how wide, and what scores are multiplied with."""

    queries: int
    keys: int
    width: int
    scale: float

    @property
    def each(self) -> int:
        """Query heads to a key head."""
        return self.queries // self.keys

    @property
    def all(self) -> int:
        return self.queries + 2 * self.keys


@dataclass(frozen=True)
class Block:
    """R rows padded to L tokens of their own; the tensors say where in the table of heads each slot's numbers stand."""

    rows: int
    length: int
    prefix: int
    queries: Tensor  # [R * keys * L * each]
    keys: Tensor  # [R * keys * (prefix + L)]
    values: Tensor
    first_query: int  # its first slot in the table of all blocks' queries
    first_key: int  # its first key's slot in the table of all blocks' queries, keys and values; its values follow


@dataclass(frozen=True)
class Plan:
    """A pack's blocks, and the way back from their slots to the table of heads [tokens * heads.all, width]."""

    heads: Heads
    blocks: tuple[Block, ...]
    query_slots: int
    slots: int  # the queries' and after them the keys' and values'
    outputs: Tensor  # [tokens * heads.queries]: the slot of each query head's output
    gradients: Tensor  # [tokens * heads.all]: the slot of each head's gradient
    prefix: int


@dataclass(frozen=True)
class Rows:
    """A pack as `attention.c` wants it: where its rows, and its prefix as one more, begin and end."""

    heads: Heads
    edges: Tensor  # [2, R], whole numbers of 64 bits, the longest row first
    prefix: int


def blocks_of(lengths: list[int], prefix: int) -> list[list[int]]:
    """Rows (their places) grouped so that padding each group to its longest wastes little.

    >>> blocks_of([10, 200, 190, 12], 0)
    [[0, 3], [2, 1]]
    """
    groups: list[list[int]] = []
    needed = 0
    for place in sorted(range(len(lengths)), key=lambda at: (lengths[at], at)):
        length = lengths[place]
        own = length * (prefix + length)
        if groups and own * (len(groups[-1]) + 1) <= min(SLACK * (needed + own), max(SCORES, own)) and length <= QUERIES:
            groups[-1].append(place)
            needed += own
        else:
            groups.append([place])
            needed = own
    return groups


def plan(pack: Pack, heads: Heads, like: Tensor) -> Plan | Rows:
    """What attention over a pack needs to know, made once for all layers, for numbers `like` these."""
    spans, device = list(pack.spans), like.device
    if compiled.attends(like, heads.width):
        rows = sorted([*([(0, pack.prefix)] if pack.prefix else []), *spans], key=lambda row: row[0] - row[1])
        return Rows(heads, torch.tensor(rows).t().contiguous(), pack.prefix)
    parts: list[tuple[list[tuple[int, int]], int]] = [([(0, pack.prefix)], 0)] if pack.prefix else []
    parts += [([spans[at] for at in group], pack.prefix) for group in blocks_of([b - a for a, b in spans], pack.prefix)]
    outputs = torch.empty(len(pack.tokens), heads.queries, dtype=torch.long)
    gradients = torch.empty(len(pack.tokens), heads.all, dtype=torch.long)
    made, first = [], 0
    query_slots = heads.queries * sum(len(rows) * max(b - a for a, b in rows) for rows, _ in parts)
    after = query_slots
    group, each = torch.arange(heads.keys), torch.arange(heads.each)
    for rows, prefix in parts:
        block = _block(rows, prefix, heads, (first, after), device)
        own = torch.cat([torch.arange(a, b) for a, b in rows])
        row = torch.cat([torch.full((b - a,), at) for at, (a, b) in enumerate(rows)])
        place = torch.cat([torch.arange(b - a) for a, b in rows])[:, None]
        batch = row[:, None] * heads.keys + group  # [own, keys]
        outputs[own] = (first + (batch * block.length + place)[..., None] * heads.each + each).flatten(1)
        key = after + batch * (prefix + block.length) + prefix + place
        gradients[own] = torch.cat([outputs[own], key, key + len(block.keys)], 1)
        first, after = first + len(block.queries), after + 2 * len(block.keys)
        made.append(block)
    outputs, gradients = outputs.flatten().to(device), gradients.flatten().to(device)
    return Plan(heads, tuple(made), query_slots, after, outputs, gradients, pack.prefix)


def _block(rows: list[tuple[int, int]], prefix: int, heads: Heads, slots: tuple[int, int], device: Any) -> Block:
    length = max(b - a for a, b in rows)
    own = torch.stack([torch.arange(a, a + length).clamp_(max=b - 1) for a, b in rows])  # [R, L], padded with the last
    seen = torch.cat([torch.arange(prefix).expand(len(rows), -1), own], 1)  # [R, K]
    group, each = torch.arange(heads.keys), torch.arange(heads.each)
    query = own[:, None, :, None] * heads.all + group[:, None, None] * heads.each + each  # [R, keys, L, each]
    key = seen[:, None] * heads.all + heads.queries + group[:, None]  # [R, keys, K]
    return Block(
        len(rows), length, prefix, query.flatten().to(device), key.flatten().to(device),
        (key + heads.keys).flatten().to(device), *slots,
    )  # fmt: skip


def _pieces(block: Block, each: int) -> list[tuple[slice, slice]]:
    """Which queries look at which keys; the last of them at all of these, the one before it at one less."""
    ends = [min(begin + QUERIES, block.length) for begin in range(0, block.length, QUERIES)]
    return [
        (slice(begin * each, end * each), slice(0, block.prefix + end)) for begin, end in zip([0, *ends], ends, strict=False)
    ]


def _views(table: Tensor, block: Block, heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    """The block's queries, keys and values: [R * keys, slots, width]."""
    batch = block.rows * heads.keys
    return (
        table.index_select(0, block.queries).view(batch, -1, heads.width),
        table.index_select(0, block.keys).view(batch, -1, heads.width),
        table.index_select(0, block.values).view(batch, -1, heads.width),
    )


def _probabilities(q: Tensor, k: Tensor, heads: Heads) -> Tensor:
    return compiled.softmax_(torch.bmm(q, k.transpose(1, 2)), heads.scale, heads.each)


def forward(table: Tensor, plan: Plan | Rows, *, keep: bool) -> tuple[Tensor, list[Tensor | None]]:
    """What each token reads: [tokens, queries * width], from turned queries, keys and values in the table of heads.

    With `keep`, also what `backward` needs: each block's probabilities, or the logarithms of the softmax's divisors.
    """
    heads = plan.heads
    if isinstance(plan, Rows):
        wide = table.view(-1, heads.all, heads.width)
        read, logs = compiled.attend(wide, plan.edges, plan.prefix, (heads.queries, heads.each), heads.scale)
        return read.view(len(read), -1), [logs]
    out = table.new_empty(plan.query_slots, heads.width)
    kept: list[Tensor | None] = []
    for block in plan.blocks:
        q, k, v = _views(table, block, heads)
        read = out[block.first_query :][: len(block.queries)].view_as(q)
        p = None
        for some, seen in _pieces(block, heads.each):
            p = _probabilities(q[:, some], k[:, seen], heads)
            if block.length > QUERIES:
                read[:, some] = torch.bmm(p, v[:, seen])
            else:
                torch.bmm(p, v, out=read)
        kept.append(p if keep and block.length <= QUERIES else None)
    return out.index_select(0, plan.outputs).view(-1, heads.queries * heads.width), kept


def backward(dread: Tensor, table: Tensor, plan: Plan | Rows, kept: list[Tensor | None], read: Tensor) -> Tensor:
    """The gradient towards the table of heads, from that towards what each token read, which `forward` gave."""
    heads = plan.heads
    if isinstance(plan, Rows):
        (logs,) = kept
        assert logs is not None
        wide = table.view(-1, heads.all, heads.width)
        return compiled.attend_back(dread, wide, read, logs, plan.edges, plan.prefix, heads.scale)
    out = table.new_empty(plan.slots, heads.width)
    given = table.new_zeros(plan.query_slots, heads.width).index_copy_(0, plan.outputs, dread.reshape(-1, heads.width))
    shared: list[Tensor] = []
    for block, p in zip(plan.blocks, kept, strict=True):
        q, k, v = _views(table, block, heads)
        do, dq = (of[block.first_query :][: len(block.queries)].view_as(q) for of in (given, out))
        dk, dv = out[block.first_key :][: 2 * len(block.keys)].view(2, *k.shape)
        if block.length <= QUERIES:
            p = _probabilities(q, k, heads) if p is None else p
            torch.bmm(p.transpose(1, 2), do, out=dv)
            ds = compiled.softmax_back_(torch.bmm(do, v.transpose(1, 2)), p, heads.scale, heads.each)
            torch.bmm(ds, k, out=dq)
            torch.bmm(ds.transpose(1, 2), q, out=dk)
        else:
            dk.zero_()
            dv.zero_()
            for some, seen in _pieces(block, heads.each):
                p = _probabilities(q[:, some], k[:, seen], heads)
                dv[:, seen] += torch.bmm(p.transpose(1, 2), do[:, some])
                dp = torch.bmm(do[:, some], v[:, seen].transpose(1, 2))
                ds = compiled.softmax_back_(dp, p, heads.scale, heads.each)
                dq[:, some] = torch.bmm(ds, k[:, seen])
                dk[:, seen] += torch.bmm(ds.transpose(1, 2), q[:, some])
        if block.prefix:
            both = torch.stack([dk, dv]).view(2, block.rows, heads.keys, -1, heads.width)[:, :, :, : block.prefix]
            shared.append(both.sum(1, dtype=torch.float32))
    found = out.index_select(0, plan.gradients).view(-1, heads.all, heads.width)
    if shared:
        more = torch.stack(shared).sum(0).permute(2, 0, 1, 3).reshape(plan.prefix, 2 * heads.keys, heads.width)
        part = found[: plan.prefix, heads.queries :]
        part.copy_(more.add_(part))
    return found
