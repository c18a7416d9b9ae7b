"""Commands about one's own account: its API tokens, and closing it."""

from __future__ import annotations

import argparse

from factory.base import people
from factory.commands.desk import Desk, say
from factory.intake import closing
from factory.intake.sanctions import day
from factory.terminal import table


def tokens(desk: Desk, arguments: argparse.Namespace) -> None:
    """One's own API tokens, newest first."""
    found = people.tokens(desk.db, desk.person)
    told = [{**one, "state": people.token_state(one), "expires": day(one["expires_at"])} for one in found]
    say(desk, told, table(told, ["id", "name", "state", "expires"]) or "You have no token; `people token` makes one.")


def revoke(desk: Desk, arguments: argparse.Namespace) -> None:
    """Make one of one's own tokens void."""
    people.revoke_token(desk.db, desk.person, arguments.token)
    say(desk, {"id": arguments.token}, f"Token {arguments.token} is void.")


def close(desk: Desk, arguments: argparse.Namespace) -> None:
    """Close one's own account, or say what that would do."""
    weighed = closing.weigh(desk.db, desk.person)
    if not arguments.name_again:
        lines = [*("- goes: " + one for one in weighed["goes"]), *("- stays: " + one for one in weighed["stays"])]
        say(desk, weighed, "\n".join([*lines, f"To do it: people close --name-again {desk.person.name}"]))
        return
    count = closing.close(
        desk.db, desk.person, name_again=arguments.name_again, forget_name=arguments.forget_name, withdraw=arguments.withdraw
    )
    say(desk, {"closed": desk.person.id, "withdrawn": count}, f"The account is closed; {count} examples were withdrawn.")
