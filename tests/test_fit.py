"""Whether rows fit their dataset: languages, licences, tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from factory.base import people
from factory.base.errors import Invalid
from factory.base.settings import ROOT, Settings
from factory.intake import checks, contributions, datasets, fit, formats, languages, licences, token_lengths
from factory.intake.policy import Policy

GERMAN = "Der Zug an die Küste fährt zweimal am Tag, und im Sommer ist er meistens schon vor Mittag voll."
ENGLISH = "The train to the coast leaves twice a day, and in summer it is usually full before noon."
HAS_MODEL = (ROOT / "data/models/smollm2-135m-instruct/tokenizer.json").is_file()


def row(question: str, answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def codes(question: str, answer: str, **rules: Any) -> list[str]:
    return [found.code for found in checks.check_messages(row(question, answer), policy=Policy(**rules))[1]]


@pytest.fixture
def dataset(db: Database) -> dict[str, Any]:
    curator = people.create(db, "curator", roles=("curator", "contributor"))
    made = datasets.create(
        db, owner=curator, slug="trains", title="Trains", purpose="How trains run.", guidelines="Be right.",
        licence="CC-BY-4.0",
    )  # fmt: skip
    return {**datasets.get(db, "trains"), "person": curator, "made": made}


def test_a_row_in_a_language_that_the_dataset_does_not_take_is_refused_and_a_translation_is_a_hint() -> None:
    assert codes(GERMAN, GERMAN + " Ja.", languages="en") == ["language"]
    assert codes(ENGLISH, GERMAN, languages="en") == ["language_mixed"]
    assert codes(ENGLISH, GERMAN, languages="en, de") == []
    assert codes(GERMAN, GERMAN + " Ja.") == [], "a dataset that names none takes all"


@pytest.mark.parametrize(
    "answer", ["x = (-b + sqrt(b*b - 4*a*c)) / (2*a)", "```sql\nSELECT name FROM t\n```", "Berlin, 1871."]
)
def test_code_formulas_and_a_few_words_are_in_no_language(answer: str) -> None:
    assert languages.language(answer) is None
    assert codes(answer, answer + " 1", languages="ja", minimum_characters=1) == []


def test_the_span_of_a_foreign_turn_is_shown() -> None:
    _, found = checks.check_messages(row(ENGLISH, GERMAN), policy=Policy(languages="en"))
    assert found[0].evidence["spans"] == [{"message": 1, "start": 0, "end": len(GERMAN), "text": GERMAN[:80]}]
    assert "German" in found[0].sentence


@pytest.mark.parametrize(
    ("dataset_licence", "licence", "goes"),
    [
        ("CC-BY-4.0", "CC0-1.0", True),
        ("CC-BY-4.0", "cc-by-4.0", True),
        ("CC-BY-4.0", "CC-BY-SA-4.0", False),
        ("CC-BY-SA-4.0", "CC-BY-4.0", True),
        ("CC0-1.0", "CC-BY-4.0", False),
        ("Apache-2.0", "MIT AND BSD-3-Clause", True),
        ("Apache-2.0", "MIT AND GPL-3.0-only", False),
        ("Apache-2.0", "GPL-3.0-only OR MIT", True),
        ("MIT", "Apache-2.0", False),
        ("Apache-2.0", "Apache-2.0 WITH LLVM-exception", False),
    ],
)
def test_a_licence_goes_where_its_words_let_it(dataset_licence: str, licence: str, goes: bool) -> None:
    assert licences.fits(dataset_licence, licence) is goes
    assert (licences.problem(dataset_licence, licence) is None) is goes


def test_what_is_no_licence_says_how_to_write_one() -> None:
    for text in ("free for all", "GPL-9", "", "((("):
        assert "CC-BY-4.0" in (licences.problem("CC-BY-4.0", text) or "")
    with pytest.raises(Invalid, match="no SPDX"):
        licences.expression("all yours")


def test_every_licence_takes_itself_and_what_it_takes_takes_no_more_than_it() -> None:
    for mine, taken in licences.TAKES.items():
        assert mine in taken
        assert str(licences.expression(mine)) == mine
        for other in taken:
            assert licences.TAKES[other] <= taken


def test_the_licence_that_a_row_names_decides_whether_it_goes_in(db: Database, dataset: Any, settings: Settings) -> None:
    data = "".join(
        json.dumps({"question": f"Train {n}?", "answer": f"{ENGLISH} Number {n} of {under}.", "license": under}) + "\n"
        for n, under in enumerate(["CC0-1.0", "CC-BY-NC-4.0", "whatever"])
    )
    reading = formats.read(data.encode(), name="rows.jsonl", settings=settings)
    assert "left out" not in reading.note
    judged = contributions.preflight(db, dataset["id"], person=dataset["person"], rows=reading.rows)
    assert [[f.code for f in row.findings if f.refuses] for row in judged] == [[], ["licence"], ["licence"]]
    assert "CC-BY-NC-4.0" in judged[1].findings[0].sentence


def test_a_licence_named_in_a_text_is_a_hint_with_its_place(db: Database, dataset: Any) -> None:
    answer = "Put this on top:\n# SPDX-License-Identifier: GPL-3.0-only\nprint('trains')"
    content = formats.canonical(row("How?", answer))
    (found,) = fit.findings(db, dataset["id"], [content], Policy())[0]
    assert (found.code, found.refuses) == ("licence_in_text", False)
    span = found.evidence["spans"][0]
    assert answer[span["start"] : span["end"]] == "SPDX-License-Identifier: GPL-3.0-only"
    assert fit.findings(db, dataset["id"], [content.replace("GPL-3.0-only", "CC0-1.0")], Policy()) == [[]]


@pytest.mark.skipif(not HAS_MODEL, reason="the base model is not fetched")
def test_tokens_are_counted_as_training_counts_them(db: Database) -> None:
    from factory.training import encoding, models

    settings = Settings(home=ROOT / "data")
    tokenizer = models.load_tokenizer(settings, "smollm2-135m-instruct")
    turns = row(ENGLISH * 5, "日本語 and 3.14159 and naïve\n\n    code = [1, 2]" * 9)
    exact = len(encoding.encode(tokenizer, turns).tokens)
    counted = token_lengths.longest(turns, settings.models, ["smollm2-135m-instruct", "another"])
    assert counted is not None
    assert exact <= counted[1] <= exact + token_lengths.TOKENS_AROUND
    assert exact <= token_lengths.at_most(turns)


@pytest.mark.skipif(not HAS_MODEL, reason="the base model is not fetched")
def test_a_row_longer_than_the_policys_tokens_is_refused_where_a_tokenizer_is_there(
    db: Database, dataset: Any, settings: Settings
) -> None:
    rows = [row("Count.", " ".join(str(n) for n in range(900)))]
    judge = {"person": dataset["person"], "rows": rows}
    assert contributions.preflight(db, dataset["id"], **judge)[0].findings == []
    strict = Policy(maximum_tokens=500)
    content = formats.canonical(rows[0])
    assert fit.findings(db, dataset["id"], [content], strict) == [[]], "nobody counts here yet"
    settings.models.mkdir(parents=True, exist_ok=True)
    (settings.models / "smollm2-135m-instruct").symlink_to(ROOT / "data/models/smollm2-135m-instruct")
    (found,) = fit.findings(db, dataset["id"], [content], strict)[0]
    assert (found.code, found.refuses, found.evidence["limit"]) == ("too_many_tokens", True, 500)
    assert found.evidence["tokens"] > 1_500
    assert fit.findings(db, dataset["id"], [content], Policy(maximum_tokens=0)) == [[]]
    assert Path(token_lengths.models_beside(db)) == settings.models
