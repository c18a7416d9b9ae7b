"""The boards of datasets and of adapters, and every board as a file."""

import pandas as pd
import streamlit as st

from factory import charts
from factory.credit import leaderboards
from factory.intake.formats import csv_safe
from pages import frame

COSTS = {"minutes": "minutes", "energy_wh": "watt-hours", "memory_gib": "memory, GiB", "tokens": "tokens seen",
         "forgot_percent": "forgot, %"}  # fmt: skip


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


def figures() -> dict:
    """How the columns are shown that the adapters' board and the comparison of runs share."""
    number = st.column_config.NumberColumn
    return {
        **{name: number(format="%.1f") for name in ("gain, %", "at least", "at most", "minutes", "tokens/s")},
        "held-out loss": number(format="%.3f", help="Nats per token of the answers."),
        "forgot, %": number(format="%+.1f", help="Rise of the loss on a neutral text: what the model lost elsewhere."),
        "memory, GiB": number(format="%.2f", help="The most that the training held at once."),
        "tokens": number(format="localized", help="Seen in training, every epoch counted."),
        "Wh": number(format="%.2f", help="Electricity of the training, counted or estimated."),
    }


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
    if sentence := leaderboards.not_ranked(db, root):
        st.caption(sentence)
    for row in rows:
        row["memory_gib"] = None if row["memory_bytes"] is None else row["memory_bytes"] / 2**30
    keys = {"rank": "rank", "adapter": "adapter", "gain_percent": "gain, %", "gain_low": "at least", "gain_high": "at most",
            "forgot_percent": "forgot, %", "tuned_loss": "held-out loss", "minutes": "minutes", "memory_gib": "memory, GiB",
            "tokens": "tokens", "energy_wh": "Wh", "tokens_per_second": "tokens/s", "base": "base", "method": "method",
            "lora_rank": "LoRA rank", "learning_rate": "learning rate"}  # fmt: skip
    table = pd.DataFrame(rows)[list(keys)].rename(columns=keys)
    picked = st.dataframe(
        table, hide_index=True, column_config=figures(), on_select="rerun", selection_mode="single-row", key="board"
    )
    for place in [place for place in picked.selection.rows if place < len(rows)]:
        st.switch_page("adapters.py", query_params={"adapter": str(rows[place]["adapter_id"])})
    download(table, "adapters")
    left, right = st.columns(2)
    left.markdown("**Held-out loss taken away, with its 95% interval**")
    gain = charts.intervals(rows[:20], label="adapter", value="gain_percent", low="gain_low", high="gain_high", x="percent")
    left.plotly_chart(gain, key="gain")
    costs(right, rows)


def costs(place, rows) -> None:
    """What each gain took, by the cost that is chosen."""
    place.markdown("**Gain against cost**")
    cost = place.segmented_control(
        "Cost",
        list(COSTS),
        default="minutes",
        key="cost",
        required=True,
        format_func=COSTS.get,
        label_visibility="collapsed",
    )
    known = [r for r in rows if r[cost] is not None]
    figure = charts.scatter(known, label="adapter", x=cost, y="gain_percent", x_title=COSTS[cost], y_title="percent of loss")
    place.plotly_chart(figure, key="cost-chart")
    if cost == "energy_wh" and (ways := sorted({r["energy_from"] for r in known if r["energy_from"]})):
        place.caption(f"Energy of the training: {'; '.join(ways)}.")
