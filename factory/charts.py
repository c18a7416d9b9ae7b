"""Plotly figures from plain rows, used by pages and notebooks alike. Nothing here reads a database."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

# One hue per series, told apart also by colour-blind people (Okabe and Ito's palette, without yellow and black).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
Points = Sequence[tuple[float, float]]
NAMED_POINTS, NAMED_CURVES = 10, 8  # more names than that lie over each other


def _figure(*, height: int = 280, x: str = "", y: str = "", **layout: Any) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        xaxis_title=x,
        yaxis_title=y,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="x unified",
        uirevision="kept",  # zoom and hidden series survive the next live update
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        **layout,
    )
    return figure


def smoothed(points: Points, weight: float) -> list[tuple[float, float]]:
    """Exponential moving average with its start corrected (Kingma and Ba 2015, section 3); `weight` in [0, 1).

    >>> smoothed([(1, 2.0), (2, 4.0)], 0.0)
    [(1, 2.0), (2, 4.0)]
    """
    average, total, result = 0.0, 0.0, []
    for x, y in points:
        average = weight * average + (1 - weight) * y
        total = weight * total + (1 - weight)
        result.append((x, average / total))
    return result


def loss(
    curves: Mapping[str, Mapping[str, Points]], *, smoothing: float = 0.0, log: bool = False, steps: int | None = None
) -> go.Figure:
    """Training and held-out loss of one or more runs over optimizer steps.

    `curves`: run label → {"loss": [(step, nats)], "held_out_loss": [(step, nats)]}. The lowest held-out point is marked.
    `steps` fixes the width to the whole run, so that a live curve grows into its frame.
    """
    figure = _figure(x="optimizer step", y="loss (nats per token)", height=340)
    for place, (label, series) in enumerate(curves.items()):
        colour = COLOURS[place % len(COLOURS)]
        train, held_out = list(series.get("loss", ())), list(series.get("held_out_loss", ()))
        prefix = f"{_short(label)} · " if len(curves) > 1 else ""
        if smoothing and train:
            _line(figure, train, f"{prefix}each step", colour, opacity=0.25, showlegend=False)
        _line(figure, smoothed(train, smoothing), f"{prefix}training", colour)
        held_colour = colour if len(curves) > 1 else COLOURS[1]
        _line(figure, held_out, f"{prefix}held-out", held_colour, dash="dot", mode="lines+markers")
        if held_out:
            step, best = min(held_out, key=lambda point: point[1])
            figure.add_scatter(
                x=[step], y=[best], mode="markers", name=f"{prefix}best {best:.3f}",
                marker={"symbol": "star", "size": 13, "color": held_colour}, hoverinfo="skip",
            )  # fmt: skip
    if log:
        figure.update_yaxes(type="log")
    if steps:
        figure.update_xaxes(range=[0, steps])
    return figure


def series(
    curves: Mapping[str, Points], *, y: str, x: str = "optimizer step", area: bool = False, steps: int | None = None
) -> go.Figure:
    """One quantity over steps, a line for each run: run label → [(step, value)]."""
    figure = _figure(x=x, y=y, height=220, showlegend=len(curves) > 1)
    for place, (label, points) in enumerate(curves.items()):
        _line(figure, points, label, COLOURS[place % len(COLOURS)], fill="tozeroy" if area else None)
    if steps:
        figure.update_xaxes(range=[0, steps])
    figure.update_yaxes(rangemode="tozero", exponentformat="e" if y == "learning rate" else "SI")
    return figure


def overlay(
    curves: Mapping[str, Mapping[str, Points]], *, x: str = "optimizer step", smoothing: float = 0.0, log: bool = False,
    highlighted: str | None = None,
) -> go.Figure:  # fmt: skip
    """Losses of up to fifty runs over each other, one colour a run; the highlighted one in full, the others faint behind it.

    `curves` as `loss` takes them. The held-out loss is dotted, with markers. Many runs share colours: hover names them.
    """
    figure = _figure(x=x, y="loss (nats per token)", height=420, showlegend=len(curves) <= NAMED_CURVES)
    figure.update_layout(hovermode="closest")
    for label in sorted(curves, key=lambda each: each == highlighted):  # what is highlighted is drawn last, on top
        colour = COLOURS[list(curves).index(label) % len(COLOURS)]
        faint = highlighted is not None and label != highlighted
        name = _short(label)
        look: dict[str, Any] = {"opacity": 0.25 if faint else 1.0, "legendgroup": label}
        _line(figure, smoothed(curves[label].get("loss", ()), smoothing), f"{name} · training", colour, **look)
        held_out = list(curves[label].get("held_out_loss", ()))
        _line(figure, held_out, f"{name} · held-out", colour, dash="dot", mode="lines+markers", **look)
    if log:
        figure.update_yaxes(type="log")
    return figure


def parallel(
    dimensions: Sequence[Mapping[str, Any]], *, colours: Sequence[float], highlighted: int | None = None, dark: bool = False
) -> go.Figure:
    """Runs as lines through upright axes, one for each setting and outcome; drag along an axis to pick out lines.

    `dimensions`: label, values (a float for each run) and ticks [(place, words)]; `colours` is a number for each run, blue
    the lowest and orange the highest. With `highlighted` (its place among the runs) that run is bright and all others gray.
    """
    line: dict[str, Any] = {"color": list(colours), "colorscale": [[0, COLOURS[0]], [0.5, COLOURS[2]], [1, COLOURS[4]]]}
    if highlighted is not None:
        marks = [float(place == highlighted) for place in range(len(colours))]
        line = {"color": marks, "colorscale": [[0, "#909090"], [1, COLOURS[1]]], "cmin": 0, "cmax": 1}
    figure = _figure(height=420)
    # this kind of chart draws a halo in the colour of its paper round every word, so it must know that colour
    paper, ink = ("#14171b", "#e6e8eb") if dark else ("#ffffff", "#1f2937")  # .streamlit/config.toml
    figure.update_layout(margin={"l": 90, "r": 40, "t": 80, "b": 20}, paper_bgcolor=paper)
    axes = []
    for each in dimensions:
        axis = {"label": each["label"], "values": list(each["values"])}
        if each["ticks"]:
            places, words = zip(*each["ticks"], strict=True)
            axis |= {"tickvals": places, "ticktext": [text if len(text) <= 12 else text[:11] + "…" for text in words]}
        axes.append(axis)
    font = {"color": ink, "size": 12}
    hidden = {"color": "rgba(0,0,0,0)", "size": 1}  # lowest and highest, which would lie over the ticks
    figure.add_parcoords(line=line, dimensions=axes, labelangle=-20, labelfont=font, tickfont=font, rangefont=hidden)
    return figure


def _line(
    figure: go.Figure, points: Points, name: str, colour: str, *, dash: str | None = None, mode: str = "lines", **more: Any
) -> None:
    if not points:
        return
    x, y = zip(*points, strict=True)
    figure.add_scatter(x=x, y=y, name=name, mode=mode, line={"color": colour, "dash": dash, "width": 2}, **more)


def intervals(rows: Sequence[Mapping[str, Any]], *, label: str, value: str, low: str, high: str, x: str) -> go.Figure:
    """Horizontal points with their intervals, the first row on top. Rows are mappings with the four named keys."""
    figure = _figure(height=max(160, 60 + 30 * len(rows)), x=x, showlegend=False)
    figure.update_layout(hovermode="closest")
    values = [float(row[value]) for row in rows]
    figure.add_scatter(
        x=values,
        y=list(range(len(rows))),
        mode="markers",
        marker={"size": 10, "color": COLOURS[0]},
        error_x={
            "type": "data", "symmetric": False, "thickness": 2, "color": COLOURS[5],
            "array": [max(0.0, float(row[high]) - v) for row, v in zip(rows, values, strict=True)],
            "arrayminus": [max(0.0, v - float(row[low])) for row, v in zip(rows, values, strict=True)],
        },
    )  # fmt: skip
    _name_lines(figure, rows, label)
    figure.add_vline(x=0, line_width=1, line_color="gray")
    return figure


def bars(rows: Sequence[Mapping[str, Any]], *, label: str, values: Mapping[str, str], x: str) -> go.Figure:
    """Stacked horizontal bars; `values` maps a legend text to the key of its number."""
    figure = _figure(height=max(160, 70 + 30 * len(rows)), x=x, barmode="stack")
    figure.update_layout(hovermode="closest")
    places = list(range(len(rows)))
    for place, (text, key) in enumerate(values.items()):
        figure.add_bar(
            x=[row[key] or 0 for row in rows],
            y=places,
            name=text,
            orientation="h",
            marker_color=COLOURS[place % len(COLOURS)],
        )
    _name_lines(figure, rows, label)
    return figure


def _name_lines(figure: go.Figure, rows: Sequence[Mapping[str, Any]], label: str) -> None:
    """Names at the lines of a chart; two rows with one name stay two lines."""
    names = [_short(str(row[label])) for row in rows]
    figure.update_yaxes(range=[len(rows) - 0.5, -0.5], tickvals=list(range(len(rows))), ticktext=names)


def scatter(rows: Sequence[Mapping[str, Any]], *, label: str, x: str, y: str, x_title: str, y_title: str) -> go.Figure:
    """One labelled point a row: cost against gain, say. Of many points only the first few carry their name, all on hover."""
    figure = _figure(x=x_title, y=y_title, height=320, showlegend=False)
    figure.update_layout(hovermode="closest")
    names = [_short(str(row[label])) for row in rows]
    named = len(rows) if len(rows) <= NAMED_POINTS else 3
    figure.add_scatter(
        x=[row[x] for row in rows], y=[row[y] for row in rows], hovertext=names, mode="markers+text",
        text=[name if place < named else "" for place, name in enumerate(names)], textposition="top center",
        marker={"size": 12 if len(rows) <= 50 else 7, "color": COLOURS[0], "opacity": 1 if len(rows) <= 50 else 0.5},
        cliponaxis=False,
    )  # fmt: skip
    return figure


def lengths(tokens: Sequence[int], max_length: int) -> go.Figure:
    """How long rows are, in tokens, with a line where they are cut and how many are."""
    figure = _figure(x="tokens in a row", y="rows", height=220, showlegend=False)
    figure.add_histogram(x=list(tokens), nbinsx=40, marker_color=COLOURS[0])
    cut = sum(length > max_length for length in tokens)
    if max_length <= 3 * max(tokens, default=0):  # a line far beyond all rows would press them into a corner
        figure.add_vline(x=max_length, line_width=2, line_dash="dash", line_color=COLOURS[1])
    words = f"maximum length {max_length:,}: {cut:,} rows cut"
    figure.update_layout(title={"text": words, "font": {"size": 13}}, bargap=0.05, hovermode="closest")
    return figure


def schedule(rates: Points) -> go.Figure:
    """The learning rate as planned: [(optimizer step, rate)]."""
    figure = _figure(x="optimizer step", y="learning rate", height=180, showlegend=False)
    figure.update_yaxes(exponentformat="e")
    _line(figure, rates, "learning rate", COLOURS[0], fill="tozeroy")
    return figure


def bump(ranks: Mapping[str, Points]) -> go.Figure:
    """Rank over time, a line for each person, the first rank on top: label → [(moment, rank)]."""
    figure = _figure(y="rank", height=300)
    for place, (label, points) in enumerate(ranks.items()):
        _line(figure, points, _short(label), COLOURS[place % len(COLOURS)], mode="lines+markers")
    figure.update_yaxes(autorange="reversed", dtick=1)
    return figure


def flow(counts: Mapping[str, int]) -> go.Figure:
    """The line as a funnel: stage → how many."""
    figure = _figure(height=220, showlegend=False)
    figure.update_layout(hovermode="closest")
    figure.add_funnel(
        y=list(counts), x=list(counts.values()), marker={"color": list(COLOURS[: len(counts)])}, textinfo="value"
    )
    return figure


def _short(text: str, most: int = 28) -> str:
    """A label that leaves room for its chart, with nothing in it that Plotly would take for HTML.

    >>> _short("a" * 40)
    'aaaaaaaaaaaaaaaaaaaaaaaaaaa…'
    """
    return html.escape(text if len(text) <= most else text[: most - 1] + "…")


def adapter_places(matrices: Sequence[tuple[int, str, str]], trained: Mapping[tuple[int, str], int]) -> go.Figure:
    """A model as blocks (across) by matrices (down): (block, name, part) each, coloured by the numbers `trained` there."""
    names = list(dict.fromkeys(f"{part} · {name}" for _, name, part in matrices))
    blocks = sorted({block for block, _, _ in matrices})
    height = {f"{part} · {name}": place for place, (name, part) in enumerate(dict.fromkeys((n, p) for _, n, p in matrices))}
    grid = [[0] * len(blocks) for _ in names]
    across = {block: place for place, block in enumerate(blocks)}
    for block, name, part in matrices:
        grid[height[f"{part} · {name}"]][across[block]] = trained.get((block, name), 0)
    figure = _figure(x="block", height=120 + 26 * len(names))
    figure.add_trace(
        go.Heatmap(
            z=grid, x=blocks, y=names, xgap=2, ygap=2, zmin=0, zmax=max(1, *(max(row) for row in grid)), showscale=False,
            colorscale=[[0, "rgba(128,128,128,0.15)"], [1e-9, COLOURS[5]], [1, COLOURS[0]]],
            hovertemplate="block %{x}, %{y}: %{z:,} trained<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(hovermode="closest")
    figure.update_yaxes(autorange="reversed")
    return figure


def memory(parts: Mapping[str, int], *, available: int) -> go.Figure:
    """What memory is for, as one bar of parts in bytes against what is free."""
    figure = _figure(height=90, showlegend=False)
    for place, (name, size) in enumerate(parts.items()):
        figure.add_bar(
            x=[size / 2**30], y=[""], orientation="h", name=name, marker_color=COLOURS[place % len(COLOURS)],
            hovertemplate="%{x:.2f} GiB",
        )  # fmt: skip
    whole = sum(parts.values())
    figure.add_vline(x=available / 2**30, line={"dash": "dot", "color": "#d62728"})
    figure.update_layout(barmode="stack", bargap=0, hovermode="closest", margin={"l": 0, "r": 16, "t": 0, "b": 34})
    most = max(whole * 1.15, min(available * 1.05, 3 * whole)) / 2**30
    figure.update_xaxes(range=[0, most], ticksuffix=" GiB", nticks=5, title=None)
    figure.update_yaxes(visible=False)
    return figure


def predicted(compared: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Predicted and measured side by side, each pair as shares of what was predicted.

    `compared`: {"what", "predicted", "measured", "error_percent"}; what was not measured yet is left out.
    """
    rows = [row for row in compared if row["measured"] is not None and row["predicted"]]
    figure = _figure(height=60 + 44 * len(rows))
    names = [str(row["what"]) for row in rows]
    figure.add_bar(
        y=names, x=[100.0] * len(rows), orientation="h", name="predicted", marker_color=COLOURS[5],
        text=[f"{row['predicted']:,.1f}" for row in rows], hoverinfo="skip",
    )  # fmt: skip
    figure.add_bar(
        y=names, x=[100 * row["measured"] / row["predicted"] for row in rows], orientation="h", name="measured",
        marker_color=COLOURS[0], text=[f"{row['measured']:,.1f} ({row['error_percent']:+.0f}%)" for row in rows],
        hoverinfo="skip",
    )  # fmt: skip
    figure.update_layout(barmode="group", hovermode="closest")
    figure.update_xaxes(ticksuffix="%")
    figure.update_yaxes(autorange="reversed")
    return figure
