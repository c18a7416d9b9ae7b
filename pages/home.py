"""What waits for me, then the workshop at a glance."""

import streamlit as st

from factory import charts
from factory.credit import leaderboards, ledger
from factory.intake import contributions, datasets, reports, reviews
from factory.training import runs
from pages import frame
from pages.parts import dataset_map

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
        st.write("Welcome. Where to begin:")
        doors = [
            (person.may("builder") and newest, "Try a training", "train.py", "To the training wizard", "tune",
             "Accepted examples are ready. Pick them, press start, and watch a small model learn."),
            (person.may("contributor") and boards, "Contribute", "contribute.py", "To the contribution page", "add_notes",
             "Offer examples from a form or a file. You see what the checks say before anything counts."),
            (person.may("curator"), "Open a dataset", "datasets.py", "To the datasets", "dataset",
             "Say what it is for, under which licence, and what a good example looks like."),
            (True, "Look around", "leaderboard.py", "To the leaderboard", "leaderboard",
             "See whose work is accepted, which adapters gained from it, and who was paid."),
        ]  # fmt: skip
        open_to_me = [door for door in doors if door[0]][:3]
        for column, (_, words, page, label, icon, about) in zip(st.columns(len(open_to_me)), open_to_me, strict=True):
            with column.container(border=True):
                st.subheader(words, anchor=False)
                st.write(about)
                st.page_link(page, label=label, icon=f":material/{icon}:")

    st.subheader("For you", anchor=False)
    tiles = [
        ("Returned to you", mine.get("returned", 0), "Mend them on the contribution page."),
        *([("Waiting for your review", waiting, None)] if person.may("reviewer") else []),
        ("Runs under way", len(running), None),
        ("Your credits", f"{frame.credits(ledger.balance(db, ledger.account(person.id))):,.1f}", None),
    ]
    for column, (label, value, help) in zip(st.columns(len(tiles)), tiles, strict=True):
        column.metric(label, value, border=True, help=help)
    links = st.container(horizontal=True)
    if mine.get("returned"):
        links.page_link("contribute.py", label="Mend what was returned", icon=":material/edit:")
    if waiting:
        links.page_link("review.py", label=f"Review {frame.count(waiting, 'example')}", icon=":material/rate_review:")
    if asked := reports.waiting(db, by=person):
        words = f"Reports and appeals: {asked}"
        links.page_link("sanctions.py", label=words, icon=":material/balance:", query_params={"show": "Queue"})
    for run in running:
        links.page_link(
            "runs.py",
            label=f"Watch {frame.plain(run['name'])}",
            icon=":material/monitoring:",
            query_params={"run": str(run["id"])},
        )

    dataset_map.most_needed(db)

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
                "datasets.py", label=f"{frame.count(len(boards), 'dataset')}, {frame.count(versions, 'frozen version')}",
                icon=":material/dataset:",
            )  # fmt: skip
            gained, paid = f"{frame.count(adapters, 'adapter')} measured on held-out rows", sum(d["credits"] for d in boards)
            st.page_link("adapters.py", label=gained, icon=":material/extension:")
            st.page_link("credits.py", label=f"{paid:,.1f} credits paid to contributors", icon=":material/paid:")
            st.page_link("leaderboard.py", label="Whose work is accepted and useful", icon=":material/leaderboard:")
