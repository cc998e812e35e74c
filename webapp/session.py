"""One talk of one client with both systems (or with the one under a cover): what stays when a connection is cut.

session = LiveSession(arena, place)
code = await session.hold(socket)               # until that socket ends; 1000: the client said goodbye
code = await session.hold(another, after=17)    # goes on: tells every event after number 17
await session.close()                           # frees both slots, ends the recording

While no socket is there the conversations go on and the outbox fills. The microphone counts as switched off: sound that
is not heard now is never heard, and who was speaking has stopped. Everything else a client sends again, and what was
taken already, by its `seq`, is not taken twice.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from starlette.websockets import WebSocket

from duplex_runtime.clock import Clock, RealClock
from duplex_runtime.engine.requests import Output, SliceRequest
from duplex_runtime.errors import DuplexError
from duplex_runtime.events import Event, Heard, Input, UserText
from duplex_runtime.loop import Observer, Session
from duplex_runtime.models.load import default_sampling
from duplex_runtime.recording import Recorder, header_of
from duplex_runtime.slices import Slicing
from duplex_runtime.speech.base import EAR_RATE
from webapp.admission import Place
from webapp.outbox import Outbox
from webapp.rates import Rates
from webapp.sockets import ELSEWHERE, LONG, OVER, RULES, Line
from webapp.sounds import Sounds
from webapp.store import Recording
from webapp.wire import (
    Ack,
    ClientEvent,
    Message,
    Played,
    SessionUpdate,
    Sound,
    TooLong,
    Typed,
    error_event,
    event_of,
    opened,
)

if TYPE_CHECKING:
    from webapp.realtime import Arena

log = logging.getLogger(__name__)

#: A client hears from the server so often, and what of it was received.
PING_SECONDS = 15.0
#: How long a session waits for a client whose connection was cut.
RESUME_SECONDS = 30.0


class ToSession:
    """An observer that hands events from the worker's thread to the session."""

    def __init__(self, happened: Callable[[Sequence[Event]], None]) -> None:
        self._happened = happened

    def heard(self, event: Input, at: float) -> None:
        """Nothing to tell: the client knows what it sent."""

    def asked(self, now: float, request: SliceRequest | None) -> None:
        """Nothing to tell."""

    def answered(self, output: Output, at: float) -> None:
        """Nothing to tell: events say it."""

    def happened(self, events: Sequence[Event]) -> None:
        """Tell the session."""
        self._happened(events)


