"""The story of an example in order, as both its author and its reviewers may read it: nobody in it has a name.

Offered, checked, judged with reasons, returned, mended, appealed, decided: one list over all versions of an example that
replaced each other. Reviewers are called A, B, C in the order in which they first spoke.
"""

from __future__ import annotations

from string import ascii_uppercase
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import NotAllowed, NotFound
from factory.base.people import Person
from factory.intake import checks, deadlines, formats, reviews
from factory.intake import policy as policies

AT_MOST = 30  # versions of one example that are told of
SAID = {"accept": "accepts it", "return": "returns it for changes", "reject": "rejects it"}
BY = {
    "review": "The reviewers decided",
    "appeal": "The appeal decided",
    "deadline": "The deadline decided",
    "import": "It came decided from another workshop",
}


def of(db: Database, example_id: int, *, person: Person) -> list[dict[str, Any]]:
    """What happened to an example and to those it replaced or was replaced by, oldest first.

    Dictionaries with at, kind (offered, check, verdict, decided, appealed, answered, mended, withdrawn, due), who (the
    author, the checks, reviewer A …, somebody uninvolved, the rules), words and example_id. While a reviewer may still judge
    it, what others said is left out. Accepted ones are open to everybody, others to their author, reviewers and curators.
    Raises NotFound, NotAllowed.
    """
    state = store.row(db, "select * from example_states where example_id = ?", example_id)
    if state is None:
        raise NotFound(f"There is no example {example_id}; the dataset's page lists those there are.")
    if not (state["person_id"] == person.id or state["state"] == "accepted" or person.may("reviewer", "curator")):
        raise NotAllowed("This example is not accepted yet; until then its author and the reviewers see its story.")
    chain = _chain(db, example_id)
    letters: dict[int, str] = {}
    events = [event for one in chain for event in _events(db, one, person, letters)]
    return sorted(events, key=lambda event: (event["kind"] == "due", event["at"]))


def _chain(db: Database, example_id: int) -> list[int]:
    """The ids of an example's versions, oldest first."""
    earlier, later = [example_id], list[int]()
    while len(earlier) < AT_MOST:
        before = store.value(db, "select supersedes from examples where id = ?", earlier[0])
        if before is None:
            break
        earlier.insert(0, before)
    while len(earlier) + len(later) < AT_MOST:
        after = store.value(db, "select max(id) from examples where supersedes = ?", (later or earlier)[-1])
        if after is None:
            break
        later.append(after)
    return earlier + later


def _may_judge(db: Database, state: dict[str, Any], person: Person) -> bool:
    """Whether somebody may still judge an example, so that they must not hear what others said."""
    return (
        state["state"] == "waiting"
        and state["person_id"] != person.id
        and person.may("reviewer")
        and not store.value(
            db, "select 1 from verdicts where example_id = ? and reviewer_id = ?", state["example_id"], person.id
        )
    )


def _events(db: Database, example_id: int, person: Person, letters: dict[int, str]) -> list[dict[str, Any]]:
    state = store.row(
        db,
        "select s.*, e.supersedes from example_states s join examples e on e.id = s.example_id where s.example_id = ?",
        example_id,
    )
    assert state is not None
    events: list[dict[str, Any]] = []

    def tell(at: float, kind: str, who: str, words: str) -> None:
        events.append({"at": at, "kind": kind, "who": who, "words": " ".join(words.split()), "example_id": example_id})

    before = state["supersedes"]
    tell(state["created_at"], "mended" if before else "offered", "the author", f"Mended example {before}." if before else "")
    for found in store.rows(db, "select code, sentence from findings where example_id = ? order by id", example_id):
        rule = checks.RULES.get(found["code"])
        tell(state["created_at"], "check", "the checks", f"{found['sentence']} {rule.advice if rule else ''}")
    if not _may_judge(db, state, person):
        for said in store.rows(db, "select * from verdicts where example_id = ? order by id", example_id):
            mine = said["reviewer_id"] == person.id
            letter = letters.setdefault(said["reviewer_id"], _letter(len(letters)))
            reason = f": {reviews.REASONS[said['reason']]}" if said["reason"] else "."
            note = f" “{said['note']}”" if said["note"] else ""
            tell(said["at"], "verdict", "you" if mine else f"reviewer {letter}", f"{SAID[said['decision']]}{reason}{note}")
    for found in store.rows(db, "select * from decisions where example_id = ? order by id", example_id):
        why = f" {reviews.WHY[found['reason']]}" if found["reason"] in reviews.WHY else ""
        tell(found["at"], "decided", "the rules", f"{BY[found['by']]}: {found['decision']}.{why}")
    _appeal(db, state, tell)
    gone = store.row(db, "select reason, at from withdrawals where example_id = ?", example_id)
    if gone and not gone["reason"].startswith("revised as example"):
        tell(gone["at"], "withdrawn", "the author or a curator", gone["reason"])
    return events


