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


def drafts(commands: Commands) -> None:
    """The commands about drafts."""
    drafts = group(commands, "drafts", "rows that you prepare; only you see them, and nothing counts before you send them")
    keep = leaf(drafts, "keep", "drafts:keep", "keep a file's rows as a draft and judge them; nothing is sent")
    keep.add_argument("file", type=Path)
    keep.add_argument("--dataset", required=True, metavar="SLUG")
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
