"""What waits for a moderator: reports, appeals against others' decisions, sanctions that hold, and a form for a new one."""

import streamlit as st

from factory.intake import reports, sanctions
from pages import frame
from pages.parts import conduct

SHOWN = 20


def fields(person) -> dict:
    """The widgets of a decision; what they hold."""
    kinds = [kind for kind in sanctions.KINDS if kind != "paused" or person.may("admin")]
    left, middle, right = st.columns([2, 3, 1])
    return {
        "kind": left.selectbox("What", kinds, format_func=sanctions.TITLES.get),
        "reason": middle.selectbox("Why", list(sanctions.REASONS), format_func=sanctions.REASONS.get),
        "days": right.number_input("Days", 1, max(days for _, days in sanctions.KINDS.values()), 7),
        "words": st.text_area(conduct.PUBLIC, **conduct.WORDS),
    }


def said(db, sanction_id: int) -> None:
    """Tell the moderator what was decided, and when nobody could answer an appeal."""
    made = sanctions.get(db, sanction_id)
    alone = "" if sanctions.can_be_answered(db, made) else (
        f" Nobody else here can answer an appeal: it would lift this after {sanctions.APPEAL_DAYS} days."
    )  # fmt: skip
    frame.done(f"Sanction {sanction_id} holds until {sanctions.day(made['ends_at'])}; the person sees it at once.{alone}")
    st.rerun()


def waiting(db, person) -> None:
    """Reports, oldest first, and what can be done about each."""
    found = reports.queue(db, by=person, limit=SHOWN + 1)
    st.subheader(f"Reports: {'over ' if len(found) > SHOWN else ''}{min(len(found), SHOWN)}", anchor=False)
    if not found:
        frame.empty(
            "No report waits for you. Those about you, by you, or about rows you wrote or judged go to somebody else."
        )
    for report in found[:SHOWN]:
        about = f"example {report['example_id']} by {report['person']}" if report["example_id"] else report["person"]
        with st.expander(frame.plain(f"{about}: {report['why']}"), expanded=len(found) == 1):
            st.caption(frame.plain(f"{report['by_name']} says, {frame.ago(report['at'])} ({report['dismissed_before']} of "
                                   f"their earlier reports were dismissed):"))  # fmt: skip
            st.text(report["words"])
            if report["messages"]:
                st.caption(f"Example {report['example_id']} is {report['state']}.")
                frame.conversation(report["messages"])
            st.caption(frame.plain(f"{report['person']} had {frame.count(report['sanctions_before'], 'sanction')} before."))
            with st.form(f"act-{report['report_id']}"):
                decided = fields(person)
                if st.form_submit_button("Decide this", icon=":material/gavel:"):
                    with frame.trying():
                        said(db, reports.act(db, report["report_id"], by=person, **decided))
            with st.form(f"dismiss-{report['report_id']}"):
                words = st.text_input("Or why nothing is done; who reported reads it", max_chars=sanctions.MOST_WORDS)
                if st.form_submit_button("Dismiss the report"):
                    with frame.trying():
                        reports.dismiss(db, report["report_id"], by=person, words=words)
                        frame.done("The report is answered.")
                        st.rerun()


def appealed(db, person) -> None:
    """Appeals against what others decided, the one whose time ends first on top."""
    found = sanctions.open_appeals(db, by=person)
    st.subheader(f"Appeals: {len(found)}", anchor=False)
    if not found:
        st.caption("No appeal waits for you; those against your own decisions go to somebody else.")
    for sanction in found[:SHOWN]:
        conduct.one(db, person, sanction)
        with st.form(f"answer-{sanction['id']}", border=False):
            answer = st.segmented_control("The sanction is", ["upheld", "overturned"], required=True, default="upheld")
            words = st.text_area("Why; everybody can read it", **conduct.WORDS)
            if st.form_submit_button("Answer the appeal", icon=":material/balance:"):
                with frame.trying():
                    sanctions.answer(db, sanction["id"], by=person, answer=answer, words=words)
                    frame.done("The appeal is answered.")
                    st.rerun()


def deciding(db, person) -> None:
    """Sanction somebody without a report, and lift what holds."""
    with st.expander("Sanction somebody without a report", icon=":material/gavel:"), st.form("impose", border=False):
        left, right = st.columns(2)
        name = left.text_input("Sign-in name")
        rows = right.text_input("Rows that show it, by their numbers", placeholder="12, 15")
        decided = fields(person)
        if st.form_submit_button("Decide this", type="primary"):
            with frame.trying():
                numbers = rows.replace(",", " ").split()
                if not all(map(frame.is_id, numbers)):
                    raise frame.Invalid("Numbers of rows have digits only; put commas between them.")
                found = [int(number) for number in numbers]
                said(db, sanctions.impose(db, name.strip().lower(), by=person, examples=found, **decided))
    holding = {s["id"]: f"{s['id']}: {s['person']}, {s['title']}" for s in sanctions.log(db, state="active", limit=200)}
    if holding:
        with st.expander("Lift a sanction early", icon=":material/lock_open:"), st.form("lift", border=False):
            chosen = st.selectbox("Which", list(holding), format_func=holding.get)
            words = st.text_area("Why; everybody can read it", **conduct.WORDS)
            if st.form_submit_button("Lift it"):
                with frame.trying():
                    sanctions.lift(db, chosen, by=person, words=words)
                    frame.done(f"Sanction {chosen} is lifted.")
                    st.rerun()
