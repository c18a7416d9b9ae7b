"""Commands about what comes before a run: estimate, preflight."""

from __future__ import annotations

import argparse

from factory.commands.desk import Desk, file_at, say
from factory.commands.training import data_typed, recipe_typed, tried
from factory.training import forecast, recipes
from factory.training import preflight as preflights


def estimate(desk: Desk, arguments: argparse.Namespace) -> None:
    """Say what a run would take here, how sure that is, and what makes it fit."""
    answer = forecast.card(desk.db, desk.settings, recipe=recipe_typed(desk.db, arguments), **data_typed(desk.db, arguments))
    guess = answer["estimate"]
    parts = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in guess["memory_parts"].items())
    lines = [
        f"memory   {guess['memory_bytes'] / 2**30:.1f} GiB of {guess['memory_available_bytes'] / 2**30:.1f} GiB free",
        f"         in MiB: {parts}",
        f"time     {guess['seconds'] / 60:,.1f} minutes ({guess['seconds_low'] / 60:,.1f} to"
        f" {guess['seconds_high'] / 60:,.1f}), {guess['steps']} steps",
        f"disk     {guess['disk_bytes'] / 2**20:,.0f} MiB for the states kept",
        guess["sure"],
        *guess["notes"],
        *([answer["sentence"]] if answer["sentence"] else []),
    ]
    say(desk, answer, "\n".join(lines))


def preflight(desk: Desk, arguments: argparse.Namespace) -> None:
    """Try the longest packs of a recipe in a process of its own; later estimates use what they took."""
    found = tried(desk, recipe_typed(desk.db, arguments), **data_typed(desk.db, arguments))
    say(desk, found, found["verdict"])


def rehearse(desk: Desk, arguments: argparse.Namespace) -> None:
    """Do the preflight that `preflight.begin` started, in this process."""
    text = file_at(desk.settings.home / "preflight" / "recipe.yaml").read_text(encoding="utf-8")
    (version_id, weight), *more = ((int(each), float(times)) for each, times in (v.split(":") for v in arguments.versions))
    preflights.work(
        desk.db, desk.settings, version_id=version_id, weight=weight, more=more, recipe=recipes.from_yaml(text),
        person=desk.person,
    )  # fmt: skip
