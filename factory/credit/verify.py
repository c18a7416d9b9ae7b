"""Everything that can be recomputed, recomputed: from the words people typed to the last micro-credit.

Trust nothing that is stored twice. Content hashes, Merkle roots, what was measured, the chain of the ledger, and every
payment by its own rule from the rows it names. The first problem names the first row, in the order data flows, that is
not what it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Invalid
from factory.credit import attribution, bounties, freezes, ledger
from factory.intake import formats
from factory.intake.merkle import merkle_root

Progress = Callable[[float, str], None]
KINDS = ("pay", "hold", "counter", *freezes.KINDS, *bounties.KINDS)
MOST_PROBLEMS = 20  # told at once; one row can make many others look wrong


def verify(db: Database, *, progress: Progress | None = None) -> dict[str, Any]:
    """Recompute the whole line and say what was looked at.

    The report: examples, held_out_sets, versions, version_rows, attributions, attribution_rows, transactions, entries
    (counts), head (the last transaction's hash: write it down elsewhere, and nobody can rewrite the book unseen), minted
    (micro-credits), balances (as `ledger.balances`).
    Raises Invalid; the first of its `problems` names the table and the id of the first row that was tampered with.
    """
    tell = progress or _silent
    counts: dict[str, int] = {}
    found: list[str] = []
    looks = {
        "examples": _examples,
        "held-out sets": _held_out_sets,
        "versions": _versions,
        "attributions": _attributions,
        "ledger": _ledger,
    }
    with db.atomic():  # one moment of the database, however long the reading takes
        for number, (words, look) in enumerate(looks.items()):
            tell(number / len(looks), words)
            for problem in look(db, counts):
                found.append(problem)
                if len(found) == MOST_PROBLEMS:
                    raise Invalid(found)
        balances = ledger.balances(db)
        head = store.value(db, "select hash from ledger_transactions order by id desc limit 1") or ledger.GENESIS
    if found:
        raise Invalid(found)
    tell(1.0, "done")
    return {**counts, "head": head, "minted": -ledger.balance(db, ledger.POOL), "balances": balances}


def _silent(fraction: float, words: str) -> None:
    return None


def _examples(db: Database, counts: dict[str, int]) -> Iterator[str]:
    counts["examples"] = 0
    for example_id, content, content_hash in db.execute("select id, content, content_hash from examples order by id"):
        counts["examples"] += 1
        if formats.content_hash(content) != content_hash:
            yield f"examples {example_id}: its content does not have its hash any more."


def _held_out_sets(db: Database, counts: dict[str, int]) -> Iterator[str]:
    sets = store.rows(db, "select id, root, row_count from held_out_sets order by id")
    counts["held_out_sets"] = len(sets)
    for sealed in sets:
        hashes, sound = [], True
        query = "select position, content, content_hash from held_out_rows where set_id = ? order by position"
        for position, content, content_hash in db.execute(query, [sealed["id"]]):
            hashes.append(content_hash)
            if formats.content_hash(content) != content_hash:
                sound = False
                yield f"held_out_rows ({sealed['id']}, {position}): its content does not have its hash any more."
        if sound and (len(hashes) != sealed["row_count"] or merkle_root(hashes) != sealed["root"]):
            yield f"held_out_sets {sealed['id']}: its rows do not have its root any more."


def _versions(db: Database, counts: dict[str, int]) -> Iterator[str]:
    versions = store.rows(db, "select id, root, row_count from dataset_versions order by id")
    counts["versions"], counts["version_rows"] = len(versions), 0
    for version in versions:
        hashes, sound = [], True
        query = (
            "select v.position, v.example_id, v.content_hash, e.content_hash from version_rows v"
            " left join examples e on e.id = v.example_id where v.version_id = ? order by v.position"
        )
        for at, (position, example_id, content_hash, original) in enumerate(db.execute(query, [version["id"]])):
            hashes.append(content_hash)
            if content_hash != original or position != at:
                sound = False
                yield f"version_rows ({version['id']}, {position}): it is not example {example_id} in its place any more."
        counts["version_rows"] += len(hashes)
        if sound and (len(hashes) != version["row_count"] or merkle_root(hashes) != version["root"]):
            yield f"dataset_versions {version['id']}: its rows do not have its root any more."


def _attributions(db: Database, counts: dict[str, int]) -> Iterator[str]:
    measured = store.rows(db, "select id, rows_root from attributions order by id")
    counts["attributions"], counts["attribution_rows"] = len(measured), 0
    for one in measured:
        columns = "example_id, person_id, value, error"
        rows = store.rows(
            db, f"select {columns}, hash from attribution_rows where attribution_id = ? order by example_id", one["id"]
        )
        counts["attribution_rows"] += len(rows)
        wrong = [
            row["example_id"]
            for row in rows
            if attribution.row_hash(**{k: row[k] for k in row if k != "hash"}) != row["hash"]
        ]
        yield from (
            f"attribution_rows ({one['id']}, {example}): its figures do not have its hash any more." for example in wrong
        )
        if wrong:
            continue
        if merkle_root([row["hash"] for row in rows]) != one["rows_root"]:
            yield f"attributions {one['id']}: its rows do not have its root any more."
        yield from _sums(db, one["id"])


def _sums(db: Database, attribution_id: int) -> Iterator[str]:
    """People whose sum is not that of their rows (to rounding: sums depend on their order in the last digit)."""
    compared = store.rows(
        db,
        "select m.person_id, m.rows, m.value, count(r.example_id) as counted, coalesce(sum(r.value), 0) as total,"
        " coalesce(sum(abs(r.value)), 0) as size from attribution_people m left join attribution_rows r"
        " on r.attribution_id = m.attribution_id and r.person_id = m.person_id"
        " where m.attribution_id = ? group by m.person_id order by m.person_id",
        attribution_id,
    )
    for line in compared:
        if line["rows"] != line["counted"] or abs(line["value"] - line["total"]) > 1e-9 * (line["size"] + 1e-12):
            yield f"attribution_people ({attribution_id}, {line['person_id']}): it is not the sum of this person's rows."


def _ledger(db: Database, counts: dict[str, int]) -> Iterator[str]:
    counts["transactions"] = counts["entries"] = 0
    previous = ledger.GENESIS
    for number, record in enumerate(store.rows(db, "select * from ledger_transactions order by id"), start=1):
        lines = store.rows(
            db,
            "select position, account, micro_credits from ledger_entries where transaction_id = ? order by position",
            record["id"],
        )
        counts["transactions"] += 1
        counts["entries"] += len(lines)
        problems = list(_transaction(db, record, lines, number, previous))
        yield from problems
        if problems:
            return  # what follows leans on this transaction and would only repeat it
        previous = record["hash"]
    for orphan, position in db.execute(
        "select transaction_id, position from ledger_entries where transaction_id"
        " not in (select id from ledger_transactions)"
    ):
        yield f"ledger_entries ({orphan}, {position}): its transaction is gone."


def _transaction(
    db: Database, record: dict[str, Any], lines: list[dict[str, Any]], number: int, previous: str
) -> Iterator[str]:
    name = f"ledger_transactions {record['id']}"
    if record["id"] != number:
        yield f"ledger_transactions {number}: it is missing; the next one is {record['id']}."
    elif record["previous_hash"] != previous:
        yield f"{name}: it does not continue the chain; it or the transaction before it was rewritten."
    if ledger.transaction_hash(record, lines) != record["hash"]:
        yield _changed_entry(db, record, lines) or f"{name}: it does not have its hash any more."
        return
    if sum(line["micro_credits"] for line in lines):
        yield f"{name}: its entries do not sum to zero."
    if record["kind"] not in KINDS:
        yield f"{name}: there is no kind {record['kind']!r}."
        return
    if record["kind"] in freezes.KINDS and (missing := _missing_freeze(db, record)):
        yield missing
        return
    if record["kind"] in bounties.KINDS and (trouble := bounties.trouble(db, record)):
        yield trouble
        return
    kind, formula, due = _due(db, record)
    if (kind, formula) != (record["kind"], record["formula"]):
        yield _changed_source(record, formula)
    elif [(line["account"], line["micro_credits"]) for line in lines] != due:
        yield f"{name}: its entries are not what its rule gives."


def _due(db: Database, record: dict[str, Any]) -> tuple[str, str, list[tuple[str, int]]]:
    """Kind, formula and entries as the rule gives them now, from the rows before this transaction."""
    if record["kind"] in freezes.KINDS:
        return _due_of_freeze(db, record)
    if record["kind"] in bounties.KINDS:
        return bounties.due(db, record)
    if record["kind"] != "counter":
        kind, formula, due = ledger.reckon(db, record["attribution_id"], before=record["id"])
        return kind, ledger.canonical(formula), due
    wrong = store.rows(
        db,
        "select account, -micro_credits as opposite from ledger_entries where transaction_id = ? order by position",
        json.loads(record["formula"]).get("counters"),
    )
    return "counter", record["formula"], [(line["account"], line["opposite"]) for line in wrong]


def _missing_freeze(db: Database, record: dict[str, Any]) -> str:
    freeze_id, _ = freezes.of_transaction(record["formula"])
    for table, column in (("freezes", "id"), ("freeze_ends", "freeze_id"))[: 1 + (record["kind"] != "freeze")]:
        if not store.value(db, f"select 1 from {table} where {column} = ?", freeze_id):
            return f"{table} {freeze_id}: it is missing; transaction {record['id']} was computed from it."
    return ""


def _due_of_freeze(db: Database, record: dict[str, Any]) -> tuple[str, str, list[tuple[str, int]]]:
    freeze_id, payment = freezes.of_transaction(record["formula"])
    if record["kind"] == "freeze":
        formula, due = freezes.reckon(db, freeze_id, payment=payment, before=record["id"])
        return "freeze", ledger.canonical(formula), due
    kind, formula, due = freezes.reckon_end(db, freeze_id, before=record["id"])
    return kind, ledger.canonical(formula), due


def _changed_entry(db: Database, record: dict[str, Any], lines: list[dict[str, Any]]) -> str | None:
    """The entry that is not what the rule gives, where the transaction's own row is; None where it is that row."""
    known = record["kind"] in ("counter", *freezes.KINDS, *bounties.KINDS) or store.value(
        db, "select 1 from attributions where id = ?", record["attribution_id"]
    )
    if not known or not store.value(db, "select json_valid(?)", record["formula"]):
        return None
    if record["kind"] in bounties.KINDS and bounties.trouble(db, record):
        return None
    kind, formula, due = _due(db, record)
    if (kind, formula) != (record["kind"], record["formula"]):
        return None
    held = {line["position"]: (line["account"], line["micro_credits"]) for line in lines}
    wanted = dict(enumerate(due))
    for position in sorted(held.keys() | wanted.keys()):
        if held.get(position) != wanted.get(position):
            return f"ledger_entries ({record['id']}, {position}): it is not what was written."
    return None


def _changed_source(record: dict[str, Any], now: str) -> str:
    """The chain vouches for the formula in the transaction, so the row whose figures differ from it was changed."""
    then, found = json.loads(record["formula"]), json.loads(now)
    since = f"it is not what transaction {record['id']} was computed from."
    if record["kind"] in freezes.KINDS:
        table = "freezes" if record["kind"] == "freeze" else "freeze_ends"
        return f"{table} {then['freeze_id']}: {since}"
    if record["kind"] in bounties.KINDS:
        return f"bounties {then.get('bounty_id')}: {since}"
    if then["evaluation"] != found["evaluation"] or then["held_out_root"] != found["held_out_root"]:
        return f"evaluations {then['evaluation']['evaluation_id']}: {since}"
    if then["attribution"] != found["attribution"]:
        return f"attributions {then['attribution']['attribution_id']}: {since}"
    before, after = ({p["person_id"]: p for p in side["people"]} for side in (then, found))
    for person in sorted(before.keys() | after.keys()):
        a, b = before.get(person, {}), after.get(person, {})
        if any(a.get(key) != b.get(key) for key in ("rows", "value", "error")):
            return f"attribution_people ({then['attribution']['attribution_id']}, {person}): {since}"
    if (then["policy_id"], then["credits_per_percent"]) != (found["policy_id"], found["credits_per_percent"]):
        return f"policies {then['policy_id']}: {since}"
    return f"ledger_transactions {record['id']}: it is not what its rule gives."
