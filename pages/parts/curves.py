"""The curves of one run."""

import streamlit as st

from factory import charts
from factory.training import runs

CURVES = ("loss", "held_out_loss", "learning_rate", "gradient_norm", "tokens_per_second", "memory_bytes")


def draw(db, run) -> None:
    """Curves of one run as they are now."""
    got = runs.metrics(db, run["id"], names=CURVES)
    if not got.get("loss") and not got.get("held_out_loss"):
        st.info(
            "The first numbers come within a minute of the start."
            if run["status"] in ("queued", "running")
            else "This run has no numbers."
        )
        return
    weight, log = st.session_state.get("smoothing", 0.6), st.session_state.get("log", False)
    st.plotly_chart(charts.loss({run["name"]: got}, smoothing=weight, log=log, steps=run["steps_total"]), key="loss")
    memory = [(step, value / 2**30) for step, value in got.get("memory_bytes", [])]
    small = [
        ("learning rate", got.get("learning_rate", []), True), ("gradient norm", got.get("gradient_norm", []), False),
        ("tokens per second", got.get("tokens_per_second", []), False), ("memory (GiB)", memory, True),
    ]  # fmt: skip
    columns = st.columns(2)
    for place, (words, points, area) in enumerate(small):
        columns[place % 2].plotly_chart(
            charts.series({words: points}, y=words, area=area, steps=run["steps_total"]), key=f"chart-{place}"
        )
