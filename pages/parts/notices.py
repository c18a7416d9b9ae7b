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


def show(told: list[tuple[str, str]], here: str) -> None:
    """The notices on top of the page named `here`, with links to where they can be answered, unless one is there."""
    for sentence, _ in told:
        st.warning(frame.plain(sentence), icon=":material/gavel:")
    pages = dict.fromkeys(page for _, page in told if page != f"{here}.py")
    with st.container(horizontal=True):
        if "sanctions.py" in pages:
            about = {"show": "About me"}  # not "part", which the page that one comes from may have bound
            words = "The evidence, and how to appeal"
            st.page_link("sanctions.py", label=words, icon=":material/balance:", query_params=about)
        if "credits.py" in pages:
            st.page_link("credits.py", label="My credits, and what is held", icon=":material/lock_clock:")
