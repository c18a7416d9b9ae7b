"""The same recipe, data, model and machine give the same bytes; where they do not, what differs is named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
import torch
from fastapi.testclient import TestClient
from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory import api, line
from factory.__main__ import main
from factory.adapters import cards, kept, reproduction
from factory.base import people, store
from factory.base.errors import Conflict, NotAllowed, NotFound
from factory.base.settings import ROOT, Settings
from factory.credit import attribution
from factory.sign_in import COOKIE
from factory.training import models, runs, sources, worker
from factory.training.recipes import Recipe
from tests import trained

RECIPE = Recipe(base_model="tiny", rank=4, max_steps=3, effective_batch=2, evaluations=1, dropout=0.1, learning_rate=1e-3)


@dataclasses.dataclass(frozen=True)
class House:
    """A builder, a contributor, and a run with its adapter."""

    builder: people.Person
    ada: people.Person
    run_id: int


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> House:
    torch.set_num_threads(1)
    trained.home_model(settings, tiny_model)
    builder, ada, version = trained.frozen_version(db)
    run_id = runs.create(db, person=builder, version_id=version["id"], recipe=RECIPE, settings=settings, name="first")
    worker.train_run(db, settings, run_id)
    kept.keep(db, settings, run_id)
    return House(builder, ada, run_id)


def again(db: Database, settings: Settings, house: House) -> dict[str, Any]:
    run_id = reproduction.begin(db, settings, house.run_id, person=house.builder)
    line.work(db, settings, run_id)
    return reproduction.get(db, run_id)


def test_the_same_again_is_identical_to_the_last_byte_and_earns_nothing(
    db: Database, settings: Settings, house: House
) -> None:
    torch.set_num_threads(2)  # the reproduction takes as many as the original did, and not what it finds
    found = again(db, settings, house)
    assert (found["verdict"], found["original_run_id"]) == ("identical", house.run_id)
    assert found["findings"]["weights"] == {"same": True, "largest_difference": 0.0, "relative_difference": 0.0}
    assert found["findings"]["losses"]["steps"] == 3
    assert found["findings"]["circumstances"] == []
    first, second = (kept.find_by_run(db, run_id) for run_id in (house.run_id, found["run_id"]))
    assert first is not None
    assert second is not None
    assert first["sha256"] == second["sha256"]
    run = runs.get(db, found["run_id"])
    assert (run["status"], run["parent_run_id"]) == ("done", house.run_id)
    assert run["manifest"]["threads"] == runs.get(db, house.run_id)["manifest"]["threads"] == 1
    assert attribution.find(db, second["id"]) is None
    assert any("Identical" in event["words"] for event in runs.events(db, found["run_id"]))
    for adapter in (first, second):
        card = cards.card(db, adapter["id"])
        assert "## Reproduced" in card
        assert "Identical" in card


def test_other_circumstances_are_named_and_judged_by_what_came_out(db: Database, settings: Settings, house: House) -> None:
    run_id = reproduction.begin(db, settings, house.run_id, person=house.builder)
    manifest = runs.get(db, house.run_id)["manifest"]
    manifest["libraries"]["torch"] = "1.0"
    db["runs"].update(house.run_id, {"manifest": json.dumps(manifest | {"processor": "An older one"})})
    changed = runs.get(db, run_id)["recipe"]
    db["runs"].update(run_id, {"recipe": json.dumps(dataclasses.asdict(changed) | {"seed": 7})})
    line.work(db, settings, run_id)
    found = reproduction.get(db, run_id)
    assert found["verdict"] in ("near", "different")
    assert {one["what"] for one in found["findings"]["circumstances"]} == {"libraries torch", "processor", "recipe seed"}
    words = " ".join(found["findings"]["words"])
    assert "libraries torch: 1.0 there" in words
    assert "The training loss differs by up to" in words


def test_weights_that_moved_a_little_are_near_and_far_ones_different(db: Database, settings: Settings, house: House) -> None:
    found = again(db, settings, house)
    adapter = kept.find_by_run(db, found["run_id"])
    assert adapter is not None
    shared = settings.adapters / adapter["folder"]
    weights = safetensors.numpy.load_file(shared / kept.WEIGHTS)
    for factor, verdict in ((1.001, "near"), (1.5, "different")):
        place = settings.adapters / f"moved-{verdict}"
        place.mkdir()
        for name in (kept.CONFIG, kept.SHEET):
            (place / name).write_bytes((shared / name).read_bytes())
        safetensors.numpy.save_file({name: factor * tensor for name, tensor in weights.items()}, place / kept.WEIGHTS)
        changes = {"folder": place.name, "sha256": sources.sha256_of(place / kept.WEIGHTS)}
        db["adapters"].update(adapter["id"], changes)
        compared = reproduction.compare(db, settings, found["run_id"])
        assert compared["verdict"] == verdict
        assert compared["findings"]["weights"]["relative_difference"] == pytest.approx(factor - 1, rel=1e-3)


def test_only_a_finished_run_is_reproduced_and_only_by_a_builder(db: Database, settings: Settings, house: House) -> None:
    version_id = runs.get(db, house.run_id)["version_id"]
    waiting = runs.create(db, person=house.builder, version_id=version_id, recipe=RECIPE, settings=settings)
    with pytest.raises(Conflict, match="queued"):
        reproduction.begin(db, settings, waiting, person=house.builder)
    with pytest.raises(NotAllowed):
        reproduction.begin(db, settings, house.run_id, person=house.ada)
    with pytest.raises(NotFound):
        reproduction.begin(db, settings, 99, person=house.builder)
    with pytest.raises(NotFound):
        reproduction.get(db, house.run_id)
    queued = reproduction.begin(db, settings, house.run_id, person=house.builder)
    with pytest.raises(Conflict, match="no adapter"):
        reproduction.compare(db, settings, queued)
    assert store.value(db, "select count(*) from reproductions") == 1


def test_the_command_the_route_and_the_page_begin_one_and_show_the_verdict(
    db: Database, settings: Settings, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", str(house.run_id), "--detach", "--as", "builder"]) == 0
    (queued,) = reproduction.of(db, house.run_id)
    token = people.issue_token(db, house.builder, "tests")
    with TestClient(api.application(settings), headers={"Authorization": f"Bearer {token}"}) as client:
        answer = client.post(f"/runs/{house.run_id}/reproduce")
        assert answer.status_code == 201, answer.text
        line.work(db, settings, answer.json()["run_id"])
        found = client.get(f"/runs/{house.run_id}/reproductions").json()
        assert [one["verdict"] for one in found] == ["identical", None]
        assert client.get("/runs/99/reproductions").status_code == 404
    capsys.readouterr()
    assert main(["reproduce", str(house.run_id), "--show"]) == 0
    assert "Identical" in capsys.readouterr().out
    test = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
    test.session_state[COOKIE] = people.issue_session(db, settings, house.builder)
    test.run().switch_page("runs.py")
    test.query_params["run"] = str(house.run_id)
    test.run()
    assert not test.exception
    assert any("Identical" in caption.value for caption in test.caption)
    next(button for button in test.button if button.label == "Reproduce this run").click().run()
    assert not test.exception
    assert len(reproduction.of(db, house.run_id)) == 3
    assert queued["verdict"] is None


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_the_real_model_with_two_threads_gives_the_same_bytes_twice(
    db: Database, settings: Settings, base_models: Path, method: str
) -> None:
    torch.set_num_threads(2)
    trained.home_model(settings, base_models / models.DEFAULT)
    builder, ada, version = trained.frozen_version(db, held_out=False)
    recipe = dataclasses.replace(RECIPE, base_model=models.DEFAULT, method=method, max_steps=2, evaluations=0)
    run_id = runs.create(db, person=builder, version_id=version["id"], recipe=recipe, settings=settings)
    line.work(db, settings, run_id)
    found = again(db, settings, House(builder, ada, run_id))
    assert found["verdict"] == "identical", found["findings"]["words"]
