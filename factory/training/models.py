"""Base models on this machine: fetched whole or not at all, described without loading them, loaded without foreign code.

Each lies in its own folder under `settings.models`: weights as safetensors, the tokenizer, and `model.json`, which says
what it is. Looking (`find`, `get`, `list_models`) never imports torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from factory.base.errors import Conflict, Invalid, NotFound, Unavailable
from factory.base.settings import Settings
from factory.training import sources
from factory.training.recipe import Recipe

DEFAULT = "smollm2-135m-instruct"
NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]|\.(?!\.)){0,94}")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
LOCK_SECONDS = 3600


def list_models(settings: Settings) -> list[dict[str, Any]]:
    """Every base model on this machine, by name: the dictionaries that `get` returns."""
    if not settings.models.is_dir():
        return []
    found = (find(settings, path.name) for path in sorted(settings.models.iterdir()) if NAME.fullmatch(path.name))
    return [model for model in found if model is not None]


def find(settings: Settings, name: str) -> dict[str, Any] | None:
    """The model of this name, or None; see `get`. A name is never a path."""
    if not NAME.fullmatch(name):
        return None
    folder = settings.models / name
    try:
        described: dict[str, Any] = json.loads((folder / "model.json").read_text())
        template = sources.template_hash_in(folder)  # read now: a file is easily edited, and then nothing fits any more
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    return {**described, "template_hash": template, "folder": str(folder)}


def get(settings: Settings, name: str) -> dict[str, Any]:
    """What is known of a fetched model.

    Keys: name, source, hash (sha-256 of the weights), parameters, layers, hidden_size, intermediate, heads, kv_heads,
    head_dim, vocabulary, max_length (tokens), tied (head shares the embedding), model_type, template_hash, licence, bytes,
    fetched_at, folder.
    Raises NotFound, saying how to get it.
    """
    model = find(settings, name)
    if model is None:
        raise NotFound(
            f"There is no base model {name!r} on this machine; `models fetch` gets one, `models list` shows what is here."
        )
    return model


def fetch(
    settings: Settings, what: str | Path = DEFAULT, *, name: str | None = None, progress: sources.Progress | None = None
) -> dict[str, Any]:
    """Bring a base model onto this machine and describe it; at once when it is here already.

    `what` is DEFAULT, a folder, a GGUF file, or the id of a causal language model on the hub (owner/name). A GGUF file is
    converted in this process, which imports torch. Two at once wait for each other; nothing half-made is ever seen.
    Raises Invalid (not a model that may be used), NotFound, Conflict (the name is taken), Unavailable (disk or network).
    """
    tell = progress or _silent
    path = Path(what).expanduser()
    name = name or _name_for(str(what), path)
    if not NAME.fullmatch(name):
        raise Invalid(f"{name!r} cannot be a model's name: use up to 95 of a-z, 0-9, dash, underscore and single dots.")
    if what == DEFAULT:
        source = f"package:{sources.DEFAULT_PACKAGE}"
    else:
        source = f"file:{path.resolve()}" if path.exists() else f"hub:{what}"
    if source.startswith("hub:") and not HUB_ID.fullmatch(str(what)):
        raise NotFound(
            f"{what!s} is neither a folder or GGUF file here nor a hub id (owner/name); the embedded one is {DEFAULT!r}."
        )
    try:
        settings.models.mkdir(parents=True, exist_ok=True)
        with FileLock(settings.models / ".fetching.lock", timeout=LOCK_SECONDS):
            return _fetch_alone(settings, what, path, name, source, tell)
    except Timeout as problem:
        raise Conflict("Another fetch has been running for an hour; stop it, then try again.") from problem
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
        raise Unavailable(
            f"The model {name!r} could not be written to {settings.models} ({reason}); free some space and try again."
        ) from problem


def _fetch_alone(
    settings: Settings, what: str | Path, path: Path, name: str, source: str, tell: sources.Progress
) -> dict[str, Any]:
    here = find(settings, name)
    if here is not None:
        if here["source"].split("@")[0] != source:
            raise Conflict(f"The name {name!r} is taken by a model from {here['source']}; give another name.")
        return here
    for stale in settings.models.glob(".fetching-*"):  # holding the lock, whatever lies here was left by somebody who died
        shutil.rmtree(stale, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=".fetching-", dir=settings.models))
    try:
        ready = scratch / "ready"
        ready.mkdir()
        if what == DEFAULT:
            sources.convert_gguf(sources.unpack_default(scratch, tell), ready, tell)
            described = sources.describe(ready, name, source, licence="apache-2.0")
        elif path.is_dir():
            sources.copy_folder(path, ready, tell)
            described = sources.describe(ready, name, source)
        elif path.is_file():
            sources.convert_gguf(path, ready, tell)
            described = sources.describe(ready, name, source)
        else:
            revision = sources.download_hub(str(what), ready, tell)
            described = sources.describe(ready, name, f"{source}@{revision}")
        (ready / "model.json").write_text(json.dumps(described, indent=2) + "\n")
        for file in [*ready.iterdir(), ready]:
            sources.to_disk(file)
        target = settings.models / name
        shutil.rmtree(target, ignore_errors=True)  # a folder without model.json is no model
        os.replace(ready, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    tell("ready", 1.0)
    return get(settings, name)


def _silent(words: str, fraction: float) -> None:
    return None


def _name_for(what: str, path: Path) -> str:
    """
    >>> _name_for("HuggingFaceTB/SmolLM2-360M-Instruct", Path("HuggingFaceTB/SmolLM2-360M-Instruct"))
    'huggingfacetb--smollm2-360m-instruct'
    >>> _name_for("../../etc", Path("../../etc"))
    'etc'
    """
    stem = path.resolve().stem if path.is_file() else path.resolve().name if path.exists() else what.replace("/", "--")
    return re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]+", "-", stem.lower())).strip("-._")[:95]


def template_hash(tokenizer: Any) -> str:
    """The fingerprint of a tokenizer's chat template. Raises Invalid when it has none."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise Invalid("This model has no chat template, so it cannot be trained on conversations; choose an instruct model.")
    return hashlib.sha256(template.encode()).hexdigest()


