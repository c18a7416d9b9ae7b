"""Files from strangers opened for reading: alone, compressed, or several in a zip; never more of them than the limits allow.

| packed as | how |
|---|---|
| .gz .bz2 .xz .zst | one file, unpacked while it is read |
| .zip | any number of files up to MAX_MEMBERS, each read where it lies |

What is packed is told by the first bytes, not by the name. No name inside an archive is ever followed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, BinaryIO

from factory.base.errors import FactoryError, Invalid, NotFound, Unavailable
from factory.base.settings import Settings

Source = bytes | Path | BinaryIO

MAX_MEMBERS = 200
MAX_DIRECTORY_BYTES = 2**20
XZ_MEMORY = 128 * 2**20
IN_MEMORY = 8 * 2**20
HEAD = 2**16
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
OFFICE = {"word/document.xml": "docx", "xl/workbook.xml": "xlsx"}
PACKED = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\x00", ".zst": b"\x28\xb5\x2f\xfd"}
# All that Python's readers of archives are known to raise on damaged ones.
BROKEN = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, RuntimeError, struct.error),
    *(ValueError, OverflowError, KeyError),
)


@dataclass(frozen=True)
class Member:
    """One file to read: its `name`, its `packing` ("", ".gz", ".zip" …), its first bytes, and how to open it anew.

    A member that cannot be read at all has a `problem`, a sentence, and no bytes.
    """

    name: str
    packing: str
    head: bytes
    open: Callable[[], BinaryIO]
    problem: str = ""


def need_size(source: Source, *, name: str, settings: Settings) -> int:
    """The bytes of an upload as it lies, unread.

    Raises Invalid over `settings.max_upload_bytes`, NotFound for a missing path, Unavailable when it cannot be read.
    """
    if isinstance(source, Path):
        try:
            if not source.exists():
                raise NotFound(f"There is no file {source}; check the name and the folder.")
            if not source.is_file():
                raise Invalid(f"{source} is not a file; name a single file.")
            size = source.stat().st_size
        except OSError as problem:
            raise Unavailable(f"{source} cannot be read ({problem.strerror}); check its permissions.") from problem
    else:
        size = len(source) if isinstance(source, bytes) else source.seek(0, io.SEEK_END)
    if size > settings.max_upload_bytes:
        raise Invalid(
            f"{name} has {size / 2**20:,.0f} MiB and a file may have {settings.max_upload_bytes / 2**20:,.0f} MiB; "
            "split it into parts."
        )
    return size


def members(source: Source, *, name: str, settings: Settings) -> list[Member]:
    """What there is to read in a file: itself, or what it holds, in the order of the archive.

    Never unpacks more than `settings.max_text_bytes` in all. Raises Invalid, NotFound, Unavailable.
    """
    need_size(source, name=name, settings=settings)

    def whole() -> BinaryIO:
        return _open(source, name)

    head = _head(whole)
    if not head.strip():
        raise Invalid(f"{name} is empty; choose a file with rows in it.")
    packing = next((ending for ending, mark in PACKED.items() if head.startswith(mark)), "")
    if packing:
        return [_unpacked(whole, packing, name, settings.max_text_bytes)]
    if head.startswith(ZIP) and not office_kind(whole, name):
        return _zipped(whole, name, settings.max_text_bytes)
    return [Member(name, "", head, whole)]


def _open(source: Source, name: str) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if isinstance(source, Path):
        try:
            return source.open("rb")
        except OSError as problem:
            raise Unavailable(f"{source} cannot be read ({problem.strerror}); check its permissions.") from problem
    source.seek(0)
    return io.BufferedReader(_Stream(source, None, name))


def _head(opened: Callable[[], BinaryIO]) -> bytes:
    """The first bytes that are not blank, as many as tell what the file is."""
    with opened() as file:
        head = file.read(HEAD)
        while head and not head.strip():
            head = file.read(HEAD)
        return head


class _Stream(io.RawIOBase):
    """A stream that refuses in words when it is damaged or unpacks to more than `limit`; the caller's own stays open."""

    def __init__(self, file: IO[bytes], limit: int | None, name: str) -> None:
        self.file, self.limit, self.name, self.count = file, limit, name, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.limit is None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.file.read(len(buffer))
        except FactoryError:
            raise
        except BROKEN as problem:
            raise Invalid(f"{self.name} is a damaged or unusual archive; pack it again and send that.") from problem
        self.count += len(data)
        if self.limit is not None and self.count > self.limit:
            raise Invalid(f"{self.name} unpacks to more than {self.limit / 2**20:,.0f} MiB; split it into parts.")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self.limit is not None:
            self.file.close()
        super().close()


