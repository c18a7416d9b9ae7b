"""How the book of credits is kept: one transaction behind the other, chained by hashes, every one in balance."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Invalid

MICRO = 1_000_000
GENESIS = "0" * 64
POOL = "pool"


def account(person_id: int) -> str:
    """The name of a person's account: 'person:ID'."""
    return f"person:{person_id}"


def held(person_id: int) -> str:
    """The name of the account on which a person's credits lie while they are frozen: 'held:ID'."""
    return f"held:{person_id}"


def append(
    db: Database,
    kind: str,
    formula: dict[str, Any],
    entries: list[tuple[str, int]],
    *,
    adapter_id: int | None,
    attribution_id: int | None,
) -> int:
    """Write one transaction behind all others, in the caller's database transaction; its id. `entries` sum to zero."""
    if sum(amount for _, amount in entries):
        raise Invalid("The entries of a transaction must sum to zero; nothing was written.")
    last = store.row(db, "select id, hash from ledger_transactions order by id desc limit 1") or {"id": 0, "hash": GENESIS}
    record = {
        "id": last["id"] + 1,
        "kind": kind,
        "formula": canonical(formula),
        "adapter_id": adapter_id,
        "attribution_id": attribution_id,
        "at": store.now(),
        "previous_hash": last["hash"],
    }
    lines = [
        {"position": position, "account": name, "micro_credits": amount} for position, (name, amount) in enumerate(entries)
    ]
    store.insert(db, "ledger_transactions", {**record, "hash": transaction_hash(record, lines)})
    for line in lines:
        store.insert(db, "ledger_entries", {"transaction_id": record["id"], **line})
    return int(record["id"])


def canonical(thing: Any) -> str:
    """JSON with one spelling: sorted keys, no spaces, shortest floats.

    >>> canonical({"b": 0.1, "a": [1]})
    '{"a":[1],"b":0.1}'
    """
    return json.dumps(thing, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def transaction_hash(record: dict[str, Any], lines: list[dict[str, Any]]) -> str:
    """The sha-256 (hex) that a transaction carries: over its row, its entries in order and the hash before it."""
    columns = ("id", "kind", "formula", "adapter_id", "attribution_id", "at", "previous_hash")
    text = canonical(
        {
            **{column: record[column] for column in columns},
            "entries": [[line["position"], line["account"], line["micro_credits"]] for line in lines],
        }
    )
    return hashlib.sha256(text.encode()).hexdigest()


def balance(db: Database, name: str) -> int:
    """Micro-credits on an account ('person:ID' or 'pool'), 0 for one that never moved.

    The pool's balance is minus all that was ever minted.
    """
    return int(store.value(db, "select coalesce(sum(micro_credits), 0) from ledger_entries where account = ?", name))
