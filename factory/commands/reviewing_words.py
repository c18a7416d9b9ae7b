"""The words of the commands about reviewing: names, arguments and help."""

from __future__ import annotations

from factory.commands.words import Commands, group, leaf


def reviewing(commands: Commands) -> None:
    """An example's story, appeals, and who reviews how well."""
    leaf(commands, "history", "reviewing:history", "tell the story of a row").add_argument("example", type=int)
    appeal = leaf(commands, "appeal", "reviewing:appeal", "ask that somebody uninvolved looks at your row again, once")
    appeal.add_argument("example", type=int)
    appeal.add_argument("--words", required=True, help="why the decision is wrong")
    answer = leaf(commands, "appeals", "reviewing:appeals_shown", "show the appeals you may answer, or answer one")
    answer.add_argument("--answer", type=int, metavar="APPEAL")
    answer.add_argument("--say", choices=("upheld", "overturned"))
    answer.add_argument("--words", default="", help="why, for the author")
    reviewers = group(commands, "reviewers", "who reviews, how well, and who has ties with whom")
    leaf(reviewers, "list", "reviewing:listed", "list the reviewers").add_argument("--limit", type=int, default=50)
    leaf(reviewers, "show", "reviewing:show", "say how a reviewer's weight came about").add_argument("name")
    ties = leaf(reviewers, "ties", "reviewing:ties", "list the ties that rows show, or lift one")
    ties.add_argument("--lift", type=int, metavar="TIE")
    ties.add_argument("--words", default="", help="why it is no conflict")
