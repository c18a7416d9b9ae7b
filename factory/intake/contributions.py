"""Offering examples: judged before anything is spent, taken in as a whole or not at all, revised, withdrawn.

A row that checks refuse is kept with its findings, so that its author can look it up; it spends no quota. To bound what a
stranger can pile up, at most 200 refused rows of a submission and 1,000 a person and day are kept, and none over
100,000 bytes; of a row with personal data or a secret a copy is kept in which they are blotted out.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.intake import checks, formats, judging, meanings, provenance, sanctions, similarity
from factory.intake import policy as policies
from factory.intake.allowances import DAY_SECONDS, allowance, covered
from factory.intake.checks import Finding
from factory.intake.judging import Draft, Judged

SOURCES = ("form", "file", "terminal", "api")
KEPT_REFUSED, KEPT_REFUSED_DAILY, KEPT_REFUSED_BYTES = 200, 1_000, 100_000


@dataclass(frozen=True)
class Submission:
    """What became of a submission. `example_ids` are the rows kept, in order; `findings` maps such an id to what was found.

    `refused` counts every refused row, also those that were not kept; `judged` has one entry a row.
    """

    id: int
    example_ids: list[int]
    accepted_for_review: int
    refused: int
    findings: dict[int, list[Finding]]
    judged: list[Judged]


def preflight(db: Database, dataset_id: int, *, person: Person, rows: Draft) -> list[Judged]:
    """What `submit` would make of each row, with nothing written and no quota spent.

    Takes rows as `formats.read` gives them, unreadable ones too, or lists of messages.
    Raises NotFound, and Invalid for none or over 10,000.
    """
    _, policy = policies.current(db, dataset_id)
    judging.bounded(rows)
    judged = judging.among_others(db, dataset_id, judging.alone(rows, policy), policy, person_id=person.id)
    fits = iter(covered(allowance(db, dataset_id, person), _sizes(judged)))
    return [verdict if verdict.refused else dataclasses.replace(verdict, quota_ok=next(fits)) for verdict in judged]


def _sizes(judged: list[Judged]) -> list[int]:
    return [len((verdict.content or "").encode()) for verdict in judged if not verdict.refused]


def submit(
    db: Database,
    dataset_id: int,
    *,
    person: Person,
    rows: Draft,
    source: str,
    file_name: str | None = None,
    file_format: str | None = None,
    licence: str,
    attested: bool,
    also: Callable[[Submission], None] | None = None,
) -> Submission:
    """Take rows in, in one transaction: good ones wait for review, refused ones are kept with the reason.

    `attested`: the person says that they may give these rows under `licence`, an SPDX identifier.
    Raises NotAllowed without the role or under a sanction; Invalid for no rows, over 10,000, no attestation, or a licence
    that does not fit; Conflict when there are more good rows than today's allowance: then nothing is written or lost.
    `also` runs in the same transaction, at its end.
    """
    sanctions.may_submit(db, person)
    _, policy = policies.current(db, dataset_id)
    judging.bounded(rows)
    if source not in SOURCES:
        raise Invalid(f"A submission comes by {', '.join(SOURCES)}, not by {source!r}.")
    dataset_licence = store.value(db, "select licence from datasets where id = ?", dataset_id)
    problems = [p for p in [policies.licence_problem(dataset_licence, licence)] if p]
    if not attested:
        problems.append("Confirm that you may give these rows under that licence; nothing is taken in without it.")
    if problems:
        raise Invalid(problems)
    drafts = judging.alone(rows, policy)
    record = {
        "dataset_id": dataset_id, "person_id": person.id, "source": source, "file_name": (file_name or "")[:200] or None,
        "file_format": file_format, "licence": licence, "attested": attestation(licence),
    }  # fmt: skip
    # Outside the lock, so that nobody is kept waiting; inside only again where somebody wrote something since.
    before = store.state_of(db)
    judged = judging.among_others(db, dataset_id, drafts, policy, person_id=person.id)
    _need_allowance(db, dataset_id, person, judged)
    with store.writing(db):
        if store.state_of(db) != before:
            judged = judging.among_others(db, dataset_id, drafts, policy, person_id=person.id)
        _need_allowance(db, dataset_id, person, judged)
        kept = _keep(db, record, judged)
        provenance.keep(db, kept.id, rows)
        if also is not None:
            also(kept)
    return kept


def attestation(licence: str) -> str:
    """What somebody says of rows as they submit them; the sentence is kept with the submission."""
    return f"I may give these under {licence}, and I do."


def _need_allowance(db: Database, dataset_id: int, person: Person, judged: list[Judged]) -> None:
    sizes, allowed = _sizes(judged), allowance(db, dataset_id, person)
    fits = sum(covered(allowed, sizes))
    if fits < len(sizes):
        raise Conflict(
            f"You may submit {allowed.left:,} more today and these are {len(sizes):,} good rows"
            f" ({sum(sizes):,} bytes, {allowed.left_bytes:,} are left); nothing was taken in, so send"
            f" {f'at most {fits:,} of them' if fits else 'them later'}. {allowed.next_step}"
        )


def _keep(db: Database, record: dict[str, Any], judged: list[Judged], *, supersedes: int | None = None) -> Submission:
    now = store.now()
    submission_id = store.insert(db, "submissions", {**record, "created_at": now})
    spare = _spare_refusals(db, record["person_id"], now)
    ids: list[int] = []
    findings: dict[int, list[Finding]] = {}
    next_id = 1 + (store.value(db, "select max(id) from examples") or 0)
    for verdict in judged:
        content = _kept_content(verdict)
        if content is None or (verdict.refused and spare <= 0):
            continue
        spare -= verdict.refused
        example_id = next_id + len(ids)
        cluster_id = verdict.cluster_id or example_id
        if supersedes is not None:
            cluster_id = judging.cluster_of(db, supersedes)
        example = {
            "id": example_id, "submission_id": submission_id, "dataset_id": record["dataset_id"],
            "person_id": record["person_id"], "position": verdict.position, "content": content,
            "content_hash": formats.content_hash(content), "bytes": len(content.encode()), "supersedes": supersedes,
            "cluster_id": cluster_id, "refused_by_checks": int(verdict.refused), "created_at": now,
        }  # fmt: skip
        store.insert(db, "examples", example)
        for found in verdict.findings:
            store.insert(db, "findings", _finding_record(example_id, found))
        if not verdict.refused:
            similarity.index(db, record["dataset_id"], example_id, content)
        ids.append(example_id)
        findings[example_id] = verdict.findings
    meanings.catch_up(db, record["dataset_id"])
    return Submission(submission_id, ids, len(_sizes(judged)), len(judged) - len(_sizes(judged)), findings, judged)


def take_over(db: Database, dataset_id: int, people_ids: dict[str, int], rows: Sequence[dict[str, Any]]) -> list[int]:
    """Rows (content, content_hash, contributor, licence) of another installation's version as its contributors'; their ids.

    Whether they may come in is judged by the caller (`importing.bring`), in whose transaction this runs.
    """
    now, ids, submissions = store.now(), [], dict[tuple[str, ...], int]()
    for position, row in enumerate(rows):
        about = {"dataset_id": dataset_id, "person_id": people_ids[row["contributor"]], "created_at": now}
        given = {**about, "source": "import", "licence": row["licence"], "attested": row.get("attested") or None}
        key = (row["contributor"], row["licence"], str(row.get("attested")))
        submissions[key] = submissions.get(key) or store.insert(db, "submissions", given)
        example_id = 1 + (store.value(db, "select max(id) from examples") or 0)
        example = {
            "id": example_id, **about, "submission_id": submissions[key], "position": position, "content": row["content"],
            "content_hash": row["content_hash"], "bytes": len(row["content"].encode()), "cluster_id": example_id,
            "refused_by_checks": 0,
        }  # fmt: skip
        store.insert(db, "examples", example)
        similarity.index(db, dataset_id, example_id, row["content"])
        ids.append(example_id)
    return ids


def _spare_refusals(db: Database, person_id: int, now: float) -> int:
    kept = "select count(*) from examples where person_id = ? and created_at > ? and refused_by_checks"
    return min(KEPT_REFUSED, KEPT_REFUSED_DAILY - int(store.value(db, kept, person_id, now - DAY_SECONDS)))


def _kept_content(verdict: Judged) -> str | None:
    if verdict.content is None or not verdict.refused:
        return verdict.content
    if len(verdict.content.encode()) > KEPT_REFUSED_BYTES:
        return None
    personal = any(found.code in checks.PERSONAL for found in verdict.findings)
    return checks.without_personal(verdict.content) if personal else verdict.content


def _finding_record(example_id: int, found: Finding) -> dict[str, Any]:
    return {
        "example_id": example_id, "code": found.code, "refuses": int(found.refuses), "rule_version": found.rule_version,
        "evidence": json.dumps(found.evidence, ensure_ascii=False), "sentence": found.sentence,
    }  # fmt: skip


def mine(
    db: Database,
    person: Person,
    *,
    dataset_id: int | None = None,
    state: str | None = None,
    limit: int = 50,
    offset: int = 0,
) -> list[dict[str, Any]]:
    """A person's own examples, newest first.

    Dictionaries with example_id, dataset_id, slug, title, submission_id, content, state, reason, created_at, decided_at,
    sentences (of the findings, joined), verdicts (how many so far), appeal (None, "open", "upheld" or "overturned").
    """
    return store.rows(
        db,
        """select s.example_id, s.dataset_id, d.slug, d.title, s.submission_id, e.content, s.state, s.reason, s.created_at,
            s.decided_at, (select group_concat(sentence, ' ') from findings f where f.example_id = e.id) as sentences,
            (select count(*) from verdicts v where v.example_id = e.id) as verdicts,
            (select coalesce(a.answer, 'open') from appeals a where a.example_id = e.id) as appeal
        from example_states s join examples e on e.id = s.example_id join datasets d on d.id = s.dataset_id
        where s.person_id = :person_id and (:dataset_id is null or s.dataset_id = :dataset_id)
            and (:state is null or s.state = :state)
        order by s.example_id desc limit :limit offset :offset""",
        person_id=person.id,
        dataset_id=dataset_id,
        state=state,
        limit=limit,
        offset=offset,
    )


def counts(db: Database, person: Person, dataset_id: int | None = None) -> dict[str, int]:
    """How many of a person's own examples are in each state."""
    found = store.rows(
        db,
        "select state, count(*) as examples from example_states where person_id = :person_id"
        " and (:dataset_id is null or dataset_id = :dataset_id) group by state",
        person_id=person.id,
        dataset_id=dataset_id,
    )
    return {record["state"]: record["examples"] for record in found}


