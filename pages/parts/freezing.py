"""Freezing a version and sealing held-out rows: how far it is, what is left, and a stop that leaves nothing half done."""

import time
from contextlib import contextmanager

import streamlit as st

from factory.intake import datasets, formats
from pages import frame

LONG = 5_000  # examples from which a bar is shown; below, it takes no second
STAGES = {  # what is done, and from which share of the whole to which; measured with 65,000 rows
    "reading": ("Reading what is accepted", 0.0, 0.2),
    "hashing": ("Computing the Merkle roots", 0.2, 0.5),
    "writing": ("Writing the rows", 0.5, 1.0),
    "comparing": ("Comparing with every example", 0.0, 1.0),
}


def freeze(db, dataset, person) -> None:
    """The form that freezes what is accepted as the next version."""
    with st.form("freeze", clear_on_submit=True):
        note = st.text_input("What is new in it", max_chars=300)
        asked = st.form_submit_button("Freeze the accepted examples as the next version", icon=":material/ac_unit:")
    if asked:
        with frame.trying(), bar(dataset["accepted"], "Stopped; nothing was frozen.") as tell:
            made = datasets.freeze(db, dataset["id"], person=person, note=note, tell=tell)
            frame.done(f"Version {made['number']} is frozen with {frame.count(made['row_count'], 'row')}.")
            st.rerun()


def seal(db, dataset, person) -> None:
    """Give the dataset the rows its adapters are measured with; the newest set counts from the next version on."""
    sealed = datasets.held_out(db, dataset["id"])
    now = (
        f"{frame.count(sealed['row_count'], 'row')} sealed {frame.ago(sealed['sealed_at'])}" if sealed else "none sealed yet"
    )
    with st.expander(f"Held-out rows: {now}", icon=":material/lock:", expanded=sealed is None):
        st.caption("Adapters are measured with them, so nobody can submit them or anything like them. Without them a run "
                   "leaves no evaluation and no credits. Seal them before people contribute.")  # fmt: skip
        uploaded = st.file_uploader("A file of rows, in any format that contributions take", key="held-out")
        if uploaded and st.button("Seal these rows"):
            every = dataset["accepted"] + dataset["waiting"] + dataset["returned"]
            with frame.trying(), bar(every, "Stopped; nothing was sealed.") as tell:
                reading = formats.read(uploaded.getvalue(), name=uploaded.name, settings=frame.settings())
                if bad := [row.problem for row in reading.rows if row.problem]:
                    raise frame.Invalid(bad[:20])
                rows = [row.messages for row in reading.rows if row.messages]
                made = datasets.seal_held_out(db, dataset["id"], person=person, rows=rows, tell=tell)
                frame.done(f"{frame.count(made['row_count'], 'row')} sealed.")
                st.rerun()


@contextmanager
def bar(rows: int, stopped: str):
    """What to tell how far it is; drawn with a stop button where there are many rows.

    A click on Stop ends this run of the page at the next word, and the transaction with it.
    """
    place, began = st.empty(), time.monotonic()
    if rows < LONG:
        yield None
        return
    with place.container(border=True):
        drawn = st.progress(0.0, "Beginning")
        st.button("Stop", icon=":material/stop:", key="stop-freezing", on_click=frame.done, args=(stopped,))
        st.caption("Leaving this page stops it too; nothing is left half done.")

    def tell(words: str, done: int, of: int) -> None:
        name, low, high = STAGES[words]
        share = low + (high - low) * done / max(1, of)
        left = (time.monotonic() - began) * (1 - share) / share if share > 0.02 else None
        drawn.progress(min(1.0, share), name + (f", about {frame.lasting(left)} left" if left is not None else ""))

    try:
        yield tell
    finally:
        place.empty()
