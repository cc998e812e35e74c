"""The WebSocket `/v1/realtime`: one connection is one session, heard by both systems at once.

client: session.update · duplex.input.edit · duplex.input.enter · conversation.item.create ·
        input_audio_buffer.append · input_audio_buffer.commit · duplex.audio.played
server: session.created · session.updated · the events of duplex_runtime.events · those of webapp.sounds · error
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from duplex_runtime.clock import Clock, RealClock
from duplex_runtime.engine.requests import Output, SliceRequest
from duplex_runtime.errors import DuplexError
from duplex_runtime.events import Event, Input
from duplex_runtime.loop import Observer, Session
from duplex_runtime.models.load import LoadedModel, default_sampling
from duplex_runtime.recording import Recorder, header_of
from duplex_runtime.slices import Slicing
from duplex_runtime.speech.kit import Kit
from webapp.settings import Settings
from webapp.sounds import Sounds
from webapp.store import Recording, Store
from webapp.wire import ClientEvent, Played, SessionUpdate, Sound, Typed, error_event, parse
from webapp.worker import Worker

log = logging.getLogger(__name__)

#: Messages waiting for a client that does not read; then it is cut off.
MAX_QUEUE = 4000
PING_SECONDS = 15.0


class ToConnection:
    """An observer that hands events from the worker's thread to the connection."""

    def __init__(self, happened: Callable[[Sequence[Event]], None]) -> None:
        self._happened = happened

    def heard(self, event: Input, at: float) -> None:
        """Nothing to tell: the client knows what it sent."""

    def asked(self, now: float, request: SliceRequest | None) -> None:
        """Nothing to tell."""

    def answered(self, output: Output, at: float) -> None:
        """Nothing to tell: events say it."""

    def happened(self, events: Sequence[Event]) -> None:
        """Tell the connection."""
        self._happened(events)


@dataclass
class Arena:
    """What all connections share: both models, their workers, the store, ears and voices, and threads for these."""

    settings: Settings
    models: dict[str, LoadedModel]
    workers: dict[str, Worker]
    store: Store
    kit: Kit
    pool: Executor

    async def serve(self, socket: WebSocket) -> None:
        """Hold one session until the client leaves."""
        await socket.accept()
        connection = Connection(self, socket)
        try:
            await connection.run()
        finally:
            await connection.close()


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


