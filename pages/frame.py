"""What every page shares: who is here, an open store, one place where refusals are shown, and a few small pieces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import FactoryError, Invalid, NotAllowed
from factory.base.people import Person
from factory.base.settings import load as settings
from factory.intake import formats
from factory.sign_in import COOKIE
from pages.words import ago, count, credits, is_id, lasting, moment, person_name, plain, short, version_name

__all__ = [
    "Invalid", "ago", "conversation", "count", "credits", "done", "empty", "formats", "is_id", "lasting", "moment",
    "page", "people", "person_name", "plain", "refuse", "say_what_was_done", "settings", "short", "state", "store",
    "trying", "version_name", "visitor", "within",
]  # fmt: skip
STATE_COLOURS = {
    "accepted": "green", "done": "green", "running": "blue", "queued": "gray", "waiting": "gray", "returned": "orange",
    "paused": "orange", "stopped": "orange", "interrupted": "orange", "rejected": "red", "refused": "red", "failed": "red",
    "withdrawn": "gray", "cancelled": "gray",
}  # fmt: skip


def visitor(db: Database) -> Person | None:
    """Who is signed in: by cookie, or through the OpenID provider when one is configured."""
    cookie = st.session_state.get(COOKIE) or st.context.cookies.get(COOKIE)
    person = people.from_session(db, settings(), cookie)
    if person is None and getattr(st.user, "is_logged_in", False):
        user = st.user.to_dict()
        person = people.from_oidc(
            db, subject=f"{user.get('iss', '')} {user['sub']}", name=user.get("name", ""), email=user.get("email")
        )
    return person


@contextmanager
def page(title: str, *roles: str, about: str = "") -> Iterator[tuple[Database, Person]]:
    """Open the store and the page for somebody who is signed in and holds one of `roles`.

    A FactoryError anywhere inside becomes its sentence on the page; any other exception is a bug and rises.
    """
    with store.connect(settings()) as db:
        st.title(title, anchor=False)
        with trying(stop=True):
            person = people.need(visitor(db), *roles)
        if about:
            st.caption(about)
        with trying():
            yield db, person


@contextmanager
def trying(*, stop: bool = False) -> Iterator[None]:
    """Show a refusal where it happened and let the rest of the page go on, or `stop` it there."""
    try:
        yield
    except FactoryError as problem:
        refuse(problem)
        if stop:
            st.stop()


def refuse(problem: FactoryError) -> None:
    """Show what is wrong, all of it, and what to do."""
    icon = ":material/lock:" if isinstance(problem, NotAllowed) else ":material/error:"
    if isinstance(problem, Invalid) and len(problem.problems) > 1:
        st.error("\n".join(f"- {plain(sentence)}" for sentence in problem.problems), icon=icon)
    else:
        st.error(plain(str(problem)), icon=icon)


def done(sentence: str) -> None:
    """Say that something worked, also when the page is drawn anew right after."""
    st.session_state["said"] = sentence


def say_what_was_done() -> None:
    """The sentence left by `done`, once."""
    if sentence := st.session_state.pop("said", None):
        st.toast(sentence, icon=":material/check_circle:")
    if sentence := st.session_state.pop("refused", None):
        st.error(plain(sentence), icon=":material/error:")


def conversation(messages: list[dict[str, str]]) -> None:
    """An example as a conversation; its words are shown as text, never as HTML or Markdown."""
    for message in messages:
        icon = {"user": ":material/person:", "assistant": ":material/smart_toy:"}.get(message["role"], ":material/settings:")
        with st.chat_message(message["role"], avatar=icon):
            st.text(message["content"])


def state(name: str) -> None:
    """A coloured badge for the state of an example or a run."""
    st.badge(name, color=STATE_COLOURS.get(name, "gray"))


def within(label: str, page: str, *, key: str, icon: str | None = None, **query: str) -> None:
    """A link to another state of the page one is on: `st.page_link` would leave the address as it was."""
    if st.button(label, key=key, icon=icon, type="tertiary"):
        st.switch_page(page, query_params=query)


def empty(sentence: str, *, page: str | None = None, label: str = "") -> None:
    """What a list shows when there is nothing in it: what to do about that."""
    with st.container(border=True):
        st.write(sentence)
        if page:
            st.page_link(page, label=label, icon=":material/arrow_forward:")
