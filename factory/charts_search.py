"""Plotly figures of a search: its history, its slices, its trials' curves. Plain rows in, as `searches.get` gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from factory.charts import COLOURS

Trials = Sequence[Mapping[str, Any]]
LOSS = "held-out loss (nats per token)"
SCALE = [[0.0, COLOURS[2]], [0.5, COLOURS[5]], [1.0, COLOURS[1]]]  # low loss green, high loss orange


def _figure(height: int, *, x: str = "", y: str = "", **layout: Any) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=height, xaxis_title=x, yaxis_title=y, margin={"l": 10, "r": 10, "t": 30, "b": 10}, hovermode="closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, uirevision="kept",
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", **layout,
    )  # fmt: skip
    return figure


def _words(trial: Mapping[str, Any]) -> str:
    return f"trial {trial['number']}: " + ", ".join(f"{name} {value}" for name, value in trial["settings"].items())


def _reached(trial: Mapping[str, Any]) -> float | None:
    """What is known of a trial: its value, or where a trial that was given up had come to."""
    return trial["value"] if trial["value"] is not None else min(trial["curve"].values(), default=None)


def history(trials: Trials) -> go.Figure:
    """Each trial's lowest held-out loss in its order, and the best so far; trials that were given up are crosses."""
    figure = _figure(300, x="trial", y=LOSS)
    figure.update_xaxes(dtick=1 if len(trials) <= 20 else None)
    best: list[tuple[int, float]] = []
    for state, symbol, colour in (("done", "circle", COLOURS[0]), ("pruned", "x", COLOURS[1])):
        shown = [(t["number"], _reached(t), _words(t)) for t in trials if t["status"] == state and _reached(t) is not None]
        if shown:
            x, y, text = zip(*shown, strict=True)
            name, marker = {"pruned": "given up"}.get(state, state), {"symbol": symbol, "size": 10, "color": colour}
            figure.add_scatter(x=x, y=y, text=text, mode="markers", name=name, marker=marker)
    for trial in trials:
        if trial["status"] == "done":
            best.append((trial["number"], min(trial["value"], best[-1][1] if best else math.inf)))
    if best:
        x, y = zip(*best, strict=True)
        figure.add_scatter(x=x, y=y, mode="lines", name="best so far", line={"shape": "hv", "color": COLOURS[2], "width": 2})
    return figure


def curves(trials: Trials, *, places: int) -> go.Figure:
    """The held-out loss along each trial, at shares of its rows: equal shares are equal tokens. The best one stands out."""
    figure = _figure(300, x="share of the trial's rows", y=LOSS, showlegend=False)
    figure.update_xaxes(tickformat=".0%", range=[0, 1.04])
    done = [trial for trial in trials if trial["status"] == "done"]
    best = min(done, key=lambda trial: trial["value"])["number"] if done else None
    for trial in trials:
        points = sorted(trial["curve"].items())
        given_up = trial["status"] == "pruned"
        colour = COLOURS[2] if trial["number"] == best else COLOURS[1] if given_up else COLOURS[0]
        figure.add_scatter(
            x=[place / places for place, _ in points], y=[loss for _, loss in points], name=_words(trial),
            mode="lines+markers", opacity=1.0 if trial["number"] == best else 0.55,
            line={"color": colour, "width": 3 if trial["number"] == best else 1.5, "dash": "dot" if given_up else None},
        )  # fmt: skip
    return figure


def slice_of(trials: Trials, name: str, *, log: bool = False) -> go.Figure:
    """One setting against the loss, a point for each trial; trials that were given up are crosses."""
    figure = _figure(240, x=name.replace("_", " "), y="held-out loss", showlegend=False)
    shown = [trial for trial in trials if trial["status"] in ("done", "pruned") and _reached(trial) is not None]
    values = [trial["settings"][name] for trial in shown]
    words = any(isinstance(value, str | bool) for value in values)
    figure.add_scatter(
        x=[str(value) for value in values] if words else values, y=[_reached(trial) for trial in shown],
        text=[_words(trial) for trial in shown], mode="markers",
        marker={
            "size": 10, "color": [COLOURS[1] if trial["status"] == "pruned" else COLOURS[0] for trial in shown],
            "symbol": ["x" if trial["status"] == "pruned" else "circle" for trial in shown],
        },
    )  # fmt: skip
    if log and not words:
        figure.update_xaxes(type="log")
    return figure


def parallel(trials: Trials, names: Sequence[str], *, log: Sequence[str] = ()) -> go.Figure:
    """Parallel coordinates: an axis for each setting and one for the loss, a line for each trial that was done."""
    done = [trial for trial in trials if trial["status"] == "done"]
    figure = _figure(320)
    figure.update_layout(margin={"l": 60, "r": 60, "t": 60, "b": 20})
    losses = [trial["value"] for trial in done]
    axes = [_axis(name, [trial["settings"][name] for trial in done], log=name in log) for name in names]
    axes.append({"label": "held-out loss", "values": losses})
    figure.add_parcoords(dimensions=axes, line={"color": losses, "colorscale": SCALE})
    return figure


def _axis(name: str, values: Sequence[Any], *, log: bool) -> dict[str, Any]:
    label = name.replace("_", " ")
    if any(isinstance(value, str | bool) for value in values):
        there = sorted({str(value) for value in values})
        places = [there.index(str(value)) for value in values]
        return {"label": label, "values": places, "tickvals": list(range(len(there))), "ticktext": there}
    if log:
        marks = sorted({float(f"{value:.1g}") for value in values if value > 0})
        ticks = {"tickvals": [math.log10(mark) for mark in marks], "ticktext": [f"{mark:g}" for mark in marks]}
        return {"label": label, "values": [math.log10(value) for value in values], **ticks}
    return {"label": label, "values": list(values)}


def importance(shares: Mapping[str, float]) -> go.Figure:
    """How much each setting decided the loss, the most important on top."""
    ordered = sorted(shares.items(), key=lambda item: item[1])
    figure = _figure(max(140, 70 + 30 * len(ordered)), x="share of what decided the loss", showlegend=False)
    names = [name.replace("_", " ") for name, _ in ordered]
    figure.add_bar(x=[share for _, share in ordered], y=names, orientation="h", marker_color=COLOURS[0])
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    return figure
