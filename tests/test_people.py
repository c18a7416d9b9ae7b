"""Accounts, roles, signing in: who may do what, and what a stranger with a dictionary meets."""

from __future__ import annotations

from threading import Thread

import pytest
from sqlite_utils import Database

from factory.base import attempts, links, people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.base.settings import Settings

PASSWORD = "correct horse battery"
HERE = "127.0.0.1"


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    moment = store.now() + seconds
    monkeypatch.setattr(store.time, "time", lambda: moment)


@pytest.fixture
def admin(db: Database) -> Person:
    return people.maintainer(db)


def test_the_maintainer_is_made_once_and_holds_every_role(db: Database) -> None:
    first = people.maintainer(db)
    assert first.roles == set(people.ROLES)
    assert people.maintainer(db) == first
    assert len(people.everyone(db)) == 1


def test_all_that_is_wrong_with_an_account_is_said_at_once(db: Database) -> None:
    with pytest.raises(Invalid) as caught:
        people.create(db, "-x", password="short", roles=("boss",), display_name="y" * 100)
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("name", ["", "a", "..", "ada lovelace", "ada<script>", "a" * 50, "ädä", "../../etc"])
def test_names_that_could_confuse_are_refused(db: Database, name: str) -> None:
    with pytest.raises(Invalid, match="name"):
        people.create(db, name)


def test_a_name_is_taken_whatever_its_case(db: Database) -> None:
    people.create(db, "ada")
    with pytest.raises(Conflict):
        people.create(db, " ADA ")
    assert people.get(db, "Ada").name == "ada"


def test_the_password_opens_the_account_and_is_not_stored(db: Database) -> None:
    people.create(db, "ada", password=PASSWORD)
    assert people.authenticate(db, "Ada ", PASSWORD, address=HERE).name == "ada"
    stored = store.value(db, "select password_hash from people")
    assert stored.startswith("$argon2id$")
    assert PASSWORD not in stored


@pytest.mark.parametrize(
    ("name", "password"), [("ada", "wrong password"), ("nobody", PASSWORD), ("link-only", PASSWORD), ("ada", "")]
)
def test_a_wrong_password_and_an_unknown_name_read_the_same(db: Database, name: str, password: str) -> None:
    people.create(db, "ada", password=PASSWORD)
    people.create(db, "link-only")
    with pytest.raises(NotAllowed, match="do not fit together"):
        people.authenticate(db, name, password, address=HERE)


