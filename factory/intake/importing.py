"""A version that another installation published, taken in here with its proof intact: the same rows, the same two roots."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, FactoryError, Invalid
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import checks, containers, contributions, datasets, formats, publishing, reviews
from factory.intake import policy as policies
from factory.intake.merkle import merkle_root
from factory.intake.policy import Policy

TEXTS = {"slug": 60, "title": 120, "purpose": 4_000, "guidelines": 20_000, "licence": 60}
MAX_NAME = 70
DAMAGED = "is damaged or no export of a version; export it again and bring that file."


def bring(db: Database, source: Path, *, person: Person, settings: Settings, slug: str = "") -> dict[str, Any]:
    """Take a published version in as a new dataset under `slug` (its own without one), and freeze it; the version.

    Each contributor gets an account of no role and no way to sign in, labelled as coming from there. The rows pass this
    installation's checks under the policy that travels with them. Everything happens in one transaction.
    Raises NotAllowed without the role curator; Invalid for a file that is no export, whose rows do not give its roots, of
    which rows were withdrawn, or whose rows the checks refuse; Conflict when the short name is taken.
    """
    people.need(person, "curator")
    proof, rows = _read(source, settings)
    if proof["withdrawn"]:
        raise Invalid(
            f"{len(proof['withdrawn']):,} rows of this version were withdrawn since, so it is not whole; ask for a newer."
        )
    _need_proof(proof, rows)
    policy = policies.from_json(json.dumps(proof["policy"]))
    _need_clean(rows, policy, proof["licence"])
    slug = (slug or proof["slug"]).strip().lower()
    with store.writing(db):
        made = datasets.create(
            db, slug=slug, title=proof["title"], purpose=proof["purpose"], guidelines=proof["guidelines"],
            licence=proof["licence"], owner=person, policy=policy, is_demo=bool(proof["is_demo"]),
        )  # fmt: skip
        accounts = _accounts(db, sorted({row["contributor"] for row in rows}), made)
        ids = contributions.take_over(db, made["id"], accounts, rows)
        reviews.accept_imported(db, ids)
        note = f"brought from another installation, where it was version {proof['number']}"
        version = datasets.freeze(db, made["id"], person=person, note=note)
        if (version["root"], version["sorted_root"]) != (proof["root"], proof["sorted_root"]):
            raise Conflict("The rows came in changed, so nothing was kept; this is a bug of the program, please report it.")
    return version


def _read(source: Path, settings: Settings) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The proof and the rows of a zip, or of an unpacked folder; nothing in it names a path that is followed."""
    if source.is_dir():
        files = {name: source / name for name in (publishing.PROOF, publishing.ROWS)}
        texts = {name: containers.load(path, name=name, settings=settings) for name, path in files.items()}
    else:
        data = containers.load(source, name=source.name, settings=settings)
        if not data.startswith(b"PK"):
            raise Invalid(f"{source.name} {DAMAGED}")
        texts = _unzipped(source, settings)
    try:
        proof = containers.load_json(texts[publishing.PROOF].decode())
        rows = [containers.load_json(line) for line in texts[publishing.ROWS].decode().split("\n") if line.strip()]
    except ValueError as problem:
        raise Invalid(f"{source.name} {DAMAGED}") from problem
    if not _well_formed(proof, rows):
        raise Invalid(f"{source.name} {DAMAGED}")
    try:
        return proof, [{**row, "content": formats.canonical(row["messages"])} for row in rows]
    except FactoryError as problem:
        raise Invalid(f"A row of {source.name} is no conversation: {problem}") from problem


def _unzipped(source: Path, settings: Settings) -> dict[str, bytes]:
    texts = {}
    try:
        with zipfile.ZipFile(source) as packed:
            for name in (publishing.PROOF, publishing.ROWS):
                with packed.open(name) as file:  # by its exact name: an archive's own paths are never followed
                    texts[name] = file.read(settings.max_text_bytes + 1)
                if len(texts[name]) > settings.max_text_bytes:
                    limit = settings.max_text_bytes / 2**20
                    raise Invalid(f"{name} unpacks to more than {limit:,.0f} MiB; raise FACTORY_MAX_TEXT_MIB to take it.")
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, NotImplementedError, RuntimeError) as problem:
        raise Invalid(f"{source.name} {DAMAGED}") from problem
    return texts


def _well_formed(proof: Any, rows: list[Any]) -> bool:
    """Whether these are values of the kinds that an export has; what they say is judged later."""
    if not isinstance(proof, dict) or proof.get("format") != "model-factory-version-1":
        return False
    hashes, gone = proof.get("hashes"), proof.get("withdrawn")
    return (
        all(isinstance(proof.get(name), str) and len(proof[name]) <= limit for name, limit in TEXTS.items())
        and all(isinstance(proof.get(name), str) for name in ("root", "sorted_root"))
        and isinstance(proof.get("number"), int)
        and isinstance(proof.get("policy"), dict)
        and isinstance(proof.get("is_demo"), int)
        and isinstance(gone, list)
        and isinstance(hashes, list)
        and all(isinstance(one, str) and len(one) == 64 and not set(one) - set("0123456789abcdef") for one in hashes)
        and all(
            isinstance(row, dict)
            and isinstance(row.get("messages"), list)
            and all(isinstance(row.get(name), str) for name in ("content_hash", "contributor", "licence"))
            and (isinstance(row.get("attested", ""), str) and len(row.get("attested", "")) <= 500)
            and 1 <= len(row["contributor"].strip()) <= 200
            for row in rows
        )
    )


def _need_proof(proof: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    for place, row in enumerate(rows):
        if (
            formats.content_hash(row["content"]) != row["content_hash"]
            or [row["content_hash"]] != proof["hashes"][place : place + 1]
        ):
            raise Invalid(f"Row {place} is not what was frozen; ask for the export again.")
    if len(rows) != len(proof["hashes"]) or not rows:
        raise Invalid(f"The export has {len(rows):,} rows and its proof names {len(proof['hashes']):,}; ask for it again.")
    if merkle_root(proof["hashes"]) != proof["root"] or merkle_root(sorted(proof["hashes"])) != proof["sorted_root"]:
        raise Invalid("The rows do not give the roots in the proof; ask for the export again.")


def _need_clean(rows: list[dict[str, Any]], policy: Policy, licence: str) -> None:
    problems = []
    for place, row in enumerate(rows):
        refusing = [found.sentence for found in checks.check_content(row["content"], policy=policy) if found.refuses]
        licensed = policies.licence_problem(licence, row["licence"])
        problems += [f"Row {place}: {sentence}" for sentence in [*refusing, *([licensed] if licensed else [])]]
        if len(problems) >= 20:
            break
    if problems:
        raise Invalid(problems)


def _accounts(db: Database, names: list[str], dataset: dict[str, Any]) -> dict[str, int]:
    """One account for each contributor of another installation: nobody can sign in to it, its credits wait there."""
    made = {}
    for number, name in enumerate(names, 1):
        shown = " ".join("".join(c for c in name if c.isprintable()).split())[:MAX_NAME] or "somebody"
        account = people.create(
            db,
            f"from-{dataset['id']}-{number}",
            display_name=f"{shown} (import)",
            roles=(),
            is_demo=bool(dataset["is_demo"]),
        )
        made[name] = account.id
    return made
