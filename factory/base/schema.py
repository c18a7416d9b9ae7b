"""Every table of the program, as migrations that are never edited once landed.

Moments are seconds since 1970 (UTC) in columns ending in `_at`. Content that must stay as it was is guarded by
triggers, so that not even a bug can rewrite it. `docs/schema.md` is printed from here.
"""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

MIGRATIONS = Migrations("factory")


def _script(name: str) -> str:
    """The SQL of one room's tables."""
    return (Path(__file__).parent / "first_version" / f"{name}.sql").read_text(encoding="utf-8")


PEOPLE = _script("people")
INTAKE = _script("intake")
TRAINING = _script("training")
ADAPTERS = _script("adapters")
CREDIT = _script("credit")

UNCHANGING = (
    *("policies", "held_out_sets", "held_out_rows", "submissions", "examples", "findings", "verdicts", "decisions"),
    *("gold_verdicts", "review_conflicts"),
    *("withdrawals", "dataset_versions", "version_rows", "metrics", "evaluations", "evaluation_rows", "generations"),
    *("samples", "forgetting", "forgetting_chunks", "preflights", "run_sources"),
    *("attributions", "attribution_rows", "attribution_people", "ledger_transactions", "ledger_entries"),
)


@MIGRATIONS()
def first_version(db: Database) -> None:
    """Every table of the first version, and the triggers that keep the append-only ones so."""
    for script in (PEOPLE, INTAKE, TRAINING, ADAPTERS, CREDIT):
        for statement in script.split(";\n"):
            if statement.strip():
                db.execute(statement)
    db.execute("insert into draw_secret (value) values (randomblob(32))")
    for table in UNCHANGING:
        for verb in ("update", "delete"):
            db.execute(
                f"create trigger {table}_refuses_{verb} before {verb} on {table} "
                f"begin select raise(abort, '{table} is append-only'); end"
            )


VERSION = len(MIGRATIONS._migrations)
