"""What somebody has to be told on every page: a sanction against them, credits of theirs that are held."""

import streamlit as st

from factory.credit import freezes
from factory.intake import sanctions
from pages import frame


def of(db, person) -> list[tuple[str, str]]:
    """What holds now, as sentences, each with the part of the page on which it can be answered."""
    freezes.release_due(db)
    told = [(one["sentence"], "sanctions.py") for one in sanctions.notices(db, person)]
    return told + [(sentence, "credits.py") for sentence in freezes.notices(db, person)]


def show(told: list[tuple[str, str]]) -> None:
    """The notices on top of a page."""
    for sentence, _ in told:
        st.warning(frame.plain(sentence), icon=":material/gavel:")
    pages = dict.fromkeys(page for _, page in told)
    with st.container(horizontal=True):
        if "sanctions.py" in pages:
            words = "The evidence, and how to appeal"
            frame.within(words, "sanctions.py", key="notice-sanctions", icon=":material/balance:", part="About me")
        if "credits.py" in pages:
            frame.within("What is held", "credits.py", key="notice-held", icon=":material/lock_clock:", part="Held")
