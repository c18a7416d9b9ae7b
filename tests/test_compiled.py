"""What the compiled library gives is what torch's own operations give, in both precisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from factory.training import compiled, kernels

T, D, V = 7, 33, 1001
needed = pytest.mark.skipif(compiled.library() is None, reason="there is no C compiler")


def some(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def hidden(p: Tensor) -> Tensor:
    """Probabilities as `softmax_` gives them: 3 queries of 2 heads, 5 keys."""
    return kernels.softmax_(p.float(), 0.5, 2).to(p.dtype)


CASES: dict[str, Callable[[Any, torch.dtype], Any]] = {
    "norm": lambda k, d: k.norm(some(T, D).to(d), some(D).to(d), 1e-5),
    "norm_back": lambda k, d: k.norm_back(
        some(T, D).to(d), some(T, D + 1)[:, 1:].contiguous().to(d), some(D).to(d), some(T, 1).abs(), some(T, D).to(d)
    ),
    "norm_back without more": lambda k, d: k.norm_back(
        some(T, D).to(d), some(T, D + 1)[:, 1:].contiguous().to(d), some(D).to(d), some(T, 1).abs(), None
    ),
    "gated": lambda k, d: (k.gated(some(T, 2 * D).mul(4).to(d)),),
    "gated_back": lambda k, d: k.gated_back(some(T, D).to(d), some(T, 2 * D).mul(4).to(d)),
    "rotate": lambda k, d: (k.rotate_(some(T, 5, 8).to(d), 3, some(T, 4).cos(), some(T, 4).sin()),),
    "rotate back": lambda k, d: (k.rotate_(some(T, 5, 8).to(d), 3, some(T, 4).cos(), some(T, 4).sin(), back=True),),
    "softmax": lambda k, d: (k.softmax_(some(4, 6, 5).mul(8).to(d), 0.5, 2),),
    "softmax_back": lambda k, d: (
        k.softmax_back_(some(4, 6, 5).to(d), hidden(some(4, 6, 5).to(d)), 0.5, *([2] if k is compiled else [])),
    ),
    "nll_back": lambda k, d: k.nll_back_(some(T, V).mul(5).to(d), torch.arange(T) * 100, 0.25),
}


@needed
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_compiled_library_gives_what_torch_gives(name: str, dtype: torch.dtype) -> None:
    torch.set_num_threads(1)
    exact = dtype == torch.float32
    for ours, theirs in zip(CASES[name](compiled, dtype), CASES[name](kernels, dtype), strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.allclose(ours.float(), theirs.float(), rtol=2e-6 if exact else 2e-2, atol=2e-6 if exact else 2e-2)


@needed
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_no_number_stays_none(dtype: torch.dtype) -> None:
    broken = torch.full((2, 16), float("nan")).to(dtype)
    assert compiled.norm(broken, torch.ones(16).to(dtype), 1e-5)[0].isnan().all()
    assert compiled.gated(broken).isnan().all()
    assert compiled.nll_back_(broken.clone(), torch.tensor([1, 2]), 1.0)[0].isnan().all()


def test_without_a_compiler_there_is_no_library_and_torch_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled.library.cache_clear()
    try:
        assert compiled.library() is None
        assert torch.equal(compiled.gated(some(T, 2 * D)), kernels.gated(some(T, 2 * D)))
    finally:
        compiled.library.cache_clear()
