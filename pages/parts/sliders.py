"""The sliders of a recipe, each made from its own field: range, unit, help and group come from there."""

from dataclasses import replace
from typing import Any

import streamlit as st

from factory.training import recipes
from factory.training.recipes import Knob, Recipe
from pages import frame

GROUPS = ["simple", "advanced", "everything"]
LABELS = {"rank": "LoRA rank", "alpha": "LoRA alpha", "alpha_linked": "Alpha follows rank", "lora": "LoRA", "qlora": "QLoRA",
          "all-linear": "all linear", "mlp": "MLP"}  # fmt: skip


def label(knob: Knob) -> str:
    """A knob's name as a person reads it, with its unit."""
    words = LABELS.get(knob.name, knob.label)
    return f"{words} ({knob.unit})" if knob.unit else words


def widget(knob: Knob, value: Any) -> Any:
    """The widget of one knob, at `value` until somebody moves it; returns what it is set to.

    The value lies in the session's state and not in the widget, so that a preset moves what the browser shows too.
    """
    key, words = _key(knob.name), label(knob)
    value = st.session_state.setdefault(key, _kind(knob)(value))
    if knob.scale == "toggle":
        return st.toggle(words, key=key, help=knob.help)
    if knob.scale == "text":
        return st.text_input(words, key=key, help=knob.help)
    if knob.scale == "choice" and isinstance(knob.default, str):
        shown = {"format_func": lambda choice: LABELS.get(choice, choice)}
        return st.segmented_control(words, knob.choices, required=True, key=key, help=knob.help, **shown)
    if knob.scale == "choice":
        return st.select_slider(words, sorted({*knob.choices, value}), key=key, help=knob.help)
    if knob.scale == "log":
        return st.select_slider(words, knob.steps(value), format_func=lambda v: f"{v:g}", key=key, help=knob.help)
    kind = _kind(knob)
    low, high = knob.low or 0, knob.high or 0
    if high - low > 1000:
        return st.number_input(words, kind(low), kind(high), step=kind(knob.step or 1), key=key, help=knob.help)
    return st.slider(words, kind(low), kind(high), step=kind(knob.step or 1), key=key, help=knob.help)


def _kind(knob: Knob) -> type:
    return {"int": int, "float": float, "bool": bool, "str": str}[knob.kind]


def _key(name: str) -> str:
    """The key of a knob's widget in this generation of the sliders; `begin_with` raises the generation.

    A browser that has not heard of a preset yet still sends the values it shows: they go to the old generation's widgets,
    which are gone, and cannot undo the preset.
    """
    generation = st.session_state.get("generation", 0)
    return f"knob-{name}-{generation}" if generation else f"knob-{name}"


def begin_with(recipe: Recipe) -> None:
    """Put a preset or a loaded recipe under the sliders: new widgets that start from it."""
    st.session_state["generation"] = st.session_state.get("generation", 0) + 1
    st.session_state["recipe"] = recipe


def choose(model_name: str, *, on_gpu: bool) -> Recipe:
    """Presets and sliders, as many as somebody wants to see; the recipe they make."""
    presets = st.container(horizontal=True)
    for name, preset in recipes.PRESETS.items():
        presets.button(name.capitalize(), key=f"preset-{name}", on_click=begin_with, args=(preset,))
    with presets:
        load_yaml()
    base = st.session_state.setdefault("recipe", recipes.Recipe())
    shown = st.segmented_control("Show", GROUPS, default="simple", key="shown", required=True)
    visible = GROUPS[: GROUPS.index(shown) + 1]
    chosen: dict[str, Any] = {}
    columns = st.columns(2, gap="medium")
    linked = st.session_state.get(_key("alpha_linked"), base.alpha_linked)
    hidden = {"base_model"} | ({"alpha"} if linked else set()) | (set() if on_gpu else {"optimizer"})
    knobs = [knob for knob in recipes.knobs() if knob.group in visible and knob.name not in hidden]
    for place, knob in enumerate(knobs):
        with columns[place % 2]:
            chosen[knob.name] = widget(knob, getattr(base, knob.name))
    if linked and "advanced" in visible:
        st.caption(f"Alpha follows the rank: {2 * chosen.get('rank', base.rank)}.")
    if not on_gpu and "everything" in visible:
        st.caption("The optimizer is AdamW: the paged 8-bit one needs an NVIDIA GPU, and none is here.")
    recipe = replace(base, **chosen, base_model=model_name)
    st.session_state["recipe"] = recipe  # what is not shown any more stays as it was set
    return recipe


def load_yaml() -> None:
    """Take a recipe somebody else wrote; everything wrong with it is said at once."""
    with st.popover("Load a YAML", icon=":material/upload:"):
        text = st.text_area("Recipe", key="yaml-in", height=200, placeholder="rank: 16\nlearning_rate: 0.0002")
        if st.button("Use it") and text.strip():
            with frame.trying():
                begin_with(recipes.from_yaml(text))
                st.rerun()
