"""Reports: anybody may say that a row or a person should be looked at; a moderator answers, and the answer is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.intake import formats, sanctions
from factory.intake.sanctions import DAY_SECONDS, MODERATORS, MOST_WORDS, REASONS

DAILY = 10
OPEN = """
    select r.id as report_id, r.reason, r.words, r.at, r.by_id, b.display_name as by_name, r.example_id, e.content,
        s.state, coalesce(r.person_id, e.person_id) as person_id, p.name, p.display_name as person, p.is_demo,
        (select count(*) from sanctions x where x.person_id = p.id) as sanctions_before,
        (select count(*) from reports o join report_answers a on a.report_id = o.id
            where o.by_id = r.by_id and a.answer = 'dismissed') as dismissed_before
    from reports r join people b on b.id = r.by_id left join examples e on e.id = r.example_id
    left join example_states s on s.example_id = e.id join people p on p.id = coalesce(r.person_id, e.person_id)
    where not exists (select 1 from report_answers a where a.report_id = r.id)
"""


def report(
    db: Database, *, by: Person, reason: str, words: str, example_id: int | None = None, who: int | str | None = None
) -> int:
    """Say that a row, or else a person, should be looked at; the report's id. Who it is about never learns who said it.

    Ten a day, one about each row or person. Raises Invalid, NotFound, NotAllowed for one's own and for rows one may not
    see, Conflict beyond the limits.
    """
    sanctions.may_act(db, by)
    problems = []
    if (example_id is None) == (who is None):
        problems.append("Report one row, by its number, or one person, by name.")
    if reason not in REASONS:
        problems.append(f"There is no reason {reason!r}; choose {', '.join(REASONS)}.")
    if not 1 <= len(words.strip()) <= MOST_WORDS:
        problems.append(f"Say in 1 to {MOST_WORDS:,} characters what should be looked at.")
    if problems:
        raise Invalid(problems)
    person_id = people.get(db, who).id if who is not None else None
    with store.writing(db):
        about = _author_seen_by(db, example_id, by) if example_id is not None else person_id
        if about == by.id:
            raise NotAllowed("This is your own; withdraw it, or ask somebody to look at it.")
        since = store.now() - DAY_SECONDS
        if store.value(db, "select count(*) from reports where by_id = ? and at > ?", by.id, since) >= DAILY:
            raise Conflict(f"You reported {DAILY} times within 24 hours, and each is read by somebody; go on tomorrow.")
        again = "select 1 from reports where by_id = ? and example_id is ? and person_id is ?"
        if store.value(db, again, by.id, example_id, person_id):
            raise Conflict("You reported this already; its answer will stand among your reports.")
        record = {"by_id": by.id, "person_id": person_id, "example_id": example_id, "reason": reason}
        return store.insert(db, "reports", {**record, "words": words.strip(), "at": store.now()})


def _author_seen_by(db: Database, example_id: int, person: Person) -> int:
    found = store.row(db, "select person_id, state from example_states where example_id = ?", example_id)
    if found is None or not (found["state"] == "accepted" or person.may("reviewer", "curator")):
        raise NotFound(f"There is no example {example_id} that you can see; the dataset's page lists them.")
    return int(found["person_id"])


def queue(db: Database, *, by: Person, limit: int = 50, offset: int = 0) -> list[dict[str, Any]]:
    """Open reports that this moderator may answer, oldest first.

    Keys: report_id, reason, why, words, at, by_name, example_id, messages (None: it is about a person), state, person_id,
    name, person, is_demo, sanctions_before (of the person), dismissed_before (earlier reports of who reported).
    Raises NotAllowed without the role.
    """
    people.need(by, *MODERATORS)
    own = " and r.by_id <> :me and p.id <> :me and not exists (select 1 from examples m"
    own += " where m.cluster_id = e.cluster_id and m.person_id = :me)"
    own += " and not exists (select 1 from verdicts v where v.example_id = e.id and v.reviewer_id = :me)"
    found = store.rows(db, f"{OPEN} {own} order by r.id limit :limit offset :offset", me=by.id, limit=limit, offset=offset)
    return [_told(one) for one in found]


def waiting(db: Database, *, by: Person) -> int:
    """How many reports and appeals wait for this moderator, 50 and 50 at most; 0 for anybody else."""
    if not by.may(*MODERATORS):
        return 0
    return len(queue(db, by=by)) + len(sanctions.open_appeals(db, by=by)[:50])


def _told(record: dict[str, Any]) -> dict[str, Any]:
    content = record.pop("content")
    return {**record, "why": REASONS[record["reason"]], "messages": formats.messages(content) if content else None}


def _open(db: Database, report_id: int, by: Person) -> dict[str, Any]:
    people.need(by, *MODERATORS)
    found = store.row(db, f"{OPEN} and r.id = :id", id=report_id)
    if found is None:
        raise NotFound(f"There is no open report {report_id}; the moderators' queue lists them.")
    rows = [found["example_id"]] if found["example_id"] else []
    if why := sanctions.involvement(db, by.id, found["person_id"], rows, report_id):
        raise NotAllowed(why)
    return found


def dismiss(db: Database, report_id: int, *, by: Person, words: str) -> None:
    """Answer a report without a sanction; who reported reads the words. Raises NotFound, NotAllowed, Invalid."""
    if not 1 <= len(words.strip()) <= MOST_WORDS:
        raise Invalid(f"Say in 1 to {MOST_WORDS:,} characters why nothing is done; who reported will read it.")
    with store.writing(db):
        _open(db, report_id, by)
        _answer(db, report_id, by, "dismissed", words)


def act(
    db: Database, report_id: int, *, by: Person, kind: str, reason: str, words: str, days: float,
    examples: Sequence[int] = (),
) -> int:  # fmt: skip
    """Answer a report, and every other open one about the same, with a sanction; its id. Raises as `sanctions.impose`."""
    with store.writing(db):
        found = _open(db, report_id, by)
        rows = [*([found["example_id"]] if found["example_id"] else []), *examples]
        made = sanctions.impose(
            db, found["person_id"], by=by, kind=kind, reason=reason, words=words, days=days, examples=rows,
            report_id=report_id,
        )  # fmt: skip
        same = f"{OPEN} and (r.example_id = :example or (:example is null and r.person_id = :person)) and r.by_id <> :me"
        about = {"example": found["example_id"], "person": found["person_id"], "me": by.id}
        for one in store.rows(db, same, **about):
            _answer(db, one["report_id"], by, "acted", f"Sanction {made} stands in the log. {words}")
    return made


def _answer(db: Database, report_id: int, by: Person, answer: str, words: str) -> None:
    record = {"report_id": report_id, "by_id": by.id, "answer": answer, "words": words.strip()[:MOST_WORDS]}
    store.insert(db, "report_answers", {**record, "at": store.now()})


def mine(db: Database, person: Person, *, limit: int = 50) -> list[dict[str, Any]]:
    """A person's own reports, newest first: report_id, example_id, person, reason, words, at, answer (None: open),
    answer_words, answered_at."""
    return store.rows(
        db,
        "select r.id as report_id, r.example_id, p.display_name as person, r.reason, r.words, r.at, a.answer,"
        " a.words as answer_words, a.at as answered_at from reports r left join people p on p.id = r.person_id"
        " left join report_answers a on a.report_id = r.id where r.by_id = ? order by r.id desc limit ?",
        person.id,
        limit,
    )
