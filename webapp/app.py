"""The server: FastAPI with the WebSocket, ratings and static files, and Gradio mounted on it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import torch
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.loop import Loop
from duplex_runtime.models.load import load_model, load_systems
from duplex_runtime.speech.kit import Kit
from webapp.realtime import Arena
from webapp.settings import Settings
from webapp.store import Rating, Store
from webapp.worker import Worker

if TYPE_CHECKING:
    from webapp.study.site import OpenStudy

STATUS = {"bad_input": 422, "unknown_session": 404, "not_stored": 507}
MAX_RATING_BYTES = 64 * 1024
#: Threads that recognise and synthesise; beside the two of the models.
SOUND_THREADS = max(2, os.cpu_count() or 2)


def create_app(settings: Settings) -> FastAPI:
    """The whole application; raises DuplexError if the model, the data folder or the study cannot be used."""
    study = open_study(settings.study) if settings.study else None
    if study:
        settings = replace(settings, model=study.model)
    store = Store(settings.data)
    models = load_systems(settings.model, load_model, quantize=settings.quantize, where=settings.engine)
    torch.set_num_threads(1)  # two workers on two cores; slices are too small to be split
    workers = {system: Worker(system, Loop(model.engine(settings.slots))) for system, model in models.items()}
    pool = ThreadPoolExecutor(SOUND_THREADS, "sound")
    kit = Kit(settings.ears, settings.coqui)
    if settings.ears == "whisper":
        kit.recogniser()  # fetched before anybody waits for it
    arena = Arena(settings, models, workers, store, kit, pool)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pool.submit(kit.recogniser)  # whoever speaks first does not wait for it; what is wrong they are told
        yield
        for worker in workers.values():
            worker.stop()
        pool.shutdown(cancel_futures=True)

    app = FastAPI(title="Duplex Arena", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.arena = arena
    if study:
        return study.served(app, arena, lambda socket: from_here(socket, settings.origins))

    @app.websocket("/v1/realtime")
    async def realtime(socket: WebSocket) -> None:
        if not from_here(socket, settings.origins):
            await socket.close(1008, "this page may not connect from another site")
            return
        await arena.serve(socket)

    @app.post("/v1/sessions/{session}/ratings")
    async def rate(session: str, request: Request) -> JSONResponse:
        try:
            body = await request.body()
            if len(body) > MAX_RATING_BYTES:
                raise BadInput(f"a rating has at most {MAX_RATING_BYTES} bytes, this one {len(body)}")
            try:
                value = json.loads(body)
            except (ValueError, RecursionError):
                raise BadInput("expected a JSON object") from None
            number = store.add_rating(Rating.parse(session, value))
        except DuplexError as error:
            return JSONResponse({"error": {"code": error.code, "message": str(error)}}, STATUS.get(error.code, 400))
        return JSONResponse({"id": number}, 201)

    return with_page(app)


def open_study(folder: Path) -> OpenStudy:
    """The study of a folder, its database ready; raises DuplexError."""
    try:
        from webapp.study.site import OpenStudy
    except ModuleNotFoundError as missing:
        raise DuplexError("study", f"a study needs {missing.name}: pip install 'duplex-arena[study]'") from None
    return OpenStudy(folder)


def from_here(socket: WebSocket, origins: Sequence[str]) -> bool:
    """May this handshake go on? Browsers say which page asks; it must be ours or one of `origins`."""
    origin = socket.headers.get("origin")
    if origin is None or origin in origins:  # programs send none
        return True
    return urlsplit(origin).netloc == socket.headers.get("host")


def with_page(app: FastAPI) -> FastAPI:
    """Mount `static/` and the Gradio page."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read by Gradio at import
    import gradio as gr

    from webapp.pages import arena

    # not /static: that is Gradio's own
    app.mount("/page", StaticFiles(directory=arena.static_folder()), name="page")
    return gr.mount_gradio_app(
        app,
        arena.build(),
        path="/",
        theme=arena.theme(),
        css=arena.CSS,
        head=arena.HEAD,
        ssr_mode=False,
        footer_links=[],
        favicon_path=str(arena.static_folder() / "favicon.svg"),
    )
