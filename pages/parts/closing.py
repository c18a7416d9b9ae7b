"""Closing one's own account: what goes, what stays, and a name typed once more."""

import streamlit as st

from factory.intake import closing
from pages import frame


def close(db, person) -> None:
    """The form, folded away, with everything it would do."""
    with st.expander("Close my account", icon=":material/person_off:"):
        weighed = closing.weigh(db, person)
        left, right = st.columns(2)
        left.markdown("**This goes**")
        right.markdown("**This stays**")
        for column, sentences in ((left, weighed["goes"]), (right, weighed["stays"])):
            for sentence in sentences:
                column.markdown(f"- {frame.plain(sentence)}")
        with st.form("closing", border=False):
            count = weighed["examples"]
            withdraw = count > 0 and st.checkbox(f"Withdraw my {frame.count(count, 'example')} first")
            forget = st.checkbox("Forget my name: what I did is then by a closed account")
            again = st.text_input("Your sign-in name once more", placeholder=person.name, autocomplete="off")
            st.caption("Nobody can undo this.")
            if st.form_submit_button("Close my account for good", icon=":material/person_off:"):
                with frame.trying():
                    closing.close(db, person, name_again=again, forget_name=forget, withdraw=bool(withdraw))
                    st.rerun()
