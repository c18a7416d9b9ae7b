"""One dataset: its rows, its frozen versions, its figures."""

import pandas as pd
import streamlit as st

from factory import charts
from factory.intake import browsing, contributions, datasets, formats, reviews
from pages import frame
from pages.parts import freezing, mine
from pages.parts import versions as sharing

PER_PAGE = 25


def rows(db, dataset, person) -> None:
    """The examples, searchable; a chosen row opens as a conversation."""
    left, right = st.columns([1, 2])
    state = left.selectbox(
        "State", ["accepted", "waiting", "returned", "rejected", "refused", "withdrawn"], key="state", bind="query-params"
    )
    search = right.text_input("Find words", key="search", bind="query-params", type="search")
    total = browsing.how_many(db, dataset["id"], person=person, state=state, search=search)
    pages = max(1, -(-total // PER_PAGE))
    number = min(st.pagination(pages, key="page"), pages) if pages > 1 else 1
    found = browsing.examples(
        db, dataset["id"], person=person, state=state, search=search, limit=PER_PAGE, offset=(number - 1) * PER_PAGE
    )
    if not found:
        frame.empty("No example in this state matches.")
        return
    table = pd.DataFrame(
        {
            "id": [r["example_id"] for r in found],
            "question": [formats.question_of(r["content"]) for r in found],
            "answer": [formats.answer_of(r["content"]) for r in found],
            "by": [r["author"] or "not shown before it is accepted" for r in found],
            "what was said": [r["sentences"] or reviews.WHY.get(r["reason"], "") for r in found],
            "since": [frame.moment(r["created_at"]) for r in found],
        }
    )
    picked = st.dataframe(
        table, hide_index=True, on_select="rerun", selection_mode="single-row", key=f"rows-{state}-{number}"
    )
    for place in [place for place in picked.selection.rows if place < len(found)]:
        frame.conversation(formats.messages(found[place]["content"]))
        mine.given(db, contributions.show(db, found[place]["example_id"], person=person))
        about = {"show": "Report", "example": str(found[place]["example_id"])}
        st.page_link("sanctions.py", label="Report this row", icon=":material/flag:", query_params=about)


def versions(db, dataset, person) -> None:
    """Frozen versions, a button to verify one, and a form to freeze the next."""
    rows = datasets.versions(db, dataset["id"])
    for row in rows:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            note = f"  \n:gray[{frame.short(row['note'], 120)}]" if row["note"] else ""
            rows_in = frame.count(row["row_count"], "row")
            st.markdown(f"**Version {row['number']}** · {rows_in} · {frame.ago(row['frozen_at'])}{note}")
            st.code(row["root"][:16], language=None, width="content")
            if st.button("Verify", key=f"verify-{row['id']}", icon=":material/verified:"):
                with frame.trying():
                    datasets.verify_version(db, row["id"])
                    st.success("Every row and the Merkle root are as frozen.")
            sharing.shared(db, row)
            st.page_link("train.py", label="Train on it", query_params={"version": str(row["id"])}, icon=":material/tune:")
    sharing.changes(db, rows)
    if not rows:
        frame.empty("Nothing is frozen yet. A version can be frozen once examples are accepted.")
    if person.may("curator"):
        freezing.seal(db, dataset, person)
        freezing.freeze(db, dataset, person)


def statistics(db, dataset) -> None:
    """Acceptance over time and why rows were refused."""
    over_time = datasets.acceptance_over_time(db, dataset["id"])
    refusals = datasets.refusals(db, dataset["id"])
    left, right = st.columns(2)
    left.markdown("**Accepted, all told**")
    if over_time:
        left.line_chart(pd.DataFrame(over_time), x="day", y="accepted", height=240)
    else:
        left.caption("Nothing is accepted yet.")
    right.markdown("**Why rows were refused by the checks**")
    if refusals:
        right.plotly_chart(charts.bars(refusals, label="title", values={"rows": "examples"}, x="rows"), key="refusals")
    else:
        right.caption("No row was refused.")
