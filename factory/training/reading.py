"""A run's curves in plain words: what they show, by which numbers, and what to try next. All but `of` are pure.

Every sentence needs evidence beyond the curve's own noise; where nothing is wrong, nothing is said to be wrong.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from sqlite_utils import Database

from factory.training import curves as drawn
from factory.training import recipes
from factory.training.recipes import Recipe

Points = Sequence[tuple[int, float]]

FEW_STEPS = 10
ENOUGH_STEPS = 20  # before this, a training curve is mostly warm-up and noise
WORSE = 0.01  # share above its lowest by which a held-out loss has risen
BETTER = 0.01  # share a held-out loss has to fall between two measurings to be still falling
FLAT = 0.005  # share of the best within which a held-out loss stands still
NOISY = 0.25  # spread of the training loss around its own trend, as a share of it
SPIKE_SPREADS = 8.0  # how many usual spreads above its neighbours a step has to lie
SPIKE_SHARE = 0.3  # and by which share of their loss at least
NEIGHBOURS = 12
MOST_POINTS = 5000  # of a curve that is read; a longer one is thinned, which keeps its spikes but not its scatter


@dataclass(frozen=True)
class Finding:
    """One thing the curves show. `tone` is good, info or warn; `changes` are settings to try, for a next run."""

    code: str
    tone: str
    sentence: str
    evidence: str
    next_step: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What is known of a run beside its curves."""

    recipe: Recipe
    status: str  # as in runs.STATUSES
    steps_total: int
    steps_done: int
    steps_per_epoch: float = 0.0


def of(db: Database, run: Mapping[str, Any]) -> list[Finding]:
    """What the curves of a run show by now; `run` is what `runs.get` gives."""
    recipe: Recipe = run["recipe"]
    facts = Facts(
        recipe, run["status"], run["steps_total"] or 0, run["steps_done"],
        recipes.steps_per_epoch(recipe, run["version_rows"] or 0),
    )  # fmt: skip
    return read(drawn.metrics(db, run["id"], ("loss", "held_out_loss"), points=MOST_POINTS), facts)


def read(curves: Mapping[str, Points], facts: Facts) -> list[Finding]:
    """What the curves of a run show, what matters most first; [] before there are numbers.

    `curves`: "loss" and "held_out_loss" → [(step, nats per label token)], thinned or not.
    """
    loss, held_out = list(curves.get("loss", ())), list(curves.get("held_out_loss", ()))
    if not loss and not held_out:
        return []
    overfits = overfitting(loss, held_out, facts)
    found = [
        not_falling(loss, held_out, facts),
        *spikes(loss, facts),
        overfits,
        None if overfits else flat(held_out, facts),
        early_stop(held_out, facts),
        None if overfits else still_learning(held_out, facts),
        noisy(loss, facts),
        too_few_steps(facts),
        change(held_out),
    ]
    order = {"warn": 0, "info": 1, "good": 2}
    return sorted((each for each in found if each), key=lambda each: order[each.tone])


def change(held_out: Points) -> Finding | None:
    """How far the held-out loss has come from the untouched base to its best."""
    if len(held_out) < 2:
        return None
    (_, first), (step, best) = held_out[0], _best(held_out)
    share = (first - best) / first if first else 0.0
    evidence = f"{first:.3f} nats per token before training, {best:.3f} at step {step}."
    if share < 0.002:
        return Finding("no_gain", "info", "On the held-out rows nothing was gained so far.", evidence,
                       "If that stays so, look at a few rows: do they teach what the held-out rows ask?")  # fmt: skip
    return Finding("gain", "good", f"The held-out loss fell by {share:.0%}.", evidence)


