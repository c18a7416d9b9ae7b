"""The quiet parts of one run's page: what it was made from, what was predicted, what happened. Each is a tab."""

import streamlit as st

from factory import charts
from factory.training import recipes, reports, runs
from pages import frame


def recipe_and_data(db, run) -> None:
    """What it was made from; whatever else re-makes or compares a run has its line here."""
    link = {"dataset": run["dataset_slug"]}
    words = (
        f"{frame.plain(run['dataset_title'])}, version {run['version_number']} ({frame.count(run['version_rows'], 'row')})"
    )
    st.page_link("datasets.py", label=words, query_params=link, icon=":material/dataset:")
    st.caption(f"Base model {frame.plain(run['model_name'])} · data root {run['version_root'][:12]}")
    st.code(recipes.to_yaml(run["recipe"]), language="yaml")


def measured(db, run) -> None:
    """What was predicted, and what came."""
    compared = runs.predicted_against_measured(run)
    if run["measured"]:
        st.plotly_chart(charts.predicted(compared), key="predicted", config={"displayModeBar": False})
    st.dataframe(compared, hide_index=True)
    st.caption(run["estimate"]["sure"])


def what_happened(db, run) -> None:
    """The events of a run and the last lines of its trainer's own log."""
    for event in runs.events(db, run["id"]):
        st.caption(f"{frame.ago(event['at'])}: {frame.plain(event['words'])}")
    tensorboard(run)
    log = runs.log_tail(frame.settings(), run["folder"], lines=200) or "(nothing yet)"
    st.code(log, language=None, height=320, wrap_lines=True)


def tensorboard(run) -> None:
    """Its event files to take away, once there are some; they are packed only when somebody asks."""
    folder = frame.settings().runs / run["folder"]
    if any(reports.folder_of(folder).glob("events.*")):
        st.download_button(
            "TensorBoard files", lambda: reports.zipped(folder), f"run-{run['id']}-tensorboard.zip", "application/zip",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip
