"""The training loop, written out: packs forward and backward, one optimizer step, one `Step` told.

A run that was killed and resumed gives the same losses as one that was not: the order of the rows and all chance depend
only on the seed and the step, the learning rate only on the step, and weights and optimizer come from the checkpoint.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from factory.training import adapter, checkpoints, encoding, failures, fastpath, mixture, recipes, starts
from factory.training.adapter import with_adapter
from factory.training.checkpoints import State
from factory.training.encoding import EncodedRow
from factory.training.estimate import CURVE_TOKENS
from factory.training.machine import give_memory_back
from factory.training.recipes import Recipe

__all__ = ["with_adapter"]  # and all that is defined here
LOSS_SCALE = {torch.float16: 1024.0}  # float16 gradients this small would round to nothing


@dataclass(frozen=True)
class Step:
    """What one optimizer step did; step 0 is the untouched base, with nothing but its held-out loss."""

    step: int
    steps_total: int
    epoch: float = 0.0
    loss: float | None = None  # mean over the step's label tokens, nats
    learning_rate: float = 0.0
    gradient_norm: float | None = None  # before it was cut
    tokens: int = 0  # of the step's rows, a shared prefix counted for each
    label_tokens: int = 0
    tokens_per_second: float | None = None
    memory_bytes: int = 0  # held by this process, or taken on the GPU
    held_out_loss: float | None = None
    checkpoint: bool = False
    ended: str | None = None  # done, stopped, paused, or None while there is more to come


def train(
    model: Any,
    rows: Sequence[EncodedRow],
    held_out: Sequence[EncodedRow],
    recipe: Recipe,
    *,
    folder: Path,
    resume: bool = False,
    wish: Callable[[], str | None] = lambda: None,
) -> Iterator[Step]:
    """Train an adapter on a frozen model, telling of every optimizer step.

    With `resume` it goes on from the newest checkpoint in `folder`, where there is one. `wish` is asked after each step:
    "stop" measures, saves and ends; "pause" saves and ends. The model is changed: the adapter is put into it.
    Raises FactoryError when the loss is no longer a number, Unavailable when memory or disk runs out.
    """
    torch.manual_seed(recipe.seed)
    if not resume:
        checkpoints.clear(folder)
    tuned = with_adapter(model, recipe, start=folder / starts.START)
    weights = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
    optimizer = adapter.optimizer(tuned, recipe)
    print(fastpath.sentence(tuned.train()), flush=True)  # into the run's log
    total = recipes.steps_total(recipe, in_epoch := mixture.epoch_size([row.weight for row in rows]))
    measure_at = {round(total * place / (recipe.evaluations + 1)) for place in range(recipe.evaluations + 1)} | {total}
    state = checkpoints.load(folder, model=tuned, optimizer=optimizer) if resume else None
    if state is None:
        state, told = _untouched(tuned, optimizer, held_out, recipe, folder=folder, total=total)
        yield told
    elif state.step >= total or state.ended == "done":
        yield Step(state.step, total, ended="done")
        return
    saved_at = time.monotonic()
    while state.step < total:
        step = state.step + 1
        began = time.monotonic()
        batch = rows_of_step(rows, recipe, step)
        rate = recipes.learning_rate_at(recipe, step, total)
        loss, norm = _optimize(tuned, weights, optimizer, batch, recipe, step=step, rate=rate)
        seconds, memory = time.monotonic() - began, _memory(tuned)
        state = dataclasses.replace(state, step=step, ended={"stop": "stopped", "pause": "paused"}.get(wish() or ""))
        measure = bool(held_out) and (state.ended == "stopped" or (step in measure_at and state.ended != "paused"))
        held = held_out_loss(tuned, held_out, recipe) if measure else None
        state = _judged(state, held)
        if step == total or 0 < recipe.early_stopping_patience <= state.misses:
            state = dataclasses.replace(state, ended="done")
        save = measure or state.ended is not None or _due(recipe, step, time.monotonic() - saved_at)
        tokens = sum(len(row.tokens) for row in batch)
        epoch, labels = step / recipes.steps_per_epoch(recipe, in_epoch), sum(row.label_tokens for row in batch)
        told = Step(
            step, total, epoch=epoch, loss=loss, learning_rate=rate, gradient_norm=norm, tokens=tokens, label_tokens=labels,
            tokens_per_second=tokens / seconds, memory_bytes=memory, held_out_loss=held, checkpoint=save, ended=state.ended,
        )  # fmt: skip
        if save:
            state = dataclasses.replace(state, told=dataclasses.asdict(told))
            checkpoints.save(folder, state, model=tuned, optimizer=optimizer)
            saved_at = time.monotonic()
        yield told
        if state.ended:
            return


def _untouched(
    tuned: Any, optimizer: Any, held_out: Sequence[EncodedRow], recipe: Recipe, *, folder: Path, total: int
) -> tuple[State, Step]:
    """Measure and save the state before the first step."""
    loss, ended = held_out_loss(tuned, held_out, recipe), None if total else "done"
    told = Step(0, total, held_out_loss=loss, memory_bytes=_memory(tuned), checkpoint=True, ended=ended)
    state = State(best_loss=loss, keep_best=recipe.keep_best, ended=ended, told=dataclasses.asdict(told))
    checkpoints.save(folder, state, model=tuned, optimizer=optimizer)
    return state, told


def rows_of_step(rows: Sequence[EncodedRow], recipe: Recipe, step: int) -> list[EncodedRow]:
    """The rows of optimizer step `step` (from 1): each epoch in its own seeded order, the last step what is left over.

    A row of weight 2 comes twice in an epoch, of rows of weight 0.5 half are drawn.
    """
    weights = [row.weight for row in rows]
    epoch, place = divmod(step - 1, recipes.steps_per_epoch(recipe, mixture.epoch_size(weights)))
    order = mixture.epoch_order(weights, seed=recipe.seed, epoch=epoch)
    return [rows[at] for at in order[place * recipe.effective_batch : (place + 1) * recipe.effective_batch]]


def _optimize(
    model: Any,
    weights: list[torch.nn.Parameter],
    optimizer: Any,
    batch: list[EncodedRow],
    recipe: Recipe,
    *,
    step: int,
    rate: float,
) -> tuple[float, float]:
    """One optimizer step: its mean loss per label token, and the gradient's length before it was cut."""
    torch.manual_seed(recipe.seed + 1_000_003 * step)  # dropout must fall alike in a run that was resumed
    model.train()
    labels = max(1, sum(row.label_tokens for row in batch))
    scale = LOSS_SCALE.get(model.dtype, 1.0)
    try:
        total = sum(
            encoding.backward(model, pack, divisor=labels / scale)
            for pack in encoding.packs(batch, tokens_per_pack=recipe.tokens_at_once)
        )
    except (RuntimeError, MemoryError) as problem:
        if not isinstance(problem, MemoryError | torch.OutOfMemoryError) and "memory" not in str(problem):
            raise
        raise failures.OutOfMemory(
            step=step,
            longest_row=max(len(row.tokens) for row in batch),
            largest_pack=max(len(pack.tokens) for pack in encoding.packs(batch, tokens_per_pack=recipe.tokens_at_once)),
        ) from problem
    if scale != 1:
        for weight in weights:
            if weight.grad is not None:
                weight.grad /= scale
    norm = float(torch.nn.utils.clip_grad_norm_(weights, recipe.gradient_norm))
    loss = total / labels
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise failures.NotANumber(
            step=step, rate=rate, longest_row=max(len(row.tokens) for row in batch), planned_rate=recipe.learning_rate
        )
    adapter.set_rate(optimizer, rate)
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)  # new gradients would lie between the next step's tensors and keep their gaps
    return loss, norm


