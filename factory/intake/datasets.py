"""Datasets, their sealed held-out rows and their frozen versions.

Version v is what was accepted by v and not withdrawn by v, in the order in which it came. Its Merkle root names exactly
these rows in this order: whoever has the rows can compute it, and nobody can change one without changing it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.intake import checks, formats, judging
from factory.intake import policy as policies
from factory.intake.merkle import merkle_root
from factory.intake.policy import LICENCES, Policy

Progress = Callable[[str, int, int], None]  # what is being done, how much of it, of how much
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?")
MAX_HELD_OUT = 5_000
STATES = ("waiting", "accepted", "returned", "rejected", "refused", "withdrawn")
DAY_SECONDS = 24 * 3600.0
AT_ONCE = 20_000  # rows of a version between two words on how far it is
OVERVIEW = """
    select d.*, p.display_name as owner, coalesce(c.accepted, 0) as accepted, coalesce(c.waiting, 0) as waiting,
        coalesce(c.refused, 0) as refused, coalesce(c.rejected, 0) as rejected, coalesce(c.returned, 0) as returned,
        coalesce(c.withdrawn, 0) as withdrawn, coalesce(c.people, 0) as people,
        (select count(*) from dataset_versions v where v.dataset_id = d.id) as versions,
        (select row_count from held_out_sets h where h.dataset_id = d.id order by h.id desc limit 1) as held_out_rows
    from datasets d join people p on p.id = d.owner_id left join (
        select dataset_id, sum(accepted) as accepted, sum(waiting) as waiting, sum(refused) as refused,
            sum(rejected) as rejected, sum(returned) as returned, sum(withdrawn) as withdrawn, sum(accepted > 0) as people
        from tallies group by dataset_id
    ) c on c.dataset_id = d.id
"""
VERSION = """
    select v.*, d.slug, d.title, d.licence, d.is_demo, h.root as held_out_root, h.row_count as held_out_rows
    from dataset_versions v join datasets d on d.id = v.dataset_id left join held_out_sets h on h.id = v.held_out_set_id
