"""One example at a time, blind: who wrote it is not shown, and never one's own."""

import time

import streamlit as st

from factory.intake import datasets, reviews
from pages import frame
from pages.parts import appeals, checks_of_mine, choice

ABOUT = "You judge the words, not the person: the author is hidden, and you are never shown your own."


def judge(example: dict, person_id: int, decision: str) -> None:
    """Record a verdict; runs as the button's callback, before the next example is drawn."""
    reason = st.session_state.get(f"reason-{example['example_id']}")
    note = st.session_state.get(f"note-{example['example_id']}", "")
    with frame.store.connect(frame.settings()) as db, frame.trying():
        reviews.decide(
            db,
            example["example_id"],
            reviewer=frame.people.get(db, person_id),
            decision=decision,
            reason=None if decision == "accept" else reason,
            note=note,
            seconds=time.time() - st.session_state.get(f"shown-{example['example_id']}", time.time()),
        )
        st.session_state["last-check"] = example["example_id"]
        frame.done({"accept": "Accepted.", "return": "Returned for changes.", "reject": "Rejected."}[decision])


def leave(example_id: int, person_id: int) -> None:
    """Leave an example to others; runs as the button's callback."""
    with frame.store.connect(frame.settings()) as db, frame.trying():
        reviews.declare_conflict(db, example_id, reviewer=frame.people.get(db, person_id))
        frame.done("It is left to others.")


with frame.page("Review", "reviewer", about=ABOUT) as (db, person):
    checks_of_mine.last(db, person)
    choices = {d["slug"]: d for d in reviews.waiting_anywhere(db, reviewer=person)}
    if not choices:
        for dataset in datasets.everything(db):
            appeals.answer(db, dataset, person)
            checks_of_mine.disputes(db, dataset, person)
        frame.empty("Nothing waits for your review. Thank you.", page="leaderboard.py", label="See the leaderboard")
        st.stop()
    slug = choice.picked("Dataset", list(choices), key="dataset", format_func=lambda s: choices[s]["title"])
    dataset = datasets.get(db, slug)
    skipped = st.session_state.setdefault("skipped", set())
    queue = reviews.queue(db, dataset["id"], reviewer=person, limit=20 + len(skipped))
    example = next((e for e in queue if e["example_id"] not in skipped), None)
    if example is None:
        skipped.clear()
        st.info("You have skipped all the rest; they start again now.")
        st.button("Start again")
        st.stop()
    left = choices[slug]["waiting"]
    pace = reviews.pace(db, person)
    st.caption(
        f"{left} left{f', about {frame.lasting(left * pace)}' if pace else ''}. Keys: 1 accept, 2 return, 3 reject, 4 skip."
    )

    words, beside = st.columns([3, 2])
    with words:
        frame.conversation(example["messages"])
        for hint in example["hints"]:
            st.warning(frame.plain(hint["sentence"]), icon=":material/flag:")
        st.session_state.setdefault(f"shown-{example['example_id']}", time.time())
        st.selectbox(
            "Reason, for a return or a rejection", list(reviews.REASONS), format_func=reviews.REASONS.get, index=None,
            key=f"reason-{example['example_id']}", placeholder="Choose what is wrong",
        )  # fmt: skip
        st.text_input("A word to the author (optional)", key=f"note-{example['example_id']}", max_chars=500)
        buttons = st.container(horizontal=True)
        for label, decision, key, icon in (
            ("Accept", "accept", "1", "check"), ("Return", "return", "2", "undo"), ("Reject", "reject", "3", "close")
        ):  # fmt: skip
            buttons.button(
                label, key=decision, icon=f":material/{icon}:", shortcut=key,
                type="primary" if decision == "accept" else "secondary",
                on_click=judge, args=(example, person.id, decision),
            )  # fmt: skip
        buttons.button(
            "Skip", key="skip", shortcut="4", type="tertiary", on_click=skipped.add, args=(example["example_id"],)
        )
        buttons.button("I have a conflict", key="conflict", type="tertiary", on_click=leave,
                       args=(example["example_id"], person.id),
                       help="You know who wrote it, or gain from it: it goes to others, and nobody asks why.")  # fmt: skip
    with beside:
        with st.container(border=True):
            st.markdown("**What belongs here**")
            st.text(dataset["purpose"])
            st.text(dataset["guidelines"])
        with st.container(border=True):
            st.markdown("**What it is most like**")
            near = reviews.neighbours(db, example["example_id"], reviewer=person)
            if near:
                st.caption(f"{near['jaccard']:.0%} of the same word groups")
                frame.conversation(near["messages"])
            else:
                st.caption("Nothing here is like it.")
        checks_of_mine.accuracy(db, person)
    checks_of_mine.disputes(db, dataset, person)
    appeals.answer(db, dataset, person)
