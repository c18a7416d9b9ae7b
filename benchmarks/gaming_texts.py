"""Rows for a simulated workshop: good ones, honest slips, and what flooders, copiers, paraphrasers and vandals send.

Texts come from files of real rows where they are given, and from a seeded generator when these are spent. Only the people
of the simulation know the `kind` of a row; the program is told its messages and nothing else.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

from factory.intake import checks
from factory.intake.policy import Policy

HONEST_KINDS = ("good", "slip")
Messages = list[dict[str, str]]
SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe qui ro su ta ve wi xo yu za bre cla dro fli gra ple sto tri"
FILLER = "This really depends on many things and one should think about it with care before saying more on that matter."
SWAPS = {
    "is": "becomes", "are": "remain", "use": "apply", "make": "create", "the": "this", "many": "several", "get": "obtain",
    "help": "assist", "show": "display", "good": "fine", "big": "large", "total": "sum", "has": "holds", "and": "plus",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row as its author means it. `kind`: good, slip (an honest mistake), junk, wrong, repeat or damage."""

    question: str
    answer: str
    kind: str

    @property
    def messages(self) -> Messages:
        """The row as it is submitted."""
        return [{"role": "user", "content": self.question}, {"role": "assistant", "content": self.answer}]


def read(folder: Path | None) -> list[tuple[str, str]]:
    """Question and answer pairs of the files of a folder: JSON or JSONL with instruction/output or question/answer."""
    pairs = []
    for file in sorted(folder.glob("*.json*")) if folder else []:
        text = file.read_text(encoding="utf-8")
        records = json.loads(text) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line]
        for record in records:
            asked = record.get("question") or f"{record.get('instruction', '')} {record.get('input', '')}".strip()
            told = record.get("answer") or record.get("output") or ""
            if asked and 40 <= len(told) <= 1_200:
                pairs.append((asked, told))
    # Nobody would send what the preflight already shows as refused.
    found = [checks.check_messages(Row(*pair, "good").messages, policy=Policy())[1] for pair in pairs]
    return [pair for pair, findings in zip(pairs, found, strict=True) if not any(f.refuses for f in findings)]


class Texts:
    """An endless, seeded supply of rows of every kind."""

    def __init__(self, rng: random.Random, pairs: list[tuple[str, str]]) -> None:
        """`pairs` are used once each, in a seeded order."""
        self._rng, self._syllables = rng, SYLLABLES.split()
        self._left = rng.sample(pairs, len(pairs))
        self._told: list[str] = [answer for _, answer in pairs[:400]]

    def _words(self, count: int) -> str:
        rng = self._rng
        return " ".join("".join(rng.choice(self._syllables) for _ in range(rng.randint(2, 4))) for _ in range(count))

    def _pair(self) -> tuple[str, str]:
        if self._left:
            return self._left.pop()
        asked, told = self._words(9), [self._words(self._rng.randint(8, 14)).capitalize() + "." for _ in range(3)]
        return f"What is {asked}?", " ".join(told)

    def good(self) -> Row:
        """A row that belongs into the dataset."""
        return Row(*self._pair(), "good")

    def slip(self) -> Row:
        """A good row but for a mistake that its author can mend: the end of the answer is missing."""
        asked, told = self._pair()
        words = told.split()
        return Row(asked, " ".join(words[: max(8, len(words) * 2 // 3)]), "slip")

    def mended(self, row: Row) -> Row:
        """What its author makes of a slip that was returned."""
        return Row(row.question, f"{row.answer} {self._words(6).capitalize()}.", "good")

    def junk(self) -> Row:
        """Filler: many words, nothing said. Nobody who reads it takes it for an answer."""
        return Row(f"What about {self._words(4)}?", f"{self._words(5)} {FILLER} {self._words(8)}.", "junk")

    def wrong(self) -> Row:
        """A real question with an answer that belongs elsewhere, or half of two: it takes reading to see."""
        asked, told = self._pair()
        other = self._rng.choice(self._told) if self._told else self._words(25)
        self._told.append(told)
        sentences = re.split(r"(?<=[.!?])\s+", other)
        self._rng.shuffle(sentences)
        return Row(asked, " ".join(sentences)[:600] + f" {self._words(4)}.", "wrong")

    def damage(self) -> Row:
        """A good row with one thing in it made wrong."""
        asked, told = self._pair()
        words = told.split()
        place = self._rng.randrange(len(words))
        words[place] = str(int(words[place]) + 7) if words[place].isdigit() else f"not {words[place]}"
        return Row(asked, " ".join(words), "damage")

    def copy(self, of: Row) -> Row:
        """Somebody else's row, as it is or with its first word and its case changed."""
        if self._rng.random() < 0.5:
            return Row(of.question, of.answer, "repeat")
        return Row(f"Please tell me: {of.question}", of.answer.replace(". ", "; ").lower() + " Thanks.", "repeat")

    def paraphrase(self, of: Row) -> Row:
        """Somebody else's row in other words: sentences in another order, words swapped, every seventh one added or lost."""
        rng = self._rng

        def reworded(text: str) -> str:
            kept = []
            for word in text.split():
                if rng.random() < 0.12:
                    kept.append(self._words(1))
                if rng.random() > 0.12:
                    kept.append(SWAPS.get(word.lower(), word))
            return " ".join(kept) or text

        sentences = re.split(r"(?<=[.!?])\s+", of.answer)
        rng.shuffle(sentences)
        return Row(reworded(of.question), reworded(" ".join(sentences)), "repeat")
