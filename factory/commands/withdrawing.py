"""Commands about taking examples back, and about what had seen them: withdraw, withdrawn."""

from __future__ import annotations

import argparse

from factory.adapters import withdrawn
from factory.base.errors import Invalid
from factory.commands.desk import Desk, say
from factory.intake import contributions, datasets
from factory.terminal import table


def withdraw(desk: Desk, arguments: argparse.Namespace) -> None:
    """Take back examples, or everything of one's own."""
    if bool(arguments.examples) == arguments.everything:
        raise Invalid("Name the examples to take back, or say --everything for all of your own.")
    if arguments.dataset and not arguments.everything:
        raise Invalid("--dataset goes with --everything; an example's number says its dataset.")
    if arguments.everything:
        dataset_id = datasets.get(desk.db, arguments.dataset)["id"] if arguments.dataset else None
        count = contributions.withdraw_all(desk.db, desk.person, reason=arguments.reason, dataset_id=dataset_id)
    else:
        for example_id in arguments.examples:
            contributions.withdraw(desk.db, example_id, person=desk.person, reason=arguments.reason)
        count = len(arguments.examples)
    words = (
        f"{count} example{'s' * (count != 1)} will not be in the next version; `withdrawn` lists the adapters that saw them."
    )
    say(desk, {"withdrawn": count}, words)


def withdrawn_shown(desk: Desk, arguments: argparse.Namespace) -> None:
    """List adapters that saw what was withdrawn: one's own, one example, or the rows of one adapter or run."""
    if arguments.example is not None:
        seen = withdrawn.saw(desk.db, arguments.example, person=desk.person)
        held = ", ".join(f"{v['slug']}@{v['number']}" for v in seen["versions"]) or "no version"
        lines = [f"Example {arguments.example} is {seen['state']} and in {held}."]
        lines += [f"run {run['id']}: {run['name']} ({run['status']})" for run in seen["runs"]]
        lines += [f"adapter {a['id']}: {a['name']}, exported {a['exports']} times" for a in seen["adapters"]]
        return say(desk, seen, "\n".join(lines))
    if arguments.adapter is not None or arguments.run is not None:
        adapter, run = arguments.adapter, arguments.run
        found = withdrawn.of_run(desk.db, run) if adapter is None else withdrawn.of_adapter(desk.db, adapter)
        return say(desk, found, found["sentence"] or f"None of the {found['of']:,} rows of its data was withdrawn.")
    mine = withdrawn.of_person(desk.db, desk.person.id)
    columns = ["adapter_id", "adapter", "slug", "version", "rows", "exports"]
    say(desk, mine, table(mine, columns) or "No adapter was trained with anything that you withdrew.")
    return None
