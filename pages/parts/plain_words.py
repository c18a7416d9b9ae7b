"""A run's curves in plain words, why a run broke, and buttons that queue a clone with one change."""

import streamlit as st

from factory.training import failures, queue, reading, runs
from pages import frame

ICONS = {"warn": ":material/warning:", "info": ":material/lightbulb:", "good": ":material/trending_down:"}
COLOURS = {"warn": "orange", "info": "blue", "good": "green"}


def why_it_broke(db, run) -> None:
    """What happened to a failed or interrupted run, how that is known, and what may help."""
    found = failures.explain(run, runs.events(db, run["id"]))
    if found is None:
        if run["error"]:
            st.error(frame.plain(run["error"]), icon=":material/error:")
        return
    with st.container(border=True):
        st.error(f"**{frame.plain(found.what)}**", icon=":material/error:")
        for sentence in found.evidence:
            st.caption(frame.plain(sentence))
        if found.tries:
            st.markdown("Try again with …")
            with st.container(horizontal=True):
                for place, each in enumerate(found.tries):
                    again(db, run, each.words, dict(each.changes), key=f"try-{place}")


def show(db, run) -> None:
    """Each sentence with its evidence, and a button where a setting may help."""
    found = reading.of(db, run)
    for each in found:
        sentence = f":{COLOURS[each.tone]}[{frame.plain(each.sentence)}]"
        with st.container(gap="xxsmall"):
            st.markdown(f"{ICONS[each.tone]} {sentence} {frame.plain(each.evidence)}")
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                if each.next_step:
                    st.caption(frame.plain(each.next_step), width="content")
                if each.changes and run["status"] not in ("queued", "running"):
                    again(db, run, changed_words(each.changes), dict(each.changes), key=f"again-{each.code}", small=True)


def changed_words(changes) -> str:
    """What a button says that begins anew with these settings."""
    return "Try " + ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in changes.items())


def _shown(value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def again(db, run, words: str, changes: dict, *, key: str, small: bool = False) -> None:
    """A button that queues this run's clone, on the same data, with these changes; for builders."""
    person = frame.visitor(db)
    if not (person and person.may("builder")):
        return
    shown = {"icon": ":material/replay:", "type": "tertiary" if small else "secondary"}
    if st.button(words, key=key, help="Puts a clone of this run with this change into the queue.", **shown):
        with frame.trying():
            made = queue.clone(db, frame.settings(), run["id"], person=person, changes=changes)
            frame.done(f"Run {made}, a clone of run {run['id']} with this change, is in the queue.")
            st.switch_page("runs.py", query_params={"run": str(made)})
