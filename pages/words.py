"""Numbers, moments and names as a person reads them; text from people made safe."""

import re
from datetime import UTC, datetime
from typing import Any

from factory.base import store


def plain(text: Any) -> str:
    """Text from people, safe inside Markdown: nothing in it is a link, a picture, HTML or a formula.

    >>> plain("*a* <b> [x](y) $z$")
    '\\\\*a\\\\* \\\\<b\\\\> \\\\[x\\\\]\\\\(y\\\\) \\\\$z\\\\$'
    """
    broken = re.sub(r"(https?:|www|@)", "\\1\u200b", str(text), flags=re.IGNORECASE)  # else a bare address becomes a link
    return re.sub(r"([\\`*_{}\[\]()#+!|~$:<>&-])", r"\\\1", broken)


def short(text: Any, most: int = 100) -> str:
    """Text from people on one line, safe inside Markdown, and cut at a word where it is long.

    >>> short("a river that\\nis long", 12)
    'a river that…'
    >>> short("*short*")
    '\\\\*short\\\\*'
    """
    return plain(_cut(" ".join(str(text).split()), most))


def _cut(line: str, most: int) -> str:
    return line if len(line) <= most else (line[: most + 1].rpartition(" ")[0] or line[:most]).rstrip(" ,;:.") + "…"


def version_name(version: dict[str, Any]) -> str:
    """A frozen version as it is chosen from a list: its number stays in sight where the title is long.

    >>> version_name({"title": "Rivers of Europe, their sources, mouths and bridges", "number": 2, "row_count": 1200})
    'Rivers of Europe, their sources, mouths and…, version 2 (1,200 rows)'
    """
    return f"{_cut(version['title'], 45)}, version {version['number']} ({count(version['row_count'], 'row')})"


def is_id(text: str) -> bool:
    """Whether part of an address can be the id of a row.

    >>> is_id("12"), is_id("²"), is_id("9" * 30)
    (True, False, False)
    """
    return re.fullmatch(r"[0-9]{1,18}", text) is not None


def person_name(record: dict[str, Any]) -> str:
    """A display name; invented people are labelled as such."""
    name = record.get("display_name") or record.get("name") or "?"
    return f"{name} (demo)" if record.get("is_demo") and "(demo)" not in name else name


def ago(seconds_since_1970: float | None) -> str:
    """How long ago, in words.

    >>> ago(None)
    'never'
    """
    if not seconds_since_1970:
        return "never"
    seconds = max(0.0, store.now() - seconds_since_1970)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "just now"


def lasting(seconds: float | None) -> str:
    """A length of time in words.

    >>> lasting(95), lasting(4030), lasting(None)
    ('1 min 35 s', '1 h 7 min', '–')
    """
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    if 10 <= minutes < 60:
        return f"{minutes} min"
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def moment(seconds_since_1970: float | None) -> datetime | None:
    """A moment for a table's column; the browser shows it in the person's own time zone."""
    return datetime.fromtimestamp(seconds_since_1970, UTC) if seconds_since_1970 else None


def count(number: int, thing: str) -> str:
    """How many of a thing.

    >>> count(1, "dataset"), count(1200, "row")
    ('1 dataset', '1,200 rows')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def credits(micro_credits: int | None) -> float:
    """Credits, from the integers the ledger keeps.

    >>> credits(1_500_000)
    1.5
    """
    return (micro_credits or 0) / 1_000_000
