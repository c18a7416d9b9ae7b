"""Leaderboards: people by accepted and useful work, datasets, adapters. Every number is a query of this moment."""

import streamlit as st

from factory import charts
from factory.credit import leaderboards
from factory.intake import datasets
from pages import frame
from pages.parts import boards, ranking

RULE = (
    "Ranked by what the acceptance rate proves with 95% certainty, near-duplicates counted once: not by volume. "
    "Below ten decisions a rank is provisional and stands under the others; credits break ties."
)
PER_PAGE = 50
PERIODS = {"all time": None, "90 days": 90, "30 days": 30, "7 days": 7}


def contributors(db) -> None:
    """People with their interval, and why each stands where they stand."""
    titles = {d["id"]: d["title"] for d in datasets.everything(db)}
    left, right = st.columns([2, 1])
    chosen = left.selectbox("Dataset", [0, *titles], format_func=lambda i: titles.get(i, "All datasets"), key="dataset")
    period = right.selectbox("Active within", list(PERIODS), key="period")
    since = frame.store.now() - PERIODS[period] * 86400 if PERIODS[period] else None
    whose = {"dataset_id": chosen or None, "since": since}
    st.caption(RULE)
    total = leaderboards.how_many_contributors(db, **whose)
    if not total:
        frame.empty("Nobody has contributed here yet.", page="contribute.py", label="Be the first")
        return
    pages = -(-total // PER_PAGE)
    place = st.pagination(pages, key="people", bind="query-params") if pages > 1 else 1
    rows = leaderboards.contributors(db, **whose, limit=PER_PAGE, offset=(place - 1) * PER_PAGE)
    for row in rows:
        row["shown"] = frame.person_name({"name": row["person"], "is_demo": row["is_demo"]})
        row["not accepted"] = row["decided"] - row["accepted"]
    ranking.tables(rows)
    left, right = st.columns(2)
    left.markdown("**Acceptance rate with its 95% interval**")
    if shown := [r for r in rows if r["decided"]][:20]:
        left.plotly_chart(
            charts.intervals(shown, label="shown", value="rate", low="lower", high="upper", x="accepted of decided")
        )
    right.markdown("**Where the rows went**")
    parts = {"accepted": "accepted", "not accepted by reviewers": "not accepted", "refused by checks": "refused"}
    right.plotly_chart(charts.bars(rows[:20], label="shown", values=parts, x="rows"), key="parts")
    ranking.over_time(db, chosen or None, [r["person_id"] for r in rows])
    ranking.why(db, chosen or None, {r["person_id"]: r["shown"] for r in rows})


with frame.page("Leaderboard") as (db, person):
    shown = st.segmented_control(
        "Board", ["Contributors", "Datasets", "Adapters"], default="Contributors", key="tab", required=True,
        bind="query-params", label_visibility="collapsed",
    )  # fmt: skip
    {"Contributors": contributors, "Datasets": boards.of_datasets, "Adapters": boards.of_adapters}[shown](db)
