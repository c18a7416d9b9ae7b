"""Commands about datasets and the rows in them: datasets, check, submit, review."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from factory import terminal
from factory.base import people
from factory.base.errors import Invalid
from factory.commands.desk import Desk, file_at, say, told, version_named
from factory.commands.drafts import mapping_said
from factory.credit import freezes
from factory.intake import contributions, datasets, deadlines, formats, gold, held, reviews
from factory.intake import policy as policies
from factory.terminal import table


def datasets_list(desk: Desk, arguments: argparse.Namespace) -> None:
    """List the datasets."""
    found = datasets.everything(desk.db)
    columns = ["slug", "title", "licence", "accepted", "waiting", "refused", "people", "versions"]
    say(desk, found, table(found, columns) or "No dataset is here yet; `sample` makes one, `datasets create` yours.")


def datasets_show(desk: Desk, arguments: argparse.Namespace) -> None:
    """Say what a dataset is for, its rules and its state."""
    dataset = datasets.get(desk.db, arguments.slug)
    _, policy = policies.current(desk.db, dataset["id"])
    rules = json.loads(policies.to_json(policy))
    lines = [f"{name:<26} {value}" for name, value in {**dataset, **rules}.items() if value is not None]
    say(desk, {**dataset, "policy": rules}, "\n".join(lines))


def datasets_create(desk: Desk, arguments: argparse.Namespace) -> None:
    """Open a dataset."""
    rules = file_at(arguments.policy).read_text(encoding="utf-8") if arguments.policy else "{}"
    made = datasets.create(
        desk.db, slug=arguments.slug, title=arguments.title, purpose=arguments.purpose, guidelines=arguments.guidelines,
        licence=arguments.licence, owner=desk.person, policy=policies.from_json(rules),
    )  # fmt: skip
    say(desk, made, f"The dataset {made['slug']} is open. `check FILE --dataset {made['slug']}` looks at rows for it.")


def datasets_seal(desk: Desk, arguments: argparse.Namespace) -> None:
    """Seal held-out questions."""
    dataset = datasets.get(desk.db, arguments.slug)
    rows, every = _messages(_read(desk, arguments)), dataset["accepted"] + dataset["waiting"] + dataset["returned"]
    with terminal.bars(quiet=desk.json or every < datasets.AT_ONCE) as tell:
        sealed = datasets.seal_held_out(desk.db, dataset["id"], person=desk.person, rows=rows, tell=tell)
    say(desk, sealed, f"{sealed['row_count']} held-out rows of {dataset['slug']} are sealed, root {sealed['root']}.")


def datasets_freeze(desk: Desk, arguments: argparse.Namespace) -> None:
    """Freeze what is accepted now."""
    dataset = datasets.get(desk.db, arguments.slug)
    with terminal.bars(quiet=desk.json or dataset["accepted"] < datasets.AT_ONCE) as tell:
        version = datasets.freeze(desk.db, dataset["id"], person=desk.person, note=arguments.note, tell=tell)
    words = f"{dataset['slug']}@{version['number']} is frozen: {version['row_count']} rows, root {version['root']}."
    say(desk, version, words)


def datasets_versions(desk: Desk, arguments: argparse.Namespace) -> None:
    """List the frozen versions, newest first."""
    found = datasets.versions(desk.db, datasets.get(desk.db, arguments.slug)["id"])
    columns = ["number", "row_count", "root", "note"]
    say(desk, found, table(found, columns) or f"No version is frozen yet; `datasets freeze {arguments.slug}` makes one.")


def datasets_export(desk: Desk, arguments: argparse.Namespace) -> None:
    """Write a frozen version as JSON lines, in its order; the hash of each line's content is its leaf of the root."""
    version = version_named(desk.db, arguments.version)
    lines = [content for _, _, content in datasets.version_content(desk.db, version["id"])]
    if arguments.to is None and not desk.json:
        sys.stdout.writelines(line + "\n" for line in lines)
        return
    if arguments.to is not None:
        with arguments.to.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(line + "\n" for line in lines)
    data = {"version": version["number"], "rows": len(lines), "root": version["root"], "file": arguments.to}
    say(desk, data if arguments.to else {**data, "lines": [json.loads(line) for line in lines]},
        f"{len(lines)} rows of {version['slug']}@{version['number']} are in {arguments.to}.")  # fmt: skip


def _read(desk: Desk, arguments: argparse.Namespace) -> formats.Reading:
    reading = formats.read(
        file_at(arguments.file), name=arguments.file.name, settings=desk.settings, mapping=mapping_said(arguments.map),
        encoding=arguments.encoding,
    )  # fmt: skip
    if reading.note and not desk.json:
        told(reading.note)
    return reading


def _messages(reading: formats.Reading) -> list[list[dict[str, Any]]]:
    problems = [row.problem for row in reading.rows if row.problem]
    if problems:
        raise Invalid(problems)
    return [row.messages for row in reading.rows if row.messages is not None]


def check(desk: Desk, arguments: argparse.Namespace) -> int:
    """What would become of each row of a file; 1 when no row is good."""
    dataset = datasets.get(desk.db, arguments.dataset)
    reading = _read(desk, arguments)
    judged = contributions.preflight(desk.db, dataset["id"], person=desk.person, rows=reading.rows)
    good = sum(not verdict.refused for verdict in judged)
    allowed = contributions.allowance(desk.db, dataset["id"], desk.person)
    words = (
        f"{good} of {len(judged)} rows are good ({reading.shape} in {reading.container});"
        f" you may submit {allowed.left} today. {allowed.because}"
    )
    listed = "\n".join(_findings([v for v in judged if arguments.all or v.refused or v.findings]))
    data = {"good": good, "rows": judged, "shape": reading.shape, "container": reading.container, "allowance": allowed}
    say(desk, data, f"{listed}\n{words}".strip())
    return 0 if good else 1


