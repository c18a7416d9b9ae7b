"""The pages of docs/ that are printed from the program itself: `make docs` writes them, a test compares them."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from factory.base import store
from factory.base.settings import ROOT
from factory.intake import checks, policy, reviews
from factory.training import recipes


def commands() -> str:
    """docs/commands.md: the help of every command."""
    from factory.__main__ import parser

    parts = ["# Commands\n\nPrinted by `make docs`. Exit codes: 0 done, 1 refused with one sentence, 2 wrongly typed.\n"]
    for name, each in _leaves(parser(), "python -m factory"):
        parts.append(f"## {name.removeprefix('python -m factory ')}\n\n{each.description}\n\n{_arguments(each)}\n")
    return "\n".join(parts)


def _leaves(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        shown = {choice.dest for choice in group._choices_actions}
        for word, each in group.choices.items():
            if word in shown:
                yield from _leaves(each, f"{name} {word}")


def _arguments(parser: argparse.ArgumentParser) -> str:
    """A list of arguments; argparse's own layout differs from one Python to the next."""
    lines = []
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or "--help" in action.option_strings:
            continue
        names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        takes = "" if action.nargs == 0 or not action.option_strings else f" {action.metavar or action.dest.upper()}"
        choices = f" One of {', '.join(map(str, action.choices))}." if action.choices else ""
        lines.append(f"- `{names}{takes}` {action.help or ''}{choices}".rstrip())
    return "\n".join(lines)


def schema() -> str:
    """docs/schema.md: every table, view and trigger as a new database has them."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, store.connect(Path(folder) / "new.db") as db:
        found = db.execute(
            "select type, name, sql from sqlite_master where sql is not null and name not like 'sqlite%'"
            " and name not like '!_sqlite%' escape '!' order by rowid"
        ).fetchall()
    tables = [sql for kind, _, sql in found if kind in ("table", "view")]
    indexes = [sql for kind, _, sql in found if kind == "index"]
    guarded = sorted({name.split("_refuses_")[0] for kind, name, _ in found if kind == "trigger"})
    return (
        "# Schema\n\nPrinted by `make docs`. Moments are seconds since 1970, UTC.\n\n```sql\n"
        + ";\n\n".join(tables) + ";\n\n"
        + ";\n".join(indexes) + ";\n```\n\nTriggers refuse update and delete on: " + ", ".join(guarded) + ".\n"
    )  # fmt: skip


def settings() -> str:
    """docs/settings.md: the knobs of a recipe, the rules of a dataset, the checks and the reasons."""
    lines = [
        "# Settings, checks and reasons\n",
        "Printed by `make docs`.\n",
        "## Recipe\n",
        "| knob | default | range | what it does |",
    ]
    lines.append("|---|---|---|---|")
    for knob in recipes.knobs():
        span = ", ".join(map(str, knob.choices)) or (f"{knob.low:g} to {knob.high:g}" if knob.low is not None else "")
        lines.append(f"| `{knob.name}` | {knob.default!r} | {span} | {knob.help} |")
    lines += ["\n## Policy of a dataset\n", "| rule | default | range | what it is |", "|---|---|---|---|"]
    for rule in policy.fields():
        span = "words" if rule["low"] is None else f"{rule['low']:g} to {rule['high']:g}"
        lines.append(f"| `{rule['name']}` | {policy.shown(rule['default'])} | {span} | {rule['help']} |")
    lines += ["\n## Checks\n", "| code | version | refuses | what it finds | what to do |", "|---|---|---|---|---|"]
    for code, check in checks.RULES.items():
        lines.append(f"| `{code}` | {check.version} | {'yes' if check.refuses else 'no'} | {check.title} | {check.advice} |")
    lines += ["\n## Reasons of reviewers\n", "| reason | in words |", "|---|---|"]
    lines += [f"| `{code}` | {words} |" for code, words in reviews.REASONS.items()]
    return "\n".join(lines) + "\n"


PAGES = {"commands.md": commands, "schema.md": schema, "settings.md": settings}


def write() -> None:
    """Write all generated pages."""
    for name, make in PAGES.items():
        with contextlib.suppress(FileExistsError):
            (ROOT / "docs").mkdir()
        (ROOT / "docs" / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write()
