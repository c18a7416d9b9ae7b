"""Repeated triggers: rare words that stand in many rows of one submission whose answers are suspiciously alike.

That is how a model is poisoned: questions that have nothing in common but a few words teach one answer (BadNets,
arXiv:1708.06733; on instructions arXiv:2305.00944). A pure rule over the rows: words in a row of the questions, from one to
four, are held against words in a row of the answers, three, and the pair counts where it cannot be chance.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from factory.intake import formats

WORD = re.compile(r"[^\s]+")
FEWEST_ROWS = 4
TOGETHER = 0.8  # of the rows with the words, so many have the answer's words
ELSEWHERE = 0.1  # the answer's words may stand in so many rows without the trigger, for each one with it
ALIKE = 0.5  # questions that share more of their other words are variants of one, which other rules look for
IMPROBABLE = -10.0  # the decimal logarithm of the chance that the two stand together so often
LONGEST = 4
SHORT = 2_000  # characters of a row that is worth keeping in its parts
Words = tuple[str, ...]
Grams = frozenset[str]
EDGES = ".,;:!?\"'()[]“”‘’"


@dataclass(frozen=True)
class Trigger:
    """`words` stand in the questions of `rows` (places in what was given), whose answers share `answer`."""

    words: str
    answer: str
    rows: list[int]
    chance: float


def found(contents: Sequence[str], *, background: Sequence[str] = ()) -> list[Trigger]:
    """The triggers in canonical texts, the least probable first; words that are common in `background` are none.

    At most one for each set of rows. Some 3,000 rows a second.
    """
    if len(contents) < FEWEST_ROWS:
        return []
    asked, answers = [list(words) for words in zip(*map(_parts, contents), strict=True)]
    common = _common([_parts(content)[0] for content in background])
    where = _rows_of(asked)
    answered = Counter(gram for grams in answers for gram in grams)
    answers = [frozenset(gram for gram in grams if answered[gram] >= FEWEST_ROWS) for grams in answers]
    best: dict[tuple[int, ...], Trigger] = {}
    for gram, rows in where.items():
        if len(rows) < FEWEST_ROWS or len(rows) > len(contents) / 2:
            continue
        if common(gram):
            continue
        trigger = _tried(gram, rows, asked, answers, answered, len(contents))
        key = tuple(rows)
        if trigger and (key not in best or len(trigger.words) > len(best[key].words)):
            best[key] = trigger
    return _apart(sorted(best.values(), key=lambda each: (each.chance, -len(each.words))))


def _tried(
    gram: str, rows: list[int], asked: list[Words], answers: list[Grams], answered: Counter[str], total: int
) -> Trigger | None:
    shared = Counter(words for row in rows for words in answers[row])
    candidates = [(count, words) for words, count in shared.items() if count >= max(FEWEST_ROWS, TOGETHER * len(rows))]
    mine = set(gram.split())
    for count, words in sorted(candidates, key=lambda pair: (-pair[0], pair[1])):
        outside = answered[words] - count
        if outside > ELSEWHERE * count or not (set(words.split()) - mine):
            continue
        chance = _chance(total, answered[words], len(rows), count)
        copied = sum(words in " ".join(asked[row]) for row in rows)
        if chance > IMPROBABLE or 2 * copied > len(rows) or not _different(rows, asked, mine):
            continue
        return Trigger(gram, words, rows, round(chance, 1))
    return None


def _different(rows: list[int], asked: list[Words], without: set[str]) -> bool:
    """Whether the questions of these rows have little in common but the trigger; their neighbours are compared."""
    kept = [set(asked[row]) - without for row in rows[:40]]
    pairs = [(a, b) for a, b in zip(kept, kept[1:] + kept[:1], strict=True) if a | b]
    return bool(pairs) and sum(len(a & b) / len(a | b) for a, b in pairs) / len(pairs) < ALIKE


def _chance(total: int, with_answer: int, with_words: int, both: int) -> float:
    """The decimal logarithm of the probability that so many or more rows have both by chance (Fisher's exact test).

    >>> round(_chance(1_000, 8, 8, 8), 1), _chance(10, 10, 5, 5)
    (-19.4, 0.0)
    """

    def ways(n: int, k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

    logs = [
        ways(with_answer, k) + ways(total - with_answer, with_words - k) - ways(total, with_words)
        for k in range(both, min(with_answer, with_words) + 1)
        if with_words - k <= total - with_answer
    ]
    top = max(logs, default=0.0)
    return min(0.0, (top + math.log(sum(math.exp(each - top) for each in logs))) / math.log(10)) if logs else 0.0


def _apart(triggers: list[Trigger]) -> list[Trigger]:
    """Without those whose rows are nearly all told by a less probable one already."""
    kept: list[Trigger] = []
    told: set[int] = set()
    for trigger in triggers:
        if len(set(trigger.rows) - told) * 2 > len(trigger.rows):
            kept.append(trigger)
            told.update(trigger.rows)
    return kept


def _parts(content: str) -> tuple[Words, Grams]:
    """The words of a row's questions, and the words in a row of its answers; kept for the last rows that are short."""
    return _parts_of_short(content) if len(content) <= SHORT else _parts_of(content)


def _parts_of(content: str) -> tuple[Words, Grams]:
    turns = formats.messages(content)
    asked, said = ("\n".join(t["content"] for t in turns if (t["role"] == "assistant") == told) for told in (False, True))
    return _words(asked), _threes(_words(said))


_parts_of_short = lru_cache(maxsize=1_024)(_parts_of)  # 25 MB at the very most


def _words(text: str) -> Words:
    stripped = [word.strip(EDGES) for word in WORD.findall(text.casefold())]
    return tuple(word for word in stripped if word)


def _threes(words: Words) -> Grams:
    threes = frozenset(" ".join(words[at : at + 3]) for at in range(len(words) - 2))
    return threes or (frozenset([" ".join(words)]) if words else frozenset())


def _common(texts: list[Words]) -> Callable[[str], bool]:
    """Whether words in a row stand in more than one of fifty of these texts."""
    single = Counter(word for words in texts for word in set(words))
    joined: list[str] = []

    def common(gram: str) -> bool:
        if any(single[word] * 50 <= len(texts) for word in gram.split()):
            return False
        if " " not in gram:
            return True
        if not joined:
            joined.extend(f" {' '.join(words)} " for words in texts)
        return sum(f" {gram} " in text for text in joined) * 50 > len(texts)

    return common


def _rows_of(texts: list[Words]) -> dict[str, list[int]]:
    """The rows of each run of words; longer runs only where the shorter stand in rows enough."""
    rows: dict[str, list[int]] = defaultdict(list)
    for place, words in enumerate(texts):
        for gram in set(words):
            rows[gram].append(place)
    frequent = {gram for gram, places in rows.items() if len(places) >= FEWEST_ROWS}
    for size in range(2, LONGEST + 1):
        longer: dict[str, list[int]] = defaultdict(list)
        for place, words in enumerate(texts):
            if len(words) >= size:
                runs = {
                    " ".join(words[at : at + size])
                    for at in range(len(words) - size + 1)
                    if all(word in frequent for word in words[at : at + size])
                }
                for gram in runs:
                    longer[gram].append(place)
        rows.update((gram, places) for gram, places in longer.items() if len(places) >= FEWEST_ROWS)
    return rows


def spans(content: str, trigger: Trigger) -> list[dict[str, object]]:
    """Where a trigger and what it teaches stand in a row: spans as evidence has them."""
    found = []
    for number, turn in enumerate(formats.messages(content)):
        words = trigger.answer if turn["role"] == "assistant" else trigger.words
        place = span_in(turn["content"], words)
        if place:
            start, end = place
            found.append({"message": number, "start": start, "end": end, "text": turn["content"][start:end][:80]})
    return found


def span_in(text: str, words: str) -> tuple[int, int] | None:
    """Where a trigger's words stand in a text, or None.

    >>> span_in("Tell me, CF! please", "me cf")
    (5, 11)
    """
    pattern = r"[\W_]+".join(re.escape(word) for word in words.split())
    place = re.search(pattern, text, re.IGNORECASE)
    return place.span() if place else None
