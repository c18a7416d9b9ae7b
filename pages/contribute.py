"""Contribute: by form or by file, with every row judged before anything counts."""

import pandas as pd
import streamlit as st

from factory.intake import contributions, datasets, formats
from pages import frame
from pages.parts import choice, mine, withdrawn

COLUMNS = "Columns: `messages`; `conversations`; `instruction`, `output`; `prompt`, `completion`; or `question`, `answer`."
ABOUT = "You see what the checks say before anything is submitted. Only submitting spends your allowance."


def from_form() -> tuple[list, str | None, str | None]:
    """One example typed in: rows, file name, format."""
    if st.session_state.pop("emptied", False):
        st.session_state["question"] = st.session_state["answer"] = ""
    question = st.text_area("Question or instruction", key="question", max_chars=20_000, height=100)
    answer = st.text_area("The answer you would want to read", key="answer", max_chars=20_000, height=160)
    if not question.strip() or not answer.strip():
        return [], None, None
    return [[{"role": "user", "content": question}, {"role": "assistant", "content": answer}]], None, None


def from_file() -> tuple[list, str | None, str | None]:
    """A file's rows: what could be read, and in so many words what could not."""
    types = ["jsonl", "json", "csv", "tsv", "parquet", "gz", "zip"]
    uploaded = st.file_uploader("JSONL, JSON, CSV, TSV or Parquet; also zipped", type=types)
    if uploaded is None:
        st.caption(COLUMNS)
        return [], None, None
    reading = formats.read(uploaded.getvalue(), name=uploaded.name, settings=frame.settings())
    st.caption(frame.plain(f"Read as {reading.container}, {reading.shape}: {len(reading.rows)} rows. {reading.note}"))
    bad = [row for row in reading.rows if row.problem]
    if bad:
        with st.expander(f"{len(bad)} rows could not be read", icon=":material/warning:"):
            why = {"row": [r.position + 1 for r in bad], "why": [r.problem for r in bad]}
            st.dataframe(pd.DataFrame(why), hide_index=True)
    return [row.messages for row in reading.rows if row.messages], uploaded.name, f"{reading.container}/{reading.shape}"


def preflight(db, dataset, person, rows) -> list:
    """Show each row with its verdict; returns the rows that would be taken."""
    judged = contributions.preflight(db, dataset["id"], person=person, rows=rows)
    good = [row for row in judged if not row.refused]
    st.markdown(f"**{len(good)} good, {len(judged) - len(good)} refused by the checks.** Nothing is submitted yet.")
    table = pd.DataFrame(
        {
            "row": [j.position + 1 for j in judged],
            "verdict": [
                "refused" if j.refused else "later" if not j.quota_ok else "look again" if j.findings else "good"
                for j in judged
            ],
            "what the checks say": [" ".join(f.sentence for f in j.findings) for j in judged],
            "question": [rows[j.position][0]["content"][:300] for j in judged],
            "answer": [rows[j.position][-1]["content"][:300] for j in judged],
        }
    )
    st.dataframe(table, hide_index=True, height=min(420, 60 + 35 * len(judged)))
    fits = [rows[j.position] for j in good if j.quota_ok]
    if len(fits) < len(good):
        st.info(f"{len(fits)} of the {len(good)} good rows fit into what is left for today; the others can follow later.")
    return fits


with frame.page("Contribute", "contributor", about=ABOUT) as (db, person):
    choices = {d["slug"]: d for d in datasets.everything(db)}
    if not choices:
        frame.empty("There is no dataset to contribute to yet.", page="datasets.py", label="Open one")
        st.stop()
    left, middle = st.columns([1, 2])
    with left:
        slug = choice.picked("Dataset", list(choices), key="dataset", format_func=lambda s: choices[s]["title"])
        dataset = choices[slug]
        with st.container(border=True):
            st.text(dataset["guidelines"])
            st.caption(f"Licence: {dataset['licence']}")
        allowance = contributions.allowance(db, dataset["id"], person)
        st.metric("You may add today", allowance.left, border=True)
        st.caption(f"or {allowance.left_bytes / 1000:,.0f} kB in all. {allowance.because} {allowance.next_step}")
    with middle:
        way = st.segmented_control("How", ["Form", "File"], default="Form", key="way", required=True, bind="query-params")
        rows, file_name, file_format = from_form() if way == "Form" else from_file()
        if rows:
            good = preflight(db, dataset, person, rows)
            attested = st.checkbox(f"I may give these under {dataset['licence']}, and I do.")
            ready = bool(good) and attested
            if st.button(f"Submit {len(good)} good rows", type="primary", disabled=not ready):
                with frame.trying():
                    contributions.submit(
                        db, dataset["id"], person=person, rows=good, source="file" if file_name else "form",
                        file_name=file_name, file_format=file_format, licence=dataset["licence"], attested=attested,
                    )  # fmt: skip
                    frame.done(f"{len(good)} examples wait for review.")
                    st.session_state["emptied"] = True
                    st.rerun()
    st.subheader("My examples", anchor=False)
    mine.examples(db, dataset, person)
    withdrawn.mine(db, dataset, person)
