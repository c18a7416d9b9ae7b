"""What is withdrawn leaves the next version; everything that saw it is listed and marked, and credits stay."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory import __main__, api
from factory.adapters import cards, exports, kept, withdrawn
from factory.base import people, store
from factory.base.errors import NotAllowed
from factory.base.settings import ROOT, Settings
from factory.credit import ledger
from factory.intake import contributions, datasets
from factory.sign_in import COOKIE
from tests import credit_rows as rows
from tests import trained


@dataclass(frozen=True)
class House:
    """Two contributors' five rows in two versions, and three adapters on these."""

    ada: int
    bob: int
    owner: int
    examples: tuple[int, ...]
    versions: tuple[int, int]
    adapters: tuple[int, int, int]


@pytest.fixture
def house(db: Database) -> House:
    owner, ada, bob = (
        rows.person(db, name, roles=("builder", "curator", "contributor")) for name in ("owner", "ada", "bob")
    )
    dataset_id, policy_id = rows.dataset(db, owner)
    given = tuple(rows.example(db, dataset_id, author, f"answer {n}") for n, author in enumerate((ada, ada, ada, bob, bob)))
    first = rows.version(db, dataset_id, policy_id, list(given[:3]), owner=owner)
    second = rows.version(db, dataset_id, policy_id, list(given), owner=owner)
    adapters = tuple(rows.adapter(db, version, owner)[0] for version in (first, second, second))
    assert len(adapters) == 3
    return House(ada, bob, owner, given, (first, second), adapters)


def test_every_adapter_that_saw_a_row_is_named_and_counts_what_was_withdrawn(db: Database, house: House) -> None:
    ada = people.get(db, house.ada)
    assert [withdrawn.of_adapter(db, one)["sentence"] for one in house.adapters] == ["", "", ""]
    contributions.withdraw(db, house.examples[0], person=ada, reason="not mine to give")
    contributions.withdraw(db, house.examples[4], person=people.get(db, house.bob), reason="wrong")
    assert withdrawn.marks(db, house.adapters) == dict(zip(house.adapters, (1, 2, 2), strict=True))
    assert withdrawn.of_adapter(db, house.adapters[1])["sentence"] == "Trained with 2 rows withdrawn since, of 5."
    seen = withdrawn.saw(db, house.examples[0], person=ada)
    assert [a["id"] for a in seen["adapters"]] == list(house.adapters)
    assert [v["number"] for v in seen["versions"]] == [1, 2]
    assert [a["id"] for a in withdrawn.saw(db, house.examples[4], person=people.get(db, house.bob))["adapters"]] == list(
        house.adapters[1:]
    )
    mine = withdrawn.of_person(db, house.bob)
    assert [(row["adapter_id"], row["rows"]) for row in mine] == [(house.adapters[2], 1), (house.adapters[1], 1)]


def test_everything_withdrawn_is_gone_from_the_next_version_and_past_credits_stay(db: Database, house: House) -> None:
    measured = rows.attributed(
        db, house.adapters[1], 2, [(house.examples[0], house.ada, 0.3, 0.01), (house.examples[3], house.bob, 0.1, 0.01)]
    )
    ledger.pay(db, measured)
    before = ledger.balance(db, ledger.account(house.ada))
    assert before > 0
    assert contributions.withdraw_all(db, people.get(db, house.ada), reason="leaving") == 3
    version = datasets.freeze(db, 1, person=people.get(db, house.owner))
    assert [example for _, example, _ in datasets.version_content(db, version["id"])] == list(house.examples[3:])
    assert ledger.balance(db, ledger.account(house.ada)) == before
    assert [row["rows"] for row in withdrawn.of_person(db, house.ada)] == [3, 3, 3]


def test_a_mixture_is_marked_for_rows_of_each_of_its_versions(db: Database, house: House) -> None:
    other, policy = rows.dataset(db, house.owner, slug="other")
    elsewhere = rows.example(db, other, house.bob, "from elsewhere")
    version = rows.version(db, other, policy, [elsewhere], owner=house.owner)
    run_id = store.value(db, "select run_id from adapters where id = ?", house.adapters[0])
    for position, one in enumerate((house.versions[0], version)):
        store.insert(db, "run_sources", {"run_id": run_id, "position": position, "version_id": one, "weight": 1.0})
    contributions.withdraw(db, elsewhere, person=people.get(db, house.bob), reason="mine again")
    found = withdrawn.of_adapter(db, house.adapters[0])
    assert (found["rows"], found["of"]) == (1, 4)


def test_what_saw_a_row_that_is_not_accepted_is_shown_to_its_people_only(db: Database, house: House) -> None:
    contributions.withdraw(db, house.examples[0], person=people.get(db, house.ada), reason="private")
    stranger = people.create(db, "stranger", roles=("contributor",))
    with pytest.raises(NotAllowed):
        withdrawn.saw(db, house.examples[0], person=stranger)