class Connection:
    """One client: reads its events, feeds both conversations (or the one under `cover`), sends what they do."""

    def __init__(self, arena: Arena, socket: WebSocket, cover: Cover | None = None) -> None:
        self.arena, self.socket, self.cover = arena, socket, cover
        self.id = cover.id if cover else secrets.token_urlsafe(12)
        self._queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._asyncio = asyncio.get_running_loop()
        self._opening: dict[str, Future[Session]] = {}
        self._sessions: dict[str, Session] = {}
        self._recording: Any = None
        self._clock = RealClock()
        self._sounds: Sounds | None = None  # not None: the session has begun

    async def run(self) -> None:
        """Read until the client leaves or stops reading."""
        sender = asyncio.create_task(self._send_all())
        reader = asyncio.create_task(self._read_all())
        try:
            await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sender.cancel()
            reader.cancel()
        for result in await asyncio.gather(sender, reader, return_exceptions=True):
            if isinstance(result, Exception):
                log.error("session %s: the connection failed: %r", self.id, result, exc_info=result)

    async def _read_all(self) -> None:
        while True:
            try:
                message = await self.socket.receive()
            except (WebSocketDisconnect, RuntimeError):
                return
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                text = (message.get("bytes") or b"").decode("utf-8", "replace")
            try:
                await self._take(parse(text))
            except DuplexError as error:
                self._send(error_event(error))

    async def _take(self, event: ClientEvent) -> None:
        if self.cover:
            event = self.cover.inward(event)
        if isinstance(event, SessionUpdate):
            await (self._change(event, self._sounds) if self._sounds else self._begin(event))
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

    async def _change(self, update: SessionUpdate, sounds: Sounds) -> None:
        if update.slicing or update.baseline:
            raise DuplexError("session_began", "slices and baseline are set once: open a new session to change them")
        if update.audio:
            await sounds.update(update.audio)
        self._send({"type": "session.updated", "session": {"audio": sounds.about()}})

    def _tell(self, happened: Input, at: float, system: str | None = None) -> None:
        """Give what the person did to one system, or to both."""
        for name, session in self._sessions.items():
            if system in (None, name):
                worker = self.arena.workers[name]
                worker.call(worker.loop.hear, session, happened, at).add_done_callback(self._report)

    def _happened(self, events: Sequence[Event]) -> None:
        """What a conversation did, from its worker's thread."""
        for event in events:
            self._send(event.to_json())
        if self._sounds:
            with suppress(RuntimeError):  # the server's event loop has ended
                self._asyncio.call_soon_threadsafe(self._sounds.happened, events)

    def _report(self, future: Any) -> None:
        error = future.exception()
        if isinstance(error, DuplexError):
            self._send(error_event(error))
        elif error:
            log.error("session %s: an input failed: %r", self.id, error)
            self._send(error_event(DuplexError("internal", "that key was lost: something failed on the server")))

    async def _begin(self, update: SessionUpdate) -> None:
        arena, settings, cover = self.arena, self.arena.settings, self.cover
        self._recording = (
            cover.recording(self._send_error) if cover else arena.store.recording(self.id, self._send_error)
        )
        self._clock = RealClock()
        sampling = default_sampling(settings.model, settings.seed, settings.idle_threshold)
        slicing = update.slicing or Slicing()
        baseline = cover.baseline if cover else update.baseline or settings.baseline
        cut = {
            "slice_seconds": update.slice_seconds or "adaptive",
            "turn_pause_seconds": settings.turn_pause_seconds,
            "baseline": baseline,
        }
        header = header_of(settings.model, sampling, {"session": self.id, **cut})
        for system in [cover.system] if cover else arena.models:
            model = arena.models[system]
            conversation = model.conversation(system, slicing, settings.turn_pause_seconds, baseline == "barge-in")
            observers: list[Observer] = [ToConnection(self._happened), *(cover.observers(self._clock) if cover else ())]
            if self._recording:
                recorder = Recorder(self._recording, system)
                recorder.header(header)
                observers.append(recorder)
            worker = arena.workers[system]
            self._opening[system] = worker.call(
                worker.loop.add, conversation, self._clock, sampling, observers, self._broke_off
            )
        try:
            # shielded: who leaves now still gets the slots, for `close` to give them back
            opened = {s: await asyncio.shield(asyncio.wrap_future(f)) for s, f in self._opening.items()}
        except DuplexError:
            await self._give_back()
            if self._recording:
                self._recording.discard()
            raise
        self._sessions = opened
        self._sounds = sounds = Sounds(arena.kit, arena.pool, self._clock, self._send, self._tell)
        if cover:
            sounds.system = cover.system
        if update.audio:
            await sounds.update(update.audio)
        self._send(
            {
                "type": "session.created",
                "session": {
                    "id": self.id,
                    "model": settings.model,
                    "parameters": arena.models["duplex"].parameters,
                    "aligned": arena.models["duplex"].aligned,
                    "slice_seconds": cut["slice_seconds"],
                    "tokens_per_second": slicing.tokens_per_second,
                    "baseline": baseline,
                    "systems": list(arena.models),
                    "audio": sounds.about(),
                },
                "at": round(self._clock.now(), 4),
            }
        )

    def _broke_off(self, error: DuplexError) -> None:
        log.error("session %s broke off: %s", self.id, error.code, exc_info=error.__cause__ or error)
        self._send(error_event(DuplexError(error.code, f"{error}. Press “new” to begin again; your ratings are kept.")))

    def announce(self, event: dict[str, Any]) -> None:
        """Tell the client something beside what the conversation does, from any thread."""
        self._send(event)

    def _send_error(self, error: DuplexError) -> None:
        self._send(error_event(error))

    def _send(self, event: dict[str, Any]) -> None:
        """Queue an event, from any thread."""
        if self.cover:
            covered = self.cover.outward(event)
            if covered is None:
                return
            event = covered
        try:
            self._asyncio.call_soon_threadsafe(self._queue.put_nowait, event)
        except RuntimeError:  # the server's event loop has ended
            return

    async def _send_all(self) -> None:
        while True:
            if self._queue.qsize() > MAX_QUEUE:
                log.warning("session %s: the client does not read; cut off", self.id)
                await self.socket.close(1013)
                return
            try:
                event = await asyncio.wait_for(self._queue.get(), PING_SECONDS)
            except TimeoutError:
                event = {"type": "duplex.ping"}
            try:
                await self.socket.send_text(json.dumps(event, ensure_ascii=False))
            except (WebSocketDisconnect, RuntimeError):
                return

    async def close(self) -> None:
        """Free both slots and end the recording."""
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
