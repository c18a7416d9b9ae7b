"""Commands about drafts: rows kept while they are mended, until they are sent."""

from __future__ import annotations

import argparse
import json
import sys

from factory.base.errors import Invalid
from factory.commands.desk import Desk, file_at, fraction_told, say
from factory.intake import checks, datasets, drafts, formats, sending, turns
from factory.terminal import table


def keep(desk: Desk, arguments: argparse.Namespace) -> None:
    """Keep a file's rows as a draft and judge them."""
    dataset = datasets.get(desk.db, arguments.dataset)
    reading = formats.read(file_at(arguments.file), name=arguments.file.name, settings=desk.settings)
    draft_id = drafts.begin(
        desk.db, dataset["id"], person=desk.person, rows=reading.rows, source="terminal", file_name=arguments.file.name,
        file_format=f"{reading.container}/{reading.shape}", note=reading.note,
    )  # fmt: skip
    tell = fraction_told(quiet=desk.json)
    draft = drafts.check(
        desk.db, draft_id, person=desk.person, progress=lambda done, total: tell("Checking", done / max(1, total))
    )
    words = f"Draft {draft_id} keeps {draft['rows']:,} rows, {draft['refused']:,} of them refused; `drafts show {draft_id}`."
    say(desk, draft, words)


def listed(desk: Desk, arguments: argparse.Namespace) -> None:
    """List your drafts."""
    found = drafts.listing(desk.db, desk.person)
    columns = ["id", "slug", "file_name", "rows", "refused", "hints", "to_confirm", "edited", "dropped"]
    say(desk, found, table(found, columns) or "You have no drafts; `drafts keep FILE --dataset SLUG` makes one.")


def show(desk: Desk, arguments: argparse.Namespace) -> None:
    """Show rows of a draft, and what sending it would do."""
    draft = drafts.check(desk.db, arguments.draft, person=desk.person)
    seen = sending.outlook(desk.db, arguments.draft, person=desk.person)
    found = drafts.rows(
        desk.db, arguments.draft, person=desk.person, shown=arguments.shown, limit=arguments.limit, offset=arguments.skip
    )
    listed = [
        {
            "row": row["position"] + 1,
            "verdict": row["state"],
            "what was found": " ".join(finding["sentence"] for finding in row["findings"]),
            "question": " ".join(turns.question(row["messages"]).split())[:60],
        }
        for row in found
    ]
    reasons = ", ".join(f"{count:,} {checks.RULES[code].title}" for code, count in seen.reasons.items())
    words = (
        f"Sent now, {seen.sent:,} rows would wait for review; {seen.later:,} good ones are too many for today,"
        f" {seen.refused:,} are refused{f' ({reasons})' if reasons else ''}, {seen.to_confirm:,} wait to be confirmed."
    )
    shown = table(listed, ["row", "verdict", "what was found", "question"])
    say(desk, {**draft, "outlook": seen, "shown": found}, f"{shown}\n{words}".strip())


def edit(desk: Desk, arguments: argparse.Namespace) -> None:
    """Put other words into a row of a draft; it is judged at once."""
    position = arguments.row - 1
    found = drafts.row(desk.db, arguments.draft, position, person=desk.person)
    if arguments.messages is not None:
        text = sys.stdin.read() if str(arguments.messages) == "-" else file_at(arguments.messages).read_text("utf-8")
        try:
            said = json.loads(text)
        except ValueError as problem:
            raise Invalid(f"The turns are not JSON ({problem}).") from problem
        messages = said.get("messages", []) if isinstance(said, dict) else said
    elif arguments.question is None and arguments.answer is None:
        raise Invalid("Say the new words: --question, --answer, or --messages with a file of turns.")
    else:
        question = turns.question(found["messages"]) if arguments.question is None else arguments.question
        answer = turns.answer(found["messages"]) if arguments.answer is None else arguments.answer
        messages = turns.with_words(found["messages"], question=question, answer=answer)
    row = drafts.edit(desk.db, arguments.draft, position, person=desk.person, messages=messages)
    what = " ".join(finding["sentence"] for finding in row["findings"])
    say(desk, row, f"Row {arguments.row} is {row['state']}. {what}".strip())


def mark(desk: Desk, arguments: argparse.Namespace) -> None:
    """Drop rows, bring them back, or confirm those made from a document."""
    positions = [row - 1 for row in arguments.rows]
    if arguments.mark in ("drop", "restore"):
        dropped = arguments.mark == "drop"
        draft = drafts.set_apart(desk.db, arguments.draft, positions, person=desk.person, dropped=dropped)
    else:
        draft = drafts.confirm(desk.db, arguments.draft, positions, person=desk.person)
    say(desk, draft, f"Draft {draft['id']}: {draft['rows']:,} rows, {draft['dropped']:,} dropped.")


def send(desk: Desk, arguments: argparse.Namespace) -> None:
    """Submit what is good in a draft; the rest stays in it."""
    draft = drafts.get(desk.db, arguments.draft, person=desk.person)
    licence = arguments.licence or datasets.get(desk.db, draft["slug"])["licence"]
    sent = sending.send(desk.db, arguments.draft, person=desk.person, licence=licence, attested=arguments.mine_to_give)
    data = {
        "submission": sent.id,
        "waiting": sent.accepted_for_review,
        "refused": sent.refused,
        "example_ids": sent.example_ids,
    }
    say(
        desk,
        data,
        f"Submission {sent.id}: {sent.accepted_for_review:,} rows wait for review; {sent.refused:,} were refused.",
    )


def delete(desk: Desk, arguments: argparse.Namespace) -> None:
    """Throw a draft away."""
    drafts.delete(desk.db, arguments.draft, person=desk.person)
    say(desk, {"deleted": arguments.draft}, f"Draft {arguments.draft} is deleted.")
