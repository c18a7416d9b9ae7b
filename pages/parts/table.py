"""The rows of a draft as a table of cells that can be edited, and one of them in full."""

import pandas as pd
import streamlit as st

from factory.base import store
from factory.intake import drafts, turns
from pages import frame
from pages.parts import row as one

PER_PAGE = 50
VERDICT = {"unchecked": "…", "refused": "refused", "hints": "look again", "clean": "good"}


def editor(db, person, draft, shown: str, number: int) -> None:
    """A page of rows. Rows stay where they are while they are mended, until another filter or page is chosen."""
    rows = on_this_page(db, person, draft, shown, number)
    if not rows:
        st.caption("No row here.")
        return
    key = f"table-{draft['id']}-{shown}-{number}-{st.session_state.get('turned', 0)}"
    st.data_editor(
        cells(rows), key=key, on_change=take_in, args=(draft["id"], key, [row["position"] for row in rows]),
        height=min(38 + 35 * len(rows), 460), num_rows="fixed",
        disabled=["_index", "verdict", "what the checks say", "turns"],
        column_config={
            "_index": st.column_config.NumberColumn("row", width=56),
            "keep": st.column_config.CheckboxColumn("keep", width=64, help="Without the tick the row is dropped."),
            "verdict": st.column_config.TextColumn(width=84),
            "what the checks say": st.column_config.TextColumn(width=240),
            "question": st.column_config.TextColumn(width=240),
            "answer": st.column_config.TextColumn(width="large"),
            "turns": st.column_config.NumberColumn(width=56),
        },
    )  # fmt: skip
    st.caption("Double-click a cell to mend it; it is kept and judged at once. Shift+Enter makes a new line.")
    one.opened(db, person, draft, rows)


def on_this_page(db, person, draft, shown, number) -> list[dict]:
    """The rows that were here when one came to this page, as they are now."""
    place = (draft["id"], shown, number, draft["rows"] + draft["dropped"])
    held = st.session_state.get("rows-here")
    if held is None or held[0] != place:
        found = drafts.rows(db, draft["id"], person=person, shown=shown, limit=PER_PAGE, offset=(number - 1) * PER_PAGE)
        st.session_state["rows-here"] = place, [row["position"] for row in found]
        st.session_state["turned"] = st.session_state.get("turned", 0) + 1
        return found
    return drafts.at(db, draft["id"], held[1], person=person)


def cells(rows) -> pd.DataFrame:
    """Rows as cells: of a longer conversation the first question and the last answer."""
    table = {
        "keep": [not row["dropped"] for row in rows],
        "verdict": ["confirm it" if row["proposed"] and row["state"] == "clean" else VERDICT[row["state"]] for row in rows],
        "what the checks say": [" ".join(f["sentence"] for f in row["findings"]) for row in rows],
        "question": [turns.question(row["messages"]) for row in rows],
        "answer": [turns.answer(row["messages"]) for row in rows],
    }
    if any(len(row["messages"] or []) > 2 for row in rows):
        table["turns"] = [len(row["messages"] or []) for row in rows]
    return pd.DataFrame(table, index=[row["position"] + 1 for row in rows])


def take_in(draft_id: int, key: str, positions: list[int]) -> None:
    """Keep what was changed in the cells since the last time, and nothing else: another window may have gone on."""
    edited = st.session_state[key]["edited_rows"]
    before = st.session_state.get(f"{key}-kept", {})
    changed = {(int(place), name): value for place, cells in edited.items() for name, value in cells.items()}
    st.session_state[f"{key}-kept"] = changed
    with store.connect(frame.settings()) as db, frame.trying():
        person = frame.people.need(frame.visitor(db), "contributor")
        for (place, name), value in changed.items():
            if before.get((place, name), ...) != value:
                apply(db, person, draft_id, positions[place], name, value)


def apply(db, person, draft_id: int, position: int, name: str, value) -> None:
    """One changed cell into the draft."""
    if name == "keep":
        drafts.set_apart(db, draft_id, [position], person=person, dropped=not value)
        return
    row = drafts.row(db, draft_id, position, person=person)
    said = {"question": turns.question(row["messages"]), "answer": turns.answer(row["messages"]), name: value or ""}
    messages = turns.with_words(row["messages"], question=said["question"], answer=said["answer"])
    drafts.edit(db, draft_id, position, person=person, messages=messages)
