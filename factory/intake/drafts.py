"""Rows that somebody prepares before sending them: kept as they are mended, so that a lost connection loses nothing.

A draft is its author's alone: nobody else can open it, whatever their role, and nothing in it is counted anywhere. It is
judged by the code that judges a submission. It goes away once its rows are sent, when it is deleted, or after 30 days in
which nobody touched it. Somebody has at most 20 of them, with at most 64 MB in all.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotFound
from factory.base.people import Person
from factory.intake import checks, formats, judging, provenance
from factory.intake import policy as policies
from factory.intake.checks import Finding
from factory.intake.formats import Row
from factory.intake.judging import Judged
from factory.intake.policy import Policy

SOURCES = ("form", "file", "terminal", "api")
MOST, MOST_BYTES, KEPT_DAYS = 20, 64_000_000, 30
BATCH = 100  # rows that are judged and kept at once: what a stop in between loses at most
SHOWN = {  # what a list of a draft's rows can be narrowed to
    "all": "not dropped",
    "refused": "not dropped and state = 'refused'",
    "hints": "not dropped and state = 'hints'",
    "clean": "not dropped and state = 'clean'",
    "to confirm": "not dropped and proposed",
    "edited": "not dropped and edited",
    "dropped": "dropped",
}
_READ = "select position, messages, problem, raw, place, given_under"
_AS_ROW, _WHOLE = f"{_READ} from draft_rows", f"{_READ}, proposed, dropped, edited, state, own, among from draft_rows"


def begin(
    db: Database,
    dataset_id: int,
    *,
    person: Person,
    rows: Sequence[Row],
    source: str = "file",
    file_name: str | None = None,
    file_format: str | None = None,
    note: str = "",
    proposed: bool = False,
) -> int:
    """Keep rows as a draft, unjudged still; its id. Rows that could not be read are kept with their problem.

    `proposed`: they were made from a document, and none is sent before its author confirms it. Raises NotAllowed without
    the role contributor, NotFound, Invalid for no rows or over 10,000, Conflict when the drafts become too many or large.
    """
    people.need(person, "contributor")
    policies.current(db, dataset_id)
    judging.bounded(rows)
    if source not in SOURCES:
        raise Invalid(f"A draft comes by {', '.join(SOURCES)}, not by {source!r}.")
    records = [_record(row, proposed=proposed) for row in rows]
    with store.writing(db):
        _forget(db, "changed_at < ?", store.now() - KEPT_DAYS * 86_400)
        _need_room(db, person, sum(len(record["messages"] or record["raw"]) for record in records), form=source == "form")
        now = store.now()
        about = {"dataset_id": dataset_id, "person_id": person.id, "source": source, "created_at": now, "changed_at": now}
        named = {"file_name": (file_name or "")[:200] or None, "file_format": file_format, "note": note[:500]}
        draft_id = store.insert(db, "drafts", {**about, **named})
        for record in records:
            store.insert(db, "draft_rows", {"draft_id": draft_id, **record})
    return draft_id


def _record(row: Row, *, proposed: bool) -> dict[str, Any]:
    place: Any = getattr(row, "place", None)
    return {
        "position": row.position,
        "messages": None if row.messages is None else json.dumps(row.messages, ensure_ascii=True),
        "problem": row.problem,
        "raw": row.raw.encode(errors="replace").decode(),
        "place": None if place is None else json.dumps(vars(place)),
        "given_under": getattr(row, "given_under", ""),
        "proposed": int(proposed),
    }


def _need_room(db: Database, person: Person, more: int, *, form: bool) -> None:
    held = store.row(
        db,
        "select count(distinct d.id) filter (where d.source <> 'form') as drafts,"
        " coalesce(sum(length(r.messages)), 0) as bytes from drafts d"
        " left join draft_rows r on r.draft_id = d.id where d.person_id = ?",
        person.id,
    ) or {"drafts": 0, "bytes": 0}
    if held["drafts"] >= MOST and not form:  # what is being typed always has a place
        raise Conflict(f"You have {held['drafts']} drafts, the most there can be; send or delete one, then begin another.")
    if held["bytes"] + more > MOST_BYTES:
        raise Conflict(
            f"This has {more / 1e6:,.0f} MB and your drafts may have {MOST_BYTES / 1e6:,.0f} MB together, of which"
            f" {held['bytes'] / 1e6:,.0f} are taken; send or delete a draft, or split the file."
        )


def get(db: Database, draft_id: int, *, person: Person) -> dict[str, Any]:
    """One's own draft: id, dataset_id, slug, source, file_name, file_format, note, checked_at, created_at, changed_at, and
    how many rows it has by state: rows, unchecked, refused, hints, clean, to_confirm, edited, dropped.

    Raises NotFound, also for a draft of somebody else.
    """
    found = next(iter(listing(db, person, draft_id=draft_id)), None)
    if found is None:
        raise NotFound(f"You have no draft {draft_id}; perhaps it was sent or deleted. Your drafts stand on Contribute.")
    return found


def listing(
    db: Database, person: Person, *, dataset_id: int | None = None, draft_id: int | None = None
) -> list[dict[str, Any]]:
    """One's own drafts, the one touched last first; the keys are those of `get`."""
    return store.rows(
        db,
        """select d.id, d.dataset_id, s.slug, d.source, d.file_name, d.file_format, d.note, d.rules, d.checked_at,
            d.created_at, d.changed_at, count(*) filter (where not dropped) as rows,
            count(*) filter (where not dropped and state = 'unchecked') as unchecked,
            count(*) filter (where not dropped and state = 'refused') as refused,
            count(*) filter (where not dropped and state = 'hints') as hints,
            count(*) filter (where not dropped and state = 'clean') as clean,
            count(*) filter (where not dropped and proposed) as to_confirm,
            count(*) filter (where not dropped and edited) as edited, count(*) filter (where dropped) as dropped
        from drafts d join datasets s on s.id = d.dataset_id join draft_rows r on r.draft_id = d.id
        where d.person_id = :person_id and (:dataset_id is null or d.dataset_id = :dataset_id)
            and (:draft_id is null or d.id = :draft_id)
        group by d.id order by d.changed_at desc, d.id desc""",
        person_id=person.id,
        dataset_id=dataset_id,
        draft_id=draft_id,
    )


