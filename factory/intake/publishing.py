"""A frozen version as a folder that others can use, check and take into their own installation.

`data.jsonl` and `data.parquet` hold the rows with their licence and contributor, `README.md` is a dataset card,
`croissant.json` describes it all in the Croissant 1.0 vocabulary, `proof.json` lists every hash in order with both Merkle
roots, and `check_proof.py` checks single proofs. The held-out rows stay sealed: only their root and number are told.

A row that was withdrawn since is not given out any more: its hash stays in `proof.json`, so the roots can still be computed.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from sqlite_utils import Database

from factory import __version__
from factory.base import store
from factory.base.errors import Unavailable
from factory.base.settings import ROOT
from factory.intake import datasets, formats
from factory.intake import policy as policies

PROOF, ROWS, PARQUET, CARD, CROISSANT, SCRIPT = (
    "proof.json", "data.jsonl", "data.parquet", "README.md", "croissant.json", "check_proof.py",
)  # fmt: skip
PARQUET_ROWS = 2_000  # in memory at once
FIELDS = {
    "position": ("sc:Integer", "The row's place in the version, from 0."),
    "content": ("sc:Text", "The conversation as canonical JSON; its SHA-256 is content_hash."),
    "content_hash": ("sc:Text", "SHA-256 of content: a leaf of the Merkle root."),
    "contributor": ("sc:Text", "Who gave the row, by the name they show."),
    "licence": ("sc:Text", "Under which licence it was given, an SPDX identifier."),
    "attested": ("sc:Text", "What its contributor said of it when giving it; empty where that was not kept."),
}
CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "cr": "http://mlcommons.org/croissant/", "sc": "https://schema.org/",
    "rai": "http://mlcommons.org/croissant/RAI/", "dct": "http://purl.org/dc/terms/", "citeAs": "cr:citeAs",
    "column": "cr:column", "conformsTo": "dct:conformsTo", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract", "field": "cr:field", "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated",
    "replace": "cr:replace", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform",
    "samplingRate": "cr:samplingRate", "equivalentProperty": "cr:equivalentProperty",
}  # fmt: skip


def write(db: Database, version_id: int, folder: Path) -> dict[str, Any]:
    """Write a version into `folder`; verified first, so that this is what was frozen.

    Gives folder, rows (written), withdrawn (left out), root, sorted_root. Raises NotFound, Invalid where it does not verify,
    Unavailable when the disk refuses.
    """
    datasets.verify_version(db, version_id)
    version = datasets.version(db, version_id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ROWS).open("w", encoding="utf-8", newline="\n") as file:
            for row in _rows(db, version_id):
                line = {
                    "messages": formats.messages(row["content"]),
                    **{key: row[key] for key in FIELDS if key != "content"},
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        written = _parquet(_rows(db, version_id), folder / PARQUET)
        proof = _proof(db, version)
        (folder / PROOF).write_text(json.dumps(proof, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        (folder / SCRIPT).write_text((ROOT / "docs" / SCRIPT).read_text(encoding="utf-8"), encoding="utf-8")
        (folder / CARD).write_text(_card(db, version, written, len(proof["withdrawn"])), encoding="utf-8")
        (folder / CROISSANT).write_text(
            json.dumps(_croissant(version, folder), ensure_ascii=False, indent=1) + "\n", "utf-8"
        )
    except OSError as problem:
        raise Unavailable(
            f"The export cannot be written to {folder} ({problem.strerror}); choose another folder."
        ) from problem
    return {
        "folder": str(folder),
        "rows": written,
        "withdrawn": len(proof["withdrawn"]),
        **{key: version[key] for key in ("slug", "number", "root", "sorted_root")},
    }


def archive(db: Database, version_id: int, path: Path) -> dict[str, Any]:
    """The same as one zip file at `path`, made whole or not at all; `write`'s answer with path, sha256 and bytes."""
    import tempfile

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as name:
            told = write(db, version_id, Path(name) / "version")
            draft = Path(name) / path.name
            with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as packed:
                for file in sorted(Path(told["folder"]).iterdir()):
                    # the same version gives the same bytes, whenever it is packed
                    entry = zipfile.ZipInfo(file.name, date_time=(2020, 1, 1, 0, 0, 0))
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    with file.open("rb") as source, packed.open(entry, "w", force_zip64=True) as target:
                        while block := source.read(1 << 20):
                            target.write(block)
            told |= {"path": str(path), "sha256": _sha256(draft), "bytes": draft.stat().st_size}
            draft.replace(path)
    except OSError as problem:
        raise Unavailable(f"The export cannot be written to {path} ({problem.strerror}); choose another place.") from problem
    del told["folder"]
    return told


def _rows(db: Database, version_id: int) -> Iterator[dict[str, Any]]:
    """Each row of a version that is not withdrawn, one at a time."""
    found = db.query(
        "select v.position, e.content, v.content_hash, p.display_name as contributor, u.licence,"
        " coalesce(u.attested, '') as attested from version_rows v"
        " join examples e on e.id = v.example_id join submissions u on u.id = e.submission_id"
        " join people p on p.id = e.person_id left join withdrawals w on w.example_id = e.id"
        " where v.version_id = ? and w.example_id is null order by v.position",
        [version_id],
    )
    yield from found


