"""Training a run again: the button, and what came of it."""

import streamlit as st

from factory.adapters import reproduction
from pages import frame

COLOURS = {"identical": "green", "near": "orange", "different": "red", None: "gray"}


def part(db, run, person) -> None:
    """Verdicts on this run, as the original and as a reproduction, and a button for another one."""
    mine, others = reproduction.find(db, run["id"]), reproduction.of(db, run["id"])
    may = person.may("builder") and run["status"] == "done" and run["adapter_id"]
    if not (mine or others or may):
        return
    with st.expander("Reproduce", icon=":material/replay:", expanded=bool(mine or others)):
        for found in ([mine] if mine else []) + others:
            verdict(found, run["id"])
        if may:
            st.caption("Trains it again from its stored recipe, data, model and seed, and compares weights and losses.")
            if st.button("Reproduce this run", icon=":material/replay:"):
                with frame.trying():
                    again = reproduction.begin(db, frame.settings(), run["id"], person=person)
                    frame.done(f"Run {again} is in the queue.")
                    st.switch_page("runs.py", query_params={"run": str(again)})


def verdict(found, here: int) -> None:
    """One verdict in sentences, with the way to the other run."""
    other = found["original_run_id"] if found["run_id"] == here else found["run_id"]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(found["verdict"] or "not compared yet", color=COLOURS[found["verdict"]])
        words = f"reproduces run {other}" if found["run_id"] == here else f"reproduced by run {other}"
        frame.within(words, "runs.py", key=f"reproduction-{other}", run=str(other))
    for sentence in found["findings"]["words"] if found["findings"] else []:
        st.caption(frame.plain(sentence))
