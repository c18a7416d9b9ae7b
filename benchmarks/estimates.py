"""How right the launch card is: memory and time as predicted, before and after a preflight, against real training runs.

    python -m benchmarks.estimates [--quick] [--home FOLDER] [--minutes 12]

16 recipes: ranks 8 and 64, lengths 256 and 1,024, two batch sizes, LoRA and QLoRA, on SmolLM2-135M and on a Llama of about
30 million random weights with the same tokenizer, made on the spot. Each is predicted, rehearsed by a preflight, predicted
again, and trained for a few steps by a trainer in a process of its own, which measures itself as every trainer does. Run it
on an otherwise idle machine; `--quick` takes two recipes and under 50 s. What is done is kept in the folder, so that a
benchmark that was ended goes on where it stood. The last line printed is one JSON object; the figures are
`memory_error_percent` and `time_error_percent`, the error of the prediction after a preflight: highest and median.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base import settings as settings_module
from factory.base.errors import FactoryError
from factory.base.settings import ROOT, Settings
from factory.intake import contributions, datasets, reviews, sample
from factory.training import models, preflight, runs, worker
from factory.training.recipes import Recipe

SMALL = "llama-30m"
ANSWERS_PER_ROW = (1, 2, 4, 8, 12)  # questions laid into one conversation, so that rows of every length are there
ROWS, ROWS_A_DAY = 60, 20  # a new contributor may submit so many a day


def small_llama(settings: Settings) -> None:
    """A Llama of about 30 million random weights with the default model's tokenizer and chat template."""
    if models.find(settings, SMALL):
        return
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = models.get(settings, models.DEFAULT)["folder"]
    config = AutoConfig.from_pretrained(source)
    config.update({
        "num_hidden_layers": 8, "hidden_size": 384, "intermediate_size": 1024, "num_attention_heads": 6,
        "num_key_value_heads": 2, "head_dim": 64,
    })  # fmt: skip
    folder = settings.home / "made" / SMALL
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    models.fetch(settings, folder, name=SMALL)


def frozen(db: Database) -> tuple[Any, dict[str, Any]]:
    """A builder and a version of rows from short to long with a few held-out ones."""
    found = datasets.versions(db)
    if found:
        return people.get(db, "measurer"), found[0]
    builder = people.create(db, "measurer", roles=("builder", "curator", "reviewer"))
    second = people.create(db, "second", roles=("reviewer",))
    dataset = datasets.create(
        db, slug="rows", title="Rows", purpose="To measure.", guidelines="None.", licence="PSF-2.0", owner=builder
    )
    talks = [list(question.messages) for question in sample.questions()[0]]
    sealed = [list(question.messages) for question in sample.questions()[1]][:12]
    datasets.seal_held_out(db, dataset["id"], person=builder, rows=sealed)
    rows, each = [], iter(talks)
    for place in range(ROWS):
        parts = list(itertools.islice(each, ANSWERS_PER_ROW[place % len(ANSWERS_PER_ROW)]))
        if parts:
            rows.append([message for part in parts for message in part if message["role"] != "system"])
    for start in range(0, len(rows), ROWS_A_DAY):
        author = people.create(db, f"author-{start}", roles=("contributor",))
        part = rows[start : start + ROWS_A_DAY]
        given = contributions.submit(
            db, dataset["id"], person=author, rows=part, source="form", licence="PSF-2.0", attested=True
        )
        for example_id in given.example_ids:
            for reviewer in (builder, second):
                reviews.decide(db, example_id, reviewer=reviewer, decision="accept")
    return builder, datasets.freeze(db, dataset["id"], person=builder)


def recipes_to_try(*, quick: bool) -> list[Recipe]:
    """Sixteen recipes of every combination of rank, length, method and model, the batch alternating; or two of them."""
    ways = itertools.product((SMALL, models.DEFAULT), ("lora", "qlora"), (8, 64), (256, 1024))
    made = [
        Recipe(
            base_model=model, method=method, rank=rank, max_length=length, micro_batch_tokens=max(512, length),
            effective_batch=4 if (rank == 8) == (length == 256) else 8, max_steps=5, epochs=20, evaluations=1,
            early_stopping_patience=0,
        )
        for model, method, rank, length in ways
    ]  # fmt: skip
    return [made[0], made[3]] if quick else made


