"""A limit on the size of a request's body, kept while it is read: nobody can fill memory or disk with one request."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def limited(app: ASGIApp, limit: int) -> ASGIApp:
    """`app`, answering 413 to a body over `limit` bytes: at once where its length is said, else as soon as it is passed."""

    async def within_limit(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        refusal = _refusal(limit)
        said = dict(scope["headers"]).get(b"content-length", b"")
        if said.isdigit() and int(said) > limit:
            return await refusal(scope, receive, send)
        read, over, began = 0, False, False

        async def counted() -> Message:
            nonlocal read, over
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                over = True
                return {"type": "http.disconnect"}  # the application stops reading; what it says then is dropped
            return message

        async def answered(message: Message) -> None:
            nonlocal began
            if not over or began:
                began = True
                await send(message)

        await app(scope, counted, answered)
        if over and not began:
            await refusal(scope, receive, send)

    return within_limit


def _refusal(limit: int) -> JSONResponse:
    sentence = f"A request may have {limit // 2**20:,} MiB; this one has more: send it in parts."
    return JSONResponse({"error": sentence, "problems": [sentence]}, 413, headers={"Connection": "close"})
