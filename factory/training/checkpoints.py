"""States of a run on disk, from which it can go on: whole or not there at all, the previous one kept until the next is.

    checkpoints/step-000040/
        adapter_model.safetensors, adapter_config.json      the adapter, as PEFT reads it
        optimizer.pt                                        tensors only: read with weights_only
        state.json                                          the numbers of `State`

Kept are the newest and, where it is another one, the one with the lowest held-out loss.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory.base.errors import Conflict, DiskFull, Unavailable
from factory.training import starts
from factory.training.machine import give_memory_back

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class State:
    """Where a run stands: what, with weights and optimizer, decides how it goes on."""

    step: int = 0
    best_step: int = 0
    best_loss: float | None = None  # held-out, nats per label token; None where nothing is held out
    misses: int = 0  # held-out measurings in a row without a new best
    keep_best: bool = True
    ended: str | None = None
    told: dict[str, Any] = field(default_factory=dict)  # the step's numbers: who dies before telling them, tells them later


def save(folder: Path, state: State, *, model: Any, optimizer: Any) -> Path:
    """Write the state of a run (a PeftModel and its optimizer); its folder. Raises DiskFull, Unavailable."""
    import peft
    import safetensors.torch
    import torch

    weights = {
        name: tensor.contiguous()
        for name, tensor in peft.get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    give_memory_back()  # what the step's tensors took, before as much is taken for the optimizer's bytes
    optimizer_bytes = io.BytesIO()
    torch.save(optimizer.state_dict(), optimizer_bytes)
    config = model.peft_config["default"].to_dict()
    files: dict[str, bytes | memoryview] = {
        WEIGHTS: safetensors.torch.save(weights, metadata={"format": "pt"}),
        CONFIG: json.dumps({**config, "inference_mode": True}, default=_listed, indent=2, sort_keys=True).encode(),
        "optimizer.pt": optimizer_bytes.getbuffer(),
        "state.json": json.dumps(dataclasses.asdict(state)).encode(),
    }
    root = folder / "checkpoints"
    target = root / f"step-{state.step:06d}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _write_whole(root, target, files)
    except OSError as problem:
        raise _not_saved(root, problem, sum(len(content) for content in files.values())) from problem
    for other in root.iterdir():
        if other.name not in (target.name, f"step-{state.best_step:06d}"):
            shutil.rmtree(other, ignore_errors=True)
    return target


def is_full(problem: OSError) -> bool:
    """Whether something was not written for want of room: a full disk, a quota, a limit on a file's size."""
    return problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _not_saved(root: Path, problem: OSError, needs: int) -> Unavailable:
    if not is_full(problem):
        return Unavailable(
            f"The run's state could not be saved ({problem.strerror}); mend the folder {root}, then resume the run."
        )
    free = shutil.disk_usage(root if root.exists() else root.parent).free
    return DiskFull(
        f"The disk is full: the run's state takes {needs / 2**20:,.1f} MiB more and {free / 2**20:,.1f} MiB are free where"
        f" {root.parent} lies; free some space there, then resume the run, which goes on from its last checkpoint."
    )


def _listed(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(getattr(value, "value", value))


def _write_whole(root: Path, target: Path, files: Mapping[str, bytes | memoryview]) -> None:
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=root))
    try:
        for name, content in files.items():
            with (draft / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if target.exists():  # a resumed run passes the same step again
            target.rename(root / f".before-{target.name}")
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    handle = os.open(root, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def newest(folder: Path) -> tuple[Path, State] | None:
    """The newest whole checkpoint of a run's folder, or None."""
    known = {field.name for field in dataclasses.fields(State)}
    for path in sorted((folder / "checkpoints").glob("step-*"), reverse=True):
        if (path / "state.json").exists():
            found = json.loads((path / "state.json").read_text())
            return path, State(**{name: value for name, value in found.items() if name in known})
    return None


def load(folder: Path, *, model: Any, optimizer: Any) -> State | None:
    """Put the newest checkpoint into a model and an optimizer; its state, or None where there is no checkpoint."""
    import peft
    import safetensors.torch
    import torch

    found = newest(folder)
    if found is None:
        return None
    path, state = found
    device = str(next(parameter for parameter in model.parameters() if parameter.requires_grad).device)
    peft.set_peft_model_state_dict(model, safetensors.torch.load_file(path / WEIGHTS, device=device))
    optimizer.load_state_dict(torch.load(path / "optimizer.pt", weights_only=True, map_location=device))
    return state


def begin_from(earlier: Path, folder: Path) -> State:
    """Give a run the newest and the best checkpoint of another to go on from; the state it begins with.

    Raises Conflict where the other has none, DiskFull, Unavailable.
    """
    found = newest(earlier)
    if found is None:
        raise Conflict("That run has no checkpoint, so nothing can go on from it; start a new one.")
    path, state = found
    state = dataclasses.replace(state, ended=None, misses=0, told={})
    best = path.with_name(f"step-{state.best_step:06d}")
    root = folder / "checkpoints"
    try:
        root.mkdir(parents=True, exist_ok=True)
        for place in {best, path}:
            if place.is_dir():
                shutil.copytree(place, root / place.name, dirs_exist_ok=True)
        (root / path.name / "state.json").write_text(json.dumps(dataclasses.asdict(state)))
        if (earlier / starts.START).exists():
            shutil.copyfile(earlier / starts.START, folder / starts.START)
    except OSError as problem:
        needs = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        shutil.rmtree(root, ignore_errors=True)
        raise _not_saved(root, problem, needs) from problem
    return state


def clear(folder: Path) -> None:
    """Forget every checkpoint of a run's folder, and where its adapter started."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / starts.START).unlink(missing_ok=True)


def weights_to_keep(folder: Path) -> tuple[Path, int]:
    """The folder of the adapter a run ended with and the step it is from: the best one where the recipe keeps that.

    Raises Conflict where the run has no checkpoint yet.
    """
    found = newest(folder)
    if found is None:
        raise Conflict("This run has no checkpoint yet, so there is no adapter to keep; let it train first.")
    path, state = found
    best = path.with_name(f"step-{state.best_step:06d}")
    if state.keep_best and state.best_loss is not None and best.is_dir():
        return best, state.best_step
    return path, state.step