class Cover(Protocol):
    """What stands before one system in a blind study, so that nobody can tell which it is (webapp/study/blind.py).

    `id` is the session's; `system`: `duplex` or `turns`; `baseline`: what the latter does when the person begins.
    """

    id: str
    system: str
    baseline: str

    def recording(self, failed: Callable[[DuplexError], None]) -> Recording | None:
        """Where the session is recorded; None, told to `failed`, if it cannot be."""

    def observers(self, clock: Clock) -> list[Observer]:
        """Who else sees the conversation; `clock` is the session's."""

    def inward(self, event: ClientEvent) -> ClientEvent:
        """What the client says, as the session shall hear it."""

    def outward(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """What the client shall hear of it; None: nothing."""


class LiveSession:
    """See the module. Under a `cover` there is one system, and no resume. `token`: who has it may resume. `place`: the
    one that the session holds."""

    def __init__(self, arena: Arena, place: Place, cover: Cover | None = None) -> None:
        self.arena, self.place, self.cover = arena, place, cover
        self.id = cover.id if cover else secrets.token_urlsafe(12)
        self.token = secrets.token_urlsafe(24)
        #: The highest `seq` that was taken.
        self.received = 0
        self.outbox = Outbox()
        self._line: Line | None = None
        self._rates = Rates(time.monotonic())
        self._rate = EAR_RATE
        self._asyncio = asyncio.get_running_loop()
        self._changing = asyncio.Lock()
        self._opening: dict[str, Future[Session]] = {}
        self._sessions: dict[str, Session] = {}
        self._recording: Any = None
        self._clock = RealClock()
        self._sounds: Sounds | None = None  # not None: the session has begun
        self._created = False  # and its client was told so

    @property
    def resumable(self) -> bool:
        """May its client come back?"""
        return self._created and self.cover is None

    @property
    def away(self) -> bool:
        """Is its client without a connection?"""
        return self._line is None

    # — its socket —

    async def hold(self, socket: WebSocket, after: int | None = None, said: Sequence[str] = ()) -> int:
        """Talk over this socket until it ends; returns the close code. Another that was there is closed: ELSEWHERE.

        after: number of the last event that the client has; None: it is new. said: what it has said already.
        """
        if self._line:
            self._line.end(ELSEWHERE)
            self._cut()
        first = None
        if after is not None:
            self.outbox.forget(after)
            first = {"type": "session.resumed", "session": {"id": self.id}, "received": self.received}
        line = self._line = Line(socket, self.outbox, self.take, after or 0, first, said)
        pinging = asyncio.create_task(self._ping())
        try:
            return await line.run()
        finally:
            pinging.cancel()
            self.arena.metrics.sent(line.bytes_sent)
            if self._line is line:
                self._cut()

    def _cut(self) -> None:
        self._line = None
        if self._sounds and self.resumable:
            self._sounds.sound(None)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            self._send({"type": "duplex.ping", "received": self.received})

    # — what the client says —

    async def take(self, text: str) -> int | None:
        """One message of the client; a close code if it must go."""
        message = None
        try:
            message = opened(text)
            if message.seq is None or message.seq > self.received:
                await self._take(message)
                self.received = max(self.received, message.seq or 0)
        except DuplexError as error:
            self._send(error_event(error, message.event_id if message else None))
            if isinstance(error, TooLong):
                return LONG
            if self._rates.take(time.monotonic(), refused=1):
                log.warning("too many messages that had to be refused", extra={"session": self.id})
                self.arena.metrics.refused("rules")
                return RULES
        return None

    async def _take(self, message: Message) -> None:
        event = event_of(message)
        if error := self._rates.take(time.monotonic(), **self._amounts(event)):
            raise error
        if isinstance(event, Ack):
            self.outbox.forget(min(event.after, self._line.sent if self._line else 0))
            return
        if self.cover:
            event = self.cover.inward(event)
        if isinstance(event, SessionUpdate):
            await self._update(event)
            return
        if not self._sessions or not self._sounds:
            raise DuplexError("no_session", 'send {"type": "session.update", "session": {}} first')
        match event:
            case Typed(inputs):
                at = self._clock.now()
                for typed in inputs:
                    self._tell(typed, at)
            case Sound(data):
                self._sounds.sound(data)
            case Played():
                self._sounds.played(event)

    def _amounts(self, event: ClientEvent) -> dict[str, float]:
        """What of the client's rates an event takes."""
        match event:
            case Typed(inputs):
                return {"typed": 1, "characters": sum(len(i.text) for i in inputs if isinstance(i, UserText))}
            case Sound(bytes(data)):
                return {"sound_seconds": len(data) / 2 / self._rate}
            case SessionUpdate():
                return {"updates": 1}
        return {"reports": 1}

    async def _update(self, update: SessionUpdate) -> None:
        self.place.active()
        if not self._sounds:
            await self._begin(update)
        else:
            # shielded: a connection that is cut in the middle leaves no half change
            await asyncio.shield(asyncio.create_task(self._change(update, self._sounds)))
        if update.audio and update.audio.rate:
            self._rate = update.audio.rate

    async def _change(self, update: SessionUpdate, sounds: Sounds) -> None:
        if update.slicing or update.baseline or update.model:
            told = "slices, baseline and model are set once: open a new session to change them"
            raise DuplexError("session_began", told)
        async with self._changing:
            if update.audio:
                await sounds.update(update.audio)
            self._send({"type": "session.updated", "session": {"audio": sounds.about()}})

    def _tell(self, happened: Input, at: float, system: str | None = None) -> None:
        """Give what the person did to one system, or to both."""
        if not isinstance(happened, Heard):
            self.place.active()
        for name, session in self._sessions.items():
            if system in (None, name):
                worker = self.arena.workers[name]
                worker.call(worker.loop.hear, session, happened, at).add_done_callback(self._report)

    def _report(self, future: Any) -> None:
        error = future.exception()
        if isinstance(error, DuplexError):
            self._send_error(error)
        elif error:
            log.error("an input failed: %r", error, extra={"session": self.id})
            self._send_error(DuplexError("internal", "that key was lost: something failed on the server"))

    # — its beginning and end —

    async def _begin(self, update: SessionUpdate) -> None:
        arena, settings, cover = self.arena, self.arena.settings, self.cover
        self._recording = (
            cover.recording(self._send_error) if cover else arena.store.recording(self.id, self._send_error)
        )
        self._clock = RealClock()
        slicing = update.slicing or Slicing()
        baseline = cover.baseline if cover else update.baseline or settings.baseline
        cut = {
            "slice_seconds": update.slice_seconds or "adaptive",
            "turn_pause_seconds": settings.turn_pause_seconds,
            "baseline": baseline,
        }
        systems = [cover.system] if cover else [update.model] if update.model else list(arena.models)
        self._open(systems, slicing, baseline, cut)
        try:
            # shielded: who leaves now still gets the slots, for `close` to give them back
            opened = {s: await asyncio.shield(asyncio.wrap_future(f)) for s, f in self._opening.items()}
        except DuplexError as error:
            arena.metrics.refused(error.code)
            await self._give_back()
            if self._recording:
                self._recording.discard()
            raise
        self._sessions = opened
        self._sounds = sounds = Sounds(arena.kit, arena.pool, self._clock, self._send, self._tell)
        if len(systems) == 1:
            sounds.system = systems[0]
        if update.audio:
            try:
                await sounds.update(update.audio)
            except DuplexError as error:  # the talk can be held without that voice
                self._send_error(error)
        self._created = True
        arena.metrics.opened()
        self._send({"type": "session.created", "session": self._about(cut, slicing), "at": self._now()})

    def _open(self, systems: Sequence[str], slicing: Slicing, baseline: str, cut: dict[str, Any]) -> None:
        """Ask the workers for a slot in each model."""
        arena, settings, cover = self.arena, self.arena.settings, self.cover
        sampling = default_sampling(settings.model, settings.seed, settings.idle_threshold)
        header = header_of(settings.model, sampling, {"session": self.id, **cut})
        for system in systems:
            model = arena.models[system]
            conversation = model.conversation(system, slicing, settings.turn_pause_seconds, baseline == "barge-in")
            observers: list[Observer] = [ToSession(self._happened), *(cover.observers(self._clock) if cover else ())]
            if self._recording:
                recorder = Recorder(self._recording, system)
                recorder.header(header)
                observers.append(recorder)
            worker = arena.workers[system]
            self._opening[system] = worker.call(
                worker.loop.add, conversation, self._clock, sampling, observers, self._broke_off
            )

    def _about(self, cut: dict[str, Any], slicing: Slicing) -> dict[str, Any]:
        """The session as its client is told of it."""
        duplex = self.arena.models["duplex"]
        assert self._sounds
        return {
            "id": self.id,
            "model": self.arena.settings.model,
            "parameters": duplex.parameters,
            "aligned": duplex.aligned,
            "slice_seconds": cut["slice_seconds"],
            "tokens_per_second": slicing.tokens_per_second,
            "baseline": cut["baseline"],
            "systems": list(self._sessions),
            "audio": self._sounds.about(),
            "resume": {"token": self.token, "seconds": RESUME_SECONDS},
        }

    def _broke_off(self, error: DuplexError) -> None:
        log.error("broke off: %s", error.code, exc_info=error.__cause__ or error, extra={"session": self.id})
        self._send_error(DuplexError(error.code, f"{error}. Press “new” to begin again; your ratings are kept."))

    async def close(self) -> None:
        """Free both slots and end the recording."""
        async with self._changing:
            if self._created:
                self._created = False
                self.arena.metrics.ended()
            if self._sounds:
                await self._sounds.close()
            await self._give_back()
            if self._recording:
                self._recording.close()

    async def _give_back(self) -> None:
        opening, self._opening = self._opening, {}
        for system, future in opening.items():
            worker = self.arena.workers[system]
            with suppress(DuplexError):  # one that found no place has none to give back
                session = await asyncio.wrap_future(future)
                await asyncio.wrap_future(worker.call(worker.loop.remove, session))

    # — what the client is told —

    def announce(self, event: dict[str, Any]) -> None:
        """Tell the client something beside what the conversation does, from any thread."""
        self._send(event)

    def dismiss(self, event: dict[str, Any]) -> None:
        """Tell the client this as the last thing, and close its connection: the server ends the session."""
        self._send(event)
        if self._line:
            self._line.end(OVER)

    def _now(self) -> float:
        return round(self._clock.now(), 4)

    def _happened(self, events: Sequence[Event]) -> None:
        """What a conversation did, from its worker's thread."""
        for event in events:
            self._send(event.to_json())
        if self._sounds:
            with suppress(RuntimeError):  # the server's event loop has ended
                self._asyncio.call_soon_threadsafe(self._sounds.happened, events)

    def _send_error(self, error: DuplexError) -> None:
        self._send(error_event(error))

    def _send(self, event: dict[str, Any]) -> None:
        """Number an event and send it, from any thread."""
        if self.cover:
            covered = self.cover.outward(event)
            if covered is None:
                return
            event = covered
        with suppress(RuntimeError):  # the server's event loop has ended
            self._asyncio.call_soon_threadsafe(self._put, event)

    def _put(self, event: dict[str, Any]) -> None:
        self.outbox.add(event)
        if self._line:
            self._line.news()
