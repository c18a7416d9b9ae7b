"""Commands about sanctions and reports: the public log, appeals and their answers, the moderators' queue."""

from __future__ import annotations

import argparse
from typing import Any

from factory.commands.desk import Desk, say
from factory.credit import freezes
from factory.intake import reports, sanctions
from factory.intake.sanctions import day
from factory.terminal import table


def _lines(found: list[dict[str, Any]]) -> str:
    told = [{**one, "from": day(one["starts_at"]), "until": day(one["ends_at"])} for one in found]
    return table(told, ["id", "person", "title", "reason", "from", "until", "outcome", "by_name"])


def listed(desk: Desk, arguments: argparse.Namespace) -> None:
    """The public log of sanctions, newest first."""
    found = sanctions.log(desk.db, state=arguments.state, limit=arguments.limit)
    say(desk, found, _lines(found) if found else "No sanction stands in the log.")


def show(desk: Desk, arguments: argparse.Namespace) -> None:
    """All about one sanction."""
    found = sanctions.get(desk.db, arguments.sanction)
    say(desk, found, "\n".join(f"{name:<18} {value}" for name, value in found.items() if value not in (None, "")))


def mine(desk: Desk, arguments: argparse.Namespace) -> None:
    """What holds against you or is held of yours, and what became of your reports."""
    told = sanctions.notices(desk.db, desk.person)
    holds = freezes.notices(desk.db, desk.person)
    every = sanctions.log(desk.db, person_id=desk.person.id)
    said = reports.mine(desk.db, desk.person)
    words = [*(one["sentence"] for one in told), *holds] or ["Nothing holds against you."]
    if every:
        words.append(_lines(every))
    if said:
        words.append(table(said, ["report_id", "example_id", "person", "reason", "answer", "answer_words"]))
    say(desk, {"sanctions": every, "held": holds, "reports": said}, "\n".join(words))


def impose(desk: Desk, arguments: argparse.Namespace) -> None:
    """Sanction somebody."""
    made = sanctions.impose(
        desk.db, arguments.name, by=desk.person, kind=arguments.kind, reason=arguments.reason, words=arguments.words,
        days=arguments.days, examples=arguments.examples or (),
    )  # fmt: skip
    _said(desk, made)


def _said(desk: Desk, sanction_id: int) -> None:
    found = sanctions.get(desk.db, sanction_id)
    words = (
        f"Sanction {found['id']}: {found['person']}, {found['title']} until {day(found['ends_at'])}. They see it at once."
    )
    if not sanctions.can_be_answered(desk.db, found):
        words += f" Nobody else here can answer an appeal; after {sanctions.APPEAL_DAYS} days it would lift this by itself."
    say(desk, found, words)


def appeal(desk: Desk, arguments: argparse.Namespace) -> None:
    """Appeal against a sanction of one's own."""
    sanctions.appeal(desk.db, arguments.sanction, person=desk.person, words=arguments.words)
    found = sanctions.get(desk.db, arguments.sanction)
    say(desk, found, f"Somebody who did not decide it answers by {day(found['answer_by'])}, or it is lifted by itself.")


def answer(desk: Desk, arguments: argparse.Namespace) -> None:
    """Answer an appeal against somebody else's decision."""
    sanctions.answer(desk.db, arguments.sanction, by=desk.person, answer=arguments.answer, words=arguments.words)
    found = sanctions.get(desk.db, arguments.sanction)
    say(desk, found, f"Sanction {found['id']} is {arguments.answer}; it {found['outcome']}.")


def lift(desk: Desk, arguments: argparse.Namespace) -> None:
    """End a sanction early."""
    sanctions.lift(desk.db, arguments.sanction, by=desk.person, words=arguments.words)
    say(desk, sanctions.get(desk.db, arguments.sanction), f"Sanction {arguments.sanction} is lifted.")


def report(desk: Desk, arguments: argparse.Namespace) -> None:
    """Say that a row or a person should be looked at."""
    made = reports.report(
        desk.db, by=desk.person, reason=arguments.reason, words=arguments.words, example_id=arguments.example,
        who=arguments.person,
    )  # fmt: skip
    say(desk, {"report_id": made}, f"Report {made} is in the moderators' queue; `sanctions mine` shows its answer.")


def queue(desk: Desk, arguments: argparse.Namespace) -> None:
    """What waits for a moderator who is not involved: reports, and appeals against others' decisions."""
    waiting = reports.queue(desk.db, by=desk.person)
    appealed = sanctions.open_appeals(desk.db, by=desk.person)
    words = []
    if waiting:
        words.append(table(waiting, ["report_id", "example_id", "name", "reason", "words", "by_name", "sanctions_before"]))
    words += [f"Sanction {one['id']} of {one['person']} was appealed: {one['appeal']}" for one in appealed]
    say(desk, {"reports": waiting, "appeals": appealed}, "\n".join(words) or "Nothing waits for you.")


def dismiss(desk: Desk, arguments: argparse.Namespace) -> None:
    """Answer a report without a sanction."""
    reports.dismiss(desk.db, arguments.report, by=desk.person, words=arguments.words)
    say(desk, {"report_id": arguments.report}, "The report is answered; who sent it reads your words.")


def act(desk: Desk, arguments: argparse.Namespace) -> None:
    """Answer a report with a sanction."""
    made = reports.act(
        desk.db, arguments.report, by=desk.person, kind=arguments.kind, reason=arguments.reason, words=arguments.words,
        days=arguments.days, examples=arguments.examples or (),
    )  # fmt: skip
    _said(desk, made)
