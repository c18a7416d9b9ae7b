"""What is needed: the topics of a dataset, the neediest first, and one topic with its rows and bounties."""

import pandas as pd
import streamlit as st

from factory.credit import needs
from factory.intake import contributions, formats, maps
from pages import frame
from pages.parts import bounties, dataset_map


def needed(db, dataset, person) -> None:
    """The whole tab."""
    board = needs.board(db, dataset["id"])
    dataset_map.drawing(board, dataset, person)
    if board["map"] is None:
        return
    chosen = st.session_state.get("topic-chosen", _of_address(board))
    dataset_map.picture(db, board, chosen)
    judged(board)
    table(board)
    if row := st.session_state.get("row-chosen"):
        one_row(db, row, person)
    if chosen is not None:
        topic(db, board, chosen, dataset, person)
    bounties.listed(db, board, dataset, person)
    with st.expander("How this is reckoned", icon=":material/help:"):
        for sentence in board["rules"]:
            st.caption(sentence)


def _of_address(board) -> int | None:
    wanted = st.query_params.get("topic", "")
    return int(wanted) if wanted.isdigit() and int(wanted) in {t["number"] for t in board["topics"]} else None


def judged(board) -> None:
    """What the latest adapter does on the held-out questions, in sums."""
    if board["adapter"] is None:
        st.caption("No adapter was measured on this version's held-out rows yet: what it fails will stand here.")
        return
    words = f"The latest adapter, {board['adapter']['name']}, loses {board['loss']:.2f} nats a token on held-out rows."
    if rest := board["elsewhere"]:
        words += (
            f" Of the {rest['questions']} that are near no topic, or in groups too small to tell apart, it fails"
            f" {rest['failing']} ({rest['worse']:+.2f} against its mean)."
        )
    st.caption(frame.plain(words))


def table(board) -> None:
    """The topics, the neediest first; one that is picked is shown below."""
    found = board["topics"]
    shown = pd.DataFrame(
        {
            "topic": [topic["name"] for topic in found],
            "rows": [topic["rows"] for topic in found],
            "share": [100 * topic["share"] for topic in found],
            "of questions": [f"{t['question_share']:.0%}" if t["question_share"] else "" for t in found],
            "more needed": [topic["missing"] for topic in found],
            "fails": [f"{t['failing']} of {t['questions']}" if t["failing"] is not None else "" for t in found],
            "against mean": [f"{t['worse']:+.2f}" if t["worse"] is not None else "" for t in found],
            "bounty": [topic["credits"] for topic in found],
        }
    )
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    columns = {
        "topic": text(width="medium"),
        "share": number(help="of the accepted rows", format="%.0f%%"),
        "of questions": text(help="share of the held-out questions; empty where fewer than five", alignment="right"),
        "more needed": number(help="accepted rows until the topic is no longer thin"),
        "fails": text(help="held-out questions that the latest adapter fails", alignment="right"),
        "against mean": text(help="its loss on them less its mean, nats a token; above zero is worse", alignment="right"),
        "bounty": number(help="credits left in open bounties", format="%.2f"),
    }
    picked = st.dataframe(shown, hide_index=True, on_select="rerun", selection_mode="single-row", column_config=columns,
                          key=f"topics-{board['map']['id']}")  # fmt: skip
    place = next(iter(picked.selection.rows), None)
    if place is not None and place != st.session_state.get("table-clicked"):
        st.session_state["table-clicked"], st.session_state["topic-chosen"] = place, found[place]["number"]
        st.session_state.pop("row-chosen", None)
        st.rerun()


def one_row(db, example_id, person) -> None:
    """The row of the point that was clicked."""
    with frame.trying(), st.container(border=True):
        st.caption(f"Example {example_id}")
        frame.conversation(contributions.show(db, example_id, person=person)["messages"])


def topic(db, board, number, dataset, person) -> None:
    """One topic: why it is needed, its most typical rows, and the way to give some."""
    one = next((topic for topic in board["topics"] if topic["number"] == number), None)
    if one is None:
        return
    with st.container(border=True):
        st.subheader(frame.plain(one["name"]), anchor=False)
        st.write(frame.plain(needs.in_words(one)) or "Nothing is missing here.")
        more = f"; also: {', '.join(one['words'][3:])}" if one["words"][3:] else ""
        st.caption(frame.plain(f"{frame.count(one['rows'], 'row')} by {one['people']:,} people{more}"))
        link = {"dataset": dataset["slug"]}
        st.page_link("contribute.py", label="Contribute to it", icon=":material/add_notes:", query_params=link)
        for row in maps.typical(db, board["map"]["id"], number, limit=5):
            with st.expander(frame.short(formats.question_of(row["content"]), 110)):
                frame.conversation(formats.messages(row["content"]))
        bounties.promise(db, board, one, dataset, person)
