"""One example, typed in: kept as it is typed, so that a refresh loses nothing."""

import streamlit as st

from factory.intake import drafts
from factory.intake.formats import Row
from pages import frame
from pages.parts import evidence, send


def form(db, dataset, person) -> None:
    """Question and answer, what the checks say of them, and the way to submit them."""
    kept = next((d for d in drafts.listing(db, person, dataset_id=dataset["id"]) if d["source"] == "form"), None)
    fill(db, dataset, person, kept)
    question = st.text_area("Question or instruction", key="question", max_chars=20_000, height=100)
    answer = st.text_area("The answer you would want to read", key="answer", max_chars=20_000, height=160)
    draft_id = keep(db, dataset, person, kept["id"] if kept else None, question, answer)
    if draft_id is None:
        st.caption("Write both; what the checks say and the way to submit it appear below. It is kept as you type.")
        return
    row = drafts.row(db, draft_id, 0, person=person)
    if not question.strip() or not answer.strip():
        st.caption("Kept for you; it is judged when both fields have words.")
        return
    for finding in row["findings"]:
        tell = st.error if finding["refuses"] else st.warning
        tell(frame.plain(finding["sentence"]), icon=":material/block:" if finding["refuses"] else ":material/info:")
        evidence.places(row["messages"], finding["evidence"].get("spans", []))
    send.whole(db, dataset, person, drafts.get(db, draft_id, person=person))


def fill(db, dataset, person, kept) -> None:
    """Put what was typed before into the fields, when one comes to this dataset or has just submitted."""
    if st.session_state.get("typed-for") == dataset["id"] and not st.session_state.pop("emptied", False):
        return
    st.session_state["typed-for"] = dataset["id"]
    said = drafts.row(db, kept["id"], 0, person=person)["messages"] if kept else None
    st.session_state["question"] = said[0]["content"] if said else ""
    st.session_state["answer"] = said[-1]["content"] if said else ""


def keep(db, dataset, person, draft_id, question, answer) -> int | None:
    """The draft that holds these words now; none when both fields are empty."""
    if not question.strip() and not answer.strip():
        if draft_id is not None:
            drafts.delete(db, draft_id, person=person)
        return None
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    if draft_id is None:
        draft_id = drafts.begin(db, dataset["id"], person=person, rows=[Row(0, messages, None, "")], source="form")
    elif drafts.row(db, draft_id, 0, person=person)["messages"] != messages:
        drafts.edit(db, draft_id, 0, person=person, messages=messages)
    drafts.check(db, draft_id, person=person)
    return draft_id