def tried(db: Database, settings: Settings, builder: Any, version_id: int, recipe: Recipe) -> dict[str, Any]:
    """One recipe: predicted, rehearsed, predicted again, trained, and by how many percent each prediction was off."""
    asked = {"version_id": version_id, "recipe": recipe}
    before = runs.estimate_for(db, settings, **asked)
    began = time.perf_counter()
    preflight.wait(db, settings, person=builder, progress=lambda share, words: None, **asked)
    rehearsed = time.perf_counter() - began
    after = runs.estimate_for(db, settings, **asked)
    run_id = runs.create(db, person=builder, settings=settings, anyway=True, **asked)
    trainer = worker.start_trainer(settings, runs.get(db, run_id))
    while trainer.poll() is None and not runs.get(db, run_id)["measured"]:
        time.sleep(0.2)
    trainer.terminate()  # training is measured; what comes after it is not predicted here
    trainer.wait(30)
    runs.reap(db)
    measured = runs.get(db, run_id)["measured"]
    if not measured:
        raise FactoryError(f"{runs.log_tail(settings, f'run-{run_id}', lines=3)}")
    found: dict[str, Any] = {"recipe": named(recipe), "preflight_seconds": round(rehearsed, 1)}
    for name, unit in (("memory_bytes", 2**20), ("seconds", 1)):
        real = measured[name]
        guesses = {"before": getattr(before, name), "after": getattr(after, name)}
        found[name.removesuffix("_bytes")] = {
            **{when: round(guess / unit, 1) for when, guess in guesses.items()},
            "measured": round(real / unit, 1),
            **{f"error_{when}_percent": round(100 * (guess / real - 1), 1) for when, guess in guesses.items()},
        }
    return found


def named(recipe: Recipe) -> str:
    """A recipe in few words."""
    return f"{recipe.base_model} {recipe.method} r{recipe.rank} length {recipe.max_length} batch {recipe.effective_batch}"


def estimate_milliseconds(db: Database, settings: Settings, version_id: int) -> float:
    """The median time of one estimate while a slider moves."""
    times = []
    for rank in (4, 8, 16, 32, 64, 128, 256, 4, 8, 16, 32):
        began = time.perf_counter()
        runs.estimate_for(db, settings, version_id=version_id, recipe=dataclasses.replace(Recipe(), rank=rank))
        times.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(times), 1)


def summed(found: list[dict[str, Any]], of: str, when: str) -> dict[str, float]:
    """Highest and median error in percent, whichever way."""
    errors = [abs(each[of][f"error_{when}_percent"]) for each in found]
    return {"max": max(errors), "median": round(statistics.median(errors), 1)} if errors else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two recipes")
    parser.add_argument("--home", type=Path, default=ROOT / "data" / "estimates", help="where it works")
    parser.add_argument("--minutes", type=float, default=12.0, help="begin no further recipe after so long")
    chosen = parser.parse_args()
    plain = settings_module.load()
    if models.find(plain, models.DEFAULT) is None:
        models.fetch(plain, models.DEFAULT)
    settings = dataclasses.replace(plain, home=chosen.home)
    settings.models.mkdir(parents=True, exist_ok=True)
    link = settings.models / models.DEFAULT
    if not link.exists():
        link.symlink_to(models.get(plain, models.DEFAULT)["folder"])
    small_llama(settings)
    done_file, began = chosen.home / "done.json", time.monotonic()
    done: dict[str, Any] = json.loads(done_file.read_text()) if done_file.exists() and not chosen.quick else {}
    wanted = recipes_to_try(quick=chosen.quick)
    with store.connect(settings) as db:
        builder, version = frozen(db)
        for recipe in wanted:
            if named(recipe) in done or time.monotonic() - began > 60 * chosen.minutes:
                continue
            done[named(recipe)] = tried(db, settings, builder, version["id"], recipe)
            print(json.dumps(done[named(recipe)]), file=sys.stderr, flush=True)
            if not chosen.quick:
                done_file.write_text(json.dumps(done))
        milliseconds = estimate_milliseconds(db, settings, version["id"])
    found = [done[named(recipe)] for recipe in wanted if named(recipe) in done]
    result = {
        "recipes": found,
        "missing": len(wanted) - len(found),
        "memory_error_percent": summed(found, "memory", "after"),
        "time_error_percent": summed(found, "seconds", "after"),
        "before_a_preflight": {of: summed(found, of, "before") for of in ("memory", "seconds")},
        "estimate_milliseconds": milliseconds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
