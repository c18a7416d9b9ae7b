"""Gold items: settled examples that come up in a review queue like any other, so that a reviewer's accuracy is known.

About one in ten that a reviewer is shown is gold (the dataset's policy says how many), of the first 50 two in ten. It is
drawn from examples on which all reviewers agreed, as often from accepted ones as from others, never from what the reviewer
wrote, copied or judged. Which place of the queue is gold, and which example is there, follows from a secret of the
installation: nobody can foresee it. Whoever judges one hears at once what was expected; whoever thinks that it is wrong
disputes it, and a third person looks.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.intake import formats, sanctions
from factory.intake.policy import Policy
from factory.intake.standing import DAY_SECONDS

MAX_WORDS = 2_000
FIRST, MOST_GOLD = 50, 0.5  # of the first 50 verdicts twice as many are gold: who judges badly is known sooner
LOOKED_AT = 300  # settled examples from a drawn one on, of each state: enough to find one, however many there are
# Settled by verdicts of which none said otherwise, not by one alone, and never struck by a dispute.
ELIGIBLE = """
    select e.example_id from (
        select * from (select example_id, person_id, cluster_id, decision from states where dataset_id = :dataset_id
            and state = case when :good then 'accepted' else 'rejected' end and example_id >= :start
            order by example_id limit :looked_at)
        union all
        select * from (select example_id, person_id, cluster_id, decision from states where dataset_id = :dataset_id
            and state = 'returned' and not :good and example_id >= :start order by example_id limit :looked_at)
    ) e join decisions d on d.id = (select max(id) from decisions where example_id = e.example_id)
    where d.by = 'review' and json_array_length(d.verdict_ids) >= 2 and e.person_id <> :me
        and not exists (select 1 from verdicts v where v.example_id = e.example_id and (v.reviewer_id = :me or v.decision <>
            case d.decision when 'accepted' then 'accept' when 'returned' then 'return' else 'reject' end))
        and not exists (select 1 from gold_verdicts g where g.example_id = e.example_id and g.reviewer_id = :me)
        and not exists (select 1 from gold_disputes x join gold_verdicts g on g.id = x.gold_verdict_id
            where g.example_id = e.example_id and coalesce(x.answer, 'struck') = 'struck')
        and not exists (select 1 from states mine where mine.cluster_id = e.cluster_id and mine.person_id = :me)
        and not exists (select 1 from review_conflicts where example_id = e.example_id and reviewer_id = :me)
        and not exists (select 1 from detected_conflicts
            where reviewer_id = :me and author_id = e.person_id and lifted_at is null)
    order by e.example_id limit 1
"""
# The first and the last example of a dataset that checks let in.
ENDS = "select {}(id) from examples where dataset_id = ? and refused_by_checks = 0"


def _draw(secret: bytes, *words: Any) -> int:
    digest = hashlib.blake2b("\\0".join(map(str, words)).encode(), key=secret[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big")


def due(db: Database, dataset_id: int, *, reviewer: Person, policy: Policy) -> int | None:
    """The settled example that is gold at this reviewer's present place in the queue; None where an open one comes."""
    if policy.gold_share <= 0:
        return None
    secret = bytes(store.value(db, "select value from draw_secret"))
    place = store.value(
        db,
        "select (select count(*) from verdicts where reviewer_id = :me) + (select count(*) from gold_verdicts where"
        " reviewer_id = :me) + (select count(*) from held_verdicts where reviewer_id = :me)",
        me=reviewer.id,
    )
    share = min(MOST_GOLD, 2 * policy.gold_share) if place < FIRST else policy.gold_share
    if _draw(secret, "gold", reviewer.id, dataset_id, place) / 2**64 >= share:
        return None
    first, last = (store.value(db, ENDS.format(end), dataset_id) or 0 for end in ("min", "max"))
    start = first + _draw(secret, "which", reviewer.id, dataset_id, place) % (last - first + 1)
    good = _draw(secret, "good", reviewer.id, dataset_id, place) % 2
    for kind in (good, 1 - good):
        for begin in (start, 0):
            named = {"dataset_id": dataset_id, "start": begin, "good": kind, "me": reviewer.id, "looked_at": LOOKED_AT}
            found = store.value(db, ELIGIBLE, **named)
            if found is not None:
                return int(found)
    return None


def record(
    db: Database, example_id: int, *, reviewer: Person, decision: str, reason: str | None, note: str, seconds: Any
) -> int:
    """Write a verdict on a gold item, in the caller's transaction; its id."""
    expected = store.value(
        db,
        "select case decision when 'accepted' then 'accept' when 'returned' then 'return' else 'reject' end"
        " from decisions where example_id = ? order by id desc limit 1",
        example_id,
    )
    verdict = {
        "example_id": example_id, "reviewer_id": reviewer.id, "decision": decision, "reason": reason, "note": note,
        "seconds": seconds, "expected": expected, "at": store.now(),
    }  # fmt: skip
    return store.insert(db, "gold_verdicts", verdict)


