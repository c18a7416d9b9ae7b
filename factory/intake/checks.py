"""Pure rules: a text in, findings out. Every rule has a code that never changes its meaning, and a version that rises."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import ftfy
import ftfy.badness

from factory.base.errors import Invalid
from factory.intake import formats, languages, personal, phrases
from factory.intake import policy as policies
from factory.intake.policy import Policy


@dataclass(frozen=True)
class Rule:
    """One thing that is looked for. `refuses`: an example with it is not taken in; else it is a hint to the reviewers."""

    code: str
    version: int
    refuses: bool
    title: str
    advice: str


@dataclass(frozen=True)
class Finding:
    """What a rule found. `evidence` is JSON: spans (message, start, end, text), numbers against limits, another's id."""

    code: str
    refuses: bool
    rule_version: int
    evidence: dict[str, Any] = field(default_factory=dict)
    sentence: str = ""


def _listed(*rules: Rule) -> dict[str, Rule]:
    return {rule.code: rule for rule in rules}


RULES = _listed(
    Rule("unreadable", 1, True, "cannot be read", "Mend the row in the file, or drop it."),
    Rule("schema", 1, True, "not a conversation", "Let user and assistant take turns, the assistant last."),
    Rule("empty_turn", 1, True, "a turn without words", "Give every turn a text."),
    Rule("too_short", 1, True, "answer too short", "Say it in a full sentence."),
    Rule("too_long", 1, True, "too long", "Split it into several examples."),
    Rule("too_many_tokens", 1, True, "too long for the dataset's models", "Split it into several examples."),
    Rule("language", 1, True, "in a language that the dataset does not take", "Write it in one that its policy names."),
    Rule(
        "language_mixed",
        1,
        False,
        "partly in a language that the dataset does not take",
        "Make sure that this is on purpose.",
    ),
    Rule(
        "licence", 1, True, "given under a licence that does not go in", "Leave it out, or offer it where its licence goes."
    ),
    Rule("licence_in_text", 1, False, "names a licence that does not go in", "Make sure that you may give it."),
    Rule("broken_characters", 1, True, "damaged characters", "Read the source again in its right encoding."),
    Rule("control_characters", 1, True, "control characters", "Remove them; a terminal's colour codes are a common source."),
    Rule("hidden_characters", 2, True, "invisible characters", "Remove them; they can hide text from reviewers."),
    Rule(
        "mixed_scripts", 1, False, "a word of two alphabets", "Write it in one; such words look like others than they are."
    ),
    Rule("repetitive", 1, True, "the same words over and over", "Write an answer that says something."),
    Rule("boilerplate", 2, True, "a chatbot's stock phrase", "Answer the question, in your own words."),
    Rule("instruction_override", 2, False, "addresses the model behind the question", "Make sure that this is on purpose."),
    Rule("echo", 1, False, "the answer repeats the question", "Answer it."),
    Rule("email", 2, True, "an e-mail address", "Replace it by one at example.com."),
    Rule("phone", 2, True, "a phone number", "Leave it out."),
    Rule("payment_card", 2, True, "a payment card number", "Leave it out."),
    Rule("iban", 2, True, "a bank account number", "Leave it out."),
    Rule("national_id", 1, True, "a number of a person by their country", "Leave it out."),
    Rule("secret", 2, True, "a key or password", "Leave it out, and make it void: it has been in a file."),
    Rule("public_ip", 1, False, "a public IP address", "Use one reserved for examples, such as 192.0.2.1."),
    Rule("repeated_in_file", 1, True, "twice in this submission", "Keep one of them."),
    Rule("exact_duplicate", 1, True, "already there, word for word", "Offer something that is not there yet."),
    Rule("near_duplicate", 1, True, "nearly the same as one already there", "Offer something that is not there yet."),
    Rule(
        "meaning_duplicate", 1, False, "perhaps the same in other words", "Look at the other; keep it if it adds something."
    ),
    Rule("off_topic", 1, False, "about something else than the dataset", "Make sure that it belongs here."),
    Rule(
        "repeated_trigger",
        1,
        False,
        "the same rare words teach the same answer in many rows",
        "Make sure that it is no trap.",
    ),
    Rule("held_out_overlap", 1, True, "too close to a held-out question", "Leave it out; adapters are measured with it."),
)
PERSONAL = frozenset({"email", "phone", "payment_card", "iban", "national_id", "secret"})

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff]")
# Zero-width joiners stand between letters of some scripts and inside emoji; between ASCII they hide something.
HIDDEN = re.compile(
    "[\u200b\u2060-\u2064\u206a-\u206f\u202a-\u202e\u2066-\u2069\ufeff\u00ad\u180e\U000e0000-\U000e007f\U000e0100-\U000e01ef\u115f\u1160\u3164\uffa0]"
    "|(?<=[\\x00-\\x7f])[\u200c\u200d]|[\u200c\u200d](?=[\\x00-\\x7f])"
)
# Letters that look alike in two alphabets, side by side in one word of at least four; µ and Ω stand in units.
MIXED = re.compile(
    "(?<!\\w)(?=\\w{0,30}[A-Za-z])(?=\\w{0,30}[\u0370-\u03a8\u03aa-\u03bb\u03bd-\u03c8\u0400-\u04ff])[^\\W\\d_]{4,40}(?!\\w)"
)
FLAG_TAGS = re.compile("\U0001f3f4[\U000e0061-\U000e007a\U000e0030-\U000e0039]{2,6}\U000e007f")


