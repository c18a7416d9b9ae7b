"""Rows as the earlier stages would leave them, written straight into a store: credit is tested without a training."""

from __future__ import annotations

import json
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.credit import attribution
from factory.intake import formats
from factory.intake import policy as policies
from factory.intake.merkle import merkle_root


def person(db: Database, name: str, **more: Any) -> int:
    """An account; its id."""
    return people.create(db, name, **more).id


def dataset(db: Database, owner: int, *, slug: str = "questions", rules: str | None = None) -> tuple[int, int]:
    """A dataset with a policy: both ids."""
    dataset_id = store.insert(
        db,
        "datasets",
        {
            "slug": slug,
            "title": slug.title(),
            "purpose": "p",
            "guidelines": "g",
            "licence": "MIT",
            "owner_id": owner,
            "created_at": 1.0,
        },
    )
    rules = rules or policies.to_json(policies.Policy(credits_per_percent=10.0))
    policy_id = store.insert(
        db, "policies", {"dataset_id": dataset_id, "version": 1, "rules": rules, "set_by": owner, "set_at": 1.0}
    )
    return dataset_id, policy_id


def example(
    db: Database, dataset_id: int, author: int, words: str, *, at: float = 1.0, cluster: int | None = None,
    decision: str | None = "accepted", refused: bool = False, reason: str | None = None,
    talk: list[dict[str, str]] | None = None,
) -> int:  # fmt: skip
    """One example with its decision; its id."""
    submission = store.insert(
        db,
        "submissions",
        {"dataset_id": dataset_id, "person_id": author, "source": "form", "licence": "MIT", "created_at": at},
    )
    content = formats.canonical(talk or [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": words}])
    next_id = (store.value(db, "select max(id) from examples") or 0) + 1
    store.insert(
        db,
        "examples",
        {
            "id": next_id,
            "submission_id": submission,
            "dataset_id": dataset_id,
            "person_id": author,
            "position": 0,
            "content": content,
            "content_hash": formats.content_hash(content),
            "bytes": len(content),
            "cluster_id": cluster or next_id,
            "refused_by_checks": int(refused),
            "created_at": at,
        },
    )
    if decision and not refused:
        record = {
            "example_id": next_id,
            "decision": decision,
            "by": "review",
            "reason": reason,
            "verdict_ids": "[]",
            "at": at,
        }
        db.execute(
            'insert into decisions (example_id, decision, "by", reason, verdict_ids, at) values (?, ?, ?, ?, ?, ?)',
            list(record.values()),
        )
    return next_id


def held_out(db: Database, dataset_id: int, owner: int, talks: list[list[dict[str, str]]]) -> tuple[int, str]:
    """A sealed held-out set: its id and its root."""
    contents = [formats.canonical(talk) for talk in talks]
    hashes = [formats.content_hash(content) for content in contents]
    record = {
        "dataset_id": dataset_id, "root": merkle_root(hashes), "row_count": len(hashes),
        "sealed_by": owner, "sealed_at": 1.0,
    }  # fmt: skip
    set_id = store.insert(db, "held_out_sets", record)
    for position, (content, content_hash) in enumerate(zip(contents, hashes, strict=True)):
        store.insert(
            db, "held_out_rows", {"set_id": set_id, "position": position, "content": content, "content_hash": content_hash}
        )
    return set_id, str(record["root"])


def version(
    db: Database, dataset_id: int, policy_id: int, examples: list[int], *, owner: int, held_out: int | None = None
) -> int:
    """A frozen version of these examples; its id."""
    hashes = [store.value(db, "select content_hash from examples where id = ?", one) for one in examples]
    number = 1 + store.value(db, "select count(*) from dataset_versions where dataset_id = ?", dataset_id)
    version_id = store.insert(
        db,
        "dataset_versions",
        {
            "dataset_id": dataset_id, "number": number, "root": merkle_root(hashes),
            "sorted_root": merkle_root(sorted(hashes)), "row_count": len(examples),
            "held_out_set_id": held_out, "policy_id": policy_id, "frozen_by": owner, "frozen_at": 2.0,
        },
    )  # fmt: skip
    for position, (one, content_hash) in enumerate(zip(examples, hashes, strict=True)):
        store.insert(
            db,
            "version_rows",
            {"version_id": version_id, "position": position, "example_id": one, "content_hash": content_hash},
        )
    return version_id


def adapter(
    db: Database, version_id: int, owner: int, *, base: float = 2.0, tuned: float = 1.8, spread: float = 0.05,
    root: str = "r" * 64, measured: dict[str, Any] | None = None,
) -> tuple[int, int]:  # fmt: skip
    """A run that is done, its adapter and its evaluation: ids of the last two."""
    number = 1 + store.value(db, "select count(*) from runs")
    run_id = store.insert(
        db,
        "runs",
        {
            "name": f"run {number}", "person_id": owner, "status": "done", "version_id": version_id, "version_root": "v",
            "recipe": json.dumps({"seed": 42, "method": "lora", "rank": 8, "learning_rate": 2e-4}), "model_name": "tiny",
            "model_hash": "m", "manifest": "{}", "estimate": "{}", "measured": json.dumps(measured or {}),
            "folder": str(number), "queue_order": 1.0, "queued_at": 1.0,
        },
    )  # fmt: skip
    adapter_id = store.insert(
        db,
        "adapters",
        {
            "run_id": run_id, "name": f"adapter {number}", "folder": str(number), "sha256": "s", "template_hash": "t",
            "step": 1,
            "bytes": 1, "kept_at": 3.0,
        },
    )  # fmt: skip
    return adapter_id, evaluated(db, adapter_id, base=base, tuned=tuned, spread=spread, root=root)


def evaluated(
    db: Database, adapter_id: int, *, base: float = 2.0, tuned: float = 1.8, spread: float = 0.05, root: str = "r" * 64
) -> int:
    """An evaluation of an adapter; its id."""
    return store.insert(
        db,
        "evaluations",
        {
            "adapter_id": adapter_id, "held_out_root": root, "row_count": 10, "label_tokens": 100, "base_loss": base,
            "tuned_loss": tuned, "difference": tuned - base, "low": tuned - base - spread, "high": tuned - base + spread,
            "method": "m", "seconds": 1.0, "at": 4.0,
        },
    )  # fmt: skip


def attributed(db: Database, adapter_id: int, evaluation_id: int, rows: list[tuple[int, int, float, float]]) -> int:
    """An attribution from (example, payee, value, error), its sums taken as if rows were independent; its id."""
    record = {
        "adapter_id": adapter_id, "evaluation_id": evaluation_id, "method": attribution.METHOD,
        "method_version": attribution.VERSION, "settings": "{}", "seconds": 1.0, "at": 5.0,
    }  # fmt: skip
    sums = [
        {
            "person_id": payee,
            "rows": sum(row[1] == payee for row in rows),
            "value": sum(row[2] for row in rows if row[1] == payee),
            "error": sum(row[3] ** 2 for row in rows if row[1] == payee) ** 0.5,
        }
        for payee in sorted({row[1] for row in rows})
    ]
    keys = ("example_id", "person_id", "value", "error")
    return attribution.write(db, record, [dict(zip(keys, row, strict=True)) for row in rows], sums)
