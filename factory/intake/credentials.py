"""Keys, tokens and passwords in a text: those that a kept list of providers knows, and those that stand under their name.

Providers' own forms come from Kingfisher's rules (hundreds of them; some microseconds a row, nothing is sent anywhere);
the patterns here add what its rules leave to a file's name or to a nearby word, which an example does not have.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

FORMS = (
    (
        "a private key",
        re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:[\s\S]{0,8000}?-----END [A-Z0-9 ]*-----)?"),
    ),
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b")),
    ("a GitLab token", re.compile(r"\bglpat-[\w-]{20,}")),
    ("a Slack token", re.compile(r"\bxox[abeoprs]-[\w-]{10,}|\bhooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{16,}")),
    ("a Google API key", re.compile(r"\bAIza[\w-]{35}(?![\w-])|\bGOCSPX-[\w-]{28}(?![\w-])")),
    ("a Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{30,}\b")),
    ("an API key", re.compile(r"\b(?:sk|pk|rk)[-_](?:live|test|ant|proj|or|svcacct)[-_][\w-]{16,}|\bsk-[A-Za-z0-9]{32,}\b")),
    ("a Telegram bot's token", re.compile(r"(?<![\w:])\d{8,10}:AA[\w-]{33}(?![\w-])")),
    ("an API key", re.compile(r"\b(?:dapi|SK|AC)[0-9a-f]{32}(?:-\d)?\b|\b[0-9a-f]{32}-us\d{1,2}\b|\bdop_v1_[0-9a-f]{64}\b")),
    ("an account's key", re.compile(r"\bAccountKey=[A-Za-z0-9+/]{86}==")),
    ("a signed token", re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}")),
    ("a bearer token", re.compile(r"\bBearer\s+(?=[\w.~+/-]*\d)([\w.~+/-]{24,}=*)")),
    (
        "a password in a URL",
        re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s:/@]{1,64}:(?!password@|pass@|secret@)[^\s:/@<>$%{}*]{6,64}@[\w.-]+"),
    ),
)
NAMED = re.compile(
    r"(?<![A-Za-z])(?:[A-Za-z0-9]{1,20}[_.-]){0,3}(?:(?P<pass>pass(?:word|wd|phrase)|passwd|pwd)"
    r"|(?:api|secret|access|auth|client|private|signing|encryption|account|service)[_-]?(?:access[_-]?)?(?:key|token|secret)"
    r"|(?:secret|token))(?![A-Za-z0-9_-])[\"']?\s{0,3}(?:=>|:=|=|:)\s{0,3}"
    r"(?:(?P<quote>[\"'`])(?P<quoted>[^\"'`\n]{8,200})(?P=quote)|(?P<bare>[^\s\"'`;,<>(){}\[\]$]{8,200}))",
    re.IGNORECASE,
)
PLACEHOLDER = re.compile(
    r"example|your|change|placeholder|dummy|sample|redact|insert|replace|x{4}|\*{3}|\.{3}|<|>|\$\{|\{\{|%\(|todo|foo|bar"
    r"|12345|abcdef|p[a@4][s$5]{2}w?[o0]?r?d|secret|token|(?:^|_)key|env|config|settings|test",
    re.IGNORECASE,
)
REFERENCE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+$|[a-z_]+$|[A-Z_]+$|[A-Za-z]+$|https?://|[/~.]")
CUES = ("key", "KEY", "Key", "ecret", "ECRET", "oken", "OKEN", "pass", "PASS", "Pass", "pwd", "PWD", "Pwd")
LONG_WORD = re.compile(r"[\w-]{15}|://|-----BEGIN ")  # without one of these none of FORMS is there
SHORTEST_TOKEN, TOKEN_BITS = 20, 3.0


def spans(text: str) -> Iterator[tuple[str, int, int]]:
    """Every secret in `text`: (what it is in words, start, end); some may overlap.

    >>> list(spans('api_key = "8fK2mQ0zLw7RtYx4VbN1"')), list(spans('api_key = "YOUR-KEY-GOES-HERE"'))
    ([('a value of a secret', 11, 31)], [])
    """
    for words, pattern in FORMS if LONG_WORD.search(text) else ():
        for match in pattern.finditer(text):
            # Placeholders such as sk-xxxxxxxx… are how documentation writes about keys.
            if len(set(match.group()[4:])) > 6 and not match.group().endswith("EXAMPLE"):
                yield words, match.start(), match.end()
    if ("=" in text or ":" in text) and any(cue in text for cue in CUES):
        yield from _named(text)
    yield from _of_providers(text)


def _named(text: str) -> Iterator[tuple[str, int, int]]:
    for match in NAMED.finditer(text):
        group = "quoted" if match["quoted"] else "bare"
        value = match[group]
        if PLACEHOLDER.search(value) or (group == "bare" and REFERENCE.match(value)):
            continue
        if match["pass"] and " " not in value and _kinds(value) >= 3:
            yield "a password", match.start(group), match.end(group)
        elif not match["pass"] and _drawn(value):
            yield "a value of a secret", match.start(group), match.end(group)


def _kinds(value: str) -> int:
    """Of small letters, capitals, digits and others, how many kinds there are."""
    kinds = [str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum()]
    return sum(any(kind(character) for character in value) for kind in kinds)


def _drawn(value: str) -> bool:
    """Whether a value looks drawn by chance: long, of letters and digits, with many different ones."""
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value) and " " not in value
    return mixed and len(value) >= SHORTEST_TOKEN and entropy(value) >= TOKEN_BITS


def entropy(value: str) -> float:
    """Shannon's entropy of a text's characters, in bits a character.

    >>> entropy("aaaa"), entropy("abcd")
    (0.0, 2.0)
    """
    counts = Counter(value).values()
    return sum(count / len(value) * math.log2(len(value) / count) for count in counts)


@cache
def _scanner() -> Any:
    from kingfisher_sdk import Scanner

    return Scanner()


def _of_providers(text: str) -> Iterator[tuple[str, int, int]]:
    raw = text.encode()
    for found in _scanner().scan(raw):
        start, end = (len(raw[: found.location[edge]].decode()) for edge in ("start_offset", "end_offset"))
        stands_for_one = len(set(text[start:end])) < 7 or (
            end - start < SHORTEST_TOKEN and PLACEHOLDER.search(text[start:end])
        )
        if found.visible and not found.is_base64_encoded and not stands_for_one:
            yield "a key or token", start, end
