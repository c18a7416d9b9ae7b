"""Every setting of a run in one place: the sliders, the command's options, the YAML and the checks come from here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from factory.base.errors import Invalid

LONGEST_YAML = 64 * 1024


@dataclass(frozen=True)
class Knob:
    """One setting for people. `kind` is int, float, bool or str; `scale` is linear, log, choice, toggle or text.

    `low`, `high`, `step` and `default` are all of that kind, as sliders want them.
    """

    name: str
    kind: str
    default: Any
    low: float | None
    high: float | None
    step: float | None
    choices: tuple[Any, ...]
    scale: str
    unit: str
    help: str
    group: str

    @property
    def label(self) -> str:
        """The name as a person would write it."""
        return self.name.replace("_", " ").capitalize()

    def steps(self, value: float) -> list[float]:
        """Values for a slider of log scale, from low to high in steps that feel even, with `value` among them."""
        low, high = float(self.low or 0), float(self.high or 0)
        marks = [base * 10.0**power for power in range(-7, 7) for base in (1, 1.5, 2, 3, 5, 7)]
        if self.kind == "int":  # memory and batches come in powers of two, and what lies half-way between them
            marks = [float(base * 2**power) for power in range(18) for base in (1, 1.5) if base * 2**power % 1 == 0]
        inside = {float(f"{mark:.3g}") if self.kind == "float" else mark for mark in marks if low <= mark <= high}
        of_kind = int if self.kind == "int" else float
        return sorted(of_kind(mark) for mark in inside | {low, high, float(value)})


def knob(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    choices: tuple[Any, ...] = (),
    scale: str = "",
    unit: str = "",
    group: str = "simple",
    warn: Callable[[Recipe, int | None], str | None] | None = None,
) -> Any:
    """A field of Recipe. `warn` looks at the recipe and the number of rows, and says what is unwise, or None."""
    scale = scale or (
        "choice" if choices else "toggle" if isinstance(default, bool) else "text" if isinstance(default, str) else "linear"
    )
    about = {"help": help, "low": low, "high": high, "step": step, "choices": choices, "scale": scale, "unit": unit}
    return dataclasses.field(default=default, metadata={**about, "group": group, "warn": warn})


def _warn_rank(recipe: Recipe, rows: int | None) -> str | None:
    if rows is not None and rows < 500 and recipe.rank > 32:
        return f"A rank of {recipe.rank} can learn {rows} rows by heart; 8 or 16 usually generalises better."
    return None


def _warn_alpha(recipe: Recipe, rows: int | None) -> str | None:
    if recipe.alpha > 4 * recipe.rank:
        return f"Alpha {recipe.alpha} over rank {recipe.rank} multiplies every step; twice the rank is usual."
    return None


def _warn_dropout(recipe: Recipe, rows: int | None) -> str | None:
    if rows is not None and rows < 1000 and recipe.dropout == 0 and recipe.epochs > 2 and not recipe.max_steps:
        return (
            f"With {rows} rows seen {recipe.epochs:g} times, a dropout of 0.05 to 0.1 helps against learning them by heart."
        )
    return None


def _warn_rate(recipe: Recipe, rows: int | None) -> str | None:
    if recipe.learning_rate > 5e-4:
        return f"A learning rate of {recipe.learning_rate:g} often makes the loss jump; 2e-4 is a safe start."
    return None


def _warn_batch(recipe: Recipe, rows: int | None) -> str | None:
    if recipe.effective_batch > 32:
        return f"{recipe.effective_batch} rows a step make few, averaged steps; LoRA usually learns better from 16 or 32."
    if rows is not None and rows < recipe.effective_batch:
        return f"There are only {rows} rows, fewer than the {recipe.effective_batch} of one step; lower the effective batch."
    return None


def _warn_epochs(recipe: Recipe, rows: int | None) -> str | None:
    if recipe.epochs == 0 and not recipe.max_steps:
        return "With 0 epochs nothing is trained: the run only measures the untouched base model."
    if rows and 0 < steps_total(recipe, rows) < 10:
        return f"Only {steps_total(recipe, rows)} steps are too few to learn much; lower the effective batch or add epochs."
    if recipe.epochs > 5 and not recipe.max_steps:
        return f"After {recipe.epochs:g} epochs most models repeat their rows; watch the held-out loss and keep the best."
    return None


def _warn_labels(recipe: Recipe, rows: int | None) -> str | None:
    return None if recipe.completions_only else "The model also learns to write the questions, which rarely helps a chat."


def _warn_stopping(recipe: Recipe, rows: int | None) -> str | None:
    if recipe.early_stopping_patience and recipe.evaluations < recipe.early_stopping_patience + 1:
        return "Early stopping can never act: it needs more held-out measurings than its patience."
    return None


@dataclass(frozen=True)
class Recipe:
    """All that decides a run besides its data: same recipe, data and machine, same adapter."""

    # fmt: off
    base_model: str = knob("smollm2-135m-instruct", "The model to start from; `models list` shows which are here.")
    method: str = knob(
        "lora", "LoRA trains small matrices beside the frozen weights; QLoRA also keeps those in 4 bits: less memory.",
        choices=("lora", "qlora"))
    rank: int = knob(
        16, "How much an adapter can hold: 8 or 16 for a style, 32 or 64 for a new domain.",
        choices=(4, 8, 16, 32, 64, 128, 256), warn=_warn_rank)
    learning_rate: float = knob(
        2e-4, "How far each step goes. Too high and the loss jumps, too low and nothing is learnt.",
        low=1e-6, high=1e-2, scale="log", warn=_warn_rate)
    epochs: float = knob(
        2.0, "How often every row is seen; 0 only measures the untouched base.",
        low=0, high=20, step=0.5, unit="times", warn=_warn_epochs)
    effective_batch: int = knob(
        16, "How many rows are averaged into one step.",
        low=1, high=256, step=1, scale="log", unit="rows", warn=_warn_batch)
    max_length: int = knob(
        1024, "Longer rows are cut at their end; the token view shows how many.",
        low=64, high=32768, step=64, scale="log", unit="tokens")
    max_steps: int = knob(
        0, "Stop after so many steps, whatever the epochs say; 0 is off.",
        low=0, high=100_000, step=1, unit="steps")
    alpha_linked: bool = knob(
        True, "Keep alpha at twice the rank, so that moving the rank keeps the step size.",
        group="advanced")
    alpha: int = knob(
        32, "How strongly the adapter speaks, relative to its rank.",
        low=1, high=512, step=1, group="advanced", warn=_warn_alpha)
    dropout: float = knob(
        0.0, "Share of the adapter's inputs left out at random; 0.05 to 0.1 helps under about 1,000 rows.",
        low=0, high=0.5, step=0.01, group="advanced", warn=_warn_dropout)
    targets: str = knob(
        "all-linear", "Which matrices get an adapter; the MLP ones matter most, all of them are the safe choice.",
        choices=("all-linear", "attention", "mlp"), group="advanced")
    schedule: str = knob(
        "cosine", "How the learning rate falls after the warm-up: along a cosine, in a line, or not at all.",
        choices=("cosine", "linear", "constant"), group="advanced")
    warmup_ratio: float = knob(
        0.03, "Share of the steps in which the rate climbs from zero.",
        low=0, high=0.5, step=0.01, group="advanced")
    completions_only: bool = knob(True, "Train on the answers, not on the questions.", group="advanced", warn=_warn_labels)
    system_prompt: str = knob("", "Put before conversations that bring none; empty: the template's own.", group="advanced")
    evaluations: int = knob(
        8, "How often the held-out loss is measured along the way, besides start and end.",
        low=0, high=200, step=1, unit="times", group="advanced")
    early_stopping_patience: int = knob(
        3, "Stop after so many held-out measurings in a row without a new best; 0 is off.",
        low=0, high=50, step=1, unit="measurings", group="advanced", warn=_warn_stopping)
    keep_best: bool = knob(True, "Keep the weights with the lowest held-out loss, not the last ones.", group="advanced")
    seed: int = knob(
        42, "Same seed, same order of rows, same start of the adapter.",
        low=0, high=2**31 - 1, step=1, group="advanced")
    weight_decay: float = knob(
        0.0, "Pulls the adapter towards zero at each step.",
        low=0, high=0.5, step=0.01, group="everything")
    gradient_norm: float = knob(
        1.0, "Longer gradients are cut to this length, against jumps.",
        low=0.05, high=10, step=0.05, group="everything")
    optimizer: str = knob(
        "adamw", "AdamW everywhere; its paged 8-bit form saves memory on NVIDIA GPUs.",
        choices=("adamw", "paged_adamw_8bit"), group="everything")
    micro_batch_tokens: int = knob(
        512, "How many tokens go through the model at once: fewer need less memory, GPUs like thousands; same result.",
        low=128, high=131072, step=64, scale="log", unit="tokens", group="everything")
    gradient_checkpointing: bool = knob(
        False, "Compute activations twice instead of keeping them: much less memory, a quarter slower.",
        group="everything")
    checkpoint_minutes: float = knob(
        5.0, "Save a state to resume from at least this often; 0 is off.",
        low=0, high=240, step=1, unit="minutes", group="everything")
    checkpoint_steps: int = knob(
        0, "Save a state to resume from every so many steps; 0 is off.",
        low=0, high=100_000, step=1, unit="steps", group="everything")
    # fmt: on

    def __post_init__(self) -> None:
        if self.alpha_linked is True and type(self.rank) is int:
            object.__setattr__(self, "alpha", 2 * self.rank)


PRESETS: dict[str, Recipe] = {
    "quick try": Recipe(rank=8, epochs=1, max_steps=40, effective_batch=8, evaluations=4, max_length=512),
    "balanced": Recipe(),
    "small data": Recipe(rank=8, epochs=3, effective_batch=8, learning_rate=1e-4, dropout=0.05, early_stopping_patience=2),
    "new domain": Recipe(rank=64, epochs=3, warmup_ratio=0.05, max_length=2048, evaluations=12),
    "low memory": Recipe(method="qlora", rank=8, max_length=512, micro_batch_tokens=256, gradient_checkpointing=True),
}


def knobs() -> list[Knob]:
    """Every setting with its default, range, unit and help, in the order a person meets them."""
    return [
        Knob(
            field.name,
            str(field.type),
            field.default,
            *(_of_kind(field.metadata[name], str(field.type)) for name in ("low", "high", "step")),
            **{name: field.metadata[name] for name in ("choices", "scale", "unit", "help", "group")},
        )
        for field in dataclasses.fields(Recipe)
    ]


def problems(recipe: Recipe) -> list[str]:
    """Everything that is wrong with a recipe, one sentence each; an empty list when it can be trained."""
    found = []
    for each in knobs():
        value = getattr(recipe, each.name)
        if not _has_kind(value, each.kind):
            found.append(f"{each.name} is {_shown(value)}; it has to be {_kind_words(each)}.")
        elif each.choices and value not in each.choices:
            found.append(f"{each.name} is {_shown(value)}; choose one of {', '.join(map(str, each.choices))}.")
        elif each.low is not None and each.high is not None and not each.low <= value <= each.high:
            found.append(f"{each.name} is {_shown(value)}; it has to be from {_number(each.low)} to {_number(each.high)}.")
    if isinstance(recipe.base_model, str) and not recipe.base_model.strip():
        found.append("base_model is empty; name a model of `models list`.")
    if isinstance(recipe.system_prompt, str) and len(recipe.system_prompt) > 8000:
        found.append("system_prompt has over 8,000 characters; shorten it.")
    return found


def warnings(recipe: Recipe, rows: int | None = None) -> list[str]:
    """What is allowed but unwise, one sentence each; `rows` is how many will be trained on, when known."""
    each = (field.metadata["warn"](recipe, rows) for field in dataclasses.fields(Recipe) if field.metadata["warn"])
    return [words for words in each if words]


def _has_kind(value: Any, kind: str) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "float":
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, str)


def _kind_words(each: Knob) -> str:
    words = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text"}[each.kind]
    return words if each.low is None or each.high is None else f"{words} from {_number(each.low)} to {_number(each.high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def _shown(value: Any) -> str:
    if isinstance(value, list | dict | tuple | set):  # never spelt out: a few YAML aliases can stand for gigabytes
        return f"a {type(value).__name__}"
    return repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "…"


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Every setting by name."""
    return dataclasses.asdict(recipe)


