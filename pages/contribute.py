"""Contribute: by form or by file, with every row judged before anything counts."""

import streamlit as st

from factory.intake import contributions, datasets
from pages import frame
from pages.parts import allowance, choice, dataset_map, draft, mine, typed, upload, withdrawn

ABOUT = "You see what the checks say before anything is submitted. Only submitting spends your allowance."

with frame.page("Contribute", "contributor", about=ABOUT) as (db, person):
    choices = {d["slug"]: d for d in datasets.everything(db)}
    if not choices:
        frame.empty("There is no dataset to contribute to yet.", page="datasets.py", label="Open one")
        st.stop()
    wanted = st.query_params.get("draft", "")
    opened = draft.find(db, person, wanted)
    if opened:
        draft.whole(db, choices[opened["slug"]], person, opened)
        st.stop()
    left, middle = st.columns([1, 2], gap="medium")
    with left:
        slug = choice.picked("Dataset", list(choices), key="dataset", format_func=lambda s: choices[s]["title"])
        dataset = choices[slug]
        allowance.shown(contributions.allowance(db, dataset["id"], person))
        with st.container(border=True):
            st.markdown("**What belongs in it**")
            st.text(dataset["guidelines"])
            st.caption(f"Licence: {frame.plain(dataset['licence'])}")
        dataset_map.most_needed(db, dataset["id"])
    with middle:
        way = st.segmented_control(
            "How", ["Form", "File"], default="Form", key="way", required=True, bind="query-params",
            label_visibility="collapsed",
        )  # fmt: skip
        (typed.form if way == "Form" else upload.whole)(db, dataset, person)
    st.subheader("My examples", anchor=False)
    mine.examples(db, dataset, person)
    withdrawn.mine(db, dataset, person)
