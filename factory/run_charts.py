"""Plotly figures of one run as it learns: losses and gauges over steps, epochs, tokens or time, and what happened."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from factory.charts import COLOURS, smoothed
from factory.training import curves
from factory.training.curves import Point

TITLES = {"step": "optimizer step", "epoch": "epoch", "tokens": "tokens seen", "time": "training time"}
MARKS = {"paused": "paused", "interrupted": "interrupted", "failed": "failed", "stopped": "stopped", "started": "resumed",
         "killed": "killed", "retried": "tried again"}  # fmt: skip
GREY = "rgba(128, 128, 128, 0.8)"
UNITS = {"memory_bytes": (2**30, "GiB"), "gpu_memory_bytes": (2**30, "GiB")}


@dataclass(frozen=True)
class Axis:
    """Along what a run is drawn: its title, the curve that places the steps (empty: the steps themselves), where it ends."""

    title: str
    ruler: Sequence[Point] = ()
    end: float | None = None
    scale: float = 1.0  # what the ruler's numbers are divided by

    def of(self, points: Sequence[Point]) -> list[tuple[float, float]]:
        """Points on this axis."""
        return [(x / self.scale, y) for x, y in curves.along(points, self.ruler)]

    def at(self, step: float) -> float:
        """Where a step lies on this axis."""
        return curves.place(step, self.ruler) / self.scale


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step: a word for the axis, and what it means on hover."""

    step: int
    word: str
    about: str = ""


def axis(name: str, found: Mapping[str, Sequence[Point]], *, steps_total: int | None) -> Axis:
    """The axis that `curves.AXES` calls so, as far as these curves can place it; it reaches to the run's planned end."""
    ruler = found.get(curves.AXES[name], ()) if curves.AXES[name] else ()
    if not ruler:
        return Axis(TITLES["step"], (), float(steps_total) if steps_total else None)
    end = curves.place(steps_total, ruler) if steps_total else None
    longest = max(end or 0.0, ruler[-1][1])
    unit, scale = ("", 1.0)
    if name == "time":
        unit, scale = (
            (" (hours)", 3600.0) if longest > 3 * 3600 else (" (minutes)", 60.0) if longest > 180 else (" (seconds)", 1.0)
        )
    return Axis(TITLES[name] + unit, ruler, end / scale if end else None, scale)


def happened(events: Sequence[Mapping[str, Any]], loss: Sequence[Point]) -> list[Mark]:
    """The marks of what happened to a run: pauses, stops, breaks, and each start after the first."""
    marks, starts = [], 0
    for event in events:
        starts += event["kind"] == "started"
        if event["kind"] in MARKS and (event["kind"] != "started" or starts > 1):
            marks.append(Mark(curves.step_at(event["at"], loss), MARKS[event["kind"]], str(event["words"])))
    return marks


def loss(
    found: Mapping[str, Sequence[Point]], along: Axis, *, smoothing: float = 0.0, log: bool = False,
    marks: Sequence[Mark] = (), keeps_best: bool = True,
) -> go.Figure:  # fmt: skip
    """Training and held-out loss of a run: the raw curve faint behind its moving average, the best measuring starred.

    `found`: "loss", "held_out_loss" and "checkpoint" as `curves.read` gives them. What will be kept is said in the legend.
    """
    figure = _figure(along, "loss (nats per token)", height=360)
    train, held_out = along.of(found.get("loss", ())), along.of(found.get("held_out_loss", ()))
    if smoothing and len(train) > 2:
        _line(figure, train, "each step", COLOURS[0], opacity=0.25, width=1, hoverinfo="skip", showlegend=False)
    _line(figure, smoothed(train, smoothing), "training, smoothed" if smoothing else "training", COLOURS[0])
    _line(figure, held_out, "held-out", COLOURS[1], mode="lines+markers", dash="dot")
    if held_out:
        step, (x, best) = min(
            zip((point[0] for point in found["held_out_loss"]), held_out, strict=True), key=lambda pair: pair[1][1]
        )
        kept = "best, kept" if keeps_best else "best"
        figure.add_scatter(
            x=[x], y=[best], mode="markers", name=f"{kept}: {best:.3f} at step {step}", hoverinfo="skip",
            marker={"symbol": "star", "size": 14, "color": COLOURS[1], "line": {"width": 1, "color": "white"}},
        )  # fmt: skip
    saved = [along.at(step) for step, *_ in found.get("checkpoint", ())]
    if saved:
        figure.add_scatter(
            x=saved, y=[0.0] * len(saved), yaxis="y2", mode="markers", name="checkpoint", hoverinfo="x+name",
            marker={"symbol": "triangle-up", "size": 8, "color": GREY},
        )  # fmt: skip
        figure.update_layout(yaxis2={"overlaying": "y", "range": [-0.02, 1], "visible": False, "fixedrange": True})
    _mark(figure, marks, along)
    if log:
        figure.update_yaxes(type="log", selector={"anchor": "x"})
        figure.update_layout(yaxis_type="log")
    return figure


