"""That a row is in a frozen version, or is not: proofs that a stranger checks offline. And what two versions differ in.

A version has two roots: one over its rows in their order, one over their hashes in ascending order. A path below the first
shows a row at its place. Two neighbours below the second, one smaller and one larger than a hash, show that it is not there.
"""

from __future__ import annotations

import json
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Invalid, NotFound
from factory.intake import datasets, formats
from factory.intake.merkle import merkle_path, root_from_path

MOST_SHOWN = 1_000
# By hash, looked up one row at a time: a set of all hashes of a version of a million rows would be built for each query.
_MISSING = (
    "not exists (select 1 from examples t join version_rows o on o.example_id = t.id and o.version_id = {}"
    " where t.dataset_id = :dataset_id and t.content_hash = r.content_hash)"
)


def prove(db: Database, version_id: int, content_hash: str) -> dict[str, Any]:
    """The proof that content with this SHA-256 is in a version, or that it is not, whichever is true.

    Keys: kind ("inclusion" or "absence"), slug, number, row_count, content_hash, and root, position, path; or sorted_root,
    before, after: the neighbours in ascending order, each with content_hash, position and path, or None at an end.
    Raises Invalid for what is no hash, NotFound for an unknown version.
    """
    content_hash = content_hash.strip().lower()
    if len(content_hash) != 64 or set(content_hash) - set("0123456789abcdef"):
        raise Invalid("A content hash is 64 hexadecimal digits: the SHA-256 of an example's canonical text.")
    frozen = datasets.version(db, version_id)
    hashes = [
        record["content_hash"]
        for record in store.rows(
            db, "select content_hash from version_rows where version_id = ? order by position", version_id
        )
    ]
    about = {**{key: frozen[key] for key in ("slug", "number", "row_count")}, "content_hash": content_hash}
    if content_hash in hashes:
        place = hashes.index(content_hash)
        return {"kind": "inclusion", **about, "root": frozen["root"], "position": place, "path": merkle_path(hashes, place)}
    ascending = sorted(hashes)
    above = sum(one < content_hash for one in ascending)
    return {
        "kind": "absence",
        **about,
        "sorted_root": frozen["sorted_root"],
        "before": _neighbour(ascending, above - 1),
        "after": _neighbour(ascending, above),
    }


def _neighbour(ascending: list[str], place: int) -> dict[str, Any] | None:
    if not 0 <= place < len(ascending):
        return None
    return {"content_hash": ascending[place], "position": place, "path": merkle_path(ascending, place)}


def prove_example(db: Database, version_id: int, example_id: int) -> dict[str, Any]:
    """`prove` for an example of this installation, by its number. Raises NotFound."""
    content_hash = store.value(db, "select content_hash from examples where id = ?", example_id)
    if content_hash is None:
        raise NotFound(f"There is no example {example_id}; a dataset's page lists those that are accepted.")
    return {**prove(db, version_id, content_hash), "example_id": example_id}


