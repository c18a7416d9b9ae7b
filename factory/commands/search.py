"""Commands about searching for a recipe, and about presets."""

from __future__ import annotations

import argparse
import time
from typing import Any

from factory import terminal
from factory.base.errors import Invalid
from factory.commands.desk import Desk, say, told, version_named
from factory.commands.training import a_worker, recipe_typed
from factory.training import presets, proposals, recipes, runs, searches
from factory.training.plans import Plan

FOLLOW_SECONDS = 1.0


def start(desk: Desk, arguments: argparse.Namespace) -> int:
    """Begin a search and follow it, with a worker of its own where none is alive."""
    version = version_named(desk.db, arguments.dataset)
    plan = Plan(
        over=_over(arguments.over), method=arguments.method, pruner=arguments.pruner, trials=arguments.trials,
        minutes=arguments.minutes, steps=arguments.steps, measurings=arguments.measurings, seed=arguments.seed,
        whole_line=arguments.whole_line,
    )  # fmt: skip
    search_id = searches.start(
        desk.db, person=desk.person, version_id=version["id"], recipe=recipe_typed(desk.db, arguments), plan=plan,
        settings=desk.settings, name=arguments.name,
    )  # fmt: skip
    if arguments.detach:
        return _shown(
            desk, search_id, f"Search {search_id} is in its place; `search show {search_id}` tells how it goes on."
        )
    with a_worker(desk.settings), terminal.bars(quiet=desk.json) as tell:
        try:
            _follow(desk, search_id, tell)
        except KeyboardInterrupt:
            told(f"\nSearch {search_id} goes on where a worker is. `search stop {search_id}` ends it.")
            return 130
    return _shown(desk, search_id)


def _over(written: list[str]) -> dict[str, str]:
    """`NAME=RANGE` words as a mapping; a bare name stands for its usual range."""
    found: dict[str, str] = {}
    for each in written:
        name, _, values = each.partition("=")
        name = name.strip().replace("-", "_")
        if name in found:
            raise Invalid(f"{name} is given twice; put all its values into one --over.")
        found[name] = values.strip()
    return found


def _follow(desk: Desk, search_id: int, tell: terminal.Told) -> None:
    while True:
        search = searches.get(desk.db, search_id)
        done = sum(trial["status"] != "running" for trial in search["trials"])
        best = f"best {search['best']['value']:.4f}" if search["best"] else ""
        ended = search["status"] != "running"
        tell(f"search {search_id} | {best}", done, done if ended else search["plan"].trials)
        if ended:
            return
        time.sleep(FOLLOW_SECONDS)


def _shown(desk: Desk, search_id: int, words: str = "") -> int:
    search = searches.get(desk.db, search_id)
    share, left = searches.progress(search)
    lines = [words] if words else []
    lines.append(f"Search {search_id} ({search['name']}) is {search['status']}: {search['words']}")
    if search["status"] == "running":
        lines.append(f"{share:.0%} done" + (f", about {terminal.duration(left)} left." if left is not None else "."))
    lines.append(terminal.table([_row(trial) for trial in search["trials"]], _columns(search)))
    if search["best"]:
        found = proposals.importance(search["plan"].ranges, searches.as_trials(search))
        lines += [f"What mattered: {', '.join(f'{name} {share:.0%}' for name, share in found.items())}."] if found else []
        lines.append(f"Best is trial {search['best']['number']}; `search preset {search_id} NAME` keeps its recipe.")
    say(desk, _plain(search), "\n".join(line for line in lines if line))
    return 1 if search["status"] == "failed" else 0


def _columns(search: dict[str, Any]) -> list[str]:
    return ["trial", "run", "state", *search["plan"].over, "held-out loss", "seconds", "words"]


def _row(trial: dict[str, Any]) -> dict[str, Any]:
    numbers = {"trial": trial["number"], "run": trial["run_id"], "state": trial["status"], **trial["settings"]}
    return {**numbers, "held-out loss": trial["value"], "seconds": trial["seconds"], "words": trial["words"] or None}


def _plain(search: dict[str, Any]) -> dict[str, Any]:
    share, left = searches.progress(search)
    return {**search, "recipe": recipes.to_dict(search["recipe"]), "share": share, "seconds_left": left}


def listed(desk: Desk, arguments: argparse.Namespace) -> None:
    """List the searches, newest first."""
    found = searches.listing(desk.db, limit=arguments.limit)
    rows = [
        {**search, "trials": len(search["trials"]), "best": search["best"] and search["best"]["value"]} for search in found
    ]
    table = terminal.table(rows, ["id", "name", "status", "trials", "best", "words"])
    say(desk, [_plain(search) for search in found], table or "No search yet; `search start --dataset SLUG` begins one.")


def show(desk: Desk, arguments: argparse.Namespace) -> int:
    """Say how a search goes on, and what its trials gave."""
    return _shown(desk, arguments.search)


def stop(desk: Desk, arguments: argparse.Namespace) -> int:
    """End a search; what it found stays."""
    searches.stop(desk.db, arguments.search, person=desk.person)
    return _shown(desk, arguments.search)


def preset(desk: Desk, arguments: argparse.Namespace) -> None:
    """Keep a search's best recipe as a preset."""
    name = searches.keep_best(desk.db, arguments.search, arguments.name, person=desk.person)
    say(desk, {"preset": name}, f"Kept. `train --dataset SLUG --preset '{name}'` starts with it.")


def train(desk: Desk, arguments: argparse.Namespace) -> None:
    """Train a search's best recipe in full."""
    run_id = searches.train_best(desk.db, arguments.search, person=desk.person, settings=desk.settings)
    say(desk, runs.get(desk.db, run_id), f"Run {run_id} is queued. `runs follow {run_id}` watches it.")


def presets_listed(desk: Desk, arguments: argparse.Namespace) -> None:
    """List the presets."""
    found = presets.listing(desk.db)
    base = recipes.Recipe()
    rows = [
        {**each, "changes": ", ".join(f"{k} {v[1]}" for k, v in recipes.differences(each["recipe"], base).items()) or None}
        for each in found
    ]
    say(desk, found, terminal.table(rows, ["name", "words", "changes"]))


def presets_delete(desk: Desk, arguments: argparse.Namespace) -> None:
    """Forget a preset."""
    presets.delete(desk.db, arguments.name, person=desk.person)
    say(desk, {"deleted": arguments.name}, f"The preset {arguments.name!r} is deleted; runs that began with it stay.")
