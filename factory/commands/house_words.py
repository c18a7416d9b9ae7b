"""What can be typed about conduct, held credits, rules and one's own account; what it does stands beside it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Leaf = Callable[..., argparse.ArgumentParser]
Commands = Any  # argparse's own type of a set of sub-commands is private


def conduct(sanctions: Commands, reports: Commands, leaf: Leaf) -> None:
    """`sanctions` and `reports`."""
    log = leaf(sanctions, "list", "conduct:listed", "show the public log of sanctions")
    log.add_argument("--state", choices=("active", "over", "lifted", "overturned", "unanswered"))
    log.add_argument("--limit", type=int, default=50)
    leaf(sanctions, "show", "conduct:show", "say all about a sanction").add_argument("sanction", type=int)
    leaf(sanctions, "mine", "conduct:mine", "say what holds against you, and what became of your reports")
    impose = leaf(sanctions, "impose", "conduct:impose", "sanction somebody, for a while and for a reason")
    impose.add_argument("name")
    _sanction(impose)
    for name, help in (
        ("appeal", "ask somebody else to look again at a sanction of yours"),
        ("answer", "answer an appeal against somebody else's decision"),
        ("lift", "end a sanction before its date"),
    ):
        one = leaf(sanctions, name, f"conduct:{name}", help)
        one.add_argument("sanction", type=int)
        if name == "answer":
            one.add_argument("--answer", required=True, choices=("upheld", "overturned"))
        one.add_argument("--words", required=True, help="why; everybody can read it")
    send = leaf(reports, "send", "conduct:report", "say that a row or a person should be looked at")
    send.add_argument("--example", type=int, metavar="N")
    send.add_argument("--person", metavar="NAME")
    send.add_argument("--reason", required=True, help="from the closed list")
    send.add_argument("--words", required=True, help="what should be looked at")
    leaf(reports, "queue", "conduct:queue", "show what waits for a moderator: reports and appeals")
    dismiss = leaf(reports, "dismiss", "conduct:dismiss", "answer a report without a sanction")
    dismiss.add_argument("report", type=int)
    dismiss.add_argument("--words", required=True, help="why; who reported reads it")
    act = leaf(reports, "act", "conduct:act", "answer a report with a sanction")
    act.add_argument("report", type=int)
    _sanction(act)


def _sanction(command: argparse.ArgumentParser) -> None:
    command.add_argument("--kind", required=True, choices=("warning", "no_submitting", "no_reviewing", "paused"))
    command.add_argument("--reason", required=True, help="from the closed list")
    command.add_argument("--words", required=True, help="what happened; everybody can read it")
    command.add_argument("--days", type=float, required=True, help="it ends by itself after so many")
    command.add_argument(
        "--example", action="append", type=int, dest="examples", metavar="N", help="evidence; may be repeated"
    )


def credit(group: Commands, leaf: Leaf) -> None:
    """What `credit` knows of credits that are held, and of payments that were wrong."""
    leaf(group, "held", "holding:held", "list credits held while something is examined").add_argument(
        "--limit", type=int, default=50
    )
    freeze = leaf(group, "freeze", "holding:freeze", "hold credits while something is examined")
    freeze.add_argument("--person", metavar="NAME", help="what this person has, and is paid meanwhile")
    freeze.add_argument("--adapter", type=int, metavar="N", help="all that was and is paid for this adapter")
    freeze.add_argument("--run", type=int, metavar="N", help="the same, by the run that made it")
    freeze.add_argument("--days", type=float, required=True, help="after so many it is given back by itself")
    end = leaf(group, "end", "holding:end", "give back what is held, or take it back")
    end.add_argument("freeze", type=int)
    end.add_argument("--take-back", action="store_true", help="it goes back to the pool (default: to the people)")
    counter = leaf(group, "counter", "holding:counter", "undo a payment with its opposite; both stay in the book")
    counter.add_argument("transaction", type=int)
    for one in (freeze, end, counter):
        one.add_argument("--reason", required=True, help="for everybody to read")


def own(group: Commands, leaf: Leaf) -> None:
    """What `people` knows of one's own account."""
    leaf(group, "tokens", "own:tokens", "list your API tokens")
    leaf(group, "revoke", "own:revoke", "make one of your API tokens void").add_argument("token", type=int)
    close = leaf(group, "close", "own:close", "close your account for good, or say what that would do")
    close.add_argument("--name-again", metavar="NAME", help="your sign-in name; without it nothing is done")
    close.add_argument("--forget-name", action="store_true", help="what you did is then by a closed account")
    close.add_argument("--withdraw", action="store_true", help="take back all your examples first")


def policy(group: Commands, leaf: Leaf) -> None:
    """What `datasets` knows of rules."""
    rules = leaf(group, "policy", "policies:shown", "show a dataset's rules and their history, or change some")
    rules.add_argument("slug")
    rules.add_argument("--history", action="store_true", help="every policy it had, who set it and why")
    rules.add_argument(
        "--set", action="append", metavar="NAME=VALUE", help="may be repeated; without --reason only a preview"
    )
    rules.add_argument("--reason", default="", help="why; contributors read it")
