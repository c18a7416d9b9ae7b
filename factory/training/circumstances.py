"""Under what circumstances a run computes: all that can change a number without being in its recipe or its data."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
from typing import Any

LIBRARIES = (
    "torch", "transformers", "peft", "bitsandbytes", "tokenizers", "safetensors", "numpy", "accelerate", "jinja2", "triton",
)  # fmt: skip
ARITHMETIC = (  # environment variables that change how numbers are added, or where they lie
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "PYTORCH_CUDA_ALLOC_CONF", "LD_PRELOAD", "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
)  # fmt: skip


def here() -> dict[str, Any]:
    """What can be told without torch: python, libraries (their versions), system, processor, environment."""
    return {
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES if importlib.util.find_spec(name)},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "environment": {name: _short(os.environ[name]) for name in ARITHMETIC if os.environ.get(name)},
    }


def in_trainer(model: Any) -> dict[str, Any]:
    """The same and what only the trainer knows: device, dtype, threads, and torch's own settings of its arithmetic."""
    import torch

    cuda = torch.version.cuda and torch.cuda.is_available()
    return here() | {
        "device": str(model.device),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "cuda": f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}" if cuda else None,
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "threads_between": torch.get_num_interop_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "attention": str(getattr(model.config, "_attn_implementation", "")),
    }


def as_before(manifest: dict[str, Any]) -> None:
    """Compute with as many threads as the run that this one reproduces did, where it reproduces one."""
    import torch

    if wanted := manifest.get("threads_wanted"):
        torch.set_num_threads(int(wanted))


def differences(there: dict[str, Any], now: dict[str, Any]) -> list[dict[str, Any]]:
    """What two manifests say differently: what, there, here. Things only one of them knows of are left out.

    >>> differences({"threads": 2, "libraries": {"torch": "2.13.0"}}, {"threads": 2, "libraries": {"torch": "2.14.0"}})
    [{'what': 'libraries torch', 'there': '2.13.0', 'here': '2.14.0'}]
    """
    found = []
    for name in sorted(there.keys() & now.keys()):
        ours, theirs = now[name], there[name]
        if isinstance(ours, dict) and isinstance(theirs, dict):
            whole = [{key: each.get(key) for key in ours.keys() | theirs.keys()} for each in (theirs, ours)]
            found += [{**one, "what": f"{name} {one['what']}"} for one in differences(*whole)]
        elif ours != theirs:
            found.append({"what": name, "there": theirs, "here": ours})
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


def _short(value: str) -> str:
    """A path names its machine, and only its last part matters here.

    >>> _short("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2")
    'libjemalloc.so.2'
    """
    return " ".join(part.rpartition("/")[2] for part in re.split(r"[\s:]+", value))
