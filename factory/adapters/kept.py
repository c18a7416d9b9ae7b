"""Adapters that a run left behind: weights in a folder named by their hash, and the one row that says whose they are.

An adapter's folder holds `adapter_model.safetensors` and `adapter_config.json` as PEFT writes them, and `adapter.json`,
the sheet: base model and its hash, chat template and system prompt it was trained with. Nothing in it names this machine.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Conflict, DiskFull, Invalid, NotFound, Unavailable
from factory.base.people import Person, need
from factory.base.settings import Settings
from factory.training import checkpoints, encoding, models, runs, sources, starts

DEFAULT_PUBLIC_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
WEIGHTS, CONFIG, SHEET = "adapter_model.safetensors", "adapter_config.json", "adapter.json"


def keep(db: Database, settings: Settings, run_id: int) -> int:
    """Keep the weights a run ended with, the best ones where it kept those, and return the adapter's id.

    The folder appears whole or not at all. The same run always gives the same adapter.
    Raises NotFound, Conflict while the run has no checkpoint and when it was kept and then trained on, Unavailable when
    the disk is full.
    """
    run = runs.get(db, run_id)
    known = find_by_run(db, run_id)
    if known is not None and checkpoints.newest(settings.runs / run["folder"]) is None:
        return int(known["id"])  # its checkpoints were cleared away since
    weights, step = checkpoints.weights_to_keep(settings.runs / run["folder"])
    if known is not None:
        if known["step"] != step:
            raise Conflict(
                f"Run {run_id} was kept at step {known['step']} and trained on to {step}; an adapter never changes, so start"
                " a run of its own for the longer training."
            )
        return int(known["id"])
    model = models.get(settings, run["model_name"])
    sheet = {
        "base_model": public_name(model),
        "model_name": run["model_name"],
        "model_hash": run["model_hash"],
        "template_hash": run["manifest"]["template_hash"],
        "system_prompt": run["recipe"].system_prompt,
        "step": step,
    }
    try:
        place, digest, size = _copied(settings, weights, sheet, run_id)
    except OSError as problem:
        family = DiskFull if checkpoints.is_full(problem) else Unavailable
        raise family(
            f"The adapter cannot be kept ({problem.strerror}); free some space in {settings.adapters}, then resume the run."
        ) from problem
    with store.writing(db):
        known = find_by_run(db, run_id)  # another process may have kept it meanwhile
        if known is not None:
            return int(known["id"])
        return store.insert(
            db,
            "adapters",
            {
                "run_id": run_id,
                "name": run["name"],
                "folder": place,
                "sha256": digest,
                "template_hash": sheet["template_hash"],
                "step": step,
                "bytes": size,
                "kept_at": store.now(),
            },
        )


def _copied(settings: Settings, source: Path, sheet: dict[str, Any], run_id: int) -> tuple[str, str, int]:
    """Copy into the folder named by the weights' hash: its name, the hash, the weights' bytes."""
    settings.adapters.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=settings.adapters))
    try:
        starts.write_plain(source, source.parent.parent / starts.START, draft)
        config = json.loads((draft / CONFIG).read_text("utf-8"))
        config |= {"base_model_name_or_path": sheet["base_model"], "inference_mode": True}
        (draft / CONFIG).write_text(_json(config), "utf-8")
        (draft / SHEET).write_text(_json(sheet), "utf-8")
        for path in (*draft.iterdir(), draft):
            sources.to_disk(path)
        draft.chmod(0o755)
        digest = sources.sha256_of(draft / WEIGHTS)
        size = (draft / WEIGHTS).stat().st_size
        # Untrained weights of one seed are equal whatever else was set; then the run's number tells the folders apart.
        for name in (digest[:16], f"{digest[:16]}-{run_id}"):
            place = settings.adapters / name
            if not place.exists():
                draft.rename(place)
                return name, digest, size
            if all((place / n).read_bytes() == (draft / n).read_bytes() for n in (WEIGHTS, CONFIG, SHEET)):
                return name, digest, size
        raise Conflict(f"The folder {place} holds another adapter; move it away, then resume the run.")
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


ADAPTER = """
select a.id, a.name, a.run_id, a.folder, a.sha256, a.template_hash, a.step, a.bytes, a.kept_at,
    r.name as run_name, r.model_name, r.model_hash, r.person_id, p.name as person, p.display_name, p.is_demo,
    r.version_id, v.number as version, v.root as version_root, v.row_count as version_rows,
    d.id as dataset_id, d.slug, d.title,
    e.id as evaluation_id, e.held_out_root, e.base_loss, e.tuned_loss, e.difference, e.low, e.high
