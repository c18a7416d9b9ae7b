"""Three demo reviewers: each looks a row up in the installed Python's documentation, with a measure of their own.

They see a row's words and nothing else: not who wrote it, not how it was made. This module knows the documentation only.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

from factory.intake import documentation as docs
from factory.intake.documentation import Entry

SLIPS_ONE_IN = 50
Verdict = tuple[str, str | None, str]  # a decision, a key of reviews.REASONS, a note for the author
ORDINARY = docs.content_words(
    "call called write import module built in belongs is in unless you say otherwise that it from no needed"
    " function method class standard library python use used default name tells whether"
)


def by_vocabulary(asked: str, answer: str, entry: Entry) -> Verdict:
    """Are the answer's words those of the documentation? The mildest of the three."""
    known = docs.content_words(f"{entry.call} {entry.summary} {entry.more} {entry.module}") | ORDINARY
    said = docs.content_words(answer)
    share = len(said & known) / max(len(said), 1)
    if share < 0.8:
        return "reject", "wrong", f"{share:.0%} of the answer's words stand in the documentation of {entry.name}."
    return _finished(answer)


def by_coverage(asked: str, answer: str, entry: Entry) -> Verdict:
    """Is what the documentation says in the row, and is every call shown the real one?"""
    summary = docs.content_words(entry.summary)
    told = len(summary & docs.content_words(f"{asked} {answer}")) / max(len(summary), 1)
    if told < 0.75:
        return "reject", "wrong", f"The row tells {told:.0%} of what the documentation of {entry.name} says."
    wrong = [call for call in re.findall(r"`([\w.]+\([^`]*\))`", answer) if not entry.call.endswith(call)]
    if wrong:
        return "reject", "wrong", f"The documentation has {entry.call}, not {wrong[0]}."
    return _finished(answer)


def by_order(asked: str, answer: str, entry: Entry) -> Verdict:
    """Do the documentation's words come in their order, and does the answer name the thing? The strictest."""
    summary, row = docs.words(entry.summary)[1:], docs.words(f"{asked} {answer}")
    longest = difflib.SequenceMatcher(a=row, b=summary, autojunk=False).find_longest_match().size
    if longest < 0.8 * len(summary):
        return "reject", "wrong", f"At most {longest} of {len(summary)} words follow the documentation of {entry.name}."
    if entry not in docs.named_in(answer):
        called = re.search(re.escape(entry.call), answer)
        if not called:
            return "reject", "wrong", f"The answer does not name {entry.name}."
    arguments = re.findall(rf"{re.escape(entry.short)}\(([^`]*)\)`", answer)
    if any(docs.words(shown) != docs.words(entry.signature) for shown in arguments):
        return "reject", "wrong", f"The arguments are {entry.signature}."
    return _finished(answer)


def _finished(answer: str) -> Verdict:
    if not re.match(r"[`A-Z]", answer) or not answer.endswith((".", "!", "?")) or answer.count("`") % 2:
        return "return", "incomplete", "The answer does not begin and end as a sentence does."
    return "accept", None, ""


REVIEWERS: dict[str, tuple[str, Callable[[str, str, Entry], Verdict]]] = {
    "demo-rosa": ("Rosa, knows the words (demo)", by_vocabulary),
    "demo-remy": ("Remy, checks every call (demo)", by_coverage),
    "demo-rina": ("Rina, reads in order (demo)", by_order),
}


def judge(messages: list[dict[str, str]], *, reviewer: str) -> Verdict:
    """A demo reviewer's decision, reason and note, from the row's words and the installed documentation alone.

    One time in fifty, depending on the row's words and the reviewer, they slip and say the opposite, as people do.
    """
    asked, answer = messages[0]["content"], messages[-1]["content"]
    entry = subject(asked, answer)
    if entry is None:
        verdict: Verdict = ("reject", "off_topic", "It names nothing that the documentation of this Python knows.")
    else:
        verdict = REVIEWERS[reviewer][1](asked, answer, entry)
    if docs.seed("slip", reviewer, asked, answer) % SLIPS_ONE_IN == 0:
        return ("accept", None, "") if verdict[0] != "accept" else ("reject", "wrong", "This looks wrong to me.")
    return verdict


def subject(asked: str, answer: str) -> Entry | None:
    """What a row is about: what the question names, or a member of it that the answer names; None if nothing is known."""
    owners = set(re.findall(r"`([\w.]+)`", asked))
    members = [entry for entry in docs.named_in(answer) if entry.name.rpartition(".")[0] in owners]
    named = docs.named_in(asked)
    return next(iter([*members, *named]), None)
