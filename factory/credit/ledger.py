"""The book of credits: append-only, double-entry, hash-chained, in whole micro-credits.

Credits are minted for progress. An adapter that takes more of the held-out loss away than any paid adapter before it, on
the very same held-out set, mints `credits_per_percent` (a rule in the dataset's policy) for every further percent. They
are shared among the people whose examples caused it, in proportion to what was measured, and only where that is
distinguishable from zero. Where the gain over the base is not certain nothing is paid, and a transaction of kind 'hold'
says why.
Known gap: the further percent is a difference of two point estimates, so a lucky seed can be paid a little for nothing.

Every transaction is a pure function of rows that nobody can change, so `verify` recomputes each one from them.
"""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotFound
from factory.base.people import Person
from factory.credit import freezes
from factory.credit.book import GENESIS, MICRO, POOL, account, append, balance, canonical, held, transaction_hash
from factory.intake import policy

__all__ = [
    "GENESIS", "MICRO", "POOL", "account", "balance", "balances", "best_paid", "canonical", "counter", "entries", "find",
    "held", "pay", "receipt", "reckon", "shares", "statement", "transaction_hash",
]  # fmt: skip

RULE, RULE_VERSION = "progress", 1
# Whose account it is: 'person:ID', or 'held:ID' while it is examined.
WHOSE = (
    "p.id = case when {0} glob 'person:*' then cast(substr({0}, 8) as integer)"
    " when {0} glob 'held:*' then cast(substr({0}, 6) as integer) end"
)
Z = 1.64  # one-sided 95%: what is less certain than this to be above zero is paid nothing


def shares(values: dict[int, float], errors: dict[int, float], pool: int) -> dict[int, int]:
    """Split a pool of micro-credits among people, in proportion to what each is certain to have added.

    `values` and `errors` (one standard error) have the same keys. A value that is not above 1.64 errors counts as zero.
    What rounding leaves goes to the largest remainders, ties to the lower id; the sum is exactly the pool, or zero when
    nobody's value counts.

    >>> shares({1: 3.0, 2: 1.0, 3: -2.0, 4: 5.0}, {1: 0.1, 2: 0.1, 3: 0.1, 4: 4.0}, 1001)
    {1: 751, 2: 250, 3: 0, 4: 0}
    """
    if pool < 0:
        raise Invalid("A pool of credits cannot be negative.")
    certain = {
        person: Fraction(value) if math.isfinite(value) and value - Z * errors[person] > 0 else Fraction(0)
        for person, value in sorted(values.items())
    }
    total = sum(certain.values())
    if not total:
        return dict.fromkeys(certain, 0)
    exact = {person: pool * value / total for person, value in certain.items()}
    whole = {person: math.floor(share) for person, share in exact.items()}
    left = pool - sum(whole.values())
    for person in sorted(exact, key=lambda p: (whole[p] - exact[p], p))[:left]:
        whole[person] += 1
    return whole


def pay(db: Database, attribution_id: int) -> int:
    """Pay for an attribution once, or hold it once with the reason; returns the id of the transaction.

    What is frozen goes on to the accounts of what is held, by transactions of their own. Asking again returns the same
    transaction. Raises NotFound.
    """
    with store.writing(db):
        done = store.value(
            db, "select id from ledger_transactions where attribution_id = ? and kind in ('pay', 'hold')", attribution_id
        )
        if done is not None:
            return int(done)
        kind, formula, entries = reckon(db, attribution_id)
        adapter_id = store.value(db, "select adapter_id from attributions where id = ?", attribution_id)
        paid = append(db, kind, formula, entries, adapter_id=adapter_id, attribution_id=attribution_id)
        freezes.hold_back(db, paid)
        return paid


