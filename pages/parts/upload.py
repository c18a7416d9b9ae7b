"""Rows from a file into a draft; drafts that wait to be sent."""

import streamlit as st

from factory.intake import drafts, formats
from pages import frame

COLUMNS = "Columns: `messages`; `conversations`; `instruction`, `output`; `prompt`, `completion`; or `question`, `answer`."


def whole(db, dataset, person) -> None:
    """The drafts there are, and a place to drop a file."""
    key = f"file-{st.session_state.get('files-taken', 0)}"
    types = ["jsonl", "json", "csv", "tsv", "parquet", "gz", "zip"]
    uploaded = st.file_uploader("JSONL, JSON, CSV, TSV or Parquet; also zipped", type=types, key=key)
    if uploaded is None:
        st.caption(COLUMNS)
        waiting(db, person)
        return
    reading = formats.read(uploaded.getvalue(), name=uploaded.name, settings=frame.settings())
    begin(db, dataset, person, uploaded.name, reading)


def begin(db, dataset, person, name, reading) -> None:
    """Keep what was read as a draft, and open it."""
    draft_id = drafts.begin(
        db, dataset["id"], person=person, rows=reading.rows, file_name=name,
        file_format=f"{reading.container}/{reading.shape}", note=reading.note,
    )  # fmt: skip
    st.session_state["files-taken"] = st.session_state.get("files-taken", 0) + 1
    st.query_params["draft"] = str(draft_id)
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
