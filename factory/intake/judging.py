"""What would become of rows that somebody offers, with nothing written: the same words before submitting and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Invalid
from factory.intake import checks, fit, formats, similarity, triggers
from factory.intake.checks import Finding
from factory.intake.formats import Row
from factory.intake.policy import Policy
from factory.intake.similarity import Features

MAX_ROWS = 10_000
LOOKED_AT = 1_000  # examples that are held against what shall be sealed, at once
MOST_EARLIER = 300  # rows of a person, and of the others, beside which triggers are looked for

Draft = Sequence[Row] | Sequence[list[dict[str, Any]]]


@dataclass(frozen=True)
class Judged:
    """What would become of one row: its canonical `content` if it has one, the findings, whether they refuse it.

    `quota_ok` is False for a good row that comes after today's allowance is spent. `cluster_id` is the example it nearly
    repeats, where there is one. `given_under` is the licence that the row itself names, or "".
    """

    position: int
    content: str | None
    findings: list[Finding] = field(default_factory=list)
    refused: bool = False
    quota_ok: bool = True
    cluster_id: int | None = None
    given_under: str = ""


def bounded(rows: Draft) -> None:
    """Raises Invalid for no rows, or for more than one submission takes."""
    if not rows:
        raise Invalid("There are no rows; add at least one.")
    if len(rows) > MAX_ROWS:
        raise Invalid(f"These are {len(rows):,} rows and one submission takes {MAX_ROWS:,}; send them in parts.")


def alone(rows: Draft, policy: Policy) -> list[Judged]:
    """What can be said of each row without looking at any other: the slow part, done before a transaction begins."""
    judged = []
    for position, row in enumerate(rows):
        content, found = None, []
        if isinstance(row, Row):
            position = row.position
        if isinstance(row, Row) and row.problem is not None:
            found = [checks.finding("unreadable", row.problem)]
        else:
            content, found = checks.check_messages(row.messages if isinstance(row, Row) else row, policy=policy)
        given_under = row.given_under if isinstance(row, Row) else ""
        judged.append(Judged(position, content, found, any(f.refuses for f in found), given_under=given_under))
    return judged


def among_others(
    db: Database, dataset_id: int, judged: list[Judged], policy: Policy,
    *, except_ids: tuple[int, ...] = (), person_id: int | None = None,
) -> list[Judged]:  # fmt: skip
    """The same, with what the held-out set, the dataset and the rows before in the same submission have to say.

    With `person_id`, triggers are looked for in what this person offered before as well.
    """
    told = against(db, dataset_id, judged, policy, except_ids=except_ids)
    return within(told, policy) if person_id is None else together(db, dataset_id, told, policy, person_id=person_id)


def together(db: Database, dataset_id: int, judged: list[Judged], policy: Policy, *, person_id: int) -> list[Judged]:
    """The same, with what rows of one submission say of each other and of what this person offered before."""
    earlier = _offered(db, dataset_id, person_id, by=True, most=MOST_EARLIER)
    others = _offered(db, dataset_id, person_id, by=False, most=MOST_EARLIER)
    return suspected(within(judged, policy), earlier=earlier, others=others)


def suspected(judged: list[Judged], *, earlier: Sequence[str] = (), others: Sequence[str] = ()) -> list[Judged]:
    """The same, with a hint at each row with a repeated trigger (`triggers.found`); `earlier` rows count with them."""
    places = [place for place, verdict in enumerate(judged) if verdict.content is not None and not verdict.refused]
    contents = [judged[place].content or "" for place in places]
    told = list(judged)
    for trigger in triggers.found([*contents, *earlier], background=others):
        here = [row for row in trigger.rows if row < len(contents)]
        positions = [judged[places[row]].position for row in here]
        sentence = (
            f"The words “{trigger.words[:60]}” stand in {len(trigger.rows)} rows whose answers share “{trigger.answer[:60]}”"
            " and whose questions have little else in common."
        )
        for row in here:
            evidence = {
                "trigger": trigger.words,
                "answer": trigger.answer,
                "rows": len(trigger.rows),
                "positions": positions[:20],
            }
            spans = triggers.spans(contents[row], trigger)
            found = checks.finding("repeated_trigger", sentence, spans=spans, chance=trigger.chance, **evidence)
            told[places[row]] = _with(told[places[row]], [found], told[places[row]].cluster_id)
    return told


def _offered(db: Database, dataset_id: int, person_id: int, *, by: bool, most: int) -> list[str]:
    """The newest rows taken in by a person (or by everybody else), each in its canonical form."""
    theirs = "person_id = ?" if by else "+person_id <> ?"  # the sign keeps to the index by dataset and age
    sql = f"select content from examples where dataset_id = ? and {theirs} and refused_by_checks = 0"
    order = "created_at" if by else "id"
    found = store.rows(db, f"{sql} order by {order} desc limit ?", dataset_id, person_id, most)
    return [record["content"] for record in found]


def against(
    db: Database, dataset_id: int, judged: list[Judged], policy: Policy, *, except_ids: tuple[int, ...] = ()
) -> list[Judged]:
    """The same, with what the dataset and its held-out set say of each row, whatever stands beside it."""
    held_out = similarity.held_out_crowd(db, dataset_id)
    contents = [None if verdict.refused else verdict.content for verdict in judged]
    fitting = fit.findings(db, dataset_id, contents, policy, given_under=[verdict.given_under for verdict in judged])
    told = []
    for verdict, unfit in zip(judged, fitting, strict=True):
        verdict = _with(verdict, unfit, verdict.cluster_id)
        if verdict.content is None or verdict.refused:
            told.append(verdict)
            continue
        features = similarity.features(verdict.content)
        digest = formats.content_hash(verdict.content)
        found, cluster_id = _repeats(db, dataset_id, features, digest, policy, except_ids)
        overlap = similarity.nearest_in(held_out, features, by_question=True)
        if overlap and overlap[1] >= policy.held_out_jaccard:
            # The evidence does not name the row: refusals must not become a way to read the sealed questions.
            sentence = "This is too close to a question that is held out to measure adapters with."
            found.append(checks.finding("held_out_overlap", sentence, limit=policy.held_out_jaccard))
        told.append(_with(verdict, found, cluster_id))
    good = [None if verdict.refused else verdict.content for verdict in told]
    meant = fit.about(db, dataset_id, good, policy, except_ids=except_ids)
    return [_with(verdict, hints, verdict.cluster_id) for verdict, hints in zip(told, meant, strict=True)]


def within(judged: list[Judged], policy: Policy) -> list[Judged]:
    """The same, with what the rows before in the same submission say; it needs no store, and is quick to do again."""
    before, places = similarity.crowd([]), list[int]()
    hashes: dict[str, int] = {}
    told = []
    for verdict in judged:
        if verdict.content is None or verdict.refused:
            told.append(verdict)
            continue
        features = similarity.features(verdict.content)
        digest = formats.content_hash(verdict.content)
        twin = similarity.nearest_in(before, features)
        found = []
        if digest in hashes or (twin and twin[1] >= policy.near_duplicate_jaccard):
            first = hashes[digest] if digest in hashes else places[twin[0]] if twin else 0
            likeness = 1.0 if digest in hashes or not twin else round(twin[1], 3)
            sentence = f"This repeats row {first + 1:,} of the same submission ({likeness:.0%} alike)."
            found = [checks.finding("repeated_in_file", sentence, position=first, jaccard=likeness)]
        verdict = _with(verdict, found, verdict.cluster_id)
        if not verdict.refused:
            similarity.join(before, features)
            places.append(verdict.position)
            hashes[digest] = verdict.position
        told.append(verdict)
    return told


def _with(verdict: Judged, found: list[Finding], cluster_id: int | None) -> Judged:
    refused = verdict.refused or any(f.refuses for f in found)
    return dataclasses.replace(verdict, findings=verdict.findings + found, refused=refused, cluster_id=cluster_id)


def _repeats(
    db: Database, dataset_id: int, features: Features, digest: str, policy: Policy, except_ids: tuple[int, ...]
) -> tuple[list[Finding], int | None]:
    same = similarity.exact(db, dataset_id, digest, except_ids=except_ids)
    if same is not None:
        sentence = f"Example {same} says this already, word for word."
        return [checks.finding("exact_duplicate", sentence, example_id=same, jaccard=1.0)], cluster_of(db, same)
    near = similarity.nearest_to(db, dataset_id, features, except_ids=except_ids)
    if near is None or near[1] < policy.near_duplicate_jaccard:
        return [], None
    likeness = round(near[1], 3)
    sentence = (
        f"Example {near[0]} says nearly the same ({likeness:.0%} alike; {policy.near_duplicate_jaccard:.0%} makes a copy)."
    )
    evidence = {"example_id": near[0], "jaccard": likeness, "limit": policy.near_duplicate_jaccard}
    return [checks.finding("near_duplicate", sentence, **evidence)], cluster_of(db, near[0])


def cluster_of(db: Database, example_id: int) -> int:
    """The first of the examples that nearly repeat each other, of which this is one."""
    return int(store.value(db, "select cluster_id from examples where id = ?", example_id))


def sealable(rows: Sequence[list[dict[str, Any]]], policy: Policy) -> tuple[dict[str, int], list[str]]:
    """The canonical texts of rows to hold out with their numbers from 1, in order, and what speaks against them.

    A sentence for each row that checks refuse or that repeats another.
    """
    contents: dict[str, int] = {}
    problems = []
    for number, row in enumerate(rows, 1):
        content, found = checks.check_messages(row, policy=policy)
        problems += [f"Row {number}: {f.sentence}" for f in found if f.refuses]
        if content is not None and contents.setdefault(content, number) != number:
            problems.append(f"Row {number} repeats row {contents[content]}.")
    return contents, problems


def leaks(
    db: Database, dataset_id: int, contents: dict[str, int], policy: Policy,
    *, tell: Callable[[int], None] | None = None, since: tuple[int, float] | None = None, at_once: int = LOOKED_AT,
) -> list[str]:  # fmt: skip
    """One sentence for each example taken in that is too close to a row to hold out, as `sealable` gives them.

    `tell` hears how many were looked at so far. With `since` (an id, a moment) only those that came after that id, or were
    decided from that moment on: what a look at all of them may have missed meanwhile.
    """
    crowd, numbers = similarity.crowd(list(contents)), list(contents.values())
    strange = similarity.strangers(crowd)
    late = " and (e.id > :after or e.id in (select example_id from decisions where at >= :at))" if since else ""
    sql = (
        "select e.id, e.content from example_states s join examples e on e.id = s.example_id"
        f" where s.dataset_id = :dataset_id and s.example_id > :reached and s.state in {similarity.ACTIVE}{late}"
        " order by s.example_id limit :most"
    )
    named = {
        "dataset_id": dataset_id,
        "most": at_once,
        **(dict(zip(("after", "at"), since, strict=True)) if since else {}),
    }
    problems, reached, seen = [], 0, 0
    while taken := store.rows(db, sql, reached=reached, **named):
        for record in taken:
            if strange(record["content"]):
                continue
            near = similarity.nearest_in(crowd, similarity.features(record["content"]), by_question=True)
            if near and near[1] >= policy.held_out_jaccard:
                problems.append(
                    f"Row {numbers[near[0]]} is too close to example {record['id']}; withdraw the example or leave the row"
                    " out."
                )
        reached, seen = taken[-1]["id"], seen + len(taken)
        if tell is not None:
            tell(seen)
    return problems
