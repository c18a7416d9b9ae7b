"""A store that a module fills once and each of its tests has a copy of: `drawn` is the module's own fixture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from factory.base import store
from factory.base.settings import Settings


@pytest.fixture
def db(drawn: Path, settings: Settings) -> Iterator[Database]:
    settings.database.parent.mkdir(parents=True, exist_ok=True)
    settings.database.write_bytes(drawn.read_bytes())
    with store.connect(settings) as opened:
        yield opened


def talk(words: str) -> list[dict[str, str]]:
    """How something is done, asked and answered."""
    return [{"role": "user", "content": f"How do I {words.lower()}?"}, {"role": "assistant", "content": f"{words}."}]