def test_an_export_made_before_a_withdrawal_is_marked(db: Database, house: House) -> None:
    for at in (1.0, store.now() + 3600):
        record = {"adapter_id": house.adapters[1], "kind": "peft", "file": "f", "sha256": "s", "bytes": 1, "verified": 1}
        store.insert(db, "exports", {**record, "person_id": house.owner, "at": at})
    contributions.withdraw(db, house.examples[0], person=people.get(db, house.ada), reason="wrong")
    assert withdrawn.since_export(db, house.adapters[1]) == {1: 1}
    assert withdrawn.of_person(db, house.ada)[1]["exports"] == 2


def test_card_and_export_say_what_was_withdrawn(db: Database, settings: Settings, tiny_model: Path) -> None:
    torch.set_num_threads(1)
    past = trained.past(db, settings, tiny_model)
    assert "withdrawn" not in cards.card(db, past.adapter_id)
    contributions.withdraw(db, 1, person=past.ada, reason="mine again")
    assert "**Trained with 1 row withdrawn since, of 3.**" in cards.card(db, past.adapter_id)
    contents = exports._contents(db, settings, kept.get(db, past.adapter_id), kept.folder(db, settings, past.adapter_id))
    gone = store.value(db, "select content_hash from examples where id = 1")
    manifest = json.loads(contents["data_manifest.json"])
    assert manifest["withdrawn_since"] == [gone]
    assert gone in manifest["content_sha256"]  # the root can still be computed
    assert b"withdrawn since" in contents["README.md"]


def test_commands_and_routes_take_back_and_list(
    db: Database, settings: Settings, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(["withdraw", str(house.examples[0]), "--reason", "wrong", "--as", "ada", "--json"]) == 0
    assert __main__.main(["withdraw", "--reason", "wrong", "--as", "ada"]) == 1
    capsys.readouterr()
    assert __main__.main(["withdrawn", "--adapter", str(house.adapters[0])]) == 0
    assert "Trained with 1 row withdrawn since, of 3." in capsys.readouterr().out
    assert __main__.main(["withdrawn", "--run", str(run_of(db, house.adapters[1]))]) == 0
    assert "Trained with 1 row withdrawn since, of 5." in capsys.readouterr().out
    token = people.issue_token(db, people.get(db, house.bob), "tests")
    with TestClient(api.application(settings), headers={"Authorization": f"Bearer {token}"}) as client:
        assert client.post("/withdrawals", json={"reason": "leaving"}).json() == {"withdrawn": 2}
        assert [row["rows"] for row in client.get("/withdrawals").json()] == [2, 2]
        assert client.get(f"/examples/{house.examples[3]}/seen-by").json()["state"] == "withdrawn"
        assert client.get(f"/adapters/{house.adapters[2]}/withdrawn").json()["rows"] == 3
        assert client.get(f"/runs/{run_of(db, house.adapters[2])}/withdrawn").json()["rows"] == 3
        assert client.get("/runs/999/withdrawn").status_code == 404
        again = client.post(f"/examples/{house.examples[3]}/withdraw", json={"reason": "again"})
        assert again.status_code == 409


def run_of(db: Database, adapter_id: int) -> int:
    return int(store.value(db, "select run_id from adapters where id = ?", adapter_id))


def test_a_run_that_has_not_begun_says_that_a_later_version_lacks_them(db: Database, house: House) -> None:
    contributions.withdraw(db, house.examples[0], person=people.get(db, house.ada), reason="wrong")
    run_id = run_of(db, house.adapters[0])
    assert withdrawn.of_run(db, run_id)["sentence"] == withdrawn.of_adapter(db, house.adapters[0])["sentence"]
    db.execute("update runs set started_at = null, status = 'queued' where id = ?", [run_id])
    assert withdrawn.of_run(db, run_id)["sentence"].startswith("Its data holds 1 row withdrawn since, of 3;")


def test_the_pages_mark_the_adapter_its_run_and_list_what_saw_my_rows(
    db: Database, settings: Settings, house: House
) -> None:
    ada = people.get(db, house.ada)
    contributions.withdraw(db, house.examples[0], person=ada, reason="wrong")
    test = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
    test.session_state[COOKIE] = people.issue_session(db, settings, ada)
    test.run()
    test.switch_page("adapters.py")
    test.query_params["adapter"] = str(house.adapters[1])
    test.run()
    assert not test.exception
    assert any("Trained with 1 row withdrawn since, of 5." in warning.value for warning in test.warning)
    test.query_params.clear()
    test.switch_page("runs.py")
    test.query_params["run"] = str(run_of(db, house.adapters[1]))
    test.run()
    assert not test.exception
    assert any("Trained with 1 row withdrawn since, of 5." in warning.value for warning in test.warning)
    test.query_params.clear()
    test.switch_page("contribute.py")
    test.run()
    assert not test.exception
    assert "3 adapters saw withdrawn rows" in str([box.label for box in test.expander])