"""


def _untold(words: str, done: int, of: int) -> None:
    """Where nobody wants to hear how far it is."""


def create(
    db: Database,
    *,
    slug: str,
    title: str,
    purpose: str,
    guidelines: str,
    licence: str,
    owner: Person,
    policy: Policy | None = None,
    is_demo: bool = False,
) -> dict[str, Any]:
    """Open a dataset; needs the role curator.

    Raises NotAllowed, Invalid with every problem, Conflict when the slug is taken.
    """
    people.need(owner, "curator")
    slug = slug.strip().lower()
    problems = []
    if not SLUG.fullmatch(slug) or slug.isdigit():
        problems.append("A short name has up to 60 letters a-z, digits and dashes, and is not a number alone.")
    for name, text, limit in (("title", title, 120), ("purpose", purpose, 4_000), ("guidelines", guidelines, 20_000)):
        if not 1 <= len(text.strip()) <= limit:
            problems.append(f"The {name} has 1 to {limit:,} characters; it has {len(text.strip()):,}.")
    if licence not in LICENCES:
        problems.append(f"The licence {licence!r} is not known here; choose {', '.join(LICENCES)}.")
    if problems:
        raise Invalid(problems)
    record = {
        "slug": slug,
        "title": title.strip(),
        "purpose": purpose.strip(),
        "guidelines": guidelines.strip(),
        "licence": licence,
        "owner_id": owner.id,
        "is_demo": int(is_demo),
        "created_at": store.now(),
    }
    with store.writing(db):
        if store.value(db, "select 1 from datasets where slug = ?", slug):
            raise Conflict(f"The short name {slug!r} is taken; choose another.")
        dataset_id = store.insert(db, "datasets", record)
        _write_policy(db, dataset_id, policy or Policy(), owner)
    return get(db, dataset_id)


def _write_policy(db: Database, dataset_id: int, policy: Policy, person: Person, reason: str = "") -> None:
    number = 1 + (store.value(db, "select max(version) from policies where dataset_id = ?", dataset_id) or 0)
    rules = policies.to_json(policy)
    record = {"dataset_id": dataset_id, "version": number, "rules": rules, "set_by": person.id, "set_at": store.now()}
    store.insert(db, "policies", {**record, "reason": reason})


def get(db: Database, id_or_slug: int | str) -> dict[str, Any]:
    """One dataset with its counts, as `everything` has them. Raises NotFound."""
    column = "id" if isinstance(id_or_slug, int) or id_or_slug.isdigit() else "slug"
    found = store.row(db, f"{OVERVIEW} where d.{column} = ?", id_or_slug)
    if found is None:
        raise NotFound(f"There is no dataset {id_or_slug!r}; `datasets list` shows those there are.")
    return found


def everything(db: Database) -> list[dict[str, Any]]:
    """All datasets, newest first, in one query.

    Dictionaries with the columns of `datasets`, owner (a name), accepted, waiting, refused, rejected, returned, withdrawn,
    people (with something accepted), versions, held_out_rows (None: nothing sealed).
    """
    return store.rows(db, f"{OVERVIEW} order by d.id desc")


def set_policy(db: Database, dataset_id: int, policy: Policy, *, person: Person, reason: str = "") -> int:
    """Make these rules count from now on; what was decided stays. The id of the policy. For its owner or a curator."""
    _need_keeper(db, dataset_id, person)
    with store.writing(db):
        if policies.current(db, dataset_id)[1] != policy:
            _write_policy(db, dataset_id, policy, person, reason)
        return policies.current(db, dataset_id)[0]


def policy_history(db: Database, dataset_id: int) -> list[dict[str, Any]]:
    """All policies a dataset had, newest first: id, version, rules (JSON), set_by (a name), set_at, reason."""
    return store.rows(
        db,
        "select q.id, q.version, q.rules, p.display_name as set_by, q.set_at, q.reason from policies q"
        " join people p on p.id = q.set_by"
        " where q.dataset_id = ? order by q.version desc",
        dataset_id,
    )


def _need_keeper(db: Database, dataset_id: int, person: Person) -> None:
    owner_id = store.value(db, "select owner_id from datasets where id = ?", dataset_id)
    if owner_id is None:
        raise NotFound(f"There is no dataset {dataset_id}; `datasets list` shows those there are.")
    if person.paused:
        raise NotAllowed(person.paused)
    if owner_id != person.id and not person.may("curator"):
        raise NotAllowed("Only the owner of this dataset or a curator may do that; ask one of them.")


def seal_held_out(
    db: Database, dataset_id: int, *, person: Person, rows: Sequence[list[dict[str, Any]]], tell: Progress | None = None
) -> dict[str, Any]:
    """Seal rows that adapters are measured with: nobody can submit them, no version holds them. The newest set counts.

    Needs the role curator. Raises Invalid, listing rows that checks refuse, that repeat each other, or that are too close to
    an example already taken in. Gives id, root, row_count. What `tell` raises stops it, and nothing is sealed.
    """
    people.need(person, "curator")
    _, policy = policies.current(db, dataset_id)
    if not 1 <= len(rows) <= MAX_HELD_OUT:
        raise Invalid(f"A held-out set has 1 to {MAX_HELD_OUT:,} rows; these are {len(rows):,}.")
    contents, problems = judging.sealable(rows, policy)
    since, of = (int(store.value(db, "select coalesce(max(id), 0) from examples")), store.now()), _taken_in(db, dataset_id)
    told = tell or _untold
    # Every example is read, which may take minutes: before the transaction, and in it only what came meanwhile.
    problems += judging.leaks(db, dataset_id, contents, policy, tell=lambda n: told("comparing", n, max(of, n)))
    with store.writing(db):
        late = judging.leaks(db, dataset_id, contents, policy, since=since)
        problems = list(dict.fromkeys([*problems, *late]))
        if problems:
            more = len(problems) - 20
            raise Invalid([*problems[:20], *([f"And {more:,} more."] if more > 0 else [])])
        hashes = [formats.content_hash(content) for content in contents]
        record = {
            "dataset_id": dataset_id,
            "root": merkle_root(hashes),
            "row_count": len(contents),
            "sealed_by": person.id,
            "sealed_at": store.now(),
        }
        set_id = store.insert(db, "held_out_sets", record)
        db.conn.executemany(
            "insert into held_out_rows (set_id, position, content, content_hash) values (?, ?, ?, ?)",
            [(set_id, i, content, digest) for i, (content, digest) in enumerate(zip(contents, hashes, strict=True))],
        )
    return {"id": set_id, "root": record["root"], "row_count": len(contents)}


def _taken_in(db: Database, dataset_id: int) -> int:
    found = counts(db, dataset_id)
    return found["waiting"] + found["accepted"] + found["returned"]


def held_out(db: Database, dataset_id: int) -> dict[str, Any] | None:
    """The newest held-out set of a dataset: id, root, row_count, sealed_at; None when nothing is sealed."""
    return store.row(
        db,
        "select id, root, row_count, sealed_at from held_out_sets where dataset_id = ? order by id desc limit 1",
        dataset_id,
    )


def held_out_content(db: Database, set_id: int) -> list[str]:
    """The canonical texts of a held-out set, in order; for measuring only, never shown before an adapter is evaluated."""
    return [
        r["content"] for r in store.rows(db, "select content from held_out_rows where set_id = ? order by position", set_id)
    ]


def freeze(db: Database, dataset_id: int, *, person: Person, note: str = "", tell: Progress | None = None) -> dict[str, Any]:
    """Freeze what is accepted now as the next version; for the owner or a curator.

    What `tell` raises stops it, and nothing is frozen: all of it is one transaction.
    Raises NotAllowed, NotFound, Invalid when nothing is accepted, Conflict when nothing changed since the latest version.
    """
    _need_keeper(db, dataset_id, person)
    told = tell or _untold
    with store.writing(db):
        taken = _accepted(db, dataset_id, told)
        if not taken:
            raise Invalid("Nothing is accepted yet, so there is nothing to freeze; review what waits first.")
        hashes = [digest for _, digest in taken]
        told("hashing", 0, 2)
        root = merkle_root(hashes)
        told("hashing", 1, 2)
        sealed = held_out(db, dataset_id)
        latest = store.row(db, f"{VERSION} where v.dataset_id = ? order by v.number desc limit 1", dataset_id)
        set_id = sealed["id"] if sealed else None
        if latest and latest["root"] == root and latest["held_out_set_id"] == set_id:
            raise Conflict(f"Nothing changed since version {latest['number']}; use that one.")
        record = {
            "dataset_id": dataset_id,
            "number": 1 + (latest["number"] if latest else 0),
            "root": root,
            "sorted_root": merkle_root(sorted(hashes)),
            "row_count": len(taken),
            "held_out_set_id": set_id,
            "policy_id": policies.current(db, dataset_id)[0],
            "note": note.strip()[:500],
            "frozen_by": person.id,
            "frozen_at": store.now(),
        }
        version_id = store.insert(db, "dataset_versions", record)
        for place in range(0, len(taken), AT_ONCE):
            told("writing", place, len(taken))
            db.conn.executemany(
                "insert into version_rows (version_id, position, example_id, content_hash) values (?, ?, ?, ?)",
                [(version_id, place + n, *row) for n, row in enumerate(taken[place : place + AT_ONCE])],
            )
        told("writing", len(taken), len(taken))
    return version(db, version_id)


def _accepted(db: Database, dataset_id: int, tell: Progress) -> list[tuple[int, str]]:
    """Id and hash of each accepted example, in order."""
    of = counts(db, dataset_id)["accepted"]
    cursor = db.execute(
        "select e.id, e.content_hash from example_states s join examples e on e.id = s.example_id"
        " where s.dataset_id = ? and s.state = 'accepted' order by e.id",
        [dataset_id],
    )
    taken: list[tuple[int, str]] = []
    while some := cursor.fetchmany(AT_ONCE):
        taken += some
        tell("reading", len(taken), max(of, len(taken)))
    return taken


def version(db: Database, version_id: int) -> dict[str, Any]:
    """One version: the columns of `dataset_versions`, slug, title, licence, is_demo, held_out_root, held_out_rows.

    Raises NotFound.
    """
    found = store.row(db, f"{VERSION} where v.id = ?", version_id)
    if found is None:
        raise NotFound(f"There is no dataset version {version_id}; `datasets show` lists those of a dataset.")
    return found


def versions(db: Database, dataset_id: int | None = None) -> list[dict[str, Any]]:
    """The versions of a dataset, or of all, newest first."""
    return store.rows(
        db, f"{VERSION} where :dataset_id is null or v.dataset_id = :dataset_id order by v.id desc", dataset_id=dataset_id
    )


def numbered(db: Database, slug: str, number: int | None = None) -> dict[str, Any]:
    """The version of a dataset with this number, the newest without one. Raises NotFound."""
    found = versions(db, get(db, slug)["id"])
    chosen = next((one for one in found if number in (None, one["number"])), None)
    if chosen is None:
        raise NotFound(f"{slug} has no version{f' {number}' if number else ''}; list its versions, or freeze one first.")
    return chosen


def version_content(db: Database, version_id: int) -> Iterator[tuple[int, int, str]]:
    """(position, example id, canonical text) of a version's rows, in order."""
    sql = (
        "select r.position, r.example_id, e.content from version_rows r join examples e on e.id = r.example_id"
        " where r.version_id = ? order by r.position"
    )
    yield from db.execute(sql, [version_id])


