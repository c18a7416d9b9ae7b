"""Hostile files: bounded in size, in depth and in what they unpack to."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from factory.base.errors import Invalid, NotFound
from factory.base.settings import Settings
from factory.intake import formats

SMALL = Settings(home=Path("unused"), max_upload_bytes=2**20, max_text_bytes=4 * 2**20)


def refusal(data: bytes | Path, name: str = "rows.zip", settings: Settings = SMALL) -> str:
    with pytest.raises(Invalid) as caught:
        formats.read(data, name=name, settings=settings)
    assert len(caught.value.problems) == 1
    return str(caught.value)


def zipped(members: dict[str, bytes], **options: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_DEFLATED, **options) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_two_gigabytes_are_refused_by_size_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.truncate(2 * 2**30)  # a hole: it has the size without the bytes
    tracemalloc.start()
    words = refusal(path, path.name, Settings(home=tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "2,048 MiB" in words
    assert peak < 2**20


@pytest.mark.parametrize("data", [b"", b"   \n\t ", gzip.compress(b""), zipped({"a.jsonl": b" "})])
def test_an_empty_file_is_called_empty(data: bytes) -> None:
    assert "empty" in refusal(data)


def test_a_gzip_bomb_is_stopped_at_the_limit() -> None:
    bomb = gzip.compress(b"\n" * (64 * 2**20))
    tracemalloc.start()
    words = refusal(bomb, "bomb.jsonl.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than 4 MiB" in words
    assert peak < 20 * 2**20


def test_a_zip_bomb_is_stopped_at_the_limit_even_when_it_lies_about_its_size() -> None:
    honest = zipped({"a.jsonl": b"0" * (64 * 2**20)})
    assert "more than 4 MiB" in refusal(honest)
    lying = honest.replace(struct.pack("<I", 64 * 2**20), struct.pack("<I", 100))
    assert lying != honest
    assert "zip" in refusal(lying)


def test_archives_in_archives_are_refused() -> None:
    inner = zipped({"a.jsonl": b'{"question": "a", "answer": "b"}'})
    assert "another archive" in refusal(zipped({"inner.zip": inner}))
    assert "another archive" in refusal(gzip.compress(inner), "a.gz")


@pytest.mark.parametrize("count", [0, 201])
def test_an_archive_holds_between_one_and_two_hundred_files(count: int) -> None:
    assert f"{count} files" in refusal(zipped({f"{i}.jsonl": b"{}" for i in range(count)}))


def test_all_files_of_an_archive_are_read_and_what_cannot_be_is_said_in_its_place() -> None:
    pair = b'{"question": "a", "answer": "b"}'
    data = zipped({"one.jsonl": pair, "two.csv": b"prompt,response\nc,d\n", "in.zip": zipped({"x": pair}), "n.md": b"# Hi"})
    reading = formats.read(data, name="all.zip", settings=SMALL)
    assert [row.messages is not None for row in reading.rows] == [True, True, False]
    assert "another archive" in (reading.rows[2].problem or "")
    assert [row.place.file for row in reading.rows if row.place] == [
        f"all.zip › {n}" for n in ("one.jsonl", "two.csv", "in.zip")
    ]
    assert reading.container == "jsonl.zip and csv.zip and markdown.zip"
    assert "all.zip › n.md is a document" in reading.note


def test_a_path_inside_an_archive_is_never_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reading = formats.read(zipped({"../../evil.jsonl": b'{"question": "a", "answer": "b"}'}), name="a.zip", settings=SMALL)
    assert len(reading.rows) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04" + b"x" * 50, b"\x1f\x8b" + b"x" * 50, b"PAR1" + b"x" * 50, gzip.compress(b"abc")[:-4]]
)
def test_damaged_archives_are_one_sentence(data: bytes) -> None:
    assert "damaged" in refusal(data, "a.bin")


def test_a_locked_archive_is_refused() -> None:
    locked = bytearray(zipped({"a.jsonl": b"{}"}))
    locked[6] |= 1
    locked[bytes(locked).index(b"PK\x01\x02") + 8] |= 1
    assert "password" in refusal(bytes(locked))


def test_more_than_a_hundred_thousand_rows_are_refused() -> None:
    row = b'{"question": "a", "answer": "b"}\n'
    settings = Settings(home=Path("unused"))
    most = settings.max_file_rows
    assert len(formats.read(row * most, name="a.jsonl", settings=settings).rows) == most == 100_000
    assert "more than 100,000 rows" in refusal(row * (most + 1), "a.jsonl", settings)
    assert "more than 100,000 rows" in refusal(b"question,answer\n" + b"a,b\n" * (most + 1), "a.csv", settings)


def test_a_parquet_file_that_repeats_one_long_value_is_stopped_at_the_limit() -> None:
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    long = "x" * 200_000
    parquet.write_table(pyarrow.table({"question": [long] * 2_000, "answer": ["b"] * 2_000}), buffer)
    assert len(buffer.getvalue()) < SMALL.max_upload_bytes
    assert "more than 4 MiB" in refusal(buffer.getvalue(), "a.parquet")


def test_a_csv_cell_beyond_the_parsers_limit_is_a_problem_of_its_row() -> None:
    data = b"question,answer\na,b\n" + b"x" * 200_000 + b",b\nc,d\n"
    rows = formats.read(data, name="a.csv", settings=SMALL).rows
    assert [row.problem is None for row in rows] == [True, False, True]


@pytest.mark.parametrize("header", ["a,a\n1,2\n", "question\n\n"])
def test_a_header_of_no_use_is_one_sentence(header: str) -> None:
    assert refusal(header.encode(), "a.csv")


def test_folders_devices_and_missing_files_are_told_apart(tmp_path: Path) -> None:
    assert "not a file" in refusal(tmp_path)
    with pytest.raises(NotFound):
        formats.read(tmp_path / "nothing.csv", name="nothing.csv", settings=SMALL)
    if os.path.exists("/dev/zero"):
        assert "not a file" in refusal(Path("/dev/zero"))
