"""Event files as TensorBoard's own reader sees them: every step once, also after a kill."""

from __future__ import annotations

import dataclasses
import io
import sys
import zipfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database

from factory import __main__ as commands
from factory import api
from factory.base import people
from factory.base.errors import NotFound
from factory.base.settings import Settings
from factory.training import possible, reports, runs, trackers, worker
from factory.training.loop import Step
from factory.training.recipes import Recipe
from tests import trained

TINY = Recipe(base_model="tiny", rank=4, epochs=2, effective_batch=1, evaluations=1, early_stopping_patience=0)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(reports.folder_of(folder)), size_guidance={"scalars": 0})
    found.Reload()
    assert "_hparams_/session_start_info" in found.PluginTagToContent("hparams")
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_a_run_is_written_as_tensorboard_shows_it(db: Database, settings: Settings, tiny_model: Path) -> None:
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    run_id = runs.create(db, person=builder, version_id=version["id"], settings=settings, recipe=TINY)
    folder = settings.runs / runs.get(db, run_id)["folder"]
    with pytest.raises(NotFound):
        reports.zipped(folder)
    worker.train_run(db, settings, run_id)
    told, rows = read(folder), runs.metrics(db, run_id, ["loss", "held_out_loss", "learning_rate"])
    for name, curve in rows.items():
        assert [step for step, _ in told[name]] == [step for step, _ in curve]
        assert [value for _, value in told[name]] == pytest.approx([value for _, value in curve], rel=1e-5)
    assert zipfile.ZipFile(io.BytesIO(reports.zipped(folder))).namelist()[0].startswith("events.out.tfevents")
    target = settings.home / "taken.zip"
    assert commands.main(["runs", "tensorboard", str(run_id), "--to", str(target), "--as", "builder"]) == 0
    assert target.read_bytes() == reports.zipped(folder)
    key = {"Authorization": f"Bearer {people.issue_token(db, builder, 'test')}"}
    with TestClient(api.application(settings)) as client:
        answer = client.get(f"/runs/{run_id}/tensorboard", headers=key)
        assert client.get(f"/runs/{run_id}/tensorboard").status_code in (401, 403)
    assert (answer.status_code, answer.content) == (200, reports.zipped(folder))


def test_a_run_that_goes_on_has_no_step_twice(db: Database, settings: Settings, tiny_model: Path, tmp_path: Path) -> None:
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    run_id = runs.create(db, person=builder, version_id=version["id"], settings=settings, recipe=TINY)
    claimed = runs.claim(db, run_id=run_id)
    assert claimed is not None
    steps = [Step(n, 6, loss=5.0 - n) if n else Step(0, 6, held_out_loss=5.0) for n in range(7)]

    def told(some: list[Step]) -> None:
        for step in reports.written(db, claimed, some, tmp_path):
            runs.record(
                db, run_id, claimed["token"], {"loss": step.loss, "held_out_loss": step.held_out_loss}, step=step.step
            )

    told(steps[:5])
    told(steps[3:])  # the checkpoint was at step 2
    assert [step for step, _ in read(tmp_path)["loss"]] == [1, 2, 3, 4, 5, 6]
    assert len(list(reports.folder_of(tmp_path).iterdir())) == 1


def test_a_tracker_that_is_not_installed_is_refused_with_what_to_type() -> None:
    recipe = dataclasses.replace(TINY, report_to="wandb")
    here = trackers.missing("wandb")
    told = possible.impossible(recipe, machine={"gpu": None, "dtype": "float32"})
    assert told == ({"report_to": here} if here else {})
    assert here is None or "pip install wandb" in here
    assert possible.impossible(recipe) == {}, "an old run with it can still be read"


@pytest.mark.skipif(trackers.missing("mlflow") is not None, reason="mlflow is not installed here")
def test_mlflow_is_told_every_step_in_the_run_s_own_folder(db: Database, settings: Settings, tiny_model: Path) -> None:
    import mlflow

    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    recipe = dataclasses.replace(TINY, report_to="mlflow")
    run_id = runs.create(db, person=builder, version_id=version["id"], settings=settings, recipe=recipe)
    worker.train_run(db, settings, run_id)
    folder = settings.runs / runs.get(db, run_id)["folder"] / "mlflow"
    client = mlflow.MlflowClient(folder.resolve().as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("model-factory").experiment_id])
    losses = [(one.step, one.value) for one in client.get_metric_history(found.info.run_id, "loss")]
    rows = runs.metrics(db, run_id, ["loss"])["loss"]
    assert [step for step, _ in losses] == [step for step, _ in rows]
    assert [value for _, value in losses] == pytest.approx([value for _, value in rows])
    assert not [event for event in runs.events(db, run_id) if "no longer told" in event["words"]]


def test_a_tracker_that_breaks_does_not_end_a_training(
    db: Database, settings: Settings, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb.py").write_text(
        "Settings = dict\n\n\ndef init(**about):\n    raise ConnectionError('secret-key-123')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    trained.home_model(settings, tiny_model)
    builder, _, version = trained.frozen_version(db)
    recipe = dataclasses.replace(TINY, report_to="wandb", max_steps=2)
    run_id = runs.create(db, person=builder, version_id=version["id"], settings=settings, recipe=recipe)
    assert worker.train_run(db, settings, run_id) == "done"
    (event,) = [event for event in runs.events(db, run_id) if "no longer told" in event["words"]]
    assert event["words"] == "wandb is no longer told: ConnectionError."
