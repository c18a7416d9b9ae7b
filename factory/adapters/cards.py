"""The model card of an adapter: everything others need to know of it, written from rows and nothing else."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml
from sqlite_utils import Database

from factory.adapters import evaluation, forgetting, kept, reproduction, withdrawn
from factory.base import store
from factory.intake import datasets
from factory.intake import policy as policies
from factory.training import mixture, recipes, runs

LOADING = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("BASE"), "FOLDER")
"""


def plain(text: str) -> str:
    """Somebody's words as one line that Markdown and HTML show letter by letter: no markup, no link, no tag.

    >>> print(plain("<b>Ada</b> *writes* [here](http://x.y)"))
    &lt;b&gt;Ada&lt;/b&gt; \\*writes\\* \\[here\\](http\\://x.y)
    """
    line = " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*_\[\]{}|~#!$:@]|(?<=www)\.", r"\\\g<0>", line, flags=re.IGNORECASE)


def fenced(text: str, language: str = "") -> str:
    """Text as a code block that nothing inside it can close.

    >>> print(fenced("a ``` b"))
    ````
    a ``` b
    ````
    """
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def card(db: Database, adapter_id: int) -> str:
    """The model card as Markdown with a YAML head, as model hubs read it. The same rows give the same text.

    What people wrote (names, titles, a system prompt) is shown letter by letter. Raises NotFound.
    """
    adapter = kept.get(db, adapter_id)
    run = runs.get(db, adapter["run_id"])
    version = datasets.version(db, adapter["version_id"])
    measured = evaluation.latest(db, adapter_id)
    base = base_of(run)
    parts = [
        _head(base, version),
        f"# {plain(adapter['name'])}",
        _about(adapter, run, version, base),
        "## Results",
        _results(measured),
        *([forgetting.in_words(forgetting.find(db, measured["id"]))] if measured else []),
        "## Data",
        "\n\n".join(_data(db, source) for source in mixture.of_run(db, run["id"])),
        *_withdrawn(db, adapter_id),
        "## Recipe",
        fenced(recipes.to_yaml(run["recipe"], every=True), "yaml"),
        "## How to load it",
        "Unpack the export into `FOLDER`; `try_it.py` in it does this from a terminal.",
        fenced(LOADING.replace("BASE", base), "python"),
        _before_use(run),
        "## Made with",
        _made_with(adapter, run),
        *_reproduced(db, adapter),
    ]
    return "\n\n".join(parts) + "\n"


def base_of(run: dict[str, Any]) -> str:
    """The public name of the base model a run trained on."""
    return kept.public_name({"name": run["model_name"], "source": str(run["manifest"].get("model_source", ""))})


def contributors(db: Database, version_id: int) -> list[dict[str, Any]]:
    """Whose accepted rows a version holds: person_id, name, display_name, is_demo, rows; most rows first."""
    if not store.value(db, "select 1 from version_people where version_id = ? limit 1", version_id):
        with store.writing(db):  # a version stays as it is, so its rows are counted once
            db.execute(
                "insert or ignore into version_people select r.version_id, e.person_id, count(*) from version_rows r"
                " join examples e on e.id = r.example_id where r.version_id = ? group by 1, 2",
                [version_id],
            )
    return store.rows(
        db,
        "select p.id as person_id, p.name, p.display_name, p.is_demo, v.rows from version_people v"
        " join people p on p.id = v.person_id where v.version_id = ? order by v.rows desc, p.id",
        version_id,
    )


def _head(base: str, version: dict[str, Any]) -> str:
    about = {
        "base_model": base,
        "library_name": "peft",
        **policies.hub_licence(version["licence"]),
        "pipeline_tag": "text-generation",
        "tags": ["lora", "model-factory", str(version["slug"])],
    }
    return "---\n" + yaml.safe_dump(about, sort_keys=False, allow_unicode=True) + "---"


