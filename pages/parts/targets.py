"""A picture of the base model: where the adapter sits, and how many numbers it trains there."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from factory import charts
from factory.base.errors import Invalid
from factory.training import places
from factory.training.recipes import Recipe


def show(recipe: Recipe, model: Mapping[str, Any]) -> None:
    """Blocks by matrices, coloured where the adapter sits, with the trained numbers and their share."""
    with st.expander("Where the adapter sits", icon=":material/grid_view:"):
        try:
            taken = places.chosen(recipe, model)
        except Invalid as problem:
            st.caption(str(problem))
            return
        count = places.trained(recipe, model)
        share = count / max(1, int(model["parameters"]))
        st.caption(
            f"{count:,} numbers are trained, {share:.2%} of the model's {model['parameters']:,}, in {len(taken)} of"
            f" {len(places.matrices(model))} matrices. Choose them under “advanced”: targets, target modules and layers."
        )
        figure = charts.adapter_places(
            [(m.block, m.name, m.part) for m in places.matrices(model)],
            {(m.block, m.name): places.parameters(recipe, m) for m in taken},
        )
        st.plotly_chart(figure, key="places", config={"displayModeBar": False})
