"""Every table of the program, as migrations that are never edited once landed.

Moments are seconds since 1970 (UTC) in columns ending in `_at`. Content that must stay as it was is guarded by
triggers, so that not even a bug can rewrite it. `docs/schema.md` is printed from here.
"""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

MIGRATIONS = Migrations("factory")
ROOMS = ("people", "intake", "training", "adapters", "credit")

_UNCHANGING_AT_FIRST = (
    *("policies", "held_out_sets", "held_out_rows", "submissions", "examples", "findings", "verdicts", "decisions"),
    *("gold_verdicts", "review_conflicts"),
    *("withdrawals", "dataset_versions", "version_rows", "metrics", "evaluations", "evaluation_rows", "generations"),
    *("samples", "forgetting", "forgetting_chunks", "preflights", "run_sources"),
    *("attributions", "attribution_rows", "attribution_people", "ledger_transactions", "ledger_entries"),
)


# What came after the first version, in this order: a file of `later/`, and the tables in it that only grow.
# Once landed, neither a line here nor a file is edited. The number says who wrote it, not when; the place here says when.
LATER: dict[str, tuple[str, ...]] = {
    "0015_drafts": (),
    "0016_attested": (),
    "0035_states": (),
    "0036_tallies": (),
    "0037_outcomes": (),
    "0045_sanctions": (
        *("reports", "report_answers", "sanctions", "sanction_lifts", "sanction_appeals", "sanction_answers"),
        "sanction_receipts",
    ),
    "0046_freezes": ("freezes", "freeze_ends"),
    "0040_topics": ("topic_maps", "topics", "topic_points", "topic_questions"),
    "0010_places": ("example_places",),
    "0025_review_queue": (),
    "0026_detected_conflicts": (),
    "0027_held_verdicts": (),
    "0041_bounties": ("pot_gifts", "bounties", "bounty_rows", "bounty_ends"),
    "0038_words": (),
    "0020_meanings": (),
    "0039_withdrawn_rows": (),
    "0060_named_licences": (),
    "0061_bounty_stops": ("bounty_stops",),
    "0055_version_changes": ("version_changes", "version_people"),
}

UNCHANGING = (*_UNCHANGING_AT_FIRST, *(table for tables in LATER.values() for table in tables))


def scripts() -> list[str]:
    """The SQL of every table, oldest first."""
    here = Path(__file__).parent
    files = [here / "first_version" / f"{room}.sql" for room in ROOMS] + [here / "later" / f"{name}.sql" for name in LATER]
    return [file.read_text(encoding="utf-8") for file in files]


def _run(db: Database, script: str) -> None:
    # A trigger has semicolons of its own, and stands on one line for this reason.
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)


def _guard(db: Database, tables: tuple[str, ...]) -> None:
    for table in tables:
        for verb in ("update", "delete"):
            db.execute(
                f"create trigger {table}_refuses_{verb} before {verb} on {table} "
                f"begin select raise(abort, '{table} is append-only'); end"
            )


@MIGRATIONS()
def first_version(db: Database) -> None:
    """Every table of the first version, and the triggers that keep the append-only ones so."""
    for script in scripts()[: len(ROOMS)]:
        _run(db, script)
    db.execute("insert into draw_secret (value) values (randomblob(32))")
    _guard(db, _UNCHANGING_AT_FIRST)


def _register(name: str, script: str, unchanging: tuple[str, ...]) -> None:
    @MIGRATIONS(name=name)
    def later(db: Database) -> None:
        _run(db, script)
        _guard(db, unchanging)


for (_name, _tables), _script in zip(LATER.items(), scripts()[len(ROOMS) :], strict=True):
    _register(_name, _script, _tables)

VERSION = len(MIGRATIONS._migrations)
