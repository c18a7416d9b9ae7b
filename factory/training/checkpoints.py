"""States of a run on disk, from which it can go on: whole or not there at all, the previous one kept until the next is.

    checkpoints/step-000040/
        adapter_model.safetensors, adapter_config.json      the adapter, as PEFT reads it
        optimizer.pt                                        tensors only: read with weights_only
        state.json                                          the numbers of `State`

Kept are the newest and, where it is another one, the one with the lowest held-out loss.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.base.errors import Conflict, Unavailable

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


def save(folder: Path, state: State, *, model: Any, optimizer: Any) -> Path:
    """Write the state of a run (a PeftModel and its optimizer); its folder. Raises Unavailable when the disk is full."""
    import peft
    import safetensors.torch
    import torch

    weights = {
        name: tensor.contiguous()
        for name, tensor in peft.get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    optimizer_bytes = io.BytesIO()
    torch.save(optimizer.state_dict(), optimizer_bytes)
    config = model.peft_config["default"].to_dict()
    files = {
        WEIGHTS: safetensors.torch.save(weights, metadata={"format": "pt"}),
        CONFIG: json.dumps({**config, "inference_mode": True}, default=_listed, indent=2, sort_keys=True).encode(),
        "optimizer.pt": optimizer_bytes.getvalue(),
        "state.json": json.dumps(dataclasses.asdict(state)).encode(),
    }
    root = folder / "checkpoints"
    target = root / f"step-{state.step:06d}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _write_whole(root, target, files)
    except OSError as problem:
        raise Unavailable(
            f"The run's state could not be saved ({problem.strerror}); free some space on that disk, then resume the run."
        ) from problem
    for other in root.iterdir():
        if other.name not in (target.name, f"step-{state.best_step:06d}"):
            shutil.rmtree(other, ignore_errors=True)
    return target


def _listed(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(getattr(value, "value", value))


def _write_whole(root: Path, target: Path, files: Mapping[str, bytes]) -> None:
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


def clear(folder: Path) -> None:
    """Forget every checkpoint of a run's folder."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


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
