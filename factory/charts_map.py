"""The map of a dataset as a Plotly figure: a point for each drawn row, a name for each topic. Plain rows in."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from factory.charts import COLOURS

Rows = Sequence[Mapping[str, Any]]
KINDS = {"with a bounty": COLOURS[2], "thin": COLOURS[1], "other topics": COLOURS[5]}
SIGNS = {"with a bounty": "diamond", "thin": "x-thin", "other topics": "circle"}
LINE = re.compile(r"\S.{0,49}(?!\S)|\S{50}")  # a pattern wraps five thousand questions ten times as fast as textwrap does
NAMED, PLENTY = 12, 1_500  # more names lie over each other; more points are drawn by the graphics card


def kind_of(topic: Mapping[str, Any]) -> str:
    """How a topic is drawn: by its bounty, else as thin, else like the others.

    >>> kind_of({"bounties": [], "thin": True})
    'thin'
    """
    return "with a bounty" if topic["bounties"] else "thin" if topic["thin"] else "other topics"


def rows_map(points: Rows, topics: Rows, *, chosen: int | None = None) -> go.Figure:
    """Each row as a point: `points` as `maps.points` gives them, `topics` as `needs.board` does.

    What a topic is like shows by colour and sign. Each point carries [example id, topic number], for clicks; the `chosen`
    topic stands out, the others fade.
    """
    figure = go.Figure()
    figure.update_layout(
        height=460, margin={"l": 0, "r": 0, "t": 30, "b": 0}, hovermode="closest", uirevision="kept",
        clickmode="event+select", legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, dragmode="pan",
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
    )  # fmt: skip
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    of_topic = {topic["number"]: topic for topic in topics}
    draw = go.Scattergl if len(points) > PLENTY else go.Scatter
    for kind, colour in KINDS.items():
        mine = [point for point in points if kind_of(of_topic[point["number"]]) == kind]
        if not mine:
            continue
        figure.add_trace(
            draw(
                x=np.array([point["x"] for point in mine]), y=np.array([point["y"] for point in mine]), mode="markers",
                customdata=[[point["example_id"], point["number"]] for point in mine], name=kind,
                hovertext=[_hover(point, of_topic[point["number"]]) for point in mine], hoverinfo="text",
                marker={
                    "color": colour, "size": 7 if len(points) <= PLENTY else 4, "symbol": SIGNS[kind],
                    "line": {"width": 1.5 if SIGNS[kind] == "x-thin" else 0, "color": colour},
                    "opacity": 0.85 if chosen is None
                    else np.where(np.array([point["number"] for point in mine]) == chosen, 0.85, 0.15),
                },
            )
        )  # fmt: skip
    largest = sorted(topics, key=lambda topic: -topic["rows"])[:NAMED]
    for topic in largest if chosen is None else [topic for topic in topics if topic["number"] == chosen]:
        _name(figure, topic)
    return figure


def _name(figure: go.Figure, topic: Mapping[str, Any]) -> None:
    words = html.escape(", ".join(topic["words"][:2]) or topic["name"])
    figure.add_annotation(
        x=topic["x"], y=topic["y"], text=words, showarrow=False, font={"size": 11}, bgcolor="rgba(128, 128, 128, 0.25)",
        borderpad=2,
    )  # fmt: skip


def _hover(point: Mapping[str, Any], topic: Mapping[str, Any]) -> str:
    asked = "<br>".join(html.escape(line) for line in LINE.findall(" ".join(str(point["question"] or "").split()))[:3])
    return f"{asked}<br><i>{html.escape(topic['name'])}</i>"
