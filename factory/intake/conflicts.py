"""Conflicts that rows show: ties between accounts, because of which a reviewer is not asked about somebody's examples.

What is found stops the assignment and nothing else. It is written down with the counts it was seen in; the reviewer reads
that there is one, curators read whom it is about and can lift it with words; what was lifted is not found again.
"""

from __future__ import annotations

import json
import math
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotFound
from factory.base.people import Person
from factory.intake.standing import DAY_SECONDS, wilson_lower

KINDS = {
    "mailbox": "Both accounts have the same e-mail address.",
    "address": "Both signed in from the same network address, which hardly anybody else uses.",
    "alike": "The reviewer offered several examples that nearly repeat the author's.",
    "favours": "The one accepts the other's examples far more often than anybody else's, and than anybody else does.",
    "mutual": "Each accepts the other's examples far more often than others do.",
}
SHARED_BY_AT_MOST = 3  # more people behind one address are a school or a company
SHARED_DAYS = 30
SHARED_CLUSTERS = 3  # one near copy happens, two also
ENOUGH, ENOUGH_EACH = 20, 8  # verdicts on somebody before they can be found to be favoured; in both directions
UNLIKELY = 1e-4
FAR, FAR_EACH = 0.2, 0.1  # how far above what was to be expected the lower end of the rate has to be
OTHERS = 2  # people who judged the author too, without whom nothing can be said
HEARD = 10  # verdicts of each other reviewer that count: nobody makes the expectation alone
LIKE_OTHERS = 5  # verdicts that one's own rate on everybody else's examples stands for

MAILBOX = "lower(substr(email, 1, min(instr(email || '+', '+'), instr(email, '@')) - 1) || substr(email, instr(email, '@')))"


def tail(successes: int, n: int, p: float) -> float:
    """How probable at least so many successes of n are where each has probability p: the binomial's upper tail.

    >>> round(tail(9, 10, 0.5), 6), tail(0, 10, 0.5), tail(3, 3, 0.0)
    (0.010742, 1.0, 0.0)
    """
    if successes <= 0 or p >= 1:
        return 1.0
    if p <= 0:
        return 0.0
    choose = math.lgamma(n + 1)
    terms = (
        choose - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
        for k in range(successes, n + 1)
    )  # fmt: skip
    return min(1.0, sum(math.exp(term) for term in terms))


def _pair(db: Database, reviewer_id: int, author_id: int) -> dict[str, Any] | None:
    """How often a reviewer accepted an author's examples, what was to be expected, and how improbable it is.

    None where too little is known: others have to have judged the author, and the reviewer others.
    """
    seen = store.row(
        db, "select accepted, judged from review_pairs where reviewer_id = ? and author_id = ?", reviewer_id, author_id
    )
    if seen is None:
        return None
    # Whoever is found to be tied to the author says nothing about what is usual.
    others = store.row(
        db,
        """select coalesce(sum(accepted * min(1.0, 1.0 * :heard / judged)), 0) as accepted,
            coalesce(sum(min(judged, :heard)), 0) as judged, count(*) as people
        from review_pairs o where author_id = :author and reviewer_id <> :me and not exists
            (select 1 from detected_conflicts where reviewer_id = o.reviewer_id and author_id = :author)""",
        author=author_id,
        me=reviewer_id,
        heard=HEARD,
    )
    elsewhere = store.row(
        db,
        "select coalesce(sum(accepted), 0) as accepted, coalesce(sum(judged), 0) as judged from review_pairs"
        " where reviewer_id = ? and author_id <> ?",
        reviewer_id,
        author_id,
    )
    assert others is not None
    assert elsewhere is not None
    if others["people"] < OTHERS or min(others["judged"], elsewhere["judged"]) < ENOUGH_EACH:
        return None
    usual = elsewhere["accepted"] / elsewhere["judged"]
    by_others = (others["accepted"] + LIKE_OTHERS * usual) / (others["judged"] + LIKE_OTHERS)
    expected = max(usual, by_others)  # an easy reviewer favours nobody, and an author who is good is not favoured
    return {
        **seen,
        "expected": round(expected, 4),
        "above": wilson_lower(seen["accepted"], seen["judged"]) - expected,
        "chance": tail(seen["accepted"], seen["judged"], expected),
    }


def look(db: Database, reviewer_id: int, author_id: int) -> list[str]:
    """After a verdict, in its transaction: the kinds of tie now found between its reviewer and the example's author.

    Reads counts of pairs, not verdicts: what it costs grows with how many people judged the author.
    """
    forth = _pair(db, reviewer_id, author_id)
    if forth is None or forth["judged"] < ENOUGH_EACH or forth["above"] < FAR_EACH:
        return []
    if forth["judged"] >= ENOUGH and forth["chance"] < UNLIKELY and forth["above"] >= FAR:
        return ["favours"] if _write(db, reviewer_id, author_id, "favours", forth) else []
    back = _pair(db, author_id, reviewer_id)
    if back is None or back["judged"] < ENOUGH_EACH or back["above"] < FAR_EACH:
        return []
    if forth["chance"] * back["chance"] >= UNLIKELY:
        return []
    found = [
        _write(db, *pair, "mutual", {"forth": forth, "back": back})
        for pair in ((reviewer_id, author_id), (author_id, reviewer_id))
    ]
    return ["mutual"] if any(found) else []