class _Xz(io.RawIOBase):
    """An xz file unpacked in bounded memory: a stranger's file chooses how much its dictionary takes."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.inside = file, lzma.LZMADecompressor(memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self.inside.eof:  # xz files may follow one another
                rest = self.inside.unused_data.lstrip(b"\0") or self.file.read(HEAD).lstrip(b"\0")
                if not rest:
                    return 0
                self.inside = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
            else:
                rest = self.file.read(HEAD) if self.inside.needs_input else b""
                if self.inside.needs_input and not rest:
                    raise EOFError("the file ends too early")
            data = self.inside.decompress(rest, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()


def _decompressed(file: BinaryIO, packing: str) -> IO[bytes]:
    if packing == ".gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=file))
    if packing == ".bz2":
        return bz2.open(file)
    if packing == ".xz":
        return io.BufferedReader(_Xz(file))
    import pyarrow

    found: BinaryIO = pyarrow.CompressedInputStream(file, "zstd")
    return found


def _unpacked(whole: Callable[[], BinaryIO], packing: str, name: str, limit: int) -> Member:
    def opened() -> BinaryIO:
        try:
            return io.BufferedReader(_Stream(_decompressed(whole(), packing), limit, name))
        except BROKEN as problem:
            raise Invalid(f"{name} is a damaged or unusual archive; pack it again and send that.") from problem

    inner = name[: -len(packing)] if name.lower().endswith(packing) else name
    return _inside(Member(inner, packing, _head(opened), opened), name)


def _inside(member: Member, name: str) -> Member:
    """The member, if what was packed is a file with something in it. Raises Invalid."""
    if not member.head.strip():
        raise Invalid(f"The file inside {name} is empty; choose a file with rows in it.")
    packed_again = member.head.startswith((*ZIP, *PACKED.values())) or member.head[257:262] == b"ustar"
    if packed_again and not (member.head.startswith(ZIP) and office_kind(member.open, member.name)):
        raise Invalid(f"{name} holds another archive inside; unpack it once and send that.")
    return member


def _zipped(whole: Callable[[], BinaryIO], name: str, limit: int) -> list[Member]:
    with unzipped(whole, name) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _hidden(entry.filename)]
    if not entries or len(entries) > MAX_MEMBERS:
        raise Invalid(f"{name} holds {len(entries):,} files; send an archive with at least one and at most {MAX_MEMBERS}.")
    # What an archive says of its sizes is kept to: zipfile stops reading there.
    if sum(entry.file_size for entry in entries) > limit:
        raise Invalid(f"{name} unpacks to more than {limit / 2**20:,.0f} MiB; split it into parts.")
    found = []
    for entry in entries:
        inner = entry.filename.replace("\\", "/").rsplit("/", 1)[-1]
        label = inner if len(entries) == 1 else f"{name} › {inner}"
        try:
            found.append(_entry(whole, entry, label, name, limit))
        except Invalid as problem:
            if len(entries) == 1:
                raise
            found.append(Member(label, ".zip", b"", io.BytesIO, str(problem)))
    if all(member.problem for member in found):
        raise Invalid(found[0].problem)
    return found


def _entry(whole: Callable[[], BinaryIO], entry: zipfile.ZipInfo, label: str, name: str, limit: int) -> Member:
    if entry.flag_bits & 1:
        raise Invalid(f"{name} is locked with a password; send it without one.")

    def opened() -> BinaryIO:
        try:
            archive = zipfile.ZipFile(whole())
            return io.BufferedReader(_Stream(archive.open(entry), limit, f"The zip file {name}"))
        except BROKEN as problem:
            raise Invalid(f"{name} is a damaged or unusual zip file; pack it again with a common tool.") from problem

    return _inside(Member(label, ".zip", _head(opened), opened), label)


def _hidden(path: str) -> bool:
    return path.startswith("__MACOSX/") or path.rsplit("/", 1)[-1].startswith(".")


@contextmanager
def unzipped(whole: Callable[[], BinaryIO], name: str) -> Iterator[zipfile.ZipFile]:
    """The zip archive in a file, its list of entries bounded. Raises Invalid for a damaged one."""
    with whole() as file:
        try:
            _need_short_directory(file, name)
            with zipfile.ZipFile(file) as archive:
                yield archive
        except BROKEN as problem:
            raise Invalid(f"{name} is a damaged or unusual zip file; pack it again with a common tool.") from problem


def _need_short_directory(file: BinaryIO, name: str) -> None:
    """Raises Invalid when the list of entries is long enough to fill memory by itself."""
    end = file.seek(0, io.SEEK_END)
    file.seek(max(0, end - 2**16 - 100))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(b"PK\x05\x06")
    long = at >= 0 and int.from_bytes(tail[at + 12 : at + 16], "little") > MAX_DIRECTORY_BYTES
    if long or b"PK\x06\x06" in tail:  # the second is for archives over 4 GiB
        raise Invalid(f"{name} holds more files than can be read; send at most {MAX_MEMBERS}.")


def office_kind(whole: Callable[[], BinaryIO], name: str) -> str:
    """Whether a zip is a document of Word ("docx") or a workbook of Excel ("xlsx"); "" when it is neither.

    The name decides where the archive is damaged, so that it is refused as what it was.
    """
    ending = name.lower().rsplit(".", 1)[-1]
    by_name = ending if ending in OFFICE.values() else ""
    try:
        with spooled(whole) as file, unzipped(lambda: file, name) as archive:
            inside = set(archive.namelist())
    except Invalid:
        return by_name
    return next((kind for part, kind in OFFICE.items() if part in inside), by_name)


def spooled(opened: Callable[[], BinaryIO]) -> BinaryIO:
    """The same bytes in a file that can be read in any order: itself where it can, else unpacked to a temporary one."""
    file = opened()
    if file.seekable():
        return file
    with file:
        copy = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - the caller closes it
        while data := file.read(2**20):
            copy.write(data)
    copy.seek(0)
    found: BinaryIO = copy  # type: ignore[assignment]
    return found
