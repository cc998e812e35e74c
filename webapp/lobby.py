"""Where somebody waits for a place before their session is there.

async with enter(socket, arena.admission, person) as entered:
    entered.place            # theirs until the block ends
    entered.said             # what they said while they waited

They are told their position (`duplex.queue`), and what they say meanwhile is kept for the session. Who leaves frees
their place in the queue at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from duplex_runtime.errors import DuplexError
from webapp.admission import Admission, Place
from webapp.sockets import LOST, hear

#: Characters that somebody may say while they wait: a page says nothing but how it would like its session.
MOST_SAID = 64 * 1024


@dataclass(frozen=True)
class Entered:
    """Somebody who has a place, and what they have said so far."""

    place: Place
    said: tuple[str, ...]


@asynccontextmanager
async def enter(socket: WebSocket, admission: Admission, person: str) -> AsyncIterator[Entered]:
    """A place for `person`, who came over `socket`, after they waited for it.

    Raises WebSocketDisconnect if they leave while they wait; DuplexError as `Admission.place` does, and `too_fast` for
    somebody who talks and talks.
    """
    news: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said: list[str] = []
    async with AsyncExitStack() as stack:
        entering = asyncio.create_task(stack.enter_async_context(admission.place(person, news.put_nowait)))
        others = {asyncio.create_task(_hear(socket, said)), asyncio.create_task(_tell(socket, news))}
        try:
            await asyncio.wait({entering, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*others, *(() if entering.done() else (entering,))):
                task.cancel()
            results = await asyncio.gather(*others, entering, return_exceptions=True)
        for result in results:
            if isinstance(result, DuplexError | WebSocketDisconnect):
                raise result
        yield Entered(entering.result(), tuple(said))


async def _hear(socket: WebSocket, said: list[str]) -> None:
    """Keep what they say until they have a place; raises WebSocketDisconnect when they leave."""
    left = MOST_SAID
    while True:
        said.append(await hear(socket))
        left -= len(said[-1])
        if left < 0:
            raise DuplexError("too_fast", "wait for session.created before you go on: nobody hears you yet")


async def _tell(socket: WebSocket, news: asyncio.Queue[dict[str, Any]]) -> None:
    """Tell them where they stand; raises WebSocketDisconnect when they have left."""
    while True:
        event = await news.get()
        try:
            await socket.send_text(json.dumps(event))
        except RuntimeError:
            raise WebSocketDisconnect(LOST) from None
