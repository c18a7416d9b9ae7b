"""The trials of one search: plots, and a table whose rows lead to their runs."""

import pandas as pd
import streamlit as st

from factory import charts_search as charts
from factory.training import proposals, searches

QUIET = {"displayModeBar": False}


def plots(search) -> None:
    """History and curves; slices, importance and parallel coordinates once trials are done."""
    trials, ranges = search["trials"], search["plan"].ranges
    left, right = st.columns(2)
    left.plotly_chart(charts.history(trials), key="history", config=QUIET)
    right.plotly_chart(charts.curves(trials, places=search["plan"].measurings + 1), key="curves", config=QUIET)
    done = [trial for trial in trials if trial["status"] == "done"]
    if len(done) < 2:
        return
    logs = [each.name for each in ranges if each.log or each.name == "learning_rate"]
    columns = st.columns(2)
    for place, each in enumerate(ranges):
        figure = charts.slice_of(trials, each.name, log=each.name in logs)
        columns[place % 2].plotly_chart(figure, key=f"slice-{each.name}", config=QUIET)
    shares = proposals.importance(ranges, searches.as_trials(search))
    if shares:
        st.plotly_chart(charts.importance(shares), key="importance", config=QUIET)
    if len(ranges) > 1:
        figure = charts.parallel(trials, [each.name for each in ranges], log=logs)
        st.plotly_chart(figure, key="parallel", config=QUIET)


def table(search) -> None:
    """The trials, the best first; one picked opens its run."""
    rows = sorted(search["trials"], key=lambda trial: (trial["value"] is None, trial["value"] or 0, trial["number"]))
    shown = [
        {"trial": t["number"], "state": {"pruned": "given up"}.get(t["status"], t["status"]), "held-out loss": t["value"],
         **{name: str(t["settings"][name]) for name in search["plan"].over}, "seconds": t["seconds"], "why": t["words"]}
        for t in rows
    ]  # fmt: skip
    numbers = {"held-out loss": st.column_config.NumberColumn(format="%.4f"),
               "seconds": st.column_config.NumberColumn(format="%.0f")}  # fmt: skip
    st.caption("Pick a trial to open its run.")
    picked = st.dataframe(
        pd.DataFrame(shown),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        column_config=numbers,
        key="all",
    )
    for place in picked.selection.rows[:1]:
        link = {"run": str(rows[place]["run_id"])}
        st.page_link("runs.py", label=f"The run of trial {rows[place]['number']}", query_params=link)
