"""Credits that are held, as cards, and those that were, as a table."""

import pandas as pd
import streamlit as st

from pages import frame


def about(one: dict) -> str:
    """Whose credits a freeze holds."""
    if one["adapter_id"]:
        return f"adapter {one['adapter']}"
    return frame.person_name({"name": one["person"], "is_demo": one["is_demo"]})


def still(one) -> None:
    """What is held now, as a card: its reason is the first thing that people ask for."""
    if one["outcome"]:
        return
    with st.container(border=True):
        credits = frame.credits(one["micro_credits"])
        st.markdown(f"**{frame.plain(about(one))}** · {credits:,.2f} credits, until {frame.moment(one['ends_at']):%d %b %Y}")
        st.text(one["reason"])
        st.caption(frame.plain(f"Number {one['id']} · by {one['by_name']}, {frame.ago(one['at'])}"))


def ended(found) -> None:
    """What was held before, and what became of it."""
    if not found:
        return
    st.markdown("**Held before**")
    table = pd.DataFrame(
        {
            "no": [one["id"] for one in found],
            "whose": [about(one) for one in found],
            "credits": [frame.credits(one["micro_credits"]) for one in found],
            "outcome": [one["outcome"] for one in found],
            "why it was held": [one["reason"] for one in found],
            "why it ended": [one["end_reason"] or "" for one in found],
            "since": [frame.moment(one["at"]) for one in found],
            "by": [one["by_name"] for one in found],
        }
    )
    columns = {
        "credits": st.column_config.NumberColumn(format="%.2f"),
        "since": st.column_config.DateColumn(format="iso8601"),
    }
    st.dataframe(table, hide_index=True, column_config=columns)