def rows(
    db: Database, draft_id: int, *, person: Person, shown: str = "all", limit: int = 50, offset: int = 0
) -> list[dict[str, Any]]:
    """Rows of one's own draft in their order, those of a key of SHOWN.

    Dictionaries with position, messages (or None), problem, raw, place (or None), proposed, dropped, edited, state and
    findings. Raises NotFound, Invalid.
    """
    get(db, draft_id, person=person)
    if shown not in SHOWN:
        raise Invalid(f"Rows can be narrowed to {', '.join(SHOWN)}, not to {shown!r}.")
    narrowed = f"{_WHOLE} where draft_id = ? and {SHOWN[shown]} order by position limit ? offset ?"
    found = store.rows(db, narrowed, draft_id, limit, offset)
    return [_shown(record) for record in found]


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    findings = json.loads(record.pop("own") or "[]") + json.loads(record.pop("among"))
    for name in ("messages", "place"):
        record[name] = None if record[name] is None else json.loads(record[name])
    flags = {name: bool(record[name]) for name in ("proposed", "dropped", "edited")}
    return {**record, **flags, "findings": findings}


def row(db: Database, draft_id: int, position: int, *, person: Person) -> dict[str, Any]:
    """One row of one's own draft, with the keys of `rows`. Raises NotFound."""
    get(db, draft_id, person=person)
    found = store.row(db, f"{_WHOLE} where draft_id = ? and position = ?", draft_id, position)
    if found is None:
        raise NotFound(f"Draft {draft_id} has no row {position + 1:,}; it begins with row 1.")
    return _shown(found)


def at(db: Database, draft_id: int, positions: Sequence[int], *, person: Person) -> list[dict[str, Any]]:
    """The rows at these places, in order, with the keys of `rows`; at most 1,000 of them. Raises NotFound."""
    get(db, draft_id, person=person)
    asked = list(positions)[:1000]
    marks = ", ".join("?" * len(asked))
    found = store.rows(db, f"{_WHOLE} where draft_id = ? and position in ({marks}) order by position", draft_id, *asked)
    return [_shown(record) for record in found]


def to_confirm(db: Database, draft_id: int, *, person: Person, after: int = -1) -> dict[str, Any] | None:
    """The first row after this place that was proposed and nobody confirmed, with the keys of `rows`, or None."""
    get(db, draft_id, person=person)
    narrowed = f"{_WHOLE} where draft_id = ? and proposed and not dropped and position > ? order by position limit 1"
    found = store.row(db, narrowed, draft_id, after)
    return None if found is None else _shown(found)


