"""What waits for me, then the workshop at a glance."""

import streamlit as st

from factory import charts
from factory.credit import leaderboards, ledger
from factory.intake import contributions, datasets, reviews
from factory.training import runs
from pages import frame

with frame.page("Home") as (db, person):
    boards = leaderboards.datasets(db)
    mine = contributions.counts(db, person)
    waiting = sum(d["waiting"] for d in reviews.waiting_anywhere(db, reviewer=person)) if person.may("reviewer") else 0
    running = runs.listing(db, status="running", limit=5)
    newest = {version["dataset_id"]: version["row_count"] for version in reversed(datasets.versions(db))}
    stages = {
        "contributed": sum(d["submitted"] for d in boards),
        "accepted": sum(d["accepted"] for d in boards),
        "frozen": sum(newest.values()),
    }

    if not mine and not runs.listing(db, limit=1):
        st.write("Welcome. Three ways to begin:")
        doors = st.columns(3)
        with doors[0].container(border=True):
            st.subheader("Try a training", anchor=False)
            st.write("Accepted examples are ready. Pick them, press start, and watch a small model learn.")
            st.page_link("train.py", label="To the training wizard", icon=":material/tune:")
        with doors[1].container(border=True):
            st.subheader("Contribute", anchor=False)
            st.write("Offer examples from a form or a file. You see what the checks say before anything counts.")
            st.page_link("contribute.py", label="To the contribution page", icon=":material/add_notes:")
        with doors[2].container(border=True):
            st.subheader("Open a dataset", anchor=False)
            st.write("Say what it is for, under which licence, and what a good example looks like.")
            st.page_link("datasets.py", label="To the datasets", icon=":material/dataset:")

    st.subheader("For you", anchor=False)
    columns = st.columns(4)
    columns[0].metric("Returned to you", mine.get("returned", 0), border=True, help="Mend them on the contribution page.")
    columns[1].metric("Waiting for your review", waiting, border=True)
    columns[2].metric("Runs under way", len(running), border=True)
    columns[3].metric("Your credits", f"{frame.credits(ledger.balance(db, ledger.account(person.id))):,.1f}", border=True)
    links = st.container(horizontal=True)
    if mine.get("returned"):
        links.page_link("contribute.py", label="Mend what was returned", icon=":material/edit:")
    if waiting:
        links.page_link("review.py", label=f"Review {frame.count(waiting, 'example')}", icon=":material/rate_review:")
    for run in running:
        links.page_link(
            "runs.py", label=f"Watch {run['name']}", icon=":material/monitoring:", query_params={"run": str(run["id"])}
        )

    st.subheader("The workshop", anchor=False)
    if not stages["contributed"]:
        frame.empty("Nothing has been contributed yet.", page="contribute.py", label="Offer the first example")
    else:
        left, right = st.columns([3, 2])
        left.plotly_chart(charts.flow(stages), key="flow", config={"displayModeBar": False})
        with right:
            versions = sum(d["versions"] for d in boards)
            adapters = sum(d["adapters"] for d in boards)
            st.page_link(
                "datasets.py", label=f"{frame.count(len(boards), 'dataset')}, {frame.count(versions, 'frozen version')}"
            )
            st.page_link("adapters.py", label=f"{frame.count(adapters, 'adapter')} measured on held-out rows")
            st.page_link("credits.py", label=f"{sum(d['credits'] for d in boards):,.1f} credits paid to contributors")
            st.page_link("leaderboard.py", label="Whose work is accepted and useful")
