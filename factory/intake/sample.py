"""A dataset that is real on every machine: the installed Python's own documentation as questions and answers.

The people are invented and labelled so; what they write is not sorted by anybody beforehand. A careful contributor, a
prolific one who is often sloppy, one who copies others and one who sends noise go through the same checks as everyone.
The demo reviewers then look each row up in the documentation, and what two of them agree on is decided. Nothing here knows
which row should be accepted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from filelock import FileLock
from sqlite_utils import Database

from factory.base import people, store
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import contributions, datasets, demo_reviewers, formats, reviews, similarity
from factory.intake import documentation as docs
from factory.intake.documentation import Entry
from factory.intake.policy import Policy

SLUG = "python-standard-library"
TITLE = "Python's standard library, asked and answered"
LICENCE = "PSF-2.0"
PURPOSE = (
    "Short, correct answers to questions about functions, classes and methods of Python's standard library, so that a small"
    " model learns to answer them in one plain form. Built from the documentation of the Python that is installed here."
)
GUIDELINES = (
    "Ask about one function, class or method by its full name. Answer in one to three sentences: what it does, in the words"
    " of its documentation, and how it is called, exactly as `inspect.signature` gives it. Finish every sentence."
    " Copies of what is here already are not wanted."
)
POLICY = Policy(daily_base_examples=400, quorum_at_most=3)  # there are three reviewers
# Which places are gold follows from an installation's own secret; the demo's outcome must not.
WHILE_FILLED = replace(POLICY, gold_share=0)
CAREFUL_ROWS, PROLIFIC_GOOD_ROWS, PROLIFIC_SLOPPY_ROWS, COPIED_ROWS, COPIERS_OWN_ROWS, NOISE_ROWS = 150, 190, 90, 60, 10, 60
HELD_OUT_ROWS = 48
TOO_ALIKE = 0.5  # likeness from which two questions are not both asked; the policy refuses from 0.6 on
REVIEW_BATCH = 40

Messages = list[dict[str, str]]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Question:
    """One question about one entry of the documentation, and an answer."""

    entry: Entry
    kind: str
    asked: str
    answer: str

    @property
    def messages(self) -> Messages:
        return [{"role": "user", "content": self.asked}, {"role": "assistant", "content": self.answer}]


# ---------------------------------------------------------------- what can be asked


@cache
def questions() -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """Good questions for contributors and the sealed held-out ones, over different objects, in a fixed order.

    The checks would let each of them in beside all others, by a margin: what is alike is left out here.
    """
    entries = sorted(docs.entries(), key=lambda entry: docs.seed("order", entry.name))
    asked = [_question(entry) for entry in entries if docs.kinds(entry)]
    sealed = _unlike(asked, HELD_OUT_ROWS, apart_from=similarity.crowd([]))
    objects = {question.entry.name for question in sealed}
    wanted = CAREFUL_ROWS + PROLIFIC_GOOD_ROWS + PROLIFIC_SLOPPY_ROWS + COPIERS_OWN_ROWS
    others = [question for question in asked if question.entry.name not in objects]
    good = _unlike(others, wanted, apart_from=similarity.crowd([formats.canonical(q.messages) for q in sealed]))
    return tuple(good), tuple(sealed)


def _question(entry: Entry) -> Question:
    kind = docs.pick(tuple(docs.kinds(entry)), "kind", entry.name)
    return Question(entry, kind, *docs.question(entry, kind))


def _unlike(asked: list[Question], wanted: int, *, apart_from: similarity.Crowd) -> list[Question]:
    chosen: list[Question] = []
    crowd = similarity.crowd([])
    by_module: dict[str, int] = {}
    for question in asked:
        features = similarity.features(formats.canonical(question.messages))
        nearest = similarity.nearest_in(crowd, features)
        forbidden = similarity.nearest_in(apart_from, features, by_question=True)
        crowded = by_module.get(question.entry.module, 0) >= wanted // 12
        if crowded or max(nearest[1] if nearest else 0, forbidden[1] if forbidden else 0) >= TOO_ALIKE:
            continue
        similarity.join(crowd, features)
        by_module[question.entry.module] = by_module.get(question.entry.module, 0) + 1
        chosen.append(question)
        if len(chosen) == wanted:
            break
    return chosen


# ---------------------------------------------------------------- who writes what


def careful() -> list[Messages]:
    """What the careful contributor sends: one good row each about many objects."""
    return [question.messages for question in questions()[0][:CAREFUL_ROWS]]


def prolific() -> list[Messages]:
    """What the prolific contributor sends: good rows and, mixed among them, rows that were not looked over."""
    good = questions()[0][CAREFUL_ROWS : CAREFUL_ROWS + PROLIFIC_GOOD_ROWS]
    start = CAREFUL_ROWS + PROLIFIC_GOOD_ROWS + COPIERS_OWN_ROWS
    hasty = questions()[0][start : start + PROLIFIC_SLOPPY_ROWS]
    rows = [question.messages for question in good]
    rows += [_sloppy(question, hasty[number - 1]) for number, question in enumerate(hasty)]
    return sorted(rows, key=lambda row: docs.seed("prolific", row[0]["content"]))


def _sloppy(question: Question, other: Question) -> Messages:
    answer = question.answer
    mistake = docs.pick(("cut off", "wrong call", "wrong answer"), "mistake", question.asked)
    if mistake == "cut off":
        answer = answer[: len(answer) * (30 + docs.seed("cut", answer) % 45) // 100]
    elif mistake == "wrong call" and question.entry.call in answer and question.entry.signature:
        answer = answer.replace(question.entry.call, question.entry.name + (other.entry.signature or "(file, *, mode=0)"))
    else:
        answer = other.answer
    return [{"role": "user", "content": question.asked}, {"role": "assistant", "content": answer}]


def copier() -> list[Messages]:
    """What the copier sends: other people's rows with a little changed, and a handful of rows of their own."""
    start = CAREFUL_ROWS + PROLIFIC_GOOD_ROWS
    own = [question.messages for question in questions()[0][start : start + COPIERS_OWN_ROWS]]
    originals = [question.messages for question in questions()[0][:start]]
    taken = sorted(originals, key=lambda row: docs.seed("copy", row[0]["content"]))[:COPIED_ROWS]
    return own + [_copied(row, number) for number, row in enumerate(taken)]


