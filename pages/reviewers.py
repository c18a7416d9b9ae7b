"""Who reviews, how well, and who has ties with whom: for curators."""

import pandas as pd
import streamlit as st

from factory import review_charts
from factory.intake import conflicts, reviewers
from pages import frame

PER_PAGE = 15
ABOUT = (
    "A weight of 1 is what somebody new has. It falls towards 0 where agreement with what stands is no better than chance, "
    "so whoever accepts everything soon decides nothing. Nobody is told off; their verdicts just tell less."
)


def board(db, person) -> None:
    """Everybody, and one of them over time."""
    many = reviewers.how_many(db)
    number = st.pagination(-(-many // PER_PAGE), key="page") if many > PER_PAGE else 1
    rows = reviewers.board(db, person=person, limit=PER_PAGE, offset=(number - 1) * PER_PAGE)
    if not rows:
        frame.empty("Nobody has reviewed yet.", page="review.py", label="Be the first")
        return
    shown = {
        "reviewer": [frame.person_name(r) for r in rows],
        "verdicts": [r["verdicts"] for r in rows],
        "weight": [round(r["weight"], 2) for r in rows],
        "above chance, %": [100 * r["above_chance"] for r in rows],
        "right on good, %": [100 * r["good_right"] for r in rows],
        "right on others, %": [100 * r["bad_right"] for r in rows],
        "accepts, %": [100 * (r["accepted_share"] or 0) for r in rows],
        "checks": [f"{r['gold_right']} of {r['gold_seen']}" for r in rows],
        "appeals": [f"{r['appeals_right']} of {r['appeals_seen']}" for r in rows],
        "seconds": [r["seconds"] for r in rows],
        "ties": [r["ties"] for r in rows],
        "last": [frame.moment(r["last_at"]) for r in rows],
    }
    number = st.column_config.NumberColumn
    config = {name: number(format="%.0f") for name in shown if name.endswith("%")}
    config |= {"weight": number(help="1: somebody new"), "seconds": number(format="%.0f", help="mean of the last hundred")}
    st.dataframe(pd.DataFrame(shown), hide_index=True, column_config=config)
    names = {r["name"]: frame.person_name(r) for r in rows}
    who = st.selectbox("How a weight came about", list(names), format_func=names.get, key="who")
    chosen = next(r for r in rows if r["name"] == who)
    st.plotly_chart(review_charts.weight(reviewers.over_time(db, chosen["person_id"])), key="weight")
    st.caption(f"Rests on {chosen['gold_seen']} checks, {chosen['peers_seen']} rows settled with others, "
               f"{chosen['appeals_seen']} appeals and {chosen['struck']} decisions struck after a dispute.")  # fmt: skip


def ties(db, person) -> None:
    """What rows show of accounts that should not judge each other."""
    found = conflicts.listing(db, person=person)
    st.caption("A tie stops the assignment and nothing else; the reviewer reads that there is one, without a name.")
    if not found:
        frame.empty("No tie was found. They are looked for after each verdict and every ten minutes.")
    for tie in found:
        state = "lifted" if tie["lifted_at"] else frame.ago(tie["found_at"])
        with st.expander(frame.plain(f"{tie['reviewer']} → {tie['author']} · {tie['kind']} · {state}")):
            st.write(tie["sentence"])
            st.json(tie["evidence"], expanded=True)
            if tie["lifted_at"]:
                st.caption(frame.plain(f"Lifted {frame.ago(tie['lifted_at'])}: {tie['lifted_words']}"))
                continue
            with st.form(f"lift-{tie['conflict_id']}", border=False):
                words = st.text_input("Why this is no conflict", max_chars=2000)
                if st.form_submit_button("Lift it"):
                    with frame.trying():
                        conflicts.lift(db, tie["conflict_id"], person=person, words=words)
                        frame.done("It is lifted; the reviewer is asked again.")
                        st.rerun()


with frame.page("Reviewers", "curator", about=ABOUT) as (db, person):
    part = st.segmented_control("Part", ["Record", "Ties"], default="Record", key="part", required=True,
                                bind="query-params", label_visibility="collapsed")  # fmt: skip
    if part == "Record":
        board(db, person)
    else:
        ties(db, person)
