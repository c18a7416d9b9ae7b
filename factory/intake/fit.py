"""Whether rows fit the dataset that they are offered to: the licence they come under, the tokens of its models."""

from __future__ import annotations

from collections.abc import Sequence

from sqlite_utils import Database

from factory.base import store
from factory.intake import checks, formats, licences, token_lengths
from factory.intake import policy as policies
from factory.intake.checks import Finding
from factory.intake.policy import Policy


def findings(
    db: Database, dataset_id: int, contents: Sequence[str | None], policy: Policy, *, given_under: Sequence[str] = ()
) -> list[list[Finding]]:
    """What is found in each canonical text (None: not looked at); `given_under` are the rows' own licences, "" for none."""
    dataset_licence = str(store.value(db, "select licence from datasets where id = ?", dataset_id))
    models, names = token_lengths.models_beside(db), policies.words(policy.token_models)
    found: list[list[Finding]] = [[] for _ in contents]
    for place, content in enumerate(contents):
        if content is None:
            continue
        turns = formats.messages(content)
        if given_under and given_under[place]:
            problem = licences.problem(dataset_licence, given_under[place])
            if problem:
                found[place].append(checks.finding("licence", problem, licence=given_under[place][:200]))
        found[place] += _stated(turns, dataset_licence)
        limit = policy.maximum_tokens
        if limit and token_lengths.at_most(turns) > limit:
            counted = token_lengths.longest(turns, models, names)
            if counted and counted[1] > limit:
                sentence = f"The example has {counted[1]:,} tokens for {counted[0]}; at most {limit:,} are taken."
                found[place].append(
                    checks.finding("too_many_tokens", sentence, tokens=counted[1], limit=limit, model=counted[0])
                )
    return found


def _stated(turns: list[dict[str, str]], dataset_licence: str) -> list[Finding]:
    for number, turn in enumerate(turns):
        stated = licences.stated(turn["content"], dataset_licence)
        if stated:
            words, start, end = stated
            sentence = (
                f"{checks.who(turn['role'], number)} says that something is under “{words}”, which may not go in here."
            )
            return [checks.finding("licence_in_text", sentence, spans=[checks.span(number, start, end, turn["content"])])]
    return []