from adapters a
join runs r on r.id = a.run_id
join people p on p.id = r.person_id
join dataset_versions v on v.id = r.version_id
join datasets d on d.id = v.dataset_id
left join evaluations e on e.id = (select max(id) from evaluations where adapter_id = a.id)
"""


def get(db: Database, adapter_id: int) -> dict[str, Any]:
    """One adapter with where it comes from and its newest evaluation (None where it was not measured). Raises NotFound.

    Keys: id, name, run_id, folder, sha256, template_hash, step, bytes, kept_at, run_name, model_name, model_hash, person_id,
    person, display_name, is_demo, version_id, version, version_root, version_rows, dataset_id, slug, title, evaluation_id,
    held_out_root, base_loss, tuned_loss, difference, low, high.
    """
    found = store.row(db, f"{ADAPTER} where a.id = ?", adapter_id)
    if found is None:
        raise NotFound(f"There is no adapter {adapter_id}; the list of adapters shows which there are.")
    return found


def find_by_run(db: Database, run_id: int) -> dict[str, Any] | None:
    """The adapter of a run, as `get` gives it, or None."""
    return store.row(db, f"{ADAPTER} where a.run_id = ?", run_id)


def listing(db: Database, *, search: str = "", limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
    """Adapters, newest first, as `get` gives them; `search` looks into names of adapter, dataset, model and person."""
    pattern = "%" + "".join(f"\\{c}" if c in "%_\\" else c for c in search.strip()) + "%"
    return store.rows(
        db,
        f"{ADAPTER} where a.name like :like escape '\\' or d.slug like :like escape '\\' or d.title like :like escape '\\'"
        " or r.model_name like :like escape '\\' or p.name like :like escape '\\'"
        " order by a.id desc limit :limit offset :offset",
        like=pattern,
        limit=limit,
        offset=offset,
    )


def rename(db: Database, adapter_id: int, name: str, *, person: Person) -> None:
    """Give an adapter another name: the one whose run it is, or an admin. Files stay where their hash says."""
    need(person, "builder")
    name = " ".join(name.split())
    if not 1 <= len(name) <= 80:
        raise Invalid("A name has 1 to 80 characters; shorten it or write one.")
    with store.writing(db):
        adapter = get(db, adapter_id)
        if adapter["person_id"] != person.id:
            need(person, "admin")
        db.execute("update adapters set name = ? where id = ?", [name, adapter_id])


def folder(db: Database, settings: Settings, adapter_id: int) -> Path:
    """Where an adapter's files lie. Raises NotFound, and Unavailable when they are gone from the disk."""
    place = settings.adapters / str(get(db, adapter_id)["folder"])
    if not all((place / name).is_file() for name in (WEIGHTS, CONFIG, SHEET)):
        raise Unavailable(f"The files of adapter {adapter_id} are missing from {place}; restore them from a backup.")
    return place


def sheet(place: Path) -> dict[str, Any]:
    """The sheet of an adapter's folder: base_model, model_name, model_hash, template_hash, system_prompt, step."""
    try:
        return dict(json.loads((place / SHEET).read_text("utf-8")))
    except (OSError, ValueError) as problem:
        raise Unavailable(f"The folder {place} holds no adapter that this program kept; choose another one.") from problem


def public_name(model: dict[str, Any]) -> str:
    """The name under which others find a base model: its hub id where it has one, never a path of this machine.

    >>> public_name({"name": "m", "source": "hub:owner/Name@0123abc"})
    'owner/Name'
    >>> public_name({"name": "m", "source": "file:/home/me/models/m"})
    'm'
    """
    if model["name"] == models.DEFAULT:
        return DEFAULT_PUBLIC_NAME
    kind, _, where = str(model["source"]).partition(":")
    return where.partition("@")[0] if kind == "hub" else str(model["name"])


def need_fit(sheet: dict[str, Any], *, model_hash: str, template_hash: str) -> None:
    """Nothing, where the base model and its chat template are those the adapter was trained with.

    Raises Invalid otherwise: answers would come out, only worse, and nobody would know why.
    """
    if sheet["model_hash"] != model_hash:
        raise Invalid(f"This adapter was trained on other weights of {sheet['model_name']} than lie here; fetch those.")
    if sheet["template_hash"] != template_hash:
        raise Invalid(
            f"This adapter was trained with another chat template than {sheet['model_name']} has now, so it would answer"
            " worse than it can; fetch the model it was trained with."
        )


def prompt(tokenizer: Any, messages: Sequence[dict[str, str]], *, system_prompt: str = "") -> list[int]:
    """The tokens an answer starts after: those of the training, the system prompt in front where none is given."""
    return encoding.prompt(tokenizer, messages, system_prompt=system_prompt)


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The ids that end an answer, by the model's own generation settings and its tokenizer."""
    own = getattr(model.generation_config, "eos_token_id", None)
    known = own if isinstance(own, list) else [own]
    return frozenset(token for token in (*known, tokenizer.eos_token_id) if token is not None)
