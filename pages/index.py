"""The menu. Every visit passes here first: nobody gets further without signing in."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from factory.base import store  # noqa: E402
from pages import frame  # noqa: E402
from pages.parts import notices  # noqa: E402

st.set_page_config(page_title="Model Factory", page_icon=":material/factory:", layout="wide")

MENU = {
    "Work": [("home", "Home", "home"), ("datasets", "Datasets", "dataset"), ("contribute", "Contribute", "add_notes"),
             ("review", "Review", "rate_review")],
    "Build": [("train", "Train", "tune"), ("search", "Search", "manage_search"),
              ("runs", "Runs", "monitoring"), ("adapters", "Adapters", "extension")],
    "Worth": [("leaderboard", "Leaderboard", "leaderboard"), ("credits", "Credits", "paid")],
    "House": [("account", "My account", "account_circle"), ("sanctions", "Sanctions", "balance"),
              ("reviewers", "Reviewers", "grading"),
              ("admin", "Admin", "admin_panel_settings")],
}  # fmt: skip
NEEDS = {"review": ("reviewer",), "reviewers": ("curator",), "admin": ("admin",)}


def sign_in_page() -> None:
    """What somebody sees who is not signed in."""
    st.title("Sign in to go on", anchor=False)
    st.link_button("Sign in with a name and a password", "/sign-in", type="primary", icon=":material/login:")
    if hasattr(st.user, "is_logged_in"):
        st.button("Sign in with your organisation", on_click=st.login, icon=":material/domain:")


with store.connect(frame.settings()) as db, frame.trying(stop=True):
    person = frame.visitor(db)
    told = notices.of(db, person) if person else []

if person is None:
    st.navigation([st.Page(sign_in_page, title="Sign in", icon=":material/login:")], position="hidden").run()
else:
    pages = {
        section: [
            st.Page(f"{name}.py", title=title, icon=f":material/{icon}:", default=name == "home")
            for name, title, icon in entries
            if name not in NEEDS or person.may(*NEEDS[name])
        ]
        for section, entries in MENU.items()
    }
    here = st.navigation(pages, expanded=True)
    with st.sidebar:
        st.caption(f"Signed in as **{frame.plain(person.display_name)}**")
        if getattr(st.user, "is_logged_in", False):
            st.button("Sign out of your organisation", on_click=st.logout, type="tertiary")
        # A link button would open a new tab and leave this one as it is.
        st.html('<a href="/sign-out" target="_self" style="color: inherit; font-size: 0.9rem">Sign out</a>')
    frame.say_what_was_done()
    notices.show(told, here.url_path)
    here.run()
