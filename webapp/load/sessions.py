"""Part of `duplex loadtest --abuse`: sessions come and go, one after another and in overlapping groups.

Each begins, types a sentence and Enter, sees both systems take it in, and leaves. A session fails if it is not let in,
hears of an error or gets no reply; afterwards the server must hold none of them any more.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from random import Random
from typing import Any

from duplex_runtime.errors import DuplexError
from webapp.load.people import PATIENCE_SECONDS, enter
from webapp.load.server import Server

#: So many at the same time in the second half, and seconds within which each of them stays behind its reply.
GROUP, STAY_SECONDS = 8, 1.0
#: Until the server has cleared up.
CLEAR_SECONDS = 45.0
_SENTENCES = ("Hello.", "How do bees live?", "Tell me about volcanoes.", "Stop.")


async def run(server: Server, sessions: int, seed: int) -> dict[str, Any]:
    """Hold so many; figures for the table."""
    begun, rng, failures = time.monotonic(), Random(seed), Counter[str]()
    alone = sessions // 2
    for _ in range(alone):
        await _session(server.ws, rng, 0.0, failures)
    left = iter(range(sessions - alone))

    async def some() -> None:
        for _ in left:
            await _session(server.ws, rng, rng.uniform(0, STAY_SECONDS), failures)

    await asyncio.gather(*(some() for _ in range(GROUP)))
    return {
        "sessions": sessions,
        "session_failures": sum(failures.values()),
        "sessions_left": await _left(server),
        "sessions_seconds": round(time.monotonic() - begun, 1),
        "session_why": dict(failures),
    }


async def _session(url: str, rng: Random, stay_seconds: float, failures: Counter[str]) -> None:
    from websockets.exceptions import ConnectionClosed

    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            socket, _ = await enter(url)
            try:
                await _say(socket, rng.choice(_SENTENCES))
                await _until_taken(socket)
                await asyncio.sleep(stay_seconds)
            finally:
                await socket.close()
    except TimeoutError:
        failures["no reply"] += 1
    except ConnectionClosed:
        failures["closed in the middle"] += 1
    except (OSError, DuplexError) as error:
        failures[str(error)] += 1


async def _say(socket: Any, text: str) -> None:
    for number, word in enumerate(text.split(), 1):
        event = {"type": "duplex.input.edit", "delete": 0, "insert": f"{word} ", "seq": number}
        await socket.send(json.dumps(event))
    await socket.send(json.dumps({"type": "duplex.input.enter", "seq": len(text.split()) + 1}))


async def _until_taken(socket: Any) -> None:
    """Both systems have closed a slice with it."""
    waiting = {"duplex", "turns"}
    while waiting:
        event = json.loads(await socket.recv())
        if event["type"] == "error":
            raise DuplexError("server_error", f"error {event['error']['code']}")
        if event["type"] == "duplex.slice" and event["user"]:
            waiting.discard(event["system"])


async def _left(server: Server) -> int | None:
    """Sessions that the server still holds; None of one that does not tell."""
    end = time.monotonic() + CLEAR_SECONDS
    while (held := (await server.state())["sessions"]) and time.monotonic() < end:
        await asyncio.sleep(0.5)
    return held if held is None else int(held)
