"""Commands that look at a run as its page does: its answers, its curves in words."""

from __future__ import annotations

import argparse
from pathlib import Path

from factory.base.errors import Unavailable
from factory.commands.desk import Desk, say
from factory.training import failures, reading, reports, runs, samples


def answers(desk: Desk, arguments: argparse.Namespace) -> None:
    """Print what a run answered while it learnt, question by question."""
    runs.get(desk.db, arguments.run)
    found = samples.listing(desk.db, arguments.run)
    lines: list[str] = []
    for row in sorted(found, key=lambda row: (row["position"], row["step"])):
        if row["step"] == min(each["step"] for each in found if each["position"] == row["position"]):
            lines += ["", f"Question {row['position'] + 1}: {row['prompt']}"]
        loss = "" if row["held_out_loss"] is None else f" ({row['held_out_loss']:.3f})"
        lines += [f"  step {row['step']}{loss}: {row['answer']}{' …' if row['cut'] else ''}"]
    say(
        desk,
        found,
        "\n".join(lines).strip() or "It has answered nothing yet; the setting sample_prompts says what it is asked.",
    )


def read(desk: Desk, arguments: argparse.Namespace) -> None:
    """Say in plain words what a run's curves show, why it broke if it did, and what to try next."""
    run = runs.get(desk.db, arguments.run)
    findings = reading.of(desk.db, run)
    broke = failures.explain(run, runs.events(desk.db, arguments.run))
    lines: list[str] = []
    if broke:
        lines += [broke.what, *(f"  {sentence}" for sentence in broke.evidence)]
        lines += [f"  Try: {each.words}  ({_typed(each.changes)})" for each in broke.tries]
    for finding in findings:
        lines += [f"{finding.sentence} {finding.evidence}"]
        lines += [f"  {finding.next_step}" + (f"  ({_typed(finding.changes)})" if finding.changes else "")] * bool(
            finding.next_step
        )
    say(desk, {"broke": broke, "findings": findings}, "\n".join(lines) or "There are no numbers to read yet.")


def tensorboard(desk: Desk, arguments: argparse.Namespace) -> None:
    """Say where a run's TensorBoard files lie, or write them to a zip."""
    folder = desk.settings.runs / runs.get(desk.db, arguments.run)["folder"]
    packed, place = reports.zipped(folder), reports.folder_of(folder)
    if arguments.to is None:
        say(desk, {"folder": str(place)}, f"tensorboard --logdir {place}")
        return
    target = Path(arguments.to)
    try:
        target.write_bytes(packed)
    except OSError as problem:
        raise Unavailable(f"{target} cannot be written ({problem.strerror}); name another file.") from problem
    say(desk, {"file": str(target), "bytes": len(packed)}, f"Written: {target} ({len(packed):,} bytes).")


def _typed(changes: object) -> str:
    """Changes as options of `train`."""
    assert isinstance(changes, dict)
    return " ".join(f"--{name.replace('_', '-')} {str(value).lower()}" for name, value in changes.items())
