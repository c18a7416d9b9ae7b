"""A run as TensorBoard event files in its folder, written as it trains, and told to another tracker where that is wanted.

Nothing leaves this machine unless the builder says so in the tracker's own way: MLflow by MLFLOW_TRACKING_URI, Weights &
Biases by WANDB_API_KEY; without these they write into the run's folder too, as Trackio always does.

    runs/run-7/tensorboard/events.out.tfevents.…    `tensorboard --logdir runs/run-7/tensorboard` draws it

A run that goes on from a checkpoint writes its files anew from the rows up to there, so that no step is in them twice.
"""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import NotFound
from factory.training import recipes, runs

TOLD = ("loss", "held_out_loss", "gradient_norm", "tokens_per_second", "memory_bytes", "learning_rate", "epoch")
FLUSH_SECONDS = 10
Tell = Callable[[dict[str, float], int], None]  # values of a step, and its number


def folder_of(folder: Path) -> Path:
    """Where the event files of a run's folder lie."""
    return folder / "tensorboard"


def written(db: Database, run: dict[str, Any], steps: Iterable[Any], folder: Path) -> Iterator[Any]:
    """Pass on a run's steps, and write each into event files on the way; a full disk ends the writing, not the run."""
    writer: Any = None
    try:
        for step in _told(db, run, steps, folder):
            if writer is None:
                writer = _begun(db, run, folder, before=step.step)
            if writer:
                try:
                    _add(writer, step)
                except OSError as problem:
                    runs.note(db, run["id"], "note", f"TensorBoard files are no longer written: {problem.strerror}.")
                    writer = False
            yield step
    finally:
        if writer:
            _close(writer)


def _begun(db: Database, run: dict[str, Any], folder: Path, *, before: int) -> Any:
    """A writer whose files hold the settings, and the rows of the steps before this one; False where none can be written."""
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    target = folder_of(folder)
    try:
        shutil.rmtree(target, ignore_errors=True)
        writer = SummaryWriter(str(target), flush_secs=FLUSH_SECONDS)
        experiment, began, _ = hparams(_settings(run), {"held_out_loss": None, "loss": None})
        writer.file_writer.add_summary(experiment)
        writer.file_writer.add_summary(began)
        for row in store.rows(
            db, "select name, step, value, at from metrics where run_id = ? and step < ? order by step", run["id"], before
        ):
            writer.add_scalar(row["name"], row["value"], row["step"], walltime=row["at"])
    except OSError as problem:
        runs.note(db, run["id"], "note", f"TensorBoard files cannot be written: {problem.strerror}.")
        return False
    return writer


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _add(writer: Any, step: Any) -> None:
    for name in TOLD if step.step else ("held_out_loss",):
        value = getattr(step, name)
        if value is not None:
            writer.add_scalar(name, value, step.step)


def _close(writer: Any) -> None:
    from tensorboardX.summary import hparams

    writer.file_writer.add_summary(hparams({}, {})[2])
    writer.close()


def _told(db: Database, run: dict[str, Any], steps: Iterable[Any], folder: Path) -> Iterator[Any]:
    """Pass on a run's steps, and tell the tracker that its recipe names; one that fails is left, the run goes on."""
    name = run["recipe"].report_to
    begin = {"trackio": _trackio, "mlflow": _mlflow, "wandb": _wandb}.get(name)
    if begin is None:
        yield from steps
        return
    tell: Tell | None = None
    end: Callable[[], None] = nothing
    try:
        for step in steps:
            try:
                if tell is None:
                    tell, end = begin(run, folder)
                    for number, values in _before(db, run["id"], step.step).items():
                        tell(values, number)
                values = {one: getattr(step, one) for one in (TOLD if step.step else ("held_out_loss",))}
                tell({one: float(value) for one, value in values.items() if value is not None}, step.step)
            except Exception as problem:  # somebody else's program, over a file or a network: it must not end a training
                runs.note(db, run["id"], "note", f"{name} is no longer told: {type(problem).__name__}.")
                tell = nothing
            yield step
    finally:
        end()


def nothing(*words: Any) -> None:
    """Tell nobody."""


def _before(db: Database, run_id: int, step: int) -> dict[int, dict[str, float]]:
    """What was recorded before a step, by step: a run that goes on is told anew from its beginning."""
    found: dict[int, dict[str, float]] = {}
    for row in store.rows(
        db, "select name, step, value from metrics where run_id = ? and step < ? order by step", run_id, step
    ):
        found.setdefault(row["step"], {})[row["name"]] = row["value"]
    return found


def _settings(run: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in recipes.to_dict(run["recipe"]).items()}


def _trackio(run: dict[str, Any], folder: Path) -> tuple[Tell, Callable[[], None]]:
    os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
    import trackio

    trackio.init(project="model-factory", name=f"run-{run['id']}", config=_settings(run), embed=False)
    return (lambda values, step: trackio.log(values, step=step)), trackio.finish


def _mlflow(run: dict[str, Any], folder: Path) -> tuple[Tell, Callable[[], None]]:
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder is what one run needs; a server is the builder's
    import mlflow

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        shutil.rmtree(folder / "mlflow", ignore_errors=True)
        mlflow.set_tracking_uri((folder / "mlflow").resolve().as_uri())
    mlflow.set_experiment("model-factory")
    mlflow.start_run(run_name=f"run-{run['id']}")
    mlflow.log_params(_settings(run))
    return (lambda values, step: mlflow.log_metrics(values, step=step)), mlflow.end_run


def _wandb(run: dict[str, Any], folder: Path) -> tuple[Tell, Callable[[], None]]:
    import wandb

    mode = "online" if os.environ.get("WANDB_API_KEY") else "offline"
    begun = wandb.init(
        project="model-factory", name=f"run-{run['id']}", config=_settings(run), dir=str(folder), mode=mode,
        settings=wandb.Settings(silent=True),
    )  # fmt: skip
    return (lambda values, step: begun.log(values, step=step)), begun.finish


def zipped(folder: Path) -> bytes:
    """The event files of a run's folder as a zip. Raises NotFound where there are none."""
    files = sorted(path for path in folder_of(folder).glob("events.*") if path.is_file())
    if not files:
        raise NotFound("This run has no TensorBoard files yet; they are written from its first step on.")
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files:
            packed.write(path, path.name)
    return target.getvalue()
