"""Charts of several runs at once: their losses over each other, and their settings beside what came of them."""

import streamlit as st

from factory import charts
from factory.adapters import comparison
from factory.training import runs

POINTS = 4000  # of all curves together: what a browser draws at once


def curves(db, labels: dict[int, str], chosen: int | None) -> None:
    """The losses of a set over each other."""
    st.subheader("Losses", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        weight = st.slider("Smoothing", 0.0, 0.95, 0.6, 0.05, key="smoothing", width=260)
        training = st.toggle("Training loss", value=len(labels) <= charts.NAMED_CURVES, key="training")
        log = st.toggle("Log scale", key="log")
    names = ("loss", "held_out_loss") if training else ("held_out_loss",)
    each = max(40, POINTS // len(labels))
    read = {label: runs.metrics(db, run_id, names, points=each) for run_id, label in labels.items()}
    drawn = {label: got for label, got in read.items() if any(got.values())}
    if not drawn:
        st.info("None of these runs has numbers yet.")
        return
    st.plotly_chart(charts.overlay(drawn, smoothing=weight, log=log, highlighted=labels.get(chosen)), key="overlay")


def parallel(found, run_ids: list[int], chosen: int | None) -> None:
    """What was set differently, and what came of it, as lines through upright axes."""
    by_id = {run["run_id"]: run for run in found["runs"]}
    ended = [run_id for run_id in run_ids if by_id[run_id]["held_out_loss"] is not None and by_id[run_id]["minutes"]]
    axes = comparison.dimensions(found, ended) if len(ended) > 1 else []
    if len(axes) < 2:
        return
    st.subheader("Settings and what came of them", anchor=False)
    left_out = (
        f" {missing} without a held-out loss or an end are left out." if (missing := len(run_ids) - len(ended)) else ""
    )
    st.caption(
        "Blue runs have the lowest held-out loss. Drag along an axis to pick out the runs that pass there." + left_out
    )
    look = {"highlighted": ended.index(chosen) if chosen in ended else None, "dark": st.context.theme.type == "dark"}
    figure = charts.parallel(axes, colours=[by_id[run_id]["held_out_loss"] for run_id in ended], **look)
    # on a phone the axes would lie over each other, so there the chart keeps its width and its frame scrolls
    st.html(f"<style>.st-key-wide {{overflow-x: auto}} .st-key-wide > * {{min-width: {80 * len(axes)}px}}</style>")
    with st.container(key="wide"):
        st.plotly_chart(figure, key="parallel", theme=None)
