"""What may still be submitted today, in examples and bytes, why, and what would change it."""

import streamlit as st

from pages import frame


def shown(allowed) -> None:
    """Two bars of what is left, the rule, and what would move it."""
    with st.container(border=True):
        st.markdown(f"**You may add {frame.count(allowed.left, 'example')} today**")
        share = allowed.left / allowed.limit if allowed.limit else 0.0
        st.progress(min(1.0, share), f"{allowed.left:,} of {allowed.limit:,} examples left")
        bytes_share = allowed.left_bytes / allowed.limit_bytes if allowed.limit_bytes else 0.0
        st.progress(
            min(1.0, bytes_share), f"{allowed.left_bytes / 1000:,.0f} of {allowed.limit_bytes / 1000:,.0f} kB of text left"
        )
        st.caption(allowed.because)
        st.caption(f"**What would move it:** {allowed.next_step}")
