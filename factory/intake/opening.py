"""A file into drafts: its rows into one, and what could be rows of its documents into another, for its author to confirm."""

from __future__ import annotations

from itertools import islice

from sqlite_utils import Database

from factory.base.errors import Invalid
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import drafts, formats, judging, proposals
from factory.intake.columns import Mapping
from factory.intake.formats import Row, Tally
from factory.intake.packing import Source
from factory.intake.proposals import Proposal


def begin(
    db: Database,
    dataset_id: int,
    *,
    person: Person,
    source: Source,
    name: str,
    settings: Settings,
    mapping: Mapping | None = None,
    encoding: str = "",
    start: int = 0,
    by: str = "file",
) -> list[int]:
    """The drafts that a file gives, unjudged still: of its rows from `start` on, and of its documents.

    A draft takes 10,000 rows; its note says where the next part begins. Raises what `formats.read` and `drafts.begin` raise.
    """
    tally = Tally()
    every = formats.rows(source, name=name, settings=settings, mapping=mapping, encoding=encoding, tally=tally)
    found = list(islice(every, start, start + judging.MAX_ROWS))
    more = next(every, None) is not None
    made = []
    if found:
        if not tally.shape:  # read to the end, to be refused in the words that say why
            formats.read(source, name=name, settings=settings, mapping=mapping, encoding=encoding)
        note = f"{tally.note} {_part(start, len(found)) if more or start else ''}".strip()
        made.append(
            drafts.begin(
                db, dataset_id, person=person, rows=found, source=by, file_name=name, note=note,
                file_format=f"{tally.container}/{tally.shape}",
            )
        )  # fmt: skip
    elif start:
        raise Invalid(f"{name} has no row {start + 1:,}; begin at an earlier one.")
    if tally.documents and not start:
        proposed = proposals.proposals(source, name=name, settings=settings, encoding=encoding)
        rows = [_row(draft) for draft in proposed.drafts]
        made.append(
            drafts.begin(
                db, dataset_id, person=person, rows=rows, source=by, file_name=name, note=proposed.note,
                file_format=tally.container, proposed=True,
            )
        )  # fmt: skip
    if not made:
        raise Invalid(f"{name} has no rows; choose a file with rows in it.")
    return made


def _part(start: int, count: int) -> str:
    return (
        f"These are the rows {start + 1:,} to {start + count:,}; for those after them drop the file again and begin at row"
        f" {start + count + 1:,}."
    )


def _row(draft: Proposal) -> Row:
    messages = [{"role": "user", "content": draft.question}, {"role": "assistant", "content": draft.answer}]
    return Row(draft.number - 1, messages, None, "", draft.place)
