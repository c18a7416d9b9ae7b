"""What the machine says of itself while a run trains: its GPU, and how often the kernel ended somebody for memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CGROUPS, VMSTAT = Path("/sys/fs/cgroup"), Path("/proc/vmstat")


def gpu(device: Any = None) -> dict[str, float]:
    """Utilisation (percent) and memory (bytes, of all processes) of the NVIDIA GPU a model is on; {} where there is none.

    `device` is a torch device. A GPU cut into slices does not tell its utilisation: what it does not tell is left out.
    """
    if getattr(device, "type", "cpu") != "cuda":
        return {}
    try:
        import pynvml
    except ImportError:
        return {}
    import torch

    found: dict[str, float] = {}
    try:
        pynvml.nvmlInit()
        # by its name and not its number: CUDA_VISIBLE_DEVICES counts anew, the driver does not
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except pynvml.NVMLError:
        return {}
    try:
        found["gpu_memory_bytes"] = float(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
        found["gpu_utilisation"] = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except pynvml.NVMLError:
        pass
    return found


def memory_kills(*, cgroups: Path = CGROUPS, vmstat: Path = VMSTAT, own: Path = Path("/proc/self/cgroup")) -> int:
    """How many processes the kernel has ended for memory so far, in this cgroup and this machine; 0 where it is silent."""
    lines = _text(own).splitlines()
    inside = next((line.partition("::")[2].lstrip("/") for line in lines if line.startswith("0::")), "")
    counted = max(_counted(cgroups / inside / "memory.events"), _counted(cgroups / "memory.events"))
    return counted + _counted(vmstat)


def _counted(path: Path) -> int:
    pairs = dict(line.split(maxsplit=1) for line in _text(path).splitlines() if " " in line)
    return int(pairs.get("oom_kill", 0))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
