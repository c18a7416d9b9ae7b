"""The board of what is needed: thin topics, failed questions in sums of five or more and never a word of them, bounties."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory import __main__, api
from factory.base import people, store
from factory.base.settings import ROOT, Settings
from factory.credit import bounties, needs, rounds
from factory.intake import formats, mapping, maps
from factory.sign_in import COOKIE
from tests import credit_rows as rows
from tests.drawn import db, talk

__all__ = ["db"]

WHEN = ("slowly", "twice", "warm", "cold")
BREAD = [f"{how} the dough of rye bread {when}" for how in ("Knead", "Prove", "Fold", "Salt", "Rest") for when in WHEN]
TYRES = [f"{how} the tyre of a bicycle {when}" for how in ("Patch", "Pump") for when in WHEN]
ASKED_BREAD = [f"Bake the rye bread dough zanzibarite {n}" for n in range(6)]
ASKED_TYRES = [f"Patch the bicycle tyre zanzibarite {n}" for n in range(14)]
ASKED_ELSE = [f"The zanzibarite moon of planet {n}" for n in range(3)]


@dataclass(frozen=True)
class House:
    """A dataset with twenty rows on bread, eight on tyres, a map, and held-out rows that ask the other way round."""

    owner: int
    dataset_id: int
    version_id: int
    root: str


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("needs")
    with store.connect(home / "drawn.db") as db:
        owner = rows.person(db, "owner", roles=("curator", "contributor"))
        dataset_id, policy_id = rows.dataset(db, owner)
        given = [rows.example(db, dataset_id, owner, "", talk=talk(words)) for words in (*BREAD, *TYRES)]
        asked = [talk(words) for words in (*ASKED_BREAD, *ASKED_TYRES, *ASKED_ELSE)]
        set_id, _ = rows.held_out(db, dataset_id, owner, asked)
        maps.draw(db, rows.version(db, dataset_id, policy_id, given, owner=owner, held_out=set_id))
        db.execute("pragma wal_checkpoint(truncate)")
    return home / "drawn.db"


@pytest.fixture
def house(db: Database) -> House:
    return House(1, 1, 1, str(store.value(db, "select root from held_out_sets")))


def measured(db: Database, house: House, losses: list[float]) -> None:
    """An adapter whose loss on each held-out row is given, in nats per token, ten tokens a row."""
    adapter_id, _ = rows.adapter(db, house.version_id, house.owner)
    record = {
        "adapter_id": adapter_id, "held_out_root": house.root, "row_count": len(losses), "label_tokens": 10 * len(losses),
        "base_loss": 2.0, "tuned_loss": sum(losses) / len(losses), "difference": -0.1, "low": -0.2, "high": -0.05,
        "method": "m", "seconds": 1.0, "at": 4.0,
    }  # fmt: skip
    evaluation_id = store.insert(db, "evaluations", record)
    for position, loss in enumerate(losses):
        one = {"evaluation_id": evaluation_id, "position": position, "label_tokens": 10, "base_loss": 20.0}
        store.insert(db, "evaluation_rows", {**one, "tuned_loss": 10 * loss})


def about(db: Database, house: House, word: str) -> list[dict[str, object]]:
    return [topic for topic in needs.board(db, house.dataset_id)["topics"] if word in topic["words"]]


def test_a_topic_with_few_rows_for_its_share_of_the_held_out_questions_is_thin(db: Database, house: House) -> None:
    tyres, bread = about(db, house, "tyre"), about(db, house, "bread")
    assert any(topic["thin"] for topic in tyres)
    assert not any(topic["thin"] and topic["questions"] for topic in bread)
    first = needs.board(db, house.dataset_id)["topics"][0]
    assert "tyre" in first["words"]
    assert first["missing"] == -(-first["fair"] // 2) - first["rows"]


def test_what_the_latest_adapter_fails_is_told_by_topic(db: Database, house: House) -> None:
    assert needs.board(db, house.dataset_id)["adapter"] is None
    measured(db, house, [1.0] * 6 + [3.0] * 14 + [1.0] * 3)
    shown = needs.board(db, house.dataset_id)
    mean = (6 + 42 + 3) / 23
    assert shown["loss"] == pytest.approx(mean)
    tyre = max((t for t in shown["topics"] if "tyre" in t["words"] and t["questions"]), key=lambda t: t["questions"])
    assert tyre["worse"] == round(3.0 - mean, 2)
    assert tyre["failing"] == tyre["questions"] >= 5
    assert "nats worse" in needs.in_words(tyre)


def test_no_word_no_number_and_no_hash_of_a_held_out_row_leaves_the_house(
    db: Database, settings: Settings, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(db, house, [1.0 + n / 7 for n in range(23)])
    assert __main__.main(["needs", "questions", "--json"]) == 0
    told = capsys.readouterr().out
    assert __main__.main(["needs", "questions"]) == 0
    told += capsys.readouterr().out
    token = people.issue_token(db, people.get(db, "owner"), "tests")
    with TestClient(api.application(settings), headers={"Authorization": f"Bearer {token}"}) as client:
        told += client.get("/datasets/questions/needs").text + client.get("/datasets/questions/map").text
        assert client.get("/datasets/questions/map").json()["point_count"] == 28
    assert "zanzibarite" not in told
    for content_hash, content in db.execute("select content_hash, content from held_out_rows"):
        assert content_hash not in told
        assert formats.question_of(content) not in told
    assert "position" not in told


@pytest.mark.parametrize("sizes", [(1,), (4,), (5, 1), (5, 4, 9), (7, 7, 2, 1), (3, 1, 0), (5, 5, 5), (20, 4), (6, 5, 3, 1)])
def test_no_group_told_has_fewer_than_five_and_none_can_be_had_by_taking_away(sizes: tuple[int, ...]) -> None:
    told = needs.told_together({topic: [topic] * size for topic, size in enumerate(sizes)})
    assert all(len(group) >= needs.FEWEST for group in told.values())
    left = sum(sizes) - sum(len(group) for group in told.values())
    assert left == 0 or not told  # the sum over all is public, so all but what is told would be a group of its own


def test_a_bounty_makes_a_topic_needed_and_is_shown_with_its_credits(db: Database, house: House) -> None:
    before = needs.board(db, house.dataset_id)["topics"][-1]
    bounties.book.append(
        db, "pay", {}, [("pool", -9_000_000), ("person:1", 9_000_000)], adapter_id=None, attribution_id=None
    )  # where these credits are from does not matter here
    person = people.get(db, "owner")
    bounties.open_one(db, house.dataset_id, before["number"], person=person, rows=9, credits_each=1, days=3)
    after = next(t for t in needs.board(db, house.dataset_id)["topics"] if t["number"] == before["number"])
    assert (after["credits"], after["wanted"]) == (9.0, 9)
    assert after["need"] > before["need"]
    assert needs.most_needed(db)[0]["slug"] == "questions"


def test_without_a_version_or_a_map_the_board_says_what_is_there(db: Database, house: House) -> None:
    other, policy_id = rows.dataset(db, house.owner, slug="other")
    shown = needs.board(db, other)
    assert (shown["map"], shown["due"], shown["topics"]) == (None, None, [])
    rows.version(db, other, policy_id, [rows.example(db, other, house.owner, "one")], owner=house.owner)
    assert needs.board(db, other)["due"]["number"] == 1


def test_the_doors_open_and_list_bounties(db: Database, settings: Settings, house: House) -> None:
    token = people.issue_token(db, people.get(db, "owner"), "tests")
    with TestClient(api.application(settings), headers={"Authorization": f"Bearer {token}"}) as client:
        wish = {"topic": 0, "rows": 4, "credits_each": 1, "days": 10}
        assert client.post("/datasets/questions/bounties", json=wish).status_code == 409  # no credits
        assert client.post("/datasets/questions/pot", json={"credits": 1}).status_code == 409
        assert client.get("/bounties").json() == []
        assert client.post("/datasets/questions/map").json()["state"] == "ready"
    assert __main__.main(["bounty", "open", "questions", "0", "--rows", "4", "--credits", "1", "--as", "owner"]) == 1
    assert __main__.main(["bounty", "settle"]) == 0
    assert __main__.main(["bounty", "list", "--open"]) == 0


def test_a_worker_settles_bounties_and_draws_what_has_no_map(db: Database, settings: Settings, house: House) -> None:
    other, policy_id = rows.dataset(db, house.owner, slug="other")
    rows.version(db, other, policy_id, [rows.example(db, other, house.owner, "one")], owner=house.owner)
    rounds.one_round(db, settings)
    assert mapping.look(db, settings, other).state in ("running", "ready")
    mapping.stop(settings, other, person=people.get(db, "owner"))


@pytest.mark.parametrize("drawn_already", [True, False])
def test_the_page_shows_map_topics_and_bounties_or_says_what_is_missing(
    db: Database, settings: Settings, house: House, drawn_already: bool
) -> None:
    rows.dataset(db, house.owner, slug="other")
    page = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
    page.session_state[COOKIE] = people.issue_session(db, settings, people.get(db, "owner"))
    page.run()
    page.switch_page("datasets.py")
    page.query_params["dataset"] = "questions" if drawn_already else "other"
    page.query_params["part"] = "Needed"
    page.query_params["topic"] = "0"
    page.run()
    assert not page.exception
    told = " ".join(str(block.value) for block in (*page.markdown, *page.caption, *page.subheader))
    assert "zanzibarite" not in told
    assert ("Version 1: 28 rows." in told) == drawn_already
    assert ("Nothing is frozen yet." in told) != drawn_already
    assert [block.value for block in page.subheader] == (
        [maps.get_topic(db, 1, 0)["name"], "Bounties"] if drawn_already else []
    )


def test_home_and_contribute_say_what_is_needed_now(db: Database, settings: Settings, house: House) -> None:
    page = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
    page.session_state[COOKIE] = people.issue_session(db, settings, people.get(db, "owner"))
    page.run()
    assert any("What is needed now" in block.value for block in page.markdown)
    page.switch_page("contribute.py")
    page.run()
    assert not page.exception
    assert any("What is needed now" in block.value for block in page.markdown)
