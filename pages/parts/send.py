"""What would happen if a draft were sent now, and sending it."""

import streamlit as st

from factory.intake import checks, contributions, sending
from factory.intake import policy as policies
from pages import frame


def whole(db, dataset, person, draft) -> None:
    """The outlook in a few numbers and sentences, the licence, the word on it, and the button."""
    seen = sending.outlook(db, draft["id"], person=person)
    good = seen.sent + seen.later
    st.markdown(f"**{good:,} good, {seen.refused:,} refused by the checks.** Nothing is submitted yet.")
    if draft["source"] != "form":
        outlook(seen)
    if seen.later:
        words = f"{seen.sent:,} of the {good:,} good rows fit into what is left for today; the others stay here for later."
        st.info(words, icon=":material/schedule:")
    taken = sorted(policies.LICENCES.get(dataset["licence"], frozenset()) | {dataset["licence"]})
    licence = st.selectbox(
        "Licence you give them under", taken, index=taken.index(dataset["licence"]), key=f"licence-{draft['id']}",
        help="Those that may go into this dataset. Kept with each row.", required=True,
    )  # fmt: skip
    attested = st.checkbox(contributions.attestation(licence), key=f"attested-{draft['id']}-{licence}")
    ready = bool(seen.sent) and attested
    label = f"Submit {seen.sent:,} good row{'' if seen.sent == 1 else 's'}"
    if st.button(label, type="primary", disabled=not ready, icon=":material/send:", key=f"send-{draft['id']}"):
        with frame.trying():
            kept = sending.send(db, draft["id"], person=person, licence=licence, attested=attested)
            frame.done(
                f"{frame.count(kept.accepted_for_review, 'example')} wait{'s' * (kept.accepted_for_review == 1)} for review."
            )
            st.session_state["emptied"] = True
            st.rerun()


def outlook(seen) -> None:
    """If you sent this now: how many go where, what refuses the others, what is left of the day."""
    with st.container(border=True):
        st.markdown("**If you sent this now**")
        parts = [("wait for review", seen.sent), ("refused", seen.refused), ("too many for today", seen.later)]
        parts += [("to confirm", seen.to_confirm)] * bool(seen.to_confirm)
        with st.container(horizontal=True):
            for words, number in parts:
                st.metric(words, f"{number:,}", width="content")
        lines = [f"{number:,} {checks.RULES[code].title}" for code, number in seen.reasons.items()]
        if lines:
            st.caption("Refused: " + " · ".join(frame.plain(line) for line in lines))
        if seen.hints:
            hints = [f"{number:,} {checks.RULES[code].title}" for code, number in seen.hints.items()]
            st.caption("Hints, sent all the same: " + " · ".join(frame.plain(line) for line in hints))
        left = f"{seen.left:,} examples and {seen.left_bytes / 1000:,.0f} kB would be left for today."
        by = f" Decided by {frame.moment(seen.decided_by):%-d %B} at the latest." if seen.decided_by else ""
        st.caption(left + by)
