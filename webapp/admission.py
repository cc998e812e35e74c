"""Who may talk now and who waits for a place, first come, first served; and when a session must end.

admission = Admission(Limits(places=16))
async with admission.place(person_of(headers, host, False), told) as place:      # waits its turn
    place.active()                                       # whenever the person does something
    while (event := await place.watch())["type"] != "duplex.ended":
        send(event)                                      # duplex.ending, duplex.stays
await admission.drain()                                  # at shutdown

A place belongs to a session, not to a socket: it is kept while the client is away. Everything runs on one event loop;
`clock` gives its seconds. Whoever leaves the block, by an error or a cancellation too, gives the place back or leaves
the queue at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from duplex_runtime.errors import BadInput, DuplexError
from webapp.forecast import waits

Told = Callable[[dict[str, Any]], None]

#: Whoever waits is told their position at least this often.
REPEAT_SECONDS = 15.0
#: Before the server is gone: for the last words to be sent.
GOODBYE_SECONDS = 1.0
#: Sessions whose lengths are remembered.
_REMEMBERED = 100
#: How long a forecast is told again before it is made anew: it costs some milliseconds.
_FORECAST_SECONDS = 1.0


@dataclass(frozen=True)
class Limits:
    """places: sessions at once. waiting: people in the queue; then nobody is let into it. per_person: places that one
    person holds or waits for. session_seconds, idle_seconds: how long a session lasts, altogether and without the
    person doing anything. None: no limit. warn_seconds: how long before the end the person is told, at most half of the
    limit. drain_seconds: from when the server begins to shut down to its end. Raises BadInput for values that make no
    sense.
    """

    places: int = 16
    waiting: int = 200
    per_person: int | None = 2
    session_seconds: float | None = None
    idle_seconds: float | None = None
    warn_seconds: float = 60.0
    drain_seconds: float = 20.0

    def __post_init__(self) -> None:
        for name, least in (("places", 1), ("waiting", 0), ("per_person", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadInput(f"{name}: expected {least} or more, got {value}")
        for name in ("session_seconds", "idle_seconds", "warn_seconds", "drain_seconds"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise BadInput(f"{name}: expected a number of seconds, got {value}")
        if self.session_seconds == 0 or self.idle_seconds == 0:
            raise BadInput("session_seconds and idle_seconds: expected more than 0, or None for no limit")


class Place:
    """One session's place; made by `Admission`."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self.begun = self._active_at = clock()
        self._closes_at: float | None = None  # the server shuts down
        self._told: str | None = None  # why the session will end, as far as the person knows
        self._changed = asyncio.Event()

    def active(self) -> None:
        """The person did something: idle time begins anew."""
        self._active_at = self._clock()
        if self._told == "idle":
            self._changed.set()

    def close_at(self, at: float) -> None:
        """The server will be gone then."""
        self._closes_at = at
        self._changed.set()

    async def watch(self) -> dict[str, Any]:
        """The next thing to tell the person: `duplex.ending` once for each warning, and again if a nearer end or
        another reason takes its place; `duplex.stays` when no end is near any more; at last `duplex.ended`, from then
        on always. One caller at a time."""
        while True:
            now, ends = self._clock(), self._ends()
            if (event := self._news(now, ends)) is not None:
                return event
            self._changed.clear()
            soonest = min((at for end in ends for at in end[:2] if at > now), default=None)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if soonest is None else soonest - now):
                    await self._changed.wait()

    def _ends(self) -> list[tuple[float, float, str]]:
        """When and why the session ends, and from when on the person shall know: (end, known, why)."""
        limits = self._limits
        ends = []
        for since, seconds, why in (
            (self.begun, limits.session_seconds, "time"),
            (self._active_at, limits.idle_seconds, "idle"),
        ):
            if seconds is not None:
                end = since + seconds
                ends.append((end, end - min(limits.warn_seconds, seconds / 2), why))
        if self._closes_at is not None:
            ends.append((self._closes_at, -math.inf, "shutdown"))
        return ends

    def _news(self, now: float, ends: list[tuple[float, float, str]]) -> dict[str, Any] | None:
        end, why = min(((end, why) for end, known, why in ends if known <= now), default=(math.inf, None))
        if end <= now:
            return {"type": "duplex.ended", "why": why}
        if why == self._told:
            return None
        self._told = why
        if why is None:
            return {"type": "duplex.stays"}
        return {"type": "duplex.ending", "seconds": math.ceil(end - now), "why": why}


