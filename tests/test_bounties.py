"""Bounties: reserved at once, paid by rule for rows that fit, what is left flows back, and the book replays it all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory import __main__ as commands
from factory.api import application
from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.base.settings import ROOT, Settings
from factory.credit import book, bounties, freezes, ledger, rewards, verify
from factory.intake import contributions, maps
from factory.sign_in import COOKIE
from tests import credit_rows as rows
from tests.drawn import db, talk

__all__ = ["db"]

BREAD = [
    f"{how} the dough of rye bread {when}"
    for how in ("Knead", "Prove", "Fold")
    for when in ("slowly", "twice", "warm", "cold")
]
TYRES = [
    f"{how} the tyre of a bicycle {when}"
    for how in ("Patch", "Pump", "Change")
    for when in ("slowly", "twice", "warm", "cold")
]
FITTING = [f"{what} rye bread dough" for what in ("Shape the", "Rest the", "Salt the", "Bake the", "Cool the", "Knead the")]


@dataclass(frozen=True)
class House:
    """A dataset about bread and tyres with its map, a sponsor with 250 credits, two authors."""

    sponsor: Person
    ada: Person
    bob: Person
    admin: Person
    dataset_id: int
    bread: int


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the map drawn, to copy for each test."""
    home = tmp_path_factory.mktemp("bounties")
    with store.connect(home / "drawn.db") as db:
        people_of = {name: rows.person(db, name, roles=("contributor",)) for name in ("sponsor", "ada", "bob")}
        admin = rows.person(db, "admin", roles=("admin", "curator"))
        dataset_id, policy_id = rows.dataset(db, admin)
        given = [rows.example(db, dataset_id, people_of["ada"], "", talk=talk(words)) for words in (*BREAD, *TYRES)]
        maps.draw(db, rows.version(db, dataset_id, policy_id, given, owner=admin))
        version = rows.version(db, dataset_id, policy_id, given, owner=admin)
        adapter_id, evaluation_id = rows.adapter(db, version, admin, tuned=1.5)
        ledger.pay(db, rows.attributed(db, adapter_id, evaluation_id, [(given[0], people_of["sponsor"], 0.4, 0.01)]))
        db.execute("pragma wal_checkpoint(truncate)")
    return home / "drawn.db"


@pytest.fixture
def house(db: Database) -> House:
    dataset_id = int(store.value(db, "select id from datasets"))
    found = maps.latest(db, dataset_id)
    assert found is not None
    bread = next(t["number"] for t in maps.topics_of(db, found["id"]) if "bread" in t["words"])
    sponsor, ada, bob, admin = (people.get(db, name) for name in ("sponsor", "ada", "bob", "admin"))
    assert ledger.balance(db, ledger.account(sponsor.id)) == 250 * ledger.MICRO
    return House(sponsor, ada, bob, admin, dataset_id, bread)


def opened(db: Database, house: House, **more: object) -> int:
    chosen = {"person": house.sponsor, "rows": 4, "credits_each": 5.0, "days": 10.0, "most_per_person": 4} | more
    return bounties.open_one(db, house.dataset_id, house.bread, **chosen)  # type: ignore[arg-type]


def accepted(
    db: Database, house: House, words: str, *, by: Person | None = None, days_ago: float = 4.0, **more: object
) -> int:
    at = store.now() - days_ago * 86_400
    return rows.example(db, house.dataset_id, (by or house.ada).id, "", talk=talk(words), at=at, **more)  # type: ignore[arg-type]


def has(db: Database, person: Person) -> float:
    return ledger.balance(db, ledger.account(person.id)) / ledger.MICRO