def from_dict(settings: Any) -> Recipe:
    """The recipe with these settings, defaults for the rest. Raises Invalid with every problem.

    >>> from_dict({"rank": 8}).alpha
    16
    """
    if not isinstance(settings, dict):
        raise Invalid("A recipe is a list of lines `setting: value`; this is something else.")
    known = {each.name: each for each in knobs()}
    unknown = [
        f"There is no setting {_shown(name)}; `recipe` lists those there are." for name in settings if name not in known
    ]
    recipe = Recipe(**{name: _of_kind(value, known[name].kind) for name, value in settings.items() if name in known})
    found = unknown + problems(recipe)
    if recipe.alpha_linked is True and "alpha" in settings and settings["alpha"] != recipe.alpha:
        found.append(
            f"alpha is {_shown(settings['alpha'])} but alpha_linked keeps it at {recipe.alpha}; drop it, or unlink it."
        )
    if found:
        raise Invalid(found)
    return recipe


def _of_kind(value: Any, kind: str) -> Any:
    """YAML reads 2e-4 as text and 1.0 as a fraction: mean what the person meant, leave the rest to `problems`."""
    if kind == "float" and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**53 else value
    if kind == "int" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def to_yaml(recipe: Recipe) -> str:
    """The recipe as YAML, complete, in the order of the settings; `from_yaml` reads it back equal."""
    return str(yaml.safe_dump(to_dict(recipe), sort_keys=False, allow_unicode=True, width=1000))