def device_and_dtype() -> dict[str, Any]:
    """Where and in which precision this machine computes: device, dtype (its name) and why, one sentence."""
    import torch

    if torch.cuda.is_available():
        major, _ = torch.cuda.get_device_capability()
        card = torch.cuda.get_device_name()
        if major >= 8:
            return {"device": "cuda", "dtype": "bfloat16", "why": f"{card} computes bfloat16 at full speed."}
        return {"device": "cuda", "dtype": "float16", "why": f"{card} is older than bfloat16, so float16 it is."}
    able = torch.cpu.get_capabilities()
    if able.get("amx_bf16") or able.get("avx512_bf16"):
        return {"device": "cpu", "dtype": "bfloat16", "why": "This processor has bfloat16 instructions."}
    return {
        "device": "cpu",
        "dtype": "float32",
        "why": "This processor has no bfloat16 instructions; emulating them is 50 times slower.",
    }


def load_tokenizer(settings: Settings, name: str) -> Any:
    """The tokenizer of a fetched model. Raises NotFound, Invalid."""
    folder = get(settings, name)["folder"]
    sources.quiet_libraries()
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (ValueError, OSError, KeyError) as problem:
        raise Invalid(f"The tokenizer of {name!r} cannot be read ({problem}); fetch the model again.") from problem


def load(
    settings: Settings,
    name: str,
    *,
    method: str = "lora",
    adapter_folder: Path | str | None = None,
    recipe: Recipe | None = None,
) -> tuple[Any, Any]:
    """A fetched model, frozen and ready for use, and its tokenizer.

    `method` "qlora" loads the weights as 4-bit NF4 with double quantisation, "lora" in the dtype of this hardware; with
    `recipe` they are loaded as that asks for: its method, bits and precision.
    With `adapter_folder`, that adapter is put on top (a PeftModel, frozen as well).
    Raises NotFound, Invalid (unreadable files), Unavailable (not enough memory).
    """
    described = get(settings, name)
    tokenizer = load_tokenizer(settings, name)
    import torch
    from transformers import AutoModelForCausalLM

    place = device_and_dtype()
    recipe = recipe or Recipe(method=method)
    method = recipe.method
    dtype = getattr(torch, {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}.get(recipe.precision, place["dtype"]))
    options: dict[str, Any] = {
        "dtype": dtype,
        "local_files_only": True,
        "use_safetensors": True,
        "attn_implementation": "sdpa",
    }
    if method == "qlora":
        options["quantization_config"] = _quantised(recipe, dtype)
        options["device_map"] = {"": place["device"]}
    elif method != "lora":
        raise Invalid(f"There is no method {method!r}; the methods are lora and qlora.")
    try:
        model = AutoModelForCausalLM.from_pretrained(described["folder"], **options)
        if method == "lora":
            model = model.to(place["device"])
    except (ValueError, OSError, KeyError) as problem:
        raise Invalid(f"The model {name!r} cannot be loaded ({problem}); fetch it again.") from problem
    except (MemoryError, torch.OutOfMemoryError) as problem:
        raise Unavailable(
            f"There is not enough memory for {name!r}; close something, choose QLoRA or a smaller model."
        ) from problem
    if method == "qlora":
        from peft import prepare_model_for_kbit_training

        # checkpointing would cost a quarter of the speed where activations fit; the loop turns it on when asked
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        # With AVX512-BF16 a forward in eval mode repacks weights for good, for products without a backward: wrong gradients.
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    if adapter_folder is not None:
        from peft import PeftModel

        with_adapter: Any = PeftModel.from_pretrained(model, str(adapter_folder), is_trainable=False)
        return with_adapter.requires_grad_(False).eval(), tokenizer
    return model.requires_grad_(False).eval(), tokenizer


def _quantised(recipe: Recipe, dtype: Any) -> Any:
    """How transformers is told to keep the weights in few bits."""
    from transformers import BitsAndBytesConfig

    if recipe.quantization_bits == 8:
        # it tells once a layer that inputs are cast to float16, which is how its 8-bit products work
        warnings.filterwarnings("ignore", message="MatMul8bitLt: inputs will be cast")
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=recipe.quantization_type,
        bnb_4bit_use_double_quant=recipe.double_quantization,
        bnb_4bit_compute_dtype=dtype,
    )
