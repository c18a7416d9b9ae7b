"""Rows in tables: CSV and its kin, Parquet, and workbooks; each read as a stream."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

from factory.base.errors import Invalid
from factory.base.settings import Settings
from factory.intake import sandbox
from factory.intake.decoding import damaged, lines, repaired
from factory.intake.provenance import Place
from factory.intake.records import RAW_CHARACTERS, Record, folded, shown

SEPARATORS = (",", "\t", ";", "|")
LONGEST_ROW = 2**20
MAX_COLUMNS = 1_000
MAX_TORN = 100


def separator_of(head: str, ending: str, expected: frozenset[str]) -> str:
    """What parts the columns of a table, told by known names in its first line, else by what parts its lines alike.

    >>> separator_of("question;answer\\n", "csv", frozenset({"question", "answer"}))
    ';'
    """
    first, *others = [line for line in head.splitlines()[:20] if line.strip()] or [""]
    known = {s: len({cell.strip().strip('"').lower() for cell in first.split(s)} & expected) for s in SEPARATORS}
    best = max(known, key=lambda s: known[s])
    if known[best]:
        return best
    usual = "\t" if ending in ("tsv", "tab") else ","
    if usual in first:
        return usual
    alike = {s: first.count(s) for s in SEPARATORS if first.count(s) and all(line.count(s) for line in others[:5])}
    return max(alike, key=lambda s: alike[s]) if alike else usual


class _Feed:
    """Lines for the CSV reader, which remembers those it gave out for a row, so that they can be given out anew."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.lines = lines(text)
        self.again: list[tuple[int, str | None]] = []
        self.given: list[tuple[int, str | None]] = []
        self.dry, self.size = False, 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        found = self.again.pop() if self.again else next(self.lines, None)
        if found is None:
            self.dry = True
            raise StopIteration
        self.given.append(found)
        if found[1] is None or self.size > LONGEST_ROW:
            raise csv.Error("it is too long")
        self.size += len(found[1])
        return found[1]

    def begin(self) -> None:
        self.given, self.size, self.dry = [], 0, False

    def give_back(self) -> None:
        """Puts all lines but the first back: a quotation mark that never closes must not swallow the rows after it."""
        self.again += reversed(self.given[1:])
        del self.given[1:]


def _rows(text: io.TextIOWrapper, separator: str, name: str) -> Iterator[tuple[int, int, list[str] | None, str]]:
    """First and last line, cells or None, and what was wrong, for each row; a torn one costs its first line alone."""
    feed, width, torn = _Feed(text), 0, 0
    while True:
        feed.begin()
        reader = csv.reader(feed, delimiter=separator)
        try:
            cells, problem = next(reader), ""
        except StopIteration:
            return
        except csv.Error as found:
            cells, problem = [], str(found)
        several = len(feed.given) > 1
        if not problem and (feed.dry or (several and not _strict(feed.given, separator, width))):
            problem = "a quotation in it never ends"
        if problem and several:
            torn += 1
            if torn > MAX_TORN:
                raise Invalid(f"{name} has over {MAX_TORN} quotations that never end; save it again with a common tool.")
            feed.give_back()
        first, last = feed.given[0][0], feed.given[-1][0]
        if not problem and not any(cell.strip() for cell in cells):
            continue
        yield first, last, None if problem else cells, problem
        width = width or len(cells)


def _strict(given: list[tuple[int, str | None]], separator: str, width: int) -> bool:
    """Whether a row over several lines is well quoted and as wide as the header: else a stray mark joined its lines."""
    try:
        cells = next(csv.reader((line or "" for _, line in given), delimiter=separator, strict=True))
    except (csv.Error, StopIteration):
        return False
    return not width or len(cells) == width


def delimited(text: io.TextIOWrapper, separator: str, name: str) -> Iterator[Record]:
    """The rows of a CSV or TSV file under the column names in its first line. Raises Invalid for a header of no use."""
    header: list[str] | None = None
    for first, last, cells, problem in _rows(text, separator, name):
        place = Place(name, "line", first, last)
        if header is None:
            if cells is None:
                raise Invalid(f"The header of {name} cannot be read ({problem}); write the column names in line 1.")
            header = _header(cells, name)
        elif cells is None:
            yield Record(None, f"Line {first:,} cannot be read as CSV: {problem}.", "", place)
        else:
            yield _record(header, cells, separator, place)


def _header(cells: list[str], name: str) -> list[str]:
    header = [" ".join(repaired(cell).lower().split()) for cell in cells]
    while header and not header[-1]:  # a separator at the end of each line
        header.pop()
    if len(set(header)) < len(header):
        raise Invalid(f"{name} has two columns of the same name; give each its own.")
    if len(header) > MAX_COLUMNS:
        raise Invalid(f"{name} has {len(header):,} columns; keep at most {MAX_COLUMNS:,}.")
    return header


def _record(header: list[str], cells: list[str], separator: str, place: Place) -> Record:
    raw = repaired(separator.join(cells)[:RAW_CHARACTERS])
    while len(cells) > len(header) and not cells[-1]:
        cells.pop()
    where = place.unit.capitalize()
    if len(cells) != len(header):
        counts = f"{len(cells)} cells, the header has {len(header)}"
        words = f"{where} {place.first:,} has {counts}; put text with separators in quotes."
        return Record(None, words, raw, place)
    if any(damaged(cell) for cell in cells):
        return Record(None, f"{where} {place.first:,} has a damaged character; write it again as UTF-8.", raw, place)
    return Record(dict(zip(header, cells, strict=True)), None, raw, place)


def workbook(file: BinaryIO, name: str, settings: Settings) -> Iterator[Record]:
    """The rows of each sheet of an Excel workbook under the column names in its first row; formulas as last computed."""
    header: list[str] = []
    inside = ""
    for sheet, number, cells in sandbox.read("xlsx", file, name=name, settings=settings):
        if sheet != inside:
            inside, header = sheet, _header(cells, f"The sheet {sheet[:60]} of {name}")
            continue
        padded = cells + [""] * (len(header) - len(cells))
        yield _record(header, padded, "\t", Place(f"{name} › {sheet[:60]}", "row", number, number))


def parquet(file: BinaryIO, name: str, settings: Settings, expected: frozenset[str]) -> Iterator[Record]:
    """The rows of a Parquet file, of the columns in `expected` where there are such, else of all. Raises Invalid."""
    import pyarrow
    from pyarrow import parquet as pq

    try:
        table = pq.ParquetFile(file)
        groups = [table.metadata.row_group(i) for i in range(table.metadata.num_row_groups)]
        unpacked = sum(group.total_byte_size for group in groups)
        names = table.schema_arrow.names
        if table.metadata.num_rows > settings.max_file_rows:
            raise Invalid(f"{name} has more than {settings.max_file_rows:,} rows; split it into parts.")
        columns = [column for column in names if column.lower() in expected] or names
        # A dictionary page repeats one long value over many rows, so a batch is kept small enough for the worst case.
        batch_size = max(1, min(1024, settings.max_text_bytes // max(unpacked, 1)))
        read, number = unpacked, 0
        for batch in table.iter_batches(batch_size=batch_size, columns=columns):
            read += batch.nbytes
            if read > 2 * settings.max_text_bytes:
                raise Invalid(
                    f"{name} unpacks to more than {settings.max_text_bytes / 2**20:,.0f} MiB; split it into parts."
                )
            for row in batch.to_pylist():
                number += 1
                yield Record(folded(row), None, shown(row), Place(name, "row", number, number))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as problem:
        raise Invalid(f"{name} is a damaged or unusual Parquet file; write it again with a common tool.") from problem
