"""What was taken back: the way to do it, the adapters that saw it, and the mark that these carry."""

import pandas as pd
import streamlit as st

from factory.adapters import withdrawn
from factory.intake import contributions
from pages import frame

LATER = "It will not be in the next version. What earlier versions taught stays in their adapters, which are listed and marked; credits stay yours."  # noqa: E501


def mine(db, dataset, person) -> None:
    """Everything of one's own taken back at once, and the adapters that saw what was."""
    saw = withdrawn.of_person(db, person.id)
    if not saw and not contributions.counts(db, person):
        return
    words = "Take back what I gave" + (f" ({frame.count(len(saw), 'adapter')} saw withdrawn rows)" if saw else "")
    with st.expander(words, icon=":material/undo:", key="take-back"):
        st.caption(LATER)
        with st.form("withdraw-all", border=False):
            everywhere = st.radio("What", ["everything in this dataset", "everything I ever gave"], horizontal=True)
            reason = st.text_input("Why", max_chars=500, placeholder="kept beside each example")
            sure = st.checkbox("I mean it: this cannot be undone.")
            if st.form_submit_button("Take it back", icon=":material/undo:"):
                with frame.trying():
                    if not sure:
                        raise frame.Invalid("Tick the box if you mean it; a withdrawn example cannot be brought back.")
                    here = dataset["id"] if everywhere == "everything in this dataset" else None
                    count = contributions.withdraw_all(db, person, reason=reason, dataset_id=here)
                    frame.done(f"{frame.count(count, 'example')} taken back.")
                    st.rerun()
        if not saw:
            st.caption("No adapter was trained with anything that you withdrew.")
            return
        st.markdown("**Adapters that saw what you withdrew**")
        table = pd.DataFrame(
            {
                "adapter": [f"adapters?adapter={row['adapter_id']}#{row['adapter']}" for row in saw],
                "data": [f"{row['slug']}@{row['version']}" for row in saw],
                "your withdrawn rows": [row["rows"] for row in saw],
                "exports": [row["exports"] for row in saw],
                "kept": [frame.moment(row["kept_at"]) for row in saw],
            }
        )
        link = st.column_config.LinkColumn(display_text=r"#(.*)$")
        st.dataframe(table, hide_index=True, column_config={"adapter": link})


def mark(found) -> None:
    """The mark on the page of an adapter or a run; nothing where none of its rows was withdrawn."""
    if found["sentence"]:
        people = "one person" if found["people"] == 1 else f"{found['people']:,} people"
        when, them = frame.ago(found["last_at"]), "it" if found["rows"] == 1 else "them"
        gone = f"It was taken back {when}" if them == "it" else f"{people.capitalize()} took them back, the last {when}"
        later = f"The next version of the data lacks {them}; a run on that gives an adapter that never saw {them}."
        st.warning(
            f"{found['sentence']} {gone}. {later}",
            icon=":material/undo:",
        )


def on_card(rows: int) -> None:
    """The mark on an adapter's card in the gallery."""
    if rows:
        st.badge(f"{frame.count(rows, 'row')} withdrawn since", color="orange", icon=":material/undo:")


def on_export(rows: int) -> None:
    """The mark beside an export that was made before rows were withdrawn: its file does not say so."""
    if rows:
        st.badge(f"older than {frame.count(rows, 'withdrawal')}: export it again", color="orange")
