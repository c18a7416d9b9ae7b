"""Numbers by which countries know their people, told by their form, their check digits and, where these are weak, a label.

The rules of each country are python-stdnum's; here stand only the shape that is looked for and the words around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

# Told by their form alone: words for what it is, the shape, the module of stdnum that checks it ("" when the shape is all).
BY_FORM = (
    ("a US social security number", re.compile(r"(?<![\w.-])(?!123-45-6789)\d{3}-\d{2}-\d{4}(?![\w-]|\.\d)"), "us.ssn"),
    ("a UK national insurance number",
     re.compile(r"\b(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b"), ""),
    ("a French social security number",
     # not amid other numbers: one of a hundred rows of numbers would have its check digits right
     re.compile(
         r"(?<![\w.])(?<!\d[ ,])[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}(?!\w|[ .,]\d)"
     ),
     "fr.nir"),
    ("a Spanish identity number", re.compile(r"(?<![\w.-])\d{8}-?[A-HJ-NP-TV-Z](?![\w-])"), "es.dni"),
    ("a Spanish identity number", re.compile(r"(?<![\w.-])[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z](?![\w-])"), "es.nie"),
    ("an Italian tax code", re.compile(r"\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b"), "it.codicefiscale"),
    ("a Brazilian tax number", re.compile(r"(?<![\w.-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\w-])"), "br.cpf"),
    ("a Swiss insurance number", re.compile(r"(?<![\w.])756\.\d{4}\.\d{4}\.\d{2}(?![\w.]\d)"), "ch.ssn"),
    ("a Mexican population code", re.compile(r"\b[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d\b"), "mx.curp"),
    ("a Finnish identity code", re.compile(r"(?<![\w.-])\d{6}[-+A]\d{3}[0-9A-Y](?![\w-])"), "fi.hetu"),
    ("a Chinese identity number",
     re.compile(r"(?<![\w.])[1-8]\d{5}(?:19|20)\d{2}[01]\d[0-3]\d{4}[\dX](?![\w]|\.\d)"), "cn.ric"),
)  # fmt: skip
# Told by a word in front of them, because their check digits alone would take one number of ten for one.
BY_LABEL = (
    ("an Indian identity number", r"aadh?aar", "in_.aadhaar"),
    ("an Indian tax number", r"PAN(?: card| number| no\.?)", "in_.pan"),
    ("a German tax number", r"steuer-?id(?:entifikationsnummer|entnummer|nr\.?)?|id-?nr\.?", "de.idnr"),
    ("a Dutch citizen number", r"bsn|burgerservicenummer|sofi-?nummer", "nl.bsn"),
    ("a Polish identity number", r"pesel", "pl.pesel"),
    ("a Brazilian tax number", r"cpf", "br.cpf"),
    ("a Swedish identity number", r"person-?n(?:umme)?r|swedish id", "se.personnummer"),
    ("a Canadian insurance number", r"sin|social insurance(?: number| no\.?)?", "ca.sin"),
    ("an Australian tax number", r"tfn|tax file number", "au.tfn"),
    ("a Danish identity number", r"cpr", "dk.cpr"),
    ("a Norwegian identity number", r"f[øo]dselsnummer|personnummer", "no.fodselsnummer"),
    ("a Belgian register number", r"rijksregisternummer|num[ée]ro national|national register number", "be.nn"),
    ("a South African identity number", r"(?:sa|south african) id(?: number)?", "za.idnr"),
    ("a Turkish identity number", r"t\.?c\.? kimlik(?: no)?", "tr.tckimlik"),
    ("a Korean resident number", r"rrn|resident registration(?: number)?", "kr.rrn"),
    ("a UK patient number", r"nhs(?: number| no\.?)", "gb.nhs"),
    ("a US social security number", r"ssn|social security(?: number| no\.?)?", "us.ssn"),
)
_AFTER = (
    r")\b[^\w\n+]{0,3}(?:is|was|number|no\.?|nr\.?|:|#)?[^\w\n+]{0,3}(?:is )?(?P<number>[A-Z0-9](?:[ ./-]?[A-Z0-9]){6,19})\b"
)
LABEL = re.compile(
    r"\b(?:" + "|".join(f"(?P<l{n}>{label})" for n, (_, label, _) in enumerate(BY_LABEL)) + _AFTER, re.IGNORECASE
)
NUMBER = re.compile(r"\d(?:[ ./-]?\d){5}|[A-Z]{4}\d\d|[A-Z]{5}\d")  # without one of these there is none
MADE_UP = frozenset({"123456789", "987654321", "078051120", "219099999", "457555462", "1234567890", "111111111"})


def spans(text: str) -> Iterator[tuple[str, int, int]]:
    """Every national number in `text`: (what it is in words, start, end).

    >>> list(spans("SSN 536-22-8741, CPF 529.982.247-25"))
    [('a US social security number', 4, 15), ('a Brazilian tax number', 21, 35)]
    """
    if not NUMBER.search(text):
        return
    seen = set()
    for words, shape, module in BY_FORM:
        for match in shape.finditer(text):
            if _valid(module, match.group()):
                seen.add(match.start())
                yield words, match.start(), match.end()
    for match in LABEL.finditer(text):
        number = next(int(name[1:]) for name, value in match.groupdict().items() if name[0] == "l" and value)
        words, _, module = BY_LABEL[number]
        end = _longest(module, match["number"])
        if end and match.start("number") not in seen:
            yield words, match.start("number"), match.start("number") + end


def _longest(module: str, candidate: str) -> int:
    """How far from its start a candidate is such a number: the words after it may hang on to it; 0 when it is none."""
    ends = [place for place in range(len(candidate), 6, -1) if candidate[place - 1].isalnum()]
    return next((end for end in ends if _valid(module, candidate[:end])), 0)


def _valid(module: str, number: str) -> bool:
    plain = re.sub(r"\W", "", number)
    return plain not in MADE_UP and len(set(plain)) > 2 and (not module or bool(_checker(module).is_valid(number)))


@cache
def _checker(module: str) -> Any:
    return import_module(f"stdnum.{module}")
