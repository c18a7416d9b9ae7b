"""The pieces of the search page: the list, the form that begins one, the presets."""

import streamlit as st

from factory.intake import datasets
from factory.training import models, presets, proposals, searches, spaces
from factory.training.plans import Plan
from pages import frame
from pages.parts import found, sliders

FIRST = ["learning_rate", "rank"]
NAMES = {"tpe": "Let Optuna choose (TPE)", "grid": "Every combination (grid)", "random": "At random",
         "median": "Below the median", "halving": "Successive halving", "none": "Never"}  # fmt: skip


def whole(db, person, search_id: int) -> None:
    """One search, reachable by its URL."""
    frame.within("All searches", "search.py", key="back", icon=":material/arrow_back:")
    found.whole(db, person, search_id)


def listed(db) -> None:
    """Every search as a line with its state, its progress and its best."""
    rows = searches.listing(db, limit=30)
    if not rows:
        frame.empty("No search yet. Choose below what to vary; two settings and 12 trials are a good first one.")
    for row in rows:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            frame.state(row["status"])
            frame.within(f"**{frame.plain(row['name'])}**", "search.py", key=f"search-{row['id']}", search=str(row["id"]))
            best = f" · best {row['best']['value']:.3f}" if row["best"] else ""
            st.caption(f"{frame.count(len(row['trials']), 'trial')}{best} · {frame.ago(row['at'])}")


def begin(db, person) -> None:
    """The form: data, the recipe to start from, what to vary, and the budget."""
    st.subheader("Begin a search", anchor=False)
    versions = {str(v["id"]): v for v in datasets.versions(db) if v["held_out_root"]}
    here = {m["name"]: m for m in models.list_models(frame.settings())}
    if not versions or not here:
        words = "A search needs a frozen version with held-out rows, and a base model on this machine."
        frame.empty(words, page="datasets.py", label="To the datasets")
        return
    known = presets.by_name(db)
    left, right = st.columns(2, gap="medium")
    version = left.selectbox(
        "Dataset version", list(versions), key="version", required=True,
        format_func=lambda i: frame.version_name(versions[i]),
    )  # fmt: skip
    model = right.selectbox("Base model", list(here), key="model", required=True)
    start = left.selectbox(
        "Recipe to start from", list(known), index=list(known).index("balanced"), key="start", required=True
    )
    name = right.text_input("Name", placeholder="optional", max_chars=60, key="name")
    over = ranges()
    plan = budget(over)
    if st.button("Begin the search", type="primary", icon=":material/play_arrow:", disabled=not over):
        with frame.trying():
            recipe = presets.with_changes(db, start, {"base_model": model})
            search_id = searches.start(
                db, person=person, version_id=int(version), recipe=recipe, plan=plan, settings=frame.settings(), name=name
            )
            frame.done("The search has begun; its trials wait until no run does.")
            st.switch_page("search.py", query_params={"search": str(search_id)})


def ranges() -> dict[str, str]:
    """What is varied: setting → its values, as they were written."""
    knobs = {knob.name: knob for knob in spaces.knobs()}
    words = "What to vary"
    chosen = st.multiselect(words, list(knobs), default=FIRST, key="over", format_func=lambda n: sliders.label(knobs[n]))
    columns, over = st.columns(2, gap="medium"), {}
    for place, name in enumerate(chosen):
        over[name] = columns[place % 2].text_input(
            sliders.label(knobs[name]), spaces.usual(knobs[name]), key=f"range-{name}",
            help=f"{knobs[name].help} Write `low..high` for a range, or `a,b,c` for choices.",
        )  # fmt: skip
    return over


def budget(over: dict[str, str]) -> Plan:
    """How it is searched, and how long."""
    left, middle, right = st.columns(3, gap="medium")
    method = left.selectbox("Method", list(proposals.METHODS), format_func=NAMES.get, key="method", required=True)
    pruner = middle.selectbox("Give up trials", list(proposals.PRUNERS), format_func=NAMES.get, key="pruner", required=True)
    seed = right.number_input("Seed", 0, 2**31 - 1, 42, key="seed", help="Same seed, same trials.")
    trials = left.number_input("At most (trials)", 1, 500, 12, key="trials")
    minutes = middle.number_input("At most (minutes)", 0, 100_000, 60, key="minutes", help="0 is no limit.")
    help = "Of the starting recipe; with other batches as many as see equally many rows. 0: the recipe's own length."
    steps = right.number_input("Steps a trial", 0, 100_000, 40, key="steps", help=help)
    return Plan(over, str(method), str(pruner), int(trials), float(minutes), int(steps), seed=int(seed))


def kept_presets(db, person) -> None:
    """The presets that were kept here, each with a way to delete it."""
    own = [preset for preset in presets.listing(db) if not preset["built_in"]]
    if not own:
        return
    st.subheader("Presets kept here", anchor=False)
    for preset in own:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{frame.plain(preset['name'])}**")
            st.caption(frame.plain(preset["words"]))
            if st.button("Delete", key=f"delete-{preset['name']}", icon=":material/delete:", type="tertiary"):
                with frame.trying():
                    presets.delete(db, preset["name"], person=person)
                    frame.done("The preset is deleted.")
                    st.rerun()
