"""The HTTP door: tokens, the same refusals as everywhere, limits on what is sent."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database

from factory import api
from factory.base import people
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import datasets
from factory.sign_in import COOKIE

GOOD = [
    {"role": "user", "content": "Which city is the capital of France?"},
    {"role": "assistant", "content": "Paris is the capital of France, on the river Seine."},
]
SHORT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]


@pytest.fixture
def maintainer(db: Database) -> Person:
    return people.maintainer(db)


@pytest.fixture
def client(db: Database, settings: Settings, maintainer: Person) -> Iterator[TestClient]:
    """A client with the maintainer's token, and a dataset named capitals."""
    datasets.create(
        db, slug="capitals", title="Capitals", purpose="Capitals of countries.", guidelines="One a row.", licence="CC0-1.0",
        owner=maintainer,
    )  # fmt: skip
    token = people.issue_token(db, maintainer, "tests")
    with TestClient(api.application(settings), headers={"Authorization": f"Bearer {token}"}) as opened:
        yield opened


@pytest.fixture
def stranger(settings: Settings) -> Iterator[TestClient]:
    with TestClient(api.application(settings)) as opened:
        yield opened


def offer(*rows: list[dict[str, str]]) -> dict[str, object]:
    return {"rows": list(rows), "licence": "CC0-1.0", "mine_to_give": True}


def test_nothing_but_the_document_is_answered_without_a_token(stranger: TestClient) -> None:
    assert stranger.get("/openapi.json").status_code == 200
    for path, methods in stranger.get("/openapi.json").json()["paths"].items():
        for method in methods:
            answer = stranger.request(method, path.replace("{", "").replace("}", ""), json={})
            assert answer.status_code in (401, 422), (method, path)
            if answer.status_code == 422:  # what is typed wrongly is said before who asks is looked up
                assert "detail" not in answer.json()
    refused = stranger.get("/datasets")
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization: Bearer" in refused.json()["error"]


def test_a_token_says_who_asks_and_a_revoked_one_does_not(client: TestClient, db: Database, maintainer: Person) -> None:
    assert client.get("/me").json()["name"] == "maintainer"
    people.revoke_token(db, maintainer, people.tokens(db, maintainer)[0]["id"])
    assert client.get("/me").status_code == 401


def test_a_session_cookie_may_read_and_never_write(
    client: TestClient, stranger: TestClient, db: Database, settings: Settings, maintainer: Person
) -> None:
    stranger.cookies.set(COOKIE, people.issue_session(db, settings, maintainer))
    assert stranger.get("/datasets").json()[0]["slug"] == "capitals"
    assert stranger.post("/datasets/capitals/submissions", json=offer(GOOD)).status_code == 401
    stranger.cookies.set(COOKIE, "forged")
    assert stranger.get("/datasets").status_code == 401


def test_preflight_says_what_is_wrong_and_writes_nothing(client: TestClient) -> None:
    found = client.post("/datasets/capitals/preflight", json={"rows": [GOOD, SHORT]}).json()
    assert found["good"] == 1
    assert [row["refused"] for row in found["rows"]] == [False, True]
    assert found["rows"][1]["findings"][0]["code"] == "too_short"
    assert found["allowance"]["used"] == 0
    assert client.get("/examples").json() == []


def test_submitted_rows_wait_for_review(client: TestClient) -> None:
    answer = client.post("/datasets/capitals/submissions", json=offer(GOOD, SHORT))
    assert answer.status_code == 201
    sent = answer.json()
    assert (sent["accepted_for_review"], sent["refused"]) == (1, 1)
    assert {example["state"] for example in client.get("/examples").json()} == {"waiting", "refused"}
    assert client.get("/datasets/capitals").json()["waiting"] == 1


def test_a_file_is_submitted_as_the_command_and_the_page_would(client: TestClient) -> None:
    lines = "\n".join(
        json.dumps({"question": f"What is the capital of {country}?", "answer": f"{city} is the capital of {country}."})
        for country, city in (("Peru", "Lima"), ("Ghana", "Accra"))
    )  # fmt: skip
    file = {"file": ("capitals.jsonl", io.BytesIO(lines.encode()), "application/jsonl")}
    assert client.post("/datasets/capitals/preflight/file", files=file).json()["good"] == 2
    file = {"file": ("capitals.jsonl", io.BytesIO(lines.encode()), "application/jsonl")}
    terms = {"licence": "CC0-1.0", "mine_to_give": "true"}
    assert client.post("/datasets/capitals/submissions/file", files=file, data=terms).json()["accepted_for_review"] == 2


