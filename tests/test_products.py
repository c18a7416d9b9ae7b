"""The compiled products and the compiled attention: what float32 gives, but for bfloat16's rounding, whatever the sizes."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from factory.training import attention, compiled, encoding
from factory.training.attention import Heads, Rows
from factory.training.encoding import EncodedRow
from factory.training.lora import Adapter, Wide

ROUNDING = 6e-3  # of a whole tensor; one bfloat16 number is within 4e-3 of what it stands for
needed = pytest.mark.skipif(
    not compiled.multiplies(torch.empty(0, dtype=torch.bfloat16), 2, 2, 2), reason="this processor has no AVX512-BF16"
)


@pytest.fixture(autouse=True, params=[1, 2])
def threads(request: pytest.FixtureRequest) -> int:
    torch.set_num_threads(request.param)
    torch.manual_seed(0)
    return int(request.param)


def near(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found.float() - expected).norm()) <= ROUNDING * float(expected.norm())


def wide(inputs: int, outputs: list[int], rank: int, *, bias: bool = False) -> Wide:
    members = []
    for width in outputs:
        linear = torch.nn.Linear(inputs, width, bias=bias).bfloat16().requires_grad_(False)
        a, b = torch.randn(rank, inputs) / inputs**0.5, torch.randn(width, rank) / 20
        members.append((linear, Adapter(torch.nn.Parameter(a), torch.nn.Parameter(b), 2.0) if rank else None))
    made = Wide(members)
    made.refresh()
    return made


@needed
@pytest.mark.parametrize("tokens", [1, 7, 70])
@pytest.mark.parametrize(
    ("inputs", "outputs", "rank"),
    [(64, [64], 16), (96, [80, 32], 6), (576, [576, 192, 192], 16), (128, [72, 10], 70), (32, [64, 64], 0), (64, [63], 3)],
)
def test_linear_layers_with_adapters_are_what_float32_gives(tokens: int, inputs: int, outputs: list[int], rank: int) -> None:
    layers = wide(inputs, outputs, rank, bias=tokens == 7)
    assert layers.in_one_go == (rank % 2 == 0)  # an odd rank goes by torch's own products
    x, dy = torch.randn(tokens, inputs).bfloat16(), torch.randn(tokens, sum(outputs)).bfloat16()
    plus = torch.randn(tokens, sum(outputs)).bfloat16() if tokens == 70 else None
    weights, up, down = (part.float() for part in (layers.weight, layers.up, layers.down))

    y, inner = layers.forward(x, plus)
    expected = x.float() @ weights.t() + x.float() @ down.t() @ up.t()
    expected += 0 if plus is None else plus.float()
    near(y, expected if layers.bias is None else expected + layers.bias.float())
    dx, outer = layers.back(dy)
    near(dx, dy.float() @ weights + dy.float() @ up @ down)
    layers.gradients(x, inner, outer, dy)
    layers.gradients(x, inner, outer, dy)  # they add up
    for member in layers.members:
        if member.adapter is None:
            continue
        a, b = member.adapter.a.grad, member.adapter.b.grad
        assert a is not None
        assert b is not None
        near(a, 2 * (dy.float() @ up)[:, member.ranks].t() @ x.float())
        near(b, 2 * 2.0 * dy.float()[:, member.outputs].t() @ (x.float() @ down.t())[:, member.ranks])


@needed
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    layers = wide(576, [576, 192], 8)
    x = torch.randn(101, 576).bfloat16()
    found = [layers.forward(x)[0], layers.back(layers.forward(x)[0])[0]]
    torch.set_num_threads(3 - threads)
    for one, other in zip(found, [layers.forward(x)[0], layers.back(layers.forward(x)[0])[0]], strict=True):
        assert torch.equal(one, other)


LENGTHS = [([5], 0), ([1, 1], 1), ([5, 31, 2, 17, 40], 9), ([130, 64, 65], 24), ([63, 7], 64), ([300], 0)]


@needed
@pytest.mark.parametrize(("lengths", "prefix"), LENGTHS)
@pytest.mark.parametrize(("queries", "keys", "width"), [(9, 3, 64), (4, 4, 64), (8, 1, 64), (4, 2, 128)])
def test_attention_is_what_float32_gives(lengths: list[int], prefix: int, queries: int, keys: int, width: int) -> None:
    chance = random.Random(1)
    shared = [chance.randrange(99) for _ in range(prefix)]
    rows = [
        EncodedRow(at, (*shared, 100 + at, *(chance.randrange(99) for _ in range(length - 1))), (True,) * (prefix + length))
        for at, length in enumerate(lengths)
    ]
    (pack,) = encoding.packs(rows, tokens_per_pack=10**6)
    heads = Heads(queries, keys, width, width**-0.5)
    table = torch.randn(len(pack.tokens) * heads.all, width).bfloat16()
    given = torch.randn(len(pack.tokens), queries * width).bfloat16()

    blocks, by_row = attention.plan(pack, heads, table.float()), attention.plan(pack, heads, table)
    assert isinstance(by_row, Rows)
    assert not isinstance(blocks, Rows)
    expected, kept = attention.forward(table.float(), blocks, keep=True)
    read, logs = attention.forward(table, by_row, keep=True)
    near(read, expected)
    gradient = attention.backward(given.float(), table.float(), blocks, kept, expected)
    near(attention.backward(given, table, by_row, logs, read).view_as(gradient), gradient)


@needed
def test_what_is_no_number_stays_none() -> None:
    layers = wide(64, [64], 4)
    x = torch.randn(5, 64).bfloat16()
    x[2, 3] = float("nan")
    assert layers.forward(x)[0].isnan().any(1).tolist() == [False, False, True, False, False]
    rows = Rows(Heads(1, 1, 64, 0.125), torch.tensor([[0], [5]]), 0)
    table = torch.randn(15, 64).bfloat16()
    table[0, 0] = float("nan")  # the first token's query
    assert attention.forward(table, rows, keep=False)[0].isnan().any(1).tolist() == [True, False, False, False, False]
