"""What a terminal shows: tables, progress with the time that is left, and a run followed live.

Everything that moves goes to stderr, so that stdout holds only what was asked for and can be piped.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlite_utils import Database

from factory.base.settings import Settings
from factory.training import runs

FOLLOW_SECONDS, LINE_SECONDS = 0.5, 10.0
SAID = re.compile(r"(\w+): +(\d+)% (.*)")  # as the line writes its progress into a run's log
Told = Callable[[str, int, int], None]


def table(records: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Records as aligned columns, numbers to the right; a column missing everywhere is left out.

    >>> print(table([{"name": "ada", "rows": 12}, {"name": "bo", "rows": 3}], ["name", "rows"]))
    name  rows
    ada     12
    bo       3
    """
    kept = [column for column in columns if any(record.get(column) is not None for record in records)]
    if not kept:
        return ""
    lines = [kept, *([_text(record.get(column)) for column in kept] for record in records)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(kept))]
    right = [all(isinstance(r.get(c), (int, float, type(None))) for r in records) for c in kept]
    return "\n".join(
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return " ".join(str(value).split())[:60]


def size(count: float) -> str:
    """Bytes in words.

    >>> size(538_000_000)
    '513 MiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(75), duration(4)
    ('1 min 15 s', '4 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def bars(*, quiet: bool = False) -> Iterator[Told]:
    """A progress bar for each stage, drawn on stderr: yields what is to be told (stage, done, total).

    Where stderr is no terminal, a line is written when a stage begins, every ten seconds, and when it is done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    if quiet:
        yield lambda stage, done, total: None
        return
    if not sys.stderr.isatty():
        yield _lines()
        return
    columns = (
        TextColumn("{task.description:<34}"), BarColumn(bar_width=28), MofNCompleteColumn(), TextColumn("elapsed"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[words]}"),
    )  # fmt: skip
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def tell(stage: str, done: int, total: int) -> None:
            label, _, words = stage.partition(" | ")
            if label not in tasks:
                tasks[label] = progress.add_task(label, total=total or None, words="")
            task = progress.tasks[tasks[label]]
            if total and done >= total:  # a stage that is over keeps the number it counted to
                total = done = int(task.total or total)
            progress.update(task.id, completed=done, total=total or None, words=words.strip() or task.fields["words"])

        yield tell


def _lines() -> Told:
    told: dict[str, tuple[float, bool, str]] = {}

    def tell(stage: str, done: int, total: int) -> None:
        label, _, words = stage.partition(" | ")
        since, finished, line = told.get(label, (-LINE_SECONDS, False, ""))
        ended = bool(total) and done >= total
        said = f"{label.strip()}: {'done' if ended else f'{done}/{total}' if total else 'begins'} {words.strip()}".rstrip()
        if finished or said == line or (not ended and time.monotonic() - since < LINE_SECONDS):
            return
        told[label] = (time.monotonic(), ended, said)
        print(said, file=sys.stderr, flush=True)

    return tell


def follow(
    db: Database, settings: Settings, run_id: int, tell: Told, *, trainer: subprocess.Popen[bytes] | None = None
) -> dict[str, Any]:
    """Tell how a run goes on until it ends, whoever works on it, and return the run.

    A queued run is waited for, unless `trainer` is who should take it and that process has ended. A trainer that died is
    reaped, so this ends then too.
    """
    stage = ""
    while True:
        gone = trainer is not None and trainer.poll() is not None  # looked at before the row: it may end in between
        runs.reap(db)
        run = runs.get(db, run_id)
        now = "queued" if run["status"] == "queued" else str(run["stage"])
        if stage and now != stage:
            tell(_label(run, stage), 1, 1)
        stage = now
        if run["status"] not in ("queued", "running") or (gone and run["status"] == "queued"):
            tell(_label(run, stage), 1, 1)
            return run
        if stage == "train":
            tell(f"{_label(run, stage)} | {_newest(db, run_id)}", run["steps_done"], run["steps_total"] or 0)
        elif said := SAID.fullmatch(runs.log_tail(settings, run["folder"], lines=1).strip()):
            tell(f"{_label(run, stage)} | {said[3]}", min(int(said[2]), 99) if said[1] == stage else 0, 100)
        time.sleep(FOLLOW_SECONDS)


def _label(run: dict[str, Any], stage: str) -> str:
    return f"run {run['id']}: {stage}"


def _newest(db: Database, run_id: int) -> str:
    found = runs.metrics(db, run_id, ["loss", "held_out_loss", "tokens_per_second"], points=400)
    words = []
    for name, label in (("loss", "loss"), ("held_out_loss", "held-out"), ("tokens_per_second", "tokens/s")):
        if found.get(name):
            words.append(f"{label} {found[name][-1][1]:.3g}")
    return " · ".join(words)
