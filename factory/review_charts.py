"""Figures about reviewers, from plain rows. Nothing here reads a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from factory import charts

FEW = 50


def weight(points: Sequence[Mapping[str, Any]]) -> go.Figure:
    """How much a reviewer's word tells after each review whose outcome became known, beside what somebody new has.

    `points`: as `reviewers.over_time` gives them, with reviews, weight and above_chance.
    """
    figure = charts._figure(x="reviews given", y="weight", height=300)
    along = [point["reviews"] for point in points]
    for place, (key, name) in enumerate({"weight": "weight", "above_chance": "agreement above chance"}.items()):
        figure.add_scatter(
            x=along, y=[point[key] for point in points], name=name, mode="lines+markers" if len(points) < 40 else "lines",
            line={"color": charts.COLOURS[place], "shape": "hv", "dash": "solid" if place == 0 else "dot"},
        )  # fmt: skip
    figure.add_hline(y=1, line={"width": 1, "dash": "dash", "color": "gray"})
    figure.add_vline(x=FEW, line={"width": 1, "dash": "dot", "color": "gray"}, annotation_text=f"{FEW} reviews")
    figure.update_yaxes(range=[-0.25, 1.45])
    return figure
