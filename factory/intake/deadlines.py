"""Clocks: nothing waits for ever. What reviewers leave lying is decided by the dataset's rules, which everybody can read."""

from __future__ import annotations

from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.intake import appeals, conflicts, consensus, gold, held, reviews, standing
from factory.intake import policy as policies
from factory.intake.policy import Policy


def settle_overdue(db: Database, *, limit: int = 500) -> list[tuple[int, str]]:
    """Decide what waits longer than its dataset's deadline, oldest first; (example id, state) of each.

    Where there are verdicts, the most probable outcome stands. Where there are none, an author whose standing there is at
    least `trusted_standing` is accepted, anybody else's is returned, to be sent again: neither counts against them.
    Verdicts on hold count before, and ties between accounts are looked for.
    """
    held.let_go(db)
    conflicts.sweep(db)
    found: list[tuple[int, str]] = []
    for dataset in store.rows(db, "select id from datasets"):
        _, policy = policies.current(db, dataset["id"])
        with store.writing(db):
            overdue = store.rows(
                db,
                "select example_id, person_id from waiting_examples where dataset_id = ? and since < ?"
                " order by example_id limit ?",
                dataset["id"],
                store.now() - policy.deadline_days * standing.DAY_SECONDS if policy.deadline_days > 0 else 0,
                limit - len(found),
            )
            trusted: dict[int, bool] = {}
            for one in overdue:
                person_id = one["person_id"]
                if person_id not in trusted:
                    trusted[person_id] = standing.of(db, person_id, dataset["id"]).lower >= policy.trusted_standing
                verdicts = reviews.verdicts_on(db, one["example_id"])
                if verdicts:
                    pairs = [(verdict["decision"], verdict["trust"]) for verdict in verdicts]
                    outcome = str(consensus.settled(pairs, quorum=1, at_most=1, confidence=0))
                    state = reviews.write(db, one["example_id"], outcome, verdicts, by="deadline")
                elif trusted[person_id]:
                    state = reviews.write(db, one["example_id"], "accept", [], by="deadline", why="trusted")
                else:
                    state = reviews.write(db, one["example_id"], "return", [], by="deadline", why="unseen")
                found.append((one["example_id"], state))
        found += appeals.lift_unanswered(db, dataset["id"], policy)
        gold.strike_unanswered(db, dataset["id"], policy)
        if len(found) >= limit:
            break
    return found


def due_at(policy: Policy, example: dict[str, Any]) -> float | None:
    """When a waiting example (with state and created_at), or an open appeal for it, is decided at the latest; else None."""
    appeal = example.get("appeal")
    if example["state"] == "waiting" and policy.deadline_days > 0:
        return float(example["created_at"]) + policy.deadline_days * standing.DAY_SECONDS
    if isinstance(appeal, dict) and appeal["answer"] is None and policy.appeal_days > 0:
        return float(appeal["at"]) + policy.appeal_days * standing.DAY_SECONDS
    return None
