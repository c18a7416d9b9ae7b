"""This machine in numbers: cores, memory, its GPU, the precision it computes in, and its speed, measured a few times.

Also what a process that trains here should have in its environment, and what it took.
"""

from __future__ import annotations

import importlib.metadata
import json
import mmap
import os
import platform
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from factory.base.settings import Settings

GUESSED_GPU_FLOPS = 60e12
TRIES, AGAIN_SECONDS = 5, 300.0  # a speed that was measured under load is corrected by the next tries


def machine(settings: Settings) -> dict[str, Any]:
    """This machine: cores, memory_bytes, memory_available_bytes, gpu (name or None), gpu_bytes, dtype, flops (per second).

    The speed is the best of a few measurings minutes apart, each of a fifth of a second, kept in the installation's folder.
    """
    known = _measured(settings)
    return {**known, "memory_available_bytes": known["gpu_bytes"] or psutil.virtual_memory().available}


def _measured(settings: Settings) -> dict[str, Any]:
    path = settings.home / "machine.json"
    signs = {"node": platform.node(), "cores": os.cpu_count() or 1, "memory_bytes": psutil.virtual_memory().total}
    before: dict[str, Any] = {}
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads(path.read_text())
        if all(found.get(key) == value for key, value in signs.items()):
            before = found
    tries = before.get("tries", 0)
    if before and (before["gpu"] or tries >= TRIES or time.time() - before.get("measured_at", 0.0) < AGAIN_SECONDS):
        return before
    gpu, gpu_bytes = _gpu()
    bfloat = _has_bfloat16()
    flops = GUESSED_GPU_FLOPS if gpu else _matrix_flops() * (1.6 if bfloat else 1.0)
    known = {**signs, "gpu": gpu, "gpu_bytes": gpu_bytes, "flops": max(flops, before.get("flops", 0.0))}
    known["dtype"] = "bfloat16" if gpu or bfloat else "float32"
    known |= {"tries": tries + 1, "measured_at": time.time()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(known, indent=2))
        os.replace(draft, path)
    except OSError:
        pass  # a full disk costs a second measuring, not the estimate
    return known


def _matrix_flops() -> float:
    """Floating-point operations per second of a float32 matrix product on all cores, the best of several tries."""
    import numpy

    a = numpy.ones((768, 768), dtype=numpy.float32)
    best, until = 1.0, time.perf_counter() + 0.2
    while time.perf_counter() < until:
        start = time.perf_counter()
        a @ a
        best = max(best, 2 * 768**3 / (time.perf_counter() - start))
    return best


def _has_bfloat16() -> bool:
    """Whether this processor has bfloat16 instructions, as far as the system tells without torch."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _gpu() -> tuple[str | None, int]:
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        words = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.splitlines()[0]
        name, mebibytes = words.rsplit(",", 1)
        return name.strip(), int(mebibytes) * 2**20
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None, 0


def fingerprint(machine: dict[str, Any]) -> str:
    """What has to be the same for a measurement to hold here: the machine, its precision, the version of torch."""
    kept = {name: machine.get(name) for name in ("node", "cores", "memory_bytes", "gpu", "dtype")}
    try:
        kept["torch"] = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        kept["torch"] = None
    return json.dumps(kept, sort_keys=True)


def trainer_environment(settings: Settings) -> dict[str, str]:
    """The environment of a process that loads a model: this installation, no network, memory given back to the system."""
    # glibc makes an arena for each thread and raises its own threshold for mmap with the first large tensor; both keep
    # memory that packs of other sizes cannot use
    return {
        "MALLOC_ARENA_MAX": "1",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",  # one primitive for each shape seen, 1,024 of them by default
        **os.environ,
        "FACTORY_HOME": str(settings.home),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def let_go(address: int, count: int) -> None:
    """Take the whole pages of `count` bytes out of memory where Linux can read them again from their file."""
    import ctypes

    page = mmap.PAGESIZE
    start = -(-address // page) * page
    with suppress(OSError, AttributeError):
        pageout = 21  # MADV_PAGEOUT: nothing is lost, of whichever kind the pages are
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(max(0, address + count - start)), pageout)


def peak_bytes() -> int:
    """The most memory this process ever held, as the system counted it; 0 where it does not count (Windows)."""
    with suppress(OSError, ValueError, StopIteration):  # getrusage also counts what a parent held before it started this
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    try:
        import resource
    except ImportError:
        return 0
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def give_memory_back() -> None:
    """Return what the C library keeps for later to the system, where it can (glibc); a few milliseconds."""
    import ctypes

    with suppress(OSError, AttributeError):  # not Linux, or another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
