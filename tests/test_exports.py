"""What leaves the house: the same bytes from the same rows, nothing of this machine in it, and it speaks as it did here."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from sqlite_utils import Database

from factory.adapters import cards, chat, exports, kept
from factory.base.errors import Invalid, NotAllowed, NotFound, Unavailable
from factory.base.settings import Settings
from factory.intake import datasets
from factory.training import models, recipes, runs
from tests import trained

ELSEWHERE = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, folder, dtype = sys.argv[1:4]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype)), folder)
for question in sys.argv[4:]:
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**ids, do_sample=False, max_new_tokens=24)
    print(json.dumps(answer[0][ids["input_ids"].shape[1]:].tolist()))
assert not any(name.startswith("factory") for name in sys.modules)
"""


@pytest.fixture
def past(db: Database, settings: Settings, tiny_model: Path) -> trained.Past:
    torch.set_num_threads(1)
    return trained.past(db, settings, tiny_model)


def contents_of(db: Database, settings: Settings, past: trained.Past) -> dict[str, bytes]:
    place = kept.folder(db, settings, past.adapter_id)
    return exports._contents(db, settings, kept.get(db, past.adapter_id), place)


def test_the_same_rows_give_the_same_bytes(db: Database, settings: Settings, past: trained.Past) -> None:
    first = exports._draft(settings, contents_of(db, settings, past))
    again = exports._draft(settings, dict(reversed(contents_of(db, settings, past).items())))
    assert first != again
    assert first.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_zip_holds_all_that_is_needed_elsewhere(db: Database, settings: Settings, past: trained.Past) -> None:
    found = contents_of(db, settings, past)
    assert set(found) == {
        "LICENSE.md",
        "README.md",
        "adapter.json",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "data_manifest.json",
        "recipe.yaml",
        "template.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "try_it.py",
    }
    adapter = kept.get(db, past.adapter_id)
    about = json.loads(found["template.json"])
    assert about["sha256"] == adapter["template_hash"] == hashlib.sha256(found[about["file"]]).hexdigest()
    assert about["sha256"] in found["README.md"].decode()
    assert found["README.md"].decode() == cards.card(db, past.adapter_id)
    assert recipes.from_yaml(found["recipe.yaml"].decode()) == runs.get(db, past.run_id)["recipe"]
    assert hashlib.sha256(found["adapter_model.safetensors"]).hexdigest() == kept.get(db, past.adapter_id)["sha256"]


def test_nothing_in_it_names_this_machine(db: Database, settings: Settings, past: trained.Past, tiny_model: Path) -> None:
    for name, content in contents_of(db, settings, past).items():
        for secret in (str(settings.home), str(tiny_model), str(Path.home()), "is_local", "local_files_only"):
            assert secret.encode() not in content, name


def test_whoever_has_the_rows_can_compute_the_root_from_the_data_manifest(
    db: Database, settings: Settings, past: trained.Past
) -> None:
    manifest = json.loads(contents_of(db, settings, past)["data_manifest.json"])
    assert datasets.merkle_root(manifest["content_sha256"]) == manifest["merkle_root"] == past.version["root"]
    assert manifest["held_out_merkle_root"] == past.version["held_out_root"]
    assert manifest["rows"] == 3


def test_only_a_builder_exports(db: Database, settings: Settings, past: trained.Past) -> None:
    with pytest.raises(NotAllowed, match="builder"):
        exports.export_peft(db, settings, past.adapter_id, person=past.ada)
    with pytest.raises(NotFound):
        exports.export_peft(db, settings, 99, person=past.builder)
    assert not settings.exports.exists()


def test_without_the_base_it_is_written_and_said_to_be_untried(db: Database, settings: Settings, past: trained.Past) -> None:
    (settings.models / "tiny").rename(settings.home / "away")
    found = exports.export_peft(db, settings, past.adapter_id, person=past.builder)
    assert found["verified"] is False
    assert "not on this machine" in found["note"]
    assert Path(found["path"]).stat().st_size == found["bytes"]
    assert hashlib.sha256(Path(found["path"]).read_bytes()).hexdigest() == found["sha256"]
    assert [path.name for path in settings.exports.iterdir()] == [found["file"]]
    (listed,) = exports.listing(db, past.adapter_id)
    assert (listed["id"], listed["person"], listed["verified"]) == (found["id"], "Bea Builder", 0)
    Path(found["path"]).unlink()
    with pytest.raises(Unavailable, match="missing"):
        exports.get(db, settings, found["id"])


