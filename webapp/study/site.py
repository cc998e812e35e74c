"""A study as a site: the participant's page, their WebSocket and the researcher's results, on an application alone.

study = OpenStudy(Path("my-study"))
app = study.served(FastAPI(), arena, admitted)

GET /study/NAME/            the page; / leads to it
WS  /study/NAME/realtime?token=…     the talk of the current step, see hall.py
GET /study/NAME/voice/loudspeaker, …/practice   what is heard at these steps, as WAV, in the voice of the talks
GET /study/NAME/results     Bearer with the researcher's token: the results; without: a form that asks for it
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from duplex_runtime.errors import DuplexError
from webapp.realtime import Arena
from webapp.study.database import Database
from webapp.study.definition import Study
from webapp.study.erase import Due, delete_due, due
from webapp.study.hall import Hall
from webapp.study.mirror import Mirror
from webapp.study.routes import HEADERS, STATUS, Api, bearer_of, read, reply
from webapp.study.service import Refusal, Service
from webapp.study.texts import languages_here, read_texts, say
from webapp.study.wav import wav_of
from webapp.study.wording import language_of

log = logging.getLogger(__name__)

#: The page runs nothing but what the server sent as a file.
PAGE_HEADERS = HEADERS | {
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
    "media-src 'self' blob:; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'"
}
#: What may be heard before the talks: the keys of its words.
VOICED = {"loudspeaker": "device.sentence", "practice": "practice.script"}
#: Seconds between two looks for data whose time is over.
LOOK_SECONDS = 3600.0
_FORM = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Results of {title}</title>
<body style="font-family: system-ui, sans-serif; max-width: 30rem; margin: 4rem auto">
<h1>Results of {title}</h1><p>{message}</p>
<form method="post"><label>Researcher's token <input type="password" name="token" autofocus></label>
<button>Show</button></form>
"""


class OpenStudy:
    """A study whose database is ready; raises DuplexError."""

    def __init__(self, folder: Path) -> None:
        self.study = Study.read(folder)
        self.service = Service(self.study, Database(self.study.database_url))
        try:
            self._mirror = Mirror.of(self.study)
        except DuplexError:
            self.service.database.close()
            raise
        self._token = os.environ.get(self.study.admin.token_env, "")

    @property
    def model(self) -> str:
        """Which model people talk to."""
        return self.study.model

    def served(self, app: FastAPI, arena: Arena, admitted: Callable[[WebSocket], bool]) -> FastAPI:
        """The study on an application that has nothing else: beside it no page shows which system is which.

        `admitted`: may this handshake go on?
        """
        before = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            async with before(app), retention(self.service):
                yield
            if self._mirror:
                await run_in_threadpool(self._mirror.close)
            self.service.database.close()

        app.router.lifespan_context = lifespan
        app.state.study = self.study
        self._kit = arena.kit
        app.include_router(self._router(Hall(self.service, arena), admitted))
        app.mount("/page", StaticFiles(directory=static_folder()), name="page")
        app.add_api_route("/", self._to_study, methods=["GET"])
        app.add_api_route("/study/{rest:path}", self._elsewhere, methods=["GET", "POST"])
        return app

    def _router(self, hall: Hall, admitted: Callable[[WebSocket], bool]) -> APIRouter:
        router = APIRouter(prefix=f"/study/{self.study.name}")
        router.include_router(Api(self.service, hall).router())
        router.add_api_route("/", self._page, methods=["GET"])
        router.add_api_route("/voice/{name}", self._voice, methods=["GET"])
        router.add_api_route("/results", self._results, methods=["GET", "POST"])

        @router.websocket("/realtime")
        async def realtime(socket: WebSocket) -> None:
            if not admitted(socket):
                await socket.close(1008, "this page may not connect from another site")
                return
            await hall.serve(socket, socket.query_params.get("token"))

        return router

    async def _page(self) -> Response:
        return FileResponse(static_folder() / "study" / "index.html", headers=PAGE_HEADERS)

    async def _voice(self, name: str) -> Response:
        """What the page plays before the talks, in a language of the model."""
        voices, key = self._kit.about()["voices"], VOICED.get(name)
        if key is None or not voices:
            return Response(status_code=404, headers=HEADERS)
        sound = await run_in_threadpool(self._say, voices[0]["id"], key)
        return Response(sound, media_type="audio/wav", headers=HEADERS)

    def _say(self, voice: str, key: str) -> bytes:
        spoken = next((code for code in self.study.speaks if code in languages_here()), self.study.languages[0])
        utterance = self._kit.voice(voice).say(read_texts(spoken, self.study.folder)[0][key])
        return wav_of((utterance.samples * 32767).astype("<i2").tobytes(), utterance.rate)

    async def _results(self, request: Request) -> Response:
        """The token comes in a header or from the form, never in an address, which browsers and proxies remember."""
        given = bearer_of(request) if request.method == "GET" else await _form_token(self.service, request)
        if given and self._token and hmac.compare_digest(given.encode(), self._token.encode()):
            return await self._report()
        unset = f"The server was started without a token: set {self.study.admin.token_env}."
        message = unset if not self._token else "That is not the researcher's token." if given else ""
        title = escape(self.study.title.of(self.study.languages[0]))
        form = _FORM.format(title=title, message=escape(message))
        return HTMLResponse(form, 403 if message else 200, headers=PAGE_HEADERS)

    async def _report(self) -> Response:
        """The report up to now, made in a process of its own: it computes for seconds, and people are talking."""
        command = (sys.executable, "-m", "webapp.study.report", str(self.study.folder))
        making = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        html, problem = await making.communicate()
        if making.returncode == 0:
            return HTMLResponse(html, headers=HEADERS)
        log.error("the report could not be made: status %s", making.returncode)  # its own words may quote data
        said = problem.decode(errors="replace").strip().splitlines()[-1:] or [f"status {making.returncode}"]
        return HTMLResponse(f"<p>The report could not be made: {escape(said[0])}</p>", 500, headers=HEADERS)

    async def _to_study(self, request: Request) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"study/{self.study.name}/{query}", headers=HEADERS)

    async def _elsewhere(self, request: Request) -> Response:
        if request.path_params["rest"] == self.study.name:
            return RedirectResponse(f"{self.study.name}/", headers=HEADERS)
        message = say(self.service.texts[language_of(request, self.study)], "error.unknown_study")
        return reply({"error": {"code": "unknown_study", "message": message}}, STATUS["unknown_study"])


@asynccontextmanager
async def retention(service: Service) -> AsyncIterator[None]:
    """While this is open, data whose time is over are deleted.

    A clock that is wrong for a while deletes nothing: what is due must be due at two looks, an hour apart.
    """
    looking = asyncio.create_task(_look(service))
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _look(service: Service) -> None:
    study, database, before = service.study, service.database, Due()
    while True:
        try:
            now_due = await run_in_threadpool(due, study, database, datetime.now(UTC))
            await run_in_threadpool(delete_due, study, database, now_due & before)
            before = now_due
        except Exception as error:
            log.error("data whose time is over could not be deleted: %s", type(error).__name__, exc_info=error)
        await asyncio.sleep(LOOK_SECONDS)


def static_folder() -> Path:
    """`static/`: beside this package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    return next(folder for folder in (package.parent / "static", package / "static") if folder.is_dir())


async def _form_token(service: Service, request: Request) -> str:
    try:
        body = await read(service, request)
    except Refusal:
        return ""
    values = parse_qs(body.decode("utf-8", "replace"))
    return values.get("token", [""])[0]
