"""Simulated people at a server: they type scenarios key by key, see what arrives, and write down how long it took.

seen = await crowd(server.ws, people=8, ramp_seconds=10, seconds=60, seed=0)
seen[0].reactions      # seconds from the last key of each question to the first word of its answer

All of them share one thread with little to do: a key is a timed send, and only events of the system that listens are
read as JSON. Everybody sends and acknowledges as the page does.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from duplex_runtime.errors import DuplexError
from duplex_runtime.evaluation.acts import ASKING, Act
from duplex_runtime.evaluation.conduct import Acting
from duplex_runtime.evaluation.person import Person
from duplex_runtime.evaluation.scenarios import Scenario, library
from duplex_runtime.events import Cut, Delta
from duplex_runtime.slices import Slicing
from webapp.wire import on_the_wire

#: Seconds for a connection to open, and without any message after which a server is dead: it pings every 15.
PATIENCE_SECONDS, DEAD_SECONDS = 30.0, 45.0
#: Who is not let in within so many seconds has to be told their place in the queue by then.
TOLD_SECONDS = 5.0
#: For what was said before a connection closed to be read.
CLOSED_SECONDS = 2.0
#: Events after which they are acknowledged.
ACK_EVENTS = 50
#: How the session is held: the system that waits for its turn has work as well.
SESSION = {"slice_seconds": "adaptive", "baseline": "barge-in"}
_OTHER = '"system": "turns"'
_SLICING = Slicing()


@dataclass
class Seen:
    """What one person saw.

    waited: seconds until the session began. positions: their places in the queue, as told. asked: questions;
    reactions: seconds of those that were answered. slices: seconds from when the server closed a slice until all that
    it says had arrived, and its period. lag: seconds that each key was sent too late. failed: what went wrong.
    """

    waited: float | None = None
    told_after: float | None = None
    positions: list[int] = field(default_factory=list)
    opened: bool = False
    asked: int = 0
    reactions: list[float] = field(default_factory=list)
    slices: list[tuple[float, float]] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)
    talks: int = 0
    failed: str = ""

    @property
    def late_share(self) -> list[float]:
        """Of each slice, as a share of half its period: 1 and more is too late."""
        return [2 * seconds / period for seconds, period in self.slices]


def typable() -> tuple[Scenario, ...]:
    """The scenarios that can be typed."""
    return tuple(scenario for scenario in library() if "keys" in scenario.ways)


async def enter(url: str, told: Callable[[dict[str, Any]], None] = lambda event: None) -> tuple[Any, dict[str, Any]]:
    """A session of one's own: its socket and `session.created`. `told` gets what is said while one waits.

    Raises OSError if the server cannot be reached, DuplexError if it lets one not in.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidHandshake

    try:
        socket = await connect(
            url, proxy=None, max_queue=None, max_size=None, ping_interval=None, open_timeout=PATIENCE_SECONDS,
            close_timeout=CLOSED_SECONDS,
        )  # fmt: skip
    except InvalidHandshake as error:
        raise ConnectionError(str(error)) from None
    try:
        with suppress(ConnectionClosed):  # what was said before it closed is still to be read
            await socket.send(json.dumps({"type": "session.update", "session": SESSION}))
        while True:
            event = json.loads(await asyncio.wait_for(socket.recv(), DEAD_SECONDS))
            told(event)
            if event["type"] == "session.created":
                return socket, event
            if event["type"] == "error":
                raise DuplexError("refused", f"not let in: {event['error']['code']}")
    except ConnectionClosed as closed:
        raise ConnectionError(f"closed before the session began: {closed.rcvd or 'without a word'}") from None
    except BaseException:
        socket.transport.abort()
        raise


