"""The family of errors whose text may be shown to a person.

    FactoryError            one sentence: what is wrong and what to do about it
    ├── Invalid             the input cannot be used; `.problems` lists all that is wrong with it
    ├── NotFound            the thing that was named does not exist
    ├── NotAllowed          this person may not do that
    ├── Conflict            somebody or something got there first
    └── Unavailable         the machine cannot do it now: disk, network, memory, a missing model
        └── DiskFull        nothing more can be written until somebody makes room

A page shows the sentence, a command prints it and exits with 1, the HTTP API maps it to a status. Any other exception
is a bug and rises.
"""

from __future__ import annotations

from collections.abc import Iterable


class FactoryError(Exception):
    """One sentence for the person who asked."""

    status = 400


class Invalid(FactoryError):
    """The input cannot be used; `problems` lists every reason, the text joins them."""

    status = 422

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__(" ".join(self.problems))


class NotFound(FactoryError):
    """The thing that was named does not exist."""

    status = 404


class NotAllowed(FactoryError):
    """This person may not do that."""

    status = 403


class Conflict(FactoryError):
    """Somebody or something got there first."""

    status = 409


class Unavailable(FactoryError):
    """The machine cannot do it now: disk, network, memory, a missing model."""

    status = 503


class DiskFull(Unavailable):
    """Nothing more can be written until somebody makes room."""
