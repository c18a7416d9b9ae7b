"""What every route stands on: the installation's settings, an open store, and who asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, File, HTTPException, Query, Request, UploadFile
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import NotAllowed
from factory.base.people import Person
from factory.base.settings import Settings

bearer = HTTPBearer(auto_error=False, description="An API token, `mf_…`.")
cookie = APIKeyCookie(name="factory_session", auto_error=False, description="The session of the pages; for reading only.")


def _settings(request: Request) -> Settings:
    found: Settings = request.app.state.settings
    return found


def _store(settings: Annotated[Settings, Depends(_settings)]) -> Iterator[Database]:
    with store.connect(settings) as db:
        yield db


def _person(
    request: Request,
    db: Annotated[Database, Depends(_store)],
    settings: Annotated[Settings, Depends(_settings)],
    token: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    session: Annotated[str | None, Depends(cookie)],
) -> Person:
    """Whose token came with the request; for reading, whose session cookie. A cookie alone must not change anything:
    another site's page could make the browser send it."""
    if token is not None:
        try:
            return people.from_token(db, token.credentials)
        except NotAllowed as problem:
            raise HTTPException(401, str(problem), headers={"WWW-Authenticate": "Bearer"}) from problem
    person = people.from_session(db, settings, session) if request.method in ("GET", "HEAD") else None
    if person is None:
        sentence = "Send an API token: `Authorization: Bearer mf_…`; your account page makes one."
        raise HTTPException(401, sentence, headers={"WWW-Authenticate": "Bearer"})
    return person


Store = Annotated[Database, Depends(_store)]
Who = Annotated[Person, Depends(_person)]
Here = Annotated[Settings, Depends(_settings)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0)]
Upload = Annotated[
    UploadFile,
    File(description="JSONL, JSON, CSV, TSV, Parquet, XLSX or drafts of a document; packed or several in a zip too."),
]
