"""The passage of a document that an example was made from, for whoever judges it."""

import streamlit as st

from pages import frame


def under(made_from: dict | None) -> None:
    """What the document says, to be compared with what the row says; nothing for rows that come from no document."""
    if made_from is None:
        return
    with st.expander(frame.plain(f"Made from a document: {made_from['where']}"), icon=":material/article:"):
        st.text(made_from["passage"])
