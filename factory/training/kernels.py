"""The small sums between the matrix products of a decoder, forward and backward, by torch's own operations.

`compiled` does the same in one pass each where there is a C compiler. Shapes: T tokens, D width, H heads of E numbers.
Statistics are float32 whatever the tensors are; results have their dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor


def norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """RMSNorm of x [T, D], and 1 / root mean square of each row [T, 1] (Zhang and Sennrich, 2019)."""
    wide = x.float()
    rate = torch.rsqrt(torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_() / x.shape[-1] + eps)
    return (wide * rate).to(x.dtype).mul_(weight), rate


def norm_back(dy: Tensor, x: Tensor, weight: Tensor, rate: Tensor, more: Tensor | None) -> tuple[Tensor, Tensor]:
    """The gradient towards x, with `more` added to it, and the normed x once again (it is cheaper than to keep it)."""
    n = x.float() * rate
    d = dy.float() * weight
    inner = torch.linalg.vecdot(d, n).unsqueeze(-1) / x.shape[-1]
    dx = torch.addcmul(d, n, inner, value=-1).mul_(rate)
    y = n.to(x.dtype).mul_(weight)
    return (dx.to(x.dtype) if more is None else dx.add_(more).to(x.dtype)), y


def gated(both: Tensor) -> Tensor:
    """silu(gate) * up, where `both` is [gate | up]: [T, 2I] to [T, I]."""
    gate, up = both.chunk(2, -1)
    return torch.nn.functional.silu(gate).mul_(up)


def gated_back(dm: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient towards `both` [T, 2I], and silu(gate) * up once again [T, I]."""
    gate, up = both.chunk(2, -1)
    share = torch.sigmoid(gate)
    silu = gate * share
    found = torch.empty_like(both)
    torch.mul(dm, silu, out=found[:, gate.shape[1] :])
    slope = torch.addcmul(share, silu, 1 - share)
    torch.mul(slope.mul_(up), dm, out=found[:, : gate.shape[1]])
    return found, silu.mul_(up)


def rotate_(table: Tensor, turned: int, cos: Tensor, sin: Tensor, *, back: bool = False) -> Tensor:
    """Rotary position embedding of the first `turned` heads of a table [T, H, E] in place, cos and sin [T, E / 2].

    `back` turns the other way: the gradient of it.
    """
    half = table.shape[-1] // 2
    one, other = table[:, :turned, :half], table[:, :turned, half:]
    c, s = cos.to(table.dtype)[:, None], (-sin if back else sin).to(table.dtype)[:, None]
    met = torch.addcmul(one * c, other, s, value=-1)
    other.mul_(c).addcmul_(one, s)
    one.copy_(met)
    return table


def softmax_(scores: Tensor, scale: float, each: int) -> Tensor:
    """Softmax of scores [B, queries * each, keys] times `scale`; may overwrite them.

    The last query sees all keys, the one before it one less, and so on; `each` rows (heads) belong to one query.
    """
    return torch.softmax(scores.mul_(scale).masked_fill_(_hidden(scores, each), float("-inf")), -1)


def softmax_back_(dp: Tensor, p: Tensor, scale: float) -> Tensor:
    """The gradient towards the scores of `softmax_`, where what it gave was p; may overwrite dp."""
    return torch._softmax_backward_data(dp, p, -1, p.dtype).mul_(scale)


def _hidden(scores: Tensor, each: int) -> Tensor:
    queries, keys = scores.shape[1] // each, scores.shape[2]
    seen = torch.arange(queries, device=scores.device).repeat_interleave(each)[:, None] + keys - queries
    return torch.arange(keys, device=scores.device) > seen


def nll_back_(logits: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Each row's negative log-likelihood [N], and its gradient times `scale`; may overwrite the logits [N, V]."""
    wide = logits.float()
    logp = torch.log_softmax(wide, -1)
    places = targets[:, None]
    loss = -logp.gather(1, places)[:, 0]
    grad = logp.exp_()
    grad.scatter_add_(1, places, torch.full_like(places, -1, dtype=grad.dtype))
    return loss, grad.mul_(scale).to(logits.dtype)
