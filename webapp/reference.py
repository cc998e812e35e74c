"""The protocol of the published demo of MiniCPM-duplex, so that its page talks to our server as it is.

    mount(app, arena, allowed)       # WebSockets at `/` and at `/reference`
    DUPLEX_ORIGINS=http://localhost:3000 duplex serve --port 8765      # then start the page: yarn dev

The page (thunlp/duplex-model, app/components/chat.tsx at 7b947db) opens `ws://localhost:8765` for the model that
listens while it speaks and `ws://localhost:8766` for the turn-based one. Both of our paths hold both, but the second
port needs a second `duplex serve --port 8766`. Messages are plain text, one a WebSocket message, stripped of white
space; empty ones count for nothing. Where the published servers (model_server_duplex.py, model_server_normal.py) do
something else, it is said.

client → server
  <!new_session!>           a new conversation with the model that listens while it speaks; the one before is over.
                            The page sends it as soon as the socket is open. Text with no session before it begins one.
  <!new_ordinary_session!>  the same with the turn-based model
  <idle>                    the person said nothing for a slice (the page: 2 s). Here the server has its own clock and
                            needs no telling.
  any other text            what was recognised since the last message. Duplex: words of a slice, whether or not the
                            sentence is over. Ordinary: a whole message; one that comes during an answer waits for its
                            end, as it did in the published server's socket.

server → client
  any other text            words of the answer. Duplex: at most one message a slice (the published server: at most 15
                            tokens, every `.` made a line break; here `.` stays); silence is no message, as there.
                            Ordinary: the answer in pieces. A message may begin with a space: the page joins them.
  <!end!>                   ordinary only: the answer is complete
  <!too_long!>              this conversation cannot go on, and the page begins another. There: 512 tokens (ordinary:
                            4096) are reached. Here a talk has no such end: it stands for an error of the server.

The published server holds one conversation for all connections; here each connection has its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.websockets import WebSocket

from webapp.dialect import Relay, Translated
from webapp.realtime import Arena

PATHS = ("/", "/reference")
SESSIONS = {"<!new_session!>": "duplex", "<!new_ordinary_session!>": "turns"}
IDLE, END, TOO_LONG = "<idle>", "<!end!>", "<!too_long!>"
#: The words of a slice come one by one, all at once: after so many seconds without one, these were all.
SLICE_SECONDS = 0.05
#: After so many seconds without an answer there will be none.
ANSWER_SECONDS = 20.0
#: Errors after which a talk goes on.
PASSING = ("recording_stopped", "too_fast")


def mount(app: FastAPI, arena: Arena, allowed: Callable[[WebSocket], bool]) -> None:
    """Add the routes. `allowed`: may this handshake go on?"""

    async def reference(socket: WebSocket) -> None:
        if not allowed(socket):
            await socket.close(1008, "this page may not connect from another site: name it in DUPLEX_ORIGINS")
            return
        await serve(arena, socket)

    for path in PATHS:
        app.add_api_websocket_route(path, reference)


async def serve(arena: Arena, socket: WebSocket) -> None:
    """Hold one session after the other until the client leaves."""
    socket.scope["query_string"] = b""  # it means nothing in this protocol, and much in ours
    await socket.accept()
    dialect = await _begin(socket)
    while dialect:
        async with Translated(socket, dialect, accepted=True) as inner:
            await arena.serve(inner)
        dialect = Reference(dialect.following) if dialect.following else None


async def _begin(socket: WebSocket) -> Reference | None:
    """By the client's first message; None: it left."""
    while (message := await socket.receive())["type"] == "websocket.receive":
        if text := (message.get("text") or "").strip():
            return Reference(SESSIONS[text]) if text in SESSIONS else Reference("duplex", text)
    return None


class Reference:
    """One session. `system`: `duplex` or `turns`; `first`: what the person said before it. `following`: the system of
    the session that the client wants after this one."""

    def __init__(self, system: str, first: str = "") -> None:
        self.system, self._first = system, first
        self.following: str | None = None
        self._words, self._slice = "", -1  # of the answer, not sent yet; their slice
        self._waiting: deque[str] = deque()  # messages for the turn-based model
        self._answering = False

    @property
    def wait_seconds(self) -> float | None:
        if self._words:
            return SLICE_SECONDS
        return ANSWER_SECONDS if self._answering else None

    def opening(self) -> tuple[dict[str, Any], ...]:
        session = {"model": self.system} | ({"baseline": "strict"} if self.system == "turns" else {})
        return ({"type": "session.update", "session": session}, *self._say(self._first))

    def inward(self, text: str) -> Relay:
        text = text.strip()
        if text in SESSIONS:
            self.following = SESSIONS[text]
            return Relay(leaves=True)
        return Relay(self._say("" if text == IDLE else text))

    def _say(self, text: str) -> tuple[dict[str, Any], ...]:
        if not text:
            return ()
        if self.system == "duplex":  # the space: the next words begin a new one
            return ({"type": "duplex.input.edit", "delete": 0, "insert": text + " "},)
        self._waiting.append(text)
        return () if self._answering else self._next()

    def _next(self) -> tuple[dict[str, Any], ...]:
        """The oldest message, if there is one, is the model's turn."""
        self._answering = bool(self._waiting)
        if not self._answering:
            return ()
        content = [{"type": "input_text", "text": self._waiting.popleft()}]
        return ({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}},)

    def outward(self, event: dict[str, Any]) -> Relay:
        match event["type"]:
            case "response.output_text.delta":
                before = self._flush() if event["slice"] != self._slice else ()
                self._slice = event["slice"]
                self._words += event["delta"]
                return Relay(client=before)
            case "duplex.cut":  # what of it was sent, the page drops: it stops its voice when the person speaks
                self._words = self._words.removesuffix(event["unheard"])
            case "response.done":
                return self._over(self._flush())
            case "error" if event["error"]["code"] not in PASSING:
                return Relay(client=(TOO_LONG,))
        return Relay()

    def waited(self) -> Relay:
        """All words of a slice are here; or the turn-based model had nothing to say."""
        return Relay(client=self._flush()) if self._words else self._over(())

    def _over(self, last: tuple[str, ...]) -> Relay:
        if self.system == "duplex":
            return Relay(client=last)
        return Relay(self._next(), (*last, END))

    def _flush(self) -> tuple[str, ...]:
        words, self._words = self._words, ""
        return (words,) if words.strip() else ()
