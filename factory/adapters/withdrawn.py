"""What was taken back, and everything that had seen it by then: versions, runs, adapters and exports.

A withdrawn row is gone from the next version. What was frozen, trained and paid before stays, so it is listed and marked
instead: here is which row each adapter saw, and how many of these were withdrawn since.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database

from factory.adapters import kept
from factory.base import store
from factory.base.errors import NotFound
from factory.base.people import Person
from factory.intake import contributions

# A run without rows in run_sources has its one version.
RUN_VERSIONS = "(select run_id, version_id from run_sources union select id, version_id from runs)"


def saw(db: Database, example_id: int, *, person: Person) -> dict[str, Any]:
    """Everything that holds an example or was trained on it, whether it was withdrawn or not.

    Keys: example_id, state, withdrawn_at (None: it was not), versions (slug, number, frozen_at), runs (id, name, status,
    adapter_id or None), adapters (id, name, run_id, kept_at, exports: their files' number). Open to whoever may see the
    example; raises what `contributions.show` does.
    """
    shown = contributions.show(db, example_id, person=person)
    holding = f"from version_rows r join {RUN_VERSIONS} rv on rv.version_id = r.version_id join runs u on u.id = rv.run_id"
    return {
        "example_id": example_id,
        "state": shown["state"],
        "withdrawn_at": shown["withdrawal"]["at"] if shown["withdrawal"] else None,
        "versions": store.rows(
            db,
            "select d.slug, v.number, v.frozen_at from version_rows r join dataset_versions v on v.id = r.version_id"
            " join datasets d on d.id = v.dataset_id where r.example_id = ? order by v.id",
            example_id,
        ),
        "runs": store.rows(
            db,
            f"select distinct u.id, u.name, u.status, a.id as adapter_id {holding}"
            " left join adapters a on a.run_id = u.id where r.example_id = ? and u.started_at is not null order by u.id",
            example_id,
        ),
        "adapters": store.rows(
            db,
            f"select distinct a.id, a.name, a.run_id, a.kept_at,"
            f" (select count(*) from exports x where x.adapter_id = a.id) as exports {holding}"
            " join adapters a on a.run_id = u.id where r.example_id = ? order by a.id",
            example_id,
        ),
    }


def of_adapter(db: Database, adapter_id: int) -> dict[str, Any]:
    """How many of the rows an adapter was trained on were withdrawn since, as `of_run` has it. Raises NotFound."""
    return of_run(db, kept.get(db, adapter_id)["run_id"])


def of_run(db: Database, run_id: int) -> dict[str, Any]:
    """How many of the rows of a run's versions were withdrawn since they were frozen, and which. Raises NotFound.

    Keys: rows (withdrawn), of (rows of all its versions), before (of `rows`: already withdrawn when the run began), people,
    last_at, content_sha256 (of the withdrawn rows, in order of their hash), sentence (empty where nothing was withdrawn).
    """
    run = store.row(db, "select started_at, status from runs where id = ?", run_id)
    if run is None:
        raise NotFound(f"There is no run {run_id}; `runs list` shows those there are.")
    gone = store.rows(
        db,
        f"select distinct e.content_hash, e.person_id, w.at, coalesce(w.at < :started, 0) as before"
        f" from {RUN_VERSIONS} rv join withdrawn_rows r on r.version_id = rv.version_id"
        " join withdrawals w on w.example_id = r.example_id join examples e on e.id = r.example_id"
        " where rv.run_id = :run_id order by e.content_hash",
        run_id=run_id,
        started=run["started_at"],
    )
    total = store.value(
        db,
        f"select sum(v.row_count) from {RUN_VERSIONS} rv join dataset_versions v on v.id = rv.version_id"
        " where rv.run_id = ?",
        run_id,
    )
    found = {
        "rows": len(gone),
        "of": int(total),
        "before": sum(row["before"] for row in gone),
        "people": len({row["person_id"] for row in gone}),
        "last_at": max((row["at"] for row in gone), default=None),
        "content_sha256": [row["content_hash"] for row in gone],
    }
    told = in_words if run["started_at"] or run["status"] == "done" else in_words_before
    return {**found, "sentence": told(found["rows"], found["of"], found["before"])}


def in_words(rows: int, of: int, before: int = 0) -> str:
    """One sentence on withdrawn rows; none where nothing was withdrawn.

    >>> in_words(2, 300, 1)
    'Trained with 2 rows withdrawn since, of 300; 1 of them was withdrawn already when the training began.'
    >>> in_words(1, 300, 1)
    'Trained with 1 row withdrawn since, of 300; it was withdrawn already when the training began.'
    >>> in_words(0, 300)
    ''
    """
    if not rows:
        return ""
    which = "it" if rows == 1 else f"{before:,} of them"
    early = f"; {which} {'was' if before == 1 else 'were'} withdrawn already when the training began"
    return f"Trained with {rows:,} row{'s' * (rows != 1)} withdrawn since, of {of:,}{early if before else ''}."


def in_words_before(rows: int, of: int, before: int = 0) -> str:
    """The same of a run that has not begun: its data holds them, and nothing is trained yet.

    >>> in_words_before(1, 300)
    'Its data holds 1 row withdrawn since, of 300; a run on the next version would not see it.'
    """
    if not rows:
        return ""
    them = "them" if rows > 1 else "it"
    words = f"Its data holds {rows:,} row{'s' * (rows != 1)} withdrawn since, of {of:,}"
    return f"{words}; a run on the next version would not see {them}."


def marks(db: Database, adapter_ids: Sequence[int]) -> dict[int, int]:
    """Of these adapters, those with withdrawn rows: adapter id to how many."""
    if not adapter_ids:
        return {}
    trained = store.rows(
        db,
        "select a.id, json_group_array(rv.version_id) as versions from adapters a"
        f" join {RUN_VERSIONS} rv on rv.run_id = a.run_id where a.id in (select value from json_each(?)) group by a.id",
        json.dumps(list(adapter_ids)),
    )
    # Many adapters are trained on the same versions: what was withdrawn of those is counted once.
    counted = "select count(distinct example_id) from withdrawn_rows where version_id in (select value from json_each(?))"
    rows = {one["versions"]: int(store.value(db, counted, one["versions"])) for one in trained}
    return {one["id"]: rows[one["versions"]] for one in trained if rows[one["versions"]]}


def of_person(db: Database, person_id: int, *, dataset_id: int | None = None) -> list[dict[str, Any]]:
    """The adapters that saw rows which this person gave and which were withdrawn, newest first; perhaps of one dataset.

    Dictionaries: adapter_id, adapter, run_id, kept_at, rows (theirs), exports (files made of it), slug (of the run's first
    version), version, title.
    """
    return store.rows(
        db,
        f"""select a.id as adapter_id, a.name as adapter, a.run_id, a.kept_at, count(distinct e.id) as rows,
            (select count(*) from exports x where x.adapter_id = a.id) as exports, d.slug, d.title, v.number as version
        from examples e join withdrawals w on w.example_id = e.id join version_rows r on r.example_id = e.id
        join {RUN_VERSIONS} rv on rv.version_id = r.version_id join adapters a on a.run_id = rv.run_id
        join runs u on u.id = a.run_id join dataset_versions v on v.id = u.version_id
        join datasets d on d.id = v.dataset_id
        where e.person_id = :person_id and (:dataset_id is null or e.dataset_id = :dataset_id)
        group by a.id order by a.id desc""",
        person_id=person_id,
        dataset_id=dataset_id,
    )


def since_export(db: Database, adapter_id: int) -> dict[int, int]:
    """The exports of an adapter that were made before rows of its data were withdrawn: export id to how many rows."""
    found = store.rows(
        db,
        f"select x.id, count(distinct w.example_id) as rows from exports x join adapters a on a.id = x.adapter_id"
        f" join {RUN_VERSIONS} rv on rv.run_id = a.run_id join version_rows r on r.version_id = rv.version_id"
        " join withdrawals w on w.example_id = r.example_id and w.at > x.at where x.adapter_id = ? group by x.id",
        adapter_id,
    )
    return {row["id"]: row["rows"] for row in found}
