"""One run: its state, its live curves in pictures and words, what it answered, its recipe, its log and its buttons."""

import streamlit as st

from factory.adapters import withdrawn as taken_back
from factory.training import runs
from pages import frame
from pages.parts import about_run, again, curves, plain_words, reproduce, samples, withdrawn

LIVE = curves.LIVE
PARTS = ["Curves", "Answers", "Recipe and data", "Predicted and measured", "What happened"]
SHOWN = (samples.show, about_run.recipe_and_data, about_run.measured, about_run.what_happened)  # of the tabs after the first
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


def moving(run_id: int, drawn: tuple[str, str, str | None]) -> None:
    """All that changes while a run goes on, and the controls that change how it is drawn."""
    with frame.store.connect(frame.settings()) as db:
        run = runs.get(db, run_id)
        head(run)
        plain_words.why_it_broke(db, run)
        tabs = st.tabs(PARTS, key="part", bind="query-params")
        if tabs[0].open:
            with tabs[0]:
                plain_words.show(db, run)
                curves.draw(db, run)
        for tab, show in zip(tabs[1:], SHOWN, strict=True):
            if tab.open:
                with tab:
                    show(db, run)
    if (run["status"], run["stage"], run["wish"]) != drawn:
        st.rerun()


live = st.fragment(run_every=2)(moving)  # whenever the state changes, the page is drawn anew, and so the buttons are
still = st.fragment(moving)  # a run that has ended is not asked again; its controls redraw only this part


def whole(db, person, run_id: int) -> None:
    """One run, reachable by its URL at any time."""
    run = runs.get(db, run_id)
    frame.within("All runs", "runs.py", key="back", icon=":material/arrow_back:")
    st.header(frame.plain(run["name"]), anchor=False)
    started = frame.ago(run["started_at"] or run["queued_at"])
    who = frame.plain(frame.person_name(run))
    st.caption(f"Run {run_id} · {who} · {'started' if run['started_at'] else 'queued'} {started}")
    with st.container(horizontal=True, vertical_alignment="center"):
        buttons(db, run, person)
        if run["adapter_id"]:
            link = {"adapter": str(run["adapter_id"])}
            st.page_link("adapters.py", label="The adapter it made", query_params=link, icon=":material/extension:")
    withdrawn.mark(taken_back.of_run(db, run_id))
    (live if run["status"] in LIVE else still)(run_id, (run["status"], run["stage"], run["wish"]))
    again.offer(db, run, person)
    again.changes(db, run)
    reproduce.part(db, run, person)
