"""What a text is about, as a vector: the mean of its tokens' vectors in a small static model that ships in a package.

wordllama's 256-dimensional vectors (MIT) lie in its wheel, 16 MB beside a Llama 2 tokenizer. They were trained so that the
plain mean of a text's tokens is near that of a text that says the same (https://github.com/dleemiller/WordLlama). Its two
files are read here and its code is not imported, so nothing is ever downloaded. It knows English best; decision 25 has what
was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.base.errors import Unavailable

# Both are kept beside whatever was computed. The number after the slash is of the way from tokens to a vector, below.
NAME, VERSION = "wordllama-l2-supercat-256", "0.4.0.post1/1"
DIMENSIONS = 256
CHARACTERS = 10_000  # of a longer text only so much is read; what it is about is said by then
BATCH = 512

Vectors = NDArray[np.float32]


def vectors(texts: Sequence[str]) -> Vectors:
    """The vectors of texts: float32 [n, 256], each of length 1, so that a dot product is the cosine.

    A text without a single token has zeros, which are like nothing. Some 10,000 questions a second on one core.
    Raises Unavailable where the model's package is missing.
    """
    found = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    tokenizer, table = _model()
    for start in range(0, len(texts), BATCH):
        cut = [text[:CHARACTERS] for text in texts[start : start + BATCH]]
        for at, encoding in enumerate(tokenizer.encode_batch_fast(cut, add_special_tokens=False), start):
            if encoding.ids:
                found[at] = table[encoding.ids].sum(axis=0, dtype=np.float32)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.divide(found, lengths, out=found, where=lengths > 0)


@lru_cache(maxsize=1)
def _model() -> tuple[Any, NDArray[np.float16]]:
    """The tokenizer and the table of vectors, [32,000, 256]; read once, in a tenth of a second."""
    from safetensors import safe_open
    from tokenizers import Tokenizer

    package = find_spec("wordllama")  # finds the folder without running a line of it
    if package is None or not package.submodule_search_locations:
        raise Unavailable(
            "The package `wordllama`, which holds the small model of meanings, is missing; `make run` installs it again."
        )
    folder = Path(package.submodule_search_locations[0])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    with safe_open(folder / "weights" / "l2_supercat_256.safetensors", framework="np") as weights:
        return tokenizer, weights.get_tensor("embedding.weight")