def overfitting(loss: Points, held_out: Points, facts: Facts) -> Finding | None:
    """The held-out loss rises for two measurings or more while the training loss goes on falling."""
    if len(held_out) < 4:
        return None
    step, best = _best(held_out)
    later = [value for at, value in held_out if at > step]
    if step == 0 or len(later) < 2 or min(later[-2:]) < best * (1 + WORSE):
        return None
    before, after = _level(loss, step), _level(loss, loss[-1][0]) if loss else None
    if before is not None and after is not None and after > before * (1 + WORSE):
        return None  # both rise: that is a rate too high, which `not_falling` says
    kept = (
        "the best one is what will be kept."
        if facts.recipe.keep_best
        else "the last weights will be kept: turn on keep_best."
    )
    recipe = facts.recipe
    changes: dict[str, Any] = {}
    epochs = step / facts.steps_per_epoch if facts.steps_per_epoch else 0.0
    if epochs and not recipe.max_steps and 0.5 <= round(2 * epochs) / 2 < recipe.epochs:
        changes["epochs"] = round(2 * epochs) / 2
    if recipe.dropout < 0.05:
        changes["dropout"] = 0.05
    if not recipe.keep_best:
        changes["keep_best"] = True
    return Finding(
        "overfitting", "warn", f"It learns its rows by heart since step {step}; {kept}",
        f"Held-out loss {best:.3f} at step {step}, {later[-1]:.3f} now, while the training loss did not rise.",
        "Train for less long, with a little dropout, or on more rows.", changes,
    )  # fmt: skip


def flat(held_out: Points, facts: Facts) -> Finding | None:
    """The held-out loss has stood still for at least three measurings and a third of the steps made."""
    if len(held_out) < 5:
        return None
    _, best = _best(held_out)
    since = held_out[-1][0]
    for step, value in reversed(held_out):
        if abs(value - best) > FLAT * best:
            break
        since = step
    still = [step for step, _ in held_out if step >= since]
    if len(still) < 4 or since == held_out[0][0] or (still[-1] - since) < held_out[-1][0] / 3:
        return None
    recipe = facts.recipe
    changes: dict[str, Any] = {}
    if recipe.epochs > 1 and not recipe.max_steps:
        changes["epochs"] = max(0.5, round(recipe.epochs * since / max(1, facts.steps_total) * 2 + 1) / 2)
    return Finding(
        "flat", "info", f"The held-out loss stands still since step {since}.",
        f"It moved by less than {FLAT:.1%} over the last {len(still)} measurings.",
        "A shorter run would give the same; to get further, more or other rows help most, then a higher rank.",
        {} if changes.get("epochs", 0) >= recipe.epochs else changes,
    )  # fmt: skip


def still_learning(held_out: Points, facts: Facts) -> Finding | None:
    """A run that ended while its held-out loss was still falling."""
    if facts.status != "done" or len(held_out) < 4 or facts.steps_done < facts.steps_total:
        return None
    values = [value for _, value in held_out]
    if (
        min(values) != values[-1]
        or values[-2] - values[-1] < BETTER * values[-1]
        or values[-3] - values[-2] < BETTER * values[-1]
    ):
        return None
    recipe = facts.recipe
    changes = {"max_steps": 2 * recipe.max_steps} if recipe.max_steps else {"epochs": min(20.0, recipe.epochs * 1.5)}
    return Finding(
        "still_learning", "info", "It was still learning when it ended.",
        f"The last measurings were {values[-3]:.3f}, {values[-2]:.3f} and {values[-1]:.3f}.",
        "Train longer.", changes,
    )  # fmt: skip


def early_stop(held_out: Points, facts: Facts) -> Finding | None:
    """A run that early stopping ended before its planned steps."""
    if facts.status != "done" or not held_out or not 0 < facts.steps_done < facts.steps_total:
        return None
    step, best = _best(held_out)
    return Finding(
        "early_stop", "info", f"Early stopping ended it after step {facts.steps_done} of {facts.steps_total}.",
        f"No measuring after step {step} ({best:.3f}) was better; its patience is {facts.recipe.early_stopping_patience}.",
        "The time it did not take is saved." if facts.recipe.keep_best else "Turn on keep_best to keep the best weights.",
        {} if facts.recipe.keep_best else {"keep_best": True},
    )  # fmt: skip


