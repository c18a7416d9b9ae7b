"""Where things lie and how much is allowed on this machine, read from the environment in one place."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from factory.base.errors import Invalid, Unavailable

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """One installation: its folder, its address and its limits.

    `home` holds everything that is not code: the database, base models, runs, adapters, exports. Moving it moves the
    installation. Set it with `FACTORY_HOME`.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = 8501
    max_upload_bytes: int = 64 * 2**20
    max_text_bytes: int = 256 * 2**20
    max_file_rows: int = 100_000
    reading_seconds: int = 8  # for what is read in a process of its own: workbooks and PDF files
    session_seconds: int = 14 * 24 * 3600
    cpu_watts: int = 10  # of one busy core, memory and losses included, where the processor does not count by itself

    @property
    def database(self) -> Path:
        return self.home / "factory.db"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def adapters(self) -> Path:
        return self.home / "adapters"

    @property
    def exports(self) -> Path:
        return self.home / "exports"


def load() -> Settings:
    """Settings from the environment.

    Raises Invalid, naming every variable that cannot be read.
    """
    problems: list[str] = []

    def number(name: str, default: int) -> int:
        text = os.environ.get(name, "")
        if not text:
            return default
        if not text.isdigit() or int(text) == 0:
            problems.append(f"{name} is {text!r}; write a whole number above zero.")
            return default
        return int(text)

    settings = Settings(
        home=Path(os.environ.get("FACTORY_HOME") or ROOT / "data").expanduser().resolve(),
        host=os.environ.get("FACTORY_HOST") or "127.0.0.1",
        port=number("FACTORY_PORT", 8501),
        max_upload_bytes=number("FACTORY_MAX_UPLOAD_MIB", 64) * 2**20,
        max_text_bytes=number("FACTORY_MAX_TEXT_MIB", 256) * 2**20,
        max_file_rows=number("FACTORY_MAX_FILE_ROWS", 100_000),
        reading_seconds=number("FACTORY_READING_SECONDS", 8),
        cpu_watts=number("FACTORY_CPU_WATTS", 10),
    )
    if problems:
        raise Invalid(problems)
    return settings


def secret_key(settings: Settings) -> str:
    """The key that signs cookies: made once per installation, readable by its owner alone."""
    path = settings.home / "secret.key"
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{secrets.token_hex(4)}")
        if not path.exists():
            draft.touch(mode=0o600)
            with draft.open("w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())  # an empty key after a power cut would let anybody sign
            with suppress(FileExistsError):  # another process was first, and then its key counts
                os.link(draft, path)
            draft.unlink()
        key = path.read_text().strip()
    except OSError as problem:
        raise Unavailable(
            f"The folder {settings.home} cannot be written ({problem.strerror}); set FACTORY_HOME to one that can."
        ) from problem
    if len(key) < 64:
        raise Unavailable(f"The key in {path} is damaged; delete the file, start again, and everybody signs in anew.")
    return key
