"""Closing one's own account: what goes, what stays, and the examples taken back first if one wishes."""

from __future__ import annotations

from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Invalid
from factory.base.people import Person
from factory.intake import contributions, drafts

GOES = (
    "your password, your e-mail address, your API tokens and every sign-in link: nobody can sign in here as you any more",
    'your name, if you wish: your rows, verdicts, credits and sanctions are then those of "Closed account {id}"',
    "your drafts: rows that you prepared and did not send",
    "your examples, if you wish: they are withdrawn, so the next version lacks them",
)
STAYS = (
    "frozen versions, and adapters trained on them: they cannot be changed, but adapters that saw withdrawn rows are marked",
    "past credits, entries of the ledger, verdicts, and sanctions in the log, under your name or that of a closed account",
    "what others downloaded or exported before",
    "where you sign in through your organisation: what it calls you, so that the account stays closed",
)


def weigh(db: Database, person: Person) -> dict[str, Any]:
    """What closing would touch: examples (taken in, not withdrawn), verdicts, tokens (valid), goes, stays (sentences)."""
    taken = "select count(*) from example_states where person_id = ? and state not in ('withdrawn', 'refused')"
    return {
        "examples": store.value(db, taken, person.id),
        "verdicts": store.value(db, "select count(*) from verdicts where reviewer_id = ?", person.id),
        "tokens": sum(not token["revoked_at"] for token in people.tokens(db, person)),
        "goes": [sentence.format(id=person.id) for sentence in GOES],
        "stays": list(STAYS),
    }


def close(db: Database, person: Person, *, name_again: str, forget_name: bool, withdraw: bool) -> int:
    """Close one's own account for good; how many examples were withdrawn before. Nobody can undo it.

    `name_again` is the sign-in name, typed once more. Raises Invalid when it differs, Conflict for the only admin.
    """
    if name_again.strip().lower() != person.name:
        raise Invalid(f"Type your sign-in name, {person.name}, once more, so that no account is closed by mistake.")
    with store.writing(db):
        count = contributions.withdraw_all(db, person, reason="The account was closed.") if withdraw else 0
        drafts.delete_all(db, person)
        people.close_own(db, person, forget_name=forget_name)
    return count
