"""Bounties of a dataset: which are open, how to promise one, and the pot."""

import pandas as pd
import streamlit as st

from factory.credit import bounties, ledger, rewards
from pages import frame

RULE = (
    "Reserved at once. A row is paid once its acceptance has stood for three days, if it came after the bounty was opened,"
    " is of the topic, nobody's copy and not your own. What is left flows back when the date has come, or when you end it."
)


def promise(db, board, topic, dataset, person) -> None:
    """A form to promise credits for rows of a topic."""
    mine = ledger.balance(db, ledger.account(person.id)) / ledger.MICRO
    keeps = dataset["owner_id"] == person.id or person.may("curator")
    if mine < 0.01 and not (keeps and board["pot"] >= 0.01):
        st.caption("Who has credits can promise them for rows of this topic. You have none to promise yet.")
        return
    with st.popover("Promise credits for it", icon=":material/redeem:"), st.form(f"promise-{topic['number']}", border=False):
        st.caption(RULE)
        payers = [f"my own ({mine:,.2f})", *([f"the pot ({board['pot']:,.2f})"] if keeps else [])]
        payer = st.radio("Credits from", payers, horizontal=True)
        rows = st.number_input("Rows", 1, bounties.MOST_ROWS, 10)
        each = st.number_input("Credits for each", 0.01, 1e6, 1.0, step=0.5)
        days = st.number_input("Days", 1, bounties.MOST_DAYS, 30)
        words = st.text_input("What you wish", max_chars=500)
        if st.form_submit_button("Promise them", type="primary"):
            with frame.trying():
                made = bounties.open_one(
                    db, dataset["id"], topic["number"], person=person, rows=int(rows), credits_each=each, days=days,
                    words=words, from_pot=payer != payers[0],
                )  # fmt: skip
                frame.done(f"Bounty {made} is open; {rows * each:,.2f} credits are reserved for it.")
                st.rerun()


def listed(db, board, dataset, person) -> None:
    """Open and ended bounties, and the pot."""
    st.subheader("Bounties", anchor=False)
    found = bounties.listing(db, dataset_id=dataset["id"], limit=30)
    if not found:
        st.caption("No credits are promised for rows of this dataset. Choose a topic above to promise some.")
    else:
        table = pd.DataFrame(
            {
                "topic": [one["name"] for one in found],
                "wish": [one["words"] for one in found],
                "credits a row": [one["credits_each"] for one in found],
                "paid": [one["paid_rows"] for one in found],
                "left": [one["rows_left"] for one in found],
                "by": [frame.person_name({"name": one["opened_by_name"], "is_demo": one["is_demo"]}) for one in found],
                "until": [frame.moment(one["until"]) for one in found],
                "state": [one["state"] for one in found],
                "no": [one["id"] for one in found],
            }
        )
        columns = {
            "credits a row": st.column_config.NumberColumn(format="%.2f"),
            "until": st.column_config.DatetimeColumn(format="D MMM YYYY"),
        }
        st.dataframe(table, hide_index=True, column_config=columns)
        end_early(db, [one for one in found if rewards.may_end(one, person)], person)
    pot(db, board, dataset, person)


def end_early(db, mine, person) -> None:
    """A form to end one of the bounties that this person may end."""
    if not mine:
        return
    names = {one["id"]: f"{one['id']}: {one['name']}, {one['credits_left']:,.2f} credits left" for one in mine}
    with st.popover("End one early", icon=":material/event_busy:"), st.form("end-bounty", border=False):
        which = st.selectbox("Bounty", list(names), format_func=names.get)
        reason = st.text_input("Why; everybody can read it", max_chars=rewards.MOST_WORDS)
        st.caption("Rows that came before are still decided and paid; what is left flows back to where it came from.")
        if st.form_submit_button("End it now"):
            with frame.trying():
                ended = rewards.end_early(db, which, person=person, reason=reason)
                waits = "what is left flows back once rows that came in time are decided"
                frame.done(
                    f"Bounty {which} is over." if ended["ended_at"] else f"Bounty {which} takes no more rows; {waits}."
                )
                st.rerun()


def pot(db, board, dataset, person) -> None:
    """What lies in the pot, and a way to add to it."""
    st.caption(f"The dataset's pot has {board['pot']:,.2f} credits. Its owner and curators promise them; all may add to it.")
    if (mine := ledger.balance(db, ledger.account(person.id)) / ledger.MICRO) < 0.01:
        return
    with st.popover("Give to the pot", icon=":material/savings:"), st.form("pot", border=False):
        credits = st.number_input("Credits", 0.01, max(0.01, mine), min(1.0, mine))
        if st.form_submit_button("Give them; they do not come back"):
            with frame.trying():
                bounties.give(db, dataset["id"], person=person, credits=credits)
                frame.done(f"{credits:,.2f} credits are in the pot.")
                st.rerun()
