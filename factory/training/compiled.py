"""The sums of `kernels` in one pass each, by a small library that is compiled on this machine the first time (two seconds).

Where there is no C compiler, on a GPU and in other precisions, `kernels` does them by torch's own operations, slower.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from factory.training import kernels

SOURCES = [Path(__file__).with_name(name) for name in ("kernels.c", "attention.c", "linear.c")]
HEADERS = [SOURCES[0].with_name(name) for name in ("numbers.h", "tiles.h")]
FLAGS = [  # never -ffast-math: a loss that is no number must stay none
    "-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-fassociative-math",
    "-fno-signed-zeros", "-shared", "-fPIC", "-Wno-unknown-pragmas", "-mprefer-vector-width=512",
]  # fmt: skip
SUFFIX = {torch.float32: "float", torch.bfloat16: "half"}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled library, made when it is not there yet; None where that cannot be done."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not sys.platform.startswith("linux") or compiler is None:
        return None
    try:
        processor = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
        texts = b"".join(source.read_bytes() for source in [*SOURCES, *HEADERS])
        sign = hashlib.sha256(texts + " ".join([processor, *FLAGS]).encode()).hexdigest()[:16]
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "model-factory"
        file = folder / f"kernels-{sign}.so"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = file.with_suffix(f".{os.getpid()}")
            command = [compiler, *FLAGS, *map(str, SOURCES), "-o", str(fresh), "-lm"]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            fresh.replace(file)  # whole or not there, also when two processes make it at once
        return ctypes.CDLL(str(file))
    except (OSError, subprocess.SubprocessError, RuntimeError):  # RuntimeError: there is no home folder
        return None


def _known(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in SUFFIX and library() is not None


def _call(name: str, like: Tensor, *given: Tensor | float | int | None) -> None:
    """Call a function for the precision of `like`."""
    _run(f"{name}_{SUFFIX[like.dtype]}", *given)


def _run(name: str, *given: Tensor | float | int | None) -> int:
    """Call a function: whole numbers as long, others as float, tensors by their address."""
    passed: list[ctypes.c_long | ctypes.c_float | ctypes.c_void_p] = []
    for value in given:
        if isinstance(value, Tensor):
            assert value.is_contiguous(), name
            passed.append(ctypes.c_void_p(value.data_ptr()))
        elif value is None:
            passed.append(ctypes.c_void_p(None))
        else:
            passed.append(ctypes.c_long(value) if isinstance(value, int) else ctypes.c_float(value))
    found: int = getattr(library(), name)(ctypes.c_int(torch.get_num_threads()), *passed)
    return found


def _has(name: str, like: Tensor, *sizes: int) -> bool:
    """What the library itself says of tensors like these, of these sizes; it has tiles for bfloat16 alone."""
    if like.dtype != torch.bfloat16 or not _known(like):
        return False
    return bool(getattr(library(), name)(*map(ctypes.c_long, sizes)))


def multiplies(like: Tensor, inputs: int, outputs: int, ranks: int) -> bool:
    """Whether `linear` can be had: bfloat16 on a processor that multiplies it, even sizes."""
    return _has("multiplies", like, inputs, outputs, ranks)


def linear(x: Tensor, table: Tensor, down: Tensor, plus: Tensor | None) -> tuple[Tensor, Tensor]:
    """x Wᵀ + (x Aᵀ) (s B)ᵀ + plus [T, outputs], and x Aᵀ [T, ranks]; `table` and `down` as in `lora`. Raises MemoryError."""
    tokens, (outputs, ranks) = len(x), (len(table), len(down))
    y, inner = x.new_empty(tokens, outputs), x.new_empty(tokens, ranks)
    if _run("linear", tokens, x.shape[1], outputs, ranks, x, table, down, plus, y, inner):
        raise MemoryError
    return y, inner


def linear_back(dy: Tensor, table: Tensor, down: Tensor, *, towards_x: bool) -> tuple[Tensor | None, Tensor]:
    """dy W + (dy s B) A [T, inputs], where it is wanted, and dy s B [T, ranks]. Raises MemoryError."""
    tokens, (outputs, ranks) = len(dy), (len(table), len(down))
    dx = dy.new_empty(tokens, down.shape[1]) if towards_x else None
    outer = dy.new_empty(tokens, ranks)
    if _run("linear_back", tokens, down.shape[1], outputs, ranks, dy, table, down, dx, outer):
        raise MemoryError
    return dx, outer


def linear_refresh(table: Tensor, down: Tensor, places: Tensor, weights: Sequence[Tensor], scales: Tensor) -> None:
    """Take over adapters: all A, then all B in `weights`, float32; `places` as for `linear_gradients`."""
    where = torch.tensor([weight.data_ptr() for weight in weights])
    _run("linear_refresh", down.shape[1], len(down), len(scales), places, where, scales, table, down)


def linear_gradients(
    x: Tensor, inner: Tensor, outer: Tensor, dy: Tensor, places: Tensor, grads: Sequence[Tensor], scales: Tensor
) -> None:
    """Add outerᵀ x to each adapter's gradient of A, s dyᵀ inner to that of B: float32, all A and then all B in `grads`.

    `places` [4, M] has of each of M adapters its first output, first rank, number of outputs, number of ranks. Raises
    MemoryError.
    """
    sizes = (len(x), x.shape[1], dy.shape[1], inner.shape[1])
    where = torch.tensor([grad.data_ptr() for grad in grads])
    if _run("linear_gradients", *sizes, x, inner, outer, dy, len(scales), places, where, scales):
        raise MemoryError


def attends(like: Tensor, width: int) -> bool:
    """Whether `attend` can be had: bfloat16 on a processor that multiplies it, heads of a multiple of 64 numbers."""
    return _has("attends", like, width)


def attend(table: Tensor, rows: Tensor, prefix: int, heads: tuple[int, int], scale: float) -> tuple[Tensor, Tensor]:
    """What each token reads [T, Q, E] from a table of heads [T, H, E], and the logarithms [T, Q] that `attend_back` wants.

    `rows` [2, R] says where rows begin and end; `heads` how many query heads there are, and how many share a key head.
    Raises MemoryError.
    """
    tokens, every, width = table.shape
    read, logs = table.new_empty(tokens, heads[0], width), table.new_empty(tokens, heads[0], dtype=torch.float32)
    if _run("attend", rows.shape[1], *rows, prefix, every, *heads, width, table, scale, read, logs):
        raise MemoryError
    return read, logs


def attend_back(given: Tensor, table: Tensor, read: Tensor, logs: Tensor, rows: Tensor, prefix: int, scale: float) -> Tensor:
    """The gradient towards the table of `attend` [T, H, E], from that towards what it gave. Raises MemoryError."""
    _, every, width = table.shape
    queries, count = logs.shape[1], rows.shape[1]
    groups = (every - queries) // 2
    shared, found = table.new_empty(count, groups, prefix, 2, width, dtype=torch.float32), torch.empty_like(table)
    sizes = (prefix, every, queries, queries // groups, width)
    if _run("attend_back", count, *rows, *sizes, table, read, given, logs, scale, shared, found):
        raise MemoryError
    return found


def norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """As `kernels.norm`."""
    if not _known(x):
        return kernels.norm(x, weight, eps)
    y, rate = torch.empty_like(x), x.new_empty(len(x), 1, dtype=torch.float32)
    _call("norm", x, *x.shape, x, weight, eps, y, rate)
    return y, rate


def norm_back(dy: Tensor, x: Tensor, weight: Tensor, rate: Tensor, more: Tensor | None) -> tuple[Tensor, Tensor]:
    """As `kernels.norm_back`."""
    if not _known(x):
        return kernels.norm_back(dy, x, weight, rate, more)
    dx, y = torch.empty_like(x), torch.empty_like(x)
    _call("norm_back", x, *x.shape, dy, x, weight, rate, more, dx, y)
    return dx, y


def gated(both: Tensor) -> Tensor:
    """As `kernels.gated`."""
    if not _known(both):
        return kernels.gated(both)
    out = both.new_empty(len(both), both.shape[1] // 2)
    _call("gated", both, *out.shape, both, out)
    return out


def gated_back(dm: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    """As `kernels.gated_back`."""
    if not _known(both):
        return kernels.gated_back(dm, both)
    found, out = torch.empty_like(both), torch.empty_like(dm)
    _call("gated_back", both, *out.shape, dm, both, found, out)
    return found, out


def rotate_(table: Tensor, turned: int, cos: Tensor, sin: Tensor, *, back: bool = False) -> Tensor:
    """As `kernels.rotate_`."""
    if not _known(table):
        return kernels.rotate_(table, turned, cos, sin, back=back)
    tokens, heads, width = table.shape
    _call("rotate", table, tokens, heads, turned, width, table, cos, sin, -1.0 if back else 1.0)
    return table


def softmax_(scores: Tensor, scale: float, each: int) -> Tensor:
    """As `kernels.softmax_`."""
    if not _known(scores):
        return kernels.softmax_(scores, scale, each)
    batch, rows, keys = scores.shape
    _call("softmax", scores, batch, rows // each, each, keys, scores, scale)
    return scores


def softmax_back_(dp: Tensor, p: Tensor, scale: float, each: int) -> Tensor:
    """As `kernels.softmax_back_`; `each` says which rows are zeros from where."""
    if not _known(dp):
        return kernels.softmax_back_(dp, p, scale)
    batch, rows, keys = dp.shape
    _call("softmax_back", dp, batch, rows // each, each, keys, dp, p, scale)
    return dp


def nll_back_(logits: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """As `kernels.nll_back_`."""
    if not _known(logits):
        return kernels.nll_back_(logits, targets, scale)
    loss = logits.new_empty(len(logits), dtype=torch.float32)
    _call("nll_back", logits, *logits.shape, logits, targets, scale, loss)
    return loss, logits
