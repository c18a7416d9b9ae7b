"""Documents (Markdown, text, Word, PDF) as text in which every line knows where it stands.

A document is no table: nothing of it becomes a row by itself. `proposals` makes drafts of it for a person to confirm.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from xml.parsers import expat

from factory.base.errors import Invalid
from factory.base.settings import Settings
from factory.intake import containers, decoding, packing, sandbox
from factory.intake.packing import BROKEN, Member, Source
from factory.intake.provenance import MAX_PASSAGE, Place

MAX_CHARACTERS = 1_000_000
UNIT = {"markdown": "line", "txt": "line", "docx": "paragraph", "pdf": "page"}
TEXT_OF_WORD = "word/document.xml"
MAX_XML = 32 * 2**20
WORD = ("http://schemas.openxmlformats.org/wordprocessingml/2006/main", "http://purl.oclc.org/ooxml/wordprocessingml/main")


@dataclass(frozen=True)
class Document:
    """The text of a document: `starts` are the characters at which its lines, paragraphs or pages begin.

    `headings` are (line of the text from 0, level from 1, words). `note` says what could not be read, or "".
    """

    name: str
    kind: str
    text: str
    starts: list[int]
    headings: list[tuple[int, int, str]]
    note: str = ""

    def place(self, start: int, end: int) -> Place:
        """The place of some of its characters."""
        first = bisect_right(self.starts, start)
        last = max(first, bisect_right(self.starts, max(start, end - 1)))
        return Place(self.name, UNIT[self.kind], first, last, start, end, self.text[start:end][:MAX_PASSAGE])


def open_all(source: Source, *, name: str, settings: Settings, encoding: str = "") -> Iterator[Document]:
    """Each document in a file, alone or in an archive; tables in it are passed over.

    Raises Invalid with one sentence where one cannot be read.
    """
    for member in packing.members(source, name=name, settings=settings):
        if member.problem:
            continue
        kind = containers.kind_of(member, frozenset(), encoding)
        if kind.name == "pdf":
            yield _pdf(member, settings)
        elif kind.name == "docx":
            yield _docx(member)
        elif kind.name in UNIT and kind.encoding is not None:
            with decoding.text_of(member.open(), kind.encoding) as text:
                words = decoding.repaired(text.read(MAX_CHARACTERS + 1)).replace("\r\n", "\n").replace("\r", "\n")
            yield _lined(member.name, kind.name, words, kind.encoding.words)


def _need_length(name: str, characters: int) -> None:
    if characters > MAX_CHARACTERS:
        raise Invalid(f"{name} has more than {MAX_CHARACTERS:,} characters; split it into parts.")


def _starts(parts: list[str]) -> list[int]:
    starts, at = [], 0
    for part in parts:
        starts.append(at)
        at += len(part) + 1
    return starts


def _lined(name: str, kind: str, text: str, note: str) -> Document:
    _need_length(name, len(text))
    lines = text.split("\n")
    headings = _markdown_headings(text) if kind == "markdown" else _plain_headings(lines)
    return Document(name, kind, text, _starts(lines), headings, note)


def _markdown_headings(text: str) -> list[tuple[int, int, str]]:
    """The headings of a Markdown text, those in code left out; only blocks are looked at, so it takes no long time."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark").disable("reference")  # a file of nothing else would take very long
    reader.core.ruler.enableOnly(["normalize", "block"])
    tokens = reader.parse(text)
    found = []
    for opening, words in pairwise(tokens):
        if opening.type == "heading_open" and opening.level == 0 and opening.map and words.content.strip():
            found.append((opening.map[0], int(opening.tag[1:]), words.content.strip()))
    return found


def _plain_headings(lines: list[str]) -> list[tuple[int, int, str]]:
    """Short lines between blank ones that end like no sentence: what people set as headings in a plain text.

    >>> _plain_headings(["PORTS", "", "Port 22 is for ssh.", "", "See below."])
    [(0, 1, 'PORTS')]
    """
    blank = [True, *(not line.strip() for line in lines), True]
    found = []
    for number, line in enumerate(lines):
        words = line.strip()
        alone = blank[number] and blank[number + 2] and not blank[number + 1]
        short = alone and len(words) <= 80 and any(map(str.isalpha, words))
        if short and words[0].isalnum() and words[-1] not in ".,;:!)]}*_`":
            found.append((number, 1, words))
    return found


