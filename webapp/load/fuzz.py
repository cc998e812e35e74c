"""Part of `duplex loadtest --abuse`: messages that no client should send, over many connections at once.

A crash is: the server's process ended; a traceback in its log; HTTP status 500 or more at a handshake; a connection
closed with 1011; an error that the server calls internal; and a bystander, who talks meanwhile as people do, whose
session was disturbed: an error, a cut, a text or an event lost or doubled.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from webapp.load.figures import quantile, slope
from webapp.load.kills import compared_with, quiet, type_questions
from webapp.load.meter import Meter
from webapp.load.mutate import Mutator
from webapp.load.server import Server
from webapp.load.talks import shares_of
from webapp.load.traveller import Traveller

#: Connections at the same time.
AT_ONCE = 12
#: Share of the messages before memory is judged: sessions whose clients left without a word are kept for 30 seconds, so
#: that the server first fills up.
WARM_UP = 0.6
#: Messages of one connection, unless the server ends it before: at most, on a scale where small numbers are as likely.
MOST_MESSAGES = 400
#: Share of connections that begin a session first, and that leave without a goodbye.
BEGIN, RUDE = 0.6, 0.03
_BEGIN = '{"type": "session.update", "session": {"slice_seconds": "adaptive", "baseline": "barge-in"}}'
_INTERNAL = ('"code": "internal"', '"code": "conversation_failed"')
PATIENCE_SECONDS = 20.0
#: Connections in a row over which nothing could be sent.
MOST_BARREN = 50


@dataclass
class Fuzzed:
    """What happened so far. closed: how connections ended, by code. problems: each is a crash."""

    sent: int = 0
    connections: int = 0
    closed: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, float]] = field(default_factory=list)  # (messages, bytes)


async def run(server: Server, messages: int, seed: int) -> dict[str, Any]:
    """Send so many; figures for the table."""
    begun, fuzzed = time.monotonic(), Fuzzed()
    bystander = Traveller(server.ws, Random(f"{seed}/bystander"))
    going = asyncio.create_task(bystander.go())
    enough = asyncio.Event()
    async with Meter(server) as meter:
        await bystander.began()
        talking = asyncio.create_task(type_questions(bystander, Random(f"{seed}/talk"), enough))
        watching = asyncio.create_task(_watch(server, fuzzed))
        await asyncio.gather(
            *(_connections(server, fuzzed, messages, Random(f"{seed}/{n}")) for n in range(AT_ONCE))
        )  # fmt: skip
        watching.cancel()
        enough.set()
        await talking
        await quiet(bystander)
        await bystander.leave()
    going.cancel()
    await asyncio.gather(going, watching, return_exceptions=True)
    await _judge(server, fuzzed, bystander)
    growth = slope((n, used) for n, used in fuzzed.memory if n >= fuzzed.sent * WARM_UP)
    worst = quantile(shares_of(meter.late), 0.99)
    return {
        "messages": fuzzed.sent,
        "connections": fuzzed.connections,
        "fuzz_crashes": sum(fuzzed.problems.values()),
        "fuzz_bytes_per_1000": None if growth is None else round(1000 * growth),
        "fuzz_rss_mb": [round(used / 1e6, 1) for _, used in fuzzed.memory[:: max(1, len(fuzzed.memory) // 8)]],
        "fuzz_p99_over_half_period": None if worst is None else round(worst, 4),
        "bystander_texts": len(bystander.sent),
        "bystander_events": len(bystander.received),
        "fuzz_seconds": round(time.monotonic() - begun, 1),
        "closed": dict(sorted(fuzzed.closed.items())),
        "fuzz_why": dict(fuzzed.problems),
    }


async def _connections(server: Server, fuzzed: Fuzzed, messages: int, rng: Random) -> None:
    """One connection after the other, until all have sent enough or the server is gone."""
    mutator, barren = Mutator(rng), 0
    while fuzzed.sent < messages:
        before = fuzzed.sent
        await _connection(server, fuzzed, mutator, rng, messages)
        barren = barren + 1 if fuzzed.sent == before else 0
        if not server.alive():
            fuzzed.problems["the server's process ended"] = 1
            return
        if barren == MOST_BARREN:
            fuzzed.problems["the server takes nothing any more"] = 1
            return


async def _connection(server: Server, fuzzed: Fuzzed, mutator: Mutator, rng: Random, messages: int) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

    try:
        socket = await connect(
            server.ws + mutator.query(), proxy=None, max_queue=None, max_size=None, ping_interval=None,
            open_timeout=PATIENCE_SECONDS, close_timeout=PATIENCE_SECONDS,
        )  # fmt: skip
    except InvalidStatus as refused:
        fuzzed.closed[f"HTTP {refused.response.status_code}"] += 1
        if refused.response.status_code >= 500:
            fuzzed.problems[f"HTTP {refused.response.status_code} at a handshake"] += 1
        return
    except (OSError, WebSocketException) as error:
        fuzzed.closed[type(error).__name__] += 1
        await asyncio.sleep(0.05)
        return
    fuzzed.connections += 1
    listening = asyncio.create_task(_listen(socket, fuzzed))
    with suppress(ConnectionClosed):
        if rng.random() < BEGIN:
            await socket.send(_BEGIN)
        for _ in range(min(int(MOST_MESSAGES ** rng.random()), messages - fuzzed.sent)):
            message = mutator.message()
            as_text = True if isinstance(message, bytes) and rng.random() < 0.03 else None  # text that is not UTF-8
            await socket.send(message, text=as_text)
            fuzzed.sent += 1
            await asyncio.sleep(0)  # so that the end of the connection is seen
    if rng.random() < RUDE:
        socket.transport.abort()
    with suppress(TimeoutError):
        await socket.close()
    await asyncio.wait({listening}, timeout=PATIENCE_SECONDS)
    listening.cancel()
    code = socket.close_code
    fuzzed.closed[str(code)] += 1
    if code == 1011:
        fuzzed.problems["closed with 1011"] += 1


async def _listen(socket: Any, fuzzed: Fuzzed) -> None:
    async for message in socket:
        for sign in _INTERNAL:
            if sign in message:
                fuzzed.problems[f"error {sign}"] += 1


async def _watch(server: Server, fuzzed: Fuzzed) -> None:
    while True:
        if used := server.rss():
            fuzzed.memory.append((fuzzed.sent, used))
        await asyncio.sleep(0.5)


async def _judge(server: Server, fuzzed: Fuzzed, bystander: Traveller) -> None:
    """What is seen only at the end."""
    for last in server.tracebacks():
        fuzzed.problems[f"traceback: {last[:100]}"] += 1
    if bystander.failed or bystander.resumed:
        fuzzed.problems[f"the bystander was disturbed: {bystander.failed or 'cut off'}"] += 1
    if server.data:
        found = await compared_with(server.data / "recordings", bystander)
        if wrong := found.lost_texts + found.doubled_texts + found.lost_events + found.doubled_events:
            fuzzed.problems["events of the bystander lost or doubled"] += wrong
