"""Rows from a file into a draft; drafts that wait to be sent."""

import io

import streamlit as st

from factory.intake import drafts, formats, opening
from pages import frame
from pages.parts import mapping

KINDS = "JSONL, JSON, CSV, TSV, Parquet, Excel, Markdown, text, Word or PDF; also compressed or zipped"
ABOUT = (
    "Rows are taken as they are where their columns are known (`messages`; `conversations`; `instruction`, `output`;"
    " `prompt`, `completion`; `question`, `answer`), else you say which column is which. What could be rows of a document"
    " you confirm one by one."
)


def whole(db, dataset, person) -> None:
    """The drafts there are, and a place to drop a file."""
    key = f"file-{st.session_state.get('files-taken', 0)}"
    uploaded = st.file_uploader(KINDS, key=key)
    if uploaded is None:
        st.caption(f"{ABOUT} {formats.limits(frame.settings())}")
        waiting(db, person)
        return
    source = io.BytesIO(uploaded.getvalue())
    with frame.trying(stop=True):
        look = formats.look(source, name=uploaded.name, settings=frame.settings())
    chosen = {}
    if not look.certain:
        chosen = mapping.screen(source, uploaded.name, look)
        if chosen is None:
            return
    with frame.trying(), st.spinner("Reading the file"):
        begin(db, dataset, person, uploaded.name, source, chosen)


def begin(db, dataset, person, name, source, chosen) -> None:
    """Keep what was read as a draft, and open it."""
    made = opening.begin(db, dataset["id"], person=person, source=source, name=name, settings=frame.settings(), **chosen)
    st.session_state["files-taken"] = st.session_state.get("files-taken", 0) + 1
    if len(made) > 1:
        frame.done("The rows are one draft, what could become rows of the documents another.")
    st.query_params["draft"] = str(made[0])
    st.rerun()


def waiting(db, person) -> None:
    """One's drafts: what they are, how far they are, and the way to go on."""
    found = [draft for draft in drafts.listing(db, person) if draft["source"] != "form"]
    if not found:
        return
    st.markdown("**Your drafts.** Only you see them; they are kept for 30 days after you last touched them.")
    for draft in found:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            name = frame.plain(draft["file_name"] or f"Draft {draft['id']}")
            frame.within(
                name, "contribute.py", key=f"open-{draft['id']}", icon=":material/edit_note:", draft=str(draft["id"])
            )
            st.caption(f"{frame.plain(draft['slug'])} · {state(draft)} · {frame.ago(draft['changed_at'])}")


def state(draft) -> str:
    """How far a draft is, in words."""
    parts = [frame.count(draft["rows"], "row")]
    for key, words in (
        ("unchecked", "not checked"),
        ("refused", "refused"),
        ("to_confirm", "to confirm"),
        ("edited", "mended"),
    ):
        parts += [f"{draft[key]:,} {words}"] * bool(draft[key])
    return ", ".join(parts)
