"""The rules of a dataset as one value: limits, thresholds, quorum, and which licences go into which."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Invalid, NotFound
from factory.intake import licences

LICENCES = licences.TAKES
licence_problem = licences.problem

# What hubs call the licences they know, where it is not the SPDX identifier in small letters.
ON_HUBS = {"PDDL-1.0": "pddl", "ODC-By-1.0": "odc-by"}
NOT_ON_HUBS = frozenset({"0BSD", "MIT-0", "PSF-2.0"})


def _rule(default: Any, help: str, low: float, high: float) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high})


def _words(default: str, help: str, each: str) -> Any:
    """A rule of words with commas between them, each of which matches a pattern; "" is none."""
    return dataclasses.field(default=default, metadata={"help": help, "low": None, "high": None, "each": each})


@dataclass(frozen=True)
class Policy:
    """What a dataset lets in and how it decides. Each field's metadata holds `help`, `low` and `high`.

    Raises Invalid at construction, listing every value out of range.
    """

    daily_base_examples: int = _rule(20, "examples anybody may submit within 24 hours", 1, 100_000)
    daily_growth: float = _rule(
        2.0, "further examples a day for each one accepted in 30 days, times standing; none below two of three", 0, 100
    )
    daily_cap_examples: int = _rule(2_000, "examples nobody exceeds within 24 hours", 1, 1_000_000)
    daily_bytes_per_example: int = _rule(4_000, "bytes that each of a day's examples may bring, on average", 100, 1_000_000)
    minimum_characters: int = _rule(20, "characters the answers have together, at least", 0, 10_000)
    maximum_characters: int = _rule(20_000, "characters a whole example has, at most", 100, 1_000_000)
    maximum_tokens: int = _rule(
        8_192, "tokens a whole example has, at most, as the models below count; 0: any", 0, 1_000_000
    )
    token_models: str = _words(
        "smollm2-135m-instruct", "base models whose tokenizers count, where they are fetched", r"[\w.-]{1,80}"
    )
    languages: str = _words("", "languages that are taken, as ISO 639 codes such as en, de; none named: any", r"[a-z]{2,3}")
    near_duplicate_jaccard: float = _rule(0.6, "likeness from which an example counts as a copy of another", 0.3, 1)
    meaning_cosine: float = _rule(
        0.95, "likeness in meaning from which reviewers are told of another example; 1: never", 0.5, 1
    )
    topic_check: int = _rule(1, "1: reviewers are told of rows about something else than those accepted; 0: not", 0, 1)
    held_out_jaccard: float = _rule(0.6, "likeness to a held-out row from which an example is refused", 0.3, 1)
    quorum: int = _rule(2, "agreeing verdicts that settle an example", 1, 9)
    quorum_at_most: int = _rule(5, "verdicts asked for at most; then the most probable outcome stands", 1, 25)
    confidence: float = _rule(0.75, "how probable an outcome has to be to settle an example earlier", 0.34, 0.999)
    gold_share: float = _rule(0.1, "share of a reviewer's queue that is settled already, to see who judges well", 0, 0.5)
    deadline_days: float = _rule(14, "days after which silence decides; 0: never", 0, 365)
    appeal_days: float = _rule(7, "days after which an appeal that nobody answered lifts the decision; 0: never", 0, 365)
    trusted_standing: float = _rule(0.7, "standing from which silence accepts; below it silence returns", 0, 1)
    standing_half_life_days: float = _rule(
        365, "days after which a decision weighs half in standing; 0: never less", 0, 36_500
    )
    credits_per_percent: float = _rule(
        10.0, "credits for each percent of held-out loss taken away beyond the best adapter already paid", 0, 1_000_000
    )

    def __post_init__(self) -> None:
        problems = []
        for spec in dataclasses.fields(self):
            problem = _problem(spec, getattr(self, spec.name))
            if problem:
                problems.append(problem)
        if not problems and self.daily_cap_examples < self.daily_base_examples:
            problems.append("daily_cap_examples is below daily_base_examples; the cap has to be at least the base.")
        if problems:
            raise Invalid(problems)


def _problem(spec: dataclasses.Field[Any], value: Any) -> str | None:
    if isinstance(spec.default, str):
        fits = isinstance(value, str) and len(value) <= 1_000
        wrong = (
            [word for word in words(value) if not re.fullmatch(spec.metadata["each"], word)] if fits else [repr(value)[:40]]
        )
        return f"{spec.name} has {wrong[0][:40]!r}; write {spec.metadata['help']}." if wrong else None
    whole = isinstance(spec.default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not math.isfinite(value):
        return f"{spec.name} is {value!r}; it has to be a {'whole number' if whole else 'number'}."
    low, high = spec.metadata["low"], spec.metadata["high"]
    if not low <= value <= high:
        return f"{spec.name} is {value:,}; it has to lie between {low:,} and {high:,}."
    return None


def words(value: str) -> list[str]:
    """The words of a rule that has some.

    >>> words("en, de")
    ['en', 'de']
    """
    return value.replace(",", " ").split()


def shown(value: float | str) -> str:
    """A rule's value as people read it.

    >>> shown(0.60), shown(20_000), shown("en, de"), shown("")
    ('0.6', '20,000', 'en, de', 'any')
    """
    return (value or "any") if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:g}"


def to_json(policy: Policy) -> str:
    """The policy as JSON, every field written out."""
    return json.dumps(dataclasses.asdict(policy), sort_keys=True)


@lru_cache(maxsize=256)
def from_json(text: str) -> Policy:
    """The policy from JSON; fields that are left out have their defaults.

    Raises Invalid, listing every unknown field and every value out of range.

    >>> from_json('{"quorum": 3}').quorum
    3
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise Invalid('The policy is not JSON; write an object such as {"quorum": 2}.') from problem
    if not isinstance(record, dict):
        raise Invalid('The policy is not a JSON object; write one such as {"quorum": 2}.')
    specs = {spec.name: spec for spec in dataclasses.fields(Policy)}
    problems = [f"There is no rule {key!r}; the rules are {', '.join(specs)}." for key in record if key not in specs]
    problems += [p for key, value in record.items() if key in specs and (p := _problem(specs[key], value))]
    if problems:
        raise Invalid(problems)
    return Policy(**record)


def fields() -> list[dict[str, Any]]:
    """One dictionary a rule, for forms and docs: name, default, help, low, high (None where it is words), whole."""
    return [
        {"name": s.name, "default": s.default, "whole": isinstance(s.default, int), **s.metadata}
        for s in dataclasses.fields(Policy)
    ]


def current(db: Database, dataset_id: int) -> tuple[int, Policy]:
    """The id and the value of the policy that counts now. Raises NotFound."""
    found = store.row(db, "select id, rules from policies where dataset_id = ? order by version desc limit 1", dataset_id)
    if found is None:
        raise NotFound(f"There is no dataset {dataset_id}; `datasets list` shows those there are.")
    return found["id"], from_json(found["rules"])


def hub_licence(licence: str) -> dict[str, str]:
    """The lines of a hub's card that name a licence.

    >>> hub_licence("CC-BY-4.0"), hub_licence("PSF-2.0")
    ({'license': 'cc-by-4.0'}, {'license': 'other', 'license_name': 'psf-2.0'})
    """
    if licence not in LICENCES or licence in NOT_ON_HUBS:
        return {"license": "other", "license_name": licence.lower()}
    return {"license": ON_HUBS.get(licence, licence.lower())}
