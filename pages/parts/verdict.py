"""Saying what one thinks of an example: buttons with their keys, reasons with theirs, and a way back for a moment."""

import time

import streamlit as st

from factory.intake import gold, held, reviews
from pages import frame

BUTTONS = (("Accept", "accept", "1", "check"), ("Return", "return", "2", "undo"), ("Reject", "reject", "3", "close"))
KEYS = "1234567890AB"  # of the reasons, while one is chosen
SAID = {"accept": "Accepted.", "return": "Returned for changes.", "reject": "Rejected."}


def give(example_id: int, person_id: int, decision: str, reason: str | None = None) -> None:
    """Say a verdict; runs as a button's callback, before the next example is drawn."""
    shown = st.session_state.get(f"shown-{example_id}", time.time())
    st.session_state.pop("choosing", None)
    with frame.store.connect(frame.settings()) as db, frame.trying():
        person = frame.people.get(db, person_id)
        held.say(
            db, example_id, reviewer=person, decision=decision, reason=reason,
            note=st.session_state.get(f"note-{example_id}", ""), seconds=time.time() - shown,
        )  # fmt: skip
        st.session_state["last-check"] = example_id if gold.feedback(db, example_id, reviewer=person) else None
        frame.done(SAID[decision])


def back(person_id: int) -> None:
    """Take the verdict on hold back; runs as a button's callback."""
    with frame.store.connect(frame.settings()) as db, frame.trying():
        st.session_state["again"] = held.take_back(db, reviewer=frame.people.get(db, person_id))
        frame.done("Your verdict is taken back.")


def leave(example_id: int, person_id: int) -> None:
    """Leave an example to others; runs as a button's callback."""
    with frame.store.connect(frame.settings()) as db, frame.trying():
        reviews.declare_conflict(db, example_id, reviewer=frame.people.get(db, person_id))
        frame.done("It is left to others.")


def on_hold(db, person) -> None:
    """The verdict that can still be taken back."""
    if held.on_hold(db, person):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button("Undo", key="undo", shortcut="U", icon=":material/history:", on_click=back, args=(person.id,))
            st.caption("Your last verdict counts in ten seconds, or with the next one.")


def buttons(example, person, skipped: set) -> None:
    """The four answers; return and reject then ask for the reason."""
    example_id = example["example_id"]
    st.session_state.setdefault(f"shown-{example_id}", time.time())
    choosing = st.session_state.get("choosing", (None, None))
    if choosing[0] == example_id:
        reasons(example_id, person, choosing[1])
        return
    with st.container(horizontal=True):
        st.button(
            "Accept", key="accept", icon=":material/check:", shortcut="1", type="primary", on_click=give,
            args=(example_id, person.id, "accept"),
        )  # fmt: skip
        for label, decision, key, icon in BUTTONS[1:]:
            st.button(label, key=decision, icon=f":material/{icon}:", shortcut=key, on_click=choose,
                      args=(example_id, decision))  # fmt: skip
        st.button("Skip", key="skip", shortcut="4", type="tertiary", on_click=skipped.add, args=(example_id,))
        st.button("I have a conflict", key="conflict", shortcut="5", type="tertiary", on_click=leave,
                  args=(example_id, person.id),
                  help="You know who wrote it, or gain from it: it goes to others, and nobody asks why.")  # fmt: skip


def choose(example_id: int | None, decision: str = "") -> None:
    """Ask for the reason of a return or a rejection, or no longer; runs as a button's callback."""
    if example_id is None:
        st.session_state.pop("choosing", None)
    else:
        st.session_state["choosing"] = (example_id, decision)


def reasons(example_id: int, person, decision: str) -> None:
    """The closed list, each with its key, and a word to the author."""
    st.markdown(f"**{'Return it for changes' if decision == 'return' else 'Reject it'}: why?**")
    st.text_input("A word to the author (optional, type it first)", key=f"note-{example_id}", max_chars=500)
    for key, (reason, sentence) in zip(KEYS, reviews.REASONS.items(), strict=True):
        st.button(sentence, key=f"because-{reason}", shortcut=key, width="stretch", on_click=give,
                  args=(example_id, person.id, decision, reason))  # fmt: skip
    st.button("Back", key="back", shortcut="Esc", type="tertiary", on_click=choose, args=(None,))
