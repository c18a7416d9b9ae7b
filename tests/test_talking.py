"""Talking over HTTP: streamed from the chat process, one answer a person, refusals with their status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database

from factory import api
from factory.adapters import talk
from factory.api.talking import MOST_WAITING, Turns
from factory.base import people, store
from factory.base.errors import Conflict
from factory.base.settings import Settings
from factory.intake import sanctions
from tests import trained

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def client(db: Database, settings: Settings) -> Iterator[TestClient]:
    person = people.create(db, "ana", roles=("contributor",))
    token = people.issue_token(db, person, "tests")
    with TestClient(api.application(settings), headers={"Authorization": f"Bearer {token}"}) as opened:
        yield opened


def test_one_answer_a_person_and_not_more_in_line_than_can_be_answered_soon() -> None:
    turns = Turns()
    for person_id in range(MOST_WAITING):
        turns.take(person_id)
    with pytest.raises(Conflict, match="being answered already"):
        turns.take(0)
    with pytest.raises(Conflict, match="people wait"):
        turns.take(99)
    turns.give_back(0)
    turns.take(99)


@pytest.mark.parametrize(
    ("asked", "status", "word"),
    [
        ({"messages": QUESTION}, 422, "who answers"),
        ({"messages": QUESTION, "adapter_id": 1, "model": "tiny"}, 422, "who answers"),
        ({"messages": QUESTION, "adapter_id": 99}, 404, "99"),
        ({"messages": QUESTION, "model": "unknown"}, 404, "unknown"),
        ({"messages": [], "model": "tiny"}, 422, "messages"),
        ({"messages": QUESTION, "model": "tiny", "max_tokens": 9_999}, 422, "max_tokens"),
        ({"messages": [{"role": "user", "content": "x" * 100_001}], "model": "tiny"}, 422, "begin again"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_before_any_model_is_loaded(
    client: TestClient, settings: Settings, asked: dict[str, object], status: int, word: str
) -> None:
    answer = client.post("/chat", json=asked)
    assert answer.status_code == status
    assert word in answer.json()["error"]
    assert talk.status(settings) is None


def test_a_paused_account_does_not_talk(client: TestClient, db: Database) -> None:
    admin = people.create(db, "root", roles=("admin",))
    words = "Insults in every report of hers."
    sanctions.impose(db, "ana", by=admin, kind="paused", reason="abuse", words=words, days=2)
    answer = client.post("/chat", json={"messages": QUESTION, "model": "tiny"})
    assert (answer.status_code, "paused until" in answer.json()["error"]) == (403, True)


@pytest.mark.slow
def test_an_answer_comes_in_pieces_and_whole_and_is_what_the_chat_process_says(
    settings: Settings, db: Database, client: TestClient, tiny_model: Path
) -> None:
    past = trained.past(db, settings, tiny_model)
    asked = {"messages": QUESTION, "adapter_id": past.adapter_id, "max_tokens": 12}
    try:
        with client.stream("POST", "/chat", json=asked) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            events = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
        assert events[-1] == {"end": True}
        pieces = [event["piece"] for event in events[:-1]]
        assert len(pieces) > 1
        whole = client.post("/chat", json={**asked, "stream": False}).json()
        assert whole["answer"] == "".join(pieces)
        wrong = client.post("/chat", json={**asked, "messages": [{"role": "assistant", "content": "I begin."}]})
        assert (wrong.status_code, "user" in wrong.json()["error"]) == (422, True)
        assert client.post("/chat", json={**asked, "stream": False}).json() == whole  # the turn was given back
    finally:
        talk.free(settings)
    with store.connect(settings) as again:
        assert store.value(again, "select count(*) from adapters") == 1