def _appeal(db: Database, state: dict[str, Any], tell: Any) -> None:
    appeal = store.row(db, "select * from appeals where example_id = ?", state["example_id"])
    if appeal:
        tell(appeal["at"], "appealed", "the author", f"“{appeal['words']}”")
        if appeal["answer"]:
            who = "somebody uninvolved" if appeal["answered_by"] else "the rules"
            said = "The decision stands." if appeal["answer"] == "upheld" else "The decision is lifted."
            tell(appeal["answered_at"], "answered", who, f"{said} “{appeal['answer_words']}”")
    policy = policies.current(db, state["dataset_id"])[1]
    due = deadlines.due_at(policy, {**state, "appeal": appeal})
    if due is not None:
        words = "Answered at the latest, else the decision is lifted." if appeal else "Decided at the latest, by the rules."
        tell(due, "due", "the rules", words)


def _letter(place: int) -> str:
    """A name for a reviewer that says nothing about them.

    >>> _letter(0), _letter(25), _letter(26)
    ('A', 'Z', 'A1')
    """
    turn, letter = divmod(place, 26)
    return ascii_uppercase[letter] + (str(turn) if turn else "")


def judged_by(db: Database, reviewer: Person, *, limit: int = 20, offset: int = 0) -> list[dict[str, Any]]:
    """What a reviewer judged, newest first, and what became of it.

    Dictionaries with example_id, dataset_id, title, content, messages, decision, reason, note, at, state, appeal (None,
    open, upheld or overturned).
    """
    people.need(reviewer, "reviewer")
    found = store.rows(
        db,
        """select v.example_id, s.dataset_id, d.title, e.content, v.decision, v.reason, v.note, v.at, s.state,
            (select coalesce(a.answer, 'open') from appeals a where a.example_id = v.example_id) as appeal
        from verdicts v join example_states s on s.example_id = v.example_id join examples e on e.id = v.example_id
        join datasets d on d.id = s.dataset_id where v.reviewer_id = ? order by v.at desc limit ? offset ?""",
        reviewer.id,
        limit,
        offset,
    )
    return [{**one, "messages": formats.messages(one["content"])} for one in found]


def beside(db: Database, example_id: int, *, reviewer: Person) -> dict[str, Any] | None:
    """What an example is best read beside: the version it mends, with why that came back, else what a check says it repeats
    in other words, else the one most like it.

    Keys: kind (former, meaning or nearest), example_id, jaccard (None but for the nearest), cosine (None but for meaning),
    messages, notes (sentences on the former). None when nothing is like it.
    """
    people.need(reviewer, "reviewer")
    former = store.row(
        db,
        "select f.id, f.content from examples e join examples f on f.id = e.supersedes where e.id = ?",
        example_id,
    )
    if former is None:
        near = reviews.neighbours(db, example_id, reviewer=reviewer)
        meant = _meant(db, example_id)
        if meant and not (near and near["example_id"] == meant["example_id"]):
            return meant
        return {"kind": "nearest", "cosine": None, "notes": [], **near} if near else None
    told = store.rows(
        db, "select reason, note from verdicts where example_id = ? and decision <> 'accept' order by id", former["id"]
    )
    notes = [f"{reviews.REASONS[one['reason']]} {one['note']}".strip() for one in told]
    return {
        "kind": "former",
        "example_id": former["id"],
        "jaccard": None,
        "cosine": None,
        "messages": formats.messages(former["content"]),
        "notes": list(dict.fromkeys(notes)),
    }


def _meant(db: Database, example_id: int) -> dict[str, Any] | None:
    """What the checks found an example to say in other words, unless that is withdrawn or turned down by now."""
    found = store.row(
        db,
        "select s.example_id, e.content, json_extract(f.evidence, '$.cosine') as cosine from findings f"
        " join example_states s on s.example_id = json_extract(f.evidence, '$.example_id')"
        " join examples e on e.id = s.example_id"
        " where f.example_id = ? and f.code = 'meaning_duplicate' and s.state in ('accepted', 'waiting') limit 1",
        example_id,
    )
    if found is None:
        return None
    return {
        "kind": "meaning", "example_id": found["example_id"], "jaccard": None, "cosine": found["cosine"],
        "messages": formats.messages(found["content"]), "notes": [],
    }  # fmt: skip
