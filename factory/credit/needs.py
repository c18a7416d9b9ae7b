"""What a dataset needs now: thin topics, held-out questions that the latest adapter fails, and bounties, on one board.

A topic is *thin* when it has fewer than half of the accepted rows that would be fair. Fair is its share of the held-out
questions where five or more of these fall into it, else the same for every topic. An adapter *fails* a question when its
loss on it is over a quarter above its mean over all.

Held-out rows stay sealed: figures on them are sums over at least five, rounded, and where the rest of a sum would be
fewer, the smallest group joins it, so that nothing about a smaller group can be had by taking away. No text and no id
leaves.
"""

from __future__ import annotations

import math
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.credit import bounties
from factory.intake import datasets, maps

FEWEST = 5  # held-out questions that a figure is ever made of
THIN, FAILS = 0.5, 1.25
RULES = (
    "Thin: fewer than half of the accepted rows that would be fair. Fair is the topic's share of the held-out questions"
    f" where at least {FEWEST} of them fall into it, else the same for every topic.",
    "Fails: the adapter's loss on a question is over a quarter above its mean over all held-out questions. Held-out rows"
    f" stay sealed: no figure is made of fewer than {FEWEST} of them.",
    "A topic that has less, fails more, or has a bounty with rows left stands higher.",
)


def board(db: Database, dataset_id: int) -> dict[str, Any]:
    """Everything the board of a dataset shows, in a few short queries whatever the dataset holds. Raises NotFound.

    Keys: slug, title, map (as `maps.latest`, None before the first), due (a newer version without a map, or None), topics,
    elsewhere (held-out questions near no topic, or in groups too small to tell: questions, failing, worse; None where
    there are fewer than five), adapter (id, name: the latest measured on these held-out rows, or None), loss (its mean,
    nats per token), bounties (open ones), pot (credits), rules (sentences).
    Topics, the neediest first: number, name, words, rows, people, x, y, fair (rows), missing (rows until it is no longer
    thin), thin, share, questions, question_share, failing (a count), worse (nats per token against the mean; these four are
    None for groups too small to tell), bounties (ids), credits (left in them), wanted (rows left in them), need (0 upwards).
    """
    dataset, drawn = datasets.get(db, dataset_id), maps.latest(db, dataset_id)
    promised = bounties.listing(db, dataset_id=dataset_id, open_only=True)
    found: dict[str, Any] = {
        "slug": dataset["slug"], "title": dataset["title"], "map": drawn, "due": maps.due(db, dataset_id), "topics": [],
        "elsewhere": None, "adapter": None, "loss": None, "bounties": promised, "rules": RULES,
        "pot": bounties.book.balance(db, bounties.pot(dataset_id)) / bounties.MICRO,
    }  # fmt: skip
    if drawn is None:
        return found
    judged = _judged(db, drawn)
    if judged["adapter"]:
        found |= {"adapter": judged["adapter"], "loss": judged["loss"]}
    found["elsewhere"] = judged["groups"].get(None)
    on_topic = _on_topic(db, drawn, promised)
    asked = sum(group["questions"] for group in judged["groups"].values())
    all_topics = maps.topics_of(db, drawn["id"])
    for topic in all_topics:
        group = judged["groups"].get(topic["number"])
        needs = _needs(topic, group, asked, drawn["row_count"], len(all_topics))
        mine = [bounty for bounty in promised if on_topic[bounty["id"]] == topic["number"]]
        wanted = sum(bounty["rows_left"] for bounty in mine)
        worse = max(0.0, (group or {}).get("worse") or 0.0) / (judged["loss"] or 1.0)
        need = needs["missing"] / max(1.0, needs["fair"]) + worse + min(1.0, wanted / 10)
        found["topics"].append(
            {
                **topic, **needs, "share": topic["rows"] / drawn["row_count"], "bounties": [b["id"] for b in mine],
                "credits": sum(b["credits_left"] for b in mine), "wanted": wanted, "need": round(need, 3),
            }
        )  # fmt: skip
    found["topics"].sort(key=lambda topic: (-topic["need"], topic["rows"], topic["number"]))
    return found


def _needs(topic: dict[str, Any], group: dict[str, Any] | None, asked: int, rows: int, count: int) -> dict[str, Any]:
    """How many rows would be fair for a topic, how many are missing, and what may be told of its held-out questions."""
    share = group["questions"] / asked if group else None
    fair = rows * (share if share is not None else 1 / count)
    missing = max(0, math.ceil(THIN * fair) - topic["rows"])
    told = {key: group[key] if group else None for key in ("questions", "failing", "worse")}
    return {"fair": round(fair), "missing": missing, "thin": missing > 0, "question_share": share, **told}


