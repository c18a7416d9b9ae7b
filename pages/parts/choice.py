"""A choice that the address holds by its id: Streamlit's own binding wants the shown words there, and links have ids."""

from collections.abc import Callable, Sequence

import streamlit as st


def picked(
    label: str, options: Sequence[str], *, key: str, format_func: Callable[[str], str], disabled: bool = False
) -> str:
    """The option that somebody picked, else the one that the address names, else the first; kept in the address."""
    wanted = st.query_params.get(key)
    if key not in st.session_state and wanted in options:
        st.session_state[key] = wanted
    chosen = st.selectbox(label, options, key=key, format_func=format_func, required=True, disabled=disabled)
    if chosen != wanted and (wanted is not None or chosen != options[0]):
        st.query_params[key] = chosen
    return chosen