def version_sizes(db: Database, version_id: int) -> list[tuple[int, int]]:
    """(example id, bytes of its canonical text) of a version's rows, in order."""
    sql = (
        "select r.example_id, e.bytes from version_rows r join examples e on e.id = r.example_id"
        " where r.version_id = ? order by r.position"
    )
    return db.execute(sql, [version_id]).fetchall()


def contents(db: Database, example_ids: Sequence[int]) -> list[str]:
    """The canonical texts of these examples, in their order."""
    sql = "select id, content from examples where id in (select value from json_each(?))"
    found = dict(db.execute(sql, [json.dumps(list(example_ids))]).fetchall())
    return [found[example_id] for example_id in example_ids]


def verify_version(db: Database, version_id: int) -> None:
    """Recompute every hash and the root of a version and of its held-out set.

    Raises Invalid, naming the first row that differs.
    """
    frozen = version(db, version_id)
    name = f"{frozen['slug']} version {frozen['number']}"
    sql = (
        "select r.position, r.example_id, r.content_hash, e.content, e.content_hash as own_hash from version_rows r"
        " left join examples e on e.id = r.example_id where r.version_id = ? order by r.position"
    )
    rows = store.rows(db, sql, version_id)
    _verify_rows(name, rows, frozen["root"], frozen["row_count"])
    if merkle_root(sorted(row["content_hash"] for row in rows)) != frozen["sorted_root"]:
        raise Invalid(f"The root of the sorted hashes of {name} is not what was frozen; restore the database from a backup.")
    if frozen["held_out_set_id"] is not None:
        sql = "select position, content_hash, content from held_out_rows where set_id = ? order by position"
        rows = store.rows(db, sql, frozen["held_out_set_id"])
        _verify_rows(f"the held-out set of {name}", rows, frozen["held_out_root"], frozen["held_out_rows"])


