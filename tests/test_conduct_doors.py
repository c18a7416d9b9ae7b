"""Sanctions, held credits, rules and one's own account through commands, routes and pages."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory import api
from factory.__main__ import main
from factory.base import people, store
from factory.base.people import Person
from factory.base.settings import ROOT, Settings
from factory.credit import freezes, ledger, verify
from factory.intake import policy, reports, rules, sanctions
from factory.sign_in import COOKIE
from tests import credit_rows as rows

WORDS = "Forty rows of **random** <b>letters</b> within one hour."
HOSTILE = "<script>alert(1)</script> [x](https://evil.example)"


@dataclass(frozen=True)
class House:
    """Eve with one accepted row that was paid for; a curator who owns the dataset, a second one, an admin."""

    settings: Settings
    dataset_id: int
    example_id: int
    adapter_id: int
    eve: Person
    cara: Person
    carl: Person
    adam: Person

    def client(self, db: Database, person: Person) -> TestClient:
        token = people.issue_token(db, person, "tests")
        return TestClient(api.application(self.settings), headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def house(db: Database, settings: Settings) -> House:
    eve = people.create(
        db, "eve", display_name="Eve " + HOSTILE, roles=("contributor", "reviewer"), password="long enough pw"
    )
    cara, carl = (people.create(db, name, roles=("curator",)) for name in ("cara", "carl"))
    adam = people.create(db, "adam", roles=("admin",))
    dataset_id, policy_id = rows.dataset(db, cara.id)
    example_id = rows.example(db, dataset_id, eve.id, "an answer " + HOSTILE)
    set_id, root = rows.held_out(
        db, dataset_id, cara.id, [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]]
    )
    version_id = rows.version(db, dataset_id, policy_id, [example_id], owner=cara.id, held_out=set_id)
    adapter_id, evaluation_id = rows.adapter(db, version_id, cara.id, tuned=1.8, root=root)
    ledger.pay(db, rows.attributed(db, adapter_id, evaluation_id, [(example_id, eve.id, 0.3, 0.01)]))
    return House(settings, dataset_id, example_id, adapter_id, eve, cara, carl, adam)


def say(capsys: pytest.CaptureFixture[str], *words: str) -> dict:  # type: ignore[type-arg]
    """What a command answers in JSON; it has to succeed."""
    assert main([*words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def visit(db: Database, house: House, person: Person, page: str, **query: str) -> AppTest:
    test = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
    test.session_state[COOKIE] = people.issue_session(db, house.settings, person)
    test.run()
    test.switch_page(f"{page}.py")
    for key, value in query.items():
        test.query_params[key] = value
    return test.run()


def test_a_report_becomes_a_sanction_an_appeal_and_its_end_by_commands(
    db: Database, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    row = str(house.example_id)
    say(capsys, "reports", "send", "--example", row, "--reason", "spam", "--words", "look", "--as", "adam")
    assert say(capsys, "reports", "queue", "--as", "cara")["reports"][0]["name"] == "eve"
    decided = ("--kind", "no_submitting", "--reason", "spam", "--words", WORDS, "--days", "7")
    assert say(capsys, "reports", "act", "1", *decided, "--as", "cara")["state"] == "active"
    assert "You may not submit" in str(sanctions.notices(db, house.eve))
    say(capsys, "sanctions", "appeal", "1", "--words", "They were no letters.", "--as", "eve")
    assert [one["id"] for one in say(capsys, "reports", "queue", "--as", "carl")["appeals"]] == [1]
    ended = say(
        capsys, "sanctions", "answer", "1", "--answer", "overturned", "--words", "She is right, I think.", "--as", "carl"
    )
    assert ended["state"] == "overturned"
    assert say(capsys, "sanctions", "mine", "--as", "adam")["reports"][0]["answer"] == "acted"
    assert main(["sanctions", "list"]) == 0
    assert "overturned on appeal" in capsys.readouterr().out


def test_the_same_by_routes_and_what_is_wrong_has_its_status(db: Database, house: House) -> None:
    eve, cara, carl = (house.client(db, person) for person in (house.eve, house.cara, house.carl))
    body = {"name": "eve", "kind": "warning", "reason": "spam", "words": WORDS, "days": 3, "examples": [house.example_id]}
    assert eve.post("/sanctions", json=body).status_code == 403
    assert cara.post("/sanctions", json={**body, "reason": "dislike"}).status_code == 422
    made = cara.post("/sanctions", json=body)
    assert made.status_code == 201
    number = made.json()["id"]
    assert eve.get("/me/notices").json()["sanctions"][0]["id"] == number
    assert eve.post(f"/sanctions/{number}/appeal", json={"words": "I did nothing of it."}).status_code == 201
    answer = {"answer": "upheld", "words": "You did, I looked at it."}
    assert cara.post(f"/sanctions/{number}/answer", json=answer).status_code == 403
    assert carl.post(f"/sanctions/{number}/answer", json=answer).json()["answer"] == "upheld"
    assert carl.post(f"/sanctions/{number}/lift", json={"words": "It has done its work."}).json()["state"] == "lifted"
    assert eve.get("/sanctions", params={"state": "lifted"}).json()[0]["id"] == number
    assert eve.post("/reports", json={"reason": "abuse", "words": "rude", "name": "carl"}).status_code == 201
    assert eve.get("/reports").status_code == 403
    assert cara.post("/reports/1/dismiss", json={"words": "He was polite."}).status_code == 200
    assert eve.get("/reports/mine").json()[0]["answer_words"] == "He was polite."


def test_the_person_is_told_on_every_page_and_reads_the_evidence_and_appeals_there(db: Database, house: House) -> None:
    number = sanctions.impose(
        db, "eve", by=house.cara, kind="no_submitting", reason="spam", words=WORDS, days=5, examples=[house.example_id]
    )
    for page in ("home", "leaderboard"):
        shown = visit(db, house, house.eve, page)
        assert "may not submit" in shown.warning[0].value
        assert not shown.exception
    about = visit(db, house, house.eve, "sanctions", show="About me")
    assert any(text.value == WORDS for text in about.text)
    assert not any("[x](" in m.value or "<script" in m.value.replace("\\<", "") for m in about.markdown)
    about.text_area[0].input("They were no letters at all.")
    about.button[0].click().run()
    assert sanctions.get(db, number)["appeal"] == "They were no letters at all."
    assert not visit(db, house, house.adam, "home").warning


def test_a_moderator_acts_on_a_report_and_answers_an_appeal_on_the_page(db: Database, house: House) -> None:
    reports.report(db, by=house.adam, reason="spam", words="look " + HOSTILE, example_id=house.example_id)
    assert (reports.waiting(db, by=house.cara), reports.waiting(db, by=house.eve)) == (1, 0)
    assert not visit(db, house, house.cara, "home").exception
    queue = visit(db, house, house.cara, "sanctions", show="Queue")
    assert not queue.exception
    queue.text_area[0].input(WORDS)
    next(b for b in queue.button if b.label == "Decide this").click().run()
    assert not queue.exception
    (made,) = sanctions.log(db)
    assert (made["person_id"], made["by_id"], made["evidence"]["examples"]) == (
        house.eve.id,
        house.cara.id,
        [house.example_id],
    )
    sanctions.appeal(db, made["id"], person=house.eve, words="They were no letters.")
    queue = visit(db, house, house.carl, "sanctions", show="Queue")
    queue.segmented_control[1].select("overturned")
    queue.text_area[0].input("She is right about this.")
    next(b for b in queue.button if b.label == "Answer the appeal").click().run()
    assert sanctions.get(db, made["id"])["state"] == "overturned"
    log = visit(db, house, house.eve, "sanctions")
    assert list(log.dataframe[0].value["now"]) == ["overturned on appeal"]


def test_who_is_no_moderator_sees_no_queue_and_empty_lists_say_so(db: Database, house: House) -> None:
    for part in ("Public log", "About me", "Report", "Queue"):
        shown = visit(db, house, house.eve, "sanctions", show=part)
        assert not shown.exception
        assert not shown.error
        assert "Queue" not in shown.segmented_control[0].options
    report = visit(db, house, house.adam, "sanctions", show="Report", example=str(house.example_id))
    report.text_area[0].input("Somebody should look.")
    report.selectbox[0].select("spam")
    report.button[0].click().run()
    assert [one["example_id"] for one in reports.queue(db, by=house.cara)] == [house.example_id]


def test_credits_are_held_ended_and_countered_by_every_door(
    db: Database, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    had = ledger.balance(db, ledger.account(house.eve.id))
    why = ("--reason", "Two accounts look like one hand.")
    say(capsys, "credit", "freeze", "--person", "eve", "--days", "5", *why, "--as", "adam")
    shown = visit(db, house, house.eve, "credits")
    assert "are held until" in shown.warning[0].value
    assert {metric.label for metric in shown.metric} == {"My credits", "Held while something is examined"}
    adam = house.client(db, house.adam)
    assert adam.get("/ledger/held").json()[0]["micro_credits"] == had
    ended = {"outcome": "released", "reason": "They are two people."}
    assert house.client(db, house.cara).post("/ledger/held/1/end", json=ended).status_code == 403
    assert adam.post("/ledger/held/1/end", json=ended).json()["outcome"] == "released"
    page = visit(db, house, house.adam, "credits", part="Held")
    field = next(f for f in page.text_input if f.label.startswith("Number of the payment"))
    field.input("1")
    next(f for f in page.text_input if f.label.startswith("Why it is wrong")).input("a wrong base model")
    page.checkbox[0].check()
    next(b for b in page.button if b.label == "Counter it").click().run()
    assert not page.error
    assert ledger.balance(db, ledger.account(house.eve.id)) == 0
    assert verify.verify(db)["transactions"] == 4
    assert main(["credit", "counter", "1", *why]) == 1
    assert "countered already" in capsys.readouterr().err
    assert say(capsys, "credit", "held")[0]["outcome"] == "released"


def test_the_held_page_holds_and_takes_back(db: Database, house: House) -> None:
    page = visit(db, house, house.adam, "credits", part="Held")
    next(f for f in page.text_input if f.label.startswith("Sign-in name, or number")).input("eve")
    page.text_area[0].input("Two accounts look like one hand.")
    next(b for b in page.button if b.label == "Hold them").click().run()
    assert freezes.listing(db)[0]["person_id"] == house.eve.id
    page = visit(db, house, house.adam, "credits", part="Held")
    page.segmented_control[2].select("taken back")
    page.text_area[1].input("Both accounts are hers, she said.")
    next(b for b in page.button if b.label == "End it").click().run()
    assert not page.error
    assert ledger.balance(db, ledger.POOL) == 0
    public = visit(db, house, house.eve, "credits", part="Public ledger")
    assert "below zero by exactly as much" in " ".join(c.value for c in public.caption)
    assert not public.exception


def test_rules_are_previewed_and_changed_with_a_reason_by_every_door(
    db: Database, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.example(db, house.dataset_id, house.eve.id, "waits", decision=None)
    waits = say(capsys, "datasets", "policy", "questions", "--set", "deadline_days=1", "--as", "cara")
    assert waits[0]["effect"].startswith("1 waiting row would be decided")
    assert policy.current(db, house.dataset_id)[1].deadline_days == 14
    say(capsys, "datasets", "policy", "questions", "--set", "quorum=3", "--reason", "More eyes.", "--as", "cara")
    cara, eve = house.client(db, house.cara), house.client(db, house.eve)
    change = {"changes": {"quorum": 4}, "reason": "Even more eyes."}
    assert eve.put("/datasets/questions/policy", json=change).status_code == 403
    assert cara.put("/datasets/questions/policy", json={**change, "reason": " "}).status_code == 422
    assert cara.put("/datasets/questions/policy", json={**change, "changes": {"quorum": 99}}).status_code == 422
    assert cara.post("/datasets/questions/policy/preview", json=change).json()[0]["before"] == 3
    assert cara.put("/datasets/questions/policy", json=change).json()["rules"]["quorum"] == 4
    history = eve.get("/datasets/questions/policy").json()["history"]
    assert [one["reason"] for one in history] == ["Even more eyes.", "More eyes.", ""]
    assert history[0]["changes"] == {"quorum": [3, 4]}
    page = visit(db, house, house.cara, "datasets", dataset="questions", part="Rules")
    page.multiselect[0].select("gold_share").run()
    page.number_input[0].set_value(0.25).run()
    assert any("0.1 → **0.25**" in m.value.replace("\\", "") for m in page.markdown)
    page.text_input[0].input("Fewer surprises.").run()
    next(b for b in page.button if b.label.startswith("Make these rules")).click().run()
    assert not page.exception
    assert not page.error
    assert policy.current(db, house.dataset_id)[1].gold_share == 0.25
    assert rules.history(db, house.dataset_id)[0]["reason"] == "Fewer surprises."
    assert "Change the rules" not in str(visit(db, house, house.eve, "datasets", dataset="questions", part="Rules").expander)


def test_a_new_password_makes_tokens_void_and_tokens_are_listed_and_revoked(
    db: Database, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    eve = house.client(db, house.eve)
    people.issue_token(db, house.eve, "second")
    assert [one["state"] for one in eve.get("/me/tokens").json()] == ["valid", "valid"]
    assert eve.delete("/me/tokens/2").json() == {"revoked": 2}
    assert eve.delete("/me/tokens/2").status_code == 404
    assert [one["state"] for one in say(capsys, "people", "tokens", "--as", "eve")] == ["revoked", "valid"]
    page = visit(db, house, house.eve, "account")
    assert sorted(page.dataframe[0].value["state"]) == ["revoked", "valid"]
    for place in (0, 1):
        page.text_input[place].input("quite another password")
    next(b for b in page.button if b.label == "Set the password").click().run()
    assert eve.get("/me").status_code == 401
    assert {people.token_state(one) for one in people.tokens(db, house.eve)} == {"revoked"}


def test_an_account_is_closed_by_its_owner_with_its_name_and_its_rows_and_credits_stay(db: Database, house: House) -> None:
    sanctions.impose(db, "eve", by=house.cara, kind="warning", reason="spam", words=WORDS, days=5)
    had = ledger.balance(db, ledger.account(house.eve.id))
    eve = house.client(db, house.eve)
    assert eve.get("/me/closing").json()["examples"] == 1
    assert eve.post("/me/closing", json={"name_again": "ev"}).status_code == 422
    page = visit(db, house, house.eve, "account")
    for box in page.checkbox:
        box.check()
    next(f for f in page.text_input if f.label.startswith("Your sign-in name")).input("eve")
    next(b for b in page.button if b.label == "Close my account for good").click().run()
    assert people.find(db, "eve") is None
    assert eve.get("/me").status_code == 401
    kept = store.row(db, "select * from people where id = ?", house.eve.id)
    assert kept is not None
    assert (kept["display_name"], kept["email"], kept["password_hash"]) == (f"Closed account {house.eve.id}", None, None)
    assert sanctions.log(db)[0]["person"] == f"Closed account {house.eve.id}"
    assert ledger.balance(db, ledger.account(house.eve.id)) == had
    assert store.value(db, "select state from example_states where example_id = ?", house.example_id) == "withdrawn"
    verify.verify(db)


def test_the_only_admin_cannot_close_their_account(db: Database, house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["people", "close", "--name-again", "adam", "--as", "adam"]) == 1
    assert "only admin" in capsys.readouterr().err
    assert "password" in say(capsys, "people", "close", "--as", "adam")["goes"][0]
    people.set_roles(db, "cara", ("admin",), by=house.adam)
    say(capsys, "people", "close", "--name-again", "adam", "--forget-name", "--as", "adam")
    assert people.find(db, "adam") is None