class Visitor:
    """One person, who comes, talks and leaves."""

    def __init__(self, url: str, scenarios: Sequence[Scenario], rng: Random) -> None:
        self.seen = Seen()
        self._url, self._scenarios, self._rng = url, scenarios, rng
        self._person: Person | None = None
        self._news = asyncio.Event()  # they saw something, which may change what they do next
        self._seq = 0
        self._begun = 0.0  # of the scenario, on the monotonic clock
        self._started = 0.0  # of the session
        self._planned: Act | None = None  # what is being typed
        self._asked_at: float | None = None  # the last key of a question that is not answered
        self._answers: set[str] = set()  # known by now
        self._open: tuple[float, float] | None = None  # the newest slice: closed at, its last word so far
        self._period = _SLICING.period_seconds
        self._events = 0

    async def visit(self, end: float) -> None:
        """Talk until `end` on the monotonic clock; what goes wrong is in `seen.failed`."""
        from websockets.exceptions import ConnectionClosed

        came = time.monotonic()

        def told(event: dict[str, Any]) -> None:
            if event["type"] == "duplex.queue":
                if self.seen.told_after is None:
                    self.seen.told_after = time.monotonic() - came
                self.seen.positions.append(event["position"])

        try:
            async with asyncio.timeout_at(_of_the_loop(end)):
                socket, created = await enter(self._url, told)
        except TimeoutError:
            if not self.seen.positions and time.monotonic() - came >= TOLD_SECONDS:
                self.seen.failed = "not let in, and told no place in the queue"
            return
        except (OSError, DuplexError) as error:
            self.seen.failed = str(error) or type(error).__name__
            return
        now = time.monotonic()
        self.seen.opened, self.seen.waited = True, now - came
        self._started = now - created["at"]
        reading = asyncio.create_task(self._read(socket))
        typing = asyncio.create_task(self._type_all(socket, end))
        await asyncio.wait({reading, typing}, return_when=asyncio.FIRST_COMPLETED)
        if typing.done():
            await asyncio.wait({reading}, timeout=CLOSED_SECONDS if typing.exception() else 0)
        for task in (reading, typing):
            task.cancel()
        for result in await asyncio.gather(reading, typing, return_exceptions=True):
            if isinstance(result, ConnectionClosed | DuplexError | TimeoutError):
                self.seen.failed = self.seen.failed or _words(result)
            elif isinstance(result, Exception):
                raise result
        await socket.close()

    # — what they do —

    async def _type_all(self, socket: Any, end: float) -> None:
        while (now := time.monotonic()) < end:
            scenario = self._rng.choice(self._scenarios)
            self._person = Person(scenario, self._rng.randrange(1000), _SLICING)
            self._begun, self._planned = now, None
            await self._talk(socket, self._person, Acting(self._person, "keys", False, self._plan), end)
            self.seen.talks += 1

    def _plan(self, act: Act) -> None:
        self._planned = act
        if act.kind in (*ASKING, "stop"):  # they no longer wait for an answer to what came before
            self._asked_at = None

    async def _talk(self, socket: Any, person: Person, actor: Acting, end: float) -> None:
        while (due := actor.due()) is not None:
            now = time.monotonic()
            if now >= end:
                return
            wait = self._begun + due - now
            if wait > 0:
                self._news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(wait, end - now)):
                        await self._news.wait()
                continue
            inputs = actor.act(now - self._begun)
            for done in inputs:
                self._seq += 1
                await socket.send(json.dumps(on_the_wire(done) | {"seq": self._seq}))
            if inputs:
                self.seen.lag.append(-wait)
            if self._planned and now - self._begun >= self._planned.end:
                self._typed(self._planned, now)

    def _typed(self, act: Act, now: float) -> None:
        """The last key of it was sent."""
        self._planned = None
        if act.kind in ASKING:
            self.seen.asked += 1
            self._asked_at = now

    # — what they see —

    async def _read(self, socket: Any) -> None:
        while True:
            async with asyncio.timeout(DEAD_SECONDS):  # lighter than wait_for, which makes a task each time
                message = await socket.recv()
            now = time.monotonic()
            self._events += 1
            if self._events % ACK_EVENTS == 0:
                event = json.loads(message)
                await self._acknowledge(socket, event)
            elif _OTHER in message:  # in no text: quotes inside of it are escaped
                continue
            else:
                event = json.loads(message)
            if event["type"] == "error":
                raise DuplexError("server_error", f"error {event['error']['code']}")
            if event["type"] == "duplex.ended":
                raise DuplexError("ended", f"ended by the server: {event['why']}")
            if event.get("system") == "duplex":
                self._happened(event, now)

    async def _acknowledge(self, socket: Any, event: dict[str, Any]) -> None:
        if "event_id" in event:
            after = int(event["event_id"].removeprefix("event_"))
            await socket.send(json.dumps({"type": "duplex.ack", "after": after}))

    def _happened(self, event: dict[str, Any], now: float) -> None:
        match event:
            case {"type": "duplex.slice", "at": at}:
                self._started = min(self._started, now - at)
                self._close_slice()
                self._open = (self._started + at, now)
            case {"type": "response.output_text.delta", "response_id": name, "slice": n, "delta": delta, "at": at}:
                if self._open:
                    self._open = (self._open[0], now)
                self._see_word(name, now)
                self._show(Delta("duplex", name, n, delta, max(self._started + at, now) - self._begun))
            case {"type": "duplex.cut", "response_id": name, "slice": n, "at": at, "unheard": unheard}:
                self._show(Cut("duplex", name, n, self._started + at - self._begun, unheard))
            case {"type": "response.done"}:
                self._close_slice()
            case {"type": "duplex.pace", "level": level}:
                self._period = _SLICING.paced(level).period_seconds

    def _close_slice(self) -> None:
        if self._open:
            closed, said = self._open
            self.seen.slices.append((said - closed, self._period))
        self._open = None

    def _see_word(self, response: str, now: float) -> None:
        if response in self._answers:
            return
        self._answers.add(response)
        if self._asked_at is not None:  # one that began before the last key is no answer to the question
            self.seen.reactions.append(now - self._asked_at)
            self._asked_at = None

    def _show(self, event: Delta | Cut) -> None:
        if self._person:
            self._person.happened([event])
            self._news.set()


def _of_the_loop(end: float) -> float:
    return asyncio.get_running_loop().time() + end - time.monotonic()


def _words(error: Exception) -> str:
    from websockets.exceptions import ConnectionClosed

    if isinstance(error, ConnectionClosed):
        return f"closed in the middle of the talk: {error.rcvd or 'without a word'}"
    if isinstance(error, TimeoutError):
        return f"nothing came for {DEAD_SECONDS:.0f} s"
    return str(error) or type(error).__name__


async def crowd(
    url: str, people: int, ramp_seconds: float, seconds: float, seed: int, scenarios: Sequence[Scenario] = ()
) -> list[Seen]:
    """So many people, who come one after the other within the ramp, and all leave `seconds` after it."""
    visitors = [Visitor(url, scenarios or typable(), Random(f"{seed}/{n}")) for n in range(people)]
    begun = time.monotonic()
    end = begun + ramp_seconds + seconds

    async def one(visitor: Visitor, wait: float) -> None:
        await asyncio.sleep(wait)
        await visitor.visit(end)

    async with asyncio.TaskGroup() as group:
        for number, visitor in enumerate(visitors):
            group.create_task(one(visitor, ramp_seconds * number / max(1, people)))
    return [visitor.seen for visitor in visitors]


def troubles(seen: Sequence[Seen]) -> dict[str, int]:
    """What went wrong, and how often."""
    return dict(Counter(each.failed for each in seen if each.failed))
