"""Recipes as a person writes them: what differs from the defaults, a word on each, and errors that name the line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from factory.base.errors import Invalid
from factory.training.knobs import TOPICS, Knob

LONGEST = 64 * 1024
DEEPEST = 4  # a list of datasets with weights needs three
HEAD = "# A recipe of Model Factory: a line `setting: value` for each; what is not here has its default.\n"
FULL_HEAD = "# A recipe of Model Factory, every setting of it.\n"
WIDTH = 120


@dataclass(frozen=True)
class Document:
    """What a recipe file says: setting → value, setting → line (from 1), and datasets as `train --dataset` takes them."""

    settings: dict[str, Any]
    lines: dict[str, int]
    datasets: tuple[str, ...] = ()


class _Writer(yaml.SafeDumper):
    """Texts of several lines stand as such, not as one line with escapes."""


def _text(writer: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return writer.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Writer.add_representer(str, _text)


def write(values: Mapping[str, Any], knobs: Sequence[Knob], *, datasets: Sequence[str] = (), every: bool = False) -> str:
    """Settings as YAML under the headings of the page: the base model, what differs from its default, or `every` one.

    `datasets` come first, as `train --dataset` takes them; alpha is left to follow the rank where it does.
    """
    parts = [FULL_HEAD if every else HEAD]
    if datasets:
        parts.append(_line({"dataset": datasets[0] if len(datasets) == 1 else list(datasets)}, ""))
    for topic in TOPICS:
        chosen = [
            each for each in knobs
            if each.topic == topic and (every or _worth_saying(each, values)) and not _follows(each.name, values)
        ]  # fmt: skip
        if chosen:
            parts.append(f"\n# {topic}\n")
            parts += [_line({each.name: values[each.name]}, brief(each.help)) for each in chosen]
    return "".join(parts)


def _worth_saying(knob: Knob, values: Mapping[str, Any]) -> bool:
    """What is not the default; and the base model, since the wizard keeps the one chosen there where a file names none."""
    return knob.name == "base_model" or bool(values[knob.name] != knob.default)


def _follows(name: str, values: Mapping[str, Any]) -> bool:
    return name == "alpha" and values["alpha_linked"] is True


def _line(pair: dict[str, Any], comment: str) -> str:
    text = yaml.dump(pair, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100_000, default_flow_style=False)
    if not comment:
        return text
    beside = f"{text.rstrip():<28}  # {comment}\n"
    return beside if text.count("\n") == 1 and len(beside) <= WIDTH else f"# {comment}\n{text}"


def brief(help: str) -> str:
    """The first thought of a knob's help.

    >>> brief("How far each step goes. Too high and the loss jumps.")
    'How far each step goes'
    """
    return re.split(r"[.;:](?:\s|$)", help, maxsplit=1)[0]


def read(text: str) -> Document:
    """What a YAML text says, before anybody looks whether the values are sound; comments are welcome.

    Names may be written with spaces or dashes. Raises Invalid, with the line, for what is no list of settings, for a setting
    that is there twice, and for YAML's aliases, in which few lines can stand for gigabytes.
    """
    if len(text) > LONGEST:
        raise Invalid(f"A recipe has at most {LONGEST:,} characters; this is something else.")
    try:
        _need_plain(text)
        loader = yaml.SafeLoader(text)
        try:
            return _of_node(loader, loader.get_single_node())
        finally:
            loader.dispose()
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        place = getattr(problem, "problem_mark", None)
        raise Invalid(
            f"This is not YAML{f' (line {place.line + 1})' if place else ''}; a recipe has lines like `rank: 16`."
        ) from problem


def _need_plain(text: str) -> None:
    """Look through the text without building anything of it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise Invalid(f"Line {line} uses a YAML alias; write the value itself there.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise Invalid(f"Line {line} nests lists in lists too deeply; a recipe has lines like `rank: 16`.")


def _of_node(loader: yaml.SafeLoader, node: Any) -> Document:
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
        return Document({}, {})
    if not isinstance(node, yaml.MappingNode) or not node.tag.endswith(":map"):
        raise Invalid("A recipe is a list of lines `setting: value`; this is something else.")
    settings: dict[str, Any] = {}
    lines: dict[str, int] = {}
    wrong = []
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            wrong.append(f"Line {line} does not begin with the name of a setting.")
            continue
        name = re.sub(r"[\s-]+", "_", key.value.strip()).lower()
        if name in lines:
            wrong.append(f"{name[:60]} stands in line {lines[name]} and again in line {line}; keep one of them.")
            continue
        settings[name], lines[name] = loader.construct_object(value, deep=True), line
    datasets = settings.pop("dataset", None)
    if wrong:
        raise Invalid(wrong)
    return Document(settings, lines, _datasets(datasets, lines.get("dataset", 0)) if datasets is not None else ())


def _datasets(value: Any, line: int) -> tuple[str, ...]:
    """`slug@1`, a list of such, a list of {dataset: slug@1, weight: 0.5}, or a mapping slug@1 → weight."""
    if isinstance(value, dict):
        value = [{"dataset": name, "weight": weight} for name, weight in value.items()]
    found = []
    for each in value if isinstance(value, list) else [value]:
        named = each if isinstance(each, dict) else {"dataset": each}
        name, weight = named.get("dataset"), named.get("weight", 1)
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not isinstance(name, str) or not name.strip() or not number or set(named) - {"dataset", "weight"}:
            raise Invalid(
                f"Line {line} names no dataset: write `dataset: slug@1`, or a list of lines"
                " `- {dataset: slug@1, weight: 0.5}`."
            )
        found.append(name.strip() + (f":{weight:g}" if weight != 1 else ""))
    if not found:
        raise Invalid(f"The list of datasets in line {line} is empty; name one, or leave the line out.")
    return tuple(found)


def unknown(name: object, known: Iterable[str], lines: Mapping[str, int]) -> str:
    """That there is no such setting, where it stands, and which was meant.

    >>> unknown("learning_rat", ["learning_rate"], {"learning_rat": 3})
    'There is no setting learning_rat in line 3; did you mean learning_rate?'
    """
    word = str(name) if isinstance(name, str | int | float) else f"a {type(name).__name__}"
    word = word if len(word) <= 60 else word[:59] + "…"
    place = f" in line {lines[name]}" if isinstance(name, str) and name in lines else ""
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"There is no setting {word}{place}; " + (
        f"did you mean {near[0]}?" if near else "`python -m factory train --help` lists those there are."
    )


def placed(problem: str, lines: Mapping[str, int]) -> str:
    """A sentence about a setting, with the line it stands in.

    >>> placed("rank is 7; choose one of 4, 8.", {"rank": 2})
    'Line 2: rank is 7; choose one of 4, 8.'
    """
    name = problem.partition(" ")[0]
    return f"Line {lines[name]}: {problem}" if name in lines else problem
