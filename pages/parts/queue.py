"""The queue: who computes, what runs, what waits and why, and the buttons that change it."""

import streamlit as st

from factory.adapters import talk
from factory.training import device, queue, runs, worker
from pages import frame

MOVES = {"up": "Move up", "down": "Move down", "top": "To the top, and now", "bottom": "To the bottom"}
SHOWN = 20  # of what waits; a search can queue hundreds


@st.fragment(run_every=3)
def under_way(person) -> None:
    """What runs and what waits, in order, with its progress; moves by itself."""
    with frame.store.connect(frame.settings()) as db, frame.trying():
        running, waiting = runs.listing(db, status="running", limit=SHOWN), queue.waiting(db)
        who_computes(db, person, running)
        for run in running:
            row(db, run, person, place=None)
        if waiting:
            st.caption(f"{frame.count(len(waiting), 'run')} waiting, in this order")
        for place, run in enumerate(waiting[:SHOWN], 1):
            row(db, run, person, place=place)
        if len(waiting) > SHOWN:
            st.caption(
                f"… and {frame.count(len(waiting) - SHOWN, 'more run')}; `python -m factory runs queue` lists them all."
            )
        if waiting and not running and not worker.alive(frame.settings()):
            st.warning("No worker is at work, so nothing starts. `python -m factory worker` starts one.")


def who_computes(db, person, running) -> None:
    """One line about the device, with what frees it."""
    settings = frame.settings()
    found, chat = device.holder(settings), device.resident(settings)
    if found is None and chat is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if found is not None:
            st.caption(f":material/memory: {frame.plain(found.words)}.")
        if found is not None and found.kind == device.RUN and any(run["id"] == found.run_id for run in running):
            free_it(db, person, found.run_id, key="free")
        if chat is not None:
            st.caption(f":material/forum: The chat process keeps {chat['memory_bytes'] / 2**30:.1f} GiB of memory.")
            if st.button("End it", key="free-chat", help="The next question loads the model again.", type="tertiary"):
                talk.free(settings)
                frame.done("The chat process was ended.")
                st.rerun()


def free_it(db, person, run_id: int, *, key: str) -> None:
    """The button that asks a training run to make way."""
    run = runs.get(db, run_id)
    about = "The run makes way after its present step, and goes on by itself once chat has been quiet for a while."
    busy = run["stage"] != "train" or bool(run["wish"])
    if st.button("Pause it for chat", key=key, help=about, icon=":material/pan_tool:", disabled=busy):
        with frame.trying():
            frame.done(queue.free(db, frame.settings(), person=person))
            st.rerun()


def row(db, run, person, *, place: int | None) -> None:
    """One run of the queue: its place, name, progress or why it waits, and what can be done with it."""
    mine = run["person_id"] == person.id or person.may("admin")
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        frame.state(run["status"])
        name = f"**{frame.plain(run['name'])}**"
        label = name if place is None else f"{place}\\. {name}"
        frame.within(label, "runs.py", key=f"live-{run['id']}", run=str(run["id"]))
        done, total = run["steps_done"], run["steps_total"]
        if place is None or done:
            st.progress(min(1.0, done / total) if total else 0.0, f"step {done} of {total or '?'}{left(run)}")
        if place is not None and (why := queue.held_up_by(db, frame.settings(), run)) and place == 1:
            st.caption(frame.plain(why[0].upper() + why[1:]) + ".")
        if mine:
            actions(db, run, person)


def left(run) -> str:
    """How long a training run still takes, as the end of a sentence."""
    if run["status"] != "running":
        return ""
    return f", {run['stage']}" if run["stage"] != "train" else f", about {frame.lasting(runs.seconds_left(run))} left"


def actions(db, run, person) -> None:
    """What its owner can do, in one menu: a row has to fit a phone."""
    if run["status"] == "queued":
        offers = {**MOVES, "cancel": "Cancel"}
    elif run["stage"] == "train" and not run["wish"]:
        offers = {"pause": "Pause", "stop": "Stop and keep"}
    else:
        return
    offers["clone"] = "Clone with a change"
    chosen = st.menu_button("Change", list(offers), key=f"do-{run['id']}", format_func=offers.get, type="tertiary",
                            icon=":material/more_vert:")  # fmt: skip
    if not chosen:
        return
    if chosen == "clone":
        st.switch_page("train.py", query_params={"clone": str(run["id"])})
    with frame.trying():
        if chosen in MOVES:
            queue.move(db, run["id"], chosen, person=person)
        elif chosen == "cancel":
            runs.cancel(db, run["id"], person=person)
        else:
            runs.ask(db, run["id"], chosen, person=person)
        st.rerun()
