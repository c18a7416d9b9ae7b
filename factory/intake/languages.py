"""Which language a text is in, where there is enough prose to say so; code, formulas and short answers are in none.

py3langid decides (naive Bayes over byte n-grams, 5 MB in its wheel, half a millisecond for a long answer). lingua was tried
beside it: 96 MB, as right on a sentence and many times slower; docs/decisions/0020 has both figures.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|\$\$.*?\$\$|https?://\S+|<<[^>]*>>|</?\w[^>\n]{0,200}>", re.DOTALL)
LETTERS = re.compile(r"[^\W\d_]")
# Scripts in which a few characters say as much as a line of Latin letters; vowel signs count as well.
DENSE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f\u0900-\u0dff]")
SYMBOLS = re.compile(r"[={}<>|;\\/#$%^&*+\[\]_~@]|\d")
FEWEST_LETTERS, FEWEST_DENSE, FEWEST_WORDS = 40, 12, 6
READ = 800  # of a longer text so many characters are read
POSSIBLE = 0.01
# What is told apart from each other only with care, and is no reason to refuse anybody's row. "zxx" is no language at all.
KIN = (
    {"hr", "sr", "bs", "sh"}, {"id", "ms"}, {"no", "nb", "nn", "da"}, {"cs", "sk"}, {"pt", "gl"}, {"es", "gl", "an", "ast"},
    {"nl", "af"}, {"en", "pcm", "sco"}, {"zh", "yue", "wuu"}, {"de", "lb", "nds", "bar"}, {"fa", "prs"}, {"hi", "mr", "ne"},
    {"tr", "az"}, {"ru", "uk", "be"},
)  # fmt: skip
NAMES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian",
    "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip


def prose(text: str) -> str:
    """A text without code, formulas and addresses: the lines in which letters prevail.

    >>> prose("Run this:\\n```sh\\nls -a\\n```\\nx = (a + b) / 2\\nand look.")
    'Run this:\\nand look.'
    """
    lines = CODE.sub(" ", text).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip() and len(SYMBOLS.findall(line)) * 8 <= len(line.strip()))


def enough(text: str) -> bool:
    """Whether there is prose enough in a text to say which language it is in."""
    if len(DENSE.findall(text)) >= FEWEST_DENSE:
        return True
    return len(LETTERS.findall(text)) >= FEWEST_LETTERS and len(text.split()) >= FEWEST_WORDS


def language(text: str) -> tuple[str, float] | None:
    """The language of a text (an ISO 639 code) and how probable it is, or None where there is too little prose.

    >>> language("Der Zug an die Küste fährt zweimal am Tag, im Sommer ist er voll.")[0], language("x = 1")
    ('de', None)
    """
    ranked = _ranked(text)
    return ranked[0] if ranked else None


def foreign(text: str, allowed: frozenset[str]) -> tuple[str, float] | None:
    """The language of a text and its probability, where it is surely none of `allowed` nor near kin; or None."""
    ranked = _ranked(text) if allowed else []
    if not ranked or ranked[0][0] == "zxx":
        return None
    near = allowed.union(*(kin for kin in KIN if kin & allowed))
    return None if sum(probability for code, probability in ranked if code in near) >= POSSIBLE else ranked[0]


def _ranked(text: str) -> list[tuple[str, float]]:
    plain = prose(text[: 4 * READ])[:READ]
    return [(str(code), float(p)) for code, p in _identifier().rank(plain)] if enough(plain) else []


def name(code: str) -> str:
    """What a language is called in English, or its code."""
    return NAMES.get(code, code)


@cache
def _identifier() -> Any:
    from py3langid import langid

    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
