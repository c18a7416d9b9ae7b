"""The boards of datasets and of adapters, and every board as a file."""

import pandas as pd
import streamlit as st

from factory import charts
from factory.credit import leaderboards
from factory.intake.formats import csv_safe
from pages import frame


def download(table: pd.DataFrame, name: str) -> None:
    """The table as CSV, with anything a spreadsheet would run made harmless."""
    safe = table.map(csv_safe)
    st.download_button("Download as CSV", safe.to_csv(index=False), f"{name}.csv", "text/csv", icon=":material/download:")


def of_datasets(db) -> None:
    """Datasets by what their adapters gained."""
    rows = leaderboards.datasets(db)
    if not rows:
        frame.empty("There is no dataset yet.", page="datasets.py", label="Open one")
        return
    st.caption("Ordered by what the best adapter surely takes off the loss on the dataset's own held-out rows.")
    keys = ["rank", "title", "accepted", "decided", "refused", "people", "versions", "adapters", "gain_percent", "credits"]
    table = pd.DataFrame(rows)[keys].rename(columns={"gain_percent": "best gain, %"})
    number = st.column_config.NumberColumn(format="%.1f")
    st.dataframe(table, hide_index=True, column_config={"best gain, %": number, "credits": number})
    parts = {"accepted": "accepted", "waiting": "waiting", "refused by checks": "refused"}
    st.plotly_chart(charts.bars(rows, label="title", values=parts, x="rows"), key="datasets")
    download(table, "datasets")


def of_adapters(db) -> None:
    """Adapters against their base, ranked together only where the held-out rows are the same."""
    roots = {r["held_out_root"]: r for r in leaderboards.held_out_roots(db)}
    if not roots:
        frame.empty("No adapter has been evaluated yet.", page="train.py", label="Train one")
        return
    root = st.selectbox("Measured on", list(roots), key="root", required=True, format_func=lambda r: (
        f"{roots[r]['datasets']}: {roots[r]['rows']} held-out rows, {r[:8]}"))  # fmt: skip
    st.caption("Adapters are ranked together only where they were measured on exactly the same held-out rows.")
    rows = leaderboards.adapters(db, held_out_root=root)
    keys = {"rank": "rank", "adapter": "adapter", "gain_percent": "gain, %", "gain_low": "at least", "gain_high": "at most",
            "tuned_loss": "held-out loss", "base": "base", "method": "method", "lora_rank": "LoRA rank",
            "learning_rate": "learning rate", "minutes": "minutes", "tokens_per_second": "tokens/s"}  # fmt: skip
    table = pd.DataFrame(rows)[list(keys)].rename(columns=keys)
    one = st.column_config.NumberColumn(format="%.1f")
    config = {name: one for name in ("gain, %", "at least", "at most", "minutes", "tokens/s")}
    config["held-out loss"] = st.column_config.NumberColumn(format="%.3f")
    picked = st.dataframe(
        table, hide_index=True, column_config=config, on_select="rerun", selection_mode="single-row", key="board"
    )
    for place in [place for place in picked.selection.rows if place < len(rows)]:
        st.switch_page("adapters.py", query_params={"adapter": str(rows[place]["adapter_id"])})
    download(table, "adapters")
    left, right = st.columns(2)
    left.markdown("**Held-out loss taken away, with its 95% interval**")
    gain = charts.intervals(rows[:20], label="adapter", value="gain_percent", low="gain_low", high="gain_high", x="percent")
    left.plotly_chart(gain, key="gain")
    right.markdown("**Gain against cost**")
    timed = [r for r in rows if r["minutes"] is not None]
    cost = charts.scatter(
        timed, label="adapter", x="minutes", y="gain_percent", x_title="minutes", y_title="percent of loss"
    )
    right.plotly_chart(cost, key="cost")
