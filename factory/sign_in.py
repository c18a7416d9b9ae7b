"""Signing in and out over plain HTTP: a small HTML page of its own, a signed cookie, and the gate in front of the app."""

from __future__ import annotations

import html
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from factory.base import people, store
from factory.base.errors import FactoryError
from factory.base.people import Person
from factory.base.settings import Settings

COOKIE = "factory_session"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
PAGE = Template(Path(__file__).with_name("sign_in.html").read_text(encoding="utf-8"))
OPEN_PREFIXES = (
    "/sign-in",
    "/sign-out",
    "/api",
    "/_stcore",
    "/static",
    "/media",
    "/component",
    "/favicon",
    "/oauth2callback",
)


def routes(settings: Settings) -> list[Route]:
    """`/sign-in` (form and post), `/sign-in/link` (one-time) and `/sign-out`."""

    def form(request: Request) -> Response:
        return _page(request.query_params.get("next", "/"))

    async def post(request: Request) -> Response:
        if not _same_site(request):
            return _page("/", problem="That form came from another site; use the one below.", status=403)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > 10_000:
                return _page("/", problem="That was too long for a name and a password; try again.", status=413)
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        name, password, target = (fields.get(key, [""])[0] for key in ("name", "password", "next"))
        # Hashing a password takes a tenth of a second and must not stop the event loop.
        return await run_in_threadpool(_sign_in, settings, request, name, password, target)

    def link(request: Request) -> Response:
        with store.connect(settings) as db:
            try:
                person = people.use_link(db, request.query_params.get("token", ""))
            except FactoryError as problem:
                return _page("/", problem=str(problem), status=problem.status)
            return _signed_in(request, people.issue_session(db, settings, person), "/")

    def sign_out(request: Request) -> Response:
        return _sign_out(settings, request)

    return [
        Route("/sign-in", form, methods=["GET"]),
        Route("/sign-in", post, methods=["POST"]),
        Route("/sign-in/link", link, methods=["GET"]),
        Route("/sign-out", sign_out, methods=["GET", "POST"]),
    ]


def _sign_in(settings: Settings, request: Request, name: str, password: str, target: str) -> Response:
    address = request.client.host if request.client else "unknown"
    with store.connect(settings) as db:
        try:
            person = people.authenticate(db, name, password, address=address)
        except FactoryError as problem:
            return _page(target, problem=str(problem), name=name, status=problem.status)
        return _signed_in(request, people.issue_session(db, settings, person), target)


def _sign_out(settings: Settings, request: Request) -> Response:
    if not _same_site(request):
        return _page("/", problem="Use the button inside the app to sign out.", status=403)
    with store.connect(settings) as db:
        person = people.from_session(db, settings, request.cookies.get(COOKIE))
        if person:  # a copy of the cookie must not go on working
            people.sign_out_everywhere(db, person)
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(COOKIE)
    return response


def who(settings: Settings, cookie: str | None) -> Person | None:
    """Whose session cookie this is, or None."""
    if not cookie:
        return None
    with store.connect(settings) as db:
        return people.from_session(db, settings, cookie)


class Gate:
    """ASGI middleware: a page asked for without a valid session leads to the sign-in page, and back after it.

    It is courtesy, not the lock: every page and every function checks again.
    """

    def __init__(self, app: ASGIApp, settings: Settings, open_to_oidc: bool = False) -> None:
        self.app, self.settings, self.open_to_oidc = app, settings, open_to_oidc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and not scope["path"].startswith(OPEN_PREFIXES):
            request = Request(scope)
            wants_page = "text/html" in request.headers.get("accept", "")
            if wants_page and not self.open_to_oidc and who(self.settings, request.cookies.get(COOKIE)) is None:
                target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                await RedirectResponse(f"/sign-in?next={quote(target)}", 303)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _local(target: str) -> str:
    r"""A path on this server, whatever was asked for.

    >>> _local("/train?dataset=2"), _local("//evil.example"), _local("https://evil.example"), _local("/\\evil.example")
    ('/train?dataset=2', '/', '/', '/')
    """
    parts = urlsplit(target)
    safe = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return target if safe and target.isprintable() else "/"


def _same_site(request: Request) -> bool:
    origin = request.headers.get("origin")
    if origin and origin != "null":
        return urlsplit(origin).netloc == request.headers.get("host")
    return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def _signed_in(request: Request, session: str, target: str) -> Response:
    response = RedirectResponse(_local(target), 303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, session, max_age=14 * 24 * 3600, httponly=True, samesite="lax", secure=secure)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _page(target: str, *, problem: str = "", name: str = "", status: int = 200) -> HTMLResponse:
    words = {
        "problem": f'<p class="problem" role="alert">{html.escape(problem)}</p>' if problem else "",
        "name": html.escape(name, quote=True),
        "next": html.escape(_local(target), quote=True),
    }
    headers = {
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
    }
    return HTMLResponse(PAGE.substitute(words), status_code=status, headers=headers)