def _on_topic(db: Database, drawn: dict[str, Any], promised: list[dict[str, Any]]) -> dict[int, int]:
    """The topic of this map that each bounty is for: its own, or on a newer map the one nearest to it."""
    here = maps.centroids_of(db, drawn["id"])
    found = {}
    for bounty in promised:
        if bounty["map_id"] == drawn["id"]:
            found[bounty["id"]] = bounty["topic"]
        else:
            centroid = maps.centroids_of(db, bounty["map_id"])[bounty["topic"]]
            found[bounty["id"]] = int((here @ centroid).argmax())
    return found


def _judged(db: Database, drawn: dict[str, Any]) -> dict[str, Any]:
    """The held-out questions of a map by topic (None: near none, or too few to tell), as the latest adapter does on them.

    Gives groups (number: questions, failing, worse), adapter (id, name, run_id) and loss; without an adapter failing and
    worse are None.
    """
    measured = store.row(
        db,
        "select v.id, a.id as adapter_id, a.name, a.run_id from held_out_sets h"
        " join evaluations v on v.held_out_root = h.root join adapters a on a.id = v.adapter_id"
        " where h.id = ? and v.row_count = h.row_count order by v.id desc limit 1",
        drawn["held_out_set_id"],
    )
    rows = store.rows(
        db,
        "select q.number, r.label_tokens as tokens, r.tuned_loss as loss from topic_questions q left join evaluation_rows r"
        " on r.evaluation_id = ? and r.position = q.position where q.map_id = ?",
        measured["id"] if measured else None,
        drawn["id"],
    )
    by_topic: dict[int | None, list[dict[str, Any]]] = {}
    for row in rows:
        by_topic.setdefault(row["number"], []).append(row)
    groups = told_together(by_topic)
    total = sum(row["tokens"] or 0 for row in rows)
    if measured is None or not total:
        return {"groups": {k: _figures(g, None) for k, g in groups.items()}, "adapter": None, "loss": None}
    mean = sum(row["loss"] or 0.0 for row in rows) / total
    adapter = {"id": measured["adapter_id"], "name": measured["name"], "run_id": measured["run_id"]}
    return {"groups": {k: _figures(g, mean) for k, g in groups.items()}, "adapter": adapter, "loss": mean}


def told_together(by_topic: dict[int | None, list[Any]]) -> dict[int | None, list[Any]]:
    """Groups of at least five only: smaller ones come together under None, with the smallest others until they are five.

    Where there are fewer than five in all, nothing is told.

    >>> told = told_together({0: [1] * 6, 1: [1] * 9, 2: [1] * 2})
    >>> {topic: len(rows) for topic, rows in told.items()}
    {1: 9, None: 8}
    >>> told_together({0: [1, 2], 1: [3]})
    {}
    """
    kept: dict[int | None, list[Any]] = {t: r for t, r in by_topic.items() if t is not None and len(r) >= FEWEST}
    rest = [row for topic, rows in by_topic.items() if topic not in kept for row in rows]
    while rest and len(rest) < FEWEST and kept:
        smallest = min(kept, key=lambda topic: (len(kept[topic]), topic or 0))
        rest += kept.pop(smallest)
    return {**kept, None: rest} if len(rest) >= FEWEST else kept


def _figures(rows: list[dict[str, Any]], mean: float | None) -> dict[str, Any]:
    if mean is None:
        return {"questions": len(rows), "failing": None, "worse": None}
    tokens = sum(row["tokens"] for row in rows)
    failing = sum(row["loss"] / row["tokens"] > FAILS * mean for row in rows if row["tokens"])
    return {"questions": len(rows), "failing": failing, "worse": round(sum(row["loss"] for row in rows) / tokens - mean, 2)}


def most_needed(db: Database, *, dataset_id: int | None = None, limit: int = 3) -> list[dict[str, Any]]:
    """The neediest topics of a dataset, or of the twenty newest with a map: slug, title, why, and a topic of `board`."""
    found = []
    newest = "select distinct dataset_id from topic_maps where :one is null or dataset_id = :one order by 1 desc limit 20"
    for dataset in store.rows(db, newest, one=dataset_id):
        shown = board(db, dataset["dataset_id"])
        for topic in shown["topics"][:limit]:
            if why := in_words(topic):
                found.append({"slug": shown["slug"], "title": shown["title"], "why": why, **topic})
    return sorted(found, key=lambda topic: -topic["need"])[:limit]


def in_words(topic: dict[str, Any]) -> str:
    """Why a topic is needed, in a few words; "" where it is not.

    >>> in_words({"missing": 4, "worse": 0.31, "wanted": 2, "credits": 5.0})
    '4 more rows, the latest adapter is 0.31 nats worse on it than on average, 5.00 credits for the next 2 rows'
    """
    parts = []
    if topic["missing"]:
        parts.append(f"{topic['missing']:,} more row{'s' * (topic['missing'] != 1)}")
    if topic["worse"] and topic["worse"] > 0:
        parts.append(f"the latest adapter is {topic['worse']:.2f} nats worse on it than on average")
    if topic["wanted"]:
        parts.append(f"{topic['credits']:,.2f} credits for the next {topic['wanted']:,} row{'s' * (topic['wanted'] != 1)}")
    return ", ".join(parts)
