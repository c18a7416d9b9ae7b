"""The demo walks the whole line: here with a two-layer model, so that it takes seconds."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from sqlite_utils import Database

from factory import demo, terminal
from factory.base import people, store
from factory.base.errors import Unavailable
from factory.base.settings import Settings
from factory.intake import datasets, sample
from factory.training import models, recipes, runs, worker

TINY = recipes.Recipe(base_model="tiny", rank=4, max_steps=3, effective_batch=4, evaluations=1, max_length=128)


@pytest.mark.slow
def test_the_demo_walks_from_rows_to_a_verified_export_and_can_be_repeated(
    db: Database, settings: Settings, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    models.fetch(settings, tiny_model, name="tiny")
    person = people.maintainer(db)
    for number in (1, 2):
        shown = demo.walk(db, settings, person=person, recipe=TINY, quiet=True)
        assert shown["run"]["id"] == number
        assert shown["run"]["status"] == "done"
        assert shown["verified"]["transactions"] == number
        assert zipfile.is_zipfile(shown["export"]["path"])
    assert store.value(db, "select count(*) from dataset_versions") == 1
    text = demo.in_words(shown)
    for words in ("ROWS IN", "REFUSED", "ROOT", "HELD-OUT", "CREDIT", "LEDGER", "EXPORT", shown["version"]["root"]):
        assert words in text
    last = [person["name"] for person in shown["board"]][-1]
    assert last == "demo-nell"


@pytest.mark.slow
def test_a_demo_whose_run_fails_says_so_in_one_sentence(
    db: Database, settings: Settings, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.fetch(settings, tiny_model, name="tiny")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")  # no child process can start a Python
    with pytest.raises(Unavailable, match="runs log 1"):
        demo.walk(db, settings, person=people.maintainer(db), recipe=TINY, quiet=True)


def test_following_ends_when_the_trainer_that_should_take_the_run_is_gone(
    db: Database, settings: Settings, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.fetch(settings, tiny_model, name="tiny")
    sample.fill(db, settings)
    version = datasets.versions(db)[0]
    run_id = runs.create(db, person=people.maintainer(db), version_id=version["id"], recipe=TINY, settings=settings)
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    told = []
    with worker.start_trainer(settings, runs.get(db, run_id)) as trainer:
        run = terminal.follow(db, settings, run_id, lambda *what: told.append(what), trainer=trainer)
    assert run["status"] == "queued"
    assert told[-1] == (f"run {run_id}: queued", 1, 1)


def test_progress_that_is_no_terminal_is_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.bars() as tell:
        for done in range(1000):
            tell("train | loss 1.0", done, 1000)
        tell("train", 1000, 1000)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["train: 0/1000 loss 1.0", "train: done"]
