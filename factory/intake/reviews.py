"""Blind review: people who are not the author judge one example at a time, agreeing verdicts settle it.

A reviewer never sees whose example it is nor what others said, and gets no example from a cluster they contributed to, nor
one of somebody they have a conflict with. `policy.quorum` agreeing verdicts decide, in the transaction of the last of them,
if their reviewers are right often enough; while reviewers disagree, more are asked, up to `policy.quorum_at_most`. After
`policy.deadline_days` silence decides, by a rule that everybody can read.
"""

from __future__ import annotations

import json
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.intake import consensus, formats, gold, reviewers, sanctions, similarity
from factory.intake import policy as policies
from factory.intake.policy import Policy

DECISIONS = {"accept": "accepted", "return": "returned", "reject": "rejected"}
REASONS = {
    "wrong": "The answer is wrong.",
    "incomplete": "The answer leaves out something that is needed.",
    "unclear": "The question or the answer cannot be understood.",
    "off_topic": "It is not about what this dataset is for.",
    "guidelines": "It does not follow the dataset's guidelines.",
    "too_easy": "It teaches nothing that a model does not know.",
    "copied": "It is copied from somewhere it may not be copied from.",
    "repeats": "It repeats what is there already.",
    "form": "Spelling, grammar or layout has to be mended.",
    "noise": "There is no sense in it.",
    "harmful": "It could hurt somebody.",
    "private": "It tells something private about somebody.",
}
MAX_WORDS = 2_000

SILENCE = {
    "trusted": "Nobody looked in time; its author's standing spoke for it.",
    "unseen": "Nobody could look in time. Send it again: it is not held against you.",
    "unanswered": "Nobody answered the appeal in time, so the decision is lifted. Send it again, if you like.",
}
WHY = REASONS | SILENCE  # every reason that a decision can have

# Waiting, of others, not judged by :me yet, of no cluster in which :me has an example, and without a declared conflict.
OPEN = """
    from example_states s join examples e on e.id = s.example_id
    where s.dataset_id = :dataset_id and s.state = 'waiting' and s.person_id <> :me
        and not exists (select 1 from verdicts where example_id = s.example_id and reviewer_id = :me)
        and not exists (select 1 from review_conflicts where example_id = s.example_id and reviewer_id = :me)
        and not exists (select 1 from examples mine where mine.cluster_id = s.cluster_id and mine.person_id = :me)
"""


def queue(db: Database, dataset_id: int, *, reviewer: Person, limit: int = 20) -> list[dict[str, Any]]:
    """What waits for this reviewer, closest to its decision first, then oldest; nobody's names in it.

    Now and then the first is gold (see `gold.due`): settled already, and in nothing different from the others.

    Dictionaries with example_id, dataset_id, content, messages, created_at and hints: findings that do not refuse.
    Raises NotAllowed without the role reviewer.
    """
    sanctions.may_review(db, reviewer)
    shown = (
        "select s.example_id, s.dataset_id, e.content, s.created_at,"
        " (select json_group_array(json_object('code', code, 'sentence', sentence)) from findings f"
        "  where f.example_id = e.id) as hints"
    )
    order = "order by (select count(*) from verdicts v where v.example_id = e.id) desc, s.example_id limit :limit"
    found = store.rows(db, f"{shown} {OPEN} {order}", dataset_id=dataset_id, me=reviewer.id, limit=limit)
    settled = gold.due(db, dataset_id, reviewer=reviewer, policy=policies.current(db, dataset_id)[1]) if found else None
    if settled is not None:
        joined = "from example_states s join examples e on e.id = s.example_id where s.example_id = ?"
        found = [*store.rows(db, f"{shown} {joined}", settled), *found][:limit]
    return [
        {**record, "messages": formats.messages(record["content"]), "hints": json.loads(record["hints"])} for record in found
    ]


def remaining(db: Database, dataset_id: int, *, reviewer: Person) -> int:
    """How many examples wait for this reviewer."""
    people.need(reviewer, "reviewer")
    return int(store.value(db, f"select count(*) {OPEN}", dataset_id=dataset_id, me=reviewer.id))


