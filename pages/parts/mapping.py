"""Which column becomes what, where a file does not say it by itself, with its first rows as they would become."""

import pandas as pd
import streamlit as st

from factory.intake import formats, turns
from factory.intake.columns import Mapping
from pages import frame

PARTS = {"question": "Question", "answer": "Answer", "input": "Below the question", "system": "System"}
WAYS = ["one column each", "a whole conversation in one column"]
ENCODINGS = {"": "as it seems", "utf-8": "UTF-8", "cp1252": "Western (Windows)", "iso-8859-15": "Western (ISO)",
             "mac_roman": "Western (Mac)", "cp1250": "Central European", "cp1251": "Cyrillic", "shift_jis": "Japanese",
             "gb18030": "Chinese", "euc_kr": "Korean"}  # fmt: skip


def screen(source, name, look) -> dict | None:
    """What a person says of the columns, once they say it is right; None until then."""
    with st.container(border=True):
        st.markdown("**Which column is which?**")
        st.caption(frame.plain(f"{look.why} {look.note}".strip()))
        encoding = st.selectbox(
            "Letters", list(ENCODINGS), format_func=ENCODINGS.get, key="encoding",
            help="Change it where letters with accents or whole words look wrong below.",
        )  # fmt: skip
        columns = formats.look(source, name=name, settings=frame.settings(), encoding=encoding).columns
        chosen = choose(columns, look.mapping or Mapping())
        problems = chosen.problems(columns)
        if problems:
            st.info(" ".join(frame.plain(problem) for problem in problems), icon=":material/help:")
        else:
            preview(formats.look(source, name=name, settings=frame.settings(), mapping=chosen, encoding=encoding).first)
        start = st.number_input(
            "Begin at row", 1, frame.settings().max_file_rows, 1, key="start", help="A draft takes 10,000 rows."
        )
        if st.button("Use these columns", type="primary", disabled=bool(problems), icon=":material/check:"):
            return {"mapping": chosen, "encoding": encoding, "start": int(start) - 1}
    return None


def choose(columns, suggested: Mapping) -> Mapping:
    """A column for each part, beginning with what seems likely."""
    way = st.segmented_control("How", WAYS, default=WAYS[bool(suggested.turns)], key="mapping-way", required=True)
    if way == WAYS[1]:
        return Mapping(turns=column("Conversation", columns, suggested.turns, "turns"))
    with st.container(horizontal=True):
        return Mapping(**{part: column(words, columns, getattr(suggested, part), part) for part, words in PARTS.items()})


def column(label, columns, suggested, key) -> str:
    """One column by its name, or none."""
    options = ["", *columns]
    at = options.index(suggested) if suggested in options else 0
    return (
        st.selectbox(label, options, index=at, key=f"column-{key}", format_func=lambda name: name[:60] or "none", width=170)
        or ""
    )


def preview(rows) -> None:
    """The first rows as they would become; why not, where they would not."""
    st.markdown("**The first rows as they would become**")
    table = {
        "row": [row.position + 1 for row in rows],
        "question": [turns.question(row.messages) for row in rows],
        "answer": [turns.answer(row.messages) for row in rows],
        "turns": [len(row.messages or []) for row in rows],
        "why not": [row.problem or "" for row in rows],
    }
    kept = {name: values for name, values in table.items() if name != "why not" or any(values)}
    narrow, wide = st.column_config.NumberColumn(width=56), st.column_config.TextColumn(width=260)
    shown = {"row": narrow, "turns": narrow, "question": wide}
    st.dataframe(pd.DataFrame(kept), hide_index=True, height=min(38 + 35 * len(rows), 300), column_config=shown)
    whole = next((row.messages for row in rows if row.messages), None)
    if whole:
        with st.expander("The first one in full"):
            frame.conversation(whole)
