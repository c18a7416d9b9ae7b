"""Sanctions as people see them: one in full, what is about oneself, a report, and what waits for a moderator."""

import streamlit as st

from factory.base.errors import FactoryError
from factory.intake import contributions, formats, reports, sanctions
from pages import frame

COLOURS = {"active": "red", "over": "gray", "lifted": "gray", "overturned": "green", "unanswered": "green"}
WORDS = {"max_chars": sanctions.MOST_WORDS}
PUBLIC = "What happened; everybody can read it"


def one(db, person, sanction) -> None:
    """A sanction with its reason, evidence, end, appeal and what became of it."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(sanction["title"], color="orange")
            st.badge(sanction["outcome"], color=COLOURS[sanction["state"]])
            name = frame.person_name({"name": sanction["person"], "is_demo": sanction["is_demo"]})
            st.markdown(f"**{frame.plain(name)}** · number {sanction['id']}")
        st.caption(frame.plain(f"From {sanctions.day(sanction['starts_at'])} until {sanctions.day(sanction['ends_at'])}, "
                               f"decided by {sanction['by_name']}. {sanction['why']}"))  # fmt: skip
        st.text(sanction["words"])
        evidence(db, person, sanction["evidence"])
        for words, who, at, said in (
            ("appeal", "person", "appealed_at", "appealed"),
            ("answer_words", "answered_by_name", "answered_at", f"answered: {sanction['answer']}"),
            ("lift_words", "lifted_by_name", "lifted_at", "lifted it early"),
        ):
            if sanction[at]:
                st.caption(frame.plain(f"{sanction[who]} {said} on {sanctions.day(sanction[at])}:"))
                st.text(sanction[words])
        if sanction["appealed_at"] and not sanction["answer"] and sanction["state"] == "active":
            st.caption(f"It is answered by {sanctions.day(sanction['answer_by'])}, or it is lifted by itself.")


def evidence(db, person, found) -> None:
    """The rows that a decision rests on, as far as this person may see them."""
    rows = found["examples"]
    if not rows:
        return
    with st.expander(f"The evidence: {frame.count(len(rows), 'row')}", icon=":material/fact_check:"):
        for example_id in rows[:10]:
            codes = ", ".join(found["findings"].get(str(example_id), []))
            st.caption(f"Example {example_id}{f', in which checks found: {codes}' if codes else ''}")
            try:
                frame.conversation(formats.messages(contributions.show(db, example_id, person=person)["content"]))
            except FactoryError as hidden:
                st.caption(frame.plain(str(hidden)))
        if len(rows) > 10:
            st.caption("And " + ", ".join(map(str, rows[10:])) + ".")


def about_me(db, person) -> None:
    """Every sanction of mine with its appeal, and what became of my reports."""
    mine = sanctions.log(db, person_id=person.id)
    if not mine:
        frame.empty("Nothing was ever decided against you.")
    for sanction in mine:
        one(db, person, sanction)
        if sanction["state"] == "active" and not sanction["appealed_at"]:
            with st.form(f"appeal-{sanction['id']}", border=False):
                if not sanctions.can_be_answered(db, sanction):
                    st.caption(f"Nobody else here can answer; after {sanctions.APPEAL_DAYS} days an appeal lifts this.")
                words = st.text_area("Why it is wrong; everybody can read it", **WORDS)
                if st.form_submit_button("Appeal to somebody else", icon=":material/balance:"):
                    with frame.trying():
                        sanctions.appeal(db, sanction["id"], person=person, words=words)
                        frame.done("Your appeal is in: somebody who did not decide it will answer.")
                        st.rerun()
    st.subheader("My reports", anchor=False)
    said = reports.mine(db, person)
    if not said:
        st.caption("You reported nothing.")
    for report in said:
        about = f"example {report['example_id']}" if report["example_id"] else report["person"]
        with st.container(border=True):
            st.markdown(f"**{frame.plain(about)}** · {frame.ago(report['at'])} · {report['answer'] or 'not answered yet'}")
            st.text(report["words"])
            if report["answer"]:
                st.caption("The answer:")
                st.text(report["answer_words"])


def report(db, person) -> None:
    """Say that a row or a person should be looked at."""
    st.caption(
        f"A moderator who is not involved looks at it. Whom it is about never learns who said it. {reports.DAILY} a day."
    )
    wanted = st.query_params.get("example", "")
    if frame.is_id(wanted) and "report-row" not in st.session_state:
        st.session_state["report-row"] = wanted
    with st.form("report", clear_on_submit=True):
        left, right = st.columns(2)
        row = left.text_input("The number of a row", key="report-row")
        name = right.text_input("or the sign-in name of a person")
        reason = st.selectbox("Why", list(sanctions.REASONS), format_func=sanctions.REASONS.get, index=None)
        words = st.text_area("What should be looked at", **WORDS)
        if st.form_submit_button("Report it", icon=":material/flag:"):
            with frame.trying():
                if row.strip() and not frame.is_id(row.strip()):
                    raise frame.Invalid("The number of a row has digits only; each dataset's rows show theirs.")
                about = {"example_id": int(row) if row.strip() else None, "who": name.strip().lower() or None}
                reports.report(db, by=person, reason=reason or "", words=words, **about)
                frame.done("It is in the moderators' queue; the answer comes under About me.")
                st.rerun()
