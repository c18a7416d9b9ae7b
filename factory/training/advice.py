"""What is allowed but unwise, and what would mend it: read beside the sliders, before a run is started."""

from __future__ import annotations

from factory.training.knobs import Advice
from factory.training.recipe import Recipe
from factory.training.schedules import steps_total


def _rank(recipe: Recipe, rows: int | None) -> Advice | None:
    if rows is not None and rows < 500 and recipe.rank > 32:
        words = f"A rank of {recipe.rank} can learn {rows} rows by heart; 8 or 16 usually generalises better."
        return Advice(words, {"rank": 16})
    return None


def _alpha(recipe: Recipe, rows: int | None) -> Advice | None:
    if recipe.alpha > 4 * recipe.rank:
        words = f"Alpha {recipe.alpha} over rank {recipe.rank} multiplies every step; twice the rank is usual."
        return Advice(words, {"alpha_linked": True})
    return None


def _rslora(recipe: Recipe, rows: int | None) -> Advice | None:
    times = recipe.alpha / recipe.rank**0.5
    if recipe.rslora and times > 8:
        words = (
            f"With rsLoRA alpha {recipe.alpha} multiplies what the adapter says by {times:.0f}; take alpha near the rank."
        )
        return Advice(words, {"alpha_linked": False, "alpha": max(1, min(512, round(2 * recipe.rank**0.5)))})
    return None


def _dropout(recipe: Recipe, rows: int | None) -> Advice | None:
    if rows is not None and rows < 1000 and recipe.dropout == 0 and recipe.epochs > 2 and not recipe.max_steps:
        return Advice(
            f"With {rows} rows seen {recipe.epochs:g} times, a dropout of 0.05 to 0.1 helps against learning them by heart.",
            {"dropout": 0.05},
        )
    return None


def _rate(recipe: Recipe, rows: int | None) -> Advice | None:
    if recipe.learning_rate > 5e-4:
        words = f"A learning rate of {recipe.learning_rate:g} often makes the loss jump; 2e-4 is a safe start."
        return Advice(words, {"learning_rate": 2e-4})
    return None


def _lora_plus(recipe: Recipe, rows: int | None) -> Advice | None:
    if recipe.lora_plus_ratio * recipe.learning_rate > 5e-3:
        fast = recipe.lora_plus_ratio * recipe.learning_rate
        words = f"LoRA+ lets the B matrices learn at {fast:.2g}, which often makes the loss jump; lower the learning rate."
        return Advice(words, {"learning_rate": float(f"{2e-3 / recipe.lora_plus_ratio:.1g}")})
    return None


def _batch(recipe: Recipe, rows: int | None) -> Advice | None:
    if recipe.effective_batch > 32:
        words = f"{recipe.effective_batch} rows a step make few, averaged steps; LoRA usually learns better from 16 or 32."
        return Advice(words, {"effective_batch": 16})
    if rows is not None and rows < recipe.effective_batch:
        words = (
            f"There are only {rows} rows, fewer than the {recipe.effective_batch} of one step; lower the effective batch."
        )
        return Advice(words, {"effective_batch": max(1, rows // 10)})
    return None


def _epochs(recipe: Recipe, rows: int | None) -> Advice | None:
    if recipe.epochs == 0 and not recipe.max_steps:
        return Advice("With 0 epochs nothing is trained: the run only measures the untouched base model.")
    if rows and 0 < steps_total(recipe, rows) < 10:
        steps = steps_total(recipe, rows)
        words = f"Only {steps} steps are too few to learn much; lower the effective batch or add epochs."
        batch = max(1, recipe.effective_batch * steps // 20)
        return Advice(words, {"effective_batch": batch} if batch < recipe.effective_batch and not recipe.max_steps else {})
    if recipe.epochs > 5 and not recipe.max_steps:
        words = f"After {recipe.epochs:g} epochs most models repeat their rows; watch the held-out loss and keep the best."
        return Advice(words, {} if recipe.keep_best else {"keep_best": True})
    return None


def _labels(recipe: Recipe, rows: int | None) -> Advice | None:
    if recipe.completions_only:
        return None
    return Advice("The model also learns to write the questions, which rarely helps a chat.", {"completions_only": True})


def _stopping(recipe: Recipe, rows: int | None) -> Advice | None:
    if recipe.early_stopping_patience and recipe.evaluations < recipe.early_stopping_patience + 1:
        words = "Early stopping can never act: it needs more held-out measurings than its patience."
        return Advice(words, {"early_stopping_patience": 0})
    return None


def _samples(recipe: Recipe, rows: int | None) -> Advice | None:
    if rows is not None and recipe.max_samples > rows:
        words = f"There are only {rows} rows, so a limit of {recipe.max_samples} does nothing."
        return Advice(words, {"max_samples": 0})
    return None


def _precision(recipe: Recipe, rows: int | None) -> Advice | None:
    if recipe.precision == "fp16":
        words = "Gradients can overflow in float16; bfloat16 does not, where the card has it."
        return Advice(words, {"precision": "auto"})
    return None


LOOKS = (
    _rank, _alpha, _rslora, _dropout, _rate, _lora_plus, _batch, _epochs, _labels, _stopping, _samples, _precision,
)  # fmt: skip
