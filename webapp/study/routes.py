"""What participants do over HTTP.

POST /study/NAME/begin       {"language", "recruit"} → {"token", "state"}; with Bearer one's own again. Without a
                             language it is the one that the browser asks for
GET  /study/NAME/state       Bearer → State
POST /study/NAME/answer      Bearer, {"request", "step", "answers"} → {"state"}
POST /study/NAME/note        Bearer, {"kind", "detail"} → 204
POST /study/NAME/withdraw    Bearer → {"deleted", "message"}

Whatever is refused is {"error": {"code", "message", "items"}} in the participant's language, with "state" where that
helps. `site.py` has the pages.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from webapp.study.database import DatabaseAway
from webapp.study.hall import Hall
from webapp.study.service import Refusal, Service
from webapp.study.wording import in_words, language_of

log = logging.getLogger(__name__)

#: Larger than any comment that is refused in words.
MAX_BODY = 1024 * 1024
STATUS = {
    "bad_request": 400, "no_token": 401, "wrong_token": 401, "consent_first": 403, "unknown_study": 404,
    "not_current": 409, "already_answered": 409, "already_taken": 409, "conflict": 409, "withdrawn": 410,
    "not_deleted": 410, "too_large": 413, "answers_refused": 422, "unknown_language": 422, "too_soon": 422,
    "too_fast": 429, "database_away": 503, "unexpected": 500,
}  # fmt: skip
HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


class Api:
    """The participants' actions. Each is acknowledged when it is stored, and not before."""

    def __init__(self, service: Service, hall: Hall) -> None:
        self.service, self.hall = service, hall

    def router(self) -> APIRouter:
        """The routes, without the study's prefix."""
        router = APIRouter()
        for act in (self.begin, self.answer, self.note, self.withdraw):
            router.add_api_route(f"/{act.__name__}", act, methods=["POST"])
        router.add_api_route("/state", self.state, methods=["GET"])
        return router

    async def begin(self, request: Request) -> Response:
        """A new participant, or the one of the token."""

        async def act() -> Response:
            body = await _body(self.service, request)
            recruit = body.get("recruit") or {}
            if not isinstance(recruit, dict):
                raise self.service.refusal("bad_request")
            language = body.get("language") or language_of(request, self.service.study)
            token, state = await run_in_threadpool(self.service.begin, language, recruit, bearer_of(request))
            return reply({"token": token, "state": state})

        return await self._reply(request, act)

    async def state(self, request: Request) -> Response:
        """Where the participant is."""

        async def act() -> Response:
            return reply(await run_in_threadpool(self.service.state, bearer_of(request)))

        return await self._reply(request, act)

    async def answer(self, request: Request) -> Response:
        """Answers to the current step; what was counted of a talk so far is stored before."""

        async def act() -> Response:
            body, token = await _body(self.service, request), bearer_of(request)
            await self.hall.store(token)
            step, answers = body.get("step"), body.get("answers")
            state = await run_in_threadpool(self.service.answer, token, body.get("request"), step, answers)
            await self.hall.leave(token, but=state["step"]["key"])
            return reply({"state": state})

        return await self._reply(request, act)

    async def note(self, request: Request) -> Response:
        """What the page saw."""

        async def act() -> Response:
            body = await _body(self.service, request)
            await run_in_threadpool(self.service.note, bearer_of(request), body.get("kind"), body.get("detail"))
            return Response(status_code=204, headers=HEADERS)

        return await self._reply(request, act)

    async def withdraw(self, request: Request) -> Response:
        """Delete everything of the participant."""

        async def act() -> Response:
            token = bearer_of(request)
            await self.hall.leave(token)
            erased, message = await run_in_threadpool(self.service.withdraw, token)
            return reply({"deleted": erased.complete, "message": message})

        return await self._reply(request, act)

    async def _reply(self, request: Request, act: Callable[[], Awaitable[Response]]) -> Response:
        """The edge of a request: every error becomes one that people can read."""
        items: dict[str, str] = {}
        state: dict[str, Any] | None = None
        try:
            return await act()
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Refusal as refusal:
            code, message = in_words(self.service, request, refusal)
            items, state = refusal.items, refusal.state
        except Exception as error:
            if not isinstance(error, DatabaseAway):
                log.error("%s failed: %s", request.url.path, type(error).__name__, exc_info=error)
            code, message = in_words(self.service, request, error)
        body: dict[str, Any] = {"error": {"code": code, "message": message, "items": items}}
        return reply(body | ({"state": state} if state else {}), STATUS[code])


def bearer_of(request: Request) -> str | None:
    """The token in its header."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if kind.lower() == "bearer" else None


async def _body(service: Service, request: Request) -> dict[str, Any]:
    """The JSON object of a request; raises Refusal."""
    try:
        value = json.loads(await read(service, request))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise service.refusal("bad_request")
    return value


async def read(service: Service, request: Request) -> bytes:
    """A request's body; raises Refusal for one that is too large."""
    read = bytearray()
    async for part in request.stream():
        read += part
        if len(read) > MAX_BODY:
            raise service.refusal("too_large")
    return bytes(read)


def reply(value: Any, status: int = 200) -> JSONResponse:
    """JSON that nobody keeps."""
    return JSONResponse(value, status, headers=HEADERS)
