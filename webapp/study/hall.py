"""The participants' WebSocket: who talks just now, one talk each, counted and stored while it goes on.

hall = Hall(service, arena)
await hall.serve(socket, token)          # until they leave, come again elsewhere, or go on to the next step
await hall.store(token)                  # what was counted so far
await hall.leave(token)                  # their talk is over: stored, recorded, closed
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from duplex_runtime.errors import DuplexError
from webapp.lobby import Entered, enter
from webapp.realtime import Arena
from webapp.session import LiveSession
from webapp.study.blind import Cover, error_event, talk_event
from webapp.study.service import Opened, Service
from webapp.study.tally import Figures
from webapp.study.texts import say
from webapp.study.wording import in_words

log = logging.getLogger(__name__)

#: What was counted is stored so often.
STORE_SECONDS = 3.0
#: Tries for what could not be stored when a talk had ended.
LATE_TRIES = 20
#: How long a socket may take to close.
CLOSE_SECONDS = 2.0
#: Why there is no place; the page tries again.
NO_PLACE = ("full", "too_many", "draining")
#: WebSocket close codes: the talk is over, it is refused, it goes on in another connection.
OVER, REFUSED, ELSEWHERE = 1000, 4403, 4409


class _Held:
    """One participant's connection. `leave` is set when it shall end, `gone` when all of it is stored; `store` stores
    what was counted so far; `step`: whose talk it is; `elsewhere`: it goes on in another connection."""

    def __init__(self) -> None:
        self.leave, self.gone, self.elsewhere = asyncio.Event(), asyncio.Event(), False
        self.store: Callable[[], Awaitable[bool]] | None = None
        self.step = ""


class Hall:
    """The talks that are held just now: one a participant. In the server's event loop."""

    def __init__(self, service: Service, arena: Arena) -> None:
        self.service, self.arena = service, arena
        self._held: dict[str, _Held] = {}
        self._late: set[asyncio.Task[None]] = set()

    async def serve(self, socket: WebSocket, token: str | None) -> None:
        """Hold the participant's talk until they leave, or come again: then the later connection goes on with it."""
        await socket.accept()
        before, held = self._held.get(token or ""), _Held()
        self._held[token or ""] = held  # before anything is awaited: of several that come at once the last one stays
        try:
            if before:
                await _end(before, elsewhere=True)
            opened = await run_in_threadpool(self.service.open_talk, token)
            async with enter(socket, self.arena.admission, opened.recording) as entered:
                await self._hold(socket, held, opened, entered)
        except WebSocketDisconnect:  # they did not want to wait any longer
            pass
        except DuplexError as error:
            if error.code in NO_PLACE:
                error = self.service.refusal("busy")
            await _close(socket, REFUSED, error_event(*in_words(self.service, socket, error)))
        finally:
            held.gone.set()
            if self._held.get(token or "") is held:
                del self._held[token or ""]

    async def leave(self, token: str | None, but: str = "") -> None:
        """End the participant's talk, if there is one, and wait until what was counted is stored.

        `but`: the talk of this step goes on.
        """
        held = self._held.get(token or "")
        if held and (held.step != but or not but):
            del self._held[token or ""]
            await _end(held)

    async def store(self, token: str | None) -> None:
        """Store what was counted of the participant's talk, if there is one."""
        held = self._held.get(token or "")
        if held and held.store:
            await held.store()

    async def _hold(self, socket: WebSocket, held: _Held, opened: Opened, entered: Entered) -> None:
        texts = self.service.texts[opened.language]
        cover = Cover(opened, self.service.study.recordings, texts)
        held.step, held.store = opened.step, partial(self._store, cover, opened)
        session = LiveSession(self.arena, entered.place, cover)
        running = asyncio.create_task(session.hold(socket, said=entered.said))
        leaving = asyncio.create_task(held.leave.wait())
        storing = asyncio.create_task(self._store_often(session, cover, opened))
        try:
            await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                told = error_event("talk_open", say(texts, "error.talk_open")) if held.elsewhere else None
                await _close(socket, ELSEWHERE if told else OVER, told)
        finally:
            for task in (running, leaving, storing):
                task.cancel()
            await asyncio.gather(running, leaving, storing, return_exceptions=True)
            await session.close()
            cover.close()
            final = _counted(cover)
            if not await self._store(cover, opened, final, ended=True):
                later = asyncio.create_task(self._store_later(cover, opened, final))
                self._late.add(later)
                later.add_done_callback(self._late.discard)

    async def _store_often(self, session: LiveSession, cover: Cover, opened: Opened) -> None:
        stored = Figures()
        while True:
            await asyncio.sleep(STORE_SECONDS)
            figures = _counted(cover)
            if figures != stored and await self._store(cover, opened, figures):
                stored = figures
                seconds, turns = opened.before.seconds + figures.seconds, opened.before.turns + figures.turns
                session.announce(talk_event(self.service.study, Figures(seconds, turns)))

    async def _store_later(self, cover: Cover, opened: Opened, figures: Figures) -> None:
        """The database was away when the talk ended; nobody waits for it."""
        for _ in range(LATE_TRIES):
            await asyncio.sleep(STORE_SECONDS)
            if await self._store(cover, opened, figures, ended=True):
                return

    async def _store(self, cover: Cover, opened: Opened, figures: Figures | None = None, ended: bool = False) -> bool:
        """Did the database take what was counted? What it does not take now it may take later."""
        try:
            counted = figures or _counted(cover)
            if not await run_in_threadpool(self.service.update_talk, opened.id, counted, ended):
                await run_in_threadpool(cover.discard)  # the participant left while they talked
        except DuplexError as error:
            log.error("talk %d: what was counted is not stored: %s", opened.id, error.code)
            return False
        except OSError as error:
            log.error("talk %d: its recording could not be deleted: %s", opened.id, error.strerror)
        return True


async def _end(held: _Held, elsewhere: bool = False) -> None:
    """End a talk and wait until it is stored. `elsewhere`: it goes on in another connection, and is told so."""
    held.elsewhere = elsewhere
    held.leave.set()
    await held.gone.wait()


def _counted(cover: Cover) -> Figures:
    return cover.tally.figures() if cover.tally else Figures()


async def _close(socket: WebSocket, code: int, last: dict[str, Any] | None = None) -> None:
    """Say why, and close; a client that is gone may be."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            if last:
                await socket.send_json(last)
            await socket.close(code)