def _copied(row: Messages, number: int) -> Messages:
    asked, answer = row[0]["content"], row[1]["content"]
    change = number % 5
    if change == 1:
        asked, answer = asked.lower(), answer + " "
    elif change == 2:
        asked = f"{asked} Thanks!"
    elif change == 3:
        answer = answer.replace(". ", ".  ").replace("returns", "gives")
    elif change == 4:
        answer = f"{answer} Easy."
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def noise() -> list[Messages]:
    """What the noise sender sends: shuffled words, answers to something else, letters in no order."""
    everything = [question for part in questions() for question in part]
    rows = []
    for number in range(NOISE_ROWS):
        dice = random.Random(docs.seed("noise", number))
        about, other = dice.sample(everything[HELD_OUT_ROWS:], 2)
        answer = about.answer.split()
        if number % 3 == 0:
            dice.shuffle(answer)
        elif number % 3 == 1:
            answer = f"{other.answer} {dice.choice(everything).asked}".split()
            dice.shuffle(answer)
        else:
            answer = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz .", k=dice.randint(3, 11))) for _ in range(14)]
        asked = about.asked.split()
        dice.shuffle(asked)
        rows.append([{"role": "user", "content": " ".join(asked)}, {"role": "assistant", "content": " ".join(answer)}])
    return rows


CONTRIBUTORS: dict[str, tuple[str, Callable[[], list[Messages]]]] = {
    "demo-cara": ("Cara, careful (demo)", careful),
    "demo-paul": ("Paul, prolific (demo)", prolific),
    "demo-kit": ("Kit, copies others (demo)", copier),
    "demo-nell": ("Nell, sends noise (demo)", noise),
}


# ---------------------------------------------------------------- filling a workshop


def fill(db: Database, settings: Settings, *, progress: Progress | None = None) -> dict[str, Any]:
    """Open the sample dataset, let the demo people contribute and review, and freeze version 1.

    Safe to repeat, also after an interruption at any moment: what is there is found, what is missing is done, and once
    version 1 is frozen nothing more happens. `progress` is told (stage, done, total).
    Returns `summary`.
    """
    tell = progress or (lambda stage, done, total: None)
    settings.home.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.home / "sample.lock"):
        owner = people.maintainer(db)
        dataset = _dataset(db, owner)
        if not datasets.versions(db, dataset["id"]):
            _contribute(db, dataset["id"], owner, tell)
            _review(db, dataset["id"], tell)
            tell("freeze", 0, 1)
            with store.writing(db):
                datasets.set_policy(db, dataset["id"], POLICY, person=owner)
                datasets.freeze(db, dataset["id"], person=owner, note="What the demo reviewers accepted.")
            tell("freeze", 1, 1)
    return summary(db)