def feedback(db: Database, example_id: int, *, reviewer: Person) -> dict[str, Any] | None:
    """What a reviewer hears after a gold item, or None for what was none.

    Keys: gold_verdict_id, example_id, said, expected, right, reason, notes (of those who settled it), dispute (None, open,
    upheld or struck).
    """
    found = store.row(
        db,
        """select g.id as gold_verdict_id, g.example_id, g.decision as said, g.expected, d.reason,
            (g.decision = 'accept') = (g.expected = 'accept') as right,
            (select group_concat(note, ' ') from verdicts v where v.example_id = g.example_id and note <> '') as notes,
            (select coalesce(answer, 'open') from gold_disputes x where x.gold_verdict_id = g.id) as dispute
        from gold_verdicts g join decisions d on d.id = (select max(id) from decisions where example_id = g.example_id)
        where g.example_id = ? and g.reviewer_id = ?""",
        example_id,
        reviewer.id,
    )
    return None if found is None else {**found, "right": bool(found["right"])}


def sentence(told: dict[str, Any]) -> str:
    """What `feedback` says, in words for the reviewer.

    >>> sentence({"right": True, "expected": "accept", "reason": None, "notes": None})
    'You said what the others had said: accept.'
    """
    if told["right"]:
        return f"You said what the others had said: {told['expected']}."
    notes = f" They wrote: {told['notes']}" if told["notes"] else ""
    return f"The others had said {told['expected']}, and you said {told['said']}.{notes} If they were wrong, dispute it."


def dispute(db: Database, example_id: int, *, reviewer: Person, words: str) -> int:
    """Say that a gold item one judged is wrong; the dispute's id. Until it is answered the item is shown to nobody.

    Raises NotFound for an example that was no gold item for this reviewer, Invalid without words, Conflict a second time.
    """
    sanctions.may_act(db, reviewer)
    if not 1 <= len(words.strip()) <= MAX_WORDS:
        raise Invalid(f"Say in 1 to {MAX_WORDS:,} characters why the check is wrong.")
    with store.writing(db):
        found = feedback(db, example_id, reviewer=reviewer)
        if found is None:
            raise NotFound(f"Example {example_id} was no check of yours, so there is nothing to dispute.")
        if found["dispute"]:
            raise Conflict("You disputed this check already; somebody will look at it.")
        about = {"gold_verdict_id": found["gold_verdict_id"], "words": words.strip(), "at": store.now()}
        return store.insert(db, "gold_disputes", about)


def open_disputes(db: Database, *, reviewer: Person, dataset_id: int | None = None) -> list[dict[str, Any]]:
    """Disputes that this reviewer may answer, oldest first: dispute_id, example_id, messages, said, expected, words, at.

    Nobody who wrote the example or judged it, openly or as gold, answers.
    """
    people.need(reviewer, "reviewer")
    found = store.rows(
        db,
        """select x.id as dispute_id, g.example_id, e.content, g.decision as said, g.expected, x.words, x.at
        from gold_disputes x cross join gold_verdicts g on g.id = x.gold_verdict_id cross join examples e
            on e.id = g.example_id
        where x.answer is null and (:dataset_id is null or e.dataset_id = :dataset_id) and e.person_id <> :me
            and not exists (select 1 from verdicts v where v.example_id = e.id and v.reviewer_id = :me)
            and not exists (select 1 from gold_verdicts o where o.example_id = e.id and o.reviewer_id = :me)
            and not exists (select 1 from examples mine where mine.cluster_id = e.cluster_id and mine.person_id = :me)
            and not exists (select 1 from detected_conflicts
                where reviewer_id = :me and author_id = e.person_id and lifted_at is null)
        order by x.id limit 50""",
        dataset_id=dataset_id,
        me=reviewer.id,
    )
    return [{**one, "messages": formats.messages(one["content"])} for one in found]


def answer(db: Database, dispute_id: int, *, reviewer: Person, answer: str, words: str) -> None:
    """Uphold a gold item, or strike it: then it counts for nobody's accuracy, and is shown to nobody again.

    Raises NotAllowed for somebody involved, Invalid, NotFound, Conflict when it is answered.
    """
    sanctions.may_review(db, reviewer)
    if answer not in ("upheld", "struck") or not 1 <= len(words.strip()) <= MAX_WORDS:
        raise Invalid(f"Answer upheld or struck, and say in 1 to {MAX_WORDS:,} characters why.")
    with store.writing(db):
        found = store.row(db, "select answer from gold_disputes where id = ?", dispute_id)
        if found is None:
            raise NotFound(f"There is no dispute {dispute_id}; the review page lists the open ones.")
        if found["answer"] is not None:
            raise Conflict("This dispute is answered already.")
        if dispute_id not in {one["dispute_id"] for one in open_disputes(db, reviewer=reviewer)}:
            raise NotAllowed("You wrote or judged this example; somebody uninvolved answers the dispute.")
        db.execute(
            "update gold_disputes set answered_by = ?, answer = ?, answer_words = ?, answered_at = ? where id = ?",
            [reviewer.id, answer, words.strip(), store.now(), dispute_id],
        )


def strike_unanswered(db: Database, dataset_id: int, policy: Policy) -> int:
    """Disputes that nobody answered within the dataset's `appeal_days`: the item counts for nobody; how many those were."""
    if policy.appeal_days <= 0:
        return 0
    with store.writing(db):
        return int(
            db.execute(
                """update gold_disputes set answer = 'struck', answered_at = :now, answer_words =
                    'Nobody answered in time, so this check counts for nobody.'
                where answer is null and at < :since and gold_verdict_id in (select g.id from gold_verdicts g
                    join examples e on e.id = g.example_id where e.dataset_id = :dataset_id)""",
                {"now": store.now(), "since": store.now() - policy.appeal_days * DAY_SECONDS, "dataset_id": dataset_id},
            ).rowcount
        )
