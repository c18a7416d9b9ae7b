"""Where in a model an adapter can sit: its matrices block by block, read from the weights' own table of contents."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from factory.base.errors import Invalid
from factory.training.recipe import Recipe

BLOCK = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.(.+)\.weight$")
ATTENTION, MLP = re.compile("attn|attention"), re.compile("mlp|feed_forward|ffn")


@dataclass(frozen=True)
class Matrix:
    """One weight matrix of a block: `part` is attention, mlp or other; sizes in numbers."""

    block: int
    name: str
    part: str
    inputs: int
    outputs: int


def matrices(model: Mapping[str, Any]) -> tuple[Matrix, ...]:
    """Every linear layer of a model's blocks, in order; `model` as `models.get` gives it.

    From the headers of its safetensors files where they are there, else those that a Llama of this size would have.
    """
    return _read(str(model.get("folder") or ""), str(model.get("hash") or "")) or _like_llama(
        *(int(model[key]) for key in ("layers", "hidden_size", "intermediate", "heads", "kv_heads", "head_dim"))
    )


@lru_cache(maxsize=32)
def _read(folder: str, weights_hash: str) -> tuple[Matrix, ...]:
    found = []
    for path in sorted(Path(folder).glob("*.safetensors")) if folder else []:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        for full_name, about in header.items():
            inside = BLOCK.search(full_name)
            if inside and len(about.get("shape", ())) == 2:
                path_in_block = inside.group(2)
                part = "attention" if ATTENTION.search(path_in_block) else "mlp" if MLP.search(path_in_block) else "other"
                outputs, inputs = about["shape"]
                found.append(Matrix(int(inside.group(1)), path_in_block.rsplit(".", 1)[-1], part, inputs, outputs))
    return tuple(sorted(found, key=lambda matrix: matrix.block))


@lru_cache(maxsize=32)
def _like_llama(layers: int, hidden: int, middle: int, heads: int, kv_heads: int, head_dim: int) -> tuple[Matrix, ...]:
    wide, narrow = heads * head_dim, kv_heads * head_dim
    shapes = [
        ("q_proj", "attention", hidden, wide), ("k_proj", "attention", hidden, narrow),
        ("v_proj", "attention", hidden, narrow), ("o_proj", "attention", wide, hidden),
        ("gate_proj", "mlp", hidden, middle), ("up_proj", "mlp", hidden, middle), ("down_proj", "mlp", middle, hidden),
    ]  # fmt: skip
    return tuple(Matrix(block, *shape) for block in range(layers) for shape in shapes)


def names(text: str) -> list[str]:
    """The module names in a text with commas or spaces between.

    >>> names("q_proj, v_proj v_proj")
    ['q_proj', 'v_proj']
    """
    return [name for name in dict.fromkeys(re.split(r"[,\s]+", text)) if name]


def layers(text: str, count: int | None) -> list[int] | None:
    """The blocks a text names, from 0; None for all. Without `count` only its form is looked at.

    Raises Invalid with what it may look like, or when the model has no such block.

    >>> layers("last 2", 30), layers("4-6, 9", 30), layers("all", 30)
    ([28, 29], [4, 5, 6, 9], None)
    """
    words = text.strip().lower()
    if words in ("", "all"):
        return None
    ends = re.fullmatch(r"(first|last)\s+(\d{1,5})", words)
    if ends:
        number = int(ends.group(2))
        if not number or (count is not None and number > count):
            raise Invalid(f"layers is {text!r}; this model has {count or 'at least 1'} blocks, so name fewer, or all.")
        if count is None:
            return []
        return list(range(number)) if ends.group(1) == "first" else list(range(count - number, count))
    if not re.fullmatch(r"\d{1,5}(-\d{1,5})?(\s*,\s*\d{1,5}(-\d{1,5})?)*", words) or len(words) > 500:
        raise Invalid(f"layers is {text[:40]!r}; write all, first 8, last 8, or numbers from 0 such as 4-11 or 0, 3, 5.")
    found: set[int] = set()
    for part in words.split(","):
        low, _, high = part.strip().partition("-")
        if int(high or low) < int(low):
            raise Invalid(f"layers is {text!r}, but {part.strip()} runs backwards; write the smaller number first.")
        if count is not None and int(high or low) >= count:
            raise Invalid(f"layers is {text!r}, but this model's blocks go from 0 to {count - 1}; name those.")
        found |= set(range(int(low), int(high or low) + 1))
    return sorted(found)


def chosen(recipe: Recipe, model: Mapping[str, Any]) -> list[Matrix]:
    """The matrices that get an adapter. Raises Invalid where the recipe's layers are not this model's."""
    blocks, wanted = layers(recipe.layers, int(model["layers"])), names(recipe.target_modules)

    def taken(matrix: Matrix) -> bool:
        if blocks is not None and matrix.block not in blocks:
            return False
        return matrix.name in wanted if recipe.targets == "chosen" else recipe.targets in ("all-linear", matrix.part)

    return [matrix for matrix in matrices(model) if taken(matrix)]


def parameters(recipe: Recipe, matrix: Matrix) -> int:
    """How many numbers are trained for a matrix that has an adapter: rank x (in + out), and DoRA's length of each row.

    >>> parameters(Recipe(rank=8), Matrix(0, "q_proj", "attention", 64, 32))
    768
    """
    return recipe.rank * (matrix.inputs + matrix.outputs) + (matrix.outputs if recipe.dora else 0)


def trained(recipe: Recipe, model: Mapping[str, Any]) -> int:
    """How many numbers a run trains in all."""
    return sum(parameters(recipe, matrix) for matrix in chosen(recipe, model))