def _dataset(db: Database, owner: Person) -> dict[str, Any]:
    if not store.value(db, "select 1 from datasets where slug = ?", SLUG):
        datasets.create(
            db, slug=SLUG, title=TITLE, purpose=PURPOSE, guidelines=GUIDELINES, licence=LICENCE, owner=owner,
            policy=WHILE_FILLED,
            is_demo=True,
        )  # fmt: skip
    return datasets.get(db, SLUG)


def _person(db: Database, name: str, display_name: str, role: str) -> Person:
    return people.find(db, name) or people.create(db, name, display_name=display_name, roles=(role,), is_demo=True)


def _contribute(db: Database, dataset_id: int, owner: Person, tell: Progress) -> None:
    if not store.value(db, "select 1 from held_out_sets where dataset_id = ?", dataset_id):
        rows = [question.messages for question in questions()[1]]
        datasets.seal_held_out(db, dataset_id, person=owner, rows=rows)
    for done, (name, (display_name, write)) in enumerate(CONTRIBUTORS.items()):
        tell("contribute", done, len(CONTRIBUTORS))
        person = _person(db, name, display_name, "contributor")
        if not store.value(db, "select 1 from submissions where dataset_id = ? and person_id = ?", dataset_id, person.id):
            contributions.submit(
                db, dataset_id, person=person, rows=write(), source="file", file_name=f"{name}.jsonl", file_format="jsonl",
                licence=LICENCE, attested=True,
            )  # fmt: skip
    tell("contribute", len(CONTRIBUTORS), len(CONTRIBUTORS))


def _review(db: Database, dataset_id: int, tell: Progress) -> None:
    reviewers = [_person(db, name, display_name, "reviewer") for name, (display_name, _) in demo_reviewers.REVIEWERS.items()]
    waiting = "select count(*) from example_states where dataset_id = ? and state = 'waiting'"
    total = store.value(db, waiting, dataset_id)
    judged = 1
    while judged:
        judged = 0
        for reviewer in reviewers:
            # One transaction a batch: a disk that syncs slowly is waited for forty times less often.
            with store.writing(db):
                for row in reviews.queue(db, dataset_id, reviewer=reviewer, limit=REVIEW_BATCH):
                    decision, reason, note = demo_reviewers.judge(row["messages"], reviewer=reviewer.name)
                    reviews.decide(db, row["example_id"], reviewer=reviewer, decision=decision, reason=reason, note=note)
                    judged += 1
            tell("review", min(total - store.value(db, waiting, dataset_id), total - 1), total)
    tell("review", total, total)


def summary(db: Database) -> dict[str, Any]:
    """What became of the sample dataset, counted from its rows.

    dataset, version, root, held_out (rows), by_person: one dictionary each with name, display_name, sent, refused,
    accepted, returned, rejected, waiting; refusals: how many rows each check's code refused.
    """
    dataset = datasets.get(db, SLUG)
    version = next(iter(datasets.versions(db, dataset["id"])), None)
    by_person = store.rows(
        db,
        "select p.name, p.display_name, count(*) as sent, sum(s.state = 'refused') as refused,"
        " sum(s.state = 'accepted') as accepted, sum(s.state = 'returned') as returned,"
        " sum(s.state = 'rejected') as rejected, sum(s.state = 'waiting') as waiting"
        " from example_states s join people p on p.id = s.person_id where s.dataset_id = ? group by p.id order by p.id",
        dataset["id"],
    )
    refusals = store.rows(
        db,
        "select f.code, count(distinct f.example_id) as rows from findings f join examples e on e.id = f.example_id"
        " where e.dataset_id = ? and f.refuses group by f.code order by rows desc, f.code",
        dataset["id"],
    )
    held_out = store.value(db, "select row_count from held_out_sets where dataset_id = ? order by id desc", dataset["id"])
    return {
        "dataset": SLUG, "version": version and version["number"], "root": version and version["root"], "held_out": held_out,
        "rows": version and version["row_count"], "by_person": by_person,
        "refusals": {record["code"]: record["rows"] for record in refusals},
    }  # fmt: skip
