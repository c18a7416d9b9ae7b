"""Search: find a good recipe by trying several, within a budget; the best becomes a preset."""

import streamlit as st

from pages import frame
from pages.parts import search as parts

ABOUT = "Tries recipes one after the other, gives up the hopeless ones early, and keeps the best as a preset."

with frame.page("Search", "builder", about=ABOUT) as (db, person):
    wanted = st.query_params.get("search", "")
    if frame.is_id(wanted):
        parts.whole(db, person, int(wanted))
    else:
        parts.listed(db)
        parts.begin(db, person)
        parts.kept_presets(db, person)
