"""When verdicts settle an example: how probable each outcome is, given how each reviewer errs.

The model is that of Dawid and Skene (1979), "Maximum likelihood estimation of observer error-rates using the EM algorithm":
a reviewer accepts what is good with one probability and does not accept what is not good with another; which of return and
reject they say of the latter is a matter of degree. So the word of whoever accepts everything changes nothing, while their
rare rejection does. Both rates come from `reviewers.accuracy` and nothing is fitted here; they are bounded.
"""

from __future__ import annotations

from collections.abc import Sequence

VERDICTS = ("accept", "return", "reject")
MOST = 0.9  # above, nobody is believed
SAME_DEGREE = 0.85  # how often two who see the same fault also choose the same of return and reject
TELLS = 0.2  # the weight from which a verdict counts towards a quorum: a third of what somebody new has
ALONE = 0.6  # how probable the outcome of one verdict has to be where the quorum is one

Trust = tuple[float, float]  # right on good examples, right on those that are not


def bounded(trust: Trust) -> Trust:
    """What is believed of a reviewer: at most 0.9 of each, and never that their word means its opposite.

    >>> bounded((0.97, 0.85)), bounded((0.9, 0.1))
    ((0.9, 0.85), (0.9, 0.1))
    >>> tuple(round(value, 2) for value in bounded((0.2, 0.4)))  # wrong more often than by chance: it says nothing
    (0.4, 0.6)
    """
    good, bad = (min(MOST, max(1 - MOST, value)) for value in trust)
    missing = max(0.0, 1 - good - bad) / 2
    return good + missing, bad + missing


def weight(trust: Trust) -> float:
    """How much a reviewer's verdicts tell, from 0 (nothing) to 0.8: the agreement above chance that is believed.

    This is Youden's index (1950), "Index for rating diagnostic tests", of the bounded rates.

    >>> round(weight((0.8, 0.8)), 3), round(weight((1.0, 0.2)), 3), weight((1.0, 0.0))
    (0.6, 0.1, 0.0)
    """
    good, bad = bounded(trust)
    return max(0.0, round(good + bad - 1, 12))


def probabilities(verdicts: Sequence[tuple[str, Trust]], good_before: float = 0.5) -> dict[str, float]:
    """How probable each outcome is after verdicts, each with what is known of its reviewer; `good_before` any of them.

    >>> usual, lazy = (0.8, 0.8), (0.97, 0.1)
    >>> probabilities([("accept", usual), ("accept", usual)])["accept"].__round__(3)
    0.941
    >>> probabilities([("accept", usual), ("accept", lazy)])["accept"].__round__(3)
    0.8
    >>> probabilities([("accept", lazy)])["accept"].__round__(3)
    0.5
    """
    likely = {"accept": good_before, "return": (1 - good_before) / 2, "reject": (1 - good_before) / 2}
    for said, trust in verdicts:
        good, bad = bounded(trust)
        likely["accept"] *= good if said == "accept" else (1 - good) / 2
        for outcome in ("return", "reject"):
            degree = SAME_DEGREE if outcome == said else 1 - SAME_DEGREE
            likely[outcome] *= 1 - bad if said == "accept" else bad * degree
    total = sum(likely.values())
    return {outcome: value / total for outcome, value in likely.items()}


def may_settle(said: Sequence[str], *, quorum: int, at_most: int) -> bool:
    """Whether `settled` can have an outcome for verdicts that said this, however far their reviewers are trusted.

    >>> may_settle(["accept", "reject"], quorum=2, at_most=5), may_settle(["accept", "accept"], quorum=2, at_most=5)
    (False, True)
    """
    return len(said) >= max(quorum, at_most) or any(said.count(verdict) >= quorum for verdict in VERDICTS)


def settled(
    verdicts: Sequence[tuple[str, Trust]], *, quorum: int, at_most: int, confidence: float, good_before: float = 0.5,
    at_last: float = 0.5,
) -> str | None:  # fmt: skip
    """The verdict that settles an example, or None while more are needed.

    `quorum` verdicts of people whose word tells something have to say the same, and it has to be as probable as
    `confidence` (see `probabilities`). After `at_most` verdicts the most probable outcome stands (the
    kinder one where two are equally probable); acceptance that is less probable than `at_last` becomes a return, and so
    does a rejection where it is less probable that the example is not good.

    >>> usual, lazy = (0.8, 0.8), (0.97, 0.1)
    >>> settled([("accept", usual), ("accept", usual)], quorum=2, at_most=5, confidence=0.75)
    'accept'
    >>> settled([("accept", lazy), ("accept", usual)], quorum=2, at_most=5, confidence=0.75)  # that was one voice
    >>> settled([("accept", usual), ("reject", usual)], quorum=2, at_most=5, confidence=0.75)
    >>> split = [("accept", usual), ("reject", usual), ("reject", usual)]
    >>> [settled(split, quorum=3, at_most=3, confidence=0.99, at_last=sure) for sure in (0.5, 0.95)]
    ['reject', 'return']
    """
    if not verdicts:
        return None
    found = probabilities(verdicts, good_before)
    best = max(VERDICTS, key=lambda outcome: round(found[outcome], 9))
    agreeing = sum(said == best and weight(trust) >= TELLS for said, trust in verdicts)
    needed = confidence if quorum > 1 else min(confidence, ALONE)
    if agreeing >= quorum and found[best] >= needed:
        return best
    if len(verdicts) < max(quorum, at_most):
        return None
    if best == "accept":
        return "accept" if round(found["accept"], 9) >= at_last else "return"
    if round(found["accept"], 9) > 1 - at_last:
        return "return"
    return max(("return", "reject"), key=lambda outcome: round(found[outcome], 9))
