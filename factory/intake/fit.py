"""Whether rows fit the dataset that they are offered to: their licence, the tokens of its models, meaning and topic."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np
from sqlite_utils import Database

from factory.base import store
from factory.intake import checks, formats, licences, meanings, token_lengths
from factory.intake import policy as policies
from factory.intake.checks import Finding
from factory.intake.meaning import Vectors
from factory.intake.policy import Policy

# A row is off the topic when it is farther from all that was accepted than nearly all of that is from the rest of it.
FEWEST_ACCEPTED, MOST_ACCEPTED, NEIGHBOURS = 50, 400, 3
USUAL, MARGIN = 0.01, 0.05
# By the hashes of the rows compared with, so that nothing old is ever found; one for each of a few datasets.
TOPICS_KEPT = 8
_topics: OrderedDict[tuple[str, ...], tuple[Vectors, float]] = OrderedDict()
_lock = Lock()


def findings(
    db: Database, dataset_id: int, contents: Sequence[str | None], policy: Policy, *, given_under: Sequence[str] = ()
) -> list[list[Finding]]:
    """Licence and tokens of canonical texts (None: not looked at); `given_under` are the rows' own licences, "" for none."""
    dataset_licence = str(store.value(db, "select licence from datasets where id = ?", dataset_id))
    models, names = token_lengths.models_beside(db), policies.words(policy.token_models)
    found: list[list[Finding]] = [[] for _ in contents]
    for place, content in enumerate(contents):
        if content is None:
            continue
        turns = formats.messages(content)
        if given_under and given_under[place]:
            problem = licences.problem(dataset_licence, given_under[place])
            if problem:
                found[place].append(checks.finding("licence", problem, licence=given_under[place][:200]))
        found[place] += _stated(turns, dataset_licence)
        limit = policy.maximum_tokens
        if limit and token_lengths.at_most(turns) > limit:
            counted = token_lengths.longest(turns, models, names)
            if counted and counted[1] > limit:
                sentence = f"The example has {counted[1]:,} tokens for {counted[0]}; at most {limit:,} are taken."
                found[place].append(
                    checks.finding("too_many_tokens", sentence, tokens=counted[1], limit=limit, model=counted[0])
                )
    return found


def about(
    db: Database, dataset_id: int, contents: Sequence[str | None], policy: Policy, *, except_ids: tuple[int, ...] = ()
) -> list[list[Finding]]:
    """What canonical texts mean beside those taken in, and whether they are on the topic (None: not looked at).

    Hints only: vectors of words know neither negation nor order, so what they say is for a reviewer to look at.
    `except_ids` are examples that a row may be like: the one that it supersedes.
    """
    found: list[list[Finding]] = [[] for _ in contents]
    places = [place for place, content in enumerate(contents) if content is not None]
    vectors = meanings.vectors_of([content for content in contents if content is not None])
    if policy.meaning_cosine < 1 and places:
        near = meanings.nearest(db, dataset_id, vectors, at_least=policy.meaning_cosine, except_ids=except_ids)
        for place, each in zip(places, near, strict=True):
            if each:
                sentence = f"Example {each[0]} may say the same in other words ({each[1]:.0%} alike in meaning)."
                evidence = {"example_id": each[0], "cosine": round(each[1], 3), "limit": policy.meaning_cosine}
                found[place].append(checks.finding("meaning_duplicate", sentence, **evidence))
    topic = _accepted(db, dataset_id) if places and policy.topic_check else None
    if topic is not None:
        reference, limit = topic
        for place, likeness in zip(places, _likeness(vectors, reference), strict=True):
            if likeness < limit:
                sentence = "This is about something else than what was accepted here so far."
                evidence = {"likeness": round(float(likeness), 3), "limit": round(limit, 3), "compared": len(reference)}
                found[place].append(checks.finding("off_topic", sentence, **evidence))
    return found


def _accepted(db: Database, dataset_id: int) -> tuple[Vectors, float] | None:
    """The vectors of the newest accepted rows and what is usual among them (`_usual`).

    None while there are too few to know what a dataset is about.
    """
    sql = """select e.id, e.content_hash from states s join examples e on e.id = s.example_id
        where s.dataset_id = ? and s.state = 'accepted' order by s.example_id desc limit ?"""
    newest = db.execute(sql, [dataset_id, MOST_ACCEPTED]).fetchall()
    if len(newest) < FEWEST_ACCEPTED:
        return None
    hashes = tuple(content_hash for _, content_hash in newest)
    with _lock:
        found = _topics.get(hashes)
    if found is None:
        known = meanings.kept(hashes)
        new = [example_id for (example_id, _), vector in zip(newest, known, strict=True) if vector is None]
        marks = ", ".join("?" * len(new))
        contents = dict(db.execute(f"select id, content from examples where id in ({marks})", new).fetchall())
        fresh = iter(meanings.vectors_of([contents[example_id] for example_id in new]))
        reference = np.stack([next(fresh) if vector is None else vector for vector in known])
        found = reference, _usual(reference)
        with _lock:
            _topics[hashes] = found
            while len(_topics) > TOPICS_KEPT:
                _topics.popitem(last=False)
    return found


def _likeness(vectors: Vectors, reference: Vectors, *, leave_out: int = 0) -> Vectors:
    """The mean cosine of each vector to the nearest of a reference, [n]; `leave_out` 1 when a vector is in it itself."""
    likeness, nearest = vectors @ reference.T, []
    rows = np.arange(len(likeness))
    for _ in range(NEIGHBOURS + leave_out):  # a few passes for the greatest are quicker than one that partitions
        place = likeness.argmax(axis=1)
        nearest.append(likeness[rows, place])
        likeness[rows, place] = -np.inf
    mean: Vectors = np.stack(nearest[leave_out:][::-1], axis=1).mean(axis=1)
    return mean


def _usual(reference: Vectors) -> float:
    """The likeness that all but one of a hundred accepted rows have to the others, less a margin."""
    return float(np.quantile(_likeness(reference, reference, leave_out=1), USUAL)) - MARGIN


def _stated(turns: list[dict[str, str]], dataset_licence: str) -> list[Finding]:
    for number, turn in enumerate(turns):
        stated = licences.stated(turn["content"], dataset_licence)
        if stated:
            words, start, end = stated
            sentence = (
                f"{checks.who(turn['role'], number)} says that something is under “{words}”, which may not go in here."
            )
            return [checks.finding("licence_in_text", sentence, spans=[checks.span(number, start, end, turn["content"])])]
    return []
