"""A client on a bad network: it follows the resume protocol of `/v1/realtime`, and keeps all that it sent and received.

traveller = Traveller(url)
going = asyncio.create_task(traveller.go())
await traveller.began()
await traveller.say({"type": "duplex.input.edit", "delete": 0, "insert": "hello "})
traveller.sent, traveller.received, traveller.resumed
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from contextlib import suppress
from random import Random
from typing import Any

from duplex_runtime.errors import DuplexError
from webapp.load.people import SESSION

#: Seconds between two tries to connect, at most.
RETRY_SECONDS = 0.2
#: For a handshake and for the first message behind it: more is taken for a cut.
OPEN_SECONDS = 10.0
#: Events after which they are acknowledged.
ACK_EVENTS = 20


class Traveller:
    """One session over as many connections as it takes.

    sent: client events, in order, of which number n has `seq` n. received: numbered server events, each once.
    again: numbered events that came although they had come before. missed: numbers that were left out. resumed: how
    often. failed: why it had to give up.
    """

    def __init__(self, url: str, rng: Random | None = None) -> None:
        self._url, self._rng = url, rng or Random(0)
        self.sent: list[dict[str, Any]] = []
        self.received: list[dict[str, Any]] = []
        self.again = self.missed = self.resumed = self.connections = 0
        self.failed = ""
        self.session = ""
        self.heard_at = 0.0
        self._token = ""
        self._last = 0  # number of the newest event
        self._unsure: deque[tuple[int, str]] = deque()  # sent, and perhaps not taken
        self._socket: Any = None  # None: what is said waits
        self._begun = asyncio.Event()
        self._left = False  # on purpose

    @property
    def connected(self) -> bool:
        """Is what is said on its way at once?"""
        return self._socket is not None

    async def began(self, seconds: float = 60.0) -> None:
        """Wait for the session; raises TimeoutError."""
        async with asyncio.timeout(seconds):
            await self._begun.wait()

    async def say(self, event: dict[str, Any]) -> None:
        """Send it now, or once there is a connection again."""
        from websockets.exceptions import ConnectionClosed

        self.sent.append(event)
        text = json.dumps(event | {"seq": len(self.sent)})
        self._unsure.append((len(self.sent), text))
        if self._socket:
            with suppress(ConnectionClosed):
                await self._socket.send(text)

    async def go(self) -> None:
        """Connect again and again, until cancelled, refused (`failed`) or left."""
        from websockets.exceptions import ConnectionClosed, InvalidHandshake

        while not self.failed and not self._left:
            try:
                await self._connect()
            except DuplexError as error:
                self.failed = str(error)
            except (OSError, ConnectionClosed, InvalidHandshake, EOFError):  # TimeoutError is an OSError
                await asyncio.sleep(self._rng.uniform(0, RETRY_SECONDS))

    async def leave(self) -> None:
        """Close on purpose: the session ends."""
        self._left = True
        socket, self._socket = self._socket, None
        if socket:
            await socket.close()

    async def _connect(self) -> None:
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed

        resume = f"?resume={self._token}&after={self._last}" if self._token else ""
        socket = await connect(
            self._url + resume, proxy=None, max_queue=None, max_size=None, ping_interval=None, close_timeout=2,
            open_timeout=OPEN_SECONDS,
        )  # fmt: skip
        self.connections += 1
        try:
            if not self._token:
                with suppress(ConnectionClosed):  # what was said before it closed is still to be read
                    await socket.send(json.dumps({"type": "session.update", "session": SESSION}))
            first = True
            while True:
                async with asyncio.timeout(OPEN_SECONDS if first else None):
                    message = await socket.recv()
                first = False
                await self._take(socket, json.loads(message))
        finally:
            self._socket = None
            socket.transport.abort()

    async def _take(self, socket: Any, event: dict[str, Any]) -> None:
        self.heard_at = time.monotonic()
        if "event_id" in event:
            number = int(event["event_id"].removeprefix("event_"))
            if number <= self._last:
                self.again += 1
                return
            self.missed += number - self._last - 1
            self._last = number
            self.received.append(event)
            if number % ACK_EVENTS == 0:
                await socket.send(json.dumps({"type": "duplex.ack", "after": number}))
        match event["type"]:
            case "session.created":
                self._token, self.session = event["session"]["resume"]["token"], event["session"]["id"]
                self._socket = socket
                self._begun.set()
            case "session.resumed":
                self.resumed += 1
                await self._send_again(socket, event["received"])
            case "error":
                raise DuplexError("server_error", f"error {event['error']['code']}")
            case "duplex.ended":
                raise DuplexError("ended", f"ended by the server: {event['why']}")

    async def _send_again(self, socket: Any, taken: int) -> None:
        """What the server has not taken. What is said meanwhile waits in the same row."""
        while self._unsure and self._unsure[0][0] <= taken:
            self._unsure.popleft()
        done = taken
        while done < len(self.sent):
            for number, text in list(self._unsure):
                if number > done:
                    await socket.send(text)
                    done = number
        self._socket = socket
