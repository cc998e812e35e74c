"""One WebSocket of a session: reads what the client says and sends what the session's outbox holds.

line = Line(socket, outbox, take, after=0)
code = await line.run()                # until either side closes
line.news()                            # the outbox has more
line.end(ELSEWHERE)                    # close it, from elsewhere

A session outlives its lines. A client that reads more slowly than the server talks is cut off (1013) before the outbox
would lose what it has not had: when 3,000 events or 6 MB wait for it, or when one event could not be handed over in 30
seconds. The quarter of the outbox that is left is for what happens until it comes back.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from webapp.outbox import Outbox

log = logging.getLogger(__name__)

#: WebSocket close codes (RFC 6455, 7.4.1; 4000 and above are ours).
OVER, LOST, RULES, LONG, BROKEN, STOPPING, SLOW = 1000, 1006, 1008, 1009, 1011, 1012, 1013
GONE, ELSEWHERE = 4404, 4409
#: Before these the client is told all that is left to tell.
LAST_WORDS = (OVER, RULES, LONG)
#: Events and bytes that may wait for a client, and seconds that one may take to leave.
SLOW_EVENTS, SLOW_BYTES, STUCK_SECONDS = 3000, 6_000_000, 30.0
#: How long a socket may take to close.
CLOSE_SECONDS = 2.0

#: Takes one message of the client; gives a close code if the client must go.
Take = Callable[[str], Awaitable[int | None]]


class Line:
    """See the module. after: number of the last event that the client has; first: told before all events; said: what
    the client has said already. `bytes_sent`: of events, so far."""

    def __init__(
        self,
        socket: WebSocket,
        outbox: Outbox,
        take: Take,
        after: int = 0,
        first: dict[str, Any] | None = None,
        said: Sequence[str] = (),
    ) -> None:
        self._socket, self._outbox, self._take, self._first, self._said = socket, outbox, take, first, said
        self.sent, self.bytes_sent = after, 0
        self._news = asyncio.Event()
        self._last_words = False  # close when all is sent
        self._ending: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def news(self) -> None:
        """The outbox has more, or the session wants the line to look after itself."""
        self._news.set()
        events, size = self._outbox.waiting(self.sent)
        if events > SLOW_EVENTS or size > SLOW_BYTES:
            self.end(SLOW)

    def end(self, code: int) -> None:
        """Close it with this code; a second time does nothing."""
        if not self._ending.done():
            self._ending.set_result(code)

    async def run(self) -> int:
        """Read and send until either side closes; returns the close code, whoever chose it."""
        sender, reader = asyncio.create_task(self._send_all()), asyncio.create_task(self._read_all())
        try:
            await asyncio.wait({sender, reader, self._ending}, return_when=asyncio.FIRST_COMPLETED)
            if sender.done() and not self._ending.done():  # what the client said last is still to be read
                await asyncio.wait({reader, self._ending}, timeout=CLOSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            code = self._code(reader, sender)
            if code in LAST_WORDS:
                self._last_words = True
                self._news.set()
                await asyncio.wait({sender}, timeout=CLOSE_SECONDS)
        finally:
            for task in (sender, reader):
                task.cancel()
            await asyncio.gather(sender, reader, return_exceptions=True)
        await close(self._socket, code)
        return code

    def _code(self, *tasks: asyncio.Task[int]) -> int:
        if self._ending.done():
            return self._ending.result()
        task = next(task for task in tasks if task.done())
        if error := task.exception():
            log.error("a connection failed: %r", error, exc_info=error)
            return BROKEN
        return task.result()

    async def _read_all(self) -> int:
        for text in self._said:
            if (code := await self._take(text)) is not None:
                return code
        while True:
            try:
                said = await hear(self._socket)
            except WebSocketDisconnect as end:
                return end.code
            if (code := await self._take(said)) is not None:
                return code

    async def _send_all(self) -> int:
        try:
            if self._first:
                await self._socket.send_text(json.dumps(self._first, ensure_ascii=False))
            while True:
                while self.sent < self._outbox.last:
                    if (text := self._outbox.text(self.sent + 1)) is None:
                        return SLOW
                    async with asyncio.timeout(STUCK_SECONDS):
                        await self._socket.send_text(text)
                    self.sent += 1
                    self.bytes_sent += len(text.encode("utf-8", "surrogatepass"))
                if self._last_words:
                    return OVER
                self._news.clear()
                await self._news.wait()
        except TimeoutError:
            return SLOW
        except (WebSocketDisconnect, RuntimeError):
            return LOST


async def hear(socket: WebSocket) -> str:
    """The client's next message; raises WebSocketDisconnect with the close code."""
    try:
        message = await socket.receive()
    except RuntimeError:
        raise WebSocketDisconnect(LOST) from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(int(message.get("code") or LOST))
    text = message.get("text")
    return (message.get("bytes") or b"").decode("utf-8", "replace") if text is None else str(text)


async def close(socket: WebSocket, code: int, last: dict[str, Any] | None = None) -> None:
    """Say the last thing, and close; a client that is gone may be."""
    with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            if last:
                await socket.send_text(json.dumps(last, ensure_ascii=False))
            await socket.close(code)
