"""Sanctions: what somebody may not do for a while, why, by whose word, until when, and how they appeal.

There is a closed list of kinds and of reasons. Everything is in a public log; nothing is hidden from the person: each page
says it, with the next step, and every refused function too. A sanction ends by itself at its date. It is decided by somebody
uninvolved, and an appeal by somebody else again; an appeal that nobody answers in time lifts the sanction by itself.
Rows are only ever added; what holds now is computed from them in the view `sanction_states`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.intake import personal

DAY_SECONDS = 24 * 3600.0
APPEAL_DAYS = 7
MODERATORS = ("curator",)  # and admins, who hold every role; only they pause accounts or sanction an admin
LEAST_WORDS, MOST_WORDS, MOST_ROWS = 10, 2_000, 50

# What each kind means for the person, and for how many days it may last at most.
KINDS = {
    "warning": ("You were warned; it takes nothing from you, and stands", 90),
    "no_submitting": ("You may not submit examples", 180),
    "no_reviewing": ("You may not review", 180),
    "paused": ("Your account is paused", 90),
}
TITLES = {
    "warning": "warning", "no_submitting": "no submitting", "no_reviewing": "no reviewing", "paused": "paused account",
}  # fmt: skip
REASONS = {
    "spam": "Many rows without sense or use.",
    "copied": "Rows that may not be copied from where they come from.",
    "gaming": "Accounts or verdicts that work together to win.",
    "careless": "Verdicts given without looking.",
    "poisoned": "Rows made to put something hidden into models.",
    "harmful": "Rows or words that could hurt somebody.",
    "private": "Rows or words that tell something private about somebody.",
    "abuse": "Insults or threats to people here.",
}
STATES = {
    "active": "holds now", "over": "ended at its date", "lifted": "lifted early", "overturned": "overturned on appeal",
    "unanswered": "lifted, as nobody answered the appeal in time",
}  # fmt: skip
LOGGED = """
    select s.*, p.display_name as person, p.is_demo, b.display_name as by_name, w.display_name as answered_by_name,
        i.display_name as lifted_by_name from sanction_states s
    join people p on p.id = s.person_id join people b on b.id = s.by_id
    left join people w on w.id = s.answered_by left join people i on i.id = s.lifted_by