def _pdf(member: Member, settings: Settings) -> Document:
    pages: list[str] = []
    lost = []
    length = 0
    with packing.spooled(member.open) as file:
        for number, text in sandbox.read("pdf", file, name=member.name, settings=settings):
            lost += [number] if text is None else []
            pages.append(decoding.repaired(text or "").replace("\0", ""))
            length += len(pages[-1]) + 1
            _need_length(member.name, length)
    if not any(page.strip() for page in pages):
        raise Invalid(f"{member.name} has no text in it, perhaps only pictures of pages; have its text recognised first.")
    note = f"{len(lost)} damaged pages of {member.name} could not be read." if lost else ""
    return Document(member.name, "pdf", "\n".join(pages), _starts(pages), [], note)


class _Paragraphs:
    """The paragraphs of Word's XML, gathered while it is read: text, tabs and breaks, without what was struck out."""

    def __init__(self, name: str) -> None:
        self.name, self.found, self.levels = name, list[str](), list[int]()
        self.words: list[str] = []
        self.level, self.length, self.gone, self.runs, self.in_text = 0, 0, 0, 0, False
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self.refuse
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.said

    def refuse(self, *_: object) -> None:
        raise Invalid(f"{self.name} declares XML entities, which no Word file needs; save it again with a common tool.")

    def start(self, tag: str, given: dict[str, str]) -> None:
        name = _local(tag)
        if name in ("del", "instrText"):
            self.gone += 1
        elif name == "t":
            self.in_text = True
        elif name == "r":
            self.runs += 1
        elif name in ("tab", "br", "cr") and self.runs and not self.gone:  # outside a run, a tab is a mark on the ruler
            self.words.append("\t" if name == "tab" else "\n")
        elif name == "pStyle":
            self.level = _level(next((value for key, value in given.items() if _local(key) == "val"), ""))
        elif name == "outlineLvl" and not self.level:
            value = next((value for key, value in given.items() if _local(key) == "val"), "")
            self.level = int(value) + 1 if value in tuple("012345") else 0

    def end(self, tag: str) -> None:
        name = _local(tag)
        if name in ("del", "instrText"):
            self.gone -= 1
        elif name == "r":
            self.runs -= 1
        elif name == "t":
            self.in_text = False
        elif name == "p":
            self.found.append("".join(self.words).strip())
            self.levels.append(self.level)
            self.words, self.level = [], 0

    def said(self, text: str) -> None:
        if self.in_text and not self.gone:
            self.words.append(text)
            self.length += len(text)
            _need_length(self.name, self.length)


def _local(tag: str) -> str:
    space, _, name = tag.rpartition("}")
    return name if space in WORD else ""


def _level(style: str) -> int:
    """The level of a heading by its style's name, which Word translates: a word and one digit, or the title."""
    name = style.lower().replace(" ", "")
    if name in ("title", "titel", "titre", "titolo"):
        return 1
    known = name.startswith(("heading", "berschrift", "überschrift", "titre", "titolo", "ttulo", "título", "kop", "rubrik"))
    return int(name[-1]) if known and name[-1:] in tuple("123456") else 0


def _docx(member: Member) -> Document:
    gathered = _Paragraphs(member.name)
    try:
        with packing.unzipped(lambda: packing.spooled(member.open), member.name) as archive:
            if archive.getinfo(TEXT_OF_WORD).file_size > MAX_XML:
                raise Invalid(f"{member.name} has over {MAX_XML / 2**20:,.0f} MiB of text and layout; split it into parts.")
            with archive.open(TEXT_OF_WORD) as xml:
                while data := xml.read(2**16):
                    gathered.parser.Parse(data, False)
                gathered.parser.Parse(b"", True)
    except (expat.ExpatError, *BROKEN) as problem:
        raise Invalid(f"{member.name} is a damaged or unusual Word file; save it again as .docx.") from problem
    paragraphs = [decoding.repaired(text) for text in gathered.found]
    text = "\n".join(paragraphs)
    if not text.strip():
        raise Invalid(f"{member.name} has no text in it; choose a document with text.")
    return _worded(member.name, paragraphs, gathered.levels)


def _worded(name: str, paragraphs: list[str], levels: list[int]) -> Document:
    starts = _starts(paragraphs)
    headings, line = [], 0
    for paragraph, level in zip(paragraphs, levels, strict=True):
        if level and paragraph:
            headings.append((line, level, " ".join(paragraph.split())))
        line += paragraph.count("\n") + 1
    return Document(name, "docx", "\n".join(paragraphs), starts, headings)