def curve_rows(held_out: Sequence[EncodedRow], tokens: int = CURVE_TOKENS) -> list[EncodedRow]:
    """The held-out rows that are measured along the way: all, or evenly chosen ones of about `tokens` tokens together."""
    share = tokens / max(1, sum(len(row.tokens) for row in held_out))
    if share >= 1:
        return list(held_out)
    count = max(1, math.floor(share * len(held_out)))
    return [held_out[at * len(held_out) // count] for at in range(count)]


def held_out_loss(model: Any, held_out: Sequence[EncodedRow], recipe: Recipe) -> float | None:
    """Mean loss per label token (nats) over the held-out rows, dropout off; None where there are none."""
    if not held_out:
        return None
    model.eval()
    give_memory_back()  # the large tensors of a measuring find no room in the gaps that the steps left
    return encoding.mean_loss(encoding.row_losses(model, held_out, tokens_per_pack=recipe.tokens_at_once))


def _judged(state: State, loss: float | None) -> State:
    if loss is None:
        return state
    if state.best_loss is None or loss < state.best_loss:
        return dataclasses.replace(state, best_step=state.step, best_loss=loss, misses=0)
    return dataclasses.replace(state, misses=state.misses + 1)


def _due(recipe: Recipe, step: int, seconds: float) -> bool:
    """Whether it is time for a checkpoint between two measurings."""
    by_steps = recipe.checkpoint_steps and step % recipe.checkpoint_steps == 0
    return bool(by_steps or (recipe.checkpoint_minutes and seconds >= 60 * recipe.checkpoint_minutes))


def _memory(model: Any) -> int:
    if model.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return int(psutil.Process().memory_info().rss)
