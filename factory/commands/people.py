"""Commands about accounts: list, add, roles, password, link, token."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

from factory.base import people
from factory.base.errors import Invalid
from factory.commands.desk import Desk, file_at, say
from factory.terminal import table


def listed(desk: Desk, arguments: argparse.Namespace) -> None:
    """List the accounts, newest first."""
    found = people.everyone(desk.db, search=arguments.search)
    say(desk, found, table(found, ["id", "name", "display_name", "roles"]))


def add(desk: Desk, arguments: argparse.Namespace) -> None:
    """Open an account."""
    person = people.create(
        desk.db,
        arguments.name,
        display_name=arguments.display_name,
        email=arguments.email,
        password=_password(arguments.password_file) if arguments.password_file else None,
        roles=tuple(arguments.roles or ["contributor"]),
        by=desk.person,
    )
    held = ", ".join(sorted(person.roles)) or "no role"
    say(desk, person, f"{person.name} has an account ({held}). `people link {person.name}` lets them in.")


def roles(desk: Desk, arguments: argparse.Namespace) -> None:
    """Give a person exactly these roles."""
    person = people.set_roles(desk.db, arguments.name, tuple(arguments.roles), by=desk.person)
    say(desk, person, f"{person.name} is now {', '.join(sorted(person.roles)) or 'without a role'}.")


def password(desk: Desk, arguments: argparse.Namespace) -> None:
    """Set a person's password, from a file, a pipe or the keyboard; it is never an argument that others could read."""
    people.set_password(desk.db, arguments.name, _password(arguments.password_file), by=desk.person)
    say(desk, {"name": arguments.name}, f"The password of {arguments.name} is set; they are signed out everywhere else.")


def _password(source: Path | None) -> str:
    if source is None:
        first = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != first:
            raise Invalid("The two passwords differ; try again.")
        return first
    text = sys.stdin.readline() if str(source) == "-" else file_at(source).read_text(encoding="utf-8").partition("\n")[0]
    return text.rstrip("\r\n")


def link(desk: Desk, arguments: argparse.Namespace) -> None:
    """Make a one-time sign-in link. One's own, or anybody's for an admin."""
    person = people.get(desk.db, arguments.name) if arguments.name else desk.person
    if person.id != desk.person.id:
        people.need(desk.person, "admin")
    address = sign_in_address(desk, person)
    say(desk, {"name": person.name, "link": address}, f"{address}\nGood once, for 30 minutes.")


def sign_in_address(desk: Desk, person: people.Person, *, host: str = "", port: int = 0) -> str:
    """The address that signs a person in once; `host` and `port` default to the installation's."""
    name = host or desk.settings.host
    if name in ("0.0.0.0", "::", ""):
        name = "127.0.0.1"
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port or desk.settings.port}/sign-in/link?token={people.issue_link(desk.db, person)}"


def token(desk: Desk, arguments: argparse.Namespace) -> None:
    """Make an API token. One's own, or anybody's for an admin."""
    person = people.get(desk.db, arguments.name) if arguments.name else desk.person
    if person.id != desk.person.id:
        people.need(desk.person, "admin")
    made = people.issue_token(desk.db, person, arguments.purpose)
    say(desk, {"name": person.name, "token": made}, f"{made}\nThis is the only time it is shown.")
