"""The sliders of a recipe, each made from its own field: range, unit, help and group come from there."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from factory.training import possible, recipes
from factory.training import presets as kept
from factory.training.knobs import GROUPS, TOPICS, Knob
from factory.training.recipes import Recipe
from pages import frame
from pages.parts.knob import LABELS, label, widget

ELSEWHERE = {"base_model"}  # chosen in a step of its own


def _key(name: str) -> str:
    """The key of a knob's widget in this generation of the sliders; `begin_with` raises the generation.

    A browser that has not heard of a preset yet still sends the values it shows: they go to the old generation's widgets,
    which are gone, and cannot undo the preset.
    """
    generation = st.session_state.get("generation", 0)
    return f"knob-{name}-{generation}" if generation else f"knob-{name}"


def begin_with(recipe: Recipe) -> None:
    """Put a preset, a loaded or a mended recipe under the sliders: new widgets that start from it."""
    st.session_state["generation"] = st.session_state.get("generation", 0) + 1
    st.session_state["recipe"] = recipe
    st.session_state["knob-keys"] = {}


def choose(model: Mapping[str, Any], *, machine: Mapping[str, Any], held_out: bool) -> Recipe:
    """Presets and sliders, as many as somebody wants to see; the recipe they make."""
    presets = st.container(horizontal=True)
    with frame.store.connect(frame.settings()) as db:
        known = kept.by_name(db)
    for name, preset in known.items():
        words = name.capitalize() if name in recipes.PRESETS else frame.plain(name)
        presets.button(words, key=f"preset-{name}", on_click=begin_with, args=(preset,))
    with presets:
        load_yaml()
    shown = st.segmented_control("Show", list(GROUPS), default="simple", key="shown", required=True)
    visible = GROUPS[: GROUPS.index(shown) + 1]
    keys: dict[str, str] = st.session_state.setdefault("knob-keys", {})
    now = replace(
        st.session_state.setdefault("recipe", recipes.Recipe()),
        **{name: st.session_state[key] for name, key in keys.items() if st.session_state.get(key) is not None},
        base_model=model["name"],
    )
    facts = {"machine": machine, "model": model}
    idle = possible.idle(now, held_out=held_out)
    knobs = [knob for knob in recipes.knobs() if knob.group in visible and knob.name not in ELSEWHERE]
    st.session_state["drawn-keys"] = {}
    chosen: dict[str, Any] = {}
    if shown == GROUPS[-1]:
        wanted = st.text_input("Find a setting", key="find-knob", placeholder="name or word, such as rank or memory")
        knobs = [knob for knob in knobs if wanted.strip().lower() in f"{label(knob)} {knob.name} {knob.help}".lower()]
        for topic in TOPICS:
            of_topic = [knob for knob in knobs if knob.topic == topic]
            if of_topic:
                st.markdown(f"##### {topic.capitalize()}")
                chosen |= _columns(of_topic, now, idle, facts)
    else:
        chosen |= _columns(knobs, now, idle, facts)
    recipe = st.session_state["recipe"] = replace(now, **chosen)  # what is not shown any more stays as it was set
    st.session_state["knob-keys"] = st.session_state["drawn-keys"]  # whole or not at all: a click may interrupt a drawing
    return recipe


def _columns(knobs: Iterable[Knob], now: Recipe, idle: Mapping[str, str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Widgets in two columns; what cannot be chosen beside the rest is left out of the choices, with the reason below."""
    columns = st.columns(2, gap="medium")
    chosen: dict[str, Any] = {}
    for place, knob in enumerate(knobs):
        value, key = getattr(now, knob.name), _key(knob.name)
        options = knob.choices or ((True, False) if knob.kind == "bool" else ())
        gone = {
            option: why
            for option in options
            if option != value and (why := possible.blocked(now, knob.name, option, **facts))
        }
        choices = tuple(option for option in knob.choices if option not in gone)
        if gone and knob.choices:  # other choices make another widget, which starts from the value
            key = f"{key}-without-{'-'.join(map(str, gone))}"
        why_idle = idle.get(knob.name) or (next(iter(gone.values())) if gone and len(options) - len(gone) < 2 else None)
        with columns[place % 2]:
            chosen[knob.name] = widget(knob, value, key=key, why_idle=why_idle, choices=choices)
            if why_idle:
                st.caption(why_idle)
            for why in dict.fromkeys(gone.values()) if not why_idle else ():
                lost = ", ".join(str(LABELS.get(option, option)) for option, reason in gone.items() if reason == why)
                st.caption(f"Not now: {lost}. {why}")
        st.session_state["drawn-keys"][knob.name] = key
    return chosen


def advise(recipe: Recipe, version: Mapping[str, Any]) -> None:
    """What is unwise about a recipe, each with a button that mends it where something simple does."""
    told = recipes.advices(recipe, version["row_count"], held_out=bool(version["held_out_root"]))
    for place, advice in enumerate(told):
        st.warning(advice.words, icon=":material/lightbulb:")
        if advice.mend:
            to = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in advice.mend.items())
            mended = replace(recipe, **advice.mend)
            st.button(f"Mend it: {to}", key=f"mend-{place}-{to}", type="tertiary", on_click=begin_with, args=(mended,))


def load_yaml() -> None:
    """Take a recipe somebody else wrote; everything wrong with it is said at once."""
    with st.popover("Load a YAML", icon=":material/upload:"):
        text = st.text_area("Recipe", key="yaml-in", height=200, placeholder="rank: 16\nlearning_rate: 0.0002")
        if st.button("Use it") and text.strip():
            with frame.trying():
                begin_with(recipe := recipes.from_yaml(text))
                st.session_state["wanted-model"] = recipe.base_model if "base_model:" in text else None
                st.rerun()