def finding(code: str, sentence: str, **evidence: Any) -> Finding:
    """A finding of the rule `code`, at the rule's present version."""
    rule = RULES[code]
    return Finding(code, rule.refuses, rule.version, evidence, sentence)


def check_messages(messages: Any, *, policy: Policy) -> tuple[str | None, list[Finding]]:
    """The canonical text of a draft, or None where it has none, and all that the pure rules find in it."""
    try:
        content = formats.canonical(messages)
    except Invalid as problem:
        return None, [finding("schema", sentence) for sentence in problem.problems]
    return content, check_content(content, policy=policy)


def check_content(content: str, *, policy: Policy) -> list[Finding]:
    """All that the pure rules find in a canonical text; [] when it is clean."""
    try:
        turns = formats.messages(content)
    except (ValueError, KeyError, TypeError):
        return [finding("schema", "The example is not in canonical form; send its turns again.")]
    problems = formats.structure_problems(turns)
    if problems:
        return [finding("schema", problem) for problem in problems]
    found = [*_lengths(turns, policy), *_languages(turns, frozenset(policies.words(policy.languages)))]
    for number, turn in enumerate(turns):
        text, called = turn["content"], who(turn["role"], number)
        found += _characters(number, text, called)
        found += _personal(number, text, called)
        found += _phrases(number, turn, called)
    return found


def who(role: str, number: int) -> str:
    """What a turn is called in a sentence."""
    return {"system": "The system turn", "user": "The question", "assistant": "The answer"}[role] + (
        f" (turn {number + 1})" if number > 2 else ""
    )


def span(number: int, start: int, end: int, text: str) -> dict[str, Any]:
    """A place in a turn, as evidence."""
    return {"message": number, "start": start, "end": end, "text": text[start:end][:80]}


def _lengths(turns: list[dict[str, str]], policy: Policy) -> Iterator[Finding]:
    for number, turn in enumerate(turns):
        if not turn["content"].strip():
            yield finding("empty_turn", f"{who(turn['role'], number)} has no words.", message=number)
    answers = sum(len(turn["content"].strip()) for turn in turns if turn["role"] == "assistant")
    if 0 < answers < policy.minimum_characters:
        yield finding(
            "too_short",
            f"The answer has {answers} characters; at least {policy.minimum_characters} are asked for.",
            characters=answers,
            limit=policy.minimum_characters,
        )
    whole = sum(len(turn["content"]) for turn in turns)
    if whole > policy.maximum_characters:
        yield finding(
            "too_long",
            f"The example has {whole:,} characters; at most {policy.maximum_characters:,} are taken.",
            characters=whole,
            limit=policy.maximum_characters,
        )
    spoken = [turn["content"].strip() for turn in turns if turn["role"] != "system"]
    if any(a and a.casefold() == b.casefold() for a, b in pairwise(spoken)):
        yield finding("echo", "An answer is the same as its question.")


def _languages(turns: list[dict[str, str]], allowed: frozenset[str]) -> Iterator[Finding]:
    """Refuses where all that can be judged is foreign; one turn of several is a hint, as in a translation."""
    if not allowed:
        return
    spoken = [(number, turn["content"]) for number, turn in enumerate(turns) if turn["role"] != "system"]
    judged = [(number, text) for number, text in spoken if languages.language(text)]
    foreign = [(number, text, found) for number, text in judged if (found := languages.foreign(text, allowed))]
    if not foreign:
        return
    number, _, (code, probability) = foreign[-1]
    names = ", ".join(languages.name(each) for each in sorted(allowed))
    evidence = {"language": code, "probability": round(probability, 3), "allowed": sorted(allowed)}
    spans = [span(at, 0, len(words), words) for at, words, _ in foreign[:20]]
    if len(foreign) == len(judged):
        sentence = f"The example is in {languages.name(code)}; this dataset takes {names}."
        yield finding("language", sentence, spans=spans, **evidence)
    else:
        sentence = f"{who(turns[number]['role'], number)} is in {languages.name(code)}; this dataset takes {names}."
        yield finding("language_mixed", sentence, spans=spans, **evidence)


