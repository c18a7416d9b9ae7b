"""Adapters that leave the house: one file that works elsewhere with ordinary tools, and was seen to."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory.adapters import cards, kept, try_it, withdrawn
from factory.base import store
from factory.base.errors import NotFound, Unavailable
from factory.base.people import Person, need
from factory.base.settings import Settings
from factory.intake import datasets, formats
from factory.training import mixture, models, recipes, runs, sources

TOKENIZER = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
OF_THIS_MACHINE = ("name_or_path", "tokenizer_file", "is_local", "local_files_only")  # what transformers notes in passing
QUESTIONS = ("What is the capital of France?", "Write one sentence about the sea.")
TOKENS_COMPARED = 24
VERIFY_SECONDS = 900
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment a zip can name


def export_peft(db: Database, settings: Settings, adapter_id: int, *, person: Person) -> dict[str, Any]:
    """Write an adapter as a zip that transformers and peft load as it is, and check that they do.

    In it: weights, PEFT's configuration, the model card, tokenizer, chat template with its fingerprint, recipe, the content
    hashes of the data, a note on licences, and `try_it.py`. The same rows give the same bytes. It is verified by unpacking
    it elsewhere and running its `try_it.py` in a process that knows only transformers and peft: the greedy tokens for two
    questions must be those of `chat.greedy_tokens`. Without the base model on this machine it is written but not verified.
    Returns id, kind, file, path, sha256, bytes, verified and note (why it is not verified, else empty).
    Raises NotAllowed, NotFound, Invalid when base or template are not those of the training, Unavailable for a full disk.
    """
    need(person, "builder")
    adapter = kept.get(db, adapter_id)
    place = kept.folder(db, settings, adapter_id)
    contents = _contents(db, settings, adapter, place)
    draft = _draft(settings, contents)
    try:
        digest, size = sources.sha256_of(draft), draft.stat().st_size
        known = _known(db, settings, adapter_id, digest)
        if known is not None:
            return known
        note = _verify(db, settings, adapter, place, draft)
        file = f"{adapter['slug']}-v{adapter['version']}-adapter-{adapter_id}-{digest[:8]}.zip"
        os.replace(draft, settings.exports / file)
    finally:
        draft.unlink(missing_ok=True)
    with store.writing(db):
        export_id = store.insert(
            db,
            "exports",
            {
                "adapter_id": adapter_id,
                "kind": "peft",
                "file": file,
                "sha256": digest,
                "bytes": size,
                "verified": int(not note),
                "person_id": person.id,
                "at": store.now(),
            },
        )
    return get(db, settings, export_id) | {"note": note}


def get(db: Database, settings: Settings, export_id: int) -> dict[str, Any]:
    """One export with the path of its file: id, adapter_id, kind, file, path, sha256, bytes, verified, person_id, at.

    Raises NotFound, and Unavailable when the file is gone.
    """
    found = store.row(db, "select * from exports where id = ?", export_id)
    if found is None:
        raise NotFound(f"There is no export {export_id}; an adapter's page lists its own.")
    path = settings.exports / found["file"]
    if not path.is_file():
        raise Unavailable(f"The file of export {export_id} is missing from {settings.exports}; export the adapter again.")
    return found | {"path": str(path), "verified": bool(found["verified"])}


def listing(db: Database, adapter_id: int) -> list[dict[str, Any]]:
    """The exports of an adapter, newest first: the columns of `exports`, and who made each (person)."""
    return store.rows(
        db,
        "select x.*, p.display_name as person from exports x join people p on p.id = x.person_id"
        " where x.adapter_id = ? order by x.id desc",
        adapter_id,
    )


def _known(db: Database, settings: Settings, adapter_id: int, digest: str) -> dict[str, Any] | None:
    """The export with these very bytes, if it was verified and still lies there."""
    found = store.row(
        db, "select id, file from exports where adapter_id = ? and sha256 = ? and verified order by id", adapter_id, digest
    )
    if found is None or not (settings.exports / found["file"]).is_file():
        return None
    return get(db, settings, found["id"]) | {"note": ""}


def _contents(db: Database, settings: Settings, adapter: dict[str, Any], place: Path) -> dict[str, bytes]:
    """Every file of the export by name."""
    run = runs.get(db, adapter["run_id"])
    base = models.find(settings, adapter["model_name"])
    contents = {name: (place / name).read_bytes() for name in (kept.WEIGHTS, kept.CONFIG, kept.SHEET)}
    contents["README.md"] = cards.card(db, adapter["id"]).encode()
    contents["recipe.yaml"] = recipes.to_yaml(run["recipe"], every=True).encode()
    contents["data_manifest.json"] = _manifest(db, mixture.of_run(db, run["id"]), adapter["id"])
    contents["LICENSE.md"] = _licences(mixture.of_run(db, run["id"]), cards.base_of(run), base).encode()
    contents["try_it.py"] = Path(try_it.__file__).read_bytes()
    if base is not None:
        kept.need_fit(kept.sheet(place), model_hash=base["hash"], template_hash=base["template_hash"])
        for name in TOKENIZER:
            file = Path(base["folder"]) / name
            if file.is_file():
                contents[name] = file.read_bytes()
        template = (sources.template_in(Path(base["folder"])) or "").encode()
        contents["chat_template.jinja"] = template  # also where the base keeps it inside another file
        contents["template.json"] = _json({"file": "chat_template.jinja", "sha256": hashlib.sha256(template).hexdigest()})
        about = json.loads(contents.get("tokenizer_config.json", b"{}"))
        contents["tokenizer_config.json"] = _json({key: about[key] for key in about if key not in OF_THIS_MACHINE})
    return contents


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def _manifest(db: Database, versions: Sequence[dict[str, Any]], adapter_id: int) -> bytes:
    """The first version with all its rows, where several were mixed the others under "more", and which were taken back."""
    first, *more = (_listed(db, version) for version in versions)
    gone = withdrawn.of_adapter(db, adapter_id)["content_sha256"]
    return _json({**first, **({"more": more} if more else {}), **({"withdrawn_since": gone} if gone else {})})


def _listed(db: Database, version: dict[str, Any]) -> dict[str, Any]:
    hashes = [hashlib.sha256(content.encode()).hexdigest() for _, _, content in datasets.version_content(db, version["id"])]
    return {
        "dataset": version["slug"],
        "title": version["title"],
        "licence": version["licence"],
        "version": version["number"],
        "merkle_root": version["root"],
        "held_out_merkle_root": version["held_out_root"],
        **({"weight": version["weight"]} if version["weight"] != 1 else {}),
        "rows": len(hashes),
        "content_sha256": hashes,
    }


def _licences(versions: Sequence[dict[str, Any]], base: str, facts: dict[str, Any] | None) -> str:
    base_licence = f"under the licence {cards.plain(str(facts['licence']))}" if facts else "under its own licence"
    data = "".join(
        f"- These weights were learned from accepted rows of {cards.plain(version['title'])}, which their contributors gave"
        f" under {cards.plain(version['licence'])}; use it under the same terms and name them (README.md lists them).\n"
        for version in versions
    )
    return (
        f"# Licences\n\n{data}"
        f"- They work only together with the base model {cards.plain(base)}, which is published {base_licence}.\n"
        "- The tokenizer and chat template here are the base model's and stand under its licence.\n"
    )


def _draft(settings: Settings, contents: dict[str, bytes]) -> Path:
    """A zip under a passing name, whose bytes depend on the contents alone: sorted names, one date, nothing compressed.

    Compressed bytes would change with the version of the compressor, and weights hardly shrink.
    """
    draft = None
    try:
        settings.exports.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".draft-", suffix=".zip", dir=settings.exports)
        draft = Path(name)
        with os.fdopen(handle, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name in sorted(contents):
                    entry = zipfile.ZipInfo(name, EPOCH)
                    entry.create_system = 3
                    entry.external_attr = 0o100644 << 16
                    archive.writestr(entry, contents[name])
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        return draft
    except OSError as problem:
        if draft is not None:
            draft.unlink(missing_ok=True)
        raise Unavailable(
            f"The export cannot be written ({problem.strerror}); free some space in {settings.exports}."
        ) from problem


def _verify(db: Database, settings: Settings, adapter: dict[str, Any], place: Path, draft: Path) -> str:
    """Nothing when the export speaks as the adapter does, else a sentence on why not."""
    base = models.find(settings, adapter["model_name"])
    if base is None:
        return f"The base model {adapter['model_name']} is not on this machine, so the export could not be tried."
    from factory.adapters import chat

    questions = _questions(db, adapter)
    asked = [[{"role": "user", "content": question}] for question in questions]
    model_name = adapter["model_name"]
    ours = [chat.greedy_tokens(settings, model_name, place, talk, max_tokens=TOKENS_COMPARED) for talk in asked]
    with tempfile.TemporaryDirectory(prefix="export-") as unpacked:
        with zipfile.ZipFile(draft) as archive:
            archive.extractall(unpacked)
        theirs, words = _elsewhere(Path(unpacked), base["folder"], questions)
    if theirs is None:
        return f"Loading the export with plain transformers and peft failed: {words}"
    if theirs != ours:
        return "The export loads with plain transformers and peft, but answers with other tokens than here."
    return ""


def _questions(db: Database, adapter: dict[str, Any]) -> list[str]:
    """Two questions of the held-out set, which the adapter has something to say to; any two where there is none."""
    set_id = datasets.version(db, adapter["version_id"])["held_out_set_id"]
    rows = datasets.held_out_content(db, set_id)[:2] if set_id is not None else []
    return [formats.messages(content)[-2]["content"] for content in rows] or list(QUESTIONS)


def _elsewhere(folder: Path, base: str, questions: Sequence[str]) -> tuple[list[list[int]] | None, str]:
    """What the unpacked export answers in a process of its own; None and the last words of it where it fails."""
    where = models.device_and_dtype()
    # Isolated (-I), it cannot see this program: neither its folder nor its environment variables.
    command = [sys.executable, "-I", str(folder / "try_it.py"), base, "--json", "--max-tokens", str(TOKENS_COMPARED)]
    command += ["--dtype", where["dtype"], "--device", where["device"]]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(questions).encode(),
            capture_output=True,
            timeout=VERIFY_SECONDS,
            cwd=folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {VERIFY_SECONDS} seconds."
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return None, lines[-1] if lines else f"exit code {done.returncode}."
    tokens: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
    return tokens, ""
