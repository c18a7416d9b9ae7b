"""My account: who I am here, my password, my API tokens."""

import pandas as pd
import streamlit as st

from factory.base import people
from pages import frame
from pages.parts import closing

with frame.page("My account") as (db, person):
    st.write(f"**{frame.plain(person.display_name)}**, signed in as `{person.name}`")
    for role in sorted(person.roles):
        st.caption(f"**{role}**: {people.ROLES[role]}")

    st.subheader("Password", anchor=False)
    with st.form("password", clear_on_submit=True, border=True):
        first = st.text_input("New password", type="password", autocomplete="new-password")
        second = st.text_input("The same again", type="password", autocomplete="new-password")
        if st.form_submit_button("Set the password"):
            with frame.trying():
                if first != second:
                    raise frame.Invalid("The two passwords differ; type the same one twice.")
                people.set_password(db, person.id, first, by=person)
                st.success(
                    "The password is set. Other browsers were signed out, and your API tokens are void; sign in again here."
                )

    st.subheader("API tokens", anchor=False)
    st.caption("For scripts: send `Authorization: Bearer …` to /api. The routes are described at /api/docs.")
    with st.form("token", clear_on_submit=True, border=True):
        name = st.text_input("What will use it", placeholder="nightly upload", max_chars=80)
        if st.form_submit_button("Make a token"):
            with frame.trying():
                st.code(people.issue_token(db, person, name), language=None)
                st.warning("Copy it now: it is shown only this once.", icon=":material/content_copy:")
    rows = people.tokens(db, person)
    if rows:
        table = pd.DataFrame(
            {
                "id": [r["id"] for r in rows],
                "name": [r["name"] for r in rows],
                "made": [frame.moment(r["created_at"]) for r in rows],
                "last used": [frame.moment(r["last_used_at"]) for r in rows],
                "expires": [frame.moment(r["expires_at"]) for r in rows],
                "state": [people.token_state(r) for r in rows],
            }
        )
        st.dataframe(table, hide_index=True)
        valid = [r["id"] for r in rows if people.token_state(r) == "valid"]
        if valid:
            chosen = st.selectbox(
                "Revoke", valid, index=None, format_func=lambda i: next(f"{i}: {r['name']}" for r in rows if r["id"] == i)
            )
            if chosen and st.button("Revoke this token", icon=":material/block:"):
                people.revoke_token(db, person, chosen)
                frame.done("The token is void.")
                st.rerun()
    else:
        st.caption("You have no token.")

    closing.close(db, person)
