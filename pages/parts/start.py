"""The end of the wizard: the start button, and the same as a file and a command."""

import streamlit as st

from factory.training import recipes, runs
from pages import frame
from pages.parts import again, sources


def offer(db, person, versions, recipe, mixed, *, may) -> None:
    """Start the run, or take its recipe elsewhere; `mixed` is how the versions are weighed, as `runs.create` takes it."""
    name = st.text_input("Name of the run", placeholder="optional", max_chars=80)
    shown = {"type": "primary", "icon": ":material/play_arrow:", "width": "stretch"}
    if st.button("Start the training", disabled=not may, **shown):
        with frame.trying():
            run_id = runs.create(
                db, person=person, version_id=versions[0]["id"], recipe=recipe, name=name, settings=frame.settings(),
                parent_run_id=again.parent_id(), **mixed,
            )  # fmt: skip
            frame.done("The run is in the queue.")
            st.switch_page("runs.py", query_params={"run": str(run_id)})
    text = recipes.to_yaml(recipe, datasets=[sources.as_typed(each) for each in versions])
    with st.expander("Recipe as YAML, and as a command", icon=":material/code:"):
        st.code(text, language="yaml")
        st.download_button("Download recipe.yaml", text, "recipe.yaml", "application/yaml")
        data = " ".join(f"--dataset {sources.as_typed(each)}" for each in versions)
        st.code(f".venv/bin/python -m factory train {data} --recipe recipe.yaml", language="bash", wrap_lines=True)
