"""Killed with -9 at random moments, nothing is lost; the benchmark does it twenty times and with the app."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kills
from factory.base.settings import Settings
from factory.training import models


@pytest.mark.slow
def test_runs_end_done_and_alike_though_trainer_and_worker_are_killed_again_and_again(
    settings: Settings, base_models: Path
) -> None:
    settings.home.mkdir(parents=True)
    found = kills.trial(settings, base_models / models.DEFAULT, kills=3, seed=3, with_app=False)
    assert found["ok"], found
    assert found["kills"] == 3
