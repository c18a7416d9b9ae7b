"""Experiment trackers that a run may be told to besides TensorBoard: used only where their package is installed."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = {"trackio": "trackio", "mlflow": "mlflow-skinny", "wandb": "wandb"}  # as imported → as installed
CHOICES = ("tensorboard", *PACKAGES)


def missing(name: str) -> str | None:
    """Why a tracker cannot be used on this machine, and what to type; None where it can.

    >>> missing("tensorboard")
    """
    if name not in PACKAGES or find_spec(name) is not None:
        return None
    return (
        f"The package of {name} is not installed; type `.venv/bin/pip install {PACKAGES[name]}`, or report to tensorboard."
    )