def test_after_eight_failures_even_the_right_password_waits(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    people.create(db, "ada", password=PASSWORD)
    for number in range(8):
        with pytest.raises(NotAllowed, match="do not fit"):
            people.authenticate(db, "ada", "a guess", address=f"10.0.0.{number}")
    with pytest.raises(NotAllowed, match="wait 15 minutes"):
        people.authenticate(db, "ada", PASSWORD, address=HERE)
    later(monkeypatch, attempts.FAILURE_WINDOW_SECONDS + 1)
    assert people.authenticate(db, "ada", PASSWORD, address=HERE).name == "ada"


def test_one_address_cannot_try_many_names(db: Database) -> None:
    with store.writing(db):
        for number in range(attempts.FAILURES_PER_ADDRESS):
            store.insert(
                db, "sign_in_attempts", {"name": f"n{number}", "address": "10.9.9.9", "at": store.now(), "succeeded": 0}
            )
    people.create(db, "ada", password=PASSWORD)
    with pytest.raises(NotAllowed, match="wait 15 minutes"):
        people.authenticate(db, "ada", PASSWORD, address="10.9.9.9")
    assert people.authenticate(db, "ada", PASSWORD, address=HERE)


def test_signing_in_rightly_does_not_use_up_tries(db: Database) -> None:
    people.create(db, "ada", password=PASSWORD)
    for _ in range(attempts.FAILURES_PER_NAME + 2):
        people.authenticate(db, "ada", PASSWORD, address=HERE)


def test_a_session_is_known_again_until_it_is_forged_old_or_signed_out(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = people.create(db, "ada")
    cookie = people.issue_session(db, settings, ada)
    assert people.from_session(db, settings, cookie) == ada
    assert people.from_session(db, settings, None) is None
    assert people.from_session(db, settings, cookie[:-2] + "xx") is None
    assert people.from_session(db, Settings(home=settings.home / "other"), cookie) is None
    people.sign_out_everywhere(db, ada)
    assert people.from_session(db, settings, cookie) is None
    fresh = people.issue_session(db, settings, ada)
    later(monkeypatch, settings.session_seconds + 10)
    assert people.from_session(db, settings, fresh) is None


def test_a_new_password_signs_out_everywhere(db: Database, settings: Settings, admin: Person) -> None:
    ada = people.create(db, "ada", password=PASSWORD)
    cookie = people.issue_session(db, settings, ada)
    people.set_password(db, "ada", "another good one", by=ada)
    assert people.from_session(db, settings, cookie) is None
    with pytest.raises(NotAllowed):
        people.authenticate(db, "ada", PASSWORD, address=HERE)
    with pytest.raises(NotAllowed):
        people.set_password(db, admin.name, "another good one", by=ada)
    with pytest.raises(Invalid):
        people.set_password(db, "ada", "short", by=ada)


def test_a_sign_in_link_works_once_and_not_for_long(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = people.create(db, "ada")
    token = people.issue_link(db, ada)
    assert token not in str(store.rows(db, "select * from sign_in_links"))
    assert people.use_link(db, token) == ada
    for used in (token, "made up"):
        with pytest.raises(NotAllowed):
            people.use_link(db, used)
    late = people.issue_link(db, ada)
    later(monkeypatch, links.LINK_SECONDS + 1)
    with pytest.raises(NotAllowed):
        people.use_link(db, late)


def test_two_browsers_with_one_link_open_one_session(db: Database, settings: Settings) -> None:
    token, outcomes = people.issue_link(db, people.create(db, "ada")), list[str]()

    def use() -> None:
        with store.connect(settings) as own:
            try:
                outcomes.append(people.use_link(own, token).name)
            except NotAllowed:
                outcomes.append("refused")

    threads = [Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["ada", "refused", "refused", "refused"]


def test_a_token_is_seen_once_and_can_be_made_void(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bob = people.create(db, "ada"), people.create(db, "bob")
    token = people.issue_token(db, ada, "laptop")
    assert people.from_token(db, token) == ada
    listed = people.tokens(db, ada)
    assert listed[0]["last_used_at"] is not None
    assert token not in str(store.rows(db, "select * from tokens"))
    with pytest.raises(NotFound):
        people.revoke_token(db, bob, listed[0]["id"])
    people.revoke_token(db, ada, listed[0]["id"])
    with pytest.raises(NotAllowed):
        people.from_token(db, token)
    short = people.issue_token(db, ada, "phone", seconds=60)
    later(monkeypatch, 61)
    with pytest.raises(NotAllowed):
        people.from_token(db, short)
    with pytest.raises(Invalid):
        people.issue_token(db, ada, " ")


def test_a_closed_account_opens_no_door(db: Database, settings: Settings, admin: Person) -> None:
    ada = people.create(db, "ada", password=PASSWORD, oidc_subject="idp|1")
    cookie, token, link = (
        people.issue_session(db, settings, ada),
        people.issue_token(db, ada, "x"),
        people.issue_link(db, ada),
    )
    people.disable(db, "ada", by=admin)
    assert people.find(db, "ada") is None
    assert people.from_session(db, settings, cookie) is None
    for knock in (
        lambda: people.authenticate(db, "ada", PASSWORD, address=HERE),
        lambda: people.from_token(db, token),
        lambda: people.use_link(db, link),
        lambda: people.from_oidc(db, subject="idp|1", name="ada", email=None),
    ):
        with pytest.raises(NotAllowed):
            knock()
    with pytest.raises(Conflict):
        people.disable(db, admin.name, by=admin)


def test_only_admins_give_roles_and_the_last_admin_stays(db: Database, admin: Person) -> None:
    ada = people.create(db, "ada")
    with pytest.raises(NotAllowed):
        people.set_roles(db, "ada", ("admin",), by=ada)
    with pytest.raises(Invalid, match="boss"):
        people.set_roles(db, "ada", ("boss",), by=admin)
    with pytest.raises(Conflict, match="only admin"):
        people.set_roles(db, admin.name, ("builder",), by=admin)
    assert people.set_roles(db, "ada", ("reviewer", "admin"), by=admin).roles == {"reviewer", "admin"}
    assert people.set_roles(db, admin.name, (), by=admin).roles == frozenset()


def test_an_admin_holds_every_role_and_a_guest_none(admin: Person) -> None:
    assert people.need(admin, "curator") is admin
    assert people.need(Person(1, "root", "Root", roles=frozenset({"admin"})), "reviewer")
    with pytest.raises(NotAllowed, match="Sign in"):
        people.need(None, "reviewer")
    with pytest.raises(NotAllowed, match="reviewer or curator"):
        people.need(Person(2, "eve", "Eve"), "reviewer", "curator")


def test_somebody_an_openid_provider_vouches_for_gets_one_account(db: Database) -> None:
    first = people.from_oidc(db, subject="idp|1", name="Ada", email="ada@example.com")
    assert first.roles == {"contributor"}
    assert people.from_oidc(db, subject="idp|1", name="Ada L.", email=None) == first
    assert people.from_oidc(db, subject="idp|2", name="Ada", email="ada@example.org").name == "ada-2"
    assert people.from_oidc(db, subject="idp|3", name="李", email=None).name == "person"


def test_people_are_listed_with_their_roles_and_found_by_name(db: Database, admin: Person) -> None:
    people.create(db, "ada", display_name="Ada Lovelace", roles=("reviewer", "contributor"), is_demo=True)
    found = people.everyone(db, search="lovelace")
    assert [(p["name"], p["roles"], p["is_demo"]) for p in found] == [("ada", "contributor, reviewer", 1)]
    assert len(people.everyone(db, limit=1)) == 1
    with pytest.raises(NotFound):
        people.get(db, "nobody")
