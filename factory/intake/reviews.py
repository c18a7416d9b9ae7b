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
from factory.intake import (
    conflicts,
    consensus,
    deals,
    formats,
    gold,
    provenance,
    reviewers,
    sanctions,
    scrutiny,
    similarity,
)  # fmt: skip
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
    "again": "Somebody uninvolved saw it otherwise than those before. Send it again, and others will look.",
    "unanswered": "Nobody answered the appeal in time, so the decision is lifted. Send it again, if you like.",
}
WHY = REASONS | SILENCE  # every reason that a decision can have

MANY = 1_000  # more than so many waiting examples are not counted

# Waiting, of others, dealt to :me and not judged by :me yet, of no cluster in which :me has an example, and without a
# conflict, declared or detected. `dealt` is deals.learn's; what :me said a moment ago and could still take back is not
# asked again.
OPEN = """
    from waiting_examples w
    where w.dataset_id = :dataset_id and w.person_id <> :me
        and not exists (select 1 from verdicts where example_id = w.example_id and reviewer_id = :me)
        and not exists (select 1 from review_conflicts where example_id = w.example_id and reviewer_id = :me)
        and not exists (select 1 from detected_conflicts
            where reviewer_id = :me and author_id = w.person_id and lifted_at is null)
        and not exists (select 1 from held_verdicts where reviewer_id = :me and example_id = w.example_id)
        and not exists (select 1 from examples mine where mine.cluster_id = w.cluster_id and mine.person_id = :me)
        and dealt(w.example_id, w.since)
"""
NEXT = "order by w.verdicts desc, w.likeness, w.example_id"
SHOWN = """
    select e.id as example_id, e.dataset_id, e.content, e.created_at,
        (select json_group_array(json_object('code', code, 'sentence', sentence,
            'spans', json(coalesce(json_extract(evidence, '$.spans'), '[]')))) from findings f
         where f.example_id = e.id) as hints
    from examples e where e.id in (select value from json_each(?))
"""


def queue(db: Database, dataset_id: int, *, reviewer: Person, limit: int = 20) -> list[dict[str, Any]]:
    """What waits for this reviewer: closest to its decision first, then what is least like others, then oldest; no names.

    Now and then the first is gold (see `gold.due`): settled already, and in nothing different from the others. What is in
    nobody's power to choose: of many reviewers each is dealt a part (see `deals`).

    Dictionaries with example_id, dataset_id, content, messages, created_at, hints: findings that do not refuse
    (code, sentence, spans), and made_from: the passage of a document it comes from (`where`, `passage`), or None.
    Raises NotAllowed without the role reviewer.
    """
    sanctions.may_review(db, reviewer)
    _, policy = policies.current(db, dataset_id)
    deals.learn(db, reviewer.id, policy)
    found = store.rows(
        db, f"select w.example_id {OPEN} {NEXT} limit :limit", dataset_id=dataset_id, me=reviewer.id, limit=limit
    )
    ids = [record["example_id"] for record in found]
    settled = gold.due(db, dataset_id, reviewer=reviewer, policy=policy) if ids else None
    if settled is not None:
        ids = [settled, *ids][:limit]
    shown = {record["example_id"]: record for record in store.rows(db, SHOWN, json.dumps(ids))}
    passages = provenance.for_reviewers(db, ids)
    return [
        {**shown[id], "messages": formats.messages(shown[id]["content"]), "hints": json.loads(shown[id]["hints"]),
         "made_from": passages.get(id)} for id in ids
    ]  # fmt: skip


def remaining(db: Database, dataset_id: int, *, reviewer: Person) -> int:
    """How many examples wait for this reviewer; 1,000 stands for that many or more."""
    people.need(reviewer, "reviewer")
    deals.learn(db, reviewer.id, policies.current(db, dataset_id)[1])
    counted = f"select count(*) from (select 1 {OPEN} limit {MANY})"
    return int(store.value(db, counted, dataset_id=dataset_id, me=reviewer.id))


def waiting_anywhere(db: Database, *, reviewer: Person) -> list[dict[str, Any]]:
    """The datasets in which something waits for this reviewer: dataset_id, slug, title, waiting (as `remaining` counts)."""
    people.need(reviewer, "reviewer")
    found = [
        {**dataset, "waiting": remaining(db, dataset["dataset_id"], reviewer=reviewer)}
        for dataset in store.rows(
            db,
            "select id as dataset_id, slug, title from datasets d"
            " where exists (select 1 from waiting_examples where dataset_id = d.id)",
        )
    ]
    return sorted((one for one in found if one["waiting"]), key=lambda one: (-one["waiting"], one["dataset_id"]))


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
    with store.writing(db):
        state = may_decide(db, example_id, reviewer=reviewer, decision=decision, reason=reason, note=note)
        found = store.row(db, "select dataset_id, person_id from examples where id = ?", example_id) or {}
        reason = None if decision == "accept" else reason
        if state != "waiting":
            gold.record(db, example_id, reviewer=reviewer, decision=decision, reason=reason, note=note, seconds=seconds)
            conflicts.look(db, reviewer.id, found["person_id"])
            return state
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
        conflicts.look(db, reviewer.id, found["person_id"])
        return _settle(db, example_id, policies.current(db, found["dataset_id"])[1])


def may_decide(
    db: Database, example_id: int, *, reviewer: Person, decision: str, reason: str | None = None, note: str = ""
) -> str:
    """The state of an example that this verdict would be given on: waiting, or that of a gold item. Raises as `decide`."""
    sanctions.may_review(db, reviewer)
    _need_valid(decision, reason, note)
    found = judgeable(db, example_id, reviewer)
    if store.value(db, "select 1 from verdicts where example_id = ? and reviewer_id = ?", example_id, reviewer.id):
        raise Conflict("You judged this example already; the next one waits.")
    _, policy = policies.current(db, found["dataset_id"])
    if found["state"] != "waiting":
        if example_id != gold.due(db, found["dataset_id"], reviewer=reviewer, policy=policy):
            raise Conflict(f"Example {example_id} is {found['state']} already; the next one waits.")
        return str(found["state"])
    deals.need_dealt(db, reviewer.id, example_id, found["created_at"], policy)
    return "waiting"


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
    if kind := conflicts.tied(db, reviewer.id, found["person_id"]):
        raise NotAllowed(f"Somebody else judges this one. {conflicts.KINDS[kind]} A curator can lift that.")
    return found


def verdicts_on(db: Database, example_id: int) -> list[dict[str, Any]]:
    """The verdicts on an example, each with how far its reviewer is trusted (see `consensus`)."""
    found = store.rows(
        db, "select id, reviewer_id, decision, reason from verdicts where example_id = ? order by id", example_id
    )
    return [{**verdict, "trust": reviewers.accuracy(db, verdict["reviewer_id"]).trust} for verdict in found]


def _settle(db: Database, example_id: int, policy: Policy) -> str:
    said = [d for (d,) in db.execute("select decision from verdicts where example_id = ?", [example_id]).fetchall()]
    needed = scrutiny.needed(db, example_id, policy)
    if not consensus.may_settle(said, quorum=needed.quorum, at_most=policy.quorum_at_most):
        return "waiting"  # whoever said it; to look up how far each is trusted takes longest
    verdicts = verdicts_on(db, example_id)
    outcome = consensus.settled(
        [(verdict["decision"], verdict["trust"]) for verdict in verdicts], quorum=needed.quorum,
        at_most=policy.quorum_at_most, confidence=needed.confidence, good_before=needed.good_before,
        at_last=needed.at_last,
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
