"""Sanctions: the public log, what is about me, a report, and the moderators' queue."""

import pandas as pd
import streamlit as st

from factory.intake import sanctions
from pages import frame
from pages.parts import conduct, moderating

PER_PAGE = 50
ABOUT = (
    "What was decided about people here, by whom, why and until when, for everybody to read. Each ends by itself, and can "
    "be appealed once to somebody else; an appeal that nobody answers in seven days lifts it."
)


def public(db, person) -> None:
    """Every sanction, newest first; a chosen one in full."""
    states = ["all", *sanctions.STATES]
    names = {"all": "Every one", **{state: words[0].upper() + words[1:] for state, words in sanctions.STATES.items()}}
    state = st.selectbox("Which", states, format_func=names.get, key="state")
    only = None if state == "all" else state
    total = sanctions.count(db, state=only)
    number = st.pagination(-(-total // PER_PAGE), key="page") if total > PER_PAGE else 1
    found = sanctions.log(db, state=only, limit=PER_PAGE, offset=(number - 1) * PER_PAGE)
    if not found:
        frame.empty("No sanction stands here. If something should be looked at, report it.")
        return
    table = pd.DataFrame(
        {
            "no": [s["id"] for s in found],
            "who": [frame.person_name({"name": s["person"], "is_demo": s["is_demo"]}) for s in found],
            "what": [s["title"] for s in found],
            "now": [s["outcome"] for s in found],
            "until": [frame.moment(s["ends_at"]) for s in found],
            "why": [s["why"] for s in found],
            "from": [frame.moment(s["starts_at"]) for s in found],
            "decided by": [s["by_name"] for s in found],
        }
    )
    days = st.column_config.DateColumn(format="iso8601")
    chosen = st.dataframe(
        table, hide_index=True, on_select="rerun", selection_mode="single-row", key=f"log-{state}-{number}",
        column_config={"from": days, "until": days},
    )  # fmt: skip
    picked = [place for place in chosen.selection.rows if place < len(found)]
    st.caption("Choose a row to read it in full." if not picked else "")
    for place in picked:
        conduct.one(db, person, found[place])


with frame.page("Sanctions", about=ABOUT) as (db, person):
    moderates = person.may(*sanctions.MODERATORS)
    names = ["Public log", "About me", "Report", *(["Queue"] if moderates else [])]
    part = st.segmented_control("Part", names, default="Public log", key="show", required=True, bind="query-params",
                                label_visibility="collapsed")  # fmt: skip
    if part == "About me":
        conduct.about_me(db, person)
    elif part == "Report":
        conduct.report(db, person)
    elif part == "Queue" and moderates:
        moderating.waiting(db, person)
        moderating.appealed(db, person)
        moderating.deciding(db, person)
    else:
        public(db, person)
