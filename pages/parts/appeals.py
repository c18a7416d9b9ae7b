"""Appeals that somebody uninvolved has to answer."""

import streamlit as st

from factory.intake import appeals, reviews
from pages import frame


def answer(db, dataset, person) -> None:
    """The appeals this reviewer may answer, each with its example and a form."""
    waiting = appeals.open_appeals(db, dataset["id"], reviewer=person)
    if not waiting:
        return
    st.subheader(f"{len(waiting)} appeal{'s' if len(waiting) != 1 else ''} to answer", anchor=False)
    for appeal in waiting[:10]:
        with st.expander(frame.short(appeal["words"])), st.form(f"appeal-{appeal['appeal_id']}", border=False):
            frame.conversation(appeal["messages"])
            st.caption(f"Decided: {reviews.WHY.get(appeal['reason'], 'no reason')} The author says:")
            st.text(appeal["words"])
            verdict = st.segmented_control("The decision", ["upheld", "overturned"], default="upheld", required=True)
            words = st.text_input("Your answer to the author", max_chars=2000)
            if st.form_submit_button("Answer the appeal"):
                with frame.trying():
                    appeals.answer_appeal(db, appeal["appeal_id"], reviewer=person, answer=verdict, words=words)
                    frame.done("The appeal is answered.")
                    st.rerun()
