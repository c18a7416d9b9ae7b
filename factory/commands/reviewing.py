"""Commands about reviewing: an example's story, appeals, reviewers' records and the ties that rows show."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from factory.base import people
from factory.base.errors import Invalid
from factory.commands.desk import Desk, say
from factory.intake import appeals, conflicts, datasets, reviewers, timeline
from factory.terminal import table


def history(desk: Desk, arguments: argparse.Namespace) -> None:
    """Tell the story of an example."""
    told = timeline.of(desk.db, arguments.example, person=desk.person)
    lines = [
        f"{datetime.fromtimestamp(one['at'], UTC):%Y-%m-%d %H:%M}  {one['kind']:<9} {one['who']}: {one['words']}"
        for one in told
    ]
    say(desk, told, "\n".join(lines))


def appeal(desk: Desk, arguments: argparse.Namespace) -> None:
    """Ask somebody uninvolved to look again at one's own example, once."""
    made = appeals.appeal(desk.db, arguments.example, person=desk.person, words=arguments.words)
    say(desk, {"appeal": made}, f"Appeal {made} is open; `history {arguments.example}` says by when it is answered.")


def appeals_shown(desk: Desk, arguments: argparse.Namespace) -> None:
    """Show the appeals one may answer, or answer one."""
    if arguments.answer is not None:
        if arguments.say is None:
            raise Invalid("Say what you decide: --say upheld or --say overturned, and why with --words.")
        state = appeals.answer_appeal(
            desk.db, arguments.answer, reviewer=desk.person, answer=arguments.say, words=arguments.words
        )
        say(desk, {"appeal": arguments.answer, "state": state}, f"The appeal is answered; its example is {state}.")
        return
    found = [
        one for d in datasets.everything(desk.db) for one in appeals.open_appeals(desk.db, d["id"], reviewer=desk.person)
    ]
    rows = [{**one, "answer": " ".join(one["messages"][-1]["content"].split())[:60]} for one in found]
    listed = table(rows, ["appeal_id", "example_id", "reason", "words", "answer"])
    say(desk, found, listed or "No appeal waits for you.")


def listed(desk: Desk, arguments: argparse.Namespace) -> None:
    """Everybody who reviews, with their accuracy and weight."""
    found = reviewers.board(desk.db, person=desk.person, limit=arguments.limit)
    columns = ["name", "verdicts", "accepted_share", "above_chance", "weight", "gold_right", "gold_seen", "ties"]
    shown = [{key: round(v, 2) if isinstance(v := one[key], float) else v for key in columns} for one in found]
    say(desk, found, table(shown, columns) or "Nobody has reviewed yet.")


def show(desk: Desk, arguments: argparse.Namespace) -> None:
    """One reviewer's record, and how their weight came about."""
    person = people.get(desk.db, arguments.name)
    if person.id != desk.person.id:
        people.need(desk.person, "curator")
    found = reviewers.summary(desk.db, person.id)
    points = reviewers.over_time(desk.db, person.id)
    lines = [f"{key:<16} {round(value, 3) if isinstance(value, float) else value}" for key, value in found.items()]
    lines += [
        f"after {one['reviews']:>5} reviews  weight {one['weight']:.2f}" for one in points[:: max(1, len(points) // 20)]
    ]
    say(desk, {**found, "over_time": points}, "\n".join(lines))


def ties(desk: Desk, arguments: argparse.Namespace) -> None:
    """The ties that rows show, or lift one."""
    if arguments.lift is not None:
        conflicts.lift(desk.db, arguments.lift, person=desk.person, words=arguments.words)
        say(desk, {"conflict": arguments.lift, "lifted": True}, "It is lifted; the reviewer is asked again.")
        return
    found = conflicts.listing(desk.db, person=desk.person)
    listed = table(found, ["conflict_id", "reviewer", "author", "sentence", "lifted_words"])
    say(desk, found, listed or "No tie was found.")
