"""The WebSocket `/v1/realtime`: one connection is one session, heard by both systems at once.

client: session.update · duplex.input.edit · duplex.input.enter · conversation.item.create
server: session.created · the events of duplex_runtime.events · error
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from duplex_runtime.clock import RealClock
from duplex_runtime.engine.requests import Output, SliceRequest
from duplex_runtime.errors import DuplexError
from duplex_runtime.events import Event, Input
from duplex_runtime.loop import Observer, Session
from duplex_runtime.models.load import LoadedModel, default_sampling
from duplex_runtime.recording import Recorder, header_of
from webapp.settings import Settings
from webapp.store import Store
from webapp.wire import SessionUpdate, Typed, error_event, parse
from webapp.worker import Worker

log = logging.getLogger(__name__)

#: Messages waiting for a client that does not read; then it is cut off.
MAX_QUEUE = 4000
PING_SECONDS = 15.0


class ToSocket:
    """An observer that hands events from the worker's thread to the connection's queue."""

    def __init__(self, send: Any) -> None:
        self._send = send

    def heard(self, event: Input, at: float) -> None:
        """Nothing to tell: the client knows what it sent."""

    def asked(self, now: float, request: SliceRequest | None) -> None:
        """Nothing to tell."""

    def answered(self, output: Output, at: float) -> None:
        """Nothing to tell: events say it."""

    def happened(self, events: Sequence[Event]) -> None:
        """Queue the events."""
        for event in events:
            self._send(event.to_json())


@dataclass
class Arena:
    """What all connections share: both models, their workers, the store."""

    settings: Settings
    models: dict[str, LoadedModel]
    workers: dict[str, Worker]
    store: Store

    async def serve(self, socket: WebSocket) -> None:
        """Hold one session until the client leaves."""
        await socket.accept()
        connection = Connection(self, socket)
        try:
            await connection.run()
        finally:
            await connection.close()


class Connection:
    """One client: reads its events, feeds both conversations, sends what they do."""

    def __init__(self, arena: Arena, socket: WebSocket) -> None:
        self.arena, self.socket = arena, socket
        self.id = secrets.token_urlsafe(12)
        self._queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._asyncio = asyncio.get_running_loop()
        self._opening: dict[str, Future[Session]] = {}
        self._sessions: dict[str, Session] = {}
        self._recording: Any = None
        self._clock = RealClock()

    async def run(self) -> None:
        """Read until the client leaves or stops reading."""
        sender = asyncio.create_task(self._send_all())
        reader = asyncio.create_task(self._read_all())
        _, pending = await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(sender, reader, return_exceptions=True)

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

    async def _take(self, event: SessionUpdate | Typed) -> None:
        if isinstance(event, SessionUpdate):
            if self._opening:
                raise DuplexError("session_began", "slices are set once: open a new session to change them")
            await self._begin(event)
            return
        if not self._sessions:
            raise DuplexError("no_session", 'send {"type": "session.update", "session": {}} first')
        at = self._clock.now()
        for system, session in self._sessions.items():
            worker = self.arena.workers[system]
            for typed in event.inputs:
                future = worker.call(worker.loop.hear, session, typed, at)
                future.add_done_callback(self._report)

    def _report(self, future: Any) -> None:
        error = future.exception()
        if isinstance(error, DuplexError):
            self._send(error_event(error))
        elif error:
            log.error("session %s: an input failed: %r", self.id, error)
            self._send(error_event(DuplexError("internal", "that key was lost: something failed on the server")))

    async def _begin(self, update: SessionUpdate) -> None:
        arena, settings = self.arena, self.arena.settings
        self._recording = arena.store.recording(self.id, lambda error: self._send(error_event(error)))
        self._clock = RealClock()
        sampling = default_sampling(settings.model, settings.seed, settings.idle_threshold)
        cut = {"slice_seconds": update.slice_seconds, "turn_pause_seconds": settings.turn_pause_seconds}
        header = header_of(settings.model, sampling, {"session": self.id, **cut})
        for system, model in arena.models.items():
            conversation = model.conversation(system, update.slicing, settings.turn_pause_seconds)
            observers: list[Observer] = [ToSocket(self._send)]
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
        self._send(
            {
                "type": "session.created",
                "session": {
                    "id": self.id,
                    "model": settings.model,
                    "parameters": arena.models["duplex"].parameters,
                    "aligned": arena.models["duplex"].aligned,
                    "slice_seconds": update.slice_seconds,
                    "tokens_per_second": update.slicing.tokens_per_second,
                    "systems": list(arena.models),
                },
                "at": round(self._clock.now(), 4),
            }
        )

    def _broke_off(self, error: DuplexError) -> None:
        log.error("session %s broke off: %s", self.id, error.code, exc_info=error.__cause__ or error)
        self._send(error_event(DuplexError(error.code, f"{error}. Press “new” to begin again; your ratings are kept.")))

    def _send(self, event: dict[str, Any]) -> None:
        """Queue an event, from any thread."""
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
