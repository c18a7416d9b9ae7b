"""A run as TensorBoard event files in its folder, written as it trains; nothing leaves this machine.

    runs/run-7/tensorboard/events.out.tfevents.…    `tensorboard --logdir runs/run-7/tensorboard` draws it

A run that goes on from a checkpoint writes its files anew from the rows up to there, so that no step is in them twice.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import NotFound
from factory.training import recipes, runs

TOLD = ("loss", "held_out_loss", "gradient_norm", "tokens_per_second", "memory_bytes", "learning_rate", "epoch")
FLUSH_SECONDS = 10


def folder_of(folder: Path) -> Path:
    """Where the event files of a run's folder lie."""
    return folder / "tensorboard"


def written(db: Database, run: dict[str, Any], steps: Iterable[Any], folder: Path) -> Iterator[Any]:
    """Pass on a run's steps, and write each into event files on the way; a full disk ends the writing, not the run."""
    writer: Any = None
    try:
        for step in steps:
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
        settings = {name: _plain(value) for name, value in recipes.to_dict(run["recipe"]).items()}
        experiment, began, _ = hparams(settings, {"held_out_loss": None, "loss": None})
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
