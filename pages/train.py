"""The training wizard: data, base model, method and sliders, then a card that says what it will take, and start."""

import streamlit as st

from factory import charts
from factory.base.errors import Invalid
from factory.intake import datasets
from factory.training import estimate, models, recipes, runs
from pages import frame
from pages.parts import sliders, sources, targets, tokens

FITS = {"fits": ("green", "fits this machine"), "tight": ("orange", "tight on this machine"), "no": ("red", "does not fit")}


def choose_data(db) -> dict:
    """Step 1: a frozen dataset version."""
    st.subheader("1 · Data", anchor=False)
    by_id = {str(v["id"]): v for v in datasets.versions(db)}
    if not by_id:
        frame.empty("No version is frozen yet. Freeze one on a dataset's page.", page="datasets.py", label="To the datasets")
        st.stop()
    chosen = st.selectbox(
        "Dataset version", list(by_id), key="version", bind="query-params", required=True,
        format_func=lambda i: f"{by_id[i]['title']}, version {by_id[i]['number']} ({by_id[i]['row_count']} rows)",
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
    name = st.selectbox(
        "Base model", list(here), key="model", required=True,
        format_func=lambda n: f"{n} · {here[n]['parameters'] / 1e6:,.0f} million parameters · {here[n]['licence']}",
    )  # fmt: skip
    return here[name]


def show_estimate(guess, recipe, version) -> None:
    """Memory against this machine, time with its range, disk, and how sure all that is."""
    colour, words = FITS[guess.fits]
    st.badge(words, color=colour)
    share = min(1.0, guess.memory_bytes / max(1, guess.memory_available_bytes))
    st.progress(share, f"Memory: {guess.memory_bytes / 2**30:.1f} of {guess.memory_available_bytes / 2**30:.1f} GiB free")
    st.metric("Time", f"about {frame.lasting(guess.seconds)}")
    st.caption(f"Between {frame.lasting(guess.seconds_low)} and {frame.lasting(guess.seconds_high)}. {guess.sure}")
    st.metric("Disk", f"{guess.disk_bytes / 2**20:,.0f} MiB")
    st.caption(f"{guess.steps} steps · {guess.tokens_per_epoch:,} tokens an epoch · {recipe.effective_batch} rows a step")
    sliders.advise(recipe, version)
    for sentence in guess.notes:
        st.warning(sentence, icon=":material/lightbulb:")
    rates = recipes.planned_rates(recipe, guess.steps)
    st.plotly_chart(charts.schedule(rates), key="schedule", config={"displayModeBar": False})


def launch_card(db, person, version, more, recipe, problems) -> None:
    """Step 4: what this choice takes on this machine, and the start button."""
    st.subheader("4 · Check and start", anchor=False)
    if problems:
        frame.refuse(Invalid(problems))
        return
    mixed = {"weight": version.get("weight", 1.0), "more": [(other["id"], other["weight"]) for other in more]}
    guess = runs.estimate_for(db, frame.settings(), version_id=version["id"], recipe=recipe, **mixed)
    show_estimate(guess, recipe, version)
    name = st.text_input("Name of the run", placeholder="optional", max_chars=80)
    if st.button(
        "Start the training", type="primary", icon=":material/play_arrow:", disabled=guess.fits == "no", width="stretch"
    ):
        run_id = runs.create(
            db, person=person, version_id=version["id"], recipe=recipe, name=name, settings=frame.settings(), **mixed
        )
        frame.done("The run is in the queue.")
        st.switch_page("runs.py", query_params={"run": str(run_id)})
    text = recipes.to_yaml(recipe)
    with st.expander("Recipe as YAML, and as a command", icon=":material/code:"):
        st.code(text, language="yaml")
        st.download_button("Download recipe.yaml", text, "recipe.yaml", "application/yaml")
        data = " ".join(f"--dataset {sources.as_typed(each)}" for each in (version, *more))
        st.code(f".venv/bin/python -m factory train {data} --recipe recipe.yaml", language="bash", wrap_lines=True)


with frame.page("Train", "builder", about="Four steps to a run. Every number on the card follows the sliders.") as (
    db,
    person,
):
    left, right = st.columns([3, 2], gap="large")
    with left:
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
        launch_card(db, person, version, more, recipe, recipes.problems(recipe, machine=machine, model=model))
