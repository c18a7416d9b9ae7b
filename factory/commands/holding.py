"""Commands about credits that are held, and about payments that were wrong."""

from __future__ import annotations

import argparse

from factory.commands.desk import Desk, say
from factory.credit import freezes, ledger
from factory.intake.sanctions import day
from factory.terminal import table


def held(desk: Desk, arguments: argparse.Namespace) -> None:
    """What is held, was held, why and until when."""
    freezes.release_due(desk.db)
    found = freezes.listing(desk.db, limit=arguments.limit)
    told = [
        {**one, "credits": one["micro_credits"] / ledger.MICRO, "until": day(one["ends_at"]),
         "about": one["person"] or f"adapter {one['adapter']}", "ended": one["outcome"] or "holds now"}
        for one in found
    ]  # fmt: skip
    columns = ["id", "about", "credits", "until", "ended", "reason", "end_reason", "by_name"]
    say(desk, found, table(told, columns) or "No credits were ever held.")


def freeze(desk: Desk, arguments: argparse.Namespace) -> None:
    """Hold credits while something is examined."""
    made = freezes.freeze(
        desk.db, by=desk.person, reason=arguments.reason, days=arguments.days, who=arguments.person,
        adapter_id=arguments.adapter, run_id=arguments.run,
    )  # fmt: skip
    found = freezes.get(desk.db, made)
    say(desk, found, f"Freeze {made} holds until {day(found['ends_at'])}; those concerned see it at once.")


def end(desk: Desk, arguments: argparse.Namespace) -> None:
    """Give back what is held, or take it back into the pool."""
    outcome = "taken back" if arguments.take_back else "released"
    freezes.end(desk.db, arguments.freeze, by=desk.person, outcome=outcome, reason=arguments.reason)
    say(desk, freezes.get(desk.db, arguments.freeze), f"Freeze {arguments.freeze} has ended: {outcome}.")


def counter(desk: Desk, arguments: argparse.Namespace) -> None:
    """Undo a payment with its opposite."""
    made = ledger.counter(desk.db, arguments.transaction, person=desk.person, reason=arguments.reason)
    say(desk, ledger.receipt(desk.db, made), f"Transaction {made} is the opposite of {arguments.transaction}.")