def test_rows_of_the_topic_are_paid_and_others_are_not(db: Database, house: House) -> None:
    bounty = opened(db, house)
    assert (has(db, house.sponsor), bounties.get(db, bounty)["credits_left"]) == (230.0, 20.0)
    fits, other = accepted(db, house, FITTING[0]), accepted(db, house, "Oil the chain of a bicycle")
    own, copy = accepted(db, house, FITTING[1], by=house.sponsor), accepted(db, house, FITTING[2], cluster=fits)
    done = rewards.settle(db)
    assert [one["example_id"] for one in done] == [fits]
    assert {other, own, copy}.isdisjoint({one["example_id"] for one in done})
    assert has(db, house.ada) == 5.0
    assert ledger.statement(db, house.ada.id)[0]["reason"] == f"Bounty {bounty}: example {fits} was accepted."
    assert rewards.settle(db) == []
    assert verify.verify(db)["minted"] == 250 * ledger.MICRO


def test_an_acceptance_is_paid_once_it_has_stood(db: Database, house: House) -> None:
    bounty = opened(db, house)
    accepted(db, house, FITTING[0], days_ago=1)
    assert rewards.settle(db) == []
    waits = rewards.waiting(db, bounties.get(db, bounty))
    assert [round((one["due_at"] - store.now()) / 86_400) for one in waits] == [2]


def test_a_row_withdrawn_or_overturned_before_its_day_is_not_paid_and_later_ones_keep_their_credits(
    db: Database, house: House
) -> None:
    opened(db, house)
    early, turned, late = (accepted(db, house, words) for words in FITTING[:3])
    contributions.withdraw(db, early, person=house.ada, reason="mine again")
    db.execute(
        "insert into decisions (example_id, decision, \"by\", verdict_ids, at) values (?, 'rejected', 'review', '[]', ?)",
        [turned, store.now()],
    )
    assert [one["example_id"] for one in rewards.settle(db)] == [late]
    contributions.withdraw(db, late, person=house.ada, reason="mine again")
    assert rewards.settle(db) == []
    assert has(db, house.ada) == 5.0
    verify.verify(db)


def test_what_is_left_flows_back_when_the_date_has_come(db: Database, house: House) -> None:
    bounty = opened(db, house)
    accepted(db, house, FITTING[0])
    rewards.settle(db)
    assert settled_later(db, 9.9) == []
    assert settled_later(db, 10.1) == ["return"]
    assert (has(db, house.sponsor), has(db, house.ada)) == (245.0, 5.0)
    assert bounties.get(db, bounty)["end_reason"] == "its date came"
    assert ledger.balance(db, bounties.purse(bounty)) == 0
    verify.verify(db)


def test_rows_that_came_in_time_are_waited_for(db: Database, house: House) -> None:
    opened(db, house)
    accepted(db, house, FITTING[0], days_ago=1, decision=None)
    assert settled_later(db, 11) == []
    assert settled_later(db, 11 + rewards.GRACE_DAYS) == ["return"]


def settled_later(db: Database, days: float) -> list[str]:
    """The kinds of the transactions that settling gives so many days from now."""
    moment = store.now() + days * 86_400
    with store.clock(lambda: moment):
        return [one["kind"] for one in rewards.settle(db)]


def test_a_bounty_ends_when_all_of_it_is_paid_and_nobody_gets_more_than_their_part(db: Database, house: House) -> None:
    bounty = opened(db, house, rows=3, most_per_person=2)
    for words in FITTING[:4]:
        accepted(db, house, words)
    accepted(db, house, FITTING[4], by=house.bob)
    accepted(db, house, FITTING[5], by=house.bob)
    assert len(rewards.settle(db)) == 3
    assert (has(db, house.ada), has(db, house.bob)) == (10.0, 5.0)
    assert bounties.get(db, bounty)["end_reason"] == "paid out"


def test_a_row_is_paid_once_by_the_older_of_two_bounties(db: Database, house: House) -> None:
    first, second = opened(db, house), opened(db, house, credits_each=9.0)
    accepted(db, house, FITTING[0])
    assert [one["bounty_id"] for one in rewards.settle(db)] == [first]
    assert bounties.get(db, second)["credits_left"] == 36.0


