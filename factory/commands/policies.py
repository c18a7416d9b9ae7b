"""The command about a dataset's rules: those that count, their history, and a change with what it would do."""

from __future__ import annotations

import argparse
import dataclasses
import json

from factory.base.errors import Invalid
from factory.commands.desk import Desk, say
from factory.intake import datasets, policy, rules
from factory.intake.sanctions import day
from factory.terminal import table


def shown(desk: Desk, arguments: argparse.Namespace) -> None:
    """Show the rules; change some, or say what that would do."""
    dataset = datasets.get(desk.db, arguments.slug)
    now = policy.current(desk.db, dataset["id"])[1]
    if arguments.history:
        told = rules.history(desk.db, dataset["id"])
        lines = [
            f"{one['version']}  {day(one['set_at'])}  {one['set_by']}: {one['reason'] or 'no reason was given'}  "
            + ", ".join(f"{name} {policy.shown(a)} → {policy.shown(b)}" for name, (a, b) in one["changes"].items())
            for one in told
        ]
        return say(desk, told, "\n".join(lines))
    if not arguments.set:
        told = [{**field, "value": getattr(now, field["name"])} for field in policy.fields()]
        return say(desk, dataclasses.asdict(now), table(told, ["name", "value", "help"]))
    wanted = rules.changed(now, dict(_value(text, now) for text in arguments.set))
    told = rules.preview(desk.db, dataset["id"], wanted)
    lines = [f"{one['rule']}: {policy.shown(one['before'])} → {policy.shown(one['after'])}. {one['effect']}" for one in told]
    if arguments.reason:
        rules.change(desk.db, dataset["id"], wanted, person=desk.person, reason=arguments.reason)
        lines.append("These rules count from now on.")
    else:
        lines.append("Nothing is changed yet; say --reason to do it.")
    return say(desk, told, "\n".join(lines))


def _value(text: str, now: policy.Policy) -> tuple[str, float | str]:
    name, _, value = text.partition("=")
    if isinstance(getattr(now, name.strip(), None), str):
        return name.strip(), value.strip()
    try:
        return name.strip(), json.loads(value)
    except ValueError as problem:
        raise Invalid(f"{text!r} sets nothing; write NAME=NUMBER, as in quorum=3.") from problem