def reckon(
    db: Database, attribution_id: int, *, before: int | None = None
) -> tuple[str, dict[str, Any], list[tuple[str, int]]]:
    """What an attribution earns by the rule: ('pay' or 'hold', the formula with all its figures, the entries).

    `before` is a transaction id: progress is counted from what had been paid before it (None: up to now). Nothing is
    written, and the same rows give the same answer to the last digit. Raises NotFound.
    """
    facts = _facts(db, attribution_id)
    measured = store.rows(
        db,
        "select person_id, rows, value, error from attribution_people where attribution_id = ? order by person_id",
        attribution_id,
    )
    percent = 100 * (facts["base_loss"] - facts["tuned_loss"]) / facts["base_loss"] if facts["base_loss"] else 0.0
    paid_before = best_paid(db, facts["held_out_root"], before=before)
    rate = policy.from_json(facts["rules"]).credits_per_percent
    pool = math.floor(rate * max(0.0, percent - paid_before) * MICRO)
    split = shares({m["person_id"]: m["value"] for m in measured}, {m["person_id"]: m["error"] for m in measured}, pool)
    reason = _reason_to_hold(facts, percent, paid_before, pool, split)
    if reason:
        split = dict.fromkeys(split, 0)
    formula = {
        "rule": RULE,
        "rule_version": RULE_VERSION,
        "credits_per_percent": rate,
        "policy_id": facts["policy_id"],
        "z": Z,
        "held_out_root": facts["held_out_root"],
        "evaluation": {key: facts[key] for key in ("evaluation_id", "base_loss", "tuned_loss", "difference", "low", "high")},
        "percent": percent,
        "percent_paid_before": paid_before,
        "pool_micro_credits": 0 if reason else pool,
        "attribution": {key: facts[key] for key in ("attribution_id", "method", "method_version", "rows_root")},
        "seeds": [facts["seed"]],
        "people": [{**m, "micro_credits": split[m["person_id"]]} for m in measured],
        "reason": reason,
    }
    paid = [(account(person_id), amount) for person_id, amount in sorted(split.items()) if amount]
    return ("pay", formula, [(POOL, -pool), *paid]) if paid else ("hold", formula, [])


def _facts(db: Database, attribution_id: int) -> dict[str, Any]:
    facts = store.row(
        db,
        "select a.id as attribution_id, a.method, a.method_version, a.rows_root, v.id as evaluation_id, v.held_out_root,"
        " v.base_loss, v.tuned_loss, v.difference, v.low, v.high, p.id as policy_id, p.rules,"
        " json_extract(r.recipe, '$.seed') as seed"
        " from attributions a join evaluations v on v.id = a.evaluation_id join adapters d on d.id = a.adapter_id"
        " join runs r on r.id = d.run_id join dataset_versions s on s.id = r.version_id"
        " join policies p on p.id = s.policy_id where a.id = ?",
        attribution_id,
    )
    if facts is None:
        raise NotFound(f"There is no attribution {attribution_id}; `credit --json` lists what was measured.")
    return facts


def best_paid(db: Database, held_out_root: str, *, before: int | None = None) -> float:
    """The most percent of the loss on a held-out set that was ever paid for; what was countered or taken back whole does
    not count."""
    best = store.value(
        db,
        "select max(json_extract(t.formula, '$.percent')) from ledger_transactions t"
        " where t.kind = 'pay' and json_extract(t.formula, '$.held_out_root') = :root and t.id < :before"
        " and not exists (select 1 from ledger_transactions c where c.kind = 'counter' and c.id < :before"
        " and json_extract(c.formula, '$.counters') = t.id) and not exists (select 1 from ledger_transactions b"
        " where b.kind = 'take_back' and b.adapter_id = t.adapter_id and b.id < :before and b.id > t.id)",
        root=held_out_root,
        before=before if before is not None else 2**62,
    )
    return float(best or 0.0)


def _reason_to_hold(facts: dict[str, Any], percent: float, paid_before: float, pool: int, split: dict[int, int]) -> str:
    if facts["high"] >= 0:
        return (
            f"The change of the held-out loss ({facts['difference']:+.4f}, 95% between {facts['low']:+.4f} and "
            f"{facts['high']:+.4f}) cannot be told from no gain, so nothing is paid."
        )
    if percent <= paid_before:
        return (
            f"It takes {percent:.2f}% of the held-out loss away; {paid_before:.2f}% was already paid for on the same "
            "held-out set, so there is no progress to pay."
        )
    if pool == 0:
        return "The progress is worth less than a millionth of a credit under this dataset's policy, so nothing is paid."
    if not any(split.values()):
        return "Nobody's examples are distinguishable from zero on the held-out set, so nothing is paid."
    return ""


def counter(db: Database, transaction_id: int, *, person: Person, reason: str) -> int:
    """Undo a payment with its opposite; both stay in the book. Returns the id of the new transaction.

    Raises NotAllowed unless `person` is an admin, NotFound, Invalid without a reason or for what moved nothing, Conflict
    when it was countered already.
    """
    people.need(person, "admin")
    reason = " ".join(reason.split())
    if not 3 <= len(reason) <= 500:
        raise Invalid("Say in 3 to 500 characters why this payment is wrong; the reason stays in the book.")
    with store.writing(db):
        wrong = receipt(db, transaction_id)
        if wrong["kind"] not in ("pay", "reward"):
            raise Invalid(f"Transaction {transaction_id} is of kind {wrong['kind']!r}; only a payment can be countered.")
        if wrong["countered_by"]:
            raise Conflict(f"Transaction {transaction_id} was countered already, by transaction {wrong['countered_by']}.")
        if in_the_way := freezes.in_the_way_of_counter(db, wrong):
            raise Conflict(in_the_way)
        formula = {"counters": transaction_id, "reason": reason, "person_id": person.id}
        opposite = [(entry["account"], -entry["micro_credits"]) for entry in wrong["entries"]]
        return append(
            db, "counter", formula, opposite, adapter_id=wrong["adapter_id"], attribution_id=wrong["attribution_id"]
        )


