"""What many texts are about: groups of near vectors, the words that tell each group, and places in the plane.

Pure functions over arrays; `maps` keeps what they give. scikit-learn is imported inside them: it takes a second.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.intake import similarity
from factory.intake.meaning import Vectors

METHOD = "k-means on the vectors; words by c-TF-IDF; places by t-SNE"
MOST_TOPICS, WORDS, ROWS_A_TOPIC = 24, 6, 8
PERPLEXITY, USUAL = 30, 0.25
Numbers = NDArray[np.int64]


def how_many(rows: int) -> int:
    """Into how many topics so many rows are grouped: about two thirds of the square root, from 1 to 24.

    >>> [how_many(rows) for rows in (5, 60, 300, 5_000, 1_000_000)]
    [1, 5, 12, 24, 24]
    """
    return max(1, min(MOST_TOPICS, rows // ROWS_A_TOPIC, round(2 / 3 * math.sqrt(rows))))


def group(vectors: Vectors, *, before: Vectors | None = None) -> tuple[Vectors, Numbers]:
    """The centroids of groups of near vectors [k, d], of length 1, and the group of each vector [n].

    k is `how_many`. `before` are the centroids of an earlier map: where there are as many, the groups grow out of them and
    keep their numbers. The same vectors always give the same groups.
    """
    from sklearn.cluster import KMeans

    wanted = how_many(len(vectors))
    if before is not None and before.shape == (wanted, vectors.shape[1]):
        means = KMeans(wanted, init=before, n_init=1, random_state=0)
    else:
        means = KMeans(wanted, n_init=10, random_state=0)
    means.fit(vectors)
    centroids = np.asarray(means.cluster_centers_, dtype=np.float32)
    centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-9)
    return centroids, nearest(vectors, centroids)[0]


def nearest(vectors: Vectors, centroids: Vectors) -> tuple[Numbers, Vectors]:
    """The group of each vector [n], and its cosine to that group's centroid [n]."""
    likeness = vectors @ centroids.T
    numbers = likeness.argmax(axis=1)
    return numbers, likeness[np.arange(len(vectors)), numbers]


def closeness(vectors: Vectors, centroids: Vectors, numbers: Numbers) -> list[float]:
    """For each group the cosine from which a text counts as one of it: at least nine of ten of its members reach it.

    Where it stands well apart from the others it is lower: halfway between what nine of ten members reach and what nine of
    ten others do not. An empty group has 1.
    """
    likeness, found = vectors @ centroids.T, []
    for one in range(len(centroids)):
        inside = numbers == one
        if not inside.any():
            found.append(1.0)
            continue
        reached = float(np.quantile(likeness[inside, one], 0.1))
        others = float(np.quantile(likeness[~inside, one], 0.9)) if not inside.all() else 0.0
        found.append(min(reached, (reached + others) / 2))
    return found


def telling_words(texts: Sequence[str], numbers: Iterable[int], count: int) -> list[list[str]]:
    """The words that tell each of `count` groups from the others, the most telling first.

    Class-based TF-IDF (Grootendorst 2022, arXiv:2203.05794): a word's share of its group's words, times the logarithm of one
    plus the mean number of words a group over how often the word comes in all. Words of English grammar, numbers, what
    comes in one text only, and what comes in over a quarter of the texts and over half of the groups are left out.

    >>> telling_words(["boil the egg", "boil an egg", "mend a tyre", "mend the tyre now"], [0, 0, 1, 1], 2)
    [['boil', 'egg'], ['mend', 'tyre']]
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    groups: list[Counter[str]] = [Counter() for _ in range(count)]
    texts_with: list[Counter[str]] = [Counter() for _ in range(count)]
    for text, number in zip(texts, numbers, strict=True):
        found = [word for word in similarity.words(text) if _may_tell(word) and word not in ENGLISH_STOP_WORDS]
        groups[number].update(found)
        texts_with[number].update(set(found))
    everywhere, in_texts = sum(groups, Counter[str]()), sum(texts_with, Counter[str]())
    usual = {w for w, n in in_texts.items() if n > USUAL * len(texts) and sum(w in words for words in groups) > count / 2}
    mean = sum(everywhere.values()) / max(1, count)
    told = []
    for words, spread in zip(groups, texts_with, strict=True):
        total = sum(words.values())
        score = {
            w: n / total * math.log(1 + mean / everywhere[w]) for w, n in words.items() if spread[w] > 1 and w not in usual
        }
        told.append(sorted(score, key=lambda word: (-score[word], word))[:WORDS])
    return told


def _may_tell(word: str) -> bool:
    return len(word) > 2 and len(word) <= 40 and any(c.isalpha() for c in word) and "'" not in word and "’" not in word


def places(vectors: Vectors) -> Vectors:
    """Two coordinates for each vector [n, 2]: near vectors come to lie near each other.

    t-SNE (van der Maaten and Hinton 2008) from the first two principal components. Takes some 30 seconds for 5,000 vectors.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count = len(vectors)
    if count < 8:
        angle = np.arange(count) * 2 * math.pi / max(1, count)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    flat = PCA(min(50, count - 1, vectors.shape[1]), random_state=0).fit_transform(vectors)
    tsne: Any = TSNE(2, init="pca", perplexity=min(PERPLEXITY, (count - 1) / 3), random_state=0)
    return np.asarray(tsne.fit_transform(flat), dtype=np.float32)
