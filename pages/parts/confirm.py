"""What could become rows of a document, one by one, each beside the passage it comes from."""

import streamlit as st

from factory.intake import drafts, provenance
from pages import frame


def whole(db, person, draft) -> None:
    """The next one to confirm, mend or leave out."""
    done = draft["rows"] + draft["dropped"] - draft["to_confirm"]
    st.progress(done / max(1, draft["rows"] + draft["dropped"]), f"{draft['to_confirm']:,} to confirm, {done:,} done")
    st.caption("Made from your document; none is sent before you confirm it.")
    row = following(db, person, draft)
    place = provenance.said(row["place"])
    with st.container(border=True):
        left, right = st.columns(2, gap="medium")
        with left:
            st.caption(frame.plain(place.words() if place else "Where it stands is not known."))
            with st.container(height=330, border=False):
                st.text(place.passage if place else "")
        with right:
            question, answer = fields(draft, row)
        for finding in row["findings"]:
            icon = ":material/block:" if finding["refuses"] else ":material/info:"
            (st.error if finding["refuses"] else st.warning)(frame.plain(finding["sentence"]), icon=icon)
        with st.container(horizontal=True):
            ready = bool(question.strip() and answer.strip())
            if st.button("Confirm", type="primary", icon=":material/check:", disabled=not ready):
                with frame.trying():
                    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
                    if messages == row["messages"]:
                        drafts.confirm(db, draft["id"], [row["position"]], person=person)
                    else:
                        drafts.edit(db, draft["id"], row["position"], person=person, messages=messages)
                    st.rerun()
            if st.button("Leave it out", icon=":material/close:"):
                drafts.set_apart(db, draft["id"], [row["position"]], person=person)
                st.rerun()
            if st.button("Later", icon=":material/skip_next:", type="tertiary", disabled=draft["to_confirm"] < 2):
                st.session_state["confirm-after"] = draft["id"], row["position"]
                st.rerun()
            if not ready:
                st.caption("Write the question that this answers, then confirm it.")


def following(db, person, draft) -> dict:
    """The first that nobody confirmed, after the one that was put off."""
    put_off = st.session_state.get("confirm-after", (0, -1))
    after = put_off[1] if put_off[0] == draft["id"] else -1
    found = drafts.to_confirm(db, draft["id"], person=person, after=after)
    return found or drafts.to_confirm(db, draft["id"], person=person, after=-1)


def fields(draft, row) -> tuple[str, str]:
    """The question and the answer, to mend."""
    key = f"{draft['id']}-{row['position']}"
    question = st.text_area("Question", row["messages"][0]["content"], key=f"confirm-q-{key}", height=90)
    return question, st.text_area("Answer", row["messages"][-1]["content"], key=f"confirm-a-{key}", height=200)
