"""Personal data and secrets in a text, found by their form and, where there is one, by their check digit.

Only what can be told with confidence: an address under a domain reserved for examples is not personal, a phone number
counts with its country code or a word that says what it is, a card number when its digits add up. Numbers that are
reserved for examples, drama and tests are nobody's. Why no ready-made detector: docs/decisions/0020.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from factory.intake import credentials, national

EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9_][\w.+-]{0,63}@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24})\b"
)
RESERVED_DOMAIN = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|org|net|edu))?|test|invalid|localhost|local)$", re.IGNORECASE)
_PROVIDER = (
    r"(?:gmail|googlemail|outlook|hotmail|yahoo|icloud|proton(?:mail)?|aol|gmx|web|live|mail|yandex|orange|free|qq|163)"
)
_ENDING = (
    r"(?:com|org|net|edu|gov|io|de|fr|es|it|nl|ru|ch|at|be|se|no|pl|eu|in|jp|cn|br|au|ca|me|dev|ai"
    r"|(?:(?:co|ac|org)\s?(?:\.|dot)\s?)?uk)"
)
_DOT = r"(?:\s?[\[({<]\s?dot\s?[\])}>]\s?|\.)"
_HOST = rf"[A-Za-z0-9-]{{2,40}}{_DOT}(?:[A-Za-z0-9-]{{2,40}}{_DOT}){{0,3}}[A-Za-z]{{2,24}}\b"
# Addresses that were made unreadable for machines: the sign in brackets, as an entity, with spaces, or as a word.
DISGUISE = re.compile(r"@\s|\s@|[\[({<]\s?(?:at|AT|At|@)\b|&#|&commat| dot | DOT ")
HIDDEN_EMAIL = (
    re.compile(
        r"(?<![\w.+-])[A-Za-z0-9_][\w.+-]{0,63}\s?(?:[\[({<]\s?(?:at|@)\s?[\])}>]|&#(?:64|x40);|&commat;)\s?" + f"({_HOST})",
        re.IGNORECASE,
    ),
    re.compile(
        rf"(?<![\w.+-])(?:[a-z0-9]+[._+][\w.+-]{{1,60}}|[a-z]+\d+)\s?@\s?((?:[A-Za-z0-9-]{{2,40}}\.){{1,3}}{_ENDING})\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"(?<![\w.+-])(?:[\w+-]+(?:[._+]| dot )[\w.+-]{{1,60}}|[a-z]+\d+|\w{{2,40}}(?= at {_PROVIDER} dot )) at"
        rf" ((?:[a-z0-9-]{{2,40}} dot ){{1,3}}{_ENDING})\b",
        re.IGNORECASE,
    ),
)
# By the issuers' first digits, in one run or in the groups in which cards print them.
CARD = re.compile(
    r"(?<![\w.,-])(?<!\d{4}[ -])(?:"
    r"(?=4|5[1-5]|2[2-7]|35[2-8]|6(?:011|2|4[4-9]|5))(?:\d{16}|\d{4}([ -])\d{4}\1\d{4}\1\d{4})"
    r"|3[47]\d{2}([ -]?)\d{6}\2\d{5}|3(?:0[0-5]|[689]\d)\d([ -]?)\d{6}\3\d{4})(?![\w-]|[.,]\d|[ -]\d{4}\b)"
)
# The numbers that payment providers publish for tests.
NUMBERS = re.compile(r"\d[\dA-Z ()./-]{5}")
TEST_CARDS = frozenset(
    [
        "4111111111111111",
        "4242424242424242",
        "4012888888881881",
        "4000056655665556",
        "5555555555554444",
        "2223003122003222",
        "5200828282828210",
        "5105105105105100",
        "378282246310005",
        "371449635398431",
        "6011111111111117",
        "6011000990139424",
        "3056930009020004",
        "36227206271667",
        "38520000023237",
        "30569309025904",
        "3566002020360505",
        "3530111333300000",
        "6200000000000005",
        "4000000000000002",
    ]
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
# What was found: a code of checks.RULES, what it is in words, and the span in the text.
Span = tuple[str, str, int, int]


def spans(text: str) -> list[Span]:
    """Everything personal or secret in `text`: (code, words, start, end), in order.

    >>> spans("write to ada@lovelace.org, not to ada@example.com")
    [('email', 'an e-mail address', 9, 25)]
    """
    found = [*_secrets(text), *_emails(text)]
    if NUMBERS.search(text):
        found += [*_cards(text), *_ibans(text), *_addresses(text), *_national(text), *_phones(text)]
    kept: list[Span] = []
    for span in sorted(found, key=lambda s: (s[2], -s[3])):
        if not kept or span[2] >= kept[-1][3]:
            kept.append(span)
    return kept


def _secrets(text: str) -> Iterator[Span]:
    for words, start, end in credentials.spans(text):
        yield "secret", words, start, end


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        for match in EMAIL.finditer(text):
            if not RESERVED_DOMAIN.search(match.group(1)) and not text.startswith(":", match.end()):  # git@host:path
                yield "email", "an e-mail address", match.start(), match.end()
    if DISGUISE.search(text):
        for pattern in HIDDEN_EMAIL:
            for match in pattern.finditer(text):
                host = re.sub(r"\s*[\[({<]?\s*\bdot\b\s*[\])}>]?\s*", ".", match.group(1), flags=re.IGNORECASE)
                if not RESERVED_DOMAIN.search(host):
                    yield "email", "an e-mail address", match.start(), match.end()


def _cards(text: str) -> Iterator[Span]:
    for match in CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if len(set(digits)) > 2 and digits not in TEST_CARDS and luhn(digits):
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


def _national(text: str) -> Iterator[Span]:
    for words, start, end in national.spans(text):
        yield "national_id", words, start, end


ABROAD = re.compile(r"(?:\+|(?<![\d.,])00)[1-9][\d ()./-]{6,}")
LOCAL = re.compile(
    r"(?:\b(?P<label>(?:tele)?phone|tel|t[ée]l(?:[ée]phone)?|mobile|cell|call|text|ring|fax|whats\s?app|handy|tel[ée]fono?"
    r"|(?:phone |my )number)\b[^\d\n(+]{0,16}|(?=\(\d{3}\)))(?P<number>\(?\d[\d ()./-]{7,20}\d)(?![\d-])",
    re.IGNORECASE,
)
# Kept for examples and drama: 555-01xx in North America, Ofcom's lists in the United Kingdom.
NOBODYS = re.compile(
    r"\+1\d{3}55501\d\d$|\+1\d{3}5551212$|\+44(?:2079460|7700900|1632960|1(?:13|14|15|16|17|18|21|31|41|51|61)4960|8081570|9098790|3069990)\d{3}$"
)
DIALLED = re.compile(r"\d(?:[ ()./-]{0,3}\d){7}")
NEAR = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "NL", "BR", "AU", "PL")


def _phones(text: str) -> Iterator[Span]:
    if not DIALLED.search(text):
        return
    if ABROAD.search(text):
        # 00 is what is dialled for +, and the library reads only the latter; the text keeps its length.
        plain = re.sub(r"(?<![\d.,])00(?=[1-9]\d)", " +", text)
        for match in _library().PhoneNumberMatcher(plain, None, leniency=_library().Leniency.VALID):
            if not NOBODYS.match(_international(match.number)):
                yield "phone", "a phone number", match.start + (plain[match.start] == " "), match.end
    for found in LOCAL.finditer(text):
        if _local(found["number"], labelled=bool(found["label"])):
            yield "phone", "a phone number", found.start("number"), found.end("number")


def _local(number: str, *, labelled: bool) -> bool:
    """Whether a number without a country code is one of North America or, with a label, of any region tried."""
    library = _library()
    for region in NEAR if labelled else NEAR[:1]:
        try:
            parsed = library.parse(number, region)
        except library.NumberParseException:
            return False
        if library.is_valid_number(parsed) and (region == "US" or number.lstrip("(").startswith(("0", "6", "7", "9"))):
            return not NOBODYS.match(_international(parsed))
    return False


def _international(number: Any) -> str:
    return f"+{number.country_code}{number.national_number}"


@cache
def _library() -> Any:
    import phonenumbers

    return phonenumbers


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
    """Whether a text is an account number whose country has that form and whose check digits fit (ISO 13616).

    >>> iban("GB82 WEST 1234 5698 7654 32"), iban("GB83 WEST 1234 5698 7654 32")
    (True, False)
    """
    from stdnum import iban as rule

    return bool(rule.is_valid(text, check_country=False))


def masked(text: str, spans: list[Span]) -> str:
    """The text with every span blotted out, character by character, so that other spans still fit.

    >>> masked("call ada@lovelace.org", [("email", "an e-mail address", 5, 21)])
    'call ████████████████'
    """
    for _, _, start, end in spans:
        text = text[:start] + "█" * (end - start) + text[end:]
    return text
