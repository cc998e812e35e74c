"""People in a hurry, and a server that treats its guests as it likes.

(person,) = at([refuse], lambda port: type_all(port, 1, 0.3, 0, ["Why?"], FAST))
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from webapp.latency.people import Pace

FAST = Pace(key=(0.001, 0.002), think=(0.0, 0.01), word=8.0, answer=2.0)
Part = Callable[[ServerConnection], Awaitable[None]]


def at(parts: list[Part], talk: Callable[[int], Awaitable[Any]]) -> Any:
    """What `talk(port)` gives at a server that treats its n-th guest as `parts[n]` says."""

    async def hold() -> Any:
        guests = iter(parts)

        async def guest(socket: ServerConnection) -> None:
            assert json.loads(await socket.recv())["type"] == "session.update"
            await next(guests)(socket)

        async with serve(guest, "127.0.0.1", 0) as server:
            return await talk(next(iter(server.sockets)).getsockname()[1])

    return asyncio.run(hold())


async def say(socket: ServerConnection, kind: str, **values: Any) -> None:
    await socket.send(json.dumps({"type": kind, "system": "duplex", **values}))


async def let_in(socket: ServerConnection, ears: str | None = None) -> None:
    await say(socket, "duplex.pace", level=0)  # comes first where others are inside
    voices = [{"id": "tone"}]
    await say(socket, "session.created", session={"audio": {"ears": ears, "voices": voices, "note": "no ears here"}})


async def refuse(socket: ServerConnection) -> None:
    await say(socket, "error", error={"message": "nobody else today"})