def balances(db: Database) -> list[dict[str, Any]]:
    """Every account that ever moved, the richest first: account, person_id, person, is_demo, micro_credits, credits."""
    return store.rows(
        db,
        "select b.account, p.id as person_id, coalesce(p.display_name, b.account) as person,"
        " coalesce(p.is_demo, 0) as is_demo, b.micro_credits, b.micro_credits / 1e6 as credits"
        " from (select account, sum(micro_credits) as micro_credits from ledger_entries group by account) b"
        f" left join people p on {WHOSE.format('b.account')} order by b.micro_credits desc, b.account",
    )


def statement(db: Database, person_id: int) -> list[dict[str, Any]]:
    """What moved a person's account, newest first, each line with the balance after it and what it was paid for.

    Keys: transaction_id, kind, at, micro_credits, credits, balance_micro_credits, balance, adapter_id, adapter, run_id,
    dataset, version, method, method_version, value, error (nats per held-out label token), rows, reason.
    """
    return store.rows(
        db,
        "select t.id as transaction_id, t.kind, t.at, e.micro_credits, e.micro_credits / 1e6 as credits,"
        " sum(e.micro_credits) over so_far as balance_micro_credits, sum(e.micro_credits) over so_far / 1e6 as balance,"
        " t.adapter_id, d.name as adapter, d.run_id, s.slug as dataset, v.number as version,"
        " a.method, a.method_version, m.value, m.error, m.rows, json_extract(t.formula, '$.reason') as reason"
        " from ledger_entries e join ledger_transactions t on t.id = e.transaction_id"
        " left join adapters d on d.id = t.adapter_id left join runs r on r.id = d.run_id"
        " left join dataset_versions v on v.id = r.version_id left join datasets s on s.id = v.dataset_id"
        " left join attributions a on a.id = t.attribution_id"
        " left join attribution_people m on m.attribution_id = a.id and m.person_id = :person"
        " where e.account = :account window so_far as (order by t.id, e.position) order by t.id desc",
        person=person_id,
        account=account(person_id),
    )


def entries(
    db: Database, *, account: str | None = None, kind: str | None = None, limit: int = 200, offset: int = 0
) -> list[dict[str, Any]]:
    """The public book, newest first: one dict per entry, and one without an account per 'hold'.

    Keys: transaction_id, kind, at, position, account, person_id, person, is_demo, micro_credits, credits, adapter_id,
    adapter, attribution_id, reason, hash.
    """
    return store.rows(
        db,
        "select t.id as transaction_id, t.kind, t.at, e.position, e.account, p.id as person_id, p.display_name as person,"
        " coalesce(p.is_demo, 0) as is_demo, e.micro_credits, e.micro_credits / 1e6 as credits, t.adapter_id,"
        " d.name as adapter, t.attribution_id, json_extract(t.formula, '$.reason') as reason, t.hash"
        " from ledger_transactions t left join ledger_entries e on e.transaction_id = t.id"
        f" left join people p on {WHOSE.format('e.account')} left join adapters d on d.id = t.adapter_id"
        " where (:account is null or e.account = :account) and (:kind is null or t.kind = :kind)"
        " order by t.id desc, e.position limit :limit offset :offset",
        account=account,
        kind=kind,
        limit=limit,
        offset=offset,
    )


def receipt(db: Database, transaction_id: int) -> dict[str, Any]:
    """One transaction with everything it was computed from: its columns, the formula as a dict, entries, countered_by.

    Raises NotFound.
    """
    record = store.row(db, "select * from ledger_transactions where id = ?", transaction_id)
    if record is None:
        raise NotFound(f"There is no transaction {transaction_id} in the ledger.")
    lines = store.rows(
        db,
        "select e.position, e.account, p.id as person_id, p.display_name as person, e.micro_credits"
        f" from ledger_entries e left join people p on {WHOSE.format('e.account')}"
        " where e.transaction_id = ? order by e.position",
        transaction_id,
    )
    countered_by = store.value(
        db,
        "select id from ledger_transactions where kind = 'counter' and json_extract(formula, '$.counters') = ?",
        transaction_id,
    )
    return {**record, "formula": json.loads(record["formula"]), "entries": lines, "countered_by": countered_by}


def find(db: Database, attribution_id: int) -> dict[str, Any] | None:
    """The receipt of what an attribution was paid, or held for; None before that."""
    found = store.value(
        db, "select id from ledger_transactions where attribution_id = ? and kind in ('pay', 'hold')", attribution_id
    )
    return None if found is None else receipt(db, found)
