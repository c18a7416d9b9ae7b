"""A process of its own that reads workbooks and PDF files for `sandbox`; imports nothing of the factory.

Called as `native.py KIND SECONDS MEMORY CHARACTERS`, with the file's bytes on the input. Answers a JSON value a line:
for "xlsx" `[sheet, row number, [cells as text]]`, for "pdf" `[page number, text]`, at last "end", or `{"refused": words}`.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

MAX_COLUMNS = 1_000
MAX_PAGES = 2_000


class Refused(Exception):
    """Words that follow the file's name."""


def limit(seconds: int, memory: int) -> None:
    """Bound this process: seconds of a processor, memory, no files, no core; where the system knows such limits."""
    with suppress(ImportError):
        import resource

        for what, most in (
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            with suppress(ValueError, OSError):
                resource.setrlimit(what, (most, most))


def _cell(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value if isinstance(value, str) else str(value)


def workbook(data: bytes) -> Iterator[Any]:
    """Each row of each sheet that has one: the sheet's name, the row's number from 1, its cells as text."""
    import python_calamine

    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        for number, meta in enumerate(book.sheets_metadata):
            if "WorkSheet" not in str(meta.typ):
                continue
            sheet = book.get_sheet_by_index(number)
            if sheet.start is None:
                continue
            if sheet.width > MAX_COLUMNS:
                raise Refused(f"has a sheet of {sheet.width:,} columns; keep at most {MAX_COLUMNS:,}.")
            for row, cells in enumerate(sheet.iter_rows(), 1):
                if any(cell != "" for cell in cells):
                    yield [meta.name, row, [_cell(cell) for cell in cells]]
    except python_calamine.PasswordError as problem:
        raise Refused("is locked with a password; save it without one.") from problem
    except (python_calamine.CalamineError, python_calamine.ZipError, python_calamine.XmlError, OSError) as problem:
        raise Refused("is a damaged or unusual workbook; save it again as .xlsx.") from problem


def pages(data: bytes) -> Iterator[Any]:
    """The text of each page that has some, with the page's number from 1."""
    import pypdfium2

    try:
        book = pypdfium2.PdfDocument(data)
        if len(book) > MAX_PAGES:
            raise Refused(f"has {len(book):,} pages; send it in parts of at most {MAX_PAGES:,}.")
        for number in range(len(book)):
            page = None
            with suppress(pypdfium2.PdfiumError):  # a damaged page; the others are read
                page = book[number]
            if page is None:
                yield [number + 1, None]
                continue
            text = page.get_textpage().get_text_bounded(errors="replace")
            yield [number + 1, text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufffe", "-\n")]
            page.close()
    except pypdfium2.PdfiumError as problem:
        locked = "password" in str(problem).lower()
        raise Refused(
            "is locked with a password; save it without one."
            if locked
            else "is a damaged or unusual PDF; save it again, or copy its text into a .txt file."
        ) from problem


READERS: dict[str, Callable[[bytes], Iterator[Any]]] = {"xlsx": workbook, "pdf": pages}


def main() -> None:
    """Read the file on the input and answer."""
    kind, seconds, memory, most = sys.argv[1], *map(int, sys.argv[2:5])
    limit(seconds, memory)
    data = sys.stdin.buffer.read()
    said = 0
    try:
        for value in READERS[kind](data):
            line = json.dumps(value)
            said += len(line)
            if said > most:
                raise Refused(f"unpacks to more than {most / 2**20:,.0f} MiB; split it into parts.")
            print(line)
        print('"end"')
    except Refused as problem:
        print(json.dumps({"refused": str(problem)}))
    except (MemoryError, RecursionError):
        print(json.dumps({"refused": "takes more memory to read than it may; save it anew, or split it into parts."}))


if __name__ == "__main__":
    main()
