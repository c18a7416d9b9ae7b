"""Commands about drafts: rows kept while they are mended, until they are sent."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter

from factory.base.errors import Invalid
from factory.commands.desk import Desk, file_at, fraction_told, say
from factory.intake import checks, columns, datasets, drafts, formats, opening, sending, turns
from factory.intake.columns import Mapping
from factory.terminal import table


def mapping_said(pairs: list[str] | None) -> Mapping | None:
    """The mapping that `--map question=Frage --map answer=Antwort` says. Raises Invalid.

    >>> mapping_said(["question=Frage", "answer=Antwort"]).question
    'frage'
    """
    if not pairs:
        return None
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise Invalid(f"{wrong[0]!r} names no column; write --map question=COLUMN --map answer=COLUMN.")
    return columns.said(dict(pair.split("=", 1) for pair in pairs))


def look(desk: Desk, arguments: argparse.Namespace) -> None:
    """Say what a file seems to be."""
    found = formats.look(
        file_at(arguments.file), name=arguments.file.name, settings=desk.settings, encoding=arguments.encoding,
        mapping=mapping_said(arguments.map),
    )  # fmt: skip
    rows = [
        {"row": row.position + 1, "question": turns.question(row.messages), "answer": turns.answer(row.messages),
         "why not": row.problem} for row in found.first
    ]  # fmt: skip
    lines = [f"{found.container}, {found.shape or 'no shape that is known'}. {found.why} {found.note}".strip()]
    if found.documents:
        lines.append(f"Documents: {', '.join(found.documents)}. `drafts keep` proposes rows of them, for you to confirm.")
    if not found.certain and found.mapping:
        parts = " ".join(f"--map {part}={name}" for part, name in vars(found.mapping).items() if name)
        lines.append(f"It could be {parts}; what you choose is shown by `look` and taken by `drafts keep`.")
    counted = _counted(desk, arguments, found) if arguments.count else {}
    lines += [f"In all {counted['readable']:,} rows can be read and {counted['unreadable']:,} cannot."] if counted else []
    shown = table(rows, ["row", "question", "answer", "why not"])
    say(desk, {**dataclasses.asdict(found), **counted}, "\n".join([*lines, shown]).strip())


def _counted(desk: Desk, arguments: argparse.Namespace, found: formats.Look) -> dict[str, int]:
    """How many rows of the whole file can be read, one at a time; under the mapping that was shown."""
    mapping = mapping_said(arguments.map) or (None if found.shape else found.mapping)
    every = formats.rows(
        file_at(arguments.file), name=arguments.file.name, settings=desk.settings, encoding=arguments.encoding,
        mapping=mapping,
    )  # fmt: skip
    told = Counter(row.problem is None for row in every)
    return {"readable": told[True], "unreadable": told[False]}


def keep(desk: Desk, arguments: argparse.Namespace) -> None:
    """Keep a file's rows as a draft and judge them."""
    dataset = datasets.get(desk.db, arguments.dataset)
    made = opening.begin(
        desk.db, dataset["id"], person=desk.person, source=file_at(arguments.file), name=arguments.file.name,
        settings=desk.settings, mapping=mapping_said(arguments.map), encoding=arguments.encoding,
        start=max(0, arguments.start - 1), by="terminal",
    )  # fmt: skip
    tell = fraction_told(quiet=desk.json)
    found = [
        drafts.check(desk.db, each, person=desk.person, progress=lambda done, of: tell("Checking", done / max(1, of)))
        for each in made
    ]
    lines = [
        f"Draft {draft['id']} keeps {draft['rows']:,} rows, {draft['refused']:,} of them refused,"
        f" {draft['to_confirm']:,} to confirm; `drafts show {draft['id']}`. {draft['note']}".rstrip()
        for draft in found
    ]
    say(desk, found, "\n".join(lines))


def listed(desk: Desk, arguments: argparse.Namespace) -> None:
    """List your drafts."""
    found = drafts.listing(desk.db, desk.person)
    shown = ["id", "slug", "file_name", "rows", "refused", "hints", "to_confirm", "edited", "dropped"]
    say(desk, found, table(found, shown) or "You have no drafts; `drafts keep FILE --dataset SLUG` makes one.")


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
