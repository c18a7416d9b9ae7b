"""Why a run broke and what to try next: what the trainer knew at that moment, and the sentences made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factory.base.errors import FactoryError, Unavailable
from factory.training import recipes
from factory.training.recipes import Recipe

KILLED = "killed"  # the kind of event that says that the process was ended from outside


class OutOfMemory(Unavailable):
    """A step did not fit into memory; `facts` has its step, longest row and largest pack (tokens)."""

    def __init__(self, *, step: int, longest_row: int, largest_pack: int) -> None:
        self.facts = {"kind": "out_of_memory", "step": step, "longest_row": longest_row, "largest_pack": largest_pack}
        super().__init__(
            f"There is not enough memory for step {step} (longest row {longest_row:,} tokens, largest pack"
            f" {largest_pack:,}); lower the tokens at once (micro_batch_tokens) or the maximum length, or turn on gradient"
            " checkpointing or QLoRA."
        )


class NotANumber(FactoryError):
    """The loss or the gradient of a step is not a finite number; `facts` has the step, its rate and its longest row."""

    def __init__(self, *, step: int, rate: float, longest_row: int, planned_rate: float) -> None:
        self.facts = {"kind": "not_a_number", "step": step, "rate": rate, "longest_row": longest_row}
        super().__init__(
            f"At step {step} the loss is no longer a number; lower the learning rate (now {planned_rate:g})"
            " or lengthen the warm-up, then start a new run."
        )


@dataclass(frozen=True)
class Try:
    """One change that may help: what a button says, and the settings it changes."""

    words: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Explanation:
    """What happened to a broken run, how sure that is, and what to try; `step` is None where it is not known."""

    what: str
    evidence: tuple[str, ...]
    tries: tuple[Try, ...]
    step: int | None = None


def explain(run: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Explanation | None:
    """Why a failed or interrupted run broke, where that can be told; None for a run that did not break, or of itself.

    `run` is what `runs.get` gives, `events` what `runs.events` gives.
    """
    facts = (run["manifest"] or {}).get("failure")
    if run["status"] == "failed" and facts:
        return _memory(run, facts) if facts["kind"] == "out_of_memory" else _number(run, facts)
    if run["status"] == "failed" and "memory" in (run["error"] or ""):
        return Explanation("The machine had not enough memory.", (str(run["error"]),), _smaller(run["recipe"], None))
    ending = [event for event in events if event["kind"] not in ("asked", "note")]
    killed = next((event for event in reversed(ending[-3:]) if event["kind"] == KILLED), None)
    if run["status"] == "interrupted" and killed:
        return _killed(run, killed)
    return None


def _memory(run: Mapping[str, Any], facts: Mapping[str, Any]) -> Explanation:
    evidence = [
        f"Its longest row had {facts['longest_row']:,} tokens, its largest pack {facts['largest_pack']:,}.",
        *_memory_words(run),
    ]
    tries = _smaller(run["recipe"], facts["longest_row"])
    return Explanation(f"Memory ran out in step {facts['step']}.", tuple(evidence), tries, facts["step"])


def _number(run: Mapping[str, Any], facts: Mapping[str, Any]) -> Explanation:
    recipe: Recipe = run["recipe"]
    evidence = (
        f"The rate of step {facts['step']} was {facts['rate']:.2g}; its longest row had {facts['longest_row']:,} tokens.",
        "Steps that are too long throw the weights so far off that the next loss overflows.",
    )
    tries = [
        Try(f"Half the learning rate ({recipe.learning_rate / 2:.2g})", {"learning_rate": _two(recipe.learning_rate / 2)})
    ]
    if recipe.warmup_ratio < 0.1:
        tries.append(
            Try("A quarter of the rate and a longer warm-up (10%)",
                {"learning_rate": _two(recipe.learning_rate / 4), "warmup_ratio": 0.1})
        )  # fmt: skip
    if recipe.gradient_norm > 0.3:
        tries.append(Try("Cut gradients to 0.3", {"gradient_norm": 0.3}))
    what = f"The loss was no longer a number at step {facts['step']}."
    return Explanation(what, evidence, tuple(tries), facts["step"])


def _two(rate: float) -> float:
    return float(f"{rate:.2g}")


def _killed(run: Mapping[str, Any], event: Mapping[str, Any]) -> Explanation:
    counted = "kernel" in event["words"]
    what = (
        "The system ended this run's process, very probably because memory ran out."
        if counted
        else "This run's process was killed from outside, perhaps because memory ran out."
    )
    step = int(run["steps_done"])
    return Explanation(what, (str(event["words"]), *_memory_words(run)), _smaller(run["recipe"], None), step)


def _memory_words(run: Mapping[str, Any]) -> list[str]:
    predicted = (run["estimate"] or {}).get("memory_bytes")
    free = (run["estimate"] or {}).get("memory_available_bytes")
    if not predicted or not free:
        return []
    return [f"Predicted were {predicted / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB were free when it was queued."]


def _smaller(recipe: Recipe, longest_row: int | None) -> tuple[Try, ...]:
    """Changes that lower the peak memory, what costs least first."""
    tries = []
    if recipe.micro_batch_tokens > 128 and (longest_row is None or longest_row < recipe.micro_batch_tokens):
        half = max(128, recipe.micro_batch_tokens // 2)
        tries.append(Try(f"{half} tokens at once (same result)", {"micro_batch_tokens": half}))
    if not recipe.gradient_checkpointing:
        tries.append(Try("Gradient checkpointing (same result, slower)", {"gradient_checkpointing": True}))
    if longest_row is not None and longest_row >= recipe.micro_batch_tokens and recipe.max_length > 128:
        shorter = max(128, min(recipe.max_length, longest_row) // 2 // 64 * 64)
        tries.append(Try(f"Rows of at most {shorter} tokens", {"max_length": shorter}))
    if recipe.method == "lora":
        tries.append(Try("QLoRA: the base in 4 bits", {"method": "qlora"}))
    return tuple(each for each in tries if not recipes.problems(_changed(recipe, each.changes)))


def _changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    import dataclasses

    return dataclasses.replace(recipe, **changes)
