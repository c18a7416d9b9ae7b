"""Changing a dataset's rules: what would change first, then a reason, then a version that stays in the history."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Conflict, Invalid
from factory.base.people import Person
from factory.intake import datasets
from factory.intake import policy as policies
from factory.intake.policy import Policy
from factory.intake.standing import DAY_SECONDS

MOST_WORDS = 500
COUNTED = 10_000  # more than that is said as "over 10,000"
# From when a changed rule counts. What was decided stays decided, whatever changes.
FROM_WHEN = {
    "daily": "It counts from the next submission on.",
    "characters": "It counts for rows submitted from now on; those that are here stay.",
    "jaccard": "It counts for rows submitted from now on; those that are here stay.",
    "quorum": "It counts from the next verdict on each waiting row on.",
    "confidence": "It counts from the next verdict on each waiting row on.",
    "gold": "It counts from the next place in each reviewer's queue on.",
    "standing": "Standings, limits and ranks are computed anew with it at once; no decision changes.",
    "token": "It counts for rows submitted from now on; those that are here stay.",
    "languages": "It counts for rows submitted from now on; those that are here stay.",
    "credits": "It counts for adapters trained on versions frozen from now on; what was frozen keeps its rule.",
}


def changed(policy: Policy, changes: dict[str, Any]) -> Policy:
    """The policy with some rules changed. Raises Invalid with every unknown rule and every value out of range.

    >>> changed(Policy(), {"quorum": 3}).quorum
    3
    """
    return policies.from_json(json.dumps({**dataclasses.asdict(policy), **changes}))


def preview(db: Database, dataset_id: int, policy: Policy) -> list[dict[str, Any]]:
    """What would change if this policy counted from now on, one dictionary a rule that differs.

    Keys: rule, help, before, after, effect (a sentence with counts of what waits now). Raises NotFound.
    """
    now = policies.current(db, dataset_id)[1]
    told = []
    for field in policies.fields():
        name = field["name"]
        before, after = getattr(now, name), getattr(policy, name)
        if before != after:
            effect = _effect(db, dataset_id, name, after)
            told.append({"rule": name, "help": field["help"], "before": before, "after": after, "effect": effect})
    return told


def _effect(db: Database, dataset_id: int, name: str, value: Any) -> str:
    since = store.now() - value * DAY_SECONDS if name in ("deadline_days", "appeal_days") else 0
    if name == "deadline_days":
        if value == 0:
            return "Nothing is decided by silence any more; rows wait until somebody judges them."
        late = (
            "select count(*) from (select 1 from example_states where dataset_id = ? and state = 'waiting'"
            " and created_at < ? limit ?)"
        )
        found = store.value(db, late, dataset_id, since, COUNTED + 1)
        return f"{_count(found, 'waiting row')} would be decided by silence within minutes."
    if name == "appeal_days":
        if value == 0:
            return "No appeal is answered by silence any more."
        late = (
            "select count(*) from appeals a join examples e on e.id = a.example_id where e.dataset_id = ?"
            " and a.answer is null and a.at < ?"
        )
        found = store.value(db, late, dataset_id, since)
        return f"{_count(found, 'open appeal')} would lift the decision within minutes."
    if name == "trusted_standing":
        return "It counts for what silence decides from now on."
    return next((sentence for part, sentence in FROM_WHEN.items() if part in name), "It counts from now on.")


def _count(number: int, thing: str) -> str:
    """How many of a thing there are, as far as they were counted.

    >>> _count(1, "row"), _count(10001, "row"), _count(0, "row")
    ('1 row', 'Over 10,000 rows', 'No row')
    """
    if number > COUNTED:
        return f"Over {COUNTED:,} {thing}s"
    return f"{number:,} {thing}{'s' * (number != 1)}" if number else f"No {thing}"


def change(db: Database, dataset_id: int, policy: Policy, *, person: Person, reason: str) -> int:
    """Make these rules count from now on, with the reason that the history shows; the id of the policy.

    For the owner of the dataset or a curator. Raises Invalid without a reason, NotAllowed, NotFound, Conflict where
    nothing is changed.
    """
    reason = " ".join(reason.split())
    if not 3 <= len(reason) <= MOST_WORDS:
        raise Invalid(f"Say in 3 to {MOST_WORDS} characters why the rules change; contributors read it.")
    with store.writing(db):
        if policies.current(db, dataset_id)[1] == policy:
            raise Conflict("No rule is changed; change one first.")
        return datasets.set_policy(db, dataset_id, policy, person=person, reason=reason)


def history(db: Database, dataset_id: int) -> list[dict[str, Any]]:
    """Every policy a dataset had, newest first: version, set_by, set_at, reason, changes (rule: [before, after])."""
    found = [{**one, "policy": policies.from_json(one["rules"])} for one in datasets.policy_history(db, dataset_id)]
    told = []
    for one, before in zip(found, [*found[1:], None], strict=True):
        now, then = one["policy"], before["policy"] if before else Policy()
        names = [field["name"] for field in policies.fields()]
        changes = {
            name: [getattr(then, name), getattr(now, name)] for name in names if getattr(now, name) != getattr(then, name)
        }
        told.append({key: one[key] for key in ("version", "set_by", "set_at", "reason")} | {"changes": changes})
    return told
