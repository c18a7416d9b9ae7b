"""What a run left behind: kept whole, once, and under the name its hash gives."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import threading
from pathlib import Path

import pytest
import torch
from sqlite_utils import Database

from factory.adapters import kept
from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound, Unavailable
from factory.base.settings import Settings
from factory.training import checkpoints, runs
from tests import trained


@pytest.fixture
def past(db: Database, settings: Settings, tiny_model: Path) -> trained.Past:
    torch.set_num_threads(1)
    return trained.past(db, settings, tiny_model)


def test_the_folder_is_named_by_the_hash_of_its_weights(db: Database, settings: Settings, past: trained.Past) -> None:
    adapter = kept.get(db, past.adapter_id)
    place = kept.folder(db, settings, past.adapter_id)
    weights = (place / "adapter_model.safetensors").read_bytes()
    assert adapter["sha256"] == hashlib.sha256(weights).hexdigest()
    assert place.name == adapter["folder"] == adapter["sha256"][:16]
    assert adapter["bytes"] == len(weights)
    assert sorted(path.name for path in settings.adapters.iterdir()) == [place.name]


def test_keeping_a_run_twice_gives_the_same_adapter(db: Database, settings: Settings, past: trained.Past) -> None:
    assert kept.keep(db, settings, past.run_id) == past.adapter_id
    assert [adapter["id"] for adapter in kept.listing(db)] == [past.adapter_id]


def test_several_processes_that_keep_one_run_at_once_agree(db: Database, settings: Settings, past: trained.Past) -> None:
    db.execute("delete from adapters")
    found: list[int] = []

    def keep() -> None:
        with store.connect(settings) as own:
            found.append(kept.keep(own, settings, past.run_id))

    threads = [threading.Thread(target=keep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(list(settings.adapters.iterdir())) == 1


def test_nothing_in_the_folder_names_this_machine(db: Database, settings: Settings, past: trained.Past) -> None:
    place = kept.folder(db, settings, past.adapter_id)
    text = (place / "adapter_config.json").read_text() + (place / "adapter.json").read_text()
    assert json.loads((place / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
    assert str(settings.home) not in text
    assert "/" not in json.loads((place / "adapter.json").read_text())["base_model"]


def test_equal_weights_under_other_settings_are_two_adapters(db: Database, settings: Settings, past: trained.Past) -> None:
    sheet = kept.sheet(kept.folder(db, settings, past.adapter_id))
    source = kept.folder(db, settings, past.adapter_id)
    first = kept._copied(settings, source, sheet, 7)
    other = kept._copied(settings, source, sheet | {"system_prompt": "Be brief."}, 8)
    assert first[0] == source.name
    assert other[0] == f"{source.name}-8"
    assert kept.sheet(settings.adapters / other[0])["system_prompt"] == "Be brief."


def test_a_run_without_a_checkpoint_is_told_so_and_leaves_nothing(
    db: Database, settings: Settings, past: trained.Past
) -> None:
    db.execute("delete from adapters")
    checkpoints.clear(settings.runs / runs.get(db, past.run_id)["folder"])
    with pytest.raises(Conflict, match="no checkpoint yet"):
        kept.keep(db, settings, past.run_id)
    assert kept.find_by_run(db, past.run_id) is None


def test_weights_under_an_adapter_never_change(db: Database, settings: Settings, past: trained.Past) -> None:
    run_folder = settings.runs / runs.get(db, past.run_id)["folder"]
    newest, state = checkpoints.newest(run_folder) or (Path(), checkpoints.State())
    longer = newest.with_name("step-000009")
    shutil.copytree(newest, longer)
    (longer / "state.json").write_text(json.dumps(dataclasses.asdict(dataclasses.replace(state, step=9, best_step=9))))
    with pytest.raises(Conflict, match="kept at step 3 and trained on to 9"):
        kept.keep(db, settings, past.run_id)
    checkpoints.clear(run_folder)
    assert kept.keep(db, settings, past.run_id) == past.adapter_id


def test_a_copy_that_breaks_off_leaves_nothing(db: Database, settings: Settings, past: trained.Past, tmp_path: Path) -> None:
    place = kept.folder(db, settings, past.adapter_id)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")  # and no configuration beside it
    with pytest.raises(FileNotFoundError):
        kept._copied(settings, tmp_path, kept.sheet(place), 5)
    assert [path.name for path in settings.adapters.iterdir()] == [place.name]


def test_an_adapter_knows_where_it_comes_from(db: Database, past: trained.Past) -> None:
    adapter = kept.get(db, past.adapter_id)
    assert adapter == kept.find_by_run(db, past.run_id)
    assert (adapter["slug"], adapter["version"], adapter["version_root"]) == ("questions", 1, past.version["root"])
    assert (adapter["person"], adapter["model_name"], adapter["evaluation_id"]) == ("builder", "tiny", None)
    assert kept.find_by_run(db, 99) is None
    with pytest.raises(NotFound):
        kept.get(db, 99)


def test_search_finds_names_and_takes_percent_for_itself(db: Database, past: trained.Past) -> None:
    kept.rename(db, past.adapter_id, "  50%  better ", person=past.builder)
    assert [a["name"] for a in kept.listing(db, search="50%")] == ["50% better"]
    assert [a["name"] for a in kept.listing(db, search="QUEST")] == ["50% better"]
    assert kept.listing(db, search="5_%") == []
    assert kept.listing(db, offset=1) == []


def test_only_its_builder_or_an_admin_renames(db: Database, past: trained.Past) -> None:
    other = people.create(db, "other", roles=("builder",))
    admin = people.create(db, "admin", roles=("admin",))
    for person in (past.ada, other):
        with pytest.raises(NotAllowed):
            kept.rename(db, past.adapter_id, "mine", person=person)
    with pytest.raises(Invalid):
        kept.rename(db, past.adapter_id, "   ", person=past.builder)
    kept.rename(db, past.adapter_id, "theirs", person=admin)
    assert kept.get(db, past.adapter_id)["name"] == "theirs"


def test_files_that_are_gone_are_one_sentence(db: Database, settings: Settings, past: trained.Past) -> None:
    (kept.folder(db, settings, past.adapter_id) / "adapter_model.safetensors").unlink()
    with pytest.raises(Unavailable, match="missing"):
        kept.folder(db, settings, past.adapter_id)
