"""Where a PiSSA or LoftQ adapter started: kept beside the checkpoints, and taken away when the adapter leaves the run.

Such an adapter fits only weights that were changed with it. What it learnt is the difference to its start, and that is a
plain LoRA of twice the rank which fits the untouched base: s(BA - B₀A₀) = s [B, -B₀] [A; A₀].
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from factory.base.errors import Invalid, Unavailable

START = "start.safetensors"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def save(path: Path, tensors: dict[str, Any]) -> None:
    """Write a start whole or not at all. Raises Unavailable when the disk is full."""
    import safetensors.torch

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(safetensors.torch.save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as problem:
        raise Unavailable(
            f"The run's state could not be saved ({problem.strerror}); free some space on that disk, then resume the run."
        ) from problem


def load(path: Path) -> dict[str, Any] | None:
    """The tensors of a start by "<layer>.A" and "<layer>.B", or None where none was kept."""
    import safetensors.torch

    return dict(safetensors.torch.load_file(path)) if path.exists() else None


def weight_of(folder: Path, name: str) -> Any:
    """One tensor of a model's own files, unquantised. Raises Invalid where it is not there."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if name in file.keys():  # noqa: SIM118  (it is not a dict)
                return file.get_tensor(name)
    raise Invalid(f"LoftQ needs the unquantised weights, and {name} is not among this model's files; choose another start.")


def write_plain(source: Path, start: Path, target: Path) -> None:
    """Write the adapter in `source` to `target` as one that fits the untouched base. `start` need not be there.

    With a start it becomes a plain LoRA of twice the rank, alpha equal to that rank, so that peft multiplies by one.
    """
    config = json.loads((source / CONFIG).read_text("utf-8"))
    first = load(start)
    if first is None:
        (target / WEIGHTS).write_bytes((source / WEIGHTS).read_bytes())
    else:
        import safetensors.torch
        import torch

        learnt = safetensors.torch.load_file(source / WEIGHTS)
        scale = config["lora_alpha"] / (config["r"] ** 0.5 if config["use_rslora"] else config["r"])
        plain = {}
        for name, matrix in learnt.items():
            layer, letter = name.removeprefix("base_model.model.").rsplit(".lora_", 1)
            begun = first[f"{layer}.{letter[0]}"]
            both = [matrix, begun] if letter[0] == "A" else [scale * matrix, -scale * begun]
            plain[name] = torch.cat(both, dim=0 if letter[0] == "A" else 1).contiguous()
        (target / WEIGHTS).write_bytes(safetensors.torch.save(plain, metadata={"format": "pt"}))
        config |= {"r": 2 * config["r"], "lora_alpha": 2 * config["r"], "use_rslora": False}
    (target / CONFIG).write_text(json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n", "utf-8")
