"""When verdicts settle an example: how probable each outcome is, given how often each reviewer is right.

The model is the one-coin form of Dawid and Skene (1979), "Maximum likelihood estimation of observer error-rates using the
EM algorithm": a reviewer of accuracy a says what is true with probability a, and each of the two other things with (1-a)/2.
Accuracies come from `reviewers.accuracy`, so nothing is fitted here; they are bounded, so nobody decides alone by weight.
"""

from __future__ import annotations

from collections.abc import Sequence

VERDICTS = ("accept", "return", "reject")
LEAST, MOST = 1 / 3, 0.9  # at a third a verdict says nothing; above 0.9 nobody is believed


def probabilities(verdicts: Sequence[tuple[str, float]]) -> dict[str, float]:
    """How probable each outcome is after (verdict, accuracy of its reviewer) pairs, all three being alike before.

    >>> probabilities([("accept", 0.8), ("accept", 0.8), ("reject", 0.8)])["accept"].__round__(3)
    0.877
    >>> probabilities([("accept", 1 / 3)])["accept"].__round__(3)
    0.333
    """
    likely = dict.fromkeys(VERDICTS, 1.0)
    for said, accuracy in verdicts:
        right = min(MOST, max(LEAST, accuracy))
        for outcome in VERDICTS:
            likely[outcome] *= right if outcome == said else (1 - right) / 2
    total = sum(likely.values())
    return {outcome: value / total for outcome, value in likely.items()}


def settled(verdicts: Sequence[tuple[str, float]], *, quorum: int, at_most: int, confidence: float) -> str | None:
    """The verdict that settles an example, or None while more are needed.

    `quorum` verdicts have to say the same, and it has to be as probable as `confidence`; after `at_most` verdicts the most
    probable outcome stands (the kinder one where two are equally probable: accept, then return).

    >>> settled([("accept", 0.8), ("accept", 0.8)], quorum=2, at_most=5, confidence=0.75)
    'accept'
    >>> settled([("accept", 0.5), ("accept", 0.5)], quorum=2, at_most=5, confidence=0.75)  # two who are often wrong
    >>> settled([("accept", 0.8), ("reject", 0.8)], quorum=2, at_most=5, confidence=0.75)
    """
    if not verdicts:
        return None
    found = probabilities(verdicts)
    best = max(VERDICTS, key=lambda outcome: round(found[outcome], 9))
    agreeing = sum(said == best for said, _ in verdicts)
    # One verdict alone is as probable as its reviewer is accurate: a quorum of one asks for no more than that.
    needed = confidence if quorum > 1 else LEAST
    if (agreeing >= quorum and found[best] >= needed) or len(verdicts) >= max(quorum, at_most):
        return best
    return None
