"""The places in an example that a check means, with a few words around them."""

import streamlit as st

from pages import frame

AT_MOST, AROUND, LONGEST = 5, 40, 200  # places of one finding; characters before and after; characters of one place


def places(messages, spans) -> None:
    """Each place as a line, its words in colour; nothing that people wrote is Markdown."""
    for span in spans[:AT_MOST]:
        st.markdown(marked(messages, span))
    if len(spans) > AT_MOST:
        st.caption(f"and {frame.count(len(spans) - AT_MOST, 'more place')}")


def marked(messages, span: dict) -> str:
    """One place of a conversation as Markdown.

    >>> marked([{"content": "Call 555 now"}], {"message": 0, "start": 5, "end": 8})
    'Call :red-background[555] now'
    """
    text, start, end = messages[span["message"]]["content"], span["start"], span["end"]
    before, there, after = text[max(0, start - AROUND) : start], text[start:end], text[end : end + AROUND]
    shown = f"{_line(there[:LONGEST])}{'…' * (len(there) > LONGEST)}" or "␣"
    left, right = "…" * (start > AROUND), "…" * (end + AROUND < len(text))
    return f"{left}{_line(before)}:red-background[{shown}]{_line(after)}{right}"


def _line(text: str) -> str:
    """On one line: a line break would end the colour."""
    return frame.plain(text.replace("\n", " "))