def test_a_base_with_another_template_is_not_exported(db: Database, settings: Settings, past: trained.Past) -> None:
    template = settings.models / "tiny" / "chat_template.jinja"
    template.write_text(" " + template.read_text())
    with pytest.raises(Invalid, match="another chat template"):
        exports.export_peft(db, settings, past.adapter_id, person=past.builder)


def test_a_place_that_cannot_be_written_is_one_sentence(db: Database, settings: Settings, past: trained.Past) -> None:
    settings.exports.write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="cannot be written"):
        exports.export_peft(db, settings, past.adapter_id, person=past.builder)


def test_a_template_inside_the_tokenizers_settings_is_written_as_a_file_too(
    db: Database, settings: Settings, past: trained.Past
) -> None:
    template, about = (settings.models / "tiny" / name for name in ("chat_template.jinja", "tokenizer_config.json"))
    text = template.read_text()
    about.write_text(json.dumps(json.loads(about.read_text()) | {"chat_template": text}))
    template.unlink()
    assert contents_of(db, settings, past)["chat_template.jinja"].decode() == text


@pytest.mark.slow
def test_an_export_is_tried_elsewhere_once_and_found_again(db: Database, settings: Settings, tiny_model: Path) -> None:
    past = trained.past(db, settings, tiny_model, system_prompt="You are brief.")
    first = exports.export_peft(db, settings, past.adapter_id, person=past.builder)
    assert (first["verified"], first["note"]) == (True, "")
    second = exports.export_peft(db, settings, past.adapter_id, person=past.builder)
    assert second == first
    assert [path.name for path in settings.exports.iterdir()] == [first["file"]]


@pytest.mark.slow
def test_an_export_that_speaks_otherwise_or_cannot_be_loaded_is_not_verified(
    db: Database, settings: Settings, past: trained.Past
) -> None:
    adapter, place = kept.get(db, past.adapter_id), kept.folder(db, settings, past.adapter_id)
    good = contents_of(db, settings, past)
    config = json.loads(good["adapter_config.json"])
    louder = good | {"adapter_config.json": json.dumps(config | {"lora_alpha": 64 * config["lora_alpha"]}).encode()}
    broken = good | {"adapter_model.safetensors": good["adapter_model.safetensors"][:1000]}
    assert "other tokens" in exports._verify(db, settings, adapter, place, exports._draft(settings, louder))
    assert "failed" in exports._verify(db, settings, adapter, place, exports._draft(settings, broken))
    template = good["chat_template.jinja"].replace(b"user", b"human")
    changed = good | {"chat_template.jinja": b" " + template}
    assert "not the one the adapter was trained with" in exports._verify(
        db, settings, adapter, place, exports._draft(settings, changed)
    )


@pytest.mark.slow
def test_a_script_with_only_transformers_and_peft_says_what_the_app_says_with_the_real_model(
    db: Database, settings: Settings, base_models: Path, tmp_path: Path
) -> None:
    past = trained.past(db, settings, base_models / models.DEFAULT)
    found = exports.export_peft(db, settings, past.adapter_id, person=past.builder)
    assert found["verified"] is True
    with zipfile.ZipFile(found["path"]) as archive:
        archive.extractall(tmp_path / "unpacked")
    config = json.loads((tmp_path / "unpacked" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == kept.DEFAULT_PUBLIC_NAME
    script = tmp_path / "elsewhere.py"
    script.write_text(ELSEWHERE)
    command = [sys.executable, "-I", str(script), str(base_models / models.DEFAULT), str(tmp_path / "unpacked")]
    command += [models.device_and_dtype()["dtype"], *exports.QUESTIONS]
    said = subprocess.run(command, capture_output=True, cwd=tmp_path, check=True, text=True).stdout.splitlines()
    place = kept.folder(db, settings, past.adapter_id)
    for question, tokens in zip(exports.QUESTIONS, said, strict=True):
        asked = [{"role": "user", "content": question}]
        ours = chat.greedy_tokens(settings, models.DEFAULT, place, asked)
        assert json.loads(tokens) == ours
        assert ours != chat.greedy_tokens(settings, models.DEFAULT, None, asked)
