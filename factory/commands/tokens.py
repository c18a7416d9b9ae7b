"""The command `tokens`: rows as the model sees them, the sums over all, and the three gates."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from typing import Any

from factory import terminal
from factory.base.people import need
from factory.commands.desk import Desk, say, version_named
from factory.commands.training import recipe_typed
from factory.training import models, tokenising, tokens

TRAINED, SPECIAL, CUT, PLAIN = "\x1b[4;32m", "\x1b[35m", "\x1b[2;9m", "\x1b[0m"
LEGEND = "Trained on: {trained}. Signs of the template: {special}. Cut off: {cut}. All else is only read."


def tokens_shown(desk: Desk, arguments: argparse.Namespace) -> int:
    """Show a row and what all rows come to; 1 where a gate is not passed."""
    need(desk.person, "builder")
    version, recipe = version_named(desk.db, arguments.dataset), recipe_typed(desk.db, arguments)
    if arguments.progress_to:
        view = tokens.make(
            desk.db, desk.settings, version_id=version["id"], recipe=recipe,
            progress=tokenising.told_to(arguments.progress_to),
        )  # fmt: skip
    else:
        with terminal.bars(quiet=desk.json) as tell:
            view = tokens.make(
                desk.db, desk.settings, version_id=version["id"], recipe=recipe,
                progress=lambda done, of: tell("tokenising", done, of),
            )  # fmt: skip
    most = recipe.max_length
    longest = int(models.get(desk.settings, recipe.base_model)["max_length"] or 0)
    found = tokens.summary(view, max_length=most, longest=longest)
    shown: dict[str, Any] = {}
    if not arguments.quiet:
        at = tokens.pick(view, arguments.pick, max_length=most, seed=recipe.seed)
        at = tokens.place_of(view, arguments.row) if arguments.row is not None else at
        shown = {
            "place": at,
            "example_id": int(view.example_ids[at]),
            "troubles": tokens.troubles(view, at, max_length=most),
            "tokens": [dataclasses.asdict(token) for token in tokens.row(view, at, max_length=most)],
        }
    say(desk, {**found, "max_length": most, "row": shown}, _text(found, shown, most))
    return 0 if all(gate["passed"] for gate in found["gates"]) else 1


def _text(found: dict[str, Any], shown: dict[str, Any], max_length: int) -> str:
    lines = []
    if shown:
        coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        lines += [f"Row {shown['example_id']}, {len(shown['tokens'])} tokens:", ""]
        lines += ["".join(_token(token, coloured) for token in shown["tokens"]), "", _legend(coloured), ""]
        lines += [f"  ! {words}" for words in shown["troubles"]]
    lines += [
        f"{found['rows']:,} rows, {found['tokens']:,} tokens, {found['trained_tokens']:,} of them trained on"
        f" ({found['share']:.0%}).",
        f"{found['rows_cut']:,} rows are longer than {max_length:,} tokens and cut;"
        f" {found['rows_with_nothing']:,} have nothing left to learn.",
        f"Half the rows have at most {found['p50']:,} tokens, 95% at most {found['p95']:,};"
        f" a max_length of {found['recommended']:,} would do.",
    ]
    for gate in found["gates"]:
        words = "" if gate["passed"] else f": {len(gate['rows'])} rows do not. {gate['sentence']} To do: {gate['advice']}."
        lines.append(f"{'passed' if gate['passed'] else 'FAILED'}  {gate['title']}{words}")
    return "\n".join(lines)


def _token(token: dict[str, Any], coloured: bool) -> str:
    """
    >>> one = {"text": "Paris", "trained": True, "special": False, "cut": False}
    >>> _token(one, coloured=False)
    '[Paris]'
    """
    text = tokens.visible(token["text"])
    kind = CUT if token["cut"] else TRAINED if token["trained"] else SPECIAL if token["special"] else ""
    if coloured:
        return f"{kind}{text}{PLAIN}" if kind else text
    left, right = {CUT: ("{", "}"), TRAINED: ("[", "]")}.get(kind, ("", ""))
    return f"{left}{text}{right}"


def _legend(coloured: bool) -> str:
    if not coloured:
        return LEGEND.format(trained="[so]", special="as they are", cut="{so}")
    words = {"trained": TRAINED, "special": SPECIAL, "cut": CUT}
    return LEGEND.format(**{name: f"{sign}so{PLAIN}" for name, sign in words.items()})
