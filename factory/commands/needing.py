"""Commands about what a dataset needs: map, and the board with its bounties."""

from __future__ import annotations

import argparse

from factory import terminal
from factory.commands.desk import Desk, say
from factory.intake import datasets, mapping, maps
from factory.terminal import table


def draw_map(desk: Desk, arguments: argparse.Namespace) -> None:
    """Draw the map of a dataset's newest version, unless it is there."""
    dataset = datasets.get(desk.db, arguments.slug)
    with terminal.bars(quiet=desk.json or arguments.progress_to is not None) as tell:
        map_id = mapping.alone(desk.db, desk.settings, dataset["id"], progress_to=arguments.progress_to, tell=tell)
    found = maps.topics_of(desk.db, map_id)
    drawn = maps.get(desk.db, map_id)
    shown = [{**topic, "more": ", ".join(topic["words"])} for topic in found]
    words = f"{arguments.slug}: {drawn['row_count']:,} rows in"
    words += f" {len(found)} topic{'s' * (len(found) != 1)}; {drawn['point_count']:,} are drawn."
    lines = [words, table(sorted(shown, key=lambda topic: -topic["rows"]), ["number", "rows", "people", "more"])]
    say(desk, {**drawn, "topics": found}, "\n".join(lines))
