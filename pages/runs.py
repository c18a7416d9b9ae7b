"""Runs: the queue and the table, one run by its URL, several side by side."""

import math

import pandas as pd
import streamlit as st

from factory.training import curves, runs
from pages import frame
from pages.parts import compare, queue
from pages.parts import run as parts

PER_PAGE = 50


def everything(db, person) -> None:
    """All runs; one picked opens, several picked are compared."""
    queue.under_way(person)
    pages = math.ceil(runs.how_many(db) / PER_PAGE)
    if not pages:
        frame.empty("No run yet.", page="train.py", label="Start one")
        return
    place = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    rows = runs.listing(db, limit=PER_PAGE, offset=(place - 1) * PER_PAGE)
    lines = curves.small(db, [r["id"] for r in rows])
    table = pd.DataFrame(
        {
            "run": [r["name"] for r in rows],
            "state": [r["status"] for r in rows],
            "done": [r["steps_done"] / r["steps_total"] if r["steps_total"] else 0.0 for r in rows],
            "loss": [lines[r["id"]] for r in rows],
            "held-out loss": [r["held_out_loss"] for r in rows],
            "data": [f"{r['dataset_title']} v{r['version_number']}" for r in rows],
            "method": [f"{r['recipe'].method} r{r['recipe'].rank}" for r in rows],
            "queued": [frame.moment(r["queued_at"]) for r in rows],
        }
    )
    config = {
        "done": st.column_config.ProgressColumn(min_value=0, max_value=1, format="percent"),
        "loss": st.column_config.LineChartColumn(width="small", help="Training loss over the steps made so far."),
        "held-out loss": st.column_config.NumberColumn(format="%.3f"),
    }
    st.caption("Pick one run to open it; pick several to compare them.")
    picked = st.dataframe(
        table, hide_index=True, on_select="rerun", selection_mode="multi-row", column_config=config, key="all"
    )
    chosen = [rows[place] for place in picked.selection.rows]
    if len(chosen) == 1:
        words = f"Open **{frame.plain(chosen[0]['name'])}**"
        frame.within(words, "runs.py", key="open", icon=":material/open_in_new:", run=str(chosen[0]["id"]))
    if len(chosen) > 1:
        ids, words = ",".join(str(r["id"]) for r in chosen), f"Compare these {len(chosen)} runs"
        frame.within(words, "runs.py", key="compare", icon=":material/compare_arrows:", compare=ids)


with frame.page("Runs") as (db, person):
    wanted = st.query_params.get("run", "")
    if frame.is_id(wanted):
        parts.whole(db, person, int(wanted))
    elif several := st.query_params.get("compare", ""):
        compare.several(db, several)
    else:
        everything(db, person)
