"""Proofs that hold for a stranger with nothing but Python, and versions compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from factory.base import people
from factory.base.errors import Invalid, NotFound
from factory.base.people import Person
from factory.base.settings import ROOT
from factory.intake import contributions, datasets, formats, proofs
from tests.test_datasets import TREES, opened, row, take_in

OUTSIDE = [formats.content_hash(formats.canonical(row(tree))) for tree in ("yew", "fig", "palm", "plum", "lime", "birch")]


@pytest.fixture
def curator(db: Database) -> Person:
    return people.create(db, "curator", roles=("curator", "reviewer"))


@pytest.fixture
def version(db: Database, curator: Person) -> dict[str, Any]:
    dataset = opened(db, curator)
    take_in(db, dataset["id"], curator, TREES[:7])
    return datasets.freeze(db, dataset["id"], person=curator)


def stranger_says(folder: Path, proof: dict[str, Any], root: str, count: int, words: list[Any] | None = None) -> int:
    """The exit code of the script in the docs, in a Python without this program."""
    (folder / "proof.json").write_text(json.dumps(proof))
    told = [str(folder / "proof.json"), root, str(count)]
    if words is not None:
        (folder / "row.json").write_text(json.dumps({"messages": words}))
        told.append(str(folder / "row.json"))
    command = [sys.executable, "-I", "-S", str(ROOT / "docs" / "check_proof.py"), *told]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder).returncode


def test_every_row_has_a_proof_that_it_is_in(db: Database, version: dict[str, Any]) -> None:
    for _, example_id, content in datasets.version_content(db, version["id"]):
        proof = proofs.prove_example(db, version["id"], example_id)
        assert proof["kind"] == "inclusion"
        assert proof["content_hash"] == formats.content_hash(content)
        assert proof["root"] == version["root"]
        assert proofs.check(proof)


def test_every_other_row_has_a_proof_that_it_is_not(db: Database, version: dict[str, Any]) -> None:
    for content_hash in [*OUTSIDE, "0" * 64, "f" * 64]:
        proof = proofs.prove(db, version["id"], content_hash)
        assert proof["kind"] == "absence"
        assert proof["sorted_root"] == version["sorted_root"]
        assert proofs.check(proof)


def test_a_proof_of_absence_cannot_be_bent_to_hide_a_row_that_is_in(db: Database, version: dict[str, Any]) -> None:
    inside = sorted(formats.content_hash(content) for _, _, content in datasets.version_content(db, version["id"]))
    proof = proofs.prove(db, version["id"], OUTSIDE[0])
    for hidden in inside:
        assert not proofs.check({**proof, "content_hash": hidden})
    wide = proofs.prove(db, version["id"], "0" * 64)["after"]
    far = proofs.prove(db, version["id"], "f" * 64)["before"]
    assert not proofs.check({**proof, "content_hash": inside[3], "before": wide, "after": far})
    assert not proofs.check({**proof, "content_hash": inside[3], "before": None, "after": None})
    assert not proofs.check({**proof, "content_hash": "f" * 64, "before": wide, "after": None})


def test_a_stranger_checks_both_kinds_offline_with_a_script_of_thirty_lines(
    db: Database, version: dict[str, Any], tmp_path: Path
) -> None:
    assert sum(bool(line.strip()) for line in (ROOT / "docs" / "check_proof.py").read_text().splitlines()) <= 30
    count = version["row_count"]
    oak = proofs.prove_messages(db, version["id"], row(TREES[0]))
    assert stranger_says(tmp_path, oak, version["root"], count, row(TREES[0])) == 0
    assert stranger_says(tmp_path, oak, version["root"], count, row(TREES[1])) == 1
    assert stranger_says(tmp_path, oak, version["sorted_root"], count) == 1
    assert stranger_says(tmp_path, {**oak, "position": 1}, version["root"], count) == 1
    absent = proofs.prove(db, version["id"], OUTSIDE[1])
    assert stranger_says(tmp_path, absent, version["sorted_root"], count, row("fig")) == 0
    assert stranger_says(tmp_path, {**absent, "content_hash": oak["content_hash"]}, version["sorted_root"], count) == 1


def test_what_is_no_hash_and_no_example_is_refused(db: Database, version: dict[str, Any]) -> None:
    for words in ("", "abc", "g" * 64):
        with pytest.raises(Invalid, match="64 hexadecimal"):
            proofs.prove(db, version["id"], words)
    with pytest.raises(NotFound):
        proofs.prove_example(db, version["id"], 999)


def test_a_difference_names_what_came_what_went_and_whose_it_is(
    db: Database, curator: Person, version: dict[str, Any]
) -> None:
    ada = people.get(db, "ada")
    first = next(datasets.version_content(db, version["id"]))[1]
    contributions.withdraw(db, first, person=ada, reason="mine again")
    take_in(db, version["dataset_id"], curator, TREES[7:9], name="grace")
    newer = datasets.freeze(db, version["dataset_id"], person=curator)
    found = proofs.difference(db, version["id"], newer["id"])
    assert {name: found[name] for name in ("added", "removed", "withdrawn", "kept")} == {
        "added": 2, "removed": 1, "withdrawn": 1, "kept": 6,
    }  # fmt: skip
    assert found["people"] == [{"person": "grace", "added": 2, "removed": 0}, {"person": "ada", "added": 0, "removed": 1}]
    assert [r["change"] for r in found["rows"]] == ["added", "added", "removed"]
    second = next(r["example_id"] for r in found["rows"] if r["change"] == "added")
    contributions.withdraw(db, second, person=people.get(db, "grace"), reason="mine again")
    assert proofs.difference(db, version["id"], newer["id"]) == found, "versions stay as they are"
    back = proofs.difference(db, newer["id"], version["id"])
    assert back["withdrawn"] == 1, "what was withdrawn later is counted now"
    assert (back["added"], back["removed"]) == (1, 2)
    other = opened(db, curator, slug="bushes")
    take_in(db, other["id"], curator, TREES[:1], name="ben")
    with pytest.raises(Invalid, match="two datasets"):
        proofs.difference(db, version["id"], datasets.freeze(db, other["id"], person=curator)["id"])
