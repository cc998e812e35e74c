"""The WebSocket `/v1/realtime`: a session that both systems hear at once, over one connection after another.

client: session.update · duplex.input.edit · duplex.input.enter · conversation.item.create · response.cancel ·
        input_audio_buffer.append · input_audio_buffer.commit · duplex.audio.played · duplex.ack
server: duplex.queue · session.created · session.updated · session.resumed · the events of duplex_runtime.events ·
        those of webapp.sounds · duplex.ending · duplex.stays · duplex.ended · duplex.ping · error

Every event of the server has an `event_id`: `event_1`, `event_2` … of the session. `session.created` has
`session.resume = {"token", "seconds"}`. When the connection was cut, the client opens
`/v1/realtime?resume=TOKEN&after=N` within these seconds; N is the number of the last event that it has. It is told
`session.resumed`, which has no number, and every event after N. `received` in it is the highest `seq` that was taken
from the client, which now sends again what came after that; what it sends twice is taken once. Sound has no seq: it is
of the moment. `duplex.ack` with `after` lets the server forget; every 15 s a `duplex.ping` with `received` lets the
client.

A session ends at once when its client closes with 1000, which is a goodbye; when either side found the other breaking
the rules (1002, 1003, 1007, 1008: too fast, 1009: over 64 KB); and when the server stops (1012). After every other end,
1001 included, for proxies close so when they restart, it lives on for 30 seconds.

A session has a place (webapp/admission.py) until it ends. Whoever comes when all are taken is told their position in
`duplex.queue` until it is their turn. `duplex.ending` with `seconds` and `why` says when the server will end a session;
`duplex.stays` takes it back, `duplex.ended` is the last event.

Further close codes: 1013, the client did not read, or there is no place, as the error before it explains; 4404 after
the error `cannot_resume`; 4409, the session goes on in a later connection with the same token.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket, WebSocketDisconnect

from duplex_runtime.errors import DuplexError
from duplex_runtime.models.load import LoadedModel
from duplex_runtime.speech.kit import Kit
from webapp.admission import Admission
from webapp.lobby import enter
from webapp.metrics import Metrics
from webapp.openai_events import understood
from webapp.persons import person_of
from webapp.session import RESUME_SECONDS, LiveSession
from webapp.settings import Settings
from webapp.sockets import BROKEN, ELSEWHERE, GONE, LONG, LOST, OVER, RULES, SLOW, STOPPING, close
from webapp.store import Store
from webapp.wire import error_event
from webapp.worker import Worker

log = logging.getLogger(__name__)

#: Close codes after which nobody comes back; 1002, 1003 and 1007 are faults of the protocol itself.
FINAL = (OVER, 1002, 1003, 1007, RULES, LONG, BROKEN, STOPPING)


@dataclass
class Arena:
    """What all sessions share: both models, their workers, the store, ears and voices, and threads for these; and the
    sessions that may be resumed, by token."""

    settings: Settings
    models: dict[str, LoadedModel]
    workers: dict[str, Worker]
    store: Store
    kit: Kit
    pool: Executor
    admission: Admission
    metrics: Metrics
    _sessions: dict[str, LiveSession] = field(default_factory=dict, init=False, repr=False)
    _places: dict[str, AsyncExitStack] = field(default_factory=dict, init=False, repr=False)
    _leaving: dict[str, asyncio.TimerHandle] = field(default_factory=dict, init=False, repr=False)
    _ending: set[asyncio.Task[None]] = field(default_factory=set, init=False, repr=False)

    async def serve(self, socket: WebSocket) -> None:
        """Hold one connection until it ends, of a client that speaks our events or OpenAI's."""
        async with understood(socket, self.kit) as inner:
            await self.hold(inner)

    async def hold(self, socket: WebSocket) -> None:
        """The same for a client that speaks our events: a new session's connection, or a further one of a session
        that goes on."""
        await socket.accept()
        after: int | None = None
        said: Sequence[str] = ()
        try:
            if "resume" in socket.query_params:
                session, after = self._resumed(socket.query_params)
            else:
                session, said = await self._opened(socket)
        except DuplexError as error:
            self.metrics.refused(error.code)
            await close(socket, GONE if error.code == "cannot_resume" else SLOW, error_event(error))
            return
        except WebSocketDisconnect:  # they did not want to wait any longer
            return
        code = LOST
        try:
            code = await session.hold(socket, after, said)
        finally:
            # not if another connection took its place, or both have ended by now and that one was the last
            if code != ELSEWHERE and session.away and session.token in self._sessions:
                await self._left(session, code)

    async def close(self) -> None:
        """End the sessions that wait for their clients: the server stops."""
        for session in list(self._sessions.values()):
            await self._end(session)
        await asyncio.gather(*self._ending)

    async def _opened(self, socket: WebSocket) -> tuple[LiveSession, Sequence[str]]:
        """Here a session is opened, when there is a place for it; and what its client has said already."""
        stack = AsyncExitStack()
        person = person_of(socket.headers, socket.client and socket.client.host, self.settings.crowd.trust_proxy)
        entered = await stack.enter_async_context(enter(socket, self.admission, person))
        session = LiveSession(self, entered.place)
        self._sessions[session.token], self._places[session.token] = session, stack
        watching = asyncio.create_task(self._watch(session))
        stack.callback(watching.cancel)
        return session, entered.said

    async def _watch(self, session: LiveSession) -> None:
        """Tell a session of its end before it comes, and end it."""
        while (event := await session.place.watch())["type"] != "duplex.ended":
            session.announce(event)
        log.info("ended", extra={"session": session.id})
        session.dismiss(event)
        if session.away:
            self._end_later(session)

    def _resumed(self, query: QueryParams) -> tuple[LiveSession, int]:
        """The session that a client comes back to, and the number of the last event that it has."""
        session, after = self._sessions.get(query["resume"]), query.get("after", "")
        if not session or not session.resumable:
            raise DuplexError("cannot_resume", "this session is over: open a new one, without ?resume")
        if not (after.isascii() and after.isdecimal() and len(after) < 16 and session.outbox.holds(int(after))):
            kept = f"{session.outbox.first - 1} to {session.outbox.last}"
            raise DuplexError(
                "cannot_resume", f"expected after, the number of an event from {kept}, got {after[:20]!r}"
            )
        if timer := self._leaving.pop(session.token, None):
            timer.cancel()
        self.metrics.resumed()
        log.info("resumed", extra={"session": session.id})
        return session, int(after)

    async def _left(self, session: LiveSession, code: int) -> None:
        """A connection ended, and no other took its place."""
        if not session.resumable or code in FINAL:
            log.info("over (%d)", code, extra={"session": session.id})
            await self._end(session)
            return
        self.metrics.lost()
        log.info("connection lost (%d), kept for %g s", code, RESUME_SECONDS, extra={"session": session.id})
        if timer := self._leaving.get(session.token):
            timer.cancel()
        timer = asyncio.get_running_loop().call_later(RESUME_SECONDS, self._end_later, session)
        self._leaving[session.token] = timer

    def _end_later(self, session: LiveSession) -> None:
        ending = asyncio.create_task(self._end(session))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _end(self, session: LiveSession) -> None:
        """Here a session ends."""
        self._sessions.pop(session.token, None)
        stack = self._places.pop(session.token, None)
        if timer := self._leaving.pop(session.token, None):
            timer.cancel()
        try:
            await session.close()
        finally:
            if stack:
                await stack.aclose()
