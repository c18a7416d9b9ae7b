"""Commands about frozen versions beyond one's own house: datasets publish, import, diff, prove."""

from __future__ import annotations

import argparse
import json

from factory.base.errors import Invalid
from factory.commands.desk import Desk, file_at, say, version_named
from factory.intake import containers, formats, importing, proofs, publishing
from factory.terminal import table


def publish(desk: Desk, arguments: argparse.Namespace) -> None:
    """Write a version as a zip, or into a folder."""
    version = version_named(desk.db, arguments.version)
    write = publishing.archive if arguments.to.suffix.lower() == ".zip" else publishing.write
    told = write(desk.db, version["id"], arguments.to)
    gone = f" {told['withdrawn']} withdrawn rows stayed out." if told["withdrawn"] else ""
    say(desk, told, f"{told['rows']} rows of {version['slug']}@{version['number']} are in {arguments.to}.{gone}")


def bring(desk: Desk, arguments: argparse.Namespace) -> None:
    """Take a published version in."""
    found = importing.bring(desk.db, arguments.file, person=desk.person, settings=desk.settings, slug=arguments.slug)
    words = f"{found['slug']}@{found['number']} is here: {found['row_count']} rows, the same root {found['root']}."
    say(desk, found, words)


def diff(desk: Desk, arguments: argparse.Namespace) -> None:
    """Say what changed between two versions."""
    older, newer = (version_named(desk.db, text) for text in (arguments.older, arguments.newer))
    found = proofs.difference(desk.db, older["id"], newer["id"])
    lines = [
        f"{found['slug']}: version {found['older']} to {found['newer']}: {found['added']} added, {found['removed']} removed"
        f" ({found['withdrawn']} of them withdrawn), {found['kept']} kept.",
        *(["The held-out set is another one: losses of the two cannot be compared."] if found["held_out_changed"] else []),
        *(["The rules changed in between."] if found["policy_changed"] else []),
        table(found["people"], ["person", "added", "removed"]),
    ]
    for row in found["rows"]:
        sign = "+" if row["change"] == "added" else "-"
        lines.append(f"{sign} {row['example_id']}  {' '.join(formats.question_of(row['content']).split())[:90]}")
    say(desk, found, "\n".join(line for line in lines if line))


def prove(desk: Desk, arguments: argparse.Namespace) -> None:
    """Write a proof for one row."""
    version = version_named(desk.db, arguments.version)
    named = [value for value in (arguments.example, arguments.hash, arguments.row) if value is not None]
    if len(named) != 1:
        raise Invalid("Name one row: --example N, --hash SHA256 or --row FILE.json.")
    if arguments.row is not None:
        proof = proofs.prove_messages(desk.db, version["id"], _messages(arguments))
    elif arguments.hash is not None:
        proof = proofs.prove(desk.db, version["id"], arguments.hash)
    else:
        proof = proofs.prove_example(desk.db, version["id"], arguments.example)
    say(desk, proof, json.dumps(proof, indent=1))


def _messages(arguments: argparse.Namespace) -> list[dict[str, object]]:
    try:
        found = containers.load_json(file_at(arguments.row).read_text(encoding="utf-8"))
    except ValueError as problem:
        raise Invalid(f"{arguments.row.name} is not JSON: {problem}.") from problem
    if not isinstance(found, dict) or not isinstance(found.get("messages"), list):
        raise Invalid(f'{arguments.row.name} has to hold one row: {{"messages": [{{"role": …, "content": …}}, …]}}.')
    return list(found["messages"])