class _Turn:
    """Somebody who came: in the queue, until there is a place."""

    def __init__(self) -> None:
        self.place: Place | None = None
        self.changed = asyncio.Event()


class Admission:
    """See the module."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._inside: list[Place] = []
        self._queue: deque[_Turn] = deque()
        self._of_person: Counter[str] = Counter()
        self._lasted: deque[float] = deque(maxlen=_REMEMBERED)
        self._forecast: tuple[float, list[float] | None] = (-math.inf, None)  # made when, and what
        self._gone_at: float | None = None  # draining: when the server will be gone
        self._left = asyncio.Event()

    @property
    def taken(self) -> int:
        """Places that sessions hold."""
        return len(self._inside)

    @property
    def waiting(self) -> int:
        """People in the queue."""
        return len(self._queue)

    @asynccontextmanager
    async def place(self, person: str, told: Told) -> AsyncIterator[Place]:
        """Hold a place for a session of `person`, after waiting for it.

        told: gets a `duplex.queue` event when the wait begins, whenever the position changes, and every 15 s. Raises
        DuplexError: `full` if the queue is, `too_many` if this person has all the places that one may have, `draining`
        if the server shuts down, also while waiting.
        """
        self._check(person)
        turn = _Turn()
        self._of_person[person] += 1
        self._queue.append(turn)
        try:
            self._fill()
            while (place := turn.place) is None:
                self._refuse_if_draining()
                told(self._position(turn))
                turn.changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(REPEAT_SECONDS):
                        await turn.changed.wait()
            yield place
        finally:
            self._leave(turn, person)

    async def drain(self) -> None:
        """Let nobody in any more and tell everybody that the server shuts down; returns when all have gone, at the
        latest after `drain_seconds`."""
        seconds = self.limits.drain_seconds
        if self._gone_at is None:
            self._gone_at = self._clock() + seconds
            for place in self._inside:
                place.close_at(self._gone_at - min(GOODBYE_SECONDS, seconds / 2))
            self._tell_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._gone_at - self._clock()):
                while self._inside or self._queue:
                    self._left.clear()
                    await self._left.wait()

    def _check(self, person: str) -> None:
        self._refuse_if_draining()
        limits = self.limits
        if limits.per_person is not None and self._of_person[person] >= limits.per_person:
            raise DuplexError(
                "too_many",
                f"one person has at most {limits.per_person} conversations at once, and you have them: "
                "close one of your other windows, then try again",
            )
        if self.taken >= limits.places and self.waiting >= limits.waiting:
            queue = f" and {self.waiting} people wait" if self.waiting else ""
            raise DuplexError("full", f"all {limits.places} places are taken{queue}; try again in a few minutes")

    def _refuse_if_draining(self) -> None:
        if self._gone_at is not None:
            raise DuplexError("draining", "the server is being restarted; try again in a minute")

    def _fill(self) -> None:
        """Give free places to those who came first, and tell the others where they stand now."""
        while self._queue and self.taken < self.limits.places and self._gone_at is None:
            turn = self._queue.popleft()
            turn.place = Place(self.limits, self._clock)
            self._inside.append(turn.place)
            turn.changed.set()
        self._tell_all()

    def _leave(self, turn: _Turn, person: str) -> None:
        self._of_person[person] -= 1
        if not self._of_person[person]:
            del self._of_person[person]
        if turn.place is None:
            self._queue.remove(turn)
            self._tell_all()
        else:
            self._inside.remove(turn.place)
            self._lasted.append(self._clock() - turn.place.begun)
            self._fill()
        self._left.set()

    def _tell_all(self) -> None:
        for turn in self._queue:
            turn.changed.set()

    def _position(self, turn: _Turn) -> dict[str, Any]:
        position = self._queue.index(turn) + 1
        now = self._clock()
        made, forecast = self._forecast
        if now - made >= _FORECAST_SECONDS or (forecast is not None and len(forecast) < position):
            ages = [now - place.begun for place in self._inside]
            forecast = waits(ages, self._lasted, self.limits.session_seconds, len(self._queue))
            self._forecast = now, forecast
        return {
            "type": "duplex.queue",
            "position": position,
            "waiting": len(self._queue),
            "estimate_seconds": math.ceil(forecast[position - 1]) if forecast else None,
        }
