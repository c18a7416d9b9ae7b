"""Personal data and secrets in a text, found by their form and, where there is one, by their check digit.

Only what can be told with confidence: an address under a domain reserved for examples is not personal, a phone number
counts with its country code and a valid length, a card number when its digits add up.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9_][\w.+-]{0,63}@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24})\b"
)
RESERVED_DOMAIN = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|org|net|edu))?|test|invalid|localhost|local)$", re.IGNORECASE)
# By the issuers' first digits, in one run or in the groups in which cards print them.
CARD = re.compile(
    r"(?<![\d.,-])(?<!\d{4}[ -])(?=4|5[1-5]|2[2-7]|3[0-9]|6)"
    r"(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{4,5})(?![\d-]|[.,]\d|[ -]\d{4}\b)"
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
SECRETS = (
    (
        "a private key",
        re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:[\s\S]{0,8000}?-----END [A-Z0-9 ]*-----)?"),
    ),
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b")),
    ("a GitLab token", re.compile(r"\bglpat-[\w-]{20,}")),
    ("a Slack token", re.compile(r"\bxox[abeoprs]-[\w-]{10,}")),
    ("a Google API key", re.compile(r"\bAIza[\w-]{35}\b")),
    ("a Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{30,}\b")),
    ("an API key", re.compile(r"\b(?:sk|pk|rk)[-_](?:live|test|ant|proj|or|svcacct)[-_][\w-]{16,}|\bsk-[A-Za-z0-9]{32,}\b")),
    ("a signed token", re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}")),
    (
        "a password in a URL",
        re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s:/@]{1,64}:(?!password@|pass@|secret@)[^\s:/@<>$%{}*]{6,64}@[\w.-]+"),
    ),
)

# What was found: a code of checks.RULES, what it is in words, and the span in the text.
Span = tuple[str, str, int, int]


def spans(text: str) -> list[Span]:
    """Everything personal or secret in `text`: (code, words, start, end), in order.

    >>> spans("write to ada@lovelace.org, not to ada@example.com")
    [('email', 'an e-mail address', 9, 25)]
    """
    found = [*_secrets(text), *_emails(text), *_cards(text), *_ibans(text), *_addresses(text), *_phones(text)]
    kept: list[Span] = []
    for span in sorted(found, key=lambda s: (s[2], -s[3])):
        if not kept or span[2] >= kept[-1][3]:
            kept.append(span)
    return kept


def _secrets(text: str) -> Iterator[Span]:
    for words, pattern in SECRETS:
        for match in pattern.finditer(text):
            # Placeholders such as sk-xxxxxxxx… are how documentation writes about keys.
            if len(set(match.group()[4:])) > 6:
                yield "secret", words, match.start(), match.end()


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        for match in EMAIL.finditer(text):
            if not RESERVED_DOMAIN.search(match.group(1)) and not text.startswith(":", match.end()):  # git@host:path
                yield "email", "an e-mail address", match.start(), match.end()


def _cards(text: str) -> Iterator[Span]:
    for match in CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if len(set(digits)) > 2 and luhn(digits):
            yield "payment_card", "a payment card number", match.start(), match.end()


def _ibans(text: str) -> Iterator[Span]:
    for match in IBAN.finditer(text):
        if iban(match.group()):
            yield "iban", "a bank account number (IBAN)", match.start(), match.end()


def _addresses(text: str) -> Iterator[Span]:
    for match in IPV4.finditer(text):
        try:
            address = ipaddress.IPv4Address(match.group())
        except ValueError:
            continue
        if address.is_global and int(address) >> 24 > 9 and not address.is_multicast:  # 1.2.3.4 is a version more often
            yield "public_ip", "a public IP address", match.start(), match.end()


def _phones(text: str) -> Iterator[Span]:
    if not re.search(r"(?:\+|\b00)[1-9][\d ()./-]{6,}", text):
        return
    import phonenumbers

    for match in phonenumbers.PhoneNumberMatcher(text, None, leniency=phonenumbers.Leniency.VALID):
        yield "phone", "a phone number", match.start, match.end


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit that payment cards have.

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * 2 if place % 2 else int(digit)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def iban(text: str) -> bool:
    """Whether a text is an account number whose check digits fit (ISO 13616).

    >>> iban("GB82 WEST 1234 5698 7654 32"), iban("GB83 WEST 1234 5698 7654 32")
    (True, False)
    """
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


def masked(text: str, spans: list[Span]) -> str:
    """The text with every span blotted out, character by character, so that other spans still fit.

    >>> masked("call ada@lovelace.org", [("email", "an e-mail address", 5, 21)])
    'call ████████████████'
    """
    for _, _, start, end in spans:
        text = text[:start] + "█" * (end - start) + text[end:]
    return text
