"""Other people's protocols over our own: a WebSocket whose messages are translated on their way in and out.

    async with Translated(socket, dialect) as inner:
        await arena.serve(inner)              # hears our events only, whatever the client speaks

A dialect is a pure state machine: it gets texts, and says what goes on to the server and what to the client. It does
not know sockets or clocks. Such clients do not resume: when their connection ends, however it ends, their session does.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from starlette.types import Message
from starlette.websockets import WebSocket

from webapp.rates import Rates
from webapp.sockets import RULES
from webapp.wire import MAX_BYTES

#: The subprotocol that browsers ask for with OpenAI's clients: they give up if it is not confirmed.
SUBPROTOCOL = "realtime"


@dataclass(frozen=True)
class Relay:
    """What comes of one message: events for our server, texts for the client. `leaves`: the session is over.
    `refused`: the client broke the rules of its own protocol."""

    server: tuple[dict[str, Any], ...] = ()
    client: tuple[str, ...] = ()
    leaves: bool = False
    refused: bool = False


class Dialect(Protocol):
    """One client's protocol."""

    @property
    def wait_seconds(self) -> float | None:
        """`waited` is called when nothing came from the server for so long; None: never."""

    def opening(self) -> tuple[dict[str, Any], ...]:
        """What the server hears before anything that the client says."""

    def inward(self, text: str) -> Relay:
        """The client said this."""

    def outward(self, event: dict[str, Any]) -> Relay:
        """The server said this."""

    def waited(self) -> Relay:
        """The server said nothing for `wait_seconds`."""


class Translated(WebSocket):
    """See the module. `choose`: where no dialect is given, it finds one by the client's first message, or None for a
    client that speaks our own events. `accepted`: the handshake is over."""

    def __init__(
        self,
        socket: WebSocket,
        dialect: Dialect | None = None,
        choose: Callable[[str], Dialect | None] | None = None,
        accepted: bool = False,
    ) -> None:
        super().__init__(socket.scope, self._take, self._give)
        self._socket, self._dialect, self._choose, self._accepted = socket, dialect, choose, accepted
        self._connected = False
        self._left = False
        self._inbox: deque[str] = deque()
        self._outbox: deque[str] = deque()
        self._woken = asyncio.Event()
        self._lock = asyncio.Lock()
        self._rates = Rates(time.monotonic())
        self._reading: asyncio.Task[Message] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._timed: float | None = None

    async def __aenter__(self) -> Translated:
        if self._dialect:
            self._deliver(Relay(self._dialect.opening()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for task in (self._reading, self._timer) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # — to the server —

    async def _take(self) -> Message:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"} if self._accepted else await self._socket.receive()
        while not self._inbox:
            if self._left:
                return {"type": "websocket.disconnect", "code": 1000}
            message = await self._next()
            if message is None:
                continue
            if message["type"] == "websocket.disconnect":
                return {**message, "code": 1000} if self._dialect else message
            if self._choose:
                choose, self._choose = self._choose, None
                self._dialect = choose(_text(message))
                if self._dialect:
                    self._deliver(Relay(self._dialect.opening()))
            if self._dialect is None or len(_text(message).encode("utf-8", "surrogatepass")) > MAX_BYTES:
                return message  # one that is too long, the server refuses
            relay = self._dialect.inward(_text(message))
            await self._pass(relay)
            if relay.refused and self._rates.take(time.monotonic(), refused=1):
                await self._socket.close(RULES)
                return {"type": "websocket.disconnect", "code": RULES}
        return {"type": "websocket.receive", "text": self._inbox.popleft()}

    async def _next(self) -> Message | None:
        """The client's next message; None: something else woke us."""
        if self._dialect is None:
            return await self._socket.receive()
        self._reading = self._reading or asyncio.create_task(self._socket.receive())
        waking = asyncio.create_task(self._woken.wait())
        try:
            await asyncio.wait({self._reading, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
        self._woken.clear()
        if not self._reading.done():
            return None
        reading, self._reading = self._reading, None
        return reading.result()

    # — to the client —

    async def _give(self, message: Message) -> None:
        if self._left:  # the client goes on in another session
            return
        if message["type"] == "websocket.accept":
            if self._accepted:
                return
            if SUBPROTOCOL in self.scope.get("subprotocols", ()):
                message = {**message, "subprotocol": SUBPROTOCOL}
            await self._socket.send(message)
        elif message["type"] == "websocket.send" and self._dialect:
            await self._pass(self._dialect.outward(json.loads(message["text"])))
        else:
            await self._socket.send(message)

    async def _pass(self, relay: Relay) -> None:
        """From both sides; whoever is cut short in it leaves the rest to the next."""
        self._deliver(relay)
        self._wait()
        async with self._lock:
            while self._outbox:
                await self._socket.send({"type": "websocket.send", "text": self._outbox.popleft()})

    def _deliver(self, relay: Relay) -> None:
        self._inbox.extend(json.dumps(event, ensure_ascii=False) for event in relay.server)
        self._outbox.extend(relay.client)
        self._left |= relay.leaves
        if relay.server or relay.leaves:
            self._woken.set()

    def _wait(self) -> None:
        """Call `waited` when it is time; every message begins the time anew."""
        assert self._dialect
        loop = asyncio.get_running_loop()
        seconds = self._dialect.wait_seconds
        self._timed = None if seconds is None else loop.time() + seconds
        if self._timed is not None and (self._timer is None or self._timer.done()):
            self._timer = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while self._timed is not None and self._dialect:
            if (left := self._timed - loop.time()) > 0:
                await asyncio.sleep(left)
                continue
            self._timed = None
            try:
                await self._pass(self._dialect.waited())
            except RuntimeError:  # the client has left
                return


def _text(message: Message) -> str:
    return message["text"] if message.get("text") is not None else message["bytes"].decode("utf-8", "replace")
