"""What an example is read beside, with the words that differ in colour."""

import streamlit as st

from factory.intake import differences, timeline
from pages import frame

COLOURS = {"gone": "red", "new": "green"}
ALIKE = 0.2  # below, colouring what differs would colour nearly all
ICONS = {"user": ":material/person:", "assistant": ":material/smart_toy:"}


def beside(db, example, person) -> None:
    """The version it mends, or the example most like it, in meaning or in words."""
    found = timeline.beside(db, example["example_id"], reviewer=person)
    with st.container(border=True):
        if found is None:
            st.markdown("**What it is most like**")
            st.caption("Nothing here is like it.")
            return
        if found["kind"] == "former":
            st.markdown("**What was mended**")
            for note in found["notes"]:
                st.caption(f"It came back, because: {frame.plain(note)}")
            st.markdown(":red-background[taken out]  :green-background[put in]")
            changes(found["messages"], example["messages"])
            return
        st.markdown("**What it is most like**")
        if found["kind"] == "meaning":
            st.caption(f"{found['cosine']:.0%} alike in meaning, in other words: example {found['example_id']}.")
            frame.conversation(found["messages"])
            return
        alike = f"{found['jaccard']:.0%} of the same word groups as example {found['example_id']}"
        if found["jaccard"] < ALIKE:
            st.caption(alike)
            frame.conversation(found["messages"])
            return
        st.caption(f"{alike}. What differs:")
        st.markdown(":red-background[only in the other]  :green-background[only in this one]")
        changes(found["messages"], example["messages"])


def changes(older, newer) -> None:
    """Two conversations as one, turn by turn."""
    for role, pieces in differences.of_messages(older, newer):
        with st.chat_message(role, avatar=ICONS.get(role, ":material/settings:")):
            st.markdown(coloured(pieces))


def coloured(pieces) -> str:
    """Pieces as Markdown in which nothing that people wrote is Markdown; what is gone is struck out too.

    >>> coloured([("same", "a "), ("new", "b*"), ("gone", " c")])
    'a :green-background[b\\\\*] :red-background[~~c~~]'
    """
    words = []
    for kind, text in pieces:
        colour = COLOURS.get(kind)
        lines = [frame.plain(line) for line in text.split("\n")]
        if colour:
            lines = [_in_colour(line, colour) for line in lines]
        words.append("  \n".join(lines))
    return "".join(words)


def _in_colour(line: str, colour: str) -> str:
    words = line.strip()
    if not words:
        return line
    before, _, after = line.partition(words)
    return f"{before}:{colour}-background[{f'~~{words}~~' if colour == 'red' else words}]{after}"