def test_refusals_have_their_status_and_every_reason(client: TestClient) -> None:
    answer = client.post("/datasets/capitals/submissions", json={**offer(GOOD), "licence": "GPL-3.0", "mine_to_give": False})
    assert answer.status_code == 422
    assert len(answer.json()["problems"]) == 2
    assert client.get("/datasets/nowhere").status_code == 404
    assert client.get("/runs/99").status_code == 404
    assert client.post("/datasets/capitals/versions").status_code == 422
    missing = client.post("/datasets/capitals/submissions", json={"rows": []})
    assert missing.status_code == 422
    assert {problem.split(":")[0] for problem in missing.json()["problems"]} == {"rows", "licence", "mine_to_give"}


def test_a_role_that_is_missing_is_a_403(db: Database, client: TestClient, settings: Settings) -> None:
    reader = people.create(db, "reader", roles=())
    with TestClient(
        api.application(settings), headers={"Authorization": f"Bearer {people.issue_token(db, reader, 'x')}"}
    ) as other:
        refused = other.post("/datasets/capitals/submissions", json=offer(GOOD))
    assert refused.status_code == 403
    assert "contributor" in refused.json()["error"]


def test_a_recipe_out_of_range_is_refused_with_all_its_problems(client: TestClient) -> None:
    wanted = {"dataset": "capitals", "recipe": {"rank": 7, "learning_rate": 9, "nonsense": 1}}
    answer = client.post("/runs", json=wanted)
    assert answer.status_code == 422
    assert len(answer.json()["problems"]) == 3


def exchange(app: Any, *, chunks: int, headers: dict[str, str]) -> tuple[int, int, bytes]:
    """Post chunks of 1,000 bytes straight to the application: how many it took, the status and the answer."""
    taken, status, said = 0, 0, b""

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": taken < chunks}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, said
        status = message.get("status", status)
        said += message.get("body", b"")

    path = "/datasets/capitals/preflight"
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "scheme": "http", "http_version": "1.1", "server": ("test", 80), "client": ("test", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return taken, status, said


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_a_body_over_the_limit_is_a_413_and_is_not_read_to_its_end(
    kind: str, db: Database, settings: Settings, client: TestClient, maintainer: Person
) -> None:
    app = api.application(replace(settings, max_upload_bytes=10_000))
    token = people.issue_token(db, maintainer, "limit")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    taken, status, said = exchange(app, chunks=1000, headers=headers)
    assert (taken, status) == (11, 413)
    assert "send it in parts" in json.loads(said)["error"]
    taken, status, said = exchange(app, chunks=1000, headers=headers | {"Content-Length": "1000000"})
    assert (taken, status) == (0, 413)


def test_deep_and_broken_json_is_one_sentence(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b"[" * 100_000, b'{"rows": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", b"\xff\xfe", b"{", b""):
        answer = client.post("/datasets/capitals/preflight", content=body, headers=headers)
        assert answer.status_code in (400, 422)
        assert answer.json()["error"]


def test_markup_in_rows_comes_back_as_the_text_it_was(client: TestClient) -> None:
    row = [
        {"role": "user", "content": "What does <script>alert(1)</script> do in a page of HTML?"},
        {"role": "assistant", "content": "It shows a window that says <b>1</b>; browsers run it at once."},
    ]
    client.post("/datasets/capitals/submissions", json=offer(row))
    answer = client.get("/examples")
    assert answer.headers["content-type"] == "application/json"
    assert "<script>alert(1)</script>" in json.loads(answer.json()[0]["content"])["messages"][0]["content"]


def test_the_openapi_document_explains_every_route(stranger: TestClient) -> None:
    document = stranger.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            assert route["summary"], (method, path)
            assert route["tags"]
            assert "401" in route["responses"]
            assert route["security"]


def test_settings_and_presets_are_those_of_the_wizard(client: TestClient) -> None:
    found = client.get("/recipes").json()
    assert {"name", "low", "high", "help"} <= found["settings"][0].keys()
    assert "balanced" in found["presets"]