def check(
    db: Database, draft_id: int, *, person: Person, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Judge what was not judged yet, or everything where the dataset's rules are new since; then `get`.

    Each hundred rows are kept at once, and `progress` is told (rows judged, rows in all): who stops it there can go on.
    """
    draft = get(db, draft_id, person=person)
    policy_id, policy = policies.current(db, draft["dataset_id"])
    rules = _rules(db, draft["dataset_id"], policy_id)
    if draft["rules"] != rules:
        with store.writing(db):
            db.execute("update draft_rows set own = null, state = 'unchecked' where draft_id = ?", [draft_id])
            db.execute("update drafts set rules = ? where id = ?", [rules, draft_id])
    elif not draft["unchecked"]:
        return draft
    waiting = "select count(*) from draft_rows where draft_id = ? and own is null"
    left = total = int(store.value(db, waiting, draft_id))
    while batch := _unjudged(db, draft_id):
        if progress is not None:
            progress(total - left, total)
        _keep_own(db, draft, batch, policy)
        left -= len(batch)
    _compare(db, draft, policy, person_id=person.id)
    with store.writing(db):
        db.execute("update drafts set checked_at = ? where id = ?", [store.now(), draft_id])
    return get(db, draft_id, person=person)


def check_again(
    db: Database, draft_id: int, *, person: Person, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """`check` of every row from the beginning: others may have offered the same in the meantime."""
    get(db, draft_id, person=person)
    with store.writing(db):
        db.execute("update drafts set rules = '' where id = ?", [draft_id])
    return check(db, draft_id, person=person, progress=progress)


def _rules(db: Database, dataset_id: int, policy_id: int) -> str:
    sealed = store.value(db, "select max(id) from held_out_sets where dataset_id = ?", dataset_id)
    versions = ",".join(f"{code}{rule.version}" for code, rule in checks.RULES.items())
    return f"policy {policy_id}, held out {sealed}, {versions}"


def _unjudged(db: Database, draft_id: int) -> list[Row]:
    unjudged = f"{_AS_ROW} where draft_id = ? and own is null order by position limit ?"
    found = store.rows(db, unjudged, draft_id, BATCH)
    return [_row(record) for record in found]


def _row(record: dict[str, Any]) -> Row:
    messages = None if record["messages"] is None else json.loads(record["messages"])
    place = provenance.said(json.loads(record["place"] or "null"))
    return Row(record["position"], messages, record["problem"], record["raw"], place, record["given_under"])


def _keep_own(db: Database, draft: dict[str, Any], batch: list[Row], policy: Policy) -> None:
    judged = judging.against(db, draft["dataset_id"], judging.alone(batch, policy), policy)
    with store.writing(db):
        for verdict in judged:
            db.execute(
                "update draft_rows set own = ?, own_refused = ?, bytes = ? where draft_id = ? and position = ?",
                [_json(verdict.findings), int(verdict.refused), len((verdict.content or "").encode()), draft["id"],
                 verdict.position],
            )  # fmt: skip


def _json(findings: Sequence[Finding], *more: dict[str, Any]) -> str:
    return json.dumps([*(dataclasses.asdict(found) for found in findings), *more], ensure_ascii=True)


def _compare(
    db: Database, draft: dict[str, Any], policy: Policy, *, person_id: int | None = None, changed: int | None = None
) -> None:
    """What the rows of a draft say of each other, written where it differs from what was known.

    Rows nobody confirmed come last, so that none of them can make a confirmed one a repetition. Only the writing is a
    transaction. Triggers are slow, and looked for with `person_id`; else hints at them stay but for the row `changed`.
    """
    found = store.rows(
        db,
        "select position, messages, own, own_refused, among, state from draft_rows"
        " where draft_id = ? and not dropped and own is not null order by proposed, position",
        draft["id"],
    )
    rows, changes = [_alone(record) for record in found], []
    together = person_id is not None and judging.together(db, draft["dataset_id"], rows, policy, person_id=person_id)
    for record, verdict in zip(found, together or judging.within(rows, policy), strict=True):
        stays = not (together or verdict.refused or verdict.position == changed)
        hints = [hint for hint in json.loads(record["among"]) if stays and hint["code"] == "repeated_trigger"]
        known = verdict.findings or hints or record["own"] != "[]"
        state, among = "refused" if verdict.refused else "hints" if known else "clean", _json(verdict.findings, *hints)
        if (among, state) != (record["among"], record["state"]):
            changes.append((among, state, draft["id"], verdict.position))
    with store.writing(db):
        db.conn.executemany("update draft_rows set among = ?, state = ? where draft_id = ? and position = ?", changes)


def _alone(record: dict[str, Any]) -> Judged:
    """A row as `judging.within` takes it: refused ones without their text, as nothing can repeat them."""
    refused = bool(record["own_refused"])
    content = None if refused else formats.canonical(json.loads(record["messages"]))
    return Judged(record["position"], content, [], refused)


def edit(db: Database, draft_id: int, position: int, *, person: Person, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Put other words into a row and judge it anew, with what that means for rows that repeat it; the row, as `row`.

    Its author wrote it, so a row that was proposed is confirmed. Raises NotFound, Invalid when these are no turns.
    """
    draft = get(db, draft_id, person=person)
    before = row(db, draft_id, position, person=person)
    if not isinstance(messages, list) or not all(isinstance(turn, dict) for turn in messages):
        raise Invalid("A row is a list of turns, each with a role and a content.")
    _, policy = policies.current(db, draft["dataset_id"])
    with store.writing(db):
        db.execute(
            "update draft_rows set messages = ?, problem = null, edited = 1, proposed = 0, dropped = 0, own = null,"
            " state = 'unchecked' where draft_id = ? and position = ?",
            [json.dumps(messages, ensure_ascii=True), draft_id, position],
        )
        _touch(db, draft_id)
    _keep_own(db, draft, [Row(position, messages, None, "", None, before["given_under"])], policy)
    _compare(db, draft, policy, changed=position)
    return row(db, draft_id, position, person=person)


def set_apart(
    db: Database, draft_id: int, positions: Sequence[int], *, person: Person, dropped: bool = True
) -> dict[str, Any]:
    """Drop rows, or bring dropped ones back; then `get`."""
    return _mark(db, draft_id, positions, person=person, column="dropped", to=int(dropped))


def confirm(
    db: Database, draft_id: int, positions: Sequence[int], *, person: Person, confirmed: bool = True
) -> dict[str, Any]:
    """Say of proposed rows that they are as they should be, or take that back; then `get`."""
    return _mark(db, draft_id, positions, person=person, column="proposed", to=int(not confirmed))


def _mark(db: Database, draft_id: int, positions: Sequence[int], *, person: Person, column: str, to: int) -> dict[str, Any]:
    draft = get(db, draft_id, person=person)
    _, policy = policies.current(db, draft["dataset_id"])
    with store.writing(db):
        for position in positions:
            db.execute(f"update draft_rows set {column} = ? where draft_id = ? and position = ?", [to, draft_id, position])
        _touch(db, draft_id)
    _compare(db, draft, policy)
    return get(db, draft_id, person=person)


def _touch(db: Database, draft_id: int) -> None:
    db.execute("update drafts set changed_at = ? where id = ?", [store.now(), draft_id])


def good(db: Database, draft_id: int, *, person: Person) -> list[dict[str, int]]:
    """The rows that could be sent, in order: position and bytes. Raises NotFound."""
    get(db, draft_id, person=person)
    return store.rows(
        db,
        "select position, bytes from draft_rows where draft_id = ? and not dropped and not proposed"
        " and state in ('clean', 'hints') order by position",
        draft_id,
    )


def taken_out(db: Database, draft_id: int, positions: Sequence[int], *, person: Person) -> list[Row]:
    """The rows at these places, as `contributions.submit` takes them. Raises NotFound."""
    get(db, draft_id, person=person)
    wanted = set(positions)
    found = store.rows(db, f"{_AS_ROW} where draft_id = ? order by position", draft_id)
    return [_row(record) for record in found if record["position"] in wanted]


def sent(db: Database, draft_id: int, positions: Sequence[int]) -> None:
    """Take rows out that were submitted, and the draft with the last of them; in the transaction of the submission.

    What is left is judged anew when it is looked at. Raises Conflict when one is gone: it was sent from another window.
    """
    for position in positions:
        gone = db.execute("delete from draft_rows where draft_id = ? and position = ?", [draft_id, position]).rowcount
        if not gone:
            raise Conflict("These rows were sent already, from another window; nothing was sent twice.")
    if not store.value(db, "select count(*) from draft_rows where draft_id = ? and not dropped", draft_id):
        _forget(db, "id = ?", draft_id)
    else:
        db.execute("update drafts set changed_at = ?, rules = '' where id = ?", [store.now(), draft_id])


def delete(db: Database, draft_id: int, *, person: Person) -> None:
    """Throw one's own draft away. Raises NotFound."""
    get(db, draft_id, person=person)
    with store.writing(db):
        _forget(db, "id = ?", draft_id)


def delete_all(db: Database, person: Person) -> int:
    """Throw all of one's own drafts away, as when an account is closed; how many that were."""
    with store.writing(db):
        return _forget(db, "person_id = ?", person.id)


def _forget(db: Database, which: str, value: float) -> int:
    db.execute(f"delete from draft_rows where draft_id in (select id from drafts where {which})", [value])
    return db.execute(f"delete from drafts where {which}", [value]).rowcount
