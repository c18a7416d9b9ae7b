"""A run made from another: clone, extension, another try; on a run's own page and at the top of the wizard."""

import streamlit as st

from factory.training import mixture, queue, runs
from pages import frame
from pages.parts import sliders, sources

ENDED = ("done", "stopped", "paused", "interrupted", "failed")


def offer(db, run, person) -> None:
    """What one can do with a run's recipe and checkpoint; needs the role builder."""
    if not person.may("builder"):
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Clone with a change", icon=":material/content_copy:", key="clone"):
            st.switch_page("train.py", query_params={"clone": str(run["id"])})
        if run["status"] in ENDED and run["steps_done"]:
            with st.popover("Train it longer", icon=":material/update:"):
                extend(db, run, person)


def extend(db, run, person) -> None:
    """How many epochs more, and what the learning rate will do."""
    epochs = st.number_input("Epochs more", 0.5, 20.0, 1.0, 0.5, key="extend-epochs")
    with frame.trying():
        _, _, words = queue.extended(db, frame.settings(), run["id"], epochs=epochs)
        st.caption(frame.plain(words))
        st.caption("The run as it is stays; this makes a new one.")
        if st.button("Put it in the queue", type="primary", key="extend"):
            made = queue.extend(db, frame.settings(), run["id"], person=person, epochs=epochs)
            frame.done(f"Run {made} is in the queue.")
            st.switch_page("runs.py", query_params={"run": str(made)})


def changes(db, run) -> None:
    """What a run changed since its parent."""
    if not run["parent_run_id"]:
        return
    verb = "It goes on where" if run["starts_from"] else "Its recipe comes from"
    frame.within(f"{verb} run {run['parent_run_id']}", "runs.py", key="parent", icon=":material/account_tree:",
                 run=str(run["parent_run_id"]))  # fmt: skip
    table(queue.difference(db, run))


def table(found) -> None:
    """Settings that differ: there, here."""
    if found:
        rows = [{"setting": name.replace("_", " "), "before": str(there), "now": str(here)} for name, there, here in found]
        st.dataframe(rows, hide_index=True, key="changes")
    else:
        st.caption("No setting is different.")


def begin(db) -> dict | None:
    """The run that the wizard clones, by its URL; its recipe lies under the sliders when one arrives."""
    wanted = st.query_params.get("clone", "")
    if not frame.is_id(wanted):
        return None
    parent = runs.get(db, int(wanted))
    if st.session_state.get("cloned") != parent["id"]:
        st.session_state["cloned"] = parent["id"]
        sliders.begin_with(parent["recipe"])
        st.session_state["model"] = parent["model_name"]
        sources.begin_with(mixture.of_run(db, parent["id"]))
    st.info(f"A clone of run {parent['id']}, {frame.plain(parent['name'])}: change what you like.",
            icon=":material/content_copy:")  # fmt: skip
    return parent


def parent_id() -> int | None:
    """The run that the wizard clones, to be noted with the new one."""
    wanted = st.query_params.get("clone", "")
    return int(wanted) if frame.is_id(wanted) else None


def marked(parent, recipe) -> None:
    """What the sliders changed since the parent, on the launch card; nothing where nothing is cloned."""
    if parent:
        st.markdown(f"**Changed since run {parent['id']}**")
        table(queue.compared(recipe, parent["recipe"]))
