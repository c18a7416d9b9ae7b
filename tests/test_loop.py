from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from factory.base.errors import FactoryError, Invalid, Unavailable
from factory.training import checkpoints, encoding, loop
from factory.training.encoding import EncodedRow
from factory.training.loop import Step
from factory.training.recipes import Recipe

BASE = Recipe(
    rank=4,
    learning_rate=1e-2,
    effective_batch=4,
    epochs=20,
    max_steps=8,
    evaluations=3,
    early_stopping_patience=0,
    warmup_ratio=0.1,
)
PINNED = [10.8203, 10.7636, 10.5965, 10.465, 10.4093, 10.389, 10.3199, 10.3842]
CAPITALS = [
    "Paris",
    "Rome",
    "Oslo",
    "Bern",
    "Wien",
    "Lima",
    "Cairo",
    "Delhi",
    "Tokyo",
    "Quito",
    "Riga",
    "Minsk",
    "Sofia",
    "Accra",
    "Dakar",
    "Tunis",
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def rows(tiny_model: Path) -> list[EncodedRow]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    talks = [
        [{"role": "user", "content": f"Capital number {n}?"}, {"role": "assistant", "content": f"It is {name}."}]
        for n, name in enumerate(CAPITALS)
    ]
    return [encoding.encode(tokenizer, talk, example_id=n) for n, talk in enumerate(talks)]


@pytest.fixture
def fresh(tiny_model: Path) -> Callable[[], Any]:
    """A new copy of the tiny model in float32 at each call."""
    from transformers import AutoModelForCausalLM

    return lambda: AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32, attn_implementation="sdpa")


def losses(steps: list[Step]) -> dict[str, list[float | None]]:
    return {"loss": [s.loss for s in steps if s.step], "held out": [s.held_out_loss for s in steps]}


def test_training_lowers_both_losses_and_tells_every_step(rows: list[EncodedRow], fresh: Any, tmp_path: Path) -> None:
    steps = list(loop.train(fresh(), rows[:12], rows[12:], BASE, folder=tmp_path))
    assert [s.step for s in steps] == list(range(9))
    assert [s.ended for s in steps] == [None] * 8 + ["done"]
    assert [s.step for s in steps if s.held_out_loss is not None] == [0, 2, 4, 6, 8]
    assert steps[0].loss is None
    assert steps[-1].loss is not None
    assert steps[1].loss is not None
    assert steps[-1].loss < steps[1].loss - 0.3
    measured = [s.held_out_loss for s in steps if s.held_out_loss is not None]
    assert measured[-1] < measured[0] - 0.3
    assert steps[3].label_tokens == sum(row.label_tokens for row in loop.rows_of_step(rows[:12], BASE, 3))
    assert steps[-1].epoch == pytest.approx(8 / 3)


def test_the_same_recipe_gives_the_pinned_losses(rows: list[EncodedRow], fresh: Any, tmp_path: Path) -> None:
    steps = list(loop.train(fresh(), rows[:12], rows[12:], BASE, folder=tmp_path))
    assert [s.loss for s in steps if s.loss is not None] == pytest.approx(PINNED, abs=2e-3)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_run_that_was_cut_and_resumed_loses_the_same(
    rows: list[EncodedRow], fresh: Any, tmp_path: Path, dropout: float
) -> None:
    recipe = dataclasses.replace(BASE, dropout=dropout, checkpoint_steps=3, weight_decay=0.01)
    whole = list(loop.train(fresh(), rows[:12], rows[12:], recipe, folder=tmp_path / "whole"))
    cut = []
    for step in loop.train(fresh(), rows[:12], rows[12:], recipe, folder=tmp_path / "cut"):
        cut.append(step)
        if step.step == 5:  # checkpoints were written at 2, 3 and 4; step 5 is lost
            break
    rest = list(loop.train(fresh(), rows[:12], rows[12:], recipe, folder=tmp_path / "cut", resume=True))
    assert [s.step for s in rest] == [5, 6, 7, 8]
    assert losses(cut[:5] + rest)["loss"] == pytest.approx(losses(whole)["loss"], abs=1e-5)
    ours, theirs = losses(cut[:5] + rest)["held out"], losses(whole)["held out"]
    assert [x for x in ours if x is not None] == pytest.approx([x for x in theirs if x is not None], abs=1e-5)
    (one, _), (other, _) = (checkpoints.weights_to_keep(tmp_path / name) for name in ("whole", "cut"))
    from safetensors.torch import load_file

    kept = load_file(other / "adapter_model.safetensors")
    for name, tensor in load_file(one / "adapter_model.safetensors").items():
        assert torch.allclose(tensor, kept[name], atol=1e-5), name


