"""What else a grown workshop has, for `benchmarks.populate`: codes of meaning, maps, sanctions, held credits, a draft.

Each part is added where there is none of it yet, so that a store that was filled before gets what came later.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.credit import bounties, freezes
from factory.intake import datasets, drafts, maps, meanings, sanctions
from factory.intake.formats import Row
from factory.training import plans

DAY = 86_400.0
WORDS = "Twelve rows of one afternoon are one text with other names in it."


def complete(db: Database, draw: random.Random, talks: list[tuple[str, str]]) -> dict[str, int]:
    """Add what is missing; how many rows of what there are. `talks` become somebody's draft."""
    cached = store.value(db, "pragma cache_size")
    db.execute("pragma cache_size = -400000")
    for dataset in datasets.everything(db):
        while True:
            with store.writing(db):
                if not meanings.catch_up(db, dataset["id"], most=20_000):
                    break
        due = maps.due(db, dataset["id"])
        if due:
            maps.draw(db, due["id"])
    db.execute(f"pragma cache_size = {cached}")
    admin = people.get(db, store.value(db, "select person_id from roles where role = 'admin' order by 1 desc limit 1"))
    if not store.value(db, "select 1 from sanctions limit 1"):
        with store.writing(db):
            sanctioned(db, draw, admin.id)
    if not store.value(db, "select 1 from freezes limit 1"):
        held(db, admin)
    if not store.value(db, "select 1 from bounties limit 1"):
        promised(db)
    if not store.value(db, "select 1 from searches limit 1"):
        searched(db)
    if not store.value(db, "select 1 from drafts limit 1"):
        drafted(db, talks)
    tables = ("meaning_codes", "topic_maps", "sanctions", "reports", "freezes", "bounties", "draft_rows")
    return {table: int(store.value(db, f"select count(*) from {table}")) for table in tables}


def sanctioned(db: Database, draw: random.Random, by: int) -> None:
    """Sanctions over two years, one for each five people, most of them over; and as many reports, a third still open."""
    who = [row[0] for row in db.execute("select distinct person_id from tallies order by 1")]
    now, count = store.now(), max(60, len(who) // 5)
    began, some, waiting = now - 730 * DAY, list[tuple[Any, ...]](), list[tuple[Any, ...]]()
    for number in range(1, count + 1):
        at = began + (now - began) * number / count
        kind, reason = draw.choice(list(sanctions.KINDS)), draw.choice(list(sanctions.REASONS))
        days = draw.uniform(7, 90) * DAY
        some.append((number, draw.choice(who), kind, reason, WORDS, json.dumps({"examples": [], "findings": {}}), by, at,
                     at + days))  # fmt: skip
        waiting.append((number, draw.choice(who), draw.choice(who), reason, WORDS, at))
    db.conn.executemany(
        "insert into sanctions (id, person_id, kind, reason, words, evidence, by_id, starts_at, ends_at)"
        " values (?, ?, ?, ?, ?, ?, ?, ?, ?)", some,
    )  # fmt: skip
    lifted = [(row[0], by, "It was another's.", row[7] + DAY) for row in some if draw.random() < 0.1]
    db.conn.executemany("insert into sanction_lifts (sanction_id, by_id, words, at) values (?, ?, ?, ?)", lifted)
    db.conn.executemany("insert into reports (id, by_id, person_id, reason, words, at) values (?, ?, ?, ?, ?, ?)", waiting)
    answers = [(row[0], by, "dismissed", "It is as it should be.", row[5] + DAY) for row in waiting[: 2 * count // 3]]
    db.conn.executemany("insert into report_answers (report_id, by_id, answer, words, at) values (?, ?, ?, ?, ?)", answers)


def held(db: Database, admin: people.Person) -> None:
    """The credits of thirty of those who have most, held while somebody looks."""
    rich = "select distinct person_id from attribution_people where person_id <> ? order by person_id limit 30"
    for (person_id,) in db.execute(rich, [admin.id]).fetchall():
        freezes.freeze(db, by=admin, reason=WORDS, days=60, who=int(person_id))


def promised(db: Database) -> None:
    """A bounty on the first topic of the largest dataset, by somebody who was paid."""
    paid = (
        "select cast(substr(account, 8) as integer) from ledger_entries where account like 'person:%' group by account"
        " order by sum(micro_credits) desc limit 1"
    )
    found = db.execute(paid).fetchone()
    largest = store.value(db, "select dataset_id from topic_maps order by row_count desc limit 1")
    if found is None or largest is None:
        return
    bounties.open_one(db, largest, 0, person=people.get(db, int(found[0])), rows=5, credits_each=0.01, days=30)


def searched(db: Database) -> None:
    """A search that ended, whose trials are ten of the runs."""
    run = store.row(db, "select * from runs order by id limit 1")
    tried = [row[0] for row in db.execute("select id from runs order by id limit 10")]
    if run is None:
        return
    plan = plans.Plan(over={"learning_rate": "1e-5..1e-3"}, trials=len(tried))
    with store.writing(db):
        search_id = store.insert(db, "searches", {
            "name": "learning rate", "person_id": run["person_id"], "version_id": run["version_id"], "recipe": run["recipe"],
            "plan": json.dumps(asdict(plan)), "status": "done", "words": "Every trial is done.", "at": run["queued_at"],
        })  # fmt: skip
        db.conn.executemany(
            "insert into search_trials (search_id, number, settings, run_id, status, value, words)"
            " values (?, ?, ?, ?, 'done', ?, 'It is done.')",
            [(search_id, place, json.dumps({"learning_rate": 1e-5 * (place + 1)}), run_id, 1.9 - place / 100)
             for place, run_id in enumerate(tried)],
        )  # fmt: skip


def drafted(db: Database, talks: list[tuple[str, str]]) -> None:
    """A draft of so many rows that its author has not looked at yet; the busiest contributor's."""
    who = people.get(db, store.value(db, "select person_id from tallies order by submitted desc limit 1"))
    said = [[{"role": "user", "content": asked}, {"role": "assistant", "content": told}] for asked, told in talks]
    rows = [Row(place, messages, None, "") for place, messages in enumerate(said)]
    draft_id = drafts.begin(db, 1, person=who, rows=rows, file_name="evenings.jsonl", file_format="jsonl")
    drafts.check(db, draft_id, person=who)
