"""Bytes of strangers as text: the encoding found out, line ends of every kind, and damage that stays where it is.

A byte that does not fit becomes DAMAGED at its place, so that it spoils one row and not the file.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from factory.base.errors import Invalid

# UTF-32 first: its little-endian mark begins with the one of UTF-16.
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
LEGACY = (
    *("cp1252", "iso8859_15", "cp1250", "iso8859_2", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949", "mac_roman", "cp437", "cp850"),
)
LATIN = ("cp1250", "iso8859_2", "iso8859_15", "cp1254", "cp1257", "mac_roman", "cp437", "cp850")
NAMES = {"cp1252": "Windows-1252", "latin-1": "ISO-8859-1", "utf-8-sig": "utf-8"}
DAMAGED = "\udcff"  # half of a character: nothing that is read properly can have it
NO_TEXT = "{name} is not text and of no kind that is read here; send JSONL, CSV, XLSX, Parquet, DOCX, PDF or text."
CONTROLS = bytes({*range(1, 32), 127} - set(b"\t\n\v\f\r\x1b"))  # what no text has, and packed bytes have often
LONGEST_LINE = 2**22
SAMPLE = 2**16
CHUNK = 2**20
_HALF = re.compile("[\ud800-\udfff]")
_DAMAGES = re.compile(f"{DAMAGED}+")


@dataclass(frozen=True)
class Encoding:
    """What a file is written in; `certain` when the bytes prove it, or as good as."""

    name: str
    certain: bool

    @property
    def words(self) -> str:
        """A note for the reader, or "" when there is nothing to doubt."""
        shown = NAMES.get(self.name, self.name)
        return "" if self.certain else f"It is not UTF-8; read as {shown}, so look at the accents before you send it."


def _mark_damage(problem: UnicodeError) -> tuple[str, int]:
    if not isinstance(problem, UnicodeDecodeError):
        raise problem
    return DAMAGED, problem.end


codecs.register_error("factory-damaged", _mark_damage)


def damaged(text: str) -> bool:
    """Whether a text has half of a character in it, from a damaged byte or an escape.

    >>> damaged("Grüße"), damaged("Gr\\ud83d")
    (False, True)
    """
    return not text.isascii() and _HALF.search(text) is not None


def repaired(text: str) -> str:
    """The text as it can be shown and stored: a damaged place becomes U+FFFD.

    >>> repaired("Gr\\udcff")
    'Gr\ufffd'
    """
    return text if text.isascii() else _HALF.sub("\ufffd", text)


def detect(opened: Callable[[], BinaryIO], *, name: str, wanted: str = "") -> Encoding:
    """The encoding of a file: as `wanted`, by its mark, UTF-8 where the bytes are, else the likeliest of LEGACY.

    Reads the file once. Raises Invalid for one that is not text, and for an encoding nobody knows.
    """
    if wanted:
        return Encoding(_known(wanted), True)
    with opened() as file:
        head = file.read(SAMPLE)
        marked = next((encoding for mark, encoding in MARKS if head.startswith(mark)), "")
        if marked:
            return Encoding(marked, True)
        if head.count(0) > len(head) // 5:
            return Encoding(_wide(head, name), True)
        if len(head.translate(None, delete=CONTROLS)) < len(head) * 0.95:
            raise Invalid(NO_TEXT.format(name=name))
        foreign, sample = _foreign(head, file)
    if not foreign:
        return Encoding("utf-8", True)
    return Encoding(_legacy(sample), False)


def _known(wanted: str) -> str:
    try:
        found = codecs.lookup(wanted)
    except (LookupError, ValueError) as problem:
        raise Invalid(f"{wanted[:40]!r} is no encoding; name one such as utf-8, utf-16 or cp1252.") from problem
    if not found._is_text_encoding:
        raise Invalid(f"{wanted[:40]!r} is no encoding of text; name one such as utf-8, utf-16 or cp1252.")
    return found.name


def _wide(head: bytes, name: str) -> str:
    """UTF-16 or UTF-32 without a mark, told by where its zeros lie. Raises Invalid when they lie anywhere."""
    places = [head[at::4].count(0) / max(1, len(head[at::4])) for at in range(4)]
    zero = [share > 0.6 for share in places]
    few = [share < 0.05 for share in places]
    for encoding, pattern in {"utf-32-le": (0, 1, 1, 1), "utf-32-be": (1, 1, 1, 0)}.items():
        if all(zero[at] if wanted else few[at] for at, wanted in enumerate(pattern)):
            return encoding
    for encoding, pattern in {"utf-16-le": (0, 1, 0, 1), "utf-16-be": (1, 0, 1, 0)}.items():
        if all(zero[at] if wanted else few[at] for at, wanted in enumerate(pattern)):
            return encoding
    raise Invalid(NO_TEXT.format(name=name))


def _foreign(head: bytes, file: BinaryIO) -> tuple[bool, bytes]:
    """Whether most of what is not ASCII is not UTF-8 either, and the lines around such places."""
    right, wrong, sample, rest = 0, 0, b"", b""
    data = head
    while data:
        if not data.isascii() or rest:
            text = (rest + data).decode("utf-8", errors="factory-damaged")
            rest = b""
            bad = len(_DAMAGES.findall(text))
            if bad and data:  # a character may be cut in two where the piece ends
                tail = data[-3:]
                cut = next((n for n in (1, 2, 3) if len(tail) >= n and tail[-n] >= 0xC0), 0)
                rest, bad = (tail[-cut:], bad - 1) if cut and text.endswith(DAMAGED) else (b"", bad)
            wrong += bad
            right += sum(1 for _ in re.finditer(r"[^\x00-\x7f\ud800-\udfff]+", text))
            if bad and len(sample) < SAMPLE:
                sample += b"\n".join(line for line in data.split(b"\n")[:5_000] if not line.isascii())[:SAMPLE]
        if right > 1_000 * (1 + wrong):  # proved; a damaged byte further on costs its own row
            break
        data = file.read(CHUNK)
    return wrong > 4 * right, sample  # by chance, other encodings hardly ever give a character of UTF-8


def _legacy(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(sample[:SAMPLE], cp_isolation=list(LEGACY), steps=5, chunk_size=1_024, threshold=0.2).best()
    found = best.encoding if best is not None else "cp1252"
    # What reads the same, or looks like no language at all, is taken for the commonest of them.
    unsure = best is None or (best.coherence == 0 and found in LATIN)
    if unsure or sample.decode("cp1252", "replace") == sample.decode(found, "replace"):
        found = "cp1252"
    try:
        sample.decode(found)
    except UnicodeDecodeError:
        return "latin-1"
    return found


def text_of(file: BinaryIO, encoding: Encoding) -> io.TextIOWrapper:
    """The stream as text with its line ends as they are; damaged places become DAMAGED."""
    return io.TextIOWrapper(file, encoding=encoding.name, errors="factory-damaged", newline="")


def lines(text: io.TextIOWrapper) -> Iterator[tuple[int, str | None]]:
    """The lines with their numbers from 1 and their ends; None instead of one over LONGEST_LINE characters."""
    number = 0
    while line := text.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) <= LONGEST_LINE:
            yield number, line
            continue
        while line and not line.endswith(("\n", "\r")):
            line = text.readline(LONGEST_LINE)
        yield number, None
