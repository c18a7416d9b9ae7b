"""Which licence goes into which: SPDX expressions, and a small table of what the licences' own words allow.

| dataset under | takes rows under |
|---|---|
| a public-domain dedication (CC0-1.0, PDDL-1.0, Unlicense, 0BSD, MIT-0) | these |
| MIT, BSD-2-Clause, BSD-3-Clause, ISC | these four and public domain |
| Apache-2.0, PSF-2.0 | itself and all of the above |
| ODC-By-1.0 | itself and public domain |
| CC-BY-4.0 | itself and public domain |
| CC-BY-SA-4.0 | itself, CC-BY-4.0 and public domain |

When in doubt a pair is not here. Of "A OR B" one part has to fit, of "A AND B" both; an exception ("WITH") makes another
licence.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from factory.base.errors import Invalid

PUBLIC_DOMAIN = frozenset({"CC0-1.0", "PDDL-1.0", "Unlicense", "0BSD", "MIT-0"})
PERMISSIVE = PUBLIC_DOMAIN | {"MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC"}
# What a dataset under the key may take in. Only combinations that the licences' own words allow; when in doubt, not here.
TAKES: dict[str, frozenset[str]] = {
    **dict.fromkeys(sorted(PUBLIC_DOMAIN), PUBLIC_DOMAIN),
    **dict.fromkeys(("MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC"), PERMISSIVE),
    "Apache-2.0": PERMISSIVE | {"Apache-2.0"},
    "PSF-2.0": PERMISSIVE | {"PSF-2.0"},
    "ODC-By-1.0": PUBLIC_DOMAIN | {"ODC-By-1.0"},
    "CC-BY-4.0": PUBLIC_DOMAIN | {"CC-BY-4.0"},
    "CC-BY-SA-4.0": PUBLIC_DOMAIN | {"CC-BY-4.0", "CC-BY-SA-4.0"},
}
LONGEST = 200
# How files and pages say under what they are given; what stands behind is read as an expression or as a name.
TAG = re.compile(r"SPDX-License-Identifier:\s*([\w.+() -]{2,120})")
NOTICES = (
    (re.compile(r"\b(?:licen[sc]ed|released|distributed|available) under (?:the terms of )?(?:the )?(?:GNU )?"
                r"(?:A?GPL|LGPL|(?:GNU )?(?:Affero |Lesser )?General Public Licen[sc]e)\b", re.IGNORECASE),
     "GPL-3.0-or-later"),
    (re.compile(r"\bcreativecommons\.org/licenses/by-nc(?:-\w\w)?/|\bCC[ -]BY[ -]NC\b", re.IGNORECASE), "CC-BY-NC-4.0"),
    (re.compile(r"\bcreativecommons\.org/licenses/by-nd/|\bCC[ -]BY[ -]ND\b", re.IGNORECASE), "CC-BY-ND-4.0"),
    (re.compile(r"(?:©|\(c\)|\bcopyright)\s.{0,80}\ball rights reserved\b", re.IGNORECASE), ""),
)  # fmt: skip


def expression(text: str) -> Any:
    """An SPDX expression, read. Raises Invalid with one sentence where it is none.

    >>> str(expression("mit or apache-2.0"))
    'MIT OR Apache-2.0'
    """
    from license_expression import ExpressionError, ExpressionParseError

    try:
        parsed = _spdx().parse(text[:LONGEST], validate=True, strict=True)
    except (ExpressionError, ExpressionParseError) as problem:
        raise Invalid(
            f"{text[:60]!r} is no SPDX licence expression; write an identifier such as CC-BY-4.0 or MIT OR Apache-2.0."
        ) from problem
    if parsed is None:
        raise Invalid("No licence is named; write an SPDX identifier such as CC-BY-4.0.")
    return parsed


def fits(dataset_licence: str, licence: str) -> bool:
    """Whether rows under a licence, an SPDX expression, may go into a dataset under another. Raises Invalid for none.

    >>> fits("Apache-2.0", "GPL-3.0-only OR MIT"), fits("Apache-2.0", "GPL-3.0-only AND MIT")
    (True, False)
    """
    if licence == dataset_licence:
        return True
    taken = TAKES.get(dataset_licence, frozenset()) | {dataset_licence}
    return _fits(expression(licence), taken)


def _fits(part: Any, taken: frozenset[str]) -> bool:
    operator = getattr(part, "operator", "").strip()
    if operator == "OR":
        return any(_fits(each, taken) for each in part.args)
    if operator == "AND":
        return all(_fits(each, taken) for each in part.args)
    return str(part) in taken


def problem(dataset_licence: str, licence: str) -> str | None:
    """Why rows under `licence` cannot go into a dataset under `dataset_licence`, in one sentence, or None.

    >>> problem("CC-BY-4.0", "CC0-1.0")
    >>> problem("CC0-1.0", "CC-BY-4.0")
    'Rows under CC-BY-4.0 cannot go into a dataset under CC0-1.0; it takes 0BSD, CC0-1.0, MIT-0, PDDL-1.0, Unlicense.'
    """
    taken = ", ".join(sorted(TAKES.get(dataset_licence, frozenset()) | {dataset_licence}))
    if not licence.strip():
        return f"Say under which licence you give the rows; this dataset takes {taken}."
    try:
        if fits(dataset_licence, licence.strip()):
            return None
    except Invalid as wrong:
        return f"{wrong} This dataset takes {taken}."
    return f"Rows under {licence[:LONGEST]} cannot go into a dataset under {dataset_licence}; it takes {taken}."


def stated(text: str, dataset_licence: str) -> tuple[str, int, int] | None:
    """A licence that a text itself names and that does not go into the dataset: (its name, start, end), or None.

    >>> stated("# SPDX-License-Identifier: GPL-3.0-only", "CC0-1.0")
    ('GPL-3.0-only', 2, 39)
    >>> stated("# SPDX-License-Identifier: MIT", "Apache-2.0")
    """
    if not any(cue in text for cue in ("SPDX", "icen", "NC", "ND", "eserved", "ESERVED", "reativecommons")):
        return None
    tag = TAG.search(text)
    if tag:
        named = tag.group(1).strip(" -")
        try:
            return None if fits(dataset_licence, named) else (named, tag.start(), tag.start(1) + len(tag.group(1).rstrip()))
        except Invalid:
            return None
    for pattern, meant in NOTICES:
        found = pattern.search(text)
        if found and (not meant or not fits(dataset_licence, meant)):
            return found.group()[:60], found.start(), found.end()
    return None


@cache
def _spdx() -> Any:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()
