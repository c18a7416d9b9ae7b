"""All rows of a token view at once: the three gates, the sums, and the lengths with the line at which they are cut."""

from dataclasses import replace

import streamlit as st

from factory import charts
from factory.training import tokens
from pages import frame
from pages.parts.sliders import begin_with

ROWS_LINKED = 12


def sums(view, recipe) -> None:
    """The gates, each with the rows that fail it to click; sums over all rows; their lengths."""
    found = tokens.summary(view, max_length=recipe.max_length)
    for gate in found["gates"]:
        one_gate(view, gate, found["rows"])
    st.caption(
        f"{found['trained_tokens']:,} of {found['tokens']:,} tokens are trained on ({found['share']:.0%}) · "
        f"{frame.count(found['rows_cut'], 'row')} cut · {frame.count(found['rows_with_nothing'], 'row')} with nothing to"
        f" learn · half the rows have at most {found['p50']:,} tokens, 95% at most {found['p95']:,}"
    )
    st.plotly_chart(charts.lengths(view.lengths, recipe.max_length), key="lengths", config={"displayModeBar": False})
    if found["recommended"] != recipe.max_length:
        words = f"Take a maximum length of {found['recommended']:,}"
        taken = replace(recipe, max_length=found["recommended"])
        st.button(words, key="tokens-take", icon=":material/content_cut:", on_click=begin_with, args=(taken,))


def one_gate(view, gate, rows: int) -> None:
    """Passed, or what is wrong, what to do, and the rows it is wrong in."""
    if gate["passed"]:
        st.badge(gate["title"], color="green", icon=":material/check:")
        return
    words = f"{gate['title']}: {len(gate['rows']):,} of {frame.count(rows, 'row')} fail"
    st.badge(words, color="red", icon=":material/error:")
    st.caption(f"{gate['sentence']} To do: {gate['advice']}.")
    with st.container(horizontal=True):
        for place in gate["rows"][:ROWS_LINKED]:
            words = f"row {view.example_ids[place]}"
            st.button(words, key=f"{gate['gate']}-{place}", type="tertiary", on_click=go, args=(place,))


def go(place: int) -> None:
    """Open the row at a place."""
    st.session_state["token-place"] = place