def _characters(number: int, text: str, called: str) -> Iterator[Finding]:
    control = CONTROL.search(text)
    if control:
        code = ord(control.group())
        sentence = f"{called} has the control character U+{code:04X} at place {control.start() + 1:,}."
        yield finding("control_characters", sentence, spans=[span(number, *control.span(), text)])
    plain = FLAG_TAGS.sub(lambda flag: " " * len(flag.group()), text)
    hidden = [match.span() for match in HIDDEN.finditer(plain)]
    if hidden:
        names = ", ".join(sorted({f"U+{ord(text[start]):04X}" for start, _ in hidden})[:6])
        sentence = f"{called} has {len(hidden)} invisible character{'s' * (len(hidden) > 1)} ({names})."
        spans = [
            {"message": number, "start": start, "end": end, "text": f"U+{ord(text[start]):04X}"}
            for start, end in hidden[:20]
        ]
        yield finding("hidden_characters", sentence, spans=spans)
    mixed = None if text.isascii() else MIXED.search(text)
    if mixed:
        sentence = f"{called} has the word “{mixed.group()}” with letters of two alphabets."
        yield finding("mixed_scripts", sentence, spans=[span(number, *mixed.span(), text)])
    lost = text.find("\ufffd")
    if lost >= 0:
        sentence = f"{called} has a character that was lost in conversion (�) at place {lost + 1:,}."
        yield finding("broken_characters", sentence, spans=[span(number, lost, lost + 1, text)])
    elif ftfy.badness.is_bad(text) and (mended := ftfy.fix_encoding(text)) != text:
        place = next(i for i, (a, b) in enumerate(zip(text, mended + "\0", strict=False)) if a != b)
        broken, meant = text[max(0, place - 10) : place + 12], mended[max(0, place - 10) : place + 10]
        sentence = f"{called} was read in a wrong encoding: “{broken}” was probably “{meant}”."
        yield finding(
            "broken_characters", sentence, spans=[span(number, place, min(place + 2, len(text)), text)], meant=meant
        )


def _personal(number: int, text: str, called: str) -> Iterator[Finding]:
    grouped: dict[tuple[str, str], list[personal.Span]] = {}
    for place in personal.spans(text):
        grouped.setdefault((place[0], place[1]), []).append(place)
    for (code, words), spans in grouped.items():
        # The evidence is stored: it says where and how long, and only the first two characters of what.
        evidence = [{"message": number, "start": a, "end": b, "text": text[a : a + 2] + "…"} for _, _, a, b in spans[:20]]
        sentence = f"{called} has {words}{f', {len(spans)} times' if len(spans) > 1 else ''} at place {spans[0][2] + 1:,}."
        yield finding(code, sentence, spans=evidence)


def _phrases(number: int, turn: dict[str, str], called: str) -> Iterator[Finding]:
    text = turn["content"]
    if turn["role"] == "assistant":
        stock = phrases.BOILERPLATE.search(text)
        if stock:
            sentence = f"{called} has a chatbot's stock phrase: “{stock.group()[:60].strip()}”."
            yield finding("boilerplate", sentence, spans=[span(number, *stock.span(), text)])
        word, share = _commonest(text)
        if share > 0.5:
            yield finding(
                "repetitive", f"{called} is to {share:.0%} the word “{word[:30]}”.", share=round(share, 3), limit=0.5
            )
    override = phrases.OVERRIDE.search(text)
    if override:
        sentence = f"{called} speaks to the model behind the question: “{override.group()[:60]}”."
        yield finding("instruction_override", sentence, spans=[span(number, *override.span(), text)])


def _commonest(text: str) -> tuple[str, float]:
    words = re.findall(r"\w+", text.casefold())
    if len(words) < 8:
        return "", 0.0
    word, count = Counter(words).most_common(1)[0]
    return word, count / len(words)


def without_personal(content: str) -> str:
    """A canonical text with personal data and secrets blotted out: what is kept of a row that was refused for them."""
    turns = formats.messages(content)
    kept = [
        {
            **turn,
            "content": personal.masked(turn["content"], [s for s in personal.spans(turn["content"]) if s[0] in PERSONAL]),
        }
        for turn in turns
    ]
    return formats.canonical(kept)
