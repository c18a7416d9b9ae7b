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
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from factory.training import kernels

SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = [  # never -ffast-math: a loss that is no number must stay none
    "-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-fassociative-math",
    "-fno-signed-zeros", "-shared", "-fPIC", "-Wno-unknown-pragmas",
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
        sign = hashlib.sha256(SOURCE.read_bytes() + " ".join([processor, *FLAGS]).encode()).hexdigest()[:16]
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "model-factory"
        file = folder / f"kernels-{sign}.so"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = file.with_suffix(f".{os.getpid()}")
            subprocess.run(
                [compiler, *FLAGS, str(SOURCE), "-o", str(fresh), "-lm"], check=True, capture_output=True, timeout=120
            )
            fresh.replace(file)  # whole or not there, also when two processes make it at once
        return ctypes.CDLL(str(file))
    except (OSError, subprocess.SubprocessError, RuntimeError):  # RuntimeError: there is no home folder
        return None


def _known(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in SUFFIX and library() is not None


def _call(name: str, like: Tensor, *given: Tensor | float | int | None) -> None:
    """Call a function for the precision of `like`: whole numbers as long, others as float, tensors by their address."""
    function = getattr(library(), f"{name}_{SUFFIX[like.dtype]}")
    passed: list[ctypes.c_long | ctypes.c_float | ctypes.c_void_p] = []
    for value in given:
        if isinstance(value, Tensor):
            assert value.is_contiguous(), name
            passed.append(ctypes.c_void_p(value.data_ptr()))
        elif value is None:
            passed.append(ctypes.c_void_p(None))
        else:
            passed.append(ctypes.c_long(value) if isinstance(value, int) else ctypes.c_float(value))
    function(ctypes.c_int(torch.get_num_threads()), *passed)


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
