"""Credits that are held while something is examined, payments that were wrong, and what a total below zero means."""

import pandas as pd
import streamlit as st

from factory.credit import freezes, ledger
from factory.intake.sanctions import MOST_WORDS
from pages import frame
from pages.parts import held

PER_PAGE = 50
POOL = (
    "The pool is where credits come from: its total is below zero by exactly as much as everybody was ever paid, so that "
    "all accounts together are zero. A person's total is below zero after a payment to them was countered of which "
    "something had moved on; later payments fill it up first."
)


def everything(db, person) -> None:
    """Everything that is or was held, for everybody; for admins the forms."""
    st.caption("Credits can be held for a while when something has to be examined. They lie on an account of their own in "
               "the ledger, and are given back at the date by themselves, unless they go back to the pool.")  # fmt: skip
    freezes.release_due(db)
    found = freezes.listing(db, limit=PER_PAGE)
    if not found:
        frame.empty("No credits were ever held.")
    for one in found:
        held.still(one)
    held.ended([one for one in found if one["outcome"]])
    if person.may("admin"):
        hold(db, person)
        end(db, person, [one for one in found if not one["outcome"]])
        counter(db, person)


def hold(db, person) -> None:
    """Hold credits of a person or an adapter."""
    with st.expander("Hold credits", icon=":material/lock_clock:"), st.form("hold", border=False):
        kind = st.segmented_control("Of", ["a person", "an adapter", "a run"], default="a person", required=True)
        left, right = st.columns([3, 1])
        which = left.text_input("Sign-in name, or number of the adapter or run")
        days = right.number_input("Days at most", 1, freezes.MOST_DAYS, 14)
        reason = st.text_area("Why; everybody can read it", max_chars=MOST_WORDS)
        if st.form_submit_button("Hold them", icon=":material/lock_clock:"):
            with frame.trying():
                key = {"a person": "who", "an adapter": "adapter_id", "a run": "run_id"}[kind]
                if key != "who" and not frame.is_id(which.strip()):
                    raise frame.Invalid("Name an adapter or a run by its number; its page shows it.")
                named = which.strip().lower() if key == "who" else int(which)
                made = freezes.freeze(db, by=person, reason=reason, days=days, **{key: named})
                frame.done(f"Freeze {made} holds; those concerned see it at once.")
                st.rerun()


def end(db, person, holding: list[dict]) -> None:
    """Give back what is held, or take it back."""
    if not holding:
        return
    names = {
        one["id"]: f"{one['id']}: {held.about(one)}, {frame.credits(one['micro_credits']):,.2f} credits" for one in holding
    }
    with st.expander("End what is held", icon=":material/lock_open:"), st.form("end", border=False):
        chosen = st.selectbox("Which", list(names), format_func=names.get)
        outcome = st.segmented_control("The credits are", ["released", "taken back"], default="released", required=True)
        st.caption("Released: to the people, as if nothing had been. Taken back: to the pool, for good.")
        reason = st.text_area("Why; everybody can read it", max_chars=MOST_WORDS)
        if st.form_submit_button("End it"):
            with frame.trying():
                freezes.end(db, chosen, by=person, outcome=outcome, reason=reason)
                frame.done(f"Freeze {chosen} has ended: {outcome}.")
                st.rerun()


def counter(db, person) -> None:
    """Undo a payment that was wrong."""
    with st.expander("Counter a payment", icon=":material/undo:"), st.form("counter", border=False):
        st.caption("Undoes a payment with its opposite. Both stay in the book, and its progress can be paid for again.")
        number = st.text_input("Number of the payment, as in the public ledger")
        reason = st.text_input("Why it is wrong; it stays in the book", max_chars=500)
        sure = st.checkbox("Take these credits from everybody whom it paid")
        if st.form_submit_button("Counter it"):
            with frame.trying():
                if not frame.is_id(number.strip()) or not sure:
                    raise frame.Invalid("Give the number of a payment, and confirm what it does.")
                made = ledger.counter(db, int(number), person=person, reason=reason)
                frame.done(f"Transaction {made} is its opposite.")
                st.rerun()


def totals(db) -> None:
    """Every account with its total, the pool too, and what a total below zero means."""
    with st.expander("Totals of all accounts", icon=":material/account_balance:"):
        st.caption(POOL)
        rows = ledger.balances(db)[:1000]
        names = [
            frame.person_name({"name": r["person"], "is_demo": r["is_demo"]})
            + (", held" if r["account"].startswith("held:") else "") for r in rows
        ]  # fmt: skip
        number = st.column_config.NumberColumn(format="%.2f")
        table = pd.DataFrame({"account": names, "credits": [r["credits"] for r in rows]})
        st.dataframe(table, hide_index=True, column_config={"credits": number})
