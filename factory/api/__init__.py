"""The HTTP door: a FastAPI application, mounted by the app at /api; its OpenAPI page is /api/docs.

Every route opens its own connection, finds out who asks, and calls the one function that a page and a command call too.
A refusal is `{"error": sentence, "problems": [every reason]}` with the status of its family.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware import Middleware

from factory import __version__
from factory.api import (
    appealing,
    comparing,
    conduct,
    drafts,
    holding,
    launch,
    limit,
    needing,
    own,
    policies,
    queue,
    reproductions,
    review,
    reviewing,
    searching,
    seen,
    shapes,
    talking,
    tokens,
    versions,
    withdrawing,
    worth,
)  # fmt: skip
from factory.api.routes import routes
from factory.base.errors import FactoryError, Invalid
from factory.base.settings import Settings

ABOUT = """
Everything the pages do, for programs. Make a token on your account page or with `python -m factory people token`, and
send it with each request: `Authorization: Bearer mf_…`. Moments are seconds since 1970, losses are nats per label token.
A refusal has the status of its kind and says in `error` what is wrong and what to do.
"""
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": shapes.Refusal, "description": words}
    for status, words in {
        401: "no token, or one that is not known",
        403: "you may not",
        404: "there is no such thing",
        409: "too late, or too much",
        413: "too large",
        422: "it cannot be used; `problems` has every reason",
        503: "this machine cannot do it now",
    }.items()
}


def application(settings: Settings) -> FastAPI:
    """The API of one installation."""
    made = FastAPI(
        title="Model Factory",
        version=__version__,
        description=ABOUT,
        middleware=[Middleware(limit.limited, limit=settings.max_upload_bytes)],
        openapi_tags=[
            {"name": "contribute", "description": "Look at rows before anything is spent, and submit them."},
            {"name": "review", "description": "Judge what waits, blind; checks, disputes, and how often you are right."},
            {"name": "datasets", "description": "Datasets, their frozen versions and the rows in these."},
            {"name": "needs", "description": "What a dataset needs now: its map, thin topics, failed questions, bounties."},
            {"name": "runs", "description": "Start training runs, watch and steer them."},
            {"name": "adapters", "description": "What runs gave, with evaluation, model card and exports."},
            {"name": "conduct", "description": "The public log of sanctions, appeals, and reports of rows and people."},
            {"name": "account", "description": "Your own account: its tokens, and closing it."},
            {"name": "worth", "description": "Leaderboards and the ledger."},
        ],
    )
    made.state.settings = settings
    made.state.turns = talking.Turns()
    for exact in (reproductions, queue):  # before `/runs/{id}/{wish}`, which is less exact
        made.include_router(exact.routes, responses=REFUSALS)
    made.include_router(routes, responses=REFUSALS)
    for more in (comparing, drafts, launch, review, searching, seen, tokens, versions, withdrawing, needing):
        made.include_router(more.routes, responses=REFUSALS)
    for more in (appealing, reviewing, conduct, holding, own, policies, talking, worth):
        made.include_router(more.routes, responses=REFUSALS)
    made.add_exception_handler(FactoryError, _refused)
    made.add_exception_handler(RequestValidationError, _not_understood)
    made.add_exception_handler(AnyHTTPException, _http_refused)
    return made


def _refused(request: Request, problem: Exception) -> JSONResponse:
    problems = problem.problems if isinstance(problem, Invalid) else [str(problem)]
    return JSONResponse({"error": str(problem), "problems": problems}, getattr(problem, "status", 400))


def _not_understood(request: Request, problem: Exception) -> JSONResponse:
    found = problem.errors() if isinstance(problem, RequestValidationError) else []
    problems = [
        f"{'.'.join(str(part) for part in one['loc'] if part != 'body') or 'body'}: {one['msg']}." for one in found[:50]
    ]
    return JSONResponse({"error": " ".join(problems[:5]), "problems": problems}, 422)


def _http_refused(request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, AnyHTTPException)
    content = {"error": str(problem.detail), "problems": [str(problem.detail)]}
    return JSONResponse(content, problem.status_code, headers=problem.headers)
