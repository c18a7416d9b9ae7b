"""A version as others get it, and taken into another installation with its proof intact."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml
from fastapi.testclient import TestClient
from sqlite_utils import Database

from factory import api
from factory.base import people, store
from factory.base.errors import Conflict, FactoryError, Invalid, NotAllowed
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import contributions, datasets, formats, importing, proofs, publishing, similarity
from factory.intake.merkle import merkle_root
from tests.test_datasets import TREES, opened, row, take_in


@pytest.fixture
def curator(db: Database) -> Person:
    return people.create(db, "curator", roles=("curator", "reviewer"))


@pytest.fixture
def version(db: Database, curator: Person) -> dict[str, Any]:
    dataset = opened(db, curator, title="Trees <b>& *more*", purpose="To know trees.\n# not a heading")
    datasets.seal_held_out(db, dataset["id"], person=curator, rows=[row("yew")])
    take_in(db, dataset["id"], curator, TREES[:4], name="ada")
    take_in(db, dataset["id"], curator, TREES[4:6], name="ben")
    return datasets.freeze(db, dataset["id"], person=curator, note="the first")


@pytest.fixture
def published(db: Database, version: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "trees-1.zip"
    publishing.archive(db, version["id"], path)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "elsewhere")


def test_a_published_version_says_the_same_in_every_file(db: Database, version: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    told = publishing.write(db, version["id"], folder)
    assert told["rows"] == 6
    lines = [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]
    table = pyarrow.parquet.read_table(folder / "data.parquet").to_pylist()
    proof = json.loads((folder / "proof.json").read_text())
    assert [line["content_hash"] for line in lines] == [one["content_hash"] for one in table] == proof["hashes"]
    assert [line["messages"] for line in lines] == [one["messages"] for one in table]
    assert [line["contributor"] for line in lines] == ["ada"] * 4 + ["ben"] * 2
    assert all(formats.content_hash(one["content"]) == one["content_hash"] for one in table)
    assert merkle_root(proof["hashes"]) == version["root"]
    assert "yew" not in "".join(file.read_text(errors="replace") for file in folder.iterdir()).lower()


def test_the_card_has_a_hub_header_and_nobody_s_markup(db: Database, version: dict[str, Any], tmp_path: Path) -> None:
    publishing.write(db, version["id"], tmp_path / "out")
    _, front, body = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc0-1.0"
    assert "<b>" not in body
    assert "\n# not" not in body
    assert f"| ada | {4} |" in body
    assert version["root"] in body


def test_croissant_describes_the_files_that_are_there(db: Database, version: dict[str, Any], tmp_path: Path) -> None:
    import hashlib

    publishing.write(db, version["id"], tmp_path / "out")
    about = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert about["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    for file in about["distribution"]:
        data = (tmp_path / "out" / file["contentUrl"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file["sha256"]
        assert file["contentSize"] == f"{len(data)} B"
    columns = set(pyarrow.parquet.read_schema(tmp_path / "out" / "data.parquet").names)
    assert {field["source"]["extract"]["column"] for field in about["recordSet"][0]["field"]} <= columns


def test_the_same_version_packs_to_the_same_bytes(db: Database, version: dict[str, Any], tmp_path: Path) -> None:
    first, second = (publishing.archive(db, version["id"], tmp_path / name) for name in ("a.zip", "b.zip"))
    assert first["sha256"] == second["sha256"]
    assert [path.name for path in tmp_path.glob(".export-*")] == []


def test_a_withdrawn_row_is_not_given_out_and_its_hash_still_proves(
    db: Database, version: dict[str, Any], tmp_path: Path, elsewhere: Settings
) -> None:
    gone = next(datasets.version_content(db, version["id"]))
    contributions.withdraw(db, gone[1], person=people.get(db, "ada"), reason="mine again")
    told = publishing.write(db, version["id"], tmp_path / "out")
    assert (told["rows"], told["withdrawn"]) == (5, 1)
    everything = "".join(file.read_text(errors="replace") for file in (tmp_path / "out").iterdir())
    assert TREES[0].title() + " wood" not in everything
    proof = json.loads((tmp_path / "out" / "proof.json").read_text())
    assert merkle_root(proof["hashes"]) == version["root"]
    with store.connect(elsewhere) as other, pytest.raises(Invalid, match="1 rows of this version were withdrawn"):
        importing.bring(other, tmp_path / "out", person=_curator(other), settings=elsewhere)


def _curator(db: Database) -> Person:
    return people.find(db, "keeper") or people.create(db, "keeper", roles=("curator",))


def test_another_installation_takes_it_in_with_the_same_roots(
    version: dict[str, Any], published: Path, elsewhere: Settings
) -> None:
    with store.connect(elsewhere) as other:
        made = importing.bring(other, published, person=_curator(other), settings=elsewhere)
        assert (made["root"], made["sorted_root"]) == (version["root"], version["sorted_root"])
        datasets.verify_version(other, made["id"])
        shown = datasets.get(other, "trees")
        assert (shown["accepted"], shown["people"], shown["held_out_rows"]) == (6, 2, None)
        proof = proofs.prove_messages(other, made["id"], row(TREES[2]))
        assert proof["kind"] == "inclusion"
        near = similarity.nearest(other, shown["id"], formats.canonical(row(TREES[2])))
        assert near is not None  # what came in is defended against copies like anything else
        assert near[1] == 1.0
        names = {p["display_name"]: p for p in people.everyone(other)}
        assert "ada (import)" in names
        assert not names["ada (import)"]["roles"]
        with pytest.raises(Conflict, match="taken"):
            importing.bring(other, published, person=_curator(other), settings=elsewhere)
        again = importing.bring(other, published, person=_curator(other), settings=elsewhere, slug="woods")
        assert again["root"] == version["root"]


def test_only_a_curator_takes_versions_in(published: Path, elsewhere: Settings) -> None:
    with store.connect(elsewhere) as other, pytest.raises(NotAllowed):
        importing.bring(other, published, person=people.create(other, "guest"), settings=elsewhere)


def _changed(published: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(published) as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    change(files)
    bent = published.with_name("bent.zip")
    with zipfile.ZipFile(bent, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return bent


def _another_word(files: dict[str, bytes]) -> None:
    files["data.jsonl"] = files["data.jsonl"].replace(b"tell it apart", b"tell it about", 1)


def _a_row_less(files: dict[str, bytes]) -> None:
    files["data.jsonl"] = files["data.jsonl"].split(b"\n", 1)[1]


def _another_order(files: dict[str, bytes]) -> None:
    lines = files["data.jsonl"].splitlines(keepends=True)
    files["data.jsonl"] = b"".join([lines[1], lines[0], *lines[2:]])


def _another_root(files: dict[str, bytes]) -> None:
    proof = json.loads(files["proof.json"])
    files["proof.json"] = json.dumps({**proof, "root": "ab" * 32}).encode()


def _no_proof(files: dict[str, bytes]) -> None:
    del files["proof.json"]


def _deep(files: dict[str, bytes]) -> None:
    files["proof.json"] = b"[" * 100_000


def _a_list(files: dict[str, bytes]) -> None:
    files["data.jsonl"] = b"[1, 2]\n"


def _wild_rules(files: dict[str, bytes]) -> None:
    proof = json.loads(files["proof.json"])
    files["proof.json"] = json.dumps({**proof, "policy": {"quorum": 0, "unheard_of": 1}}).encode()


def _a_bomb(files: dict[str, bytes]) -> None:
    files["data.jsonl"] = b" " * (2 * 2**20 + 1)


@pytest.mark.parametrize(
    "change",
    [_another_word, _a_row_less, _another_order, _another_root, _no_proof, _deep, _a_list, _wild_rules, _a_bomb],
)
def test_an_export_that_was_bent_is_refused_and_leaves_nothing(
    published: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None]
) -> None:
    elsewhere = Settings(home=tmp_path / "elsewhere", max_text_bytes=2 * 2**20)
    with store.connect(elsewhere) as other:
        with pytest.raises(FactoryError) as caught:
            importing.bring(other, _changed(published, change), person=_curator(other), settings=elsewhere)
        assert str(caught.value).endswith(".")
        assert datasets.everything(other) == []
        assert store.value(other, "select count(*) from examples") == 0


def test_rows_that_the_checks_refuse_do_not_come_in_with_an_export(published: Path, elsewhere: Settings) -> None:
    def leak(files: dict[str, bytes]) -> None:
        proof, lines = json.loads(files["proof.json"]), files["data.jsonl"].decode().splitlines()
        said = json.loads(lines[0])
        said["messages"][1]["content"] += " Write to ada.lovelace@analytical-engines.co.uk about it."
        said["content_hash"] = formats.content_hash(formats.canonical(said["messages"]))
        proof["hashes"][0] = said["content_hash"]
        proof |= {"root": merkle_root(proof["hashes"]), "sorted_root": merkle_root(sorted(proof["hashes"]))}
        files["proof.json"], files["data.jsonl"] = (
            json.dumps(proof).encode(), "\n".join([json.dumps(said), *lines[1:]]).encode()
        )  # fmt: skip

    with store.connect(elsewhere) as other, pytest.raises(Invalid, match="Row 0: The answer has an e-mail address"):
        importing.bring(other, _changed(published, leak), person=_curator(other), settings=elsewhere)


def test_the_three_doors_give_the_same_version(
    db: Database, settings: Settings, version: dict[str, Any], published: Path, tmp_path: Path, elsewhere: Settings
) -> None:
    command = [
        sys.executable,
        "-m",
        "factory",
        "datasets",
        "publish",
        "trees@1",
        "--to",
        str(tmp_path / "typed.zip"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["root"] == version["root"]
    assert (tmp_path / "typed.zip").read_bytes() == published.read_bytes()
    keeper = people.create(db, "keeper", roles=("curator",))
    token = people.issue_token(db, keeper, "test")
    with TestClient(api.application(settings), headers={"Authorization": f"Bearer {token}"}) as client:
        got = client.get("/datasets/trees/versions/1/archive")
        assert got.content == published.read_bytes()
        proof = client.get(f"/datasets/trees/versions/1/proof/{'ab' * 32}").json()
        assert proof["kind"] == "absence"
        assert (
            client.post("/datasets/trees/versions/1/proof", json={"messages": row(TREES[0])}).json()["kind"] == "inclusion"
        )
        assert client.get("/datasets/trees/versions/1/diff/1").json()["kept"] == 6
        brought = client.post("/datasets/import?slug=woods", files={"file": ("trees.zip", got.content)})
        assert brought.status_code == 201
        assert brought.json()["root"] == version["root"]
        refused = client.post("/datasets/import", files={"file": ("trees.zip", b"PK\x03\x04 not a zip")})
        assert refused.status_code == 422
