"""The notebook is run from top to bottom by a real kernel, and stands in git as nobody has run it."""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from factory.adapters import exports, kept
from factory.base.settings import ROOT, Settings
from factory.training import runs
from tests import trained

PATH = ROOT / "notebooks" / "train_and_compare.ipynb"
CELLS = json.loads(PATH.read_text("utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
PLOTLY = "application/vnd.plotly.v1+json"
TINY = {
    "BASE_MODEL": "tiny", "DATASET": "questions", "MAX_STEPS": 3, "EPOCHS": 3.0, "MAX_LENGTH": 128,
    "LEARNING_RATES": (1e-3, 1e-2), "QUESTION": "What does `math.isqrt` do?",
}  # fmt: skip


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_the_notebook_is_kept_without_what_a_run_leaves_in_it() -> None:
    for cell in CODE:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    assert sum(cell["cell_type"] == "markdown" for cell in CELLS) >= 6


def test_the_notebook_calls_only_public_functions_that_there_are() -> None:
    tree = ast.parse("\n".join(map(source, CODE)))
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("factory"):
            modules |= {alias.name: importlib.import_module(f"{node.module}.{alias.name}") for alias in node.names}
    used = [
        (node.value.id, node.attr) for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
    ]  # fmt: skip
    assert len(used) > 20
    for module, name in used:
        assert not name.startswith("_"), f"{module}.{name}"
        assert hasattr(modules[module], name), f"{module}.{name}"
    assert not re.search(r"\b(select|insert|update)\b.*\b(from|into|set)\b", "\n".join(map(source, CODE)))


def test_the_values_to_change_are_all_in_one_cell() -> None:
    (cell,) = (cell for cell in CODE if "parameters" in cell["metadata"].get("tags", []))
    assert {node.targets[0].id for node in ast.parse(source(cell)).body} == set(TINY)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(
    db: Database, settings: Settings, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    trained.home_model(settings, tiny_model)
    trained.frozen_version(db)  # of three rows: filling the sample dataset is what the demo's test does
    notebook = nbformat.read(PATH, as_version=4)
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in TINY.items())
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(PATH.parent)}}
    )
    client.execute()
    first, second = runs.listing(db, status="done")
    for run in (first, second):
        assert run["steps_done"] == 3
        adapter = kept.find_by_run(db, run["id"])
        assert adapter is not None
        assert adapter["tuned_loss"] is not None
    assert [exports.listing(db, kept.find_by_run(db, run["id"])["id"]) for run in (first, second)].count([]) == 1  # type: ignore[index]
    watched = [output for cell in notebook.cells if "watch(run_id)" in cell.source for output in cell.get("outputs", [])]
    charts = [output.data[PLOTLY] for output in watched if PLOTLY in output.get("data", {})]
    assert len(charts) == 2  # one picture a run, replaced in place
    for chart in charts:
        assert any(len(trace["x"]) for trace in chart["data"])
