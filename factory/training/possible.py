"""Which settings cannot go together, and which have no effect beside others: one list for pages, commands and checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from factory.base.errors import Invalid
from factory.training import places, trackers
from factory.training.recipe import Recipe

Facts = Mapping[str, Any] | None


@dataclass(frozen=True)
class Clash:
    """Settings that cannot go together, the one to change first, and why in a sentence that says what to do."""

    fields: tuple[str, ...]
    why: str


def clashes(recipe: Recipe, *, machine: Facts = None, model: Facts = None) -> list[Clash]:
    """Every impossible combination in a recipe whose values are each within their ranges.

    `machine` as `estimate.machine` and `model` as `models.get` give them; without them only what is impossible anywhere.
    """
    found = [*_of_adapter(recipe), *_of_data(recipe)]
    if machine is not None:
        found += _of_machine(recipe, machine)
        found += [Clash(("report_to",), why) for why in [trackers.missing(recipe.report_to)] if why]
    found += _of_places(recipe, model)
    return found


def impossible(recipe: Recipe, *, machine: Facts = None, model: Facts = None) -> dict[str, str]:
    """Setting → why it cannot be what it is; empty for a recipe that can be trained."""
    return {clash.fields[0]: clash.why for clash in reversed(clashes(recipe, machine=machine, model=model))}


def blocked(recipe: Recipe, field: str, value: Any, *, machine: Facts = None, model: Facts = None) -> str | None:
    """Why `field` could not be `value` with all else as it is in `recipe`, or None.

    >>> blocked(Recipe(method="qlora"), "initialization", "pissa")
    'PiSSA moves part of the base weights into the adapter, which 4 or 8 bits cannot give; choose LoRA, or LoftQ with QLoRA.'
    """
    tried = dataclasses.replace(recipe, **{field: value})
    return next((c.why for c in clashes(tried, machine=machine, model=model) if field in c.fields), None)


def _of_adapter(recipe: Recipe) -> Iterator[Clash]:
    if recipe.initialization == "pissa" and recipe.method == "qlora":
        yield Clash(
            ("initialization", "method"),
            "PiSSA moves part of the base weights into the adapter, which 4 or 8 bits cannot give; choose LoRA, or LoftQ"
            " with QLoRA.",
        )
    if recipe.initialization == "loftq" and (recipe.method != "qlora" or recipe.quantization_bits != 4):
        yield Clash(
            ("initialization", "method", "quantization_bits"),
            "LoftQ starts the adapter at what 4 bits lost, so it needs QLoRA with 4 bits; choose those, or another start.",
        )
    if recipe.dora and recipe.method == "qlora" and recipe.quantization_bits == 8:
        yield Clash(
            ("dora", "quantization_bits", "method"),
            "DoRA needs the length of each row of the weights, which 8-bit layers no longer tell while they train; choose 4"
            " bits, or plain LoRA.",
        )
    if recipe.dora and recipe.initialization != "default":
        yield Clash(
            ("dora", "initialization"),
            "DoRA rescales whole weights, so an adapter that started from them (PiSSA, LoftQ) could not be turned back into"
            " a plain one; choose one of the two.",
        )


def _of_data(recipe: Recipe) -> Iterator[Clash]:
    if recipe.mask_history and not recipe.completions_only:
        yield Clash(
            ("mask_history", "completions_only"),
            "Training on the last answer only and training on the questions too exclude each other; choose one.",
        )


def _of_machine(recipe: Recipe, machine: Mapping[str, Any]) -> Iterator[Clash]:
    if machine.get("gpu"):
        return
    if recipe.optimizer == "paged_adamw_8bit":
        yield Clash(
            ("optimizer",),
            "The paged 8-bit optimizer needs an NVIDIA GPU, and none was found here; choose the optimizer adamw.",
        )
    if recipe.precision == "fp16":
        yield Clash(
            ("precision",),
            "float16 is for GPUs: this processor computes it slowly and its small numbers vanish; choose auto or fp32.",
        )
    if recipe.precision == "bf16" and machine.get("dtype") != "bfloat16":
        yield Clash(
            ("precision",),
            "This processor has no bfloat16 instructions, and emulating them is 50 times slower; choose auto or fp32.",
        )


def _of_places(recipe: Recipe, model: Facts) -> Iterator[Clash]:
    named = places.names(recipe.target_modules)
    if recipe.targets == "chosen" and not named:
        yield Clash(
            ("target_modules",),  # not the targets: somebody has to choose them first, and name matrices then
            "No matrix is named; write some into target_modules, such as q_proj, v_proj, or choose other targets.",
        )
    try:
        asked = places.layers(recipe.layers, model["layers"] if model else None)
    except Invalid as problem:
        yield Clash(("layers",), str(problem))
        return
    if model is None:
        return
    here = {matrix.name for matrix in places.matrices(model)}
    unknown = [name for name in named if name not in here] if recipe.targets == "chosen" else []
    if unknown:
        yield Clash(
            ("target_modules",),
            f"This model has no matrix called {', '.join(unknown)}; it has {', '.join(sorted(here))}.",
        )
    elif asked and recipe.targets != "chosen" and not places.chosen(recipe, model):
        yield Clash(
            ("targets",), f"This model has no layers called {recipe.targets}; choose the targets all-linear or chosen."
        )


def idle(recipe: Recipe, *, held_out: bool | None = None) -> dict[str, str]:
    """Setting → why it has no effect beside the others. `held_out`: whether the data brings a sealed held-out set."""
    bits = "Only QLoRA keeps the base in few bits." if recipe.method != "qlora" else "This is about 4 bits."
    each = [
        (("quantization_bits",), recipe.method != "qlora", bits),
        (("quantization_type", "double_quantization"), recipe.method != "qlora" or recipe.quantization_bits != 4, bits),
        (("alpha",), recipe.alpha_linked, f"Alpha follows the rank: {recipe.alpha}."),
        (("target_modules",), recipe.targets != "chosen", "Choose the targets “chosen” to name matrices."),
        (("schedule_cycles",), recipe.schedule != "cosine_with_restarts", "Only a cosine with restarts has cycles."),
        (("schedule_power",), recipe.schedule != "polynomial", "Only the polynomial schedule has a power."),
        (("warmup_ratio",), recipe.warmup_steps > 0, f"The warm-up takes exactly {recipe.warmup_steps} steps."),
        (("adam_beta1", "adam_beta2"), recipe.optimizer == "adafactor", "Adafactor has no such memory."),
        (("micro_batch_tokens",), not recipe.packing, "Without packing each row goes through the model alone."),
        (("validation_share",), held_out is True, "This version's sealed held-out set is what is measured on."),
    ]
    return {field: why for fields, without, why in each if without for field in fields}
