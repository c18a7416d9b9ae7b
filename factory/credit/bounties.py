"""Bounties: credits promised for accepted rows of one topic, reserved in the book until they are paid or flow back.

Whoever has credits may promise them, and so may the owner of a dataset or a curator from the dataset's pot, which anybody
can fill. They move from 'person:ID' or 'pot:DATASET' to 'bounty:ID' at once (kind 'reserve'), from there to the authors of
rows that fit (kind 'reward', see `rewards`), and what is left goes back where it came from (kind 'return'). A gift to a
pot is of kind 'give'. Each transaction follows from rows nobody can change, so `verify` recomputes it. Nothing is minted
here.
"""

from __future__ import annotations

import json
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, FactoryError, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.credit import book
from factory.credit.book import MICRO, account
from factory.intake import datasets, maps, meaning, topics

RULE, RULE_VERSION = "bounty", 1
KINDS = ("give", "reserve", "reward", "return")
ROLES = ("contributor", "reviewer", "curator", "builder", "admin")
MOST_ROWS, MOST_DAYS, MOST_OPEN, STANDS_DAYS, DAY_SECONDS = 10_000, 180, 20, 3.0, 86_400.0
ROUNDING = 1e-3  # another processor adds in another order
PROMISED = (
    *("dataset_id", "map_id", "topic", "opened_by", "row_count", "each_micro_credits", "most_per_person", "stands_days"),
    *("words", "after_example_id", "opened_at", "ends_at"),
)  # what the chain of the book vouches for
Entries = list[tuple[str, int]]
SHOWN = """
    select b.*, d.slug, d.title, p.display_name as opened_by_name, p.is_demo, e.at as ended_at,
        case when e.reason = 'its date came' and s.at is not null then 'ended early' else e.reason end as end_reason,
        min(b.ends_at, coalesce(s.at, b.ends_at)) as until, s.at as stopped_at, s.reason as stop_reason,
        (select count(*) from ledger_transactions t where t.kind = 'reward' and json_extract(t.formula, '$.bounty_id') = b.id
            and not exists (select 1 from ledger_transactions c where c.kind = 'counter'
                and json_extract(c.formula, '$.counters') = t.id)) as paid_rows,
        (select coalesce(sum(micro_credits), 0) from ledger_entries where account = 'bounty:' || b.id) as left_micro_credits
    from bounties b join datasets d on d.id = b.dataset_id join people p on p.id = b.opened_by
    left join bounty_ends e on e.bounty_id = b.id left join bounty_stops s on s.bounty_id = b.id
"""
ROW = "select b.*, coalesce((select min(at, b.ends_at) from bounty_stops where bounty_id = b.id), b.ends_at) as until"


def pot(dataset_id: int) -> str:
    """The name of a dataset's own account: 'pot:ID'."""
    return f"pot:{dataset_id}"


def purse(bounty_id: int) -> str:
    """The name of the account on which a bounty's credits wait: 'bounty:ID'."""
    return f"bounty:{bounty_id}"


def micro(credits: float, what: str) -> int:
    """Credits as whole micro-credits. Raises Invalid for less than a hundredth, more than a million, or no number.

    >>> micro(2.5, "A gift")
    2500000
    """
    if not 0.01 <= credits <= 1e6:
        raise Invalid(f"{what} is from 0.01 to 1,000,000 credits; {credits:g} is not.")
    return round(credits * MICRO)


def give(db: Database, dataset_id: int, *, person: Person, credits: float) -> int:
    """Give some of one's own credits to a dataset's pot, for bounties; the id of the transaction. They do not come back.

    Raises NotAllowed, NotFound, Invalid, Conflict where one has less.
    """
    people.need(person, *ROLES)
    amount = micro(credits, "A gift")
    datasets.get(db, dataset_id)
    with store.writing(db):
        _need_balance(db, account(person.id), amount)
        record = {"dataset_id": dataset_id, "person_id": person.id, "micro_credits": amount, "at": store.now()}
        return write(db, "give", {"gift_id": store.insert(db, "pot_gifts", record)})


