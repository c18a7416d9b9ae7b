"""What a setting of a recipe says about itself: the sliders, options, checks and docs are all made from it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

GROUPS = ("simple", "advanced", "everything")  # how much somebody wants to see: each shows also those before it
TOPICS = ("optimisation", "adapter", "data", "precision", "saving")  # the headings when everything is shown


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
    topic: str

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


@dataclass(frozen=True)
class Advice:
    """What is allowed but unwise, in a sentence, and the settings that would mend it (empty where nothing simple does)."""

    words: str
    mend: dict[str, Any] = dataclasses.field(default_factory=dict)


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
    topic: str = "optimisation",
) -> Any:
    """A field of Recipe with all that a person needs to know of it; what is unwise about it stands in `advice`."""
    scale = scale or (
        "choice" if choices else "toggle" if isinstance(default, bool) else "text" if isinstance(default, str) else "linear"
    )
    about = {"help": help, "low": low, "high": high, "step": step, "choices": choices, "scale": scale, "unit": unit}
    return dataclasses.field(default=default, metadata={**about, "group": group, "topic": topic})
