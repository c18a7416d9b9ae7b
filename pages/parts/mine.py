"""My examples by state, each with its whole story and a way to answer it."""

import streamlit as st

from factory.intake import appeals, contributions, formats, provenance, turns
from pages import frame
from pages.parts import timeline

PER_PAGE = 20


def examples(db, dataset, person) -> None:
    """Everything I offered to this dataset."""
    counts = contributions.counts(db, person, dataset["id"])
    if not counts:
        st.caption("You have not contributed to this dataset yet.")
        return
    state = st.pills(
        "State",
        list(counts),
        default=next(iter(counts)),
        format_func=lambda s: f"{s} {counts[s]}",
        key="mine",
        required=True,
    )
    pages = -(-counts[state] // PER_PAGE)
    number = st.pagination(pages, key=f"mine-{state}") if pages > 1 else 1
    for row in contributions.mine(
        db, person, dataset_id=dataset["id"], state=state, limit=PER_PAGE, offset=(number - 1) * PER_PAGE
    ):
        label = frame.short(formats.answer_of(row["content"]), 110)
        with st.expander(label, key=f"mine-{row['example_id']}", on_change="rerun") as box:
            if box.open:  # else twenty conversations are drawn that nobody looks at
                frame.conversation(formats.messages(row["content"]))
                story(db, contributions.show(db, row["example_id"], person=person), person)
                actions(db, row, person)


def story(db, example, person) -> None:
    """Where it came from, and everything that happened to it since; reviewers stay unnamed."""
    given(db, example)
    timeline.story(db, example["example_id"], person)
    if example["versions"]:
        st.caption(f"In version {', '.join(map(str, example['versions']))}")


def given(db, example) -> None:
    """When, under which words, from which place in a file, and as whose better version it was offered."""
    word = f" “{example['attested']}”" if example["attested"] else ""
    st.caption(frame.plain(f"{frame.ago(example['created_at'])}: offered. Given under {example['licence']}.{word}"))
    place = provenance.of(db, example["example_id"])
    if place or example["file_name"]:
        st.caption(frame.plain(f"From {place.words() if place else example['file_name']}"))
    if example["supersedes"]:
        st.caption(f"A mended version of example {example['supersedes']}")
    if example["superseded_by"]:
        st.caption(f"Mended since, as example {example['superseded_by']}")


def actions(db, row, person) -> None:
    """Mend, appeal or withdraw, as the state allows."""
    example_id, state = row["example_id"], row["state"]
    if state in ("returned", "rejected", "refused", "waiting"):
        said = formats.messages(row["content"])
        with st.form(f"mend-{example_id}", border=False):
            asked = st.text_area("Mended question", turns.question(said), height=80)
            mended = st.text_area("Mended answer", turns.answer(said), height=140)
            if st.form_submit_button("Submit the mended one", icon=":material/edit:"):
                with frame.trying():
                    messages = turns.with_words(said, question=asked, answer=mended)
                    contributions.revise(db, example_id, person=person, messages=messages)
                    frame.done("The mended example waits for review.")
                    st.rerun()
    if state in ("returned", "rejected") and not row["appeal"]:
        with st.form(f"appeal-{example_id}", border=False):
            words = st.text_input("Why this should be looked at again", max_chars=2000)
            if st.form_submit_button("Appeal, once", icon=":material/gavel:"):
                with frame.trying():
                    appeals.appeal(db, example_id, person=person, words=words)
                    frame.done("Somebody uninvolved will look again.")
                    st.rerun()
    if state in ("waiting", "accepted") and st.button("Withdraw it", key=f"withdraw-{example_id}"):
        with frame.trying():
            contributions.withdraw(db, example_id, person=person, reason="withdrawn by its author")
            frame.done("It will not be in the next version.")
            st.rerun()