def open_one(
    db: Database,
    dataset_id: int,
    topic: int,
    *,
    person: Person,
    rows: int,
    credits_each: float,
    days: float,
    words: str = "",
    from_pot: bool = False,
    most_per_person: int | None = None,
) -> int:
    """Promise credits for the next `rows` accepted rows of a topic of the dataset's newest map; the bounty's id.

    All of it is reserved at once, until the end, `days` from now, or until it is ended early (`rewards.end_early`). From the
    pot for the dataset's owner or a curator. One person is paid for a quarter of the rows at most, unless said otherwise.
    Raises NotAllowed, NotFound, Invalid with every problem, Conflict where the credits or the places for bounties run out.
    """
    people.need(person, *ROLES)
    dataset, drawn = datasets.get(db, dataset_id), maps.latest(db, dataset_id)
    if drawn is None:
        raise NotFound("This dataset has no map yet, so there are no topics to promise credits for; draw the map first.")
    maps.get_topic(db, drawn["id"], topic)
    if from_pot and dataset["owner_id"] != person.id and not person.may("curator"):
        raise NotAllowed("The pot is spent by the dataset's owner or a curator; promise credits of your own, or ask them.")
    problems = []
    if not 1 <= rows <= MOST_ROWS:
        problems.append(f"A bounty is for 1 to {MOST_ROWS:,} rows; {rows:,} is not.")
    if not 1 <= days <= MOST_DAYS:
        problems.append(f"A bounty stays open for 1 to {MOST_DAYS} days; {days:g} is not.")
    if len(words) > 500:
        problems.append(f"Say what you wish in up to 500 characters; these are {len(words):,}.")
    most = most_per_person if most_per_person is not None else max(1, rows // 4)
    if not 1 <= most <= max(1, rows):
        problems.append(f"One person can be paid for 1 to {max(1, rows):,} of the rows; {most:,} is not.")
    if problems:
        raise Invalid(problems)
    each, now = micro(credits_each, "What a row is paid"), store.now()
    payer = pot(dataset_id) if from_pot else account(person.id)
    with store.writing(db):
        _need_balance(db, payer, each * rows)
        still = "select count(*) from bounties b where dataset_id = ? and not exists"
        if store.value(db, f"{still} (select 1 from bounty_ends where bounty_id = b.id)", dataset_id) >= MOST_OPEN:
            raise Conflict(f"This dataset has {MOST_OPEN} open bounties already; wait until one ends.")
        record = {
            "dataset_id": dataset_id, "map_id": drawn["id"], "topic": topic, "opened_by": person.id, "payer": payer,
            "row_count": rows, "each_micro_credits": each, "most_per_person": most, "stands_days": STANDS_DAYS,
            "words": words.strip(), "after_example_id": store.value(db, "select coalesce(max(id), 0) from examples"),
            "opened_at": now, "ends_at": now + days * DAY_SECONDS,
        }  # fmt: skip
        bounty_id = store.insert(db, "bounties", record)
        write(db, "reserve", {"bounty_id": bounty_id})
    return bounty_id


def _need_balance(db: Database, name: str, amount: int) -> None:
    has = book.balance(db, name)
    if has < amount:
        whose = "The pot has" if name.startswith("pot:") else "You have"
        raise Conflict(f"{whose} {max(0, has) / MICRO:,.2f} credits, and this takes {amount / MICRO:,.2f}; choose less.")


def write(db: Database, kind: str, about: dict[str, Any]) -> int:
    """Write the transaction of this kind that its rule gives, in the caller's database transaction; its id."""
    formula, entries = reckon(db, kind, about)
    return book.append(db, kind, formula, entries, adapter_id=None, attribution_id=None)


def reckon(db: Database, kind: str, about: dict[str, Any], *, before: int = 2**62) -> tuple[dict[str, Any], Entries]:
    """The formula and the entries of a transaction, from the rows that `about` names (gift_id, bounty_id, example_id).

    `before` is the transaction's id: what a bounty has left is counted from the book before it. Raises NotFound where a
    row is missing, Invalid where a row that was paid does not fit its bounty.
    """
    formula: dict[str, Any] = {"rule": RULE, "rule_version": RULE_VERSION}
    if kind == "give":
        gift = store.row(db, "select * from pot_gifts where id = ?", about["gift_id"])
        if gift is None:
            raise NotFound(f"pot_gifts {about['gift_id']}: it is missing.")
        amount = gift["micro_credits"]
        formula |= {"gift_id": gift["id"], "reason": f"A gift to the pot of dataset {gift['dataset_id']}."}
        return formula, [(account(gift["person_id"]), -amount), (pot(gift["dataset_id"]), amount)]
    bounty = store.row(db, f"{ROW} from bounties b where id = ?", about["bounty_id"])
    if bounty is None:
        raise NotFound(f"bounties {about['bounty_id']}: it is missing.")
    formula["bounty_id"] = bounty["id"]
    if kind == "reserve":
        amount = bounty["row_count"] * bounty["each_micro_credits"]
        formula |= {key: bounty[key] for key in PROMISED}
        formula["reason"] = f"Reserved for bounty {bounty['id']}, until it is paid or flows back."
        return formula, [(bounty["payer"], -amount), (purse(bounty["id"]), amount)]
    if kind == "return":
        total = "select coalesce(sum(micro_credits), 0) from ledger_entries where account = ? and transaction_id < ?"
        amount = int(store.value(db, total, purse(bounty["id"]), before))
        formula["reason"] = f"What was left of bounty {bounty['id']}."
        return formula, [(purse(bounty["id"]), -amount), (bounty["payer"], amount)]
    paid = _fitting(db, bounty, about["example_id"])
    formula |= {
        "example_id": paid["id"], "content_hash": paid["content_hash"], "likeness": round(paid["likeness"], 4),
        "reason": f"Bounty {bounty['id']}: example {paid['id']} was accepted.",
    }  # fmt: skip
    each = bounty["each_micro_credits"]
    return formula, [(purse(bounty["id"]), -each), (account(paid["person_id"]), each)]


def _fitting(db: Database, bounty: dict[str, Any], example_id: int) -> dict[str, Any]:
    """A row with its likeness, if it may be paid by a bounty for what it says, whose it is and when it came."""
    row = store.row(
        db,
        "select e.id, e.person_id, e.dataset_id, e.created_at, e.cluster_id, e.content, e.content_hash, r.likeness, r.fits"
        " from bounty_rows r join examples e on e.id = r.example_id where r.bounty_id = ? and r.example_id = ?",
        bounty["id"],
        example_id,
    )
    if row is None:
        raise NotFound(f"bounty_rows ({bounty['id']}, {example_id}): it is missing.")
    accepted = "select 1 from decisions where example_id = ? and decision = 'accepted' limit 1"
    sound = (
        row["fits"] and row["dataset_id"] == bounty["dataset_id"] and row["id"] > bounty["after_example_id"]
        and row["created_at"] < bounty["until"] and row["cluster_id"] == row["id"]
        and row["person_id"] != bounty["opened_by"] and store.value(db, accepted, example_id)
    )  # fmt: skip
    if not sound or not _as_looked_at(db, bounty, row):
        raise Invalid(f"bounty_rows ({bounty['id']}, {example_id}): this row is none that the bounty pays.")
    return row


def _as_looked_at(db: Database, bounty: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether the row's words still give the likeness that was written down; true where the model is another one now."""
    if maps.get(db, bounty["map_id"])["model"] != maps.MODEL:
        return True
    likeness, fits = look(db, bounty, [row["content"]])[0]
    return abs(likeness - row["likeness"]) < ROUNDING and (fits or abs(likeness - _closeness(db, bounty)) < ROUNDING)


def _closeness(db: Database, bounty: dict[str, Any]) -> float:
    return float(maps.get_topic(db, bounty["map_id"], bounty["topic"])["closeness"])


def look(db: Database, bounty: dict[str, Any], contents: list[str]) -> list[tuple[float, bool]]:
    """For each canonical text its likeness to its nearest topic, and whether that makes it one of the bounty's topic."""
    centroids, close = maps.centroids_of(db, bounty["map_id"]), _closeness(db, bounty)
    numbers, likeness = topics.nearest(meaning.vectors([maps.text_of(content) for content in contents]), centroids)
    return [
        (float(like), int(number) == bounty["topic"] and float(like) >= close)
        for number, like in zip(numbers, likeness, strict=True)
    ]


def due(db: Database, record: dict[str, Any]) -> tuple[str, str, Entries]:
    """Kind, formula and entries of a transaction of the book as the rule gives them now; raises what `reckon` does."""
    formula, entries = reckon(db, record["kind"], json.loads(record["formula"]), before=record["id"])
    return record["kind"], book.canonical(formula), entries


def trouble(db: Database, record: dict[str, Any]) -> str:
    """Which row that a transaction was computed from is gone or says something else now; "" where none."""
    try:
        due(db, record)
    except FactoryError as problem:
        return f"{str(problem).rstrip('.')}; transaction {record['id']} was computed from it."
    except KeyError as missing:
        return f"ledger_transactions {record['id']}: its formula names no {missing}."
    return ""


def get(db: Database, bounty_id: int) -> dict[str, Any]:
    """One bounty, as `listing` has it. Raises NotFound."""
    found = store.rows(db, f"{SHOWN} where b.id = ?", bounty_id)
    if not found:
        raise NotFound(f"There is no bounty {bounty_id}; `bounty list` shows those there are.")
    return _told(db, found)[0]


def listing(
    db: Database, *, dataset_id: int | None = None, open_only: bool = False, limit: int = 50
) -> list[dict[str, Any]]:
    """Bounties, newest first, for everybody.

    Keys: the columns of `bounties`, slug, title, opened_by_name, is_demo, name (of the topic), credits_each, credits_left,
    paid_rows, rows_left, until (rows have to come before), stopped_at and stop_reason (None: nobody ended it early), state
    (open, closing: rows that came in time are waited for, else its end_reason), end_reason and ended_at (None: not over).
    `open_only` are those for which rows can still be given.
    """
    found = store.rows(
        db,
        f"{SHOWN} where (:dataset_id is null or b.dataset_id = :dataset_id)"
        " and (not :open or coalesce(e.bounty_id, s.bounty_id) is null)"
        " order by b.id desc limit :limit",
        dataset_id=dataset_id,
        open=int(open_only),
        limit=limit,
    )
    return _told(db, found)


def _told(db: Database, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = {map_id: {t["number"]: t["name"] for t in maps.topics_of(db, map_id)} for map_id in {b["map_id"] for b in found}}
    return [
        {
            **bounty,
            "name": names[bounty["map_id"]][bounty["topic"]],
            "credits_each": bounty["each_micro_credits"] / MICRO,
            "credits_left": bounty["left_micro_credits"] / MICRO,
            "rows_left": bounty["left_micro_credits"] // bounty["each_micro_credits"],
            "state": bounty["end_reason"] or ("open" if store.now() < bounty["until"] else "closing"),
        }
        for bounty in found
    ]
