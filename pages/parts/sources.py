"""Further dataset versions for a run, each with its weight."""

from typing import Any

import streamlit as st

from factory.commands.desk import versions_named
from factory.intake import datasets
from factory.training import mixture
from pages import frame


def as_typed(version: dict[str, Any]) -> str:
    """A version as the command takes it."""
    weight = version.get("weight", 1.0)
    return f"{version['slug']}@{version['number']}" + (f":{weight:g}" if weight != 1 else "")


def begin_with(versions) -> None:
    """Choose these versions, each with its `weight`; the first one is what is measured on."""
    if versions:
        st.session_state["version"] = str(versions[0]["id"])
        st.session_state["more-versions"] = [version["id"] for version in versions[1:]]
        st.session_state.update({f"weight-{version['id']}": float(version["weight"]) for version in versions})


def take(db, named) -> None:
    """Choose the versions that a recipe's file names, with their weights, or say which of them is not here."""
    with frame.trying():
        begin_with([version | {"weight": weight} for version, weight in versions_named(db, named)])


def choose(db, first: dict[str, Any]) -> list[dict[str, Any]]:
    """Versions to mix with the first one, with `weight`; the first one gets its `weight` too."""
    others = {v["id"]: v for v in datasets.versions(db) if v["id"] != first["id"]}
    if not others:
        return []
    with st.expander("Mix in further versions", icon=":material/library_add:"):
        chosen = st.multiselect(
            "Further versions", list(others), key="more-versions", max_selections=mixture.MOST - 1,
            format_func=lambda i: frame.version_name(others[i]),
        )  # fmt: skip
        if not chosen:
            st.caption("Rows of several versions can be mixed; each version's weight says how often its rows come.")
            return []
        for version in (first, *(others[i] for i in chosen)):
            version["weight"] = st.number_input(
                f"Weight of {version['slug']}@{version['number']}",
                mixture.LIGHTEST, mixture.HEAVIEST, 1.0, step=0.25,
                key=f"weight-{version['id']}", help="1 takes every row once an epoch, 0.5 half of them, 2 each row twice.",
            )  # fmt: skip
        st.caption(
            "What is measured on is the held-out set of the first version. Rows of the others too close to it are left"
            " out, and a row that is in several versions is trained on once. The token view shows the first one."
        )
    return [others[i] for i in chosen]
