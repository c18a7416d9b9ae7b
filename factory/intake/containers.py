"""Files from strangers into records: unpacked, decoded and parsed within bounds, whatever the bytes are.

A record is a pair: the parsed row (a dictionary) or None, and the problem that hindered parsing or None, with its raw text.
Nothing is ever written to disk, no name inside an archive is followed, and no read goes past its limit.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.base.errors import Invalid, NotFound, Unavailable
from factory.base.settings import Settings

MAX_ROWS = 100_000
RAW_CHARACTERS = 2_000
GZIP, ZIP, PARQUET = b"\x1f\x8b", (b"PK\x03\x04", b"PK\x05\x06"), b"PAR1"
# UTF-32 first: its little-endian mark begins with the one of UTF-16.
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


@dataclass(frozen=True)
class Record:
    """One row as it was found: `fields` when it could be parsed, else `problem`, a sentence."""

    fields: dict[str, Any] | None
    problem: str | None
    raw: str


def load(data: bytes | Path, *, name: str, settings: Settings) -> bytes:
    """The bytes of an upload; a file over `settings.max_upload_bytes` is refused by its size, unread.

    Raises Invalid, NotFound for a missing path, Unavailable when it cannot be read.
    """
    if isinstance(data, Path):
        try:
            if not data.exists():
                raise NotFound(f"There is no file {data}; check the name and the folder.")
            if not data.is_file():
                raise Invalid(f"{data} is not a file; name a single file.")
            size = data.stat().st_size
        except OSError as problem:
            raise Unavailable(f"{data} cannot be read ({problem.strerror}); check its permissions.") from problem
    else:
        size = len(data)
    if size > settings.max_upload_bytes:
        raise Invalid(
            f"{name} has {size / 2**20:,.0f} MiB and a file may have {settings.max_upload_bytes / 2**20:,.0f} MiB; "
            "split it into parts."
        )
    if isinstance(data, Path):
        path = data
        try:
            with path.open("rb") as file:
                data = file.read(settings.max_upload_bytes + 1)
        except OSError as problem:
            raise Unavailable(f"{path} cannot be read ({problem.strerror}); check its permissions.") from problem
    if len(data) > settings.max_upload_bytes:
        raise Invalid(f"{name} grew while it was read; wait until it is written, then try again.")
    if not data.strip():
        raise Invalid(f"{name} is empty; choose a file with rows in it.")
    return data


def unpack(data: bytes, *, name: str, settings: Settings) -> tuple[bytes, str, str]:
    """The bytes inside, the name inside and the packing ("", ".gz" or ".zip") of a file that holds at most one other.

    Never unpacks more than `settings.max_text_bytes`. Raises Invalid.
    """
    limit = settings.max_text_bytes
    if data.startswith(GZIP):
        inside, inner, packing = _gunzip(data, name, limit), name.removesuffix(".gz"), ".gz"
    elif data.startswith(ZIP):
        inside, inner = _unzip(data, name, limit)
        packing = ".zip"
    else:
        return data, name, ""
    if len(inside) > limit:
        raise Invalid(f"{name} unpacks to more than {limit / 2**20:,.0f} MiB; split it into parts.")
    if inside.startswith((GZIP, *ZIP)):
        raise Invalid(f"{name} holds another archive inside; unpack it once and send that.")
    if not inside.strip():
        raise Invalid(f"The file inside {name} is empty; choose a file with rows in it.")
    return inside, inner, packing


def _gunzip(data: bytes, name: str, limit: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as problem:
        raise Invalid(f"{name} is a damaged gzip file; pack it again and send that.") from problem


def _unzip(data: bytes, name: str, limit: int) -> tuple[bytes, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
            if len(members) != 1:
                raise Invalid(f"{name} holds {len(members)} files; send an archive with exactly one, or the file itself.")
            if members[0].flag_bits & 1:
                raise Invalid(f"{name} is locked with a password; send it without one.")
            if members[0].file_size > limit:
                return b"\0" * (limit + 1), ""
            with archive.open(members[0]) as file:
                return file.read(limit + 1), members[0].filename.rsplit("/", 1)[-1]
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, RuntimeError) as problem:
        raise Invalid(f"{name} is a damaged or unusual zip file; pack it again with a common tool.") from problem


def decode(data: bytes, *, name: str) -> str:
    """The text of UTF-8 bytes, or of UTF-16 and UTF-32 where a byte order mark says so.

    Raises Invalid, naming the byte and the line that do not fit.
    """
    encoding = next((encoding for mark, encoding in MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise Invalid(
            f"{name} is not {encoding.removesuffix('-sig').upper()} text: byte 0x{data[problem.start]:02X} at position "
            f"{problem.start:,} (line {line:,}) does not fit; save the file as UTF-8."
        ) from problem


def parse(data: bytes, *, name: str, settings: Settings, expected: frozenset[str]) -> tuple[str, list[Record]]:
    """The container ("jsonl", "json", "csv", "tsv" or "parquet") and its records, in order.

    `expected` are the column names that some shape of row knows: they tell a header and its separator.
    Raises Invalid when the whole cannot be read, or has more than MAX_ROWS rows.
    """
    if data.startswith(PARQUET):
        return "parquet", _bounded(_parquet(data, name, settings, expected), name)
    text = decode(data, name=name)
    start = text.lstrip()[:1]
    ending = name.lower().rsplit(".", 1)[-1]
    if start == "[" and ending not in ("jsonl", "ndjson"):
        return "json", _bounded(_json(text, name), name)
    if start == "{" or ending in ("jsonl", "ndjson"):
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) > 1 and not _parses(lines[0][1]) and _parses(text):
            return "json", _bounded(_json(text, name), name)
        if len(lines) == 1 and ending == "json":
            return "json", _bounded(_json(text, name), name)
        if ending == "json" and not any(_parses(line) for _, line in lines[:20]):
            return "json", _bounded(_json(text, name), name)  # raises, and says where the JSON breaks
        return "jsonl", _bounded((_line(n, line) for n, line in lines), name)
    if ending == "json":
        return "json", _bounded(_json(text, name), name)
    separator = _separator(text, ending, expected)
    return "tsv" if separator == "\t" else "csv", _bounded(_csv(text, separator, name), name)


def _bounded(records: Iterator[Record], name: str) -> list[Record]:
    kept: list[Record] = []
    for record in records:
        if len(kept) == MAX_ROWS:
            raise Invalid(f"{name} has more than {MAX_ROWS:,} rows; split it into parts.")
        kept.append(record)
    return kept


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a value that JSON knows")


def load_json(text: str) -> Any:
    """Strict JSON of any depth that Python can hold. Raises ValueError with a few words on what is wrong."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as problem:
        raise ValueError("it is nested too deep") from problem
    except json.JSONDecodeError as problem:
        raise ValueError(f"{problem.msg[:1].lower() + problem.msg[1:]} at column {problem.colno}") from problem
    except ValueError as problem:
        words = "a number in it has thousands of digits" if "digits" in str(problem) else str(problem)
        raise ValueError(words) from problem


