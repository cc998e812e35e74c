"""What protects the server and its pages: response headers, bounded requests, and who may connect.

app.add_middleware(Secured, frame_ancestors=settings.frame_ancestors)
body = await read_body(request, 64 * 1024)         # raises BadInput as soon as there is more
if not from_here(socket, settings.origins): ...

The page's policy allows the scripts that came with it, by their hashes, and no other: Gradio writes a few into the
page itself. It also needs `unsafe-eval`, because Gradio makes a function of the template of its `gr.HTML`; and inline
styles. A study's pages have no inline script at all, and what people wrote stands in some of them: none is allowed.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from fastapi import Request, WebSocket
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duplex_runtime.errors import BadInput, DuplexError
from webapp.rates import Rate, Rates

#: More than any request of ours has: 1 MB of a study's answers are refused in words.
MAX_BODY = 2 * 1024 * 1024
#: Ways into Gradio's temporary folder that the page does not use.
CLOSED = ("/gradio_api/upload", "/gradio_api/process_recording")

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), payment=(), usb=(), display-capture=()",
}
#: Pages without Gradio.
PLAIN = "/study/"
_POLICY = (
    "default-src 'self'; script-src 'self'{more}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; worker-src 'self' blob:; "
    "connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {ancestors}"
)
_INLINE = re.compile(rb"<script(?![^>]*\ssrc\s*=)[^>]*>(.*?)</script\s*>", re.DOTALL | re.IGNORECASE)


class Secured:
    """Pure ASGI middleware: adds the headers, and bounds what a request may send. WebSockets pass untouched.

    A response that brings a header of the same name keeps its own. A policy of its own is kept as well, and who may
    frame the page is added to it: browsers obey both.
    """

    def __init__(self, app: ASGIApp, frame_ancestors: Sequence[str], max_body: int = MAX_BODY) -> None:
        self._app, self._ancestors, self._max_body = app, " ".join(frame_ancestors), max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(self._ancestors, send, plain=scope["path"].startswith(PLAIN))
        if scope["method"] == "POST" and scope["path"].startswith(CLOSED):
            await refused(403, "closed", "nothing can be uploaded here")(scope, receive, answer.send)
            return
        body = _Body(scope, receive, answer, self._max_body)
        if body.too_large:
            await body.refuse()
            return
        try:
            await self._app(scope, body.receive, body.send)
        except ClientDisconnect:
            if not body.too_large:
                raise


class _Body:
    """Counts what a request sends. Above `most` bytes the answer is 413, and to the application the client is gone."""

    def __init__(self, scope: Scope, receive: Receive, answer: _Answer, most: int) -> None:
        self._scope, self._receive, self._answer, self._left, self._most = scope, receive, answer, most, most
        said = Headers(scope=scope).get("content-length", "")
        self.too_large = said.isdecimal() and int(said[:20]) > most

    async def receive(self) -> Message:
        """The next part of it."""
        if self.too_large:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self.too_large = True
                await self.refuse()
                return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        """What the application answers, as long as nobody else has."""
        if not self.too_large:
            await self._answer.send(message)

    async def refuse(self) -> None:
        """Answer for the application; too late if it has begun to."""
        if not self._answer.begun:
            said = f"a request has at most {self._most} bytes here"
            await refused(413, "too_large", said)(self._scope, self._receive, self._answer.send)


class _Answer:
    """Puts the headers on a response. A page is held back until it is complete: its policy needs all its scripts."""

    def __init__(self, ancestors: str, send: Send, plain: bool) -> None:
        self._ancestors, self._send, self._plain = ancestors, send, plain
        self.begun = False
        self._start: Message | None = None  # of a page that is held back
        self._page = bytearray()

    async def send(self, message: Message) -> None:
        """One message of the application."""
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if "content-security-policy" in headers:
                headers.append("Content-Security-Policy", f"frame-ancestors {self._ancestors}")
            elif headers.get("content-type", "").startswith("text/html") and not self._plain:
                self._start = message
                return
            else:
                headers["Content-Security-Policy"] = _POLICY.format(more="", ancestors=self._ancestors)
        elif self._start and message["type"] == "http.response.body":
            self._page += message.get("body", b"")
            if message.get("more_body"):
                return
            start, self._start = self._start, None
            hashes = "".join(f" 'sha256-{digest}'" for digest in script_hashes(self._page))
            policy = _POLICY.format(more=f" 'unsafe-eval'{hashes}", ancestors=self._ancestors)
            MutableHeaders(scope=start)["Content-Security-Policy"] = policy
            await self._send(start)
            message = {"type": "http.response.body", "body": bytes(self._page)}
        await self._send(message)


def script_hashes(page: bytes | bytearray) -> list[str]:
    """SHA-256 in base64 of each script that stands in an HTML page (CSP level 3, 2.3.1, `hash-source`)."""
    digests = (hashlib.sha256(script).digest() for script in _INLINE.findall(page))
    return sorted({base64.b64encode(digest).decode() for digest in digests})


def refused(status: int, code: str, message: str) -> JSONResponse:
    """An error as the HTTP interface tells it."""
    return JSONResponse({"error": {"code": code, "message": message}}, status)


async def read_body(request: Request, most: int) -> bytes:
    """A request's body; raises BadInput as soon as it has more than `most` bytes, and reads no further."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise BadInput(f"expected at most {most} bytes, got more")
    return bytes(body)


class PersonRates:
    """One kind of request, counted for each person apart: `many` at once, and again as many in a minute.

    The newest `people` are remembered; whoever was forgotten begins anew.
    """

    def __init__(self, what: str, many: int, people: int = 10_000) -> None:
        self._rates = {what: Rate(many / 60, many, what)}
        self._what, self._most = what, people
        self._people: OrderedDict[str, Rates] = OrderedDict()

    def take(self, person: str, now: float | None = None) -> DuplexError | None:
        """Count one request; the error `too_fast` says that it was one too many. now: seconds."""
        now = time.monotonic() if now is None else now
        rates = self._people.setdefault(person, Rates(now, self._rates))
        self._people.move_to_end(person)
        if len(self._people) > self._most:
            self._people.popitem(last=False)
        return rates.take(now, **{self._what: 1})


def from_here(socket: WebSocket, origins: Sequence[str]) -> bool:
    """May this handshake go on? Browsers say which page asks; it must be ours or one of `origins`.

    On a Space the page in the frame is the Space's own, `https://OWNER-NAME.hf.space`, and so is the host.
    """
    origin = socket.headers.get("origin")
    if origin is None or origin in origins:  # programs send none
        return True
    with suppress(ValueError):  # an address that is none
        parts = urlsplit(origin)
        return bool(parts.netloc) and parts.netloc == socket.headers.get("host")
    return False