def show(db: Database, example_id: int, *, person: Person) -> dict[str, Any]:
    """One example with all that happened to it.

    Accepted ones are open to everybody; others to their author, reviewers and curators. Until it is accepted the author is
    None, so that an appeal is answered blindly too, and verdicts have no reviewer; curators see both of others' examples.
    Raises NotFound, NotAllowed.
    Keys: example_id, dataset_id, slug, title, content, messages, content_hash, state, reason, created_at, decided_at,
    author, is_mine, licence, attested, source, file_name, supersedes, superseded_by, cluster_id, findings, verdicts,
    decisions, appeal, withdrawal, versions (numbers that hold it).
    """
    found = store.row(
        db,
        """select s.example_id, s.dataset_id, d.slug, d.title, e.content, e.content_hash, s.state, s.reason, s.created_at,
            s.decided_at, s.person_id, p.display_name as author, u.licence, u.attested, u.source, u.file_name,
            e.supersedes, e.cluster_id,
            (select max(id) from examples where supersedes = e.id) as superseded_by
        from example_states s join examples e on e.id = s.example_id join datasets d on d.id = s.dataset_id
        join people p on p.id = s.person_id join submissions u on u.id = s.submission_id where s.example_id = ?""",
        example_id,
    )
    if found is None:
        raise NotFound(f"There is no example {example_id}; the dataset's page lists those there are.")
    author_id = found.pop("person_id")
    own = author_id == person.id
    if not (own or found["state"] == "accepted" or person.may("reviewer", "curator")):
        raise NotAllowed("This example is not accepted yet; until then its author and the reviewers see it.")
    names = person.may("curator") and not own
    if not (own or names or found["state"] == "accepted"):
        found["author"] = None
    return {
        **found,
        "is_mine": own,
        "messages": formats.messages(found["content"]),
        "findings": _findings(db, example_id),
        **_history(db, example_id, names=names, only=person.id if found["state"] == "waiting" and not own else 0),
    }