def from_yaml(text: str) -> Recipe:
    """The recipe that a YAML text describes, defaults for what it leaves out. Raises Invalid with every problem."""
    if len(text) > LONGEST_YAML:
        raise Invalid(f"A recipe has at most {LONGEST_YAML:,} characters; this is something else.")
    try:
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        place = getattr(problem, "problem_mark", None)
        raise Invalid(
            f"This is not YAML{f' (line {place.line + 1})' if place else ''}; a recipe has lines like `rank: 16`."
        ) from problem
    return from_dict({} if settings is None else settings)


def recipe_hash(recipe: Recipe) -> str:
    """A sha-256 that is equal for equal recipes."""
    return hashlib.sha256(json.dumps(to_dict(recipe), sort_keys=True).encode()).hexdigest()


def differences(recipe: Recipe, parent: Recipe) -> dict[str, tuple[Any, Any]]:
    """What changed since another recipe: setting → (there, here).

    >>> differences(Recipe(seed=1), Recipe())
    {'seed': (42, 1)}
    """
    ours, theirs = to_dict(recipe), to_dict(parent)
    return {name: (theirs[name], ours[name]) for name in ours if ours[name] != theirs[name]}


def steps_per_epoch(recipe: Recipe, rows: int) -> int:
    """Optimizer steps in which every row is seen once; the last one takes what is left over."""
    return math.ceil(rows / recipe.effective_batch)