def test_a_pot_is_filled_by_anybody_and_spent_by_its_owner_or_a_curator(db: Database, house: House) -> None:
    bounties.give(db, house.dataset_id, person=house.sponsor, credits=30)
    with pytest.raises(NotAllowed, match="dataset's owner or a curator"):
        opened(db, house, from_pot=True)
    opened(db, house, person=house.admin, from_pot=True)
    assert ledger.balance(db, bounties.pot(house.dataset_id)) == 10 * ledger.MICRO
    assert settled_later(db, 11) == ["return"]
    assert ledger.balance(db, bounties.pot(house.dataset_id)) == 30 * ledger.MICRO
    verify.verify(db)


def test_nobody_promises_what_they_do_not_have(db: Database, house: House) -> None:
    with pytest.raises(Conflict, match=r"You have 0\.00 credits, and this takes 20\.00"):
        opened(db, house, person=house.bob)
    with pytest.raises(Conflict, match=r"The pot has 0\.00"):
        opened(db, house, person=house.admin, from_pot=True)
    with pytest.raises(Invalid) as refused:
        opened(db, house, rows=0, days=999, words="x" * 501)
    assert len(refused.value.problems) >= 3
    with pytest.raises(Invalid):
        opened(db, house, credits_each=float("nan"))
    with pytest.raises(NotFound):
        bounties.open_one(db, house.dataset_id, 99, person=house.sponsor, rows=1, credits_each=1, days=1)
    assert has(db, house.sponsor) == 250.0


def test_a_countered_reward_goes_back_to_the_sponsor_of_an_ended_bounty(db: Database, house: House) -> None:
    opened(db, house, rows=1, most_per_person=1)
    accepted(db, house, FITTING[0])
    (reward,) = rewards.settle(db)[:1]
    ledger.counter(db, reward["id"], person=house.admin, reason="the row was copied from a book")
    assert [one["kind"] for one in rewards.settle(db)] == ["return"]
    assert (has(db, house.sponsor), has(db, house.ada)) == (250.0, 0.0)
    assert rewards.settle(db) == []
    verify.verify(db)


def test_a_reward_to_somebody_whose_credits_are_frozen_is_held(db: Database, house: House) -> None:
    opened(db, house)
    freezes.freeze(db, by=house.admin, reason="Looks like a ring of accounts; being examined.", days=5, who=house.ada.name)
    accepted(db, house, FITTING[0])
    rewards.settle(db)
    assert (has(db, house.ada), ledger.balance(db, book.held(house.ada.id))) == (0.0, 5 * ledger.MICRO)
    verify.verify(db)


def test_what_flows_back_to_somebody_whose_credits_are_frozen_is_held(db: Database, house: House) -> None:
    opened(db, house)
    freezes.freeze(db, by=house.admin, reason="Promises were made before it was seen.", days=60, who=house.sponsor.name)
    assert settled_later(db, 10.1) == ["return"]
    assert has(db, house.sponsor) == 0.0 < ledger.balance(db, book.held(house.sponsor.id))
    verify.verify(db)


def test_whoever_set_a_bounty_ends_it_early_and_what_is_left_flows_back(db: Database, house: House) -> None:
    bounty = opened(db, house)
    accepted(db, house, FITTING[0])
    with pytest.raises(Invalid, match="why it ends"):
        rewards.end_early(db, bounty, person=house.sponsor, reason=" ")
    with pytest.raises(NotAllowed, match="ask sponsor or an admin"):
        rewards.end_early(db, bounty, person=house.bob, reason="I would rather not.")
    ended = rewards.end_early(db, bounty, person=house.sponsor, reason="There are enough of them.")
    assert (ended["state"], ended["stop_reason"], ended["paid_rows"]) == ("ended early", "There are enough of them.", 1)
    assert (has(db, house.sponsor), has(db, house.ada)) == (245.0, 5.0)
    assert ledger.balance(db, bounties.purse(bounty)) == 0
    accepted(db, house, FITTING[1], days_ago=-1)
    assert settled_later(db, 5) == []
    assert bounties.listing(db, open_only=True) == []
    with pytest.raises(Conflict, match="has ended already: ended early"):
        rewards.end_early(db, bounty, person=house.admin, reason="Once more.")
    verify.verify(db)