def waiting_anywhere(db: Database, *, reviewer: Person) -> list[dict[str, Any]]:
    """The datasets in which something waits for this reviewer: dataset_id, slug, title, waiting."""
    people.need(reviewer, "reviewer")
    everywhere = OPEN.replace("s.dataset_id = :dataset_id", "true")
    return store.rows(
        db,
        f"select d.id as dataset_id, d.slug, d.title, count(*) as waiting from (select s.dataset_id {everywhere}) open"
        " join datasets d on d.id = open.dataset_id group by d.id order by waiting desc, d.id",
        me=reviewer.id,
    )


def neighbours(db: Database, example_id: int, *, reviewer: Person) -> dict[str, Any] | None:
    """The example most like this one: example_id, jaccard, content, messages; None when nothing is like it."""
    people.need(reviewer, "reviewer")
    found = store.row(db, "select dataset_id, content from examples where id = ?", example_id)
    if found is None:
        raise NotFound(f"There is no example {example_id}; the review page shows those that wait.")
    near = similarity.nearest(db, found["dataset_id"], found["content"], except_ids=(example_id,))
    if near is None:
        return None
    content = store.value(db, "select content from examples where id = ?", near[0])
    return {"example_id": near[0], "jaccard": near[1], "content": content, "messages": formats.messages(content)}


def decide(
    db: Database,
    example_id: int,
    *,
    reviewer: Person,
    decision: str,
    reason: str | None = None,
    note: str = "",
    seconds: float | None = None,
) -> str:
    """Record one verdict, and the decision when it is the last that was missing; the example's state afterwards.

    `decision` is accept, return or reject; the latter two need a `reason`, a key of REASONS. `seconds` it took, if known.
    On a gold item the state is that of before, and `gold.feedback` has what was expected.
    Raises NotAllowed for one's own example or a cluster one contributed to, Conflict for a second verdict or when it is
    settled already, Invalid, NotFound.
    """
    sanctions.may_review(db, reviewer)
    _need_valid(decision, reason, note)
    with store.writing(db):
        found = judgeable(db, example_id, reviewer)
        if store.value(db, "select 1 from verdicts where example_id = ? and reviewer_id = ?", example_id, reviewer.id):
            raise Conflict("You judged this example already; the next one waits.")
        reason = None if decision == "accept" else reason
        _, policy = policies.current(db, found["dataset_id"])
        if found["state"] != "waiting" and example_id == gold.due(db, found["dataset_id"], reviewer=reviewer, policy=policy):
            gold.record(db, example_id, reviewer=reviewer, decision=decision, reason=reason, note=note, seconds=seconds)
            return str(found["state"])
        if found["state"] != "waiting":
            raise Conflict(f"Example {example_id} is {found['state']} already; the next one waits.")
        verdict = {
            "example_id": example_id,
            "reviewer_id": reviewer.id,
            "decision": decision,
            "reason": reason,
            "note": note.strip(),
            "seconds": seconds,
            "at": store.now(),
        }
        store.insert(db, "verdicts", verdict)
        return _settle(db, example_id, policy)


def _need_valid(decision: str, reason: str | None, note: str) -> None:
    problems = []
    if decision not in DECISIONS:
        problems.append(f"There is no decision {decision!r}; decide {', '.join(DECISIONS)}.")
    if decision in ("return", "reject") and reason not in REASONS:
        said = f"{reason!r} is not one of the reasons" if reason else "A reason is missing"
        problems.append(f"{said}; choose {', '.join(REASONS)}.")
    if len(note) > MAX_WORDS:
        problems.append(f"The note has {len(note):,} characters; at most {MAX_WORDS:,} are kept.")
    if problems:
        raise Invalid(problems)


def judgeable(db: Database, example_id: int, reviewer: Person) -> dict[str, Any]:
    """The state of an example that this reviewer may judge. Raises NotFound, NotAllowed for somebody involved."""
    found = store.row(db, "select * from example_states where example_id = ?", example_id)
    if found is None:
        raise NotFound(f"There is no example {example_id}; the review page shows those that wait.")
    if found["person_id"] == reviewer.id:
        raise NotAllowed("This example is your own; somebody else judges it.")
    if store.value(db, "select 1 from examples where cluster_id = ? and person_id = ?", found["cluster_id"], reviewer.id):
        raise NotAllowed("You offered an example that is nearly the same; somebody else judges this one.")
    if store.value(db, "select 1 from review_conflicts where example_id = ? and reviewer_id = ?", example_id, reviewer.id):
        raise NotAllowed("You declared a conflict with this example; somebody else judges it.")
    return found