def not_falling(loss: Points, held_out: Points, facts: Facts) -> Finding | None:
    """A training loss that is no lower, or is higher, than where it began."""
    if len(loss) < ENOUGH_STEPS:
        return None
    part = max(5, len(loss) // 5)
    first = statistics.median(value for _, value in loss[:part])
    last = statistics.median(value for _, value in loss[-part:])
    rate = facts.recipe.learning_rate
    if last > first * 1.1:
        return Finding(
            "diverging", "warn", "The training loss rises: the steps are too long.",
            f"About {first:.3f} over the first steps, {last:.3f} over the last ones.",
            "Lower the learning rate.", {"learning_rate": float(f"{rate / 4:.2g}")},
        )  # fmt: skip
    gained = len(held_out) > 1 and _best(held_out)[1] < held_out[0][1] * 0.98
    if last > first * 0.99 and not gained and first > 0.05:
        return Finding(
            "not_falling", "warn", "The loss does not fall.",
            f"About {first:.3f} over the first {part} steps, {last:.3f} over the last {part}.",
            "Raise the learning rate, or look at the token view: perhaps hardly anything is trained on."
            if rate < 1e-3 else "Look at the token view: perhaps hardly anything is trained on.",
            {"learning_rate": float(f"{min(1e-3, rate * 3):.2g}")} if rate < 1e-3 else {},
        )  # fmt: skip
    return None


def spikes(loss: Points, facts: Facts) -> list[Finding]:
    """Steps whose loss lies far above their neighbours', by their own spread; at most the three highest are named."""
    found = []
    for place, (step, value) in enumerate(loss):
        around = [
            other for _, other in [*loss[max(0, place - NEIGHBOURS) : place], *loss[place + 1 : place + 1 + NEIGHBOURS]]
        ]
        if len(around) < NEIGHBOURS:
            continue
        middle = statistics.median(around)
        spread = 1.4826 * statistics.median(abs(other - middle) for other in around)  # of a normal distribution: its sigma
        if value - middle > max(SPIKE_SPREADS * spread, SPIKE_SHARE * middle, 0.1):
            found.append((value / max(middle, 1e-9), step, value, middle))
    if not found:
        return []
    named = sorted(sorted(found, reverse=True)[:3], key=lambda each: each[1])
    words = " and ".join(f"step {step}" for _, step, _, _ in named)
    evidence = "; ".join(f"At step {step} {value:.2f}, around it {middle:.2f}" for _, step, value, middle in named)
    rate = facts.recipe.learning_rate
    return [
        Finding(
            "spike", "warn", f"The loss jumps at {words}{' and others' if len(found) > 3 else ''}.", evidence + ".",
            "Lower the learning rate, or cut gradients shorter; a single odd row can do it too.",
            {"learning_rate": float(f"{rate / 2:.2g}")},
        )
    ]  # fmt: skip


def noisy(loss: Points, facts: Facts) -> Finding | None:
    """A training loss that scatters widely around its own trend, with few rows a step."""
    thinned = len(loss) >= MOST_POINTS
    if len(loss) < ENOUGH_STEPS or facts.recipe.effective_batch >= 32 or thinned:
        return None
    jumps = [abs(after - before) for (_, before), (_, after) in pairwise(loss)]
    level = statistics.median(value for _, value in loss)
    spread = 1.4826 * statistics.median(jumps) / 2**0.5  # of differences of independent values, back to one value's
    if level <= 0 or spread < NOISY * level:
        return None
    batch = facts.recipe.effective_batch
    return Finding(
        "noisy", "info", "From step to step the training loss scatters widely, so trust the held-out curve.",
        f"It scatters by about {spread / level:.0%} of its level, with {batch} rows a step.",
        "A larger effective batch makes steadier steps.", {"effective_batch": min(32, batch * 2)},
    )  # fmt: skip


def too_few_steps(facts: Facts) -> Finding | None:
    """A run that is planned so short that it can hardly learn."""
    if not 0 < facts.steps_total < FEW_STEPS:
        return None
    recipe = facts.recipe
    changes: dict[str, Any] = (
        {"max_steps": 0} if recipe.max_steps else {"effective_batch": max(1, recipe.effective_batch // 4)}
    )
    return Finding(
        "few_steps", "info", f"The whole run has only {facts.steps_total} steps, too few to learn much.",
        f"{recipe.effective_batch} rows a step, {recipe.epochs:g} times through the rows.",
        "Take fewer rows a step, or go through them more often.", changes,
    )  # fmt: skip


def _best(points: Points) -> tuple[int, float]:
    return min(points, key=lambda point: point[1])


def _level(loss: Points, step: int, width: int = 8) -> float | None:
    """The middle of the training losses up to a step; None where there are too few."""
    near = [value for at, value in loss if at <= step][-width:]
    return statistics.median(near) if len(near) >= 3 else None