@pytest.mark.parametrize(("asked", "ended"), [("stop", "stopped"), ("pause", "paused")])
def test_a_wish_is_followed_at_the_next_step_and_can_be_taken_back(
    rows: list[EncodedRow], fresh: Any, tmp_path: Path, asked: str, ended: str
) -> None:
    wishes = iter([None, None, asked])
    steps = list(loop.train(fresh(), rows[:12], rows[12:], BASE, folder=tmp_path, wish=lambda: next(wishes)))
    assert (steps[-1].step, steps[-1].ended, steps[-1].checkpoint) == (3, ended, True)
    assert (steps[-1].held_out_loss is not None) == (asked == "stop")
    rest = list(loop.train(fresh(), rows[:12], rows[12:], BASE, folder=tmp_path, resume=True))
    assert [s.step for s in rest] == [4, 5, 6, 7, 8]
    whole = list(loop.train(fresh(), rows[:12], rows[12:], BASE, folder=tmp_path / "whole"))
    assert losses(rest)["loss"] == pytest.approx(losses(whole)["loss"][3:], abs=1e-5)


def test_a_run_that_is_done_has_nothing_more_to_do(rows: list[EncodedRow], fresh: Any, tmp_path: Path) -> None:
    list(loop.train(fresh(), rows[:12], rows[12:], BASE, folder=tmp_path))
    (again,) = loop.train(fresh(), rows[:12], rows[12:], BASE, folder=tmp_path, resume=True)
    assert (again.step, again.ended, again.loss) == (8, "done", None)


def test_small_packs_give_the_same_losses_as_large_ones(rows: list[EncodedRow], fresh: Any, tmp_path: Path) -> None:
    found = []
    for tokens in (128, 4096):
        recipe = dataclasses.replace(BASE, micro_batch_tokens=tokens)
        found.append([s.loss for s in loop.train(fresh(), rows[:12], [], recipe, folder=tmp_path / str(tokens)) if s.step])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_gradient_checkpointing_changes_no_loss(rows: list[EncodedRow], fresh: Any, tmp_path: Path) -> None:
    found = []
    for on in (False, True):
        recipe = dataclasses.replace(BASE, gradient_checkpointing=on)
        found.append([s.loss for s in loop.train(fresh(), rows[:12], [], recipe, folder=tmp_path / str(on)) if s.step])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_early_stopping_keeps_the_best_weights(rows: list[EncodedRow], fresh: Any, tmp_path: Path) -> None:
    # a rate this high learns the twelve rows by heart and forgets the others
    recipe = dataclasses.replace(
        BASE, learning_rate=5e-2, max_steps=60, epochs=20, evaluations=29, early_stopping_patience=2
    )
    steps = list(loop.train(fresh(), rows[:12], rows[12:], recipe, folder=tmp_path))
    assert steps[-1].ended == "done"
    assert steps[-1].step < 60
    measured = {s.step: s.held_out_loss for s in steps if s.held_out_loss is not None}
    best = min(measured, key=lambda step: measured[step])
    assert list(measured)[-3] == best, "two measurings without a new best came after it"
    folder, step = checkpoints.weights_to_keep(tmp_path)
    assert (folder.name, step) == (f"step-{best:06d}", best)
    kept_last = dataclasses.replace(recipe, keep_best=False)
    list(loop.train(fresh(), rows[:12], rows[12:], kept_last, folder=tmp_path / "last"))
    assert checkpoints.weights_to_keep(tmp_path / "last")[1] == steps[-1].step


