"""Part of `duplex loadtest --abuse`: messages that no client should send, over many connections at once.

A crash is: the server's process ended; a traceback in its log; HTTP status 500 or more at a handshake; a connection
closed with 1011; an error that the server calls internal; and a bystander, who talks meanwhile as people do, whose
session was disturbed: an error, a cut, a text or an event lost or doubled.

The messages come in waves. After each the server comes to rest, and its memory is read: what it has while it is at work
says little about what it keeps.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from webapp.load.figures import quantile, slope
from webapp.load.kills import compared_with, quiet, type_questions
from webapp.load.mutate import Mutator
from webapp.load.people import Seen, Visitor, troubles, typable
from webapp.load.server import Server
from webapp.load.traveller import Traveller

#: Connections at the same time.
AT_ONCE = 12
#: Waves; before memory is judged come the first of them, in which the server gets to know what there is.
WAVES, WARM_UP = 8, 4
#: Who left without a word is forgotten after 30 seconds; the server is not waited for longer than this.
REST_SECONDS, LOOK_SECONDS = 60.0, 0.5
#: People who talk meanwhile, beside the bystander whose every event is counted; how long each of them stays.
PEOPLE, STAY_SECONDS = 3, 20.0
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
    """What happened so far. closed: how connections ended, by code. problems: each is a crash. rest: (messages, bytes),
    the server's memory after each wave."""

    sent: int = 0
    connections: int = 0
    closed: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    rest: list[tuple[float, float]] = field(default_factory=list)


async def run(server: Server, messages: int, seed: int) -> dict[str, Any]:
    """Send so many; figures for the table."""
    fuzzed, seen, enough = Fuzzed(), list[Seen](), asyncio.Event()
    bystander = Traveller(server.ws, Random(f"{seed}/bystander"))
    going = asyncio.create_task(bystander.go())
    await bystander.began()
    async with asyncio.TaskGroup() as people:
        people.create_task(type_questions(bystander, Random(f"{seed}/talk"), enough))
        for n in range(PEOPLE):
            people.create_task(_talk(server, Random(f"{seed}/person/{n}"), seen, enough))
        seconds = await _waves(server, fuzzed, messages, seed)
        enough.set()
    await quiet(bystander)
    await bystander.leave()
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    await _judge(server, fuzzed, bystander, seen)
    growth = slope(fuzzed.rest[WARM_UP:])
    worst = quantile([share for person in seen for share in person.late_share], 0.99)
    return {
        "messages": fuzzed.sent,
        "connections": fuzzed.connections,
        "fuzz_crashes": sum(fuzzed.problems.values()),
        "fuzz_bytes_per_1000": None if growth is None else round(1000 * growth),
        "fuzz_rest_mb": [round(used / 1e6, 1) for _, used in fuzzed.rest],
        "fuzz_per_second": round(fuzzed.sent / seconds),
        "bystander_texts": len(bystander.sent),
        "bystander_events": len(bystander.received),
        "bystander_slices": sum(len(person.slices) for person in seen),
        "bystander_p99_over_half_period": None if worst is None else round(worst, 4),
        "closed": dict(sorted(fuzzed.closed.items())),
        "fuzz_why": dict(fuzzed.problems),
    }


async def _waves(server: Server, fuzzed: Fuzzed, messages: int, seed: int) -> float:
    """All the messages; the seconds in which they were sent."""
    seconds = 0.0
    for wave in range(1, WAVES + 1):
        begun = time.monotonic()
        await asyncio.gather(
            *(
                _connections(server, fuzzed, messages * wave // WAVES, Random(f"{seed}/{wave}/{n}"))
                for n in range(AT_ONCE)
            )
        )
        seconds += time.monotonic() - begun
        if server.alive():
            await _rest(server)
            fuzzed.rest.append((fuzzed.sent, server.rss()))
    return seconds


async def _rest(server: Server) -> None:
    """Wait until only those are there who talk meanwhile."""
    end = time.monotonic() + REST_SECONDS
    while time.monotonic() < end:
        if (await server.state())["sessions"] <= 1 + PEOPLE:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _talk(server: Server, rng: Random, seen: list[Seen], enough: asyncio.Event) -> None:
    """One person after the other."""
    while not enough.is_set() and server.alive():
        visitor = Visitor(server.ws, typable(), Random(rng.random()))
        seen.append(visitor.seen)
        await visitor.visit(time.monotonic() + STAY_SECONDS)
        await asyncio.sleep(LOOK_SECONDS)


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


async def _judge(server: Server, fuzzed: Fuzzed, bystander: Traveller, seen: Sequence[Seen] = ()) -> None:
    """What is seen only at the end."""
    for last in server.tracebacks():
        fuzzed.problems[f"traceback: {last[:100]}"] += 1
    if bystander.failed or bystander.resumed:
        fuzzed.problems[f"the bystander was disturbed: {bystander.failed or 'cut off'}"] += 1
    for why, count in troubles(seen).items():
        fuzzed.problems[f"a person who talked was disturbed: {why}"] += count
    if server.data:
        found = await compared_with(server.data / "recordings", bystander)
        if wrong := found.lost_texts + found.doubled_texts + found.lost_events + found.doubled_events:
            fuzzed.problems["events of the bystander lost or doubled"] += wrong
