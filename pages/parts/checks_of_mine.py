"""What a reviewer hears of checks that were mixed into their queue, and of how often they are right."""

import streamlit as st

from factory.intake import conflicts, contributions, gold, reviewers, reviews
from pages import frame


def last(db, person) -> None:
    """The outcome of the check that was judged last, once, with a way to dispute it."""
    example_id = st.session_state.get("last-check")
    told = gold.feedback(db, example_id, reviewer=person) if example_id else None
    if not told:
        return
    sentence = frame.plain(f"That was a check, settled before. {gold.sentence(told)}")
    if told["right"]:
        st.success(sentence, icon=":material/verified:")
        return
    st.warning(sentence, icon=":material/fact_check:")
    if told["dispute"]:
        st.caption(f"Your dispute is {told['dispute']}.")
        return
    judged(db, told, person)
    if st.session_state.get("disputing") != example_id:
        st.button("The check is wrong", key="wrong", icon=":material/gavel:", shortcut="D", on_click=disputing,
                  args=(example_id,))  # fmt: skip
        return
    with st.form("dispute", clear_on_submit=True):
        words = st.text_area("Why the check is wrong", max_chars=gold.MAX_WORDS)
        if st.form_submit_button("Dispute it"):
            with frame.trying():
                gold.dispute(db, example_id, reviewer=person, words=words)
                frame.done("Somebody uninvolved looks at it; until then it is shown to nobody.")
                st.rerun()


def judged(db, told, person) -> None:
    """The example that was the check, which is gone from the page by now, and why the others turned it down."""
    reason = f": {reviews.REASONS[told['reason']]}" if told["reason"] in reviews.REASONS else ""
    with st.expander(f"What you judged, and the others settled as {told['expected']}{reason}", expanded=True):
        frame.conversation(contributions.show(db, told["example_id"], person=person)["messages"])


def disputing(example_id: int) -> None:
    """Open the form for a dispute; runs as a button's callback."""
    st.session_state["disputing"] = example_id


def accuracy(db, person) -> None:
    """My accuracy and what it means."""
    found = reviewers.accuracy(db, person.id)
    seen = found.gold_seen + found.peers_seen + found.appeals_seen
    with st.container(border=True):
        st.markdown("**How often you are right**")
        for tie in conflicts.mine(db, person):
            about = frame.count(tie["people"], "account")
            st.caption(f":material/link_off: You are not asked about {about}. {tie['sentence']} A curator can lift that.")
        if not seen:
            st.caption("Nothing is known yet. Now and then an example comes that is settled already; you hear at once.")
            return
        st.metric(
            "weight of your verdicts", f"{found.weight:.2f}", f"{found.weight - 1:+.2f} against somebody new",
            help="How far you agree with what stands, above chance: 1 is assumed of somebody new, 1.33 is the most, and "
            "whoever accepts everything falls to 0.",
        )  # fmt: skip
        st.caption(
            f"By estimate right on {found.good_right:.0%} of good examples and on {found.bad_right:.0%} of others, from:"
        )
        st.caption(
            f"Checks {found.gold_right} of {found.gold_seen} · settled with others {found.peers_right} of {found.peers_seen}"
            f" · appeals {found.appeals_right} of {found.appeals_seen}"
        )


def disputes(db, dataset, person) -> None:
    """Disputed checks that this reviewer may answer."""
    for one in gold.open_disputes(db, reviewer=person, dataset_id=dataset["id"])[:10]:
        with (
            st.expander(frame.short(f"A disputed check: {one['words']}"), icon=":material/gavel:"),
            st.form(f"dispute-{one['dispute_id']}", border=False),
        ):
            frame.conversation(one["messages"])
            st.caption(f"Settled as {one['expected']}; a reviewer said {one['said']}, and writes:")
            st.text(one["words"])
            said = st.segmented_control("The check", ["upheld", "struck"], default="upheld", required=True)
            words = st.text_input("Your reason", max_chars=gold.MAX_WORDS)
            if st.form_submit_button("Answer the dispute"):
                with frame.trying():
                    gold.answer(db, one["dispute_id"], reviewer=person, answer=said, words=words)
                    frame.done("The dispute is answered.")
                    st.rerun()