def _parses(text: str) -> bool:
    try:
        load_json(text)
    except ValueError:
        return False
    return True


def _line(number: int, line: str) -> Record:
    raw = line.strip()[:RAW_CHARACTERS]
    try:
        found = load_json(line)
    except ValueError as problem:
        return Record(None, f"Line {number:,} is not JSON: {problem}.", raw)
    if not isinstance(found, dict):
        return Record(None, f"Line {number:,} is not a JSON object; write {{…}} on each line.", raw)
    return Record(found, None, raw)


def _json(text: str, name: str) -> Iterator[Record]:
    try:
        found = load_json(text)
    except ValueError as problem:
        cause = problem.__cause__
        where = f" of line {cause.lineno:,}" if isinstance(cause, json.JSONDecodeError) else ""
        raise Invalid(f"{name} is not JSON: {problem}{where}.") from problem
    if isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        # {"data": [rows]} wraps rows; {"messages": [turns]} is itself one row.
        wraps = len(found) == 1 and len(lists) == 1 and not {"role", "from"} & set(lists[0][0])
        found = lists[0] if wraps else [found]
    if not isinstance(found, list):
        raise Invalid(f"{name} holds a single value; it should hold a list of rows.")
    for number, row in enumerate(found, 1):
        raw = _shown(row)
        good = isinstance(row, dict)
        yield Record(row if good else None, None if good else f"Row {number:,} is not a JSON object.", raw)


def _shown(row: Any) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, default=str)[:RAW_CHARACTERS]
    except RecursionError:
        return "…"


def _separator(text: str, ending: str, expected: frozenset[str]) -> str:
    header = text.split("\n", 1)[0]
    known = {s: len({c.strip().strip('"').lower() for c in header.split(s)} & expected) for s in (",", "\t", ";")}
    best = max(known, key=lambda s: known[s])
    return best if known[best] else "\t" if ending in ("tsv", "tab") else ","


def _csv(text: str, separator: str, name: str) -> Iterator[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            if header is None:
                raise Invalid(
                    f"The header of {name} cannot be read ({problem}); write the column names in line 1."
                ) from problem
            yield Record(None, f"Line {line:,} cannot be read as CSV: {problem}.", "")
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip().lower() for cell in cells]
            if len(set(header)) < len(header):
                raise Invalid(f"{name} has two columns of the same name; give each its own.")
            continue
        raw = separator.join(cells)[:RAW_CHARACTERS]
        if len(cells) != len(header):
            words = (
                f"Line {line:,} has {len(cells)} cells, the header has {len(header)}; put text with separators in quotes."
            )
            yield Record(None, words, raw)
        else:
            yield Record(dict(zip(header, cells, strict=True)), None, raw)


def _parquet(data: bytes, name: str, settings: Settings, expected: frozenset[str]) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        unpacked = sum(group.total_byte_size for group in groups)
        if file.metadata.num_rows > MAX_ROWS:
            raise Invalid(f"{name} has more than {MAX_ROWS:,} rows; split it into parts.")
        columns = [column for column in file.schema_arrow.names if column.lower() in expected] or file.schema_arrow.names
        # A dictionary page repeats one long value over many rows, so a batch is kept small enough for the worst case.
        batch_size = max(1, min(1024, settings.max_text_bytes // max(unpacked, 1)))
        read = unpacked
        for batch in file.iter_batches(batch_size=batch_size, columns=columns):
            read += batch.nbytes
            if read > 2 * settings.max_text_bytes:
                raise Invalid(
                    f"{name} unpacks to more than {settings.max_text_bytes / 2**20:,.0f} MiB; split it into parts."
                )
            for row in batch.to_pylist():
                yield Record({key.lower(): value for key, value in row.items()}, None, _shown(row))
    except (pyarrow.ArrowException, OSError, ValueError) as problem:
        raise Invalid(f"{name} is a damaged or unusual Parquet file; write it again with a common tool.") from problem
