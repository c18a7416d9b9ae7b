"""Datasets: what each is for, what is in it, who gave it, and its frozen versions."""

import streamlit as st

from factory.intake import datasets, policy
from pages import frame
from pages.parts import dataset as parts
from pages.parts import needed, rules, versions


def cards(db, person) -> None:
    """All datasets, and a form for a new one."""
    rows = datasets.everything(db)
    if not rows:
        frame.empty("There is no dataset yet. Open the first one below.")
    columns = st.columns(3)
    for place, row in enumerate(rows):
        with columns[place % 3].container(border=True):
            title = f"**{frame.plain(row['title'])}**"
            frame.within(title, "datasets.py", key=row["slug"], icon=":material/dataset:", dataset=row["slug"])
            if row["is_demo"]:
                st.badge("demo data", color="violet")
            st.caption(frame.plain(row["purpose"]))
            a, b, c = st.columns(3)
            a.metric("accepted", row["accepted"])
            b.metric("waiting", row["waiting"])
            c.metric("people", row["people"])
            st.caption(f"{row['licence']} · {row['versions']} frozen version{'s' if row['versions'] != 1 else ''}")
    if person.may("curator"):
        versions.bring(db, person)
        with st.expander("Open a new dataset", icon=":material/add:"), st.form("new", border=False):
            title = st.text_input("Title", max_chars=120)
            slug = st.text_input("Short name for links and commands", placeholder="bicycle-repair")
            purpose = st.text_area("What it is for", max_chars=2000)
            guidelines = st.text_area("What a good example looks like", max_chars=10_000)
            licence = st.selectbox("Licence of every example", list(policy.LICENCES))
            if st.form_submit_button("Open the dataset", type="primary"):
                with frame.trying():
                    made = datasets.create(
                        db, slug=slug, title=title, purpose=purpose, guidelines=guidelines, licence=licence, owner=person
                    )
                    frame.done("The dataset is open.")
                    st.switch_page("datasets.py", query_params={"dataset": made["slug"]})


with frame.page("Datasets") as (db, person):
    slug = st.query_params.get("dataset")
    if not slug:
        cards(db, person)
    else:
        dataset = datasets.get(db, slug)
        frame.within("All datasets", "datasets.py", key="back", icon=":material/arrow_back:")
        st.header(frame.plain(dataset["title"]), anchor=False)
        st.text(dataset["purpose"])
        part = st.segmented_control(
            "Part", ["Rows", "Versions", "Statistics", "Needed", "Guidelines", "Rules"], default="Rows", key="part",
            required=True, bind="query-params", label_visibility="collapsed",
        )  # fmt: skip
        if part == "Rows":
            parts.rows(db, dataset, person)
        elif part == "Versions":
            parts.versions(db, dataset, person)
        elif part == "Statistics":
            parts.statistics(db, dataset)
        elif part == "Needed":
            needed.needed(db, dataset, person)
        elif part == "Rules":
            rules.shown(db, dataset, person)
        else:
            st.text(dataset["guidelines"])