def test_rows_that_came_before_an_early_end_are_still_paid_and_later_ones_are_not(db: Database, house: House) -> None:
    bounty = opened(db, house)
    came = accepted(db, house, FITTING[0], days_ago=1)
    ended = rewards.end_early(db, bounty, person=house.admin, reason="The topic was a mistake.")
    assert (ended["state"], ended["ended_at"], ended["credits_left"]) == ("closing", None, 20.0)
    with pytest.raises(Conflict, match="waits for rows that came in time"):
        rewards.end_early(db, bounty, person=house.sponsor, reason="Again.")
    late = accepted(db, house, FITTING[1], days_ago=-0.1)
    assert settled_later(db, 1.9) == []
    assert settled_later(db, 5) == ["reward", "return"]
    assert (
        store.value(db, "select json_extract(formula, '$.example_id') from ledger_transactions where kind = 'reward'")
        == came
    )
    assert (has(db, house.sponsor), has(db, house.ada)) == (245.0, 5.0)
    assert late > came
    verify.verify(db)


def test_a_bounty_is_ended_by_command_by_route_and_on_the_page(db: Database, settings: Settings, house: House) -> None:
    first, second, third = (opened(db, house, rows=1, most_per_person=1, credits_each=1.0) for _ in range(3))
    assert commands.main(["bounty", "end", str(first), "--reason", "enough", "--as", "sponsor"]) == 0
    assert commands.main(["bounty", "end", str(first), "--reason", "enough", "--as", "sponsor"]) == 1
    for name, status in (("bob", 403), ("sponsor", 200)):
        token = people.issue_token(db, people.get(db, name), "tests")
        with TestClient(application(settings), headers={"Authorization": f"Bearer {token}"}) as client:
            assert client.post(f"/bounties/{second}/end", json={"reason": "enough"}).status_code == status
            assert client.post("/bounties/99/end", json={"reason": "enough"}).status_code == 404
    page = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
    page.session_state[COOKIE] = people.issue_session(db, settings, house.sponsor)
    page.run()
    page.switch_page("datasets.py")
    page.query_params["dataset"], page.query_params["part"] = "questions", "Needed"
    page.run()
    next(field for field in page.text_input if field.label.startswith("Why;")).input("enough")
    next(button for button in page.button if button.label == "End it now").click().run()
    assert not page.exception
    assert [bounties.get(db, one)["state"] for one in (first, second, third)] == ["ended early"] * 3
    assert has(db, house.sponsor) == 250.0
    assert not [button for button in page.button if button.label == "End it now"]


@pytest.mark.parametrize(
    ("table", "change", "named"),
    [
        ("bounties", "each_micro_credits = 9", "bounties 1"),
        ("bounties", "after_example_id = 9999", "bounties 1"),
        ("bounty_rows", "likeness = 0.1", "bounty_rows"),
        ("bounty_rows", "fits = 0", "bounty_rows"),
        ("ledger_entries", "micro_credits = micro_credits * 2 where transaction_id = 3", "ledger_entries (3"),
    ],
)
def test_whoever_changes_a_row_that_a_reward_came_from_is_found(
    db: Database, house: House, table: str, change: str, named: str
) -> None:
    opened(db, house)
    accepted(db, house, FITTING[0])
    rewards.settle(db)
    verify.verify(db)
    db.execute(f"drop trigger {table}_refuses_update")
    db.execute(f"update {table} set {change}")
    with pytest.raises(Invalid) as found:
        verify.verify(db)
    assert named in found.value.problems[0]