def _about(adapter: dict[str, Any], run: dict[str, Any], version: dict[str, Any], base: str) -> str:
    recipe = run["recipe"]
    way = "QLoRA (4-bit base while training)" if recipe.method == "qlora" else "LoRA"
    return (
        f"A {way} adapter of rank {recipe.rank} for **{plain(base)}**, trained on version {version['number']} of"
        f" *{plain(version['title'])}*. The weights are those of step {adapter['step']}.\n\n"
        f"- weights: sha-256 `{adapter['sha256']}`, {adapter['bytes']:,} bytes\n"
        f"- base weights: sha-256 `{run['model_hash']}`\n"
        f"- chat template: sha-256 `{adapter['template_hash']}`\n\n"
        "Another copy of the base, in another precision for instance, answers a little differently."
    )


def _results(measured: dict[str, Any] | None) -> str:
    if measured is None:
        return "Not measured: there is no evaluation on a held-out set, so nothing can be said about how good it is."
    change = math.expm1(measured["difference"]) * 100
    told = (
        "The interval includes zero: on these rows no difference from the base can be told."
        if measured["low"] <= 0 <= measured["high"]
        else f"Below zero is better. Perplexity {'fell' if change < 0 else 'rose'} by {abs(change):.1f}%."
    )
    return (
        "| held-out set | base | this adapter | difference, 95% interval |\n|---|---:|---:|---:|\n"
        f"| loss, nats per token | {measured['base_loss']:.4f} | {measured['tuned_loss']:.4f} |"
        f" {measured['difference']:+.4f} ({measured['low']:+.4f} to {measured['high']:+.4f}) |\n"
        f"| perplexity | {measured['base_perplexity']:.3f} | {measured['tuned_perplexity']:.3f} | |\n\n"
        f"{told} Measured on {measured['row_count']} rows with {measured['label_tokens']:,} answer tokens that nobody could"
        f" submit, root `{measured['held_out_root']}`; {plain(measured['method'])}. It says nothing about other questions,"
        " and nothing about whether an answer is true."
    )


def _data(db: Database, version: dict[str, Any]) -> str:
    lines = [
        f"Version {version['number']} of {plain(version['title'])} (`{version['slug']}`): {version['row_count']:,} accepted"
        f" rows, Merkle root `{version['root']}`, licence {plain(version['licence'])}."
        + (f" Weight {version['weight']:g}." if version["weight"] != 1 else ""),
        "",
        "| contributor | accepted rows |",
        "|---|---:|",
    ]
    for person in contributors(db, version["id"]):
        note = " (demo person, invented by the program)" if person["is_demo"] else ""
        lines.append(f"| {plain(person['display_name'])}{note} | {person['rows']:,} |")
    return "\n".join(lines)


def _withdrawn(db: Database, adapter_id: int) -> list[str]:
    """That rows were taken back since, and what follows; nothing where none was."""
    sentence = withdrawn.of_adapter(db, adapter_id)["sentence"]
    if not sentence:
        return []
    return [
        f"**{sentence}** Their contributors took them back after they had been frozen. The next version of the data"
        " lacks them, and a run on it gives an adapter that never saw them; these weights did."
    ]


def _before_use(run: dict[str, Any]) -> str:
    prompt = run["recipe"].system_prompt
    if not prompt:
        return "Ask it through the tokenizer's own chat template, without a system message: so it was trained."
    words = "Ask it through the tokenizer's own chat template, with this system message: so it was trained."
    return f"{words}\n\n{fenced(prompt)}"


def _reproduced(db: Database, adapter: dict[str, Any]) -> list[str]:
    """What came of training it again; nothing where nobody did."""
    lines = []
    for one in reproduction.of(db, adapter["run_id"]):
        if one["verdict"]:
            lines.append(f"- Run {one['run_id']} trained it again. {plain(' '.join(one['findings']['words']))}")
    mine = reproduction.find(db, adapter["run_id"])
    if mine and mine["verdict"]:
        words = plain(" ".join(mine["findings"]["words"]))
        lines.append(f"- It is itself run {mine['original_run_id']} trained again. {words}")
    return ["## Reproduced", "\n".join(lines)] if lines else []


def _made_with(adapter: dict[str, Any], run: dict[str, Any]) -> str:
    manifest = run["manifest"]
    made = {"model-factory": manifest["program"], "python": manifest["python"], **manifest["libraries"]}
    lines = [f"- {plain(str(name))} {plain(str(number))}" for name, number in made.items()]
    return "\n".join([f"Run {adapter['run_id']} of Model Factory, trained by {plain(adapter['display_name'])}.", "", *lines])