def verdicts_on(db: Database, example_id: int) -> list[dict[str, Any]]:
    """The verdicts on an example, each with how often its reviewer is right."""
    found = store.rows(
        db, "select id, reviewer_id, decision, reason from verdicts where example_id = ? order by id", example_id
    )
    return [{**verdict, "accuracy": reviewers.accuracy(db, verdict["reviewer_id"]).value} for verdict in found]


def _settle(db: Database, example_id: int, policy: Policy) -> str:
    verdicts = verdicts_on(db, example_id)
    outcome = consensus.settled(
        [(verdict["decision"], verdict["accuracy"]) for verdict in verdicts],
        quorum=policy.quorum, at_most=policy.quorum_at_most, confidence=policy.confidence,
    )  # fmt: skip
    return "waiting" if outcome is None else write(db, example_id, outcome, verdicts, by="review")


def write(db: Database, example_id: int, outcome: str, verdicts: list[dict[str, Any]], *, by: str, why: str = "") -> str:
    """Write the decision that an outcome (accept, return or reject) is, in the caller's transaction; the state it gives."""
    agreeing = [verdict for verdict in verdicts if verdict["decision"] == outcome]
    reasons = [verdict["reason"] for verdict in agreeing if verdict["reason"]]
    record = {
        "example_id": example_id,
        "decision": DECISIONS[outcome],
        "by": by,
        "reason": why or (max(reasons, key=reasons.count) if reasons else None),
        "verdict_ids": json.dumps([verdict["id"] for verdict in agreeing]),
        "at": store.now(),
    }
    store.insert(db, "decisions", record)
    return DECISIONS[outcome]


def declare_conflict(db: Database, example_id: int, *, reviewer: Person, words: str = "") -> None:
    """Leave an example to others because one had better not judge it: one knows who wrote it, or gains from it.

    It does not come up for this reviewer again; nobody is asked why. Raises NotFound, NotAllowed, Conflict after a verdict.
    """
    sanctions.may_review(db, reviewer)
    with store.writing(db):
        if store.value(db, "select 1 from examples where id = ?", example_id) is None:
            raise NotFound(f"There is no example {example_id}; the review page shows those that wait.")
        if store.value(db, "select 1 from verdicts where example_id = ? and reviewer_id = ?", example_id, reviewer.id):
            raise Conflict("You judged this example already, so the conflict comes too late; tell a curator.")
        db.execute(
            "insert or ignore into review_conflicts (example_id, reviewer_id, words, at) values (?, ?, ?, ?)",
            [example_id, reviewer.id, words.strip()[:500], store.now()],
        )


def accept_imported(db: Database, example_ids: list[int]) -> None:
    """Examples whose acceptance another installation decided, in the transaction that takes them over."""
    now = store.now()
    for example_id in example_ids:
        record = {"example_id": example_id, "decision": "accepted", "by": "import", "verdict_ids": "[]", "at": now}
        store.insert(db, "decisions", record)


def pace(db: Database, reviewer: Person) -> float | None:
    """Seconds that this reviewer takes for an example, on average of the last hundred; None before the first."""
    recent = "select seconds from verdicts where reviewer_id = ? order by id desc limit 100"
    found = store.value(db, f"select avg(seconds) from ({recent})", reviewer.id)
    return None if found is None else float(found)


def record_of(db: Database, reviewer: Person) -> dict[str, Any]:
    """How a reviewer's verdicts fared: verdicts, settled, agreed (with the decision that stands), seconds (mean)."""
    found = store.row(
        db,
        """select count(*) as verdicts, coalesce(sum(s.decision is not null), 0) as settled, avg(v.seconds) as seconds,
            coalesce(sum(s.decision = case v.decision when 'accept' then 'accepted' when 'return' then 'returned'
                else 'rejected' end), 0) as agreed
        from verdicts v join states s on s.example_id = v.example_id
        where v.reviewer_id = ?""",
        reviewer.id,
    )
    assert found is not None
    return found