def _findings(judged: list[contributions.Judged]) -> Iterator[str]:
    """A table with one line a finding; a row without any shows how it begins."""
    if judged:
        yield f"{'row':>6}  {'verdict':<14}  {'code':<20}  what was found"
    for verdict in judged:
        word = "refused" if verdict.refused else "good" if verdict.quota_ok else "good, tomorrow"
        found = [(finding.code, finding.sentence) for finding in verdict.findings]
        for code, sentence in found or [("", _beginning(verdict.content))]:
            yield f"{verdict.position + 1:>6}  {word:<14}  {code:<20}  {sentence}".rstrip()


def _beginning(content: str | None) -> str:
    return "" if content is None else " ".join(formats.messages(content)[0]["content"].split())[:70]


def submit(desk: Desk, arguments: argparse.Namespace) -> None:
    """Send the good rows of a file for review; rows that could not be read or are refused stay behind and are said."""
    dataset = datasets.get(desk.db, arguments.dataset)
    reading = _read(desk, arguments)
    unreadable = [row.problem for row in reading.rows if row.problem]
    sent = contributions.submit(
        desk.db, dataset["id"], person=desk.person, rows=[row for row in reading.rows if row.messages is not None],
        source="terminal", file_name=arguments.file.name, file_format=reading.container,
        licence=arguments.licence or dataset["licence"], attested=arguments.mine_to_give,
    )  # fmt: skip
    refused = sent.refused + len(unreadable)
    words = f"Submission {sent.id}: {sent.accepted_for_review} rows wait for review, {refused} were refused."
    hint = f" `check {arguments.file} --dataset {dataset['slug']}` says why." if refused else ""
    data = {
        "submission": sent.id, "waiting": sent.accepted_for_review, "refused": sent.refused, "unreadable": unreadable,
        "example_ids": sent.example_ids,
    }  # fmt: skip
    say(desk, data, words + hint)


def _decide(desk: Desk, arguments: argparse.Namespace) -> None:
    example_id = arguments.example
    if arguments.conflict:
        reviews.declare_conflict(desk.db, example_id, reviewer=desk.person, words=arguments.note)
        say(desk, {"example": example_id, "conflict": True}, f"Example {example_id} is left to others.")
        return
    if arguments.dispute is not None:
        dispute_id = gold.dispute(desk.db, example_id, reviewer=desk.person, words=arguments.dispute)
        say(desk, {"dispute": dispute_id}, f"Dispute {dispute_id} is open; somebody uninvolved looks at it.")
        return
    if arguments.hold and arguments.decision is not None:
        on_hold = held.say(
            desk.db, example_id, reviewer=desk.person, decision=arguments.decision, reason=arguments.reason,
            note=arguments.note,
        )  # fmt: skip
        words = f"It counts in {held.UNDO_SECONDS:.0f} seconds; `review --undo` takes it back." if on_hold else "It counts."
        say(desk, {"example": example_id, "on_hold": on_hold}, words)
        return
    if arguments.decision is None:
        raise Invalid("Say what you decide: --decision accept, return or reject.")
    state = reviews.decide(
        desk.db, example_id, reviewer=desk.person, decision=arguments.decision, reason=arguments.reason, note=arguments.note
    )
    told = gold.feedback(desk.db, example_id, reviewer=desk.person)
    words = f"Example {example_id} is {state}."
    if told:
        words += f" This was a check: {gold.sentence(told)}"
    say(desk, {"example": example_id, "state": state, "check": told}, words)


def overdue(desk: Desk, arguments: argparse.Namespace) -> None:
    """Decide what waits beyond its deadline; the worker does it by itself."""
    people.need(desk.person, "curator")
    found = deadlines.settle_overdue(desk.db, limit=arguments.limit)
    lines = [f"Example {example_id} is {state}." for example_id, state in found]
    lines += [f"What freeze {one} held is given back." for one in freezes.release_due(desk.db)]
    say(desk, found, "\n".join(lines) or "Nothing waits beyond its deadline.")


def review(desk: Desk, arguments: argparse.Namespace) -> None:
    """Show a queue, or decide on one row of it."""
    if arguments.undo:
        example_id = held.take_back(desk.db, reviewer=desk.person)
        say(desk, {"example": example_id}, f"Your verdict on example {example_id} is taken back; it waits for you again.")
        return
    if arguments.example is not None:
        _decide(desk, arguments)
        return
    if arguments.dataset is None:
        raise Invalid("Name a dataset with --dataset to see what waits, or the number of a row to decide on it.")
    dataset = datasets.get(desk.db, arguments.dataset)
    queue = reviews.queue(desk.db, dataset["id"], reviewer=desk.person, limit=arguments.limit)
    left = reviews.remaining(desk.db, dataset["id"], reviewer=desk.person)
    lines = []
    for row in queue:
        lines.append(f"── {row['example_id']}")
        lines += [f"{message['role']:>10}  {message['content']}" for message in formats.messages(row["content"])]
        if row["made_from"]:
            lines.append(f"{'from':>10}  {row['made_from']['where']}: {row['made_from']['passage']}")
    reasons = "\n".join(f"  {code:<16} {sentence}" for code, sentence in reviews.REASONS.items())
    tail = f"{left} wait for your verdict. Decide with `review NUMBER --decision …`; reasons:\n{reasons}"
    say(desk, {"waiting": left, "queue": queue, "reasons": reviews.REASONS}, "\n".join([*lines, tail]))
