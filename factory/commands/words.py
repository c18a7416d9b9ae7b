"""How commands are named and what they take: what `factory/__main__.py` is made of, and the commands about drafts.

Nothing here imports what a command does, so that help comes at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

Commands = Any  # argparse's own type of a set of sub-commands is private


def leaf(commands: Commands, name: str, does: str, help: str, *, hidden: bool = False) -> argparse.ArgumentParser:
    """One command; `does` is the module of factory/commands and the function in it."""
    shown = {} if hidden else {"help": help}
    made = commands.add_parser(name, description=help[0].upper() + help[1:] + ".", **shown)
    made.add_argument("--json", action="store_true", help="answer in JSON")
    made.add_argument("--as", dest="who", metavar="NAME", help="who acts (default: the maintainer of this installation)")
    made.set_defaults(does=does)
    return made


def group(commands: Commands, name: str, help: str) -> Commands:
    made = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    return made.add_subparsers(metavar="COMMAND", required=True)


def reading(command: argparse.ArgumentParser) -> None:
    """What a file does not say by itself."""
    parts = "question, answer, input, system, or turns"
    command.add_argument("--map", action="append", metavar="PART=COLUMN", help=f"which column is which: {parts}; repeated")
    command.add_argument("--encoding", default="", help="of its text, where it is not the one it seems to have")


def drafts(commands: Commands) -> None:
    """The commands about files that are not known yet, and about drafts."""
    look = leaf(commands, "look", "drafts:look", "say what a file seems to be, and its first rows as they would become")
    look.add_argument("file", type=Path)
    reading(look)
    look.add_argument("--count", action="store_true", help="read the whole file, and count what can be read of it")
    drafts = group(commands, "drafts", "rows that you prepare; only you see them, and nothing counts before you send them")
    keep = leaf(drafts, "keep", "drafts:keep", "keep a file's rows as a draft and judge them; nothing is sent")
    keep.add_argument("file", type=Path)
    keep.add_argument("--dataset", required=True, metavar="SLUG")
    reading(keep)
    keep.add_argument("--start", type=int, default=1, metavar="ROW", help="begin at this row; a draft takes 10,000")
    leaf(drafts, "list", "drafts:listed", "list your drafts, the one touched last first")
    show = leaf(drafts, "show", "drafts:show", "show rows of a draft, and what sending it would do")
    show.add_argument("draft", type=int)
    shown = ("all", "refused", "hints", "clean", "to confirm", "edited", "dropped")
    show.add_argument("--shown", choices=shown, default="all", help="which rows")
    show.add_argument("--limit", type=int, default=50)
    show.add_argument("--skip", type=int, default=0, help="rows to pass over first")
    edit = leaf(drafts, "edit", "drafts:edit", "put other words into a row of a draft; it is judged at once")
    edit.add_argument("draft", type=int)
    edit.add_argument("row", type=int, help="its number, from 1")
    edit.add_argument("--question", metavar="WORDS")
    edit.add_argument("--answer", metavar="WORDS")
    edit.add_argument("--messages", type=Path, metavar="FILE.json", help="all its turns instead; - reads stdin")
    mark = leaf(drafts, "mark", "drafts:mark", "drop rows of a draft, bring them back, or confirm them")
    mark.add_argument("draft", type=int)
    mark.add_argument("mark", choices=("drop", "restore", "confirm"))
    mark.add_argument("rows", type=int, nargs="+", metavar="ROW")
    send = leaf(drafts, "send", "drafts:send", "submit what is good in a draft; the rest stays in it")
    send.add_argument("draft", type=int)
    send.add_argument("--licence", help="an SPDX identifier (default: the dataset's own)")
    send.add_argument("--mine-to-give", action="store_true", help="you may give these rows under that licence")
    leaf(drafts, "delete", "drafts:delete", "throw a draft away").add_argument("draft", type=int)


def needs(commands: Commands) -> None:
    """The commands about what a dataset needs, and about rows that are taken back."""
    drawn = leaf(commands, "map", "needing:draw_map", "draw the map of a dataset's newest version: its topics and rows")
    drawn.add_argument("slug")
    drawn.add_argument("--progress-to", type=Path, help=argparse.SUPPRESS)
    leaf(commands, "needs", "needing:board", "say what a dataset needs now: thin topics, failed questions").add_argument(
        "slug"
    )
    bounty = group(commands, "bounty", "credits promised for accepted rows of a topic")
    promise = leaf(bounty, "open", "needing:bounty_open", "reserve credits for the next accepted rows of a topic")
    promise.add_argument("slug")
    promise.add_argument("topic", type=int, help="its number, as `needs` shows it")
    promise.add_argument("--rows", type=int, required=True)
    promise.add_argument("--credits", type=float, required=True, help="for each row")
    promise.add_argument("--days", type=float, default=30.0, help="until what is left flows back (default: 30)")
    promise.add_argument("--words", default="", help="what you wish, for everybody to read")
    promise.add_argument("--from-pot", action="store_true", help="from the dataset's pot; for its owner or a curator")
    promise.add_argument("--most-per-person", type=int, help="rows one person is paid for (default: a quarter)")
    listed = leaf(bounty, "list", "needing:bounty_list", "list the bounties, newest first")
    listed.add_argument("--dataset", metavar="SLUG")
    listed.add_argument("--open", action="store_true", help="only those that are open")
    early = leaf(bounty, "end", "needing:bounty_end", "end a bounty early; what is left flows back")
    early.add_argument("bounty", type=int)
    early.add_argument("--reason", required=True, help="why; those who work for it read that")
    gift = leaf(bounty, "give", "needing:bounty_give", "give credits of your own to a dataset's pot")
    gift.add_argument("slug")
    gift.add_argument("credits", type=float)
    leaf(bounty, "settle", "needing:bounty_settle", "pay what is due and give back what is left, as a worker does")
    withdraw = leaf(commands, "withdraw", "withdrawing:withdraw", "take examples back; the next version lacks them")
    withdraw.add_argument("examples", type=int, nargs="*", metavar="EXAMPLE")
    withdraw.add_argument("--everything", action="store_true", help="all of your own, or with --dataset those in it")
    withdraw.add_argument("--dataset", metavar="SLUG")
    withdraw.add_argument("--reason", required=True, help="kept beside each example")
    gone = leaf(commands, "withdrawn", "withdrawing:withdrawn_shown", "list the adapters that saw what you withdrew")
    gone.add_argument("--example", type=int, metavar="N", help="everything that holds or saw this example instead")
    gone.add_argument("--adapter", type=int, metavar="N", help="how many of this adapter's rows were withdrawn since")
    gone.add_argument("--run", type=int, metavar="N", help="how many rows of this run's data were withdrawn since")