def gauge(
    points: Sequence[Point], along: Axis, *, name: str, smoothing: float = 0.0, predicted: float | None = None,
    marks: Sequence[Mark] = (),
) -> go.Figure:  # fmt: skip
    """One quantity of a run, such as its gradient norm; `predicted` draws a level beside it, in the quantity's own unit."""
    factor, unit = UNITS.get(name, (1, ""))
    figure = _figure(along, unit, height=200, showlegend=False)
    values = [(x, y / factor) for x, y in along.of(points)]
    if smoothing and len(values) > 2:
        _line(figure, values, "each step", COLOURS[0], opacity=0.25, width=1, hoverinfo="skip")
    _line(figure, smoothed(values, smoothing), name.replace("_", " "), COLOURS[0])
    if predicted is not None:
        figure.add_hline(
            y=predicted / factor, line={"color": COLOURS[1], "dash": "dash", "width": 1.5},
            annotation={"text": f"predicted {predicted / factor:.2f} {unit}", "font": {"color": COLOURS[1], "size": 11}},
            annotation_position="bottom left",
        )  # fmt: skip
    _mark(figure, marks, along, words=False)
    figure.update_yaxes(
        rangemode="tozero", exponentformat="e" if name == "learning_rate" else "SI", nticks=5, title_standoff=4
    )
    return figure


def _figure(along: Axis, y: str, *, height: int, **layout: Any) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=height, margin={"l": 8, "r": 8, "t": 28, "b": 8}, xaxis_title=along.title, yaxis_title=y or None,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="x unified", uirevision=along.title,  # zoom and hidden curves survive the next live update
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", **layout,
    )  # fmt: skip
    if along.end:
        figure.update_xaxes(range=[0, along.end * 1.01])
    return figure


def _line(
    figure: go.Figure, points: Sequence[tuple[float, float]], name: str, colour: str, *,
    dash: str | None = None, mode: str = "lines", width: float = 2, **more: Any,
) -> None:  # fmt: skip
    if not points:
        return
    x, y = np.array(points, dtype=float).T  # lists are looked at number by number, which takes most of the time
    if len(points) == 1 and mode == "lines":
        mode = "markers"
    figure.add_scatter(x=x, y=y, name=name, mode=mode, line={"color": colour, "dash": dash, "width": width}, **more)


def _mark(figure: go.Figure, marks: Sequence[Mark], along: Axis, *, words: bool = True) -> None:
    """Thin lines where something happened. Several at one place share one line and one list of words."""
    places: dict[float, list[Mark]] = {}
    for mark in marks:
        places.setdefault(along.at(mark.step), []).append(mark)
    for x, here in places.items():
        figure.add_shape(
            type="line", xref="x", yref="paper", x0=x, x1=x, y0=0, y1=1, line={"color": GREY, "width": 1, "dash": "dash"}
        )
        if words:
            figure.add_annotation(
                x=x, y=1, xref="x", yref="paper", text=", ".join(dict.fromkeys(mark.word for mark in here)), showarrow=False,
                textangle=-90, xanchor="right", yanchor="top", font={"size": 10, "color": GREY},
                hovertext="<br>".join(_wrapped(mark) for mark in here),
            )  # fmt: skip


def _wrapped(mark: Mark) -> str:
    return html.escape(f"{mark.word} after step {mark.step}: {mark.about}"[:160])
