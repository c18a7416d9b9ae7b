"""Charts of several runs at once: their losses over each other, and their settings beside what came of them."""

import streamlit as st

from factory import charts, run_charts
from factory.adapters import comparison
from factory.training import curves
from pages.parts.curves import controls

RULERS = tuple(filter(None, curves.AXES.values()))
POINTS = 4000  # of all curves together: what a browser draws at once


def losses(db, labels: dict[int, str], chosen: int | None) -> None:
    """The losses of a set over each other, along what all of them wrote down."""
    st.subheader("Losses", anchor=False)
    training = st.toggle("Training loss too", value=len(labels) <= charts.NAMED_CURVES, key="training", bind="query-params")
    names = ("loss", "held_out_loss") if training else ("held_out_loss",)
    each = max(40, POINTS // len(labels))
    read = {label: curves.read(db, run_id, (*names, *RULERS), points=each) for run_id, label in labels.items()}
    read = {label: found for label, found in read.items() if any(found[name] for name in names)}
    if not read:
        st.info("None of these runs has numbers yet.")
        return
    shared = [axis for axis in curves.AXES if all(axis in curves.axes(found) for found in read.values())]
    weight, log, axis = controls(shared)
    unit = 60 if axis == "time" else 1
    drawn = {}
    for label, found in read.items():
        ruler = found[curves.AXES[axis]] if curves.AXES[axis] else ()
        drawn[label] = {name: [(x / unit, y) for x, y in curves.along(found[name], ruler)] for name in names}
    title = run_charts.TITLES[axis] + (" (minutes)" if axis == "time" else "")
    figure = charts.overlay(drawn, x=title, smoothing=weight, log=log, highlighted=labels.get(chosen))
    st.plotly_chart(figure, key="overlay")


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
