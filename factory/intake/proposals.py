"""Drafts of rows made of documents, for a person to confirm one by one; nothing else ever makes a row of a document.

| kind | where it comes from | what the person does |
|---|---|---|
| pair | `Q: …` and `A: …` (or Question, Frage, User … and their answers) standing in the text | reads it |
| section | a heading and what stands under it | turns the heading into a question |
| passage | paragraphs under no heading, or the rest of a long section | writes the question it answers |

Every paragraph of the text is in one draft, so nothing is left out unseen.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from factory.base.errors import Invalid
from factory.base.settings import Settings
from factory.intake import documents, transcripts
from factory.intake.documents import Document
from factory.intake.formats import Row
from factory.intake.packing import Source
from factory.intake.provenance import Place

KINDS = ("pair", "section", "passage")
LONGEST_PASSAGE = 1_500
LONGEST_SECTION = 4_000
MAX_PROPOSALS = 2_000
_PARAGRAPHS = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True)
class Proposal:
    """A draft: what the question and the answer could be, and the place in the document they come from.

    `number` counts from 1 through the file; `question` is "" where the person has to write it.
    """

    number: int
    kind: str
    question: str
    answer: str
    place: Place


@dataclass(frozen=True)
class Proposed:
    """The drafts of a file, and a `note` for the person, or ""."""

    drafts: list[Proposal]
    note: str


def proposals(source: Source, *, name: str, settings: Settings, encoding: str = "") -> Proposed:
    """Drafts of all documents in a file, in the order of the text, at most MAX_PROPOSALS; `note` says what is left over.

    Raises Invalid with one sentence where there is no document or one cannot be read.
    """
    drafts: list[Proposal] = []
    notes = []
    over = 0
    for document in documents.open_all(source, name=name, settings=settings, encoding=encoding):
        notes += [document.note] if document.note else []
        for kind, question, start, end, answer in _drafts(document):
            if len(drafts) == MAX_PROPOSALS:
                over += 1
                continue
            drafts.append(Proposal(len(drafts) + 1, kind, question, answer, document.place(start, end)))
    if over:
        notes.append(f"These are the first {MAX_PROPOSALS:,} drafts; {over:,} more are left for a second file.")
    if not drafts:
        raise Invalid(f"{name} has no text to make drafts of; choose a document with text.")
    return Proposed(drafts, " ".join(notes))


_Draft = tuple[str, str, int, int, str]  # kind, question, start, end, answer
_Heading = tuple[int, int, str]  # first character, the one after it, words


def _drafts(document: Document) -> Iterator[_Draft]:
    """Pairs where the text has them; sections and passages for all that stands between."""
    text, at = document.text, 0
    headings = list(_headings(document))
    for start, end, question, answer in transcripts.pairs_in(text, [begins for begins, _, _ in headings]):
        yield from _between(text, headings, at, start)
        yield "pair", question, start, end, answer
        at = end
    yield from _between(text, headings, at, len(text))


def _between(text: str, headings: list[_Heading], start: int, end: int) -> Iterator[_Draft]:
    """The sections and passages in a stretch of the text in which no pair stands."""
    first = bisect_left(headings, (start, 0, ""))
    at, heading = start, headings[first - 1][2] if first else ""
    for begins, after, words in headings[first : bisect_left(headings, (end, 0, ""))]:
        yield from _section(text, at, begins, heading)
        at, heading = min(after, end), words
    yield from _section(text, at, end, heading)


def _headings(document: Document) -> Iterator[_Heading]:
    """Each heading's first character, the one after it, and its words with those of the headings above it."""
    lines = _line_starts(document.text)
    above: list[tuple[int, str]] = []
    for line, level, words in document.headings:
        above = [*(one for one in above if one[0] < level), (level, words)]
        after = lines[line + 1] if line + 1 < len(lines) else len(document.text)
        underlined = document.kind == "markdown" and re.match(
            r"[ ]{0,3}(=+|-+)[ \t]*(?:\n|$)", document.text[after : after + 200]
        )
        if underlined and not document.text[lines[line] : after].lstrip().startswith("#"):
            after += underlined.end()
        yield lines[line], after, words if "?" in words else " › ".join(word for _, word in above)


def _line_starts(text: str) -> list[int]:
    return [0, *(found.end() for found in re.finditer("\n", text))]


def _section(text: str, start: int, end: int, heading: str) -> Iterator[_Draft]:
    start += len(text[start:end]) - len(text[start:end].lstrip())
    end -= len(text[start:end]) - len(text[start:end].rstrip())
    if start >= end:
        return
    if heading and end - start <= LONGEST_SECTION:
        yield "section", heading, start, end, text[start:end]
        return
    for number, (first, last) in enumerate(_passages(text, start, end)):
        kind = "section" if heading and not number else "passage"
        yield kind, heading if kind == "section" else "", first, last, text[first:last]


def _passages(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Whole paragraphs put together up to LONGEST_PASSAGE characters; a longer one is cut where a sentence or line ends."""
    begin, last = start, start
    for first, after in _paragraphs(text, start, end):
        if last > begin and after - begin > LONGEST_PASSAGE:
            yield begin, last
            begin = first
        while after - begin > LONGEST_PASSAGE:
            cut = _cut(text, begin, begin + LONGEST_PASSAGE)
            yield begin, cut
            begin = cut + len(text[cut:after]) - len(text[cut:after].lstrip())
        last = after
    if last > begin:
        yield begin, last


def _paragraphs(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    at = start
    for gap in _PARAGRAPHS.finditer(text, start, end):
        if gap.start() > at:
            yield at, gap.start()
        at = gap.end()
    if end > at:
        yield at, end


def _cut(text: str, begin: int, most: int) -> int:
    for mark in ("\n", ". ", "。", "! ", "? ", " "):
        found = text.rfind(mark, begin + LONGEST_PASSAGE // 3, most)
        if found > 0:
            return found + len(mark.rstrip()) if mark != "\n" else found
    return most


def confirmed(drafts: Iterable[Proposal], said: Mapping[int, tuple[str, str]]) -> list[Row]:
    """Rows of the drafts that a person confirmed, and of no others: `said` has the final question and answer by number.

    Raises Invalid, listing each number that is no draft, and each without a question or an answer.
    """
    known = {draft.number: draft for draft in drafts}
    problems = [f"There is no draft {number}; they go from 1 to {len(known):,}." for number in said if number not in known]
    rows: list[Row] = []
    for number, (question, answer) in sorted(said.items()):
        missing = [word for word, text in (("question", question), ("answer", answer)) if not text.strip()]
        if missing:
            problems.append(f"Draft {number:,} has no {' and no '.join(missing)}; write it, or leave the draft out.")
        elif number in known:
            rows.append(_row(len(rows), question.strip(), answer.strip(), known[number].place))
    if problems:
        raise Invalid(problems)
    return rows


def _row(position: int, question: str, answer: str, place: Place) -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Row(position, messages, None, json.dumps(messages, ensure_ascii=False)[:2_000], place)
