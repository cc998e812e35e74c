"""The server: FastAPI with the WebSocket, ratings and static files, and Gradio mounted on it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.models.load import load_model, load_systems
from duplex_runtime.speech.kit import Kit
from webapp import reference
from webapp.admission import Admission
from webapp.capacity import measure
from webapp.health import Health
from webapp.metrics import Metrics, MetricsPage
from webapp.realtime import Arena
from webapp.security import PersonRates, Secured, from_here, read_body
from webapp.settings import Settings
from webapp.store import Rating, Store
from webapp.worker import Worker

if TYPE_CHECKING:
    from webapp.study.site import OpenStudy

STATUS = {"bad_input": 422, "unknown_session": 404, "too_fast": 429, "not_stored": 507}
MAX_RATING_BYTES = 64 * 1024
#: Of one talk, at once and in a minute; two are usual.
MAX_RATINGS = 12
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
    metrics = Metrics()
    engines = {system: model.engine(settings.slots) for system, model in models.items()}
    places = settings.crowd.places or measure(models, engines).places
    admission = Admission(settings.crowd.limits(places))
    metrics.waiting(lambda: admission.waiting)
    workers = {system: Worker(system, metrics.loop(system, engine)) for system, engine in engines.items()}
    pool = ThreadPoolExecutor(SOUND_THREADS, "sound")
    kit = Kit(settings.ears, settings.coqui)
    if settings.ears == "whisper":
        kit.recogniser()  # fetched before anybody waits for it
    arena = Arena(settings, models, workers, store, kit, pool, admission, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pool.submit(kit.recogniser)  # whoever speaks first does not wait for it; what is wrong they are told
        yield
        await arena.close()
        for worker in workers.values():
            worker.stop()
        pool.shutdown(cancel_futures=True)

    app = FastAPI(title="Duplex Arena", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.arena, app.state.metrics = arena, metrics
    app.add_middleware(Secured, frame_ancestors=settings.frame_ancestors)
    folders = [settings.data, *([study.study.folder] if study else [])]
    app.add_api_route("/healthz", Health(workers, folders).answer, methods=["GET", "HEAD"])
    app.add_api_route("/metrics", MetricsPage(metrics, settings.metrics_token, closed=study is not None).answer)

    def admitted(socket: WebSocket) -> bool:
        if not (admitted := from_here(socket, settings.origins)):
            metrics.refused("origin")
        return admitted

    if study:
        return study.served(app, arena, admitted)

    @app.websocket("/v1/realtime")
    async def realtime(socket: WebSocket) -> None:
        if not admitted(socket):
            await socket.close(1008, "this page may not connect from another site")
            return
        await arena.serve(socket)

    reference.mount(app, arena, admitted)
    rates = PersonRates("ratings", MAX_RATINGS)

    @app.post("/v1/sessions/{session}/ratings")
    async def rate(session: str, request: Request) -> JSONResponse:
        try:
            if too_fast := rates.take(session[:64]):
                raise too_fast
            body = await read_body(request, MAX_RATING_BYTES)
            try:
                value = json.loads(body)
            except (ValueError, RecursionError):
                raise BadInput("expected a JSON object") from None
            number = store.add_rating(Rating.parse(session, value))
        except DuplexError as error:
            return JSONResponse({"error": {"code": error.code, "message": str(error)}}, STATUS.get(error.code, 400))
        return JSONResponse({"id": number}, 201)

    return with_page(app, settings.root_path)


def open_study(folder: Path) -> OpenStudy:
    """The study of a folder, its database ready; raises DuplexError."""
    try:
        from webapp.study.site import OpenStudy
    except ModuleNotFoundError as missing:
        raise DuplexError("study", f"a study needs {missing.name}: pip install 'duplex-arena[study]'") from None
    return OpenStudy(folder)


def with_page(app: FastAPI, root_path: str = "") -> FastAPI:
    """Mount `static/` and the Gradio page; `root_path` is where a proxy shows them."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read by Gradio at import
    import gradio as gr

    from webapp.pages import arena

    # not /static: that is Gradio's own
    app.mount("/page", StaticFiles(directory=arena.static_folder()), name="page")
    return gr.mount_gradio_app(
        app,
        arena.build(),
        path="/",
        root_path=root_path or None,
        theme=arena.theme(),
        css=arena.CSS,
        head=arena.HEAD,
        ssr_mode=False,
        footer_links=[],
        favicon_path=str(arena.static_folder() / "favicon.svg"),
    )
