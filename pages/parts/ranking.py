"""The board of contributors: those who are proven, those who are not yet, and one person's rank in numbers."""

from collections import defaultdict

import pandas as pd
import streamlit as st

from factory import charts
from factory.credit import leaderboards, ranks
from pages import frame
from pages.parts import boards, choice

KEYS = {"rank": "rank", "shown": "contributor", "lower": "standing", "upper": "at most", "accepted": "accepted",
        "decided": "decided", "refused": "refused by checks", "credits": "credits"}  # fmt: skip
MOVING = 8  # lines that can still be told apart


def config() -> dict:
    """How the board's columns are shown."""
    number = st.column_config.NumberColumn
    return {
        "rank": number(width="small"),
        "contributor": st.column_config.TextColumn(width="medium"),
        "standing": st.column_config.ProgressColumn(
            min_value=0, max_value=1, format="%.3f", help="The rate that is proven: the lower end of its 95% interval."
        ),
        "at most": number(format="%.3f", help="The upper end of the same interval."),
        "decided": number(help="Clusters: rows that nearly repeat each other count once."),
        "credits": number(format="%.2f", help="They break ties and never buy a rank."),
    }


def tables(rows: list[dict]) -> None:
    """Who is ranked, and below who has fewer than ten decisions."""
    table = pd.DataFrame(rows)[[*KEYS, "provisional"]].rename(columns=KEYS)
    proven, early = table[table["provisional"] == 0], table[table["provisional"] == 1]
    if len(proven):
        st.dataframe(proven.drop(columns="provisional"), hide_index=True, column_config=config())
    if len(early):
        st.markdown("**Provisional: fewer than ten decisions**")
        st.dataframe(early.drop(columns="provisional"), hide_index=True, column_config=config())
    boards.download(table.replace({"provisional": {1: "yes", 0: ""}}), "contributors")


def over_time(db, dataset_id: int | None, ids: list[int]) -> None:
    """How these people's ranks among each other moved, once there is more than one day to show."""
    moved = defaultdict(list)
    for point in leaderboards.rank_over_time(db, dataset_id, among=ids[:MOVING]):
        moved[f"{point['person']} ({point['person_id']})"].append((frame.moment(point["at"]), point["rank"]))
    if any(len(points) > 1 for points in moved.values()):
        st.markdown("**Rank over time, among those at the top of this page**")
        st.plotly_chart(charts.bump(moved), key="bump")


def why(db, dataset_id: int | None, names: dict[int, str]) -> None:
    """One person's rank: sentences, the decisions by age with their weights, who stands beside."""
    who = int(choice.picked("Why this rank", [str(i) for i in names], key="why", format_func=lambda i: names[int(i)]))
    told = ranks.explained(db, who, dataset_id=dataset_id)
    for sentence in told["sentences"]:
        st.markdown(f"- {frame.plain(sentence)}")
    if not told["ages"]:
        return
    st.markdown("**Decisions by age, and what they weigh**")
    keys = {"age": "decided", "accepted": "accepted", "not_accepted": "not accepted", "each": "weight of each",
            "weight": "weight"}  # fmt: skip
    shown = {name: st.column_config.NumberColumn(format="%.2f") for name in ("weight of each", "weight")}
    st.dataframe(pd.DataFrame(told["ages"])[list(keys)].rename(columns=keys), hide_index=True, column_config=shown)
    for sentence in told["arithmetic"]:
        st.caption(frame.plain(sentence))
    st.markdown("**The next above and below**")
    beside = [
        {**one, "shown": frame.person_name({"name": one["person"], "is_demo": one["is_demo"]})} for one in told["beside"]
    ]
    columns = [key for key in KEYS if key in beside[0]]
    st.dataframe(pd.DataFrame(beside)[columns].rename(columns=KEYS), hide_index=True, column_config=config())
