"""One row of a draft in full: what was found in it and where, beside what it repeats, and every turn to mend."""

import streamlit as st

from factory.base.errors import FactoryError
from factory.intake import checks, contributions, drafts, provenance
from pages import frame
from pages.parts import evidence


def opened(db, person, draft, rows) -> None:
    """Choose a row of this page and see all of it."""
    positions = [row["position"] for row in rows]
    picked = st.selectbox(
        "Open a row in full", positions, index=None, key=f"row-{draft['id']}", placeholder="a row of this page",
        format_func=lambda position: f"Row {position + 1:,}",
    )  # fmt: skip
    if picked is None:
        return
    row = next((row for row in rows if row["position"] == picked), None)
    if row is None:
        return
    with st.container(border=True):
        place = provenance.said(row["place"])
        if place:
            st.caption(frame.plain(place.words()))
        for finding in row["findings"]:
            found(db, person, draft, row, finding)
        if row["messages"] is None:
            st.caption("What the file has there:")
            st.text(row["raw"] or "nothing")
        turns(db, person, draft, row)


def found(db, person, draft, row, finding) -> None:
    """What a check found, the words it means, and the example or row that is repeated."""
    rule = checks.RULES.get(finding["code"])
    advice = rule.advice if rule else ""
    tell = st.error if finding["refuses"] else st.warning
    tell(
        frame.plain(f"{finding['sentence']} {advice}"), icon=":material/block:" if finding["refuses"] else ":material/info:"
    )
    said = finding["evidence"]
    evidence.places(row["messages"], said.get("spans", []))
    if "example_id" in said:
        with frame.trying(), st.expander(f"Example {said['example_id']}, which it repeats"):
            try:
                frame.conversation(contributions.show(db, said["example_id"], person=person)["messages"])
            except FactoryError:
                st.caption("It is not accepted yet, so only its author and reviewers see it.")
    elif "position" in said:
        with st.expander(f"Row {said['position'] + 1:,}, which it repeats"):
            frame.conversation(drafts.row(db, draft["id"], said["position"], person=person)["messages"] or [])


def turns(db, person, draft, row) -> None:
    """Every turn in a field of its own."""
    messages = row["messages"] or [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]
    names = {"system": "System", "user": "Question", "assistant": "Answer"}
    key = f"turns-{draft['id']}-{row['position']}-{st.session_state.get('turned', 0)}"
    with st.form(key, border=False):
        said = [
            st.text_area(names.get(turn["role"], turn["role"]), str(turn["content"]), height=100, key=f"{key}-{number}")
            for number, turn in enumerate(messages)
        ]
        if st.form_submit_button("Keep and check it", icon=":material/save:"):
            with frame.trying():
                changed = [{**turn, "content": words} for turn, words in zip(messages, said, strict=True)]
                drafts.edit(db, draft["id"], row["position"], person=person, messages=changed)
                st.session_state["turned"] = st.session_state.get("turned", 0) + 1
                st.rerun()
