"""The story of an example, drawn as both its author and its reviewers may read it."""

import streamlit as st

from factory.intake import reviews, timeline
from pages import frame

ICONS = {
    "offered": "upload", "mended": "edit", "check": "rule", "verdict": "gavel", "decided": "flag", "appealed": "campaign",
    "answered": "balance", "withdrawn": "delete", "due": "timer",
}  # fmt: skip
WORDS = {"offered": "Offered", "appealed": "Appealed", "withdrawn": "Withdrawn"}


def story(db, example_id: int, person) -> None:
    """Everything that happened, oldest first; nobody in it has a name."""
    lines = []
    for event in timeline.of(db, example_id, person=person):
        when = event["at"]
        shown = f"by {frame.moment(when):%d %b %Y, %H:%M} UTC" if event["kind"] == "due" else frame.ago(when)
        who = "" if event["kind"] in ("offered", "mended", "appealed", "withdrawn", "due") else f"{event['who']} "
        said = frame.plain(f"{WORDS.get(event['kind'], who)} {event['words']}".strip())
        lines.append(f":material/{ICONS[event['kind']]}: :gray[{shown}] · {said}")
    st.markdown("\n".join(f"- {line}" for line in lines))


def judged(db, person) -> None:
    """What this reviewer judged, newest first, and what became of it."""
    found = timeline.judged_by(db, person, limit=30)
    if not found:
        frame.empty("You have not judged anything yet; what you judge is listed here with what became of it.")
        return
    st.caption("Your last 30 verdicts. What became of them is what your weight comes from.")
    for row in found:
        appeal = f", appeal {row['appeal']}" if row["appeal"] else ""
        words = f"{timeline.SAID[row['decision']].split()[0]} · {row['state']}{appeal} · {row['messages'][-1]['content']}"
        label = frame.short(words[0].upper() + words[1:], 110)
        with st.expander(label, key=f"judged-{row['example_id']}", on_change="rerun") as box:
            if not box.open:  # else thirty conversations are drawn that nobody looks at
                continue
            frame.conversation(row["messages"])
            if row["reason"]:
                st.caption(frame.plain(f"You said: {reviews.REASONS[row['reason']]} {row['note']}"))
            story(db, row["example_id"], person)
