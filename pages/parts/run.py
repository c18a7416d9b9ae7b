"""One run: its state, its live curves, its log and its buttons."""

import pandas as pd
import streamlit as st

from factory.training import recipes, runs
from pages import frame
from pages.parts import curves

LIVE = ("queued", "running")
STAGES = {"train": "training", "keep": "keeping the adapter", "evaluate": "measuring on the held-out rows",
          "attribute": "finding whose examples helped", "pay": "paying"}  # fmt: skip


def buttons(db, run, person) -> None:
    """What can be done with a run in its present state; each asks, the run's own process answers."""
    row = st.container(horizontal=True)
    training = run["status"] == "running" and run["stage"] == "train"
    offers = [
        (training, "Stop and keep", "stop_circle", lambda: runs.ask(db, run["id"], "stop", person=person)),
        (
            run["status"] == "running" and not training,
            "End this stage",
            "stop_circle",
            lambda: runs.ask(db, run["id"], "stop", person=person),
        ),
        (training, "Pause", "pause_circle", lambda: runs.ask(db, run["id"], "pause", person=person)),
        (run["status"] == "queued", "Cancel", "cancel", lambda: runs.cancel(db, run["id"], person=person)),
        (
            run["status"] in runs.RESUMABLE and not (run["status"] == "stopped" and run["adapter_id"]),
            "Resume",
            "play_arrow",
            lambda: runs.resume(db, run["id"], person=person),
        ),
    ]
    for offered, label, icon, act in offers:
        if offered and row.button(label, icon=f":material/{icon}:", disabled=training and bool(run["wish"])):
            with frame.trying():
                act()
                frame.done("Asked. A training ends at its next step and keeps what it has." if training else "Done.")
                st.rerun()


def head(run) -> None:
    """State, progress, time left."""
    with st.container(horizontal=True, vertical_alignment="center"):
        frame.state(run["status"])
        if run["status"] == "running":
            st.caption(STAGES.get(run["stage"], run["stage"]))
        if run["wish"]:
            st.caption(f"asked to {run['wish']}")
    total, done = run["steps_total"] or 0, run["steps_done"]
    if total:
        seconds = runs.seconds_left(run) if run["status"] == "running" and run["stage"] == "train" else None
        left = f", about {frame.lasting(seconds)} left" if seconds is not None else ""
        st.progress(min(1.0, done / total), f"Step {done} of {total}{left}")
    if run["error"]:
        st.error(frame.plain(run["error"]), icon=":material/error:")


@st.fragment(run_every=2)
def live(run_id: int, drawn: tuple[str, str, str | None]) -> None:
    """The moving part; when the run has ended, the polling stops. Whenever the state changes, so do the buttons."""
    with frame.store.connect(frame.settings()) as db:
        run = runs.get(db, run_id)
        head(run)
        curves.draw(db, run)
        log(run)
    if (run["status"], run["stage"], run["wish"]) != drawn:
        st.rerun()


def log(run) -> None:
    """The last lines of the trainer's own log."""
    with st.expander("Log", icon=":material/terminal:"):
        st.code(
            runs.log_tail(frame.settings(), run["folder"], lines=40) or "(nothing yet)",
            language=None,
            height=240,
            wrap_lines=True,
        )


def whole(db, person, run_id: int) -> None:
    """One run, reachable by its URL at any time."""
    run = runs.get(db, run_id)
    frame.within("All runs", "runs.py", key="back", icon=":material/arrow_back:")
    st.header(frame.plain(run["name"]), anchor=False)
    st.caption(
        frame.plain(
            f"{run['dataset_title']}, version {run['version_number']} · {run['model_name']} · {frame.ago(run['queued_at'])}"
        )
    )
    buttons(db, run, person)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.slider("Smoothing", 0.0, 0.95, 0.6, 0.05, key="smoothing", width=260)
        st.toggle("Log scale", key="log")
    if run["status"] in LIVE:
        live(run_id, (run["status"], run["stage"], run["wish"]))
    else:
        head(run)
        curves.draw(db, run)
        log(run)
    if run["adapter_id"]:
        link = {"adapter": str(run["adapter_id"])}
        st.page_link("adapters.py", label="The adapter it made", query_params=link, icon=":material/extension:")
    with st.expander("Predicted against measured", icon=":material/speed:", expanded=run["status"] == "done"):
        st.dataframe(pd.DataFrame(runs.predicted_against_measured(run)), hide_index=True)
    with st.expander("Recipe", icon=":material/code:"):
        st.code(recipes.to_yaml(run["recipe"]), language="yaml")
    with st.expander("What happened", icon=":material/history:"):
        for event in runs.events(db, run_id):
            st.caption(f"{frame.ago(event['at'])}: {frame.plain(event['words'])}")
