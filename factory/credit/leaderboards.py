"""Who, which dataset and which adapter does well, and why: every rank is a query of sums that triggers keep.

Contributors rank by standing: the lower end of the 95% interval of their rate of acceptance, never by volume. Who has
fewer than ten decided examples is provisional and stands below those who have them; ties go to who earned more credits.
Adapters rank by the share of the loss they take away, and only against others on the very same held-out rows.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.credit import ledger
from factory.intake import checks, reviews, standing
from factory.intake import policy as policies

EARNED_SINCE = """
    select cast(substr(e.account, 8) as integer), sum(e.micro_credits) from
        (select t.id from ledger_transactions t join adapters a on a.id = t.adapter_id join runs r on r.id = a.run_id
            join dataset_versions v on v.id = r.version_id
            where t.at >= :since and (:dataset is null or v.dataset_id = :dataset)) t
    cross join ledger_entries e on e.transaction_id = t.id where e.account glob 'person:*' group by e.account
"""


def contributors(
    db: Database, *, dataset_id: int | None = None, since: float | None = None, limit: int | None = None, offset: int = 0
) -> list[dict[str, Any]]:
    """Everybody who submitted something, best first; see the module for the one rule of rank.

    Keys: rank, person_id, name, person, is_demo, lower, rate, upper (standing, 0 to 1), provisional, accepted, decided
    (clusters), submitted, refused (by checks), waiting, credits, micro_credits, last_at. With `since` (seconds since
    1970) only who submitted or earned after it is listed, with `submitted`, `refused`, `waiting` and the credits of that
    time; rank and standing stay what they are. `limit` and `offset` cut a page out of the list.
    """
    board = standing.order(db, dataset_id, ties=credits_by_person(db, dataset_id=dataset_id))
    places: Sequence[int] = range(len(board))
    if since is not None:
        active = _active(db, dataset_id, since)
        places = [place for place in places if board[place][0] in active]
    chosen = places[offset : None if limit is None else offset + limit]
    return _described(db, [(place + 1, board[place]) for place in chosen], dataset_id, since)


def how_many_contributors(db: Database, *, dataset_id: int | None = None, since: float | None = None) -> int:
    """How many people `contributors` lists without a limit."""
    if since is not None:
        return len(_active(db, dataset_id, since))
    listed = "select count(distinct person_id) from tallies where :dataset is null or dataset_id = :dataset"
    return int(store.value(db, listed, dataset=dataset_id))


def _described(
    db: Database, placed: Sequence[tuple[int, tuple[int, standing.Sums]]], dataset_id: int | None, since: float | None
) -> list[dict[str, Any]]:
    ids = [person_id for _, (person_id, _) in placed]
    who, earned = standing.offered(db, ids, dataset_id), credits_by_person(db, dataset_id=dataset_id, since=since)
    counts = who if since is None else _activity(db, dataset_id, since, ids)
    nothing = {"submitted": 0, "refused": 0, "waiting": 0}
    return [
        {
            "rank": rank,
            "person_id": person_id,
            "name": who[person_id]["name"],
            "person": who[person_id]["display_name"],
            "is_demo": who[person_id]["is_demo"],
            **{key: getattr(one, key) for key in ("lower", "rate", "upper", "provisional", "accepted", "decided")},
            **{key: counts.get(person_id, nothing)[key] for key in nothing},
            "credits": earned.get(person_id, 0) / ledger.MICRO,
            "micro_credits": earned.get(person_id, 0),
            "last_at": who[person_id]["last_at"],
        }
        for rank, (person_id, sums) in placed
        for one in [standing.made_of(sums)]
    ]


def credits_by_person(db: Database, *, dataset_id: int | None = None, since: float | None = None) -> dict[int, int]:
    """Micro-credits that each person earned from adapters of a dataset (None: of all), counters taken off."""
    summed = "select person_id, sum(micro_credits) from earnings where :dataset is null or dataset_id = :dataset group by 1"
    if since is not None:
        summed = EARNED_SINCE
    return dict(db.execute(summed, {"dataset": dataset_id, "since": since}).fetchall())


def _active(db: Database, dataset_id: int | None, since: float) -> set[int]:
    """Who submitted or earned something since a moment."""
    sql = "select person_id from tallies where (:dataset is null or dataset_id = :dataset) and last_at >= :since"
    found = {row[0] for row in db.execute(sql, {"dataset": dataset_id, "since": since})}
    return found | credits_by_person(db, dataset_id=dataset_id, since=since).keys()


def _activity(db: Database, dataset_id: int | None, since: float, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    counted = (
        "select person_id, count(*) as submitted, sum(state = 'refused') as refused, sum(state = 'waiting') as waiting"
        " from states where person_id in (select value from json_each(:ids)) and created_at >= :since"
        " and (:dataset is null or dataset_id = :dataset) group by person_id"
    )
    found = store.rows(db, counted, ids=json.dumps(list(ids)), since=since, dataset=dataset_id)
    return {record["person_id"]: record for record in found}


def datasets(db: Database) -> list[dict[str, Any]]:
    """Every dataset, ordered by what its best adapter surely takes off the loss on its own held-out set.

    Keys: rank, dataset_id, slug, title, is_demo, licence, accepted, decided, submitted, refused, waiting, people, acceptance
    (accepted of decided, None before the first), versions, adapters, best_adapter_id, gain_percent, gain_low, gain_high
    (of the best adapter, None before the first), credits. Gains of different datasets are measured on different rows: they
    say how far each came, not which is better.
    """
    counted = store.rows(
        db,
        """with counts as (
            select dataset_id, sum(submitted) as submitted, count(*) as people, sum(accepted) as accepted,
                sum(accepted) + sum(rejected) as decided, sum(refused) as refused, sum(waiting) as waiting
            from tallies group by dataset_id)
        select d.id as dataset_id, d.slug, d.title, d.is_demo, d.licence, coalesce(c.accepted, 0) as accepted,
            coalesce(c.decided, 0) as decided, coalesce(c.submitted, 0) as submitted, coalesce(c.refused, 0) as refused,
            coalesce(c.waiting, 0) as waiting, coalesce(c.people, 0) as people,
            c.accepted * 1.0 / nullif(c.decided, 0) as acceptance,
            (select count(*) from dataset_versions v where v.dataset_id = d.id) as versions
        from datasets d left join counts c on c.dataset_id = d.id""",
    )
    measured: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for adapter in adapters(db):
        measured[adapter["dataset_id"]].append(adapter)
    earned = dict(db.execute("select dataset_id, sum(micro_credits) from earnings group by dataset_id").fetchall())
    for dataset in counted:
        own = measured[dataset["dataset_id"]]
        best = max(own, key=lambda a: a["gain_low"], default=None)
        dataset["adapters"] = len({adapter["adapter_id"] for adapter in own})
        dataset["best_adapter_id"] = best["adapter_id"] if best else None
        dataset |= {key: best[key] if best else None for key in ("gain_percent", "gain_low", "gain_high")}
        dataset["credits"] = earned.get(dataset["dataset_id"], 0) / ledger.MICRO
    counted.sort(
        key=lambda d: (-(d["gain_low"] if d["gain_low"] is not None else -math.inf), -d["accepted"], d["dataset_id"])
    )
    return [{"rank": rank, **dataset} for rank, dataset in enumerate(counted, start=1)]


def adapters(db: Database, *, held_out_root: str | None = None) -> list[dict[str, Any]]:
    """Evaluated adapters, ranked by the percent of the held-out loss they take away, each held-out set for itself.

    `held_out_root` leaves one set. Keys: rank (within the set), adapter_id, adapter, held_out_root, dataset_id, slug,
    version, run_id, person_id, person, is_demo, base, gain_percent, gain_low, gain_high (95%), certain (0 is outside),
    base_loss, tuned_loss (nats per label token), held_out_rows, method, lora_rank, learning_rate, credits, kept_at; and,
    None where not measured: minutes, tokens_per_second, memory_bytes, tokens, energy_wh, energy_from (what counted it) of
    the training, forgot_percent, forgot_low, forgot_high (95%, the rise of the loss on the neutral text).
    """
    return store.rows(
        db,
        """select rank() over (partition by e.held_out_root order by -e.difference / e.base_loss desc) as rank,
            a.id as adapter_id, a.name as adapter, e.held_out_root, v.dataset_id, d.slug, v.number as version,
            a.run_id, r.person_id, p.display_name as person, p.is_demo, r.model_name as base,
            -100.0 * e.difference / e.base_loss as gain_percent, -100.0 * e.high / e.base_loss as gain_low,
            -100.0 * e.low / e.base_loss as gain_high, e.high < 0 as certain, e.base_loss, e.tuned_loss,
            e.row_count as held_out_rows, json_extract(r.recipe, '$.method') as method,
            json_extract(r.recipe, '$.rank') as lora_rank, json_extract(r.recipe, '$.learning_rate') as learning_rate,
            coalesce(json_extract(r.measured, '$.training_seconds'), json_extract(r.measured, '$.seconds')) / 60.0
                as minutes,
            json_extract(r.measured, '$.tokens_per_second') as tokens_per_second,
            json_extract(r.measured, '$.memory_bytes') as memory_bytes, json_extract(r.measured, '$.tokens') as tokens,
            json_extract(r.measured, '$.energy_joules') / 3600.0 as energy_wh,
            json_extract(r.measured, '$.energy_from') as energy_from,
            100.0 * f.difference / f.base_loss as forgot_percent, 100.0 * f.low / f.base_loss as forgot_low,
            100.0 * f.high / f.base_loss as forgot_high,
            coalesce(c.total, 0) / 1e6 as credits, a.kept_at
        from evaluations e join adapters a on a.id = e.adapter_id join runs r on r.id = a.run_id
        join dataset_versions v on v.id = r.version_id join datasets d on d.id = v.dataset_id
        join people p on p.id = r.person_id left join forgetting f on f.evaluation_id = e.id
        left join (select t.adapter_id, -sum(e.micro_credits) as total from ledger_entries e
            join ledger_transactions t on t.id = e.transaction_id where e.account = 'pool' group by t.adapter_id) c
            on c.adapter_id = a.id
        where e.base_loss > 0 and (:root is null or e.held_out_root = :root)
        and e.id = (select max(id) from evaluations where adapter_id = a.id and held_out_root = e.held_out_root)
        order by e.held_out_root, rank, a.id""",
        root=held_out_root,
    )


def not_ranked(db: Database, held_out_root: str) -> str:
    """Why other adapters do not stand on the board of a held-out set: one sentence, empty where all of them do."""
    found = store.row(
        db,
        "select count(*) as adapters, count(distinct root) as roots, sum(root is null) as never from"
        " (select a.id, (select held_out_root from evaluations where adapter_id = a.id order by id desc limit 1) as root"
        " from adapters a where a.id not in (select adapter_id from evaluations where held_out_root = ?))",
        held_out_root,
    )
    if not found or not found["adapters"]:
        return ""
    never, elsewhere, sets = found["never"], found["adapters"] - found["never"], found["roots"]
    parts = []
    if elsewhere:
        where = "another held-out set" if sets == 1 else f"{sets} other held-out sets"
        parts.append(f"{elsewhere} measured on {where}, whose losses say nothing about losses here")
    if never:
        parts.append(f"{never} never measured")
    return f"Adapters that are not here: {'; '.join(parts)}."


def held_out_roots(db: Database) -> list[dict[str, Any]]:
    """The held-out sets that adapters were measured on, the busiest first.

    Keys: held_out_root, rows, adapters (how many), datasets (slugs, comma-separated), last_at.
    """
    return store.rows(
        db,
        "select e.held_out_root, max(e.row_count) as rows, count(distinct e.adapter_id) as adapters,"
        " group_concat(distinct d.slug) as datasets, max(e.at) as last_at from evaluations e"
        " join adapters a on a.id = e.adapter_id join runs r on r.id = a.run_id"
        " join dataset_versions v on v.id = r.version_id join datasets d on d.id = v.dataset_id"
        " group by e.held_out_root order by adapters desc, last_at desc",
    )


def why(db: Database, person_id: int, *, dataset_id: int | None = None) -> dict[str, Any]:
    """Why somebody ranks where they do and what would move them up: `sentences`, and the figures these were made of.

    Further keys: rank, of, lower, rate, accepted, decided, provisional, credits, next_person, next_lower, needed (accepted
    examples in a row until the next rank; None at the top or out of reach), refused, refusals and rejections (code and
    count, most first), beside (the next above, this person, the next below, as `contributors` gives them).
    Raises NotFound for an unknown person.
    """
    person = people.get(db, person_id)
    board = standing.order(db, dataset_id, ties=credits_by_person(db, dataset_id=dataset_id))
    place = next((at for at, (other_id, _) in enumerate(board) if other_id == person_id), None)
    if place is None:
        words = f"{person.display_name} has submitted nothing here yet, so there is no rank; the first example starts one."
        return {"sentences": [words], "rank": None, "of": len(board)}
    first = max(0, place - 1)
    beside = _described(db, list(enumerate(board[first : place + 2], start=first + 1)), dataset_id, None)
    me, above = beside[place - first], beside[0] if place else None
    needed = None if above is None else accepted_in_a_row(me, above)
    figures = {key: me[key] for key in ("rank", "lower", "rate", "accepted", "decided", "provisional", "credits", "refused")}
    figures |= {
        "of": len(board),
        "next_person": above["person"] if above else None,
        "next_lower": above["lower"] if above else None,
        "needed": needed,
        "refusals": _refusals(db, person_id, dataset_id),
        "rejections": _rejections(db, person_id, dataset_id),
        "beside": beside,
    }
    return {"sentences": [*_standing_words(figures), *_advice(figures)], **figures}


def accepted_in_a_row(me: dict[str, Any], above: dict[str, Any], *, most: int = 1000) -> int | None:
    """How many further examples, all accepted, lift one contributor over another who stands still; None beyond `most`.

    Counts as if every decision weighed the same, so with old decisions it is a little too high.

    >>> accepted_in_a_row({"accepted": 1, "decided": 1}, {"lower": 0.699, "provisional": False})
    9
    """
    enough = standing.PROVISIONAL_BELOW - me["decided"] if not above["provisional"] else 0
    for more in range(max(enough, 1), most + 1):
        if standing.wilson_lower(me["accepted"] + more, me["decided"] + more) > above["lower"]:
            return more
    return None


def _standing_words(figures: dict[str, Any]) -> list[str]:
    decided, accepted = figures["decided"], figures["accepted"]
    if not decided:
        words = ["No example was decided by reviewers yet, so nothing is known about the rate of acceptance."]
    else:
        words = [
            f"Rank {figures['rank']} of {figures['of']}: {accepted} of {decided} decided examples were accepted"
            f" ({figures['rate']:.0%} when newer ones weigh more).",
            f"What ranks is the rate that this proves with 95% certainty: at least {figures['lower']:.0%}. More decisions"
            " at the same rate raise it; more submissions alone do not.",
        ]
    if figures["provisional"]:
        words.append(
            f"The rank is provisional until {standing.PROVISIONAL_BELOW} examples are decided;"
            f" {standing.PROVISIONAL_BELOW - decided} to go, and provisional people stand below the others."
        )
    return words


def _advice(figures: dict[str, Any]) -> list[str]:
    words = []
    if figures["next_person"] is None:
        words.append("Nobody stands above.")
    elif figures["needed"] is not None:
        words.append(
            f"The next {figures['needed']} examples, all accepted, would pass {figures['next_person']}"
            f" (at least {figures['next_lower']:.0%}), if they stand still."
        )
    else:
        words.append(
            f"{figures['next_person']}, next above, is out of reach for now (at least {figures['next_lower']:.0%})."
        )
    if figures["rejections"]:
        worst = figures["rejections"][0]
        words.append(f"Reviewers turned examples down most often for this: {worst['title']} ({worst['count']} times).")
    if figures["refusals"]:
        worst = figures["refusals"][0]
        words.append(
            f"The checks refused {figures['refused']} examples, most often for this: {worst['title']} ({worst['count']})."
            f" {worst['advice']} Refused examples do not lower the rank."
        )
    if figures["credits"] > 0:
        words.append(f"Credits earned: {figures['credits']:,.2f}. They break ties and never buy a rank.")
    return words


def _refusals(db: Database, person_id: int, dataset_id: int | None) -> list[dict[str, Any]]:
    found = store.rows(
        db,
        "select f.code, count(*) as count from examples e join findings f on f.example_id = e.id and f.refuses"
        " where e.person_id = :person and e.refused_by_checks and (:dataset is null or e.dataset_id = :dataset)"
        " group by f.code order by count desc, f.code",
        person=person_id,
        dataset=dataset_id,
    )
    for record in found:
        rule = checks.RULES.get(record["code"])
        record |= {"title": rule.title if rule else record["code"], "advice": rule.advice if rule else ""}
    return found


def _rejections(db: Database, person_id: int, dataset_id: int | None) -> list[dict[str, Any]]:
    found = store.rows(
        db,
        "select d.reason as code, count(*) as count from examples e join decisions d on d.example_id = e.id"
        " where e.person_id = :person and d.decision <> 'accepted' and d.reason is not null"
        " and (:dataset is null or e.dataset_id = :dataset) group by d.reason order by count desc, d.reason",
        person=person_id,
        dataset=dataset_id,
    )
    return [{**record, "title": reviews.WHY.get(record["code"], record["code"])} for record in found]


def rank_over_time(
    db: Database, dataset_id: int | None = None, *, points: int = 24, among: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Ranks by standing at up to `points` moments from the first decision to the last, for a bump chart.

    `among` these people only (their ids), ranked against each other. Dictionaries with at (seconds since 1970, the end of a
    day), person_id, person, is_demo, rank, lower, decided. The past is told from what stands today: a decision that was
    overturned counts as what it became, on the day it did.
    """
    outcomes = store.rows(
        db,
        "select dataset_id, person_id, day, accepted, clusters from outcome_days where clusters > 0"
        " and (:dataset_id is null or dataset_id = :dataset_id)"
        + (" and person_id in (select value from json_each(:among))" if among is not None else "")
        + " order by day",
        dataset_id=dataset_id,
        among=json.dumps(list(among or ())),
    )
    if not outcomes:
        return []
    ids = json.dumps(sorted({o["person_id"] for o in outcomes}))
    named = "select id, display_name, is_demo from people where id in (select value from json_each(?))"
    who = {p["id"]: p for p in store.rows(db, named, ids)}
    half_lives = {d: policies.current(db, d)[1].standing_half_life_days for d in {o["dataset_id"] for o in outcomes}}
    first, last = outcomes[0]["day"], outcomes[-1]["day"]
    steps = max(1, min(points - 1, last - first))
    told, before, waiting = [], first, iter([*outcomes, None])
    following = next(waiting)
    tallies: dict[tuple[int, int], list[float]] = {}  # person, dataset: accepted and decided, weighted; decided
    for day in sorted({round(first + (last - first) * step / steps) for step in range(steps + 1)}):
        for (_, dataset), tally in tallies.items():
            fade = store.fade(day - before, half_lives[dataset])
            tally[:2] = tally[0] * fade, tally[1] * fade
        while following is not None and following["day"] <= day:
            share = following["clusters"] * store.fade(day - following["day"], half_lives[following["dataset_id"]])
            tally = tallies.setdefault((following["person_id"], following["dataset_id"]), [0.0, 0.0, 0])
            tally[:] = tally[0] + share * following["accepted"], tally[1] + share, tally[2] + following["clusters"]
            following = next(waiting)
        before = day
        told += [
            {"at": (day + 1) * standing.DAY_SECONDS, **line, "person": who[line["person_id"]]["display_name"],
             "is_demo": who[line["person_id"]]["is_demo"]}
            for line in _ranked(tallies)
        ]  # fmt: skip
    return told


def _ranked(tallies: dict[tuple[int, int], list[float]]) -> list[dict[str, Any]]:
    """People in the order of the board, from accepted, decided (both weighted) and decided in each dataset."""
    sums: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
    for (person_id, _), tally in tallies.items():
        sums[person_id] = [total + part for total, part in zip(sums[person_id], tally, strict=True)]
    lowers = {person_id: standing.wilson_lower(good, weight) for person_id, (good, weight, _) in sums.items()}
    order = sorted(sums, key=lambda p: (sums[p][2] < standing.PROVISIONAL_BELOW, -lowers[p], p))
    return [
        {"person_id": person_id, "rank": rank, "lower": lowers[person_id], "decided": int(sums[person_id][2])}
        for rank, person_id in enumerate(order, start=1)
    ]