def test_no_epochs_measure_the_untouched_base(rows: list[EncodedRow], fresh: Any, tmp_path: Path) -> None:
    recipe = dataclasses.replace(BASE, epochs=0, max_steps=0)
    (only,) = loop.train(fresh(), rows[:12], rows[12:], recipe, folder=tmp_path)
    assert (only.step, only.ended) == (0, "done")
    assert only.held_out_loss == pytest.approx(encoding.mean_loss(encoding.row_losses(fresh(), rows[12:])), abs=1e-5)
    assert checkpoints.weights_to_keep(tmp_path)[1] == 0


def test_a_loss_that_is_no_number_ends_with_advice(rows: list[EncodedRow], fresh: Any, tmp_path: Path) -> None:
    broken = fresh()
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    with pytest.raises(FactoryError, match="lower the learning rate"):
        list(loop.train(broken, rows[:12], [], BASE, folder=tmp_path))


def test_every_row_is_seen_once_an_epoch_in_another_order_each_time(rows: list[EncodedRow]) -> None:
    def epoch(first: int) -> list[int]:
        return [row.example_id for step in range(first, first + 4) for row in loop.rows_of_step(rows[:14], BASE, step)]

    assert sorted(epoch(1)) == sorted(epoch(5)) == list(range(14))
    assert epoch(1) != epoch(5)
    assert len(loop.rows_of_step(rows[:14], BASE, 4)) == 2


def test_the_adapter_goes_where_the_recipe_says(fresh: Any) -> None:
    def names(targets: str) -> set[str]:
        tuned = loop.with_adapter(fresh(), dataclasses.replace(BASE, targets=targets))
        assert all(p.dtype == torch.float32 for p in tuned.parameters() if p.requires_grad)
        return {name.split(".")[-4] for name, p in tuned.named_parameters() if p.requires_grad}

    attention, mlp = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}
    assert names("attention") == attention
    assert names("mlp") == mlp
    assert names("all-linear") == attention | mlp


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU for it")
def test_an_optimizer_that_needs_a_gpu_is_refused_without_one(rows: list[EncodedRow], fresh: Any, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="NVIDIA"):
        list(loop.train(fresh(), rows, [], dataclasses.replace(BASE, optimizer="paged_adamw_8bit"), folder=tmp_path))


def test_a_long_held_out_set_is_measured_in_an_even_sample(rows: list[EncodedRow]) -> None:
    chosen = loop.curve_rows(rows, tokens=4 * len(rows[0].tokens))
    assert 3 <= len(chosen) <= 5
    assert [row.example_id for row in chosen] == sorted({row.example_id for row in chosen})
    assert loop.curve_rows(rows) == rows
    assert loop.curve_rows([]) == []


def test_checkpoints_are_whole_or_not_there(rows: list[EncodedRow], fresh: Any, tmp_path: Path) -> None:
    list(loop.train(fresh(), rows[:12], rows[12:], dataclasses.replace(BASE, checkpoint_steps=1), folder=tmp_path))
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept[-1] == "step-000008"
    assert len(kept) <= 2
    (tmp_path / "checkpoints" / "step-000009").mkdir()  # what a crash between files would leave without the rename
    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert found[1].step == 8
    assert json.loads((found[0] / "adapter_config.json").read_text())["r"] == 4


def test_a_full_disk_stops_the_run_in_words_and_loses_nothing_saved(
    rows: list[EncodedRow], fresh: Any, tmp_path: Path
) -> None:
    import resource
    import signal

    steps = loop.train(fresh(), rows[:12], [], dataclasses.replace(BASE, checkpoint_steps=1), folder=tmp_path)
    next(steps)
    next(steps)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(Unavailable, match="free some space"):
            next(steps)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert found[1].step == 1
    assert [path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith(".")] == []
