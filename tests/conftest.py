"""Fixtures for all tests: a fresh installation in a temporary folder, and the smallest real models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from factory.base import store
from factory.base.settings import ROOT, Settings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, then those that train, the browser last: what is broken shows early."""
    items.sort(key=lambda item: ("slow" in item.keywords) + 2 * ("browser" in item.keywords))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A fresh installation; FACTORY_HOME points to it, so that child processes use it too."""
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "home"))
    return Settings(home=tmp_path / "home")


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    """An open store in a fresh installation."""
    with store.connect(settings) as opened:
        yield opened


@pytest.fixture(scope="session")
def base_models() -> Path:
    """The folder of fetched base models of this checkout, with the embedded default in it (fetched once, kept)."""
    from factory.training import models

    kept = Settings(home=Path(os.environ.get("FACTORY_TEST_MODELS", ROOT / "data")))
    if models.find(kept, models.DEFAULT) is None:
        models.fetch(kept, models.DEFAULT)
    return kept.models


@pytest.fixture(scope="session")
def tiny_model(base_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained two-layer Llama and the default base model's real tokenizer and chat template."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = base_models / "smollm2-135m-instruct"
    folder = tmp_path_factory.mktemp("tiny") / "tiny-llama"
    tokenizer = AutoTokenizer.from_pretrained(source)
    config = AutoConfig.from_pretrained(source)
    config.update(
        {
            "num_hidden_layers": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
        }
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
