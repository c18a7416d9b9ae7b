"""Several runs side by side: the table, their curves over each other, parallel coordinates, and what was set differently."""

import pandas as pd
import streamlit as st

from factory.adapters import comparison
from pages import frame
from pages.parts import boards, overlaid

FIGURES = {
    "set": "set", "rank": "rank", "run": "run", "held_out_loss": "held-out loss", "gain_percent": "gain, %",
    "gain_low": "at least", "gain_high": "at most", "forgot_percent": "forgot, %", "minutes": "minutes",
    "memory_gib": "memory, GiB", "tokens": "tokens", "tokens_per_second": "tokens/s", "energy_wh": "Wh",
}  # fmt: skip
SIDE_BY_SIDE = 5  # up to so many runs are the columns of the table of settings, more are its rows


def several(db, text: str) -> None:
    """Runs compared, by their ids with commas between; reachable by its URL at any time."""
    frame.within("All runs", "runs.py", key="back", icon=":material/arrow_back:")
    found = comparison.compare(db, [int(part) for part in text.split(",") if frame.is_id(part)])
    st.header(f"{len(found['runs'])} runs side by side", anchor=False)
    st.caption(" ".join(found["sentences"]))
    chosen = table(found)
    members = one_set(found)
    labels = {run["run_id"]: f"{run['run']} ({run['run_id']})" for run in found["runs"] if run["run_id"] in members}
    overlaid.losses(db, labels, chosen)
    overlaid.parallel(found, list(labels), chosen)
    settings(found)


def table(found) -> int | None:
    """The figures of every run; the id of the one that was picked."""
    shown = pd.DataFrame(found["runs"])[list(FIGURES)].rename(columns=FIGURES)
    for row in found["differs"]:
        name = row["label"] if row["label"] not in shown else f"{row['label']} (set)"
        shown[name] = [comparison.shown(row["values"][run["run_id"]]) for run in found["runs"]]
    config = boards.figures() | {"run": st.column_config.Column(pinned=True, width="medium")}
    picked = st.dataframe(
        shown.dropna(axis="columns", how="all"), hide_index=True, column_config=config, on_select="rerun",
        selection_mode="single-row", key="compared",
    )  # fmt: skip
    with st.container(horizontal=True):
        st.download_button("Download as CSV", comparison.csv(found), "runs.csv", "text/csv", icon=":material/download:")
        for run in [found["runs"][place] for place in picked.selection.rows if place < len(found["runs"])]:
            words = f"Open {frame.plain(run['run'])}"
            frame.within(words, "runs.py", key="open", icon=":material/open_in_new:", run=str(run["run_id"]))
            return int(run["run_id"])
        st.caption("Pick a row to see that run in front of the others.")
    return None


def one_set(found) -> list[int]:
    """The runs that may share an axis of loss: those of one set, which is chosen where there are several."""
    sets = {each["set"]: each for each in found["sets"]}
    left = [run["run_id"] for run in found["runs"] if run["set"] == comparison.NO_SET]
    if left:
        sets[comparison.NO_SET] = {"runs": left, "held_out_root": None}
    if len(sets) < 2:
        return [run["run_id"] for run in found["runs"]]

    def words(name: str) -> str:
        where = f"held-out rows {sets[name]['held_out_root'][:8]}" if name != comparison.NO_SET else "no held-out loss"
        return f"{name}: {len(sets[name]['runs'])} run{'s' if len(sets[name]['runs']) > 1 else ''}, {where}"

    most = max(range(len(sets)), key=lambda place: len(list(sets.values())[place]["runs"]))
    chosen = st.selectbox("Set to draw", list(sets), most, format_func=words, key="set", bind="query-params", required=True)
    return list(sets[chosen]["runs"])


def settings(found) -> None:
    """Only what was set differently; what is the default is marked."""
    st.subheader("Set differently", anchor=False)
    if not found["differs"]:
        st.info("Nothing: recipe, data and base model are the same in all of them.")
        return
    names = {run["run_id"]: f"{run['run'][:24]} ({run['run_id']})" for run in found["runs"]}
    shown = pd.DataFrame(index=list(names.values()))
    for row in found["differs"]:
        values = [row["values"][run_id] for run_id in names]
        shown[row["label"]] = [comparison.shown(v) + (" · default" if v == row["default"] else "") for v in values]
    st.dataframe(shown.T if len(names) <= SIDE_BY_SIDE else shown)
