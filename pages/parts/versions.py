"""What two versions differ in, a version for others to take, and one from elsewhere taken in."""

import json
import tempfile
from pathlib import Path

import pandas as pd
import streamlit as st

from factory.intake import formats, importing, proofs
from pages import frame


def changes(db, versions) -> None:
    """Added, removed and kept rows between two versions, and who gave what is new."""
    if len(versions) < 2:
        return
    asked = "older" in st.query_params
    opened = st.expander(
        "What changed between two versions", asked, key="changes", icon=":material/difference:", on_change="rerun"
    )
    with opened:
        if not opened.open:  # comparing large versions takes a while, so only who looks waits for it
            return
        numbers = {v["number"]: v["id"] for v in versions}
        left, right = st.columns(2)
        older = left.selectbox("From version", list(numbers)[1:] + list(numbers)[:1], key="older", bind="query-params")
        newer = right.selectbox("To version", list(numbers), key="newer", bind="query-params")
        found = proofs.difference(db, numbers[older], numbers[newer])
        with st.container(horizontal=True):
            for label, name in (
                ("added", "added"),
                ("removed", "removed"),
                ("of them withdrawn", "withdrawn"),
                ("kept", "kept"),
            ):
                st.metric(label, f"{found[name]:,}", width="content")
        if found["held_out_changed"]:
            st.info(
                "The held-out set is another one, so losses measured on the two cannot be compared.", icon=":material/lock:"
            )
        if not found["rows"]:
            st.caption("Both hold the same rows.")
            return
        st.dataframe(pd.DataFrame(found["people"]), hide_index=True)
        rows = found["rows"]
        table = {
            "change": [row["change"] for row in rows],
            "id": [row["example_id"] for row in rows],
            "question": [formats.question_of(row["content"]) for row in rows],
            "answer": [formats.answer_of(row["content"]) for row in rows],
        }
        st.dataframe(pd.DataFrame(table), hide_index=True)
        if len(rows) == 1000:
            st.caption("The first 1,000 changed rows are shown; `datasets diff` counts them all.")


def shared(db, version) -> None:
    """A version as a file for others, and the proof that some words are in it, or are not."""
    with st.popover("For others", icon=":material/ios_share:"):
        st.caption("Rows as JSONL and Parquet, a dataset card, Croissant metadata and the proof, in one zip. "
                   "Another installation takes it in with the same Merkle root.")  # fmt: skip
        address = f"/api/datasets/{version['slug']}/versions/{version['number']}"
        st.link_button("Download the version", f"{address}/archive", icon=":material/download:")
        st.caption(f"Root over {version['row_count']:,} rows in order, and over their hashes in ascending order:")
        st.code(f"{version['root']}\n{version['sorted_root']}", language=None)
        words = st.text_area(
            "Is it in there? A content hash, an example's number, or a row as JSON", key=f"prove-{version['id']}", height=80
        )
        if words.strip():
            with frame.trying():
                proof = proven(db, version["id"], words.strip())
                inside = proof["kind"] == "inclusion"
                st.success(f"It is in, at place {proof['position']}." if inside else "It is not in this version.")
                st.download_button(
                    "Download the proof", json.dumps(proof), "proof.json", "application/json", key=f"p{version['id']}"
                )
                st.caption("`docs/check_proof.py` checks it offline, with nothing but Python.")


def proven(db, version_id, words):
    """The proof for what somebody typed. Raises Invalid, NotFound."""
    if words.isdigit() and len(words) < 64:
        return proofs.prove_example(db, version_id, int(words))
    if words.startswith("{"):
        try:
            messages = json.loads(words)["messages"]
        except (ValueError, KeyError, RecursionError) as problem:
            raise frame.Invalid('Write the row as {"messages": [{"role": …, "content": …}, …]}.') from problem
        return proofs.prove_messages(db, version_id, messages)
    return proofs.prove(db, version_id, words)


def bring(db, person) -> None:
    """Take in what another installation published."""
    with st.expander("Bring a version from another installation", icon=":material/move_to_inbox:"):
        uploaded = st.file_uploader("The zip it gave out", type="zip", key="bring")
        slug = st.text_input("Short name it gets here", placeholder="its own", key="bring-slug")
        if uploaded and st.button("Check and take it in"):
            with frame.trying(), tempfile.NamedTemporaryFile(suffix=".zip") as kept:
                kept.write(uploaded.getvalue())
                kept.flush()
                made = importing.bring(db, Path(kept.name), person=person, settings=frame.settings(), slug=slug)
                frame.done(f"{made['row_count']:,} rows are here, with the same Merkle root.")
                st.switch_page("datasets.py", query_params={"dataset": made["slug"], "part": "Versions"})
