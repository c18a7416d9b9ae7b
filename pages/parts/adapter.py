"""One adapter: its result, whose credit it is, and its export."""

import subprocess
import sys
import time

import streamlit as st

from factory import charts
from factory.adapters import evaluation, exports, forgetting
from factory.adapters import withdrawn as taken_back
from factory.base.settings import ROOT
from factory.credit import attribution
from pages import frame
from pages.parts import withdrawn

USUAL_EXPORT_SECONDS = 45  # until one was made here and can be timed


def result(db, adapter) -> None:
    """Base against tuned on the same rows."""
    found = evaluation.latest(db, adapter["id"])
    if not found:
        st.info("Not measured: the version has no held-out set, or the run is still busy.")
        return
    a, b, c = st.columns(3)
    a.metric("Base", f"{found['base_loss']:.3f}", help=f"perplexity {found['base_perplexity']:.1f}")
    change = f"{found['difference'] / found['base_loss']:+.1%}"
    b.metric("With the adapter", f"{found['tuned_loss']:.3f}", change, delta_color="inverse",
             help=f"perplexity {found['tuned_perplexity']:.1f}")  # fmt: skip
    c.metric("Difference, 95% interval", f"{found['low']:+.3f} to {found['high']:+.3f}")
    sure = "better than its base" if found["high"] < 0 and found["row_count"] > 1 else "not distinguishable from its base"
    st.caption(f"Held-out loss in nats per token. On {found['row_count']} rows with {found['label_tokens']} tokens this "
               f"adapter is {sure} (paired bootstrap over rows).")  # fmt: skip
    st.caption(forgetting.in_words(forgetting.find(db, found["id"])))
    for sample in evaluation.generations_of(db, found["id"]):
        with st.expander(frame.short(sample["prompt"], 120), expanded=sample["position"] == 0):
            texts = (("Base", "base_text"), ("Adapter", "tuned_text"), ("Expected", "expected"))
            for column, (title, key) in zip(st.columns(3), texts, strict=True):
                column.caption(title)
                column.text(sample[key])


def shares(db, adapter) -> None:
    """Whose examples took the loss away, with errors, and how far to trust it."""
    found = attribution.find(db, adapter["id"])
    if not found:
        st.info("Not attributed: the version has no held-out set, or the run is still busy.")
        return
    rows = attribution.by_person(db, found["id"])
    for row in rows:
        row["shown"] = frame.person_name({"name": row["person"], "is_demo": row["is_demo"]})
    figure = charts.intervals(
        rows, label="shown", value="value", low="low", high="high", x="nats of held-out loss taken away"
    )
    st.plotly_chart(figure, key="shares")
    with st.container(border=True):
        st.markdown("**Which method, and how far to trust it**")
        for sentence in attribution.explain(found["method"]):
            st.caption(sentence)
    st.markdown("**Examples that helped most**")
    for row in attribution.by_example(db, found["id"], limit=5):
        with st.expander(frame.short(f"{row['value']:+.5f} · {frame.formats.question_of(row['content'])}", 110)):
            frame.conversation(frame.formats.messages(row["content"]))


def export(db, adapter, person) -> None:
    """Make and download the PEFT folder; how to use it elsewhere."""
    job = st.session_state.get("export")
    if job and job["adapter_id"] == adapter["id"]:
        packing()
    elif person.may("builder") and st.button("Export as a PEFT folder", type="primary", icon=":material/package_2:"):
        command = [sys.executable, "-m", "factory", "export", str(adapter["id"]), "--as", person.name]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        st.session_state["export"] = {"adapter_id": adapter["id"], "process": process, "since": time.time()}
        st.rerun()
    older = taken_back.since_export(db, adapter["id"])
    for row in exports.listing(db, adapter["id"]):
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            verified, colour = (
                ("verified: same words when loaded back", "green") if row["verified"] else ("not verified", "orange")
            )
            st.badge(verified, color=colour)
            withdrawn.on_export(older.get(row["id"], 0))
            st.caption(f"{row['bytes'] / 2**20:.1f} MiB · sha256 {row['sha256'][:12]} · {frame.ago(row['at'])}")
            file = frame.settings().exports / row["file"]
            if file.exists():
                st.download_button(
                    "Download the zip", file.read_bytes, row["file"], "application/zip", key=f"zip-{row['id']}"
                )
    st.caption("In the zip lies `try_it.py`, which needs only transformers and peft. The model card says how to load it.")


@st.fragment(run_every=1)
def packing() -> None:
    """How far the export is; it runs as the command of the same name."""
    job = st.session_state["export"]
    process, seconds = job["process"], time.time() - job["since"]
    if process.poll() is None:
        st.progress(min(0.95, seconds / USUAL_EXPORT_SECONDS), f"Packing, loading it back and comparing: {seconds:.0f} s, "
                    f"usually about {USUAL_EXPORT_SECONDS} s")  # fmt: skip
        if st.button("Stop"):
            process.terminate()
        return
    del st.session_state["export"]
    if process.returncode == 0:
        frame.done("The export is ready.")
    else:
        st.session_state["refused"] = process.stderr.read().strip()[-500:] or "The export was stopped."
    st.rerun()
