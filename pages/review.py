"""One example at a time, blind: who wrote it is not shown, and never one's own."""

import streamlit as st

from factory.intake import datasets, held, reviews
from pages import frame
from pages.parts import appeals, checks_of_mine, choice, compared, evidence, passage, timeline, verdict

ABOUT = "You judge the words, not the person: the author is hidden, and you are never shown your own."


def asked_for_others(db, person) -> None:
    """Appeals and disputes of every dataset, where no queue is left."""
    for dataset in datasets.everything(db):
        appeals.answer(db, dataset, person)
        checks_of_mine.disputes(db, dataset, person)


def next_one(db, dataset, person) -> dict | None:
    """The example to show: the one whose verdict was taken back, else the first that was not skipped."""
    skipped = st.session_state.setdefault("skipped", set())
    found = reviews.queue(db, dataset["id"], reviewer=person, limit=20 + len(skipped))
    again = st.session_state.get("again")
    return next((e for e in found if e["example_id"] == again), None) or next(
        (e for e in found if e["example_id"] not in skipped), None
    )


def queue(db, person) -> None:
    """One row large, what belongs here and what it is like beside it."""
    held.let_go(db)
    checks_of_mine.last(db, person)
    verdict.on_hold(db, person)
    choices = {d["slug"]: d for d in reviews.waiting_anywhere(db, reviewer=person)}
    if not choices:
        frame.empty("Nothing waits for your review. Thank you.", page="leaderboard.py", label="See the leaderboard")
        checks_of_mine.accuracy(db, person)
        asked_for_others(db, person)
        return
    slug = choice.picked("Dataset", list(choices), key="dataset", format_func=lambda s: choices[s]["title"])
    dataset = datasets.get(db, slug)
    example = next_one(db, dataset, person)
    if example is None:
        st.session_state["skipped"].clear()
        st.info("You have skipped all the rest; they start again now.")
        st.button("Start again", shortcut="1")
        return
    left, pace = choices[slug]["waiting"], reviews.pace(db, person)
    many = f"{left:,}{' or more' if left >= reviews.MANY else ''}"
    st.caption(f"{many} left{f', about {frame.lasting(left * pace)}' if pace and left < reviews.MANY else ''}.")
    words, beside = st.columns([3, 2])
    with words:
        frame.conversation(example["messages"])
        passage.under(example["made_from"])
        for hint in example["hints"]:
            st.warning(frame.plain(hint["sentence"]), icon=":material/flag:")
            evidence.places(example["messages"], hint["spans"])
        verdict.buttons(example, person, st.session_state["skipped"])
        about = {"show": "Report", "example": str(example["example_id"])}
        st.page_link("sanctions.py", label="Report this row to a moderator", icon=":material/flag:", query_params=about)
    with beside:
        compared.beside(db, example, person)
        with st.container(border=True):
            st.markdown("**What belongs here**")
            st.text(dataset["purpose"])
            st.text(dataset["guidelines"])
        checks_of_mine.accuracy(db, person)
    checks_of_mine.disputes(db, dataset, person)
    appeals.answer(db, dataset, person)


with frame.page("Review", "reviewer", about=ABOUT) as (db, person):
    part = st.segmented_control(
        "Part", ["Queue", "What I judged"], default="Queue", key="part", required=True, bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
    if part == "Queue":
        queue(db, person)
    else:
        timeline.judged(db, person)