def _write(db: Database, reviewer_id: int, author_id: int, kind: str, evidence: dict[str, Any]) -> bool:
    values = [reviewer_id, author_id, kind, json.dumps(evidence), store.now()]
    written = db.execute(
        "insert or ignore into detected_conflicts (reviewer_id, author_id, kind, evidence, found_at) values (?, ?, ?, ?, ?)",
        values,
    )
    return int(written.rowcount) > 0


def sweep(db: Database) -> int:
    """Look for ties between accounts everywhere (mailbox, address, near copies); how many directions were found anew.

    The worker does this beside the deadlines. An address counts where two or three people signed in from it within 30
    days, and it is not this machine's own.
    """
    shared = f"""select {MAILBOX} as shared, id as person_id from people where email like '_%@_%'"""
    signed = f"""select distinct a.address as shared, p.id as person_id from sign_in_attempts a
        join people p on p.name = a.name where a.succeeded and a.at > {store.now() - SHARED_DAYS * DAY_SECONDS}
        and a.address not in ('127.0.0.1', '::1', 'localhost', 'unknown', '')"""
    among = """with one as ({}), few as (select shared from one group by shared having count(*) between 2 and {})
        select a.person_id as one, b.person_id as other, count(*) as times from few join one a on a.shared = few.shared
        join one b on b.shared = few.shared and b.person_id <> a.person_id group by 1, 2"""
    copied = """select e.person_id as one, o.person_id as other, count(distinct e.cluster_id) as times from examples e
        join examples o on o.id = e.cluster_id where e.cluster_id <> e.id and e.person_id <> o.person_id
        group by 1, 2 having times >= ?"""
    found = {
        "mailbox": store.rows(db, among.format(shared, 1000)),
        "address": store.rows(db, among.format(signed, SHARED_BY_AT_MOST)),
    }
    written = 0
    with store.writing(db):
        for kind, pairs in found.items():
            for pair in pairs:
                for one, other in ((pair["one"], pair["other"]), (pair["other"], pair["one"])):
                    written += _write(db, one, other, kind, {"times": pair["times"]})
        # one way only: else anybody could choose their judges by copying from those they do not want
        for pair in store.rows(db, copied, SHARED_CLUSTERS):
            written += _write(db, pair["one"], pair["other"], "alike", {"times": pair["times"]})
    return written


def tied(db: Database, reviewer_id: int, author_id: int) -> str | None:
    """The kind of tie because of which this reviewer is not asked about this author, or None."""
    kind = store.value(
        db,
        "select kind from detected_conflicts where reviewer_id = ? and author_id = ? and lifted_at is null order by id",
        reviewer_id,
        author_id,
    )
    return None if kind is None else str(kind)


def mine(db: Database, person: Person) -> list[dict[str, Any]]:
    """What a reviewer is told of ties found with others, unnamed: kind, sentence, people (how many), found_at."""
    found = store.rows(
        db,
        "select kind, count(*) as people, max(found_at) as found_at from detected_conflicts"
        " where reviewer_id = ? and lifted_at is null group by kind order by kind",
        person.id,
    )
    return [{**one, "sentence": KINDS[one["kind"]]} for one in found]


def listing(db: Database, *, person: Person, limit: int = 50, offset: int = 0) -> list[dict[str, Any]]:
    """Every tie found, newest first, for curators; raises NotAllowed for others.

    Dictionaries with conflict_id, reviewer, author, kind, sentence, evidence, found_at, lifted_at, lifted_words.
    """
    people.need(person, "curator")
    found = store.rows(
        db,
        """select k.id as conflict_id, r.display_name as reviewer, a.display_name as author, k.kind, k.evidence, k.found_at,
            k.lifted_at, k.lifted_words
        from detected_conflicts k join people r on r.id = k.reviewer_id join people a on a.id = k.author_id
        order by k.id desc limit ? offset ?""",
        limit,
        offset,
    )
    return [{**one, "sentence": KINDS[one["kind"]], "evidence": json.loads(one["evidence"])} for one in found]


def lift(db: Database, conflict_id: int, *, person: Person, words: str) -> None:
    """Say that a tie found is none: the reviewer is asked again. Not by either of the two.

    Raises NotAllowed, NotFound, Invalid without words, Conflict when it is lifted or one is party to it.
    """
    people.need(person, "curator")
    if not 1 <= len(words.strip()) <= 2_000:
        raise Invalid("Say in 1 to 2,000 characters why this is no conflict; it is kept beside it.")
    with store.writing(db):
        found = store.row(db, "select * from detected_conflicts where id = ?", conflict_id)
        if found is None:
            raise NotFound(f"There is no detected conflict {conflict_id}; `reviewers ties` lists them.")
        if person.id in (found["reviewer_id"], found["author_id"]):
            raise Conflict("This is about yourself; another curator has to lift it.")
        if found["lifted_at"] is not None:
            raise Conflict("This one is lifted already.")
        db.execute(
            "update detected_conflicts set lifted_by = ?, lifted_words = ?, lifted_at = ? where id = ?",
            [person.id, words.strip(), store.now(), conflict_id],
        )
