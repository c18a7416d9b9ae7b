"""The map of a dataset: how far it is drawn, and the picture, in which a click opens a row and its topic."""

import streamlit as st

from factory import charts_map
from factory.credit import needs
from factory.intake import mapping, maps
from pages import frame

DOING = {"beginning": "Beginning", "reading": "Reading rows", "grouping": "Finding topics", "drawing": "Placing the points"}


def drawing(board, dataset, person) -> None:
    """What map there is, and the way to a newer one; it is drawn in a process of its own."""
    if board["map"] is None and board["due"] is None:
        frame.empty("Nothing is frozen yet. The map shows a frozen version: what its rows are about, and what is missing.",
                    page="contribute.py", label="Contribute the first rows")  # fmt: skip
        return
    if board["map"] is not None:
        drawn = board["map"]
        part = f", of which {drawn['point_count']:,} are drawn: each had the same chance" * (
            drawn["point_count"] < drawn["row_count"]
        )
        rows = frame.count(drawn["row_count"], "row")
        st.caption(f"Version {drawn['version']}: {rows}{part}. Points near each other are about similar things.")
    if board["due"] is not None:
        making(dataset["id"], board["due"], person)


@st.fragment(run_every=1)
def making(dataset_id, due, person) -> None:
    """How far the map is; it stands still until somebody asks for it, or a worker comes by."""
    with frame.store.connect(frame.settings()) as db, frame.trying():
        now = mapping.look(db, frame.settings(), dataset_id)
        if now.state == "ready":
            st.rerun()
        if now.state == "running":
            left = mapping.seconds_left(now)
            share = now.done / now.of if now.of else 0.0
            words = f"{DOING.get(now.words, 'Working')}" + (f": {now.done:,} of {now.of:,}" if now.of else "")
            st.progress(min(1.0, share), words + (f", about {frame.lasting(left)} to go" if left else ""))
            if st.button("Stop", key="map-stop"):
                mapping.stop(frame.settings(), dataset_id, person=person)
            return
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            failed = f"Drawing failed: {frame.plain(now.words)} " if now.state == "failed" else ""
            st.write(f"{failed}Version {due['number']} ({frame.count(due['row_count'], 'row')}) has no map yet.")
            if st.button("Draw it", type="primary", icon=":material/map:", key="map-draw"):
                mapping.begin(db, frame.settings(), dataset_id, person=person)
                st.rerun()


def picture(db, board, chosen) -> None:
    """The map; a click on a point opens its row and its topic."""
    points = maps.points(db, board["map"]["id"])
    picked = st.plotly_chart(
        charts_map.rows_map(points, board["topics"], chosen=chosen), key=f"map-{board['map']['id']}", on_select="rerun",
        selection_mode="points", config={"displayModeBar": False, "scrollZoom": True},
    )  # fmt: skip
    clicked = [tuple(point["customdata"]) for point in picked.selection.points if "customdata" in point]
    if clicked and clicked[0] != st.session_state.get("map-clicked"):
        st.session_state["map-clicked"] = clicked[0]
        st.session_state["row-chosen"], st.session_state["topic-chosen"] = int(clicked[0][0]), int(clicked[0][1])
        st.rerun()


def most_needed(db, dataset_id=None) -> None:
    """The neediest topics, of one dataset or of all, each a link to its board; nothing where nothing is needed."""
    found = needs.most_needed(db, dataset_id=dataset_id)
    if not found:
        return
    st.markdown("**What is needed now**")
    for topic in found:
        link = {"dataset": topic["slug"], "part": "Needed", "topic": str(topic["number"])}
        where = "" if dataset_id else f"{topic['title']}: "
        with st.container(gap=None):  # a link is cut off at the width of a telephone, a sentence is not
            st.page_link("datasets.py", label=frame.plain(topic["name"]), icon=":material/explore:", query_params=link)
            st.caption(frame.plain(where + topic["why"]))