def _verify_rows(name: str, rows: list[dict[str, Any]], root: str, row_count: int) -> None:
    for expected, row in enumerate(rows):
        where = f"Row {row['position']} of {name}" + (f" (example {row['example_id']})" if "example_id" in row else "")
        if row["position"] != expected:
            raise Invalid(f"Row {expected} of {name} is missing; restore the database from a backup.")
        if row["content"] is None or formats.content_hash(row["content"]) != row["content_hash"]:
            raise Invalid(f"{where} is not what was frozen; restore the database from a backup.")
        if row.get("own_hash", row["content_hash"]) != row["content_hash"]:
            raise Invalid(f"{where} has another hash than its example; restore the database from a backup.")
    if len(rows) != row_count or merkle_root([row["content_hash"] for row in rows]) != root:
        raise Invalid(f"The rows of {name} do not give its root; rows were added, taken away or put in another order.")


def counts(db: Database, dataset_id: int) -> dict[str, int]:
    """How many examples of a dataset are in each state; every state is a key."""
    sums = ", ".join(f"coalesce(sum({state}), 0) as {state}" for state in STATES)
    found = store.row(db, f"select {sums} from tallies where dataset_id = ?", dataset_id)
    return {state: found[state] for state in STATES} if found else dict.fromkeys(STATES, 0)


def refusals(db: Database, dataset_id: int) -> list[dict[str, Any]]:
    """How often each rule refused an example, the most frequent first: code, title, examples, people."""
    found = store.rows(
        db,
        "select code, sum(examples) as examples, count(*) as people from refused_by_rule where dataset_id = ?"
        " group by code order by 2 desc, 1",
        dataset_id,
    )
    return [{**record, "title": checks.RULES[record["code"]].title} for record in found]


def rejections(db: Database, dataset_id: int) -> list[dict[str, Any]]:
    """Why reviewers rejected or returned examples, the most frequent reason first: decision, reason, examples."""
    return store.rows(
        db,
        "select state as decision, nullif(reason, '') as reason, examples from turned_down"
        " where dataset_id = ? and examples > 0 order by 3 desc",
        dataset_id,
    )


def acceptance_over_time(db: Database, dataset_id: int, *, days: int = 90) -> list[dict[str, Any]]:
    """What was decided each day (UTC) on which something was, oldest first: day (ISO date), accepted, rejected, returned."""
    return store.rows(
        db,
        "select date(day * 86400, 'unixepoch') as day, sum(examples * (decision = 'accepted')) as accepted,"
        " sum(examples * (decision = 'rejected')) as rejected, sum(examples * (decision = 'returned')) as returned"
        " from decided_days where dataset_id = ? and day > ? group by 1 having sum(examples) > 0 order by 1",
        dataset_id,
        int(store.now() // DAY_SECONDS) - days,
    )