"""


def impose(
    db: Database,
    who: int | str,
    *,
    by: Person,
    kind: str,
    reason: str,
    words: str,
    days: float,
    examples: Sequence[int] = (),
    report_id: int | None = None,
) -> int:
    """Sanction somebody for `days`, from now; the sanction's id. The person sees it on their next page.

    `words` say what happened, for everybody to read; `examples` are rows of theirs, or rows they judged, that show it.
    Raises NotAllowed for somebody involved, for oneself, and without the role; Invalid with everything that is missing;
    NotFound; Conflict where one of the same kind holds already.
    """
    people.need(by, "admin" if kind == "paused" else MODERATORS[0])
    person = people.get(db, who)
    examples = list(dict.fromkeys(examples))
    _need_valid(db, person, kind, reason, words, days, examples)
    with store.writing(db):
        _need_uninvolved(db, by, person.id, examples, report_id)
        if store.value(db, "select 1 from roles where person_id = ? and role = 'admin'", person.id):
            people.need(by, "admin")
        held = _active(db, person.id, kind)
        if held:
            raise Conflict(f"{person.name} has a {TITLES[kind]} until {day(held['ends_at'])} already; lift that one first.")
        now = store.now()
        record = {
            "person_id": person.id, "kind": kind, "reason": reason, "words": words.strip(),
            "evidence": json.dumps({"examples": examples, "findings": _findings(db, examples)}), "by_id": by.id,
            "report_id": report_id, "starts_at": now, "ends_at": now + days * DAY_SECONDS,
        }  # fmt: skip
        return store.insert(db, "sanctions", record)


def _need_valid(
    db: Database, person: Person, kind: str, reason: str, words: str, days: float, examples: Sequence[int]
) -> None:
    problems = [f"There is no kind {kind!r}; choose {', '.join(KINDS)}."] if kind not in KINDS else []
    if reason not in REASONS:
        problems.append(f"There is no reason {reason!r}; choose {', '.join(REASONS)}.")
    most = KINDS[kind][1] if kind in KINDS else 90
    if not 0 < days <= most:
        problems.append(f"It lasts up to {most} days, and it ends by itself; {days:g} is outside.")
    problems += wording(words)
    if len(examples) > MOST_ROWS:
        problems.append(f"Name at most {MOST_ROWS} rows; the plainest ones are enough.")
    for example_id in examples[:MOST_ROWS]:
        theirs = (
            "select 1 from examples where id = :id and person_id = :person union all"
            " select 1 from verdicts where example_id = :id and reviewer_id = :person limit 1"
        )
        if not store.value(db, theirs, id=example_id, person=person.id):
            problems.append(f"Example {example_id} was neither written nor judged by {person.name}; it shows nothing.")
    if problems:
        raise Invalid(problems)


def wording(words: str) -> list[str]:
    """What is wrong with words that everybody will read; nothing where they are good.

    >>> wording("Forty rows of random letters on one day.")
    []
    >>> wording("Bad: write to ada@lovelace.org")
    ['These words have an e-mail address in them, and everybody will read them; leave it out.']
    """
    if not LEAST_WORDS <= len(words.strip()) <= MOST_WORDS:
        return [f"Say in {LEAST_WORDS} to {MOST_WORDS:,} characters what happened; everybody will read it."]
    told = dict.fromkeys(span[1] for span in personal.spans(words))
    return [f"These words have {what} in them, and everybody will read them; leave it out." for what in told]


def _findings(db: Database, examples: Sequence[int]) -> dict[str, list[str]]:
    found = {
        str(one): [r["code"] for r in store.rows(db, "select code from findings where example_id = ? order by id", one)]
        for one in examples
    }
    return {example_id: codes for example_id, codes in found.items() if codes}


def involvement(db: Database, moderator_id: int, person_id: int, examples: Sequence[int], report_id: int | None) -> str:
    """Why somebody must not decide about a person over these rows, in words; "" where they may."""
    if moderator_id == person_id:
        return "This is about yourself; somebody else decides."
    if report_id and store.value(db, "select 1 from reports where id = ? and by_id = ?", report_id, moderator_id):
        return "You reported it yourself; somebody else decides."
    for example_id in examples:
        cluster = (
            "select 1 from examples e join examples m on m.cluster_id = e.cluster_id where e.id = ? and m.person_id = ?"
        )
        if store.value(db, cluster, example_id, moderator_id):
            return f"You wrote example {example_id} or nearly the same; somebody else decides."
        judged = "select 1 from verdicts where example_id = ? and reviewer_id = ?"
        if store.value(db, judged, example_id, moderator_id):
            return f"You judged example {example_id}; somebody else decides."
    return ""


def _need_uninvolved(db: Database, by: Person, person_id: int, examples: Sequence[int], report_id: int | None) -> None:
    why = involvement(db, by.id, person_id, examples, report_id)
    if why:
        raise NotAllowed(why)


def _active(db: Database, person_id: int, *kinds: str) -> dict[str, Any] | None:
    marks = ", ".join("?" * len(kinds))
    sql = f"select * from sanction_states where person_id = ? and state = 'active' and kind in ({marks})"
    return store.row(db, f"{sql} order by ends_at desc limit 1", person_id, *kinds)


def get(db: Database, sanction_id: int) -> dict[str, Any]:
    """One sanction as the public log has it. Raises NotFound."""
    found = store.row(db, f"{LOGGED} where s.id = ?", sanction_id)
    if found is None:
        raise NotFound(f"There is no sanction {sanction_id}; the log lists those there are.")
    return _told(found)


def log(
    db: Database, *, state: str | None = None, person_id: int | None = None, limit: int = 50, offset: int = 0
) -> list[dict[str, Any]]:
    """The public log, newest first: every sanction with its reason, evidence, end, appeal and what became of it.

    Keys: id, person_id, person, is_demo, kind, title, reason, why, words, evidence (examples, findings by example), by_id,
    by_name, starts_at, ends_at, state, outcome (the state in words), appeal, appealed_at, answer_by, answer, answer_words,
    answered_by_name, answered_at, lift_words, lifted_by_name, lifted_at.
    """
    found = store.rows(
        db,
        f"{LOGGED} where (:state is null or s.state = :state) and (:person is null or s.person_id = :person)"
        " order by s.id desc limit :limit offset :offset",
        state=state,
        person=person_id,
        limit=limit,
        offset=offset,
    )
    return [_told(one) for one in found]


def count(db: Database, *, state: str | None = None) -> int:
    """How many sanctions the log has, of one state or of all."""
    if state is None:
        return int(store.value(db, "select count(*) from sanctions"))
    return int(store.value(db, "select count(*) from sanction_states where state = ?", state))


def _told(record: dict[str, Any]) -> dict[str, Any]:
    more = {"title": TITLES[record["kind"]], "why": REASONS[record["reason"]], "outcome": STATES[record["state"]]}
    return {**record, **more, "evidence": json.loads(record["evidence"])}


def appeal(db: Database, sanction_id: int, *, person: Person, words: str) -> None:
    """Ask somebody else to look again at one's own sanction, once; everybody can read the words.

    Raises NotFound, NotAllowed for somebody else's, Invalid, Conflict a second time or when it holds no more.
    """
    problems = wording(words)
    if problems:
        raise Invalid(problems)
    with store.writing(db):
        found = get(db, sanction_id)
        if found["person_id"] != person.id:
            raise NotAllowed("Only the person it is about can appeal.")
        if found["appealed_at"]:
            raise Conflict("You appealed already; there is one appeal for each sanction.")
        if found["state"] != "active":
            raise Conflict(f"This sanction does not hold any more: it {found['outcome']}.")
        now = store.now()
        until = now + APPEAL_DAYS * DAY_SECONDS
        record = {"sanction_id": sanction_id, "words": words.strip(), "at": now, "answer_by": until}
        store.insert(db, "sanction_appeals", record)


def open_appeals(db: Database, *, by: Person) -> list[dict[str, Any]]:
    """The appeals that this moderator may answer, the one whose time ends first on top; as in the log."""
    people.need(by, *MODERATORS)
    found = store.rows(
        db, f"{LOGGED} where s.state = 'active' and s.appealed_at is not null and s.answer is null order by s.answer_by"
    )
    return [one for one in map(_told, found) if not _why_not_answer(db, one, by)]


def _why_not_answer(db: Database, sanction: dict[str, Any], by: Person) -> str:
    if sanction["by_id"] == by.id:
        return "You decided this sanction; somebody else answers its appeal."
    rows = sanction["evidence"]["examples"]
    return involvement(db, by.id, sanction["person_id"], rows, sanction["report_id"])


def answer(db: Database, sanction_id: int, *, by: Person, answer: str, words: str) -> None:
    """Uphold a sanction, or overturn it: then it ends at once, and the log says that it was wrong.

    Raises NotAllowed for who decided it and for somebody involved, Invalid, NotFound, Conflict without an open appeal.
    """
    people.need(by, *MODERATORS)
    problems = wording(words)
    if answer not in ("upheld", "overturned"):
        problems.append("Answer upheld or overturned.")
    if problems:
        raise Invalid(problems)
    with store.writing(db):
        found = get(db, sanction_id)
        if not found["appealed_at"] or found["answer"] or found["state"] != "active":
            raise Conflict("There is no open appeal against this sanction; there is nothing to answer.")
        if why := _why_not_answer(db, found, by):
            raise NotAllowed(why)
        record = {"sanction_id": sanction_id, "by_id": by.id, "answer": answer, "words": words.strip(), "at": store.now()}
        store.insert(db, "sanction_answers", record)


def lift(db: Database, sanction_id: int, *, by: Person, words: str) -> None:
    """End a sanction before its date, also one's own decision, with a reason that the log shows.

    Raises NotAllowed for one's own sanction and without the role, Invalid, NotFound, Conflict when it holds no more.
    """
    found = get(db, sanction_id)
    people.need(by, "admin" if found["kind"] == "paused" else MODERATORS[0])
    if problems := wording(words):
        raise Invalid(problems)
    if found["person_id"] == by.id:
        raise NotAllowed("This is about yourself; appeal, and somebody else decides.")
    with store.writing(db):
        if get(db, sanction_id)["state"] != "active":
            raise Conflict("This sanction does not hold any more; there is nothing to lift.")
        record = {"sanction_id": sanction_id, "by_id": by.id, "words": words.strip(), "at": store.now()}
        store.insert(db, "sanction_lifts", record)


def can_be_answered(db: Database, sanction: dict[str, Any]) -> bool:
    """Whether anybody here could answer an appeal: a moderator who did not decide and is not the person."""
    others = (
        "select 1 from roles r join people p on p.id = r.person_id where r.role in ('curator', 'admin')"
        " and p.disabled_at is null and p.id not in (?, ?) limit 1"
    )
    return bool(store.value(db, others, sanction["by_id"], sanction["person_id"]))


def notices(db: Database, person: Person) -> list[dict[str, Any]]:
    """What holds against somebody now, as in the log, each with `sentence`; noting when they were shown it first."""
    found = log(db, person_id=person.id, state="active", limit=10)
    unseen = "select id from sanctions where id = ? and id not in (select sanction_id from sanction_receipts)"
    for one in found:
        one["sentence"] = sentence(one)
        if store.value(db, unseen, one["id"]):
            with store.writing(db):
                if store.value(db, unseen, one["id"]):
                    store.insert(db, "sanction_receipts", {"sanction_id": one["id"], "at": store.now()})
    return found


def sentence(sanction: dict[str, Any]) -> str:
    """What a sanction means for the person it is about, and the next step.

    >>> said = sentence({"kind": "no_reviewing", "reason": "careless", "id": 7, "ends_at": 0.0, "appealed_at": None,
    ...                  "answer": None, "answer_by": None})
    >>> said.split(" It then")[0]
    'You may not review until 1970-01-01: Verdicts given without looking.'
    """
    step = "It then ends by itself; the page Sanctions has the evidence"
    if sanction["answer"]:
        step += f" and the answer to your appeal (number {sanction['id']})."
    elif sanction["appealed_at"]:
        step += f" (number {sanction['id']}). Your appeal is answered by {day(sanction['answer_by'])}, or it lifts this."
    else:
        step += f" (number {sanction['id']}), and there you can appeal."
    return f"{KINDS[sanction['kind']][0]} until {day(sanction['ends_at'])}: {REASONS[sanction['reason']]} {step}"


def day(seconds_since_1970: float) -> str:
    """A day (UTC) as it is written in sentences.

    >>> day(86400.0)
    '1970-01-02'
    """
    return datetime.fromtimestamp(seconds_since_1970, UTC).date().isoformat()


def may_submit(db: Database, person: Person) -> Person:
    """The person, if they may submit now. Raises NotAllowed with the reason, the end and the next step."""
    _need_free(db, person, "no_submitting")
    return people.need(person, "contributor")


def may_review(db: Database, person: Person) -> Person:
    """The person, if they may judge now. Raises NotAllowed with the reason, the end and the next step."""
    _need_free(db, person, "no_reviewing")
    return people.need(person, "reviewer")


def may_act(db: Database, person: Person) -> Person:
    """The person, unless their account is paused. Raises NotAllowed with the reason, the end and the next step."""
    _need_free(db, person)
    return person


def _need_free(db: Database, person: Person, *kinds: str) -> None:
    found = _active(db, person.id, "paused", *kinds)
    if found:
        raise NotAllowed(sentence(found))
