"""The widget of one knob of a recipe: made from its field, disabled with the reason where it can do nothing."""

from typing import Any

import streamlit as st

from factory.training.knobs import Knob

LABELS = {
    "rank": "LoRA rank", "alpha": "LoRA alpha", "alpha_linked": "Alpha follows rank", "lora": "LoRA", "qlora": "QLoRA",
    "all-linear": "all linear", "mlp": "MLP", "rslora": "rsLoRA", "dora": "DoRA", "lora_plus_ratio": "LoRA+ ratio",
    "neftune_alpha": "NEFTune alpha", "pissa": "PiSSA", "loftq": "LoftQ", "adamw": "AdamW", "adamw_8bit": "AdamW 8 bit",
    "paged_adamw_8bit": "AdamW 8 bit, paged", "adafactor": "Adafactor", "cosine_with_restarts": "cosine with restarts",
    "inverse_sqrt": "inverse square root", "nf4": "NF4", "fp4": "FP4", "adam_beta1": "AdamW beta 1",
    "adam_beta2": "AdamW beta 2", "initialization": "Start of the adapter",
}  # fmt: skip


def label(knob: Knob) -> str:
    """A knob's name as a person reads it, with its unit."""
    words = LABELS.get(knob.name, knob.label)
    return f"{words} ({knob.unit})" if knob.unit else words


def kind_of(knob: Knob) -> type:
    """The Python type of a knob's values."""
    return {"int": int, "float": float, "bool": bool, "str": str}[knob.kind]


def widget(knob: Knob, value: Any, *, key: str, why_idle: str | None, choices: tuple[Any, ...]) -> Any:
    """The widget, at `value` until somebody moves it; returns what it is set to. `choices` are those that are possible.

    A key is one widget wherever its value stands: a preset makes others (see `sliders._key`). So the value may be given each
    time, and a drawing that a click interrupts leaves nothing that the browser has not heard of.
    """
    value = kind_of(knob)(value)
    if why_idle:
        key = f"{key}-idle-{value}"  # it may follow another knob, as alpha does: another widget, which starts from there
    about: dict[str, Any] = {
        "key": key, "help": f"{knob.help} Not now: {why_idle}" if why_idle else knob.help, "disabled": bool(why_idle)
    }  # fmt: skip
    words = label(knob)
    if knob.scale == "toggle":
        return st.toggle(words, value, **about)
    if knob.scale == "text":
        return st.text_input(words, value, **about)
    if knob.scale == "choice" and isinstance(knob.default, str):
        shown = {"format_func": lambda choice: LABELS.get(choice, choice)}
        if len(knob.choices) > 3:  # more do not fit side by side in half a page
            return st.selectbox(words, choices, choices.index(value), **shown, **about)
        return st.segmented_control(words, choices, default=value, required=True, **shown, **about)
    if knob.scale == "choice":
        return st.select_slider(words, sorted({*choices, value}), value, **about)
    if knob.scale == "log":
        return st.select_slider(words, knob.steps(value), value, format_func=lambda v: f"{v:g}", **about)
    kind, low, high = kind_of(knob), knob.low or 0, knob.high or 0
    step = kind(knob.step or 1)
    shape = {"format": f"%.{len(str(step)) - 2}f"} if kind is float and step < 0.01 else {}
    if high - low > 1000 or shape:
        return st.number_input(words, kind(low), kind(high), value, step=step, **shape, **about)
    return st.slider(words, kind(low), kind(high), value, step=step, **about)
