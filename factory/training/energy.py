"""How much electricity a trainer took: counted by the hardware where it counts, else estimated, and always said which.

In this order: the processor's own counter (RAPL, where this account may read it), else CPU seconds times a stated wattage;
and on NVIDIA, added to either, the GPU's own counter. Counters belong to the whole processor or card: what else ran
meanwhile is in them. Screens, disks, fans and the power supply are not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory.base import store

POWERCAP = Path("/sys/class/powercap")
OF_EACH_STEP = ("cpu_seconds", "energy_joules")  # metrics that `spent` sums
SO_FAR = {"tokens": "tokens_seen", "training_seconds": "training_seconds"}  # metrics of which it takes the last value
Counter = Callable[[], float]  # joules since some moment in the past; it may start again at zero


@dataclass(frozen=True)
class Spent:
    """What was used since the last look: seconds of processor time over all cores, and joules."""

    cpu_seconds: float
    joules: float


@dataclass(frozen=True)
class Source:
    """Where joules come from: counters with the joules at which each starts again, and the words for it."""

    counters: tuple[tuple[Counter, float], ...]
    watts_per_core: float  # 0 where a counter covers the processor
    words: str


def source(*, watts_per_core: float, gpu_uuid: str | None = None, powercap: Path = POWERCAP) -> Source:
    """What this machine and account can tell about energy; `gpu_uuid` names the NVIDIA GPU that the trainer uses."""
    processor = _rapl(powercap)
    gpu = _nvml(gpu_uuid) if gpu_uuid else None
    words = "the processor's own counter" if processor else f"CPU seconds at an assumed {watts_per_core:g} W a busy core"
    if gpu:
        words += " + the GPU's own counter"
    elif gpu_uuid:
        words += ", without the GPU, which does not count"
    return Source(
        counters=(*processor, *([(gpu, 0.0)] if gpu else [])), watts_per_core=0 if processor else watts_per_core, words=words
    )


def meter(source: Source) -> Callable[[], Spent]:
    """A function that says what was used since it was last called; call it more often than a counter starts again."""
    before = [cpu_seconds(), *(count() for count, _ in source.counters)]

    def look() -> Spent:
        now = [cpu_seconds(), *(count() for count, _ in source.counters)]
        seconds = max(0.0, now[0] - before[0])
        joules = seconds * source.watts_per_core
        for new, old, (_, whole) in zip(now[1:], before[1:], source.counters, strict=True):
            joules += since(old, new, whole)
        before[:] = now
        return Spent(seconds, joules)

    return look


def since(old: float, new: float, whole: float) -> float:
    """What a counter went on by, that starts again at zero when it reaches `whole` (0: never).

    >>> since(10.0, 12.5, 100.0), since(90.0, 5.0, 100.0), since(90.0, 5.0, 0.0)
    (2.5, 15.0, 0.0)
    """
    return new - old if new >= old else max(0.0, new + whole - old)


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended, over all cores."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def spent(db: Database, run_id: int) -> dict[str, float]:
    """What a run took in all its processes: cpu_seconds, energy_joules, tokens, training_seconds; not what a kill lost."""
    sums = {
        name: float(store.value(db, "select total(value) from metrics where run_id = ? and name = ?", run_id, name))
        for name in OF_EACH_STEP
    }
    last = {
        name: float(store.value(db, "select max(value) from metrics where run_id = ? and name = ?", run_id, metric) or 0)
        for name, metric in SO_FAR.items()
    }
    return sums | last


def _rapl(powercap: Path) -> list[tuple[Counter, float]]:
    """The counters of every processor package and its memory, where they may be read."""
    found: list[tuple[Counter, float]] = []
    for folder in sorted(powercap.glob("intel-rapl:*")):  # AMD's are called so too
        with suppress(OSError, ValueError):
            name = (folder / "name").read_text().strip()
            if name.startswith("package") or name == "dram":  # the other ones lie inside a package, or hold all of it
                whole = int((folder / "max_energy_range_uj").read_text()) / 1e6
                _microjoules(folder / "energy_uj")
                found.append((partial(_microjoules, folder / "energy_uj"), whole))
    return found


def _microjoules(path: Path) -> float:
    return int(path.read_text()) / 1e6


def _nvml(uuid: str) -> Counter | None:
    """The energy counter of an NVIDIA GPU (since Volta), or None where it has none."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return None
    return partial(_gpu_joules, pynvml, handle)


def _gpu_joules(pynvml: Any, handle: Any) -> float:
    return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000


def gpu_uuid(model: Any) -> str | None:
    """The name by which NVIDIA's library knows the GPU a model lies on, or None on a processor."""
    if model.device.type != "cuda":
        return None
    import torch

    return f"GPU-{torch.cuda.get_device_properties(model.device).uuid}"
