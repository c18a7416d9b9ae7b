"""Appeals: one for each rejected or returned example, answered by somebody uninvolved; after a while silence answers."""

from __future__ import annotations

from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.intake import formats, reviews, sanctions, scrutiny, similarity
from factory.intake import policy as policies
from factory.intake.policy import Policy
from factory.intake.standing import DAY_SECONDS


def appeal(db: Database, example_id: int, *, person: Person, words: str) -> int:
    """Ask somebody uninvolved to look again at one's own rejected or returned example, once; the appeal's id.

    Raises NotFound, NotAllowed for somebody else's, Invalid without words, Conflict in another state or a second time.
    """
    sanctions.may_act(db, person)
    if not 1 <= len(words.strip()) <= reviews.MAX_WORDS:
        raise Invalid(f"Say in 1 to {reviews.MAX_WORDS:,} characters why the decision is wrong.")
    with store.writing(db):
        found = store.row(db, "select person_id, state from example_states where example_id = ?", example_id)
        if found is None:
            raise NotFound(f"There is no example {example_id}; your own are listed where you contribute.")
        if found["person_id"] != person.id:
            raise NotAllowed("Only its author can appeal for an example.")
        if found["state"] not in ("rejected", "returned"):
            raise Conflict(f"Example {example_id} is {found['state']}; only a rejected or returned one can be appealed for.")
        if store.value(db, "select 1 from appeals where example_id = ?", example_id):
            raise Conflict("There was an appeal for this example already; there is one for each.")
        record = {"example_id": example_id, "person_id": person.id, "words": words.strip(), "at": store.now()}
        return store.insert(db, "appeals", record)


def open_appeals(db: Database, dataset_id: int, *, reviewer: Person) -> list[dict[str, Any]]:
    """Appeals this reviewer may answer, oldest first: appeal_id, example_id, content, messages, words, at, reason, notes."""
    people.need(reviewer, "reviewer")
    found = store.rows(
        db,
        """select a.id as appeal_id, a.example_id, e.content, a.words, a.at, s.reason,
            (select group_concat(note, ' ') from verdicts v where v.example_id = e.id and note <> '') as notes
        from appeals a cross join examples e on e.id = a.example_id join example_states s on s.example_id = e.id
        where a.answer is null and e.dataset_id = :dataset_id and a.person_id <> :me and s.state in ('rejected', 'returned')
            and not exists (select 1 from verdicts where example_id = e.id and reviewer_id = :me)
            and not exists (select 1 from gold_verdicts where example_id = e.id and reviewer_id = :me)
            and not exists (select 1 from review_conflicts where example_id = e.id and reviewer_id = :me)
            and not exists (select 1 from detected_conflicts
                where reviewer_id = :me and author_id = a.person_id and lifted_at is null)
            and not exists (select 1 from examples mine where mine.cluster_id = e.cluster_id and mine.person_id = :me)
        order by a.id limit 50""",
        dataset_id=dataset_id,
        me=reviewer.id,
    )
    _, policy = policies.current(db, dataset_id)
    return [
        {**record, "messages": formats.messages(record["content"])}
        for record in found
        if scrutiny.hears(db, record["example_id"], record["at"], reviewer=reviewer, policy=policy)
    ]


def answer_appeal(db: Database, appeal_id: int, *, reviewer: Person, answer: str, words: str) -> str:
    """Uphold a decision, or overturn it: then the example is accepted, and so it counts in its author's standing. Its state.

    Where all who judged it said otherwise (see `scrutiny.convinces`) it is returned, to be sent again and judged by others.

    Raises NotAllowed for somebody involved, Invalid, NotFound, Conflict when it is answered, the example was withdrawn, or
    nearly the same was taken in since.
    """
    sanctions.may_review(db, reviewer)
    if answer not in ("upheld", "overturned") or not 1 <= len(words.strip()) <= reviews.MAX_WORDS:
        raise Invalid(f"Answer upheld or overturned, and say in 1 to {reviews.MAX_WORDS:,} characters why.")
    with store.writing(db):
        found = store.row(db, "select example_id, answer, at from appeals where id = ?", appeal_id)
        if found is None:
            raise NotFound(f"There is no appeal {appeal_id}; the review page lists the open ones.")
        example_id = found["example_id"]
        state = reviews.judgeable(db, example_id, reviewer)
        judged = "select 1 from {} where example_id = ? and reviewer_id = ?"
        if any(store.value(db, judged.format(t), example_id, reviewer.id) for t in ("verdicts", "gold_verdicts")):
            raise NotAllowed("You judged this example; somebody uninvolved answers the appeal.")
        if found["answer"] is not None or state["state"] not in ("rejected", "returned"):
            raise Conflict("This appeal is answered, or its example was withdrawn; there is nothing to decide.")
        policy = policies.current(db, state["dataset_id"])[1]
        if not scrutiny.hears(db, example_id, found["at"], reviewer=reviewer, policy=policy):
            raise NotAllowed("Others were drawn to answer this appeal; the review page shows those that wait for you.")
        db.execute(
            "update appeals set answered_by = ?, answer = ?, answer_words = ?, answered_at = ? where id = ?",
            [reviewer.id, answer, words.strip(), store.now(), appeal_id],
        )
        if answer == "upheld":
            return str(state["state"])
        _need_original(db, example_id, state["dataset_id"])
        pairs = [(verdict["decision"], verdict["trust"]) for verdict in reviews.verdicts_on(db, example_id)]
        if not scrutiny.convinces(db, example_id, pairs, policy):
            return reviews.write(db, example_id, "return", [], by="appeal", why="again")
        return reviews.write(db, example_id, "accept", [], by="appeal")


def _need_original(db: Database, example_id: int, dataset_id: int) -> None:
    # A rejected example does not stand in the way of others, so the same may have been accepted since.
    _, policy = policies.current(db, dataset_id)
    content = store.value(db, "select content from examples where id = ?", example_id)
    near = similarity.nearest(db, dataset_id, content, except_ids=(example_id,))
    if near and near[1] >= policy.near_duplicate_jaccard:
        raise Conflict(
            f"Example {near[0]} says nearly the same by now, so this one cannot be taken in; uphold the decision."
        )


def lift_unanswered(db: Database, dataset_id: int, policy: Policy) -> list[tuple[int, str]]:
    """Decisions whose appeal waited too long: the example is returned, and the rejection counts no more."""
    if policy.appeal_days <= 0:
        return []
    with store.writing(db):
        late = store.rows(
            db,
            "select a.id, a.example_id from appeals a join example_states s on s.example_id = a.example_id"
            " where a.answer is null and s.dataset_id = ? and s.state in ('rejected', 'returned') and a.at < ?"
            " order by a.id",
            dataset_id,
            store.now() - policy.appeal_days * DAY_SECONDS,
        )
        for appeal in late:
            db.execute(
                "update appeals set answer = 'overturned', answer_words = ?, answered_at = ? where id = ?",
                [reviews.SILENCE["unanswered"], store.now(), appeal["id"]],
            )
            reviews.write(db, appeal["example_id"], "return", [], by="deadline", why="unanswered")
    return [(appeal["example_id"], "returned") for appeal in late]