def _parquet(rows: Iterator[dict[str, Any]], path: Path) -> int:
    import pyarrow
    from pyarrow import parquet

    turns = pyarrow.list_(pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())]))
    kinds = {"sc:Integer": pyarrow.int64(), "sc:Text": pyarrow.string()}
    schema = pyarrow.schema([("messages", turns), *((name, kinds[kind]) for name, (kind, _) in FIELDS.items())])
    written = 0
    batch: list[dict[str, Any]] = []
    with parquet.ParquetWriter(path, schema, compression="zstd") as file:

        def flush() -> None:
            if batch:
                file.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
                batch.clear()

        for row in rows:
            batch.append({"messages": formats.messages(row["content"]), **row})
            written += 1
            if len(batch) == PARQUET_ROWS:
                flush()
        flush()
    return written


def _proof(db: Database, version: dict[str, Any]) -> dict[str, Any]:
    rows = store.rows(
        db,
        "select v.position, v.content_hash, w.example_id is not null as withdrawn from version_rows v"
        " left join withdrawals w on w.example_id = v.example_id where v.version_id = ? order by v.position",
        version["id"],
    )
    dataset = datasets.get(db, version["dataset_id"])
    rules = store.value(db, "select rules from policies where id = ?", version["policy_id"])
    return {
        "format": "model-factory-version-1",
        "program": __version__,
        **{key: version[key] for key in ("slug", "number", "row_count", "root", "sorted_root", "frozen_at", "note")},
        **{key: dataset[key] for key in ("title", "purpose", "guidelines", "licence", "is_demo")},
        "policy": json.loads(policies.to_json(policies.from_json(rules))),
        "held_out": {"root": version["held_out_root"], "row_count": version["held_out_rows"]},
        "hashes": [row["content_hash"] for row in rows],
        "withdrawn": [row["position"] for row in rows if row["withdrawn"]],
    }


def _card(db: Database, version: dict[str, Any], written: int, withdrawn: int) -> str:
    dataset = datasets.get(db, version["dataset_id"])
    size = next(name for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"),
                                         (1_000_000, "100K<n<1M"), (10**12, "1M<n<10M")) if written < limit)  # fmt: skip
    front = yaml.safe_dump(
        {
            **policies.hub_licence(dataset["licence"]),
            "pretty_name": dataset["title"],
            "task_categories": ["text-generation"],
            "size_categories": [size],
            "configs": [{"config_name": "default", "data_files": PARQUET}],
        },
        sort_keys=False,
        allow_unicode=True,
    )
    people = store.rows(
        db,
        "select p.display_name as name, count(*) as n from version_rows v join examples e on e.id = v.example_id"
        " join people p on p.id = e.person_id left join withdrawals w on w.example_id = e.id"
        " where v.version_id = ? and w.example_id is null group by p.id order by 2 desc, 1 limit 200",
        version["id"],
    )
    given = "\n".join(f"| {_plain(p['name'])} | {p['n']:,} |" for p in people)
    frozen = datetime.fromtimestamp(version["frozen_at"], UTC).date().isoformat()
    gone = f" {withdrawn:,} more were withdrawn since; their hashes are in `{PROOF}`." if withdrawn else ""
    sealed = (
        f"{version['held_out_rows']:,} held-out rows are sealed (root `{version['held_out_root']}`) and not given out."
        if version["held_out_root"]
        else "No held-out rows were sealed."
    )
    return (
        f"---\n{front}---\n\n# {_plain(dataset['title'])}, version {version['number']}\n\n{_quoted(dataset['purpose'])}\n\n"
        f"{written:,} rows, frozen {frozen}, licence {dataset['licence']}.{gone} {sealed}\n\n"
        "## What contributors were asked\n"
        f"\n{_quoted(dataset['guidelines'])}\n\n## Who gave it\n\n| contributor | rows |\n|---|---:|\n{given}\n\n"
        "## Proof\n\n"
        f"Merkle root over the rows in order (RFC 6962, leaves are the bytes of each `content_hash`): `{version['root']}`.\n"
        f"Over the hashes in ascending order: `{version['sorted_root']}`. With `{SCRIPT}` anybody checks offline that"
        f" a row is in this version, or is not.\n\nMade with Model Factory {__version__}"
        " from rows of its database and nothing else.\n"
    )


def _plain(text: str) -> str:
    line = " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())
    return "".join("\\" + c if c in "\\`*_[]{}|~#!$<>&" else c for c in line)


def _quoted(text: str) -> str:
    """Somebody's words as a quotation in which no markup counts."""
    return "\n".join(f"> {_plain(line)}".rstrip() for line in text.strip().splitlines())


def _croissant(version: dict[str, Any], folder: Path) -> dict[str, Any]:
    def file(name: str, kind: str) -> dict[str, Any]:
        path = folder / name
        return {
            "@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "encodingFormat": kind,
            "contentSize": f"{path.stat().st_size} B", "sha256": _sha256(path),
        }  # fmt: skip

    fields = [
        {
            "@type": "cr:Field", "@id": f"rows/{name}", "name": name, "description": words, "dataType": kind,
            "source": {"fileObject": {"@id": PARQUET}, "extract": {"column": name}},
        }
        for name, (kind, words) in FIELDS.items()
    ]  # fmt: skip
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": version["slug"],
        "description": version["title"],
        "license": f"https://spdx.org/licenses/{version['licence']}.html",
        "version": f"{version['number']}.0.0",
        "datePublished": datetime.fromtimestamp(version["frozen_at"], UTC).date().isoformat(),
        "citeAs": f"{version['title']}, version {version['number']}, Merkle root {version['root']}",
        "identifier": f"sha256-merkle:{version['root']}",
        "distribution": [file(ROWS, "application/jsonlines"), file(PARQUET, "application/x-parquet")],
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "key": {"@id": "rows/content_hash"}, "field": fields}
        ],
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
