"""The curves of one run, with the controls that say how to draw them; the address keeps what is chosen."""

import streamlit as st

from factory import run_charts
from factory.training import curves, runs

LIVE = ("queued", "running")
NAMES = ("loss", "held_out_loss", "learning_rate", "gradient_norm", "tokens_per_second", "memory_bytes", "checkpoint",
         "gpu_utilisation", "gpu_memory_bytes", *filter(None, curves.AXES.values()))  # fmt: skip
GAUGES = {
    "gradient_norm": "Gradient norm", "learning_rate": "Learning rate", "tokens_per_second": "Tokens per second",
    "memory_bytes": "Memory", "gpu_utilisation": "GPU utilisation (%)", "gpu_memory_bytes": "GPU memory, all processes",
}  # fmt: skip
SMOOTHED = ("gradient_norm", "tokens_per_second", "gpu_utilisation")
BARE = {"displayModeBar": False}


def draw(db, run) -> None:
    """The controls and the charts of a run as it is now."""
    found = curves.read(db, run["id"], NAMES)
    if not found["loss"] and not found["held_out_loss"]:
        nothing_yet(run)
        return
    smoothing, log, chosen = controls(curves.axes(found))
    axis = run_charts.axis(chosen, found, steps_total=run["steps_total"])
    marks = run_charts.happened(runs.events(db, run["id"]), found["loss"])
    figure = run_charts.loss(found, axis, smoothing=smoothing, log=log, marks=marks, keeps_best=run["recipe"].keep_best)
    st.plotly_chart(figure, key="chart-loss", config=BARE, alt="Training and held-out loss")
    columns = st.columns(2)
    for place, name in enumerate(name for name in GAUGES if found[name]):
        with columns[place % 2], st.container(gap=None):
            st.markdown(f"**{GAUGES[name]}**")
            one(run, found[name], axis, name=name, smoothing=smoothing, marks=marks)


def one(run, points, axis, *, name: str, smoothing: float, marks) -> None:
    """One small chart."""
    predicted = (run["estimate"] or {}).get("memory_bytes") if name == "memory_bytes" else None
    smoothing = smoothing if name in SMOOTHED else 0.0
    figure = run_charts.gauge(points, axis, name=name, smoothing=smoothing, predicted=predicted, marks=marks)
    st.plotly_chart(figure, key=f"chart-{name}", config=BARE, alt=GAUGES[name])


def controls(axes: list[str]) -> tuple[float, bool, str]:
    """How to draw: smoothing, whether the loss is on a log scale, and along what."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = "Moving average of the training curves, with its start corrected; the faint curve behind is every step."
        smoothing = st.slider("Smoothing", 0.0, 0.99, 0.6, 0.01, key="smoothing", bind="query-params", width=240, help=words)
        along = st.segmented_control(
            "Along", axes, default="step", key="along", bind="query-params", required=True, width="content"
        )
        log = st.toggle("Log scale", key="log", bind="query-params", width="content")
    return smoothing, log, along if along in axes else "step"


def nothing_yet(run) -> None:
    """What stands here while there is no number."""
    if run["status"] == "queued":
        st.info("It waits in the queue. The first numbers come within a minute of its start.", icon=":material/schedule:")
    elif run["status"] == "running":
        st.info(
            "The base model and the rows are being read; the first numbers come within a minute.", icon=":material/schedule:"
        )
    else:
        st.info("This run ended before its first number; the log says how far it came.", icon=":material/info:")
