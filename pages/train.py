"""The training wizard: data, base model, method and sliders, then a card that says what it will take, and start."""

import streamlit as st

from factory.intake import datasets
from factory.training import estimate, models, recipes
from pages import frame
from pages.parts import again, card, choice, sliders, sources, targets, tokens


def choose_data(db) -> dict:
    """Step 1: a frozen dataset version."""
    st.subheader("1 · Data", anchor=False)
    by_id = {str(v["id"]): v for v in datasets.versions(db)}
    if not by_id:
        frame.empty("No version is frozen yet. Freeze one on a dataset's page.", page="datasets.py", label="To the datasets")
        st.stop()
    if "wanted-model" in st.session_state:  # a YAML was loaded just now; it may name its data too
        sources.take(db, recipes.datasets_in(st.session_state["yaml-in"]))
    chosen = choice.picked(
        "Dataset version", list(by_id), key="version",
        format_func=lambda i: frame.version_name(by_id[i]),
    )  # fmt: skip
    version = by_id[chosen]
    if version["held_out_root"]:
        st.caption(f"Measured on its {version['held_out_rows']} sealed held-out rows, which nobody can submit to.")
    else:
        st.warning(
            "This version has no held-out set: no held-out curve, no evaluation, no credits.", icon=":material/warning:"
        )
    return version


def choose_model() -> dict:
    """Step 2: a base model that is on this machine."""
    st.subheader("2 · Base model", anchor=False)
    here = {m["name"]: m for m in models.list_models(frame.settings())}
    if not here:
        st.error(
            "No base model is on this machine. Run `.venv/bin/python -m factory models fetch` in a terminal, then reload."
        )
        st.stop()
    wanted = st.session_state.pop("wanted-model", None)  # a loaded YAML named it
    if wanted in here:
        st.session_state["model"] = wanted
    elif wanted:
        st.error(f"The recipe wants the base model {frame.plain(wanted)}, which is not here; fetch it, or choose another.")
    name = st.selectbox(
        "Base model", list(here), key="model", required=True,
        format_func=lambda n: f"{n} · {here[n]['parameters'] / 1e6:,.0f} million parameters · {here[n]['licence']}",
    )  # fmt: skip
    return here[name]


with frame.page("Train", "builder", about="Four steps to a run. Every number on the card follows the sliders.") as (
    db,
    person,
):
    left, right = st.columns([3, 2], gap="large")
    with left:
        parent = again.begin(db)
        version = choose_data(db)
        more = sources.choose(db, version)
        seen = st.container()
        model = choose_model()
        st.subheader("3 · Method and sliders", anchor=False)
        machine = estimate.machine(frame.settings())
        recipe = sliders.choose(model, machine=machine, held_out=bool(version["held_out_root"]))
        targets.show(recipe, model)
        with seen:
            tokens.show(db, person, version, recipe)
    with right.container(border=True):
        again.marked(parent, recipe)
        card.show(db, person, version, more, recipe, recipes.problems(recipe, machine=machine, model=model))