def _findings(db: Database, example_id: int) -> list[dict[str, Any]]:
    sql = "select code, refuses, rule_version, evidence, sentence from findings where example_id = ? order by id"
    return [
        {**record, "evidence": json.loads(record["evidence"]), "advice": checks.RULES[record["code"]].advice}
        for record in store.rows(db, sql, example_id)
    ]


def _history(db: Database, example_id: int, *, names: bool, only: int) -> dict[str, Any]:
    verdicts = store.rows(
        db,
        "select v.decision, v.reason, v.note, v.at, p.display_name as reviewer from verdicts v"
        " join people p on p.id = v.reviewer_id where v.example_id = ? and ? in (0, v.reviewer_id) order by v.id",
        *(example_id, 0 if names else only),  # while it waits, a reviewer does not hear what others said
    )
    if not names:
        verdicts = [{**verdict, "reviewer": None} for verdict in verdicts]
    held_by = (
        "select v.number from version_rows r join dataset_versions v on v.id = r.version_id"
        " where r.example_id = ? order by v.number"
    )
    return {
        "verdicts": verdicts,
        "decisions": store.rows(
            db, "select decision, by, reason, at from decisions where example_id = ? order by id", example_id
        ),
        "appeal": store.row(
            db, "select id, words, at, answer, answer_words, answered_at from appeals where example_id = ?", example_id
        ),
        "withdrawal": store.row(db, "select reason, at from withdrawals where example_id = ?", example_id),
        "versions": [record["number"] for record in store.rows(db, held_by, example_id)],
    }


