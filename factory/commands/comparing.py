"""The command that lays runs side by side."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from factory.adapters import comparison
from factory.base.errors import Unavailable
from factory.commands.desk import Desk, say, told
from factory.terminal import table

FIGURES = (
    *("set", "rank", "run_id", "run", "status", "held_out_loss", "gain_percent", "gain_low", "gain_high", "forgot_percent"),
    *("minutes", "memory_gib", "tokens", "tokens_per_second", "energy_wh"),
)


def compare(desk: Desk, arguments: argparse.Namespace) -> None:
    """Lay runs side by side."""
    found = comparison.compare(desk.db, arguments.runs)
    if arguments.csv is not None:
        if str(arguments.csv) == "-":
            sys.stdout.write(comparison.csv(found))
            return
        try:
            arguments.csv.write_text(comparison.csv(found), encoding="utf-8")
        except OSError as problem:
            raise Unavailable(f"{arguments.csv} cannot be written ({problem.strerror}); name another file.") from problem
        told(f"The table is in {arguments.csv}.")
    say(desk, found, in_words(found))


def in_words(compared: dict[str, Any]) -> str:
    """What `comparison.compare` found, as a terminal shows it."""
    ranked = sorted(compared["runs"], key=lambda run: (run["set"], run["rank"] or 0))
    parts = [table(ranked, FIGURES), "\n".join(map(str, compared["sentences"]))]
    changed = [{"set differently": row["label"], **_values(row), "default": _default(row)} for row in compared["differs"]]
    columns = ["set differently", *(str(run["run_id"]) for run in compared["runs"]), "default"]
    parts.append(table(changed, columns) or "Nothing was set differently.")
    return "\n\n".join(parts)


def _values(row: dict[str, Any]) -> dict[str, str]:
    return {str(run_id): comparison.shown(value) for run_id, value in row["values"].items()}


def _default(row: dict[str, Any]) -> str | None:
    return None if row["default"] is None else comparison.shown(row["default"])
