"""Signing in over HTTP: the cookie, the gate, and what an attacker would try."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlite_utils import Database
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from factory import sign_in
from factory.base import attempts, people
from factory.base.settings import Settings

PASSWORD = "orchid lantern meadow"
PAGE = {"accept": "text/html"}


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("the page")


@pytest.fixture
def client(settings: Settings, db: Database) -> Iterator[TestClient]:
    people.create(db, "alice", password=PASSWORD)
    routes = [*sign_in.routes(settings), Route("/train", page)]
    app = Starlette(routes=routes, middleware=[Middleware(sign_in.Gate, settings=settings)])
    with TestClient(app, follow_redirects=False) as opened:
        yield opened


def test_a_deep_link_leads_to_the_sign_in_and_back(client: TestClient) -> None:
    turned_away = client.get("/train?dataset=2", headers=PAGE)
    assert turned_away.status_code == 303
    assert turned_away.headers["location"] == "/sign-in?next=/train%3Fdataset%3D2"
    signed_in = client.post("/sign-in", data={"name": "Alice", "password": PASSWORD, "next": "/train?dataset=2"})
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/train?dataset=2")
    assert client.get("/train", headers=PAGE).text == "the page"


def test_the_cookie_cannot_be_read_by_scripts_nor_sent_by_other_sites(client: TestClient) -> None:
    cookie = client.post("/sign-in", data={"name": "alice", "password": PASSWORD}).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age=" in cookie


def test_a_wrong_password_says_so_without_telling_whether_the_name_exists(client: TestClient) -> None:
    wrong = client.post("/sign-in", data={"name": "alice", "password": "x"})
    unknown = client.post("/sign-in", data={"name": "nobody", "password": "x"})
    assert wrong.status_code == unknown.status_code == 403
    assert "do not fit together" in wrong.text
    assert wrong.text.replace("alice", "") == unknown.text.replace("nobody", "")


def test_after_eight_failures_even_the_right_password_must_wait(client: TestClient) -> None:
    for _ in range(attempts.FAILURES_PER_NAME):
        client.post("/sign-in", data={"name": "alice", "password": "guess"})
    refused = client.post("/sign-in", data={"name": "alice", "password": PASSWORD})
    assert refused.status_code == 403
    assert "wait 15 minutes" in refused.text


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_signing_in_never_leads_to_another_site(client: TestClient, target: str) -> None:
    answer = client.post("/sign-in", data={"name": "alice", "password": PASSWORD, "next": target})
    assert answer.headers["location"] == "/"


def test_a_form_from_another_site_is_refused(client: TestClient) -> None:
    fields = {"name": "alice", "password": PASSWORD}
    assert client.post("/sign-in", data=fields, headers={"origin": "https://evil.example"}).status_code == 403
    assert client.post("/sign-in", data=fields, headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_a_body_that_is_too_long_is_refused(client: TestClient) -> None:
    assert client.post("/sign-in", data={"name": "a" * 20_000, "password": "x"}).status_code == 413


def test_what_was_typed_is_shown_as_text(client: TestClient) -> None:
    answer = client.post("/sign-in", data={"name": '"><script>alert(1)</script>', "password": "x"})
    assert "<script>" not in answer.text


def test_a_one_time_link_works_once(client: TestClient, db: Database) -> None:
    token = people.issue_link(db, people.maintainer(db))
    assert client.get(f"/sign-in/link?token={token}").headers["location"] == "/"
    again = client.get(f"/sign-in/link?token={token}")
    assert again.status_code == 403
    assert "was used or is too old" in again.text


def test_a_forged_an_expired_and_a_revoked_session_are_nobody(settings: Settings, db: Database) -> None:
    alice = people.create(db, "alicia", password=PASSWORD)
    session = people.issue_session(db, settings, alice)
    assert people.from_session(db, settings, session) == alice
    assert people.from_session(db, settings, session[:-2] + "xx") is None
    assert people.from_session(db, Settings(home=settings.home, session_seconds=-1), session) is None
    people.sign_out_everywhere(db, alice)
    assert people.from_session(db, settings, session) is None


def test_signing_out_forgets_the_cookie(client: TestClient) -> None:
    client.post("/sign-in", data={"name": "alice", "password": PASSWORD})
    client.get("/sign-out")
    assert client.get("/train", headers=PAGE).status_code == 303