def steps_total(recipe: Recipe, rows: int) -> int:
    """Optimizer steps of a whole run; 0 when there is nothing to train.

    >>> steps_total(Recipe(epochs=1.5, effective_batch=16), 100)
    11
    """
    steps = round(recipe.epochs * steps_per_epoch(recipe, rows) + 1e-9)
    if recipe.epochs > 0 and rows:
        steps = max(1, steps)
    if not rows:
        return 0
    return min(steps, recipe.max_steps) if recipe.max_steps else steps


def planned_rates(recipe: Recipe, total: int) -> list[float]:
    """The learning rate of every optimizer step, the first one first."""
    return [learning_rate_at(recipe, step, total) for step in range(1, total + 1)]


def learning_rate_at(recipe: Recipe, step: int, total: int) -> float:
    """The rate of optimizer step 1 ≤ `step` ≤ `total`: a straight warm-up, then the schedule down to nothing after the last.

    >>> recipe = Recipe(learning_rate=1.0, warmup_ratio=0.5, schedule="linear")
    >>> [learning_rate_at(recipe, step, 4) for step in (1, 2, 3, 4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup = round(recipe.warmup_ratio * total)
    if step <= warmup:
        return recipe.learning_rate * step / warmup
    share = (step - 1 - warmup) / max(1, total - warmup)
    if recipe.schedule == "cosine":
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
    return recipe.learning_rate * (1 - share if recipe.schedule == "linear" else 1.0)