def prove_messages(db: Database, version_id: int, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """`prove` for somebody's words, brought into canonical form first. Raises Invalid."""
    return prove(db, version_id, formats.content_hash(formats.canonical(messages)))


def check(proof: dict[str, Any]) -> bool:
    """Whether a proof holds against the root that is in it; compare that root with the published one yourself.

    The same few lines, without this program, are in docs/check_proof.py.
    """
    count, wanted = proof["row_count"], proof["content_hash"]
    if proof["kind"] == "inclusion":
        return root_from_path(wanted, proof["position"], count, proof["path"]) == proof["root"]
    before, after = proof["before"], proof["after"]
    sides = [side for side in (before, after) if side]
    return (
        bool(sides)
        and all(
            root_from_path(side["content_hash"], side["position"], count, side["path"]) == proof["sorted_root"]
            for side in sides
        )
        and (before["content_hash"] < wanted if before else after["position"] == 0)
        and (wanted < after["content_hash"] if after else before["position"] == count - 1)
        and (not (before and after) or before["position"] + 1 == after["position"])
    )


def difference(db: Database, older_id: int, newer_id: int) -> dict[str, Any]:
    """What changed from one version of a dataset to another.

    Keys: slug, older and newer (numbers), added, removed, kept (counts), withdrawn (of the removed), people (who added:
    person, added, removed; most first), held_out_changed, policy_changed, and rows: up to 1,000 of what was added or
    removed, each with example_id, content, change. Raises NotFound, Invalid for versions of two datasets.
    """
    older, newer = datasets.version(db, older_id), datasets.version(db, newer_id)
    if older["dataset_id"] != newer["dataset_id"]:
        raise Invalid("These are versions of two datasets; choose two of the same one.")
    people, rows = _changed(db, older, newer)
    known = "select id, display_name from people where id in (select value from json_each(?))"
    names = dict(db.execute(known, [json.dumps([who for who, _, _ in people])]).fetchall())
    contents = datasets.contents(db, [one for one, _ in rows])
    added, removed = sum(person[1] for person in people), sum(person[2] for person in people)
    told = [{"person": names[who], "added": came, "removed": went} for who, came, went in people]
    return {
        "slug": newer["slug"],
        "older": older["number"],
        "newer": newer["number"],
        "added": added,
        "removed": removed,
        "withdrawn": _withdrawn_since(db, older_id, newer) if removed else 0,
        "kept": newer["row_count"] - added,
        "people": sorted(told, key=lambda one: (-int(one["added"]), -int(one["removed"]), one["person"])),
        "held_out_changed": older["held_out_root"] != newer["held_out_root"],
        "policy_changed": older["policy_id"] != newer["policy_id"],
        "rows": [
            {"example_id": one, "content": content, "change": change}
            for (one, change), content in zip(rows, contents, strict=True)
        ],
    }


def _changed(db: Database, older: dict[str, Any], newer: dict[str, Any]) -> tuple[list[list[int]], list[tuple[int, str]]]:
    """Who added and removed how much from one version to another, and the first thousand changed rows.

    [person's id, added, removed] and (example's id, change). Versions stay as they are, so what was found is kept.
    """
    ids = {"older": older["id"], "newer": newer["id"], "dataset_id": newer["dataset_id"]}
    kept = store.row(db, "select people, rows from version_changes where older_id = :older and newer_id = :newer", **ids)
    if kept is not None:
        return json.loads(kept["people"]), json.loads(kept["rows"])
    found = db.execute(
        "select r.example_id, e.person_id, 'added' from version_rows r join examples e on e.id = r.example_id"
        f" where r.version_id = :newer and {_MISSING.format(':older')} union all"
        " select r.example_id, e.person_id, 'removed' from version_rows r join examples e on e.id = r.example_id"
        f" where r.version_id = :older and {_MISSING.format(':newer')}",
        ids,
    )
    counted: dict[int, list[int]] = {}
    rows: list[tuple[int, str]] = []
    for example_id, person_id, change in found:
        counted.setdefault(person_id, [person_id, 0, 0])[1 if change == "added" else 2] += 1
        if len(rows) < MOST_SHOWN:
            rows.append((example_id, change))
    record = [older["id"], newer["id"], json.dumps(list(counted.values())), json.dumps(rows)]
    with store.writing(db):  # somebody else may have been quicker
        db.execute("insert or ignore into version_changes (older_id, newer_id, people, rows) values (?, ?, ?, ?)", record)
    return list(counted.values()), rows


def _withdrawn_since(db: Database, older_id: int, newer: dict[str, Any]) -> int:
    """How many rows of the older version were withdrawn and are not in the newer."""
    sql = (
        "select count(*) from withdrawn_rows w join examples r on r.id = w.example_id"
        f" where w.version_id = :older and {_MISSING.format(':newer')}"
    )
    return int(store.value(db, sql, older=older_id, newer=newer["id"], dataset_id=newer["dataset_id"]))