def withdraw(db: Database, example_id: int, *, person: Person, reason: str) -> None:
    """Take an example back: it is gone from the next version, what came from earlier ones stays known.

    One's own, or anybody's for a curator. Raises NotFound, NotAllowed, Invalid without a reason, Conflict when it is
    withdrawn already or was never taken in.
    """
    if not reason.strip():
        raise Invalid("Say in a few words why the example is withdrawn; it is kept beside it.")
    with store.writing(db):
        found = store.row(db, "select person_id, state from example_states where example_id = ?", example_id)
        if found is None:
            raise NotFound(f"There is no example {example_id}; your own are listed where you contribute.")
        if found["person_id"] != person.id:
            people.need(person, "curator")
        if found["state"] in ("withdrawn", "refused"):
            raise Conflict(f"Example {example_id} is {found['state']} already; there is nothing to take back.")
        _take_back(db, [example_id], person, reason)


def withdraw_all(db: Database, person: Person, *, reason: str, dataset_id: int | None = None) -> int:
    """Take back everything of one's own, in one dataset or in all; how many examples that were. Raises Invalid."""
    if not reason.strip():
        raise Invalid("Say in a few words why the examples are withdrawn; it is kept beside them.")
    with store.writing(db):
        found = store.rows(
            db,
            "select example_id from example_states where person_id = :person_id"
            " and (:dataset_id is null or dataset_id = :dataset_id) and state not in ('withdrawn', 'refused')",
            person_id=person.id,
            dataset_id=dataset_id,
        )
        _take_back(db, [record["example_id"] for record in found], person, reason)
    return len(found)


def _take_back(db: Database, example_ids: list[int], person: Person, reason: str) -> None:
    now = store.now()
    for example_id in example_ids:
        record = {"example_id": example_id, "person_id": person.id, "reason": reason.strip()[:500], "at": now}
        store.insert(db, "withdrawals", record)


def revise(db: Database, example_id: int, *, person: Person, messages: list[dict[str, Any]]) -> int:
    """The id of a new example that supersedes one's own: it waits for review, and the old one is withdrawn.

    For examples that wait, were returned, rejected or refused by checks; spends one of the day's allowance. Raises NotFound,
    NotAllowed, Invalid with everything that checks find (nothing is written then), Conflict for accepted or withdrawn ones.
    """
    sanctions.may_submit(db, person)
    found = store.row(
        db,
        "select s.person_id, s.dataset_id, s.state, u.licence, u.attested, e.content from example_states s"
        " join submissions u on u.id = s.submission_id join examples e on e.id = s.example_id where s.example_id = ?",
        example_id,
    )
    if found is None:
        raise NotFound(f"There is no example {example_id}; your own are listed where you contribute.")
    if found["person_id"] != person.id:
        raise NotAllowed("Only its author can revise an example; offer one of your own instead.")
    _, policy = policies.current(db, found["dataset_id"])
    drafts = judging.alone([messages], policy)
    with store.writing(db):
        state = store.value(db, "select state from example_states where example_id = ?", example_id)
        if state in ("accepted", "withdrawn"):
            raise Conflict(f"Example {example_id} is {state}; offer the changed one as a new example.")
        judged = judging.among_others(db, found["dataset_id"], drafts, policy, except_ids=(example_id,))
        if judged[0].refused:
            raise Invalid([f.sentence for f in judged[0].findings if f.refuses])
        if judged[0].content == found["content"]:
            raise Conflict("Nothing is changed; change the words, then send it again.")
        _need_allowance(db, found["dataset_id"], person, judged)
        record = {"dataset_id": found["dataset_id"], "person_id": person.id, "source": "form", "licence": found["licence"]}
        record["attested"] = found["attested"]
        kept = _keep(db, record, judged, supersedes=example_id)
        if state != "refused":
            _take_back(db, [example_id], person, f"revised as example {kept.example_ids[0]}")
    return kept.example_ids[0]
