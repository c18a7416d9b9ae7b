"""People and roles, base models on disk, storage and health."""

import shutil

import pandas as pd
import streamlit as st

from factory.base import people
from factory.intake import sanctions
from factory.training import models, worker
from pages import frame


def people_tab(db, person) -> None:
    """Everybody, with roles that can be changed, and a form for somebody new."""
    search = st.text_input("Find somebody", key="search", bind="query-params", type="search")
    rows = people.everyone(db, search=search, limit=1000)
    st.dataframe(
        pd.DataFrame(
            {
                "id": [r["id"] for r in rows],
                "name": [r["name"] for r in rows],
                "shown as": [frame.person_name(r) for r in rows],
                "roles": [r["roles"] or "" for r in rows],
                "since": [frame.moment(r["created_at"]) for r in rows],
                "closed": [bool(r["disabled_at"]) for r in rows],
            }
        ),
        hide_index=True,
        height=min(420, 60 + 35 * max(1, len(rows))),
    )
    holding = sanctions.count(db, state="active")
    words = f"Sanctions: {holding} hold now; reports and appeals wait there" if holding else "Sanctions, reports and appeals"
    st.page_link("sanctions.py", label=words, icon=":material/balance:", query_params={"show": "Queue"})
    left, right = st.columns(2)
    with left.form("roles"):
        st.markdown("**Change roles**")
        chosen = st.selectbox("Who", [r["name"] for r in rows if not r["disabled_at"]], index=None)
        roles = st.multiselect("Exactly these roles", list(people.ROLES), format_func=lambda r: f"{r}: {people.ROLES[r]}")
        if st.form_submit_button("Set the roles") and chosen:
            with frame.trying():
                people.set_roles(db, chosen, tuple(roles), by=person)
                frame.done(f"{chosen} now has: {', '.join(roles) or 'no role'}.")
                st.rerun()
    with right.form("new", clear_on_submit=True):
        st.markdown("**Open an account**")
        name = st.text_input("Name")
        shown = st.text_input("Shown as")
        password = st.text_input("First password", type="password", autocomplete="new-password")
        given = st.multiselect("Roles", list(people.ROLES), default=["contributor"])
        if st.form_submit_button("Open the account"):
            with frame.trying():
                people.create(db, name, display_name=shown, password=password, roles=tuple(given), by=person)
                frame.done(f"The account {name} is open.")
                st.rerun()


def machine_tab(settings) -> None:
    """What is on disk and whether the worker lives."""
    rows = models.list_models(settings)
    usage = shutil.disk_usage(settings.home)
    columns = st.columns(3)
    columns[0].metric("Free disk", f"{usage.free / 2**30:,.1f} GiB", border=True)
    columns[1].metric("Database", f"{settings.database.stat().st_size / 2**20:,.1f} MiB", border=True)
    columns[2].metric("Worker", "working" if worker.alive(settings) else "not running", border=True)
    st.subheader("Base models on this machine", anchor=False)
    if rows:
        st.dataframe(
            pd.DataFrame(
                {
                    "name": [r["name"] for r in rows],
                    "parameters": [r["parameters"] for r in rows],
                    "MiB": [round(r["bytes"] / 2**20) for r in rows],
                    "licence": [r["licence"] for r in rows],
                    "from": [r["source"] for r in rows],
                }
            ),
            hide_index=True,
        )
    st.caption("Fetch another one from a terminal: `.venv/bin/python -m factory models fetch NAME-OR-FOLDER`.")


with frame.page("Admin", "admin") as (db, person):
    shown = st.segmented_control("Part", ["People", "Machine"], default="People", key="part", required=True,
                                 bind="query-params",
                                 label_visibility="collapsed")  # fmt: skip
    if shown == "People":
        people_tab(db, person)
    else:
        machine_tab(frame.settings())
