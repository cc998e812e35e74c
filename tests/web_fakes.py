"""A real server on this machine, a client for its WebSocket, and models that load in no time.

with Served(app_of(tmp_path)) as served, Client(served.ws) as client:
    client.begin()
    client.type("hello.")
    client.until("response.done")
"""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import webapp.app
from duplex_runtime.baseline import TurnConversation
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.loop import Loop
from duplex_runtime.models import load
from duplex_runtime.models.load import EMBEDDED_FOLDER
from duplex_runtime.slices import Slicing
from tests.fakes import FakeEngine, Reply, Words, answering
from tests.speech_fakes import FakeKit
from webapp.admission import Admission
from webapp.admission import Place as Admitted
from webapp.crowd import Crowd
from webapp.metrics import Metrics
from webapp.play import replay_log
from webapp.realtime import Arena
from webapp.serve import bind, server
from webapp.settings import Settings
from webapp.store import Store
from webapp.worker import Worker

#: Seconds that a test waits for anything: this machine may be busy with something else.
PATIENCE = 30.0
#: The same for a new process that has to import torch and Gradio first.
LONG_PATIENCE = 150.0

ANSWERS = {
    "hello": "hi you",
    "goodbye": "see you later",
    "count": " ".join(f"n{i}" for i in range(60)),
}


#: A server that has room for everybody, and does not look how fast this machine is.
ROOM = Crowd(places=1000)


def room() -> Admission:
    """The same for an `Arena`."""
    return Admission(ROOM.limits(1000))


def a_place() -> Admitted:
    """One without an end."""
    return Admitted(ROOM.limits(1000), time.monotonic)


class FakeModel:
    """In the place of a `LoadedModel`: answers from a table, at once. `change` may wrap its reply."""

    parameters = 1234
    aligned = True
    where = "torch"
    serves_both = False

    def __init__(self, system: str, change: Callable[[Reply], Reply] = lambda reply: reply) -> None:
        self.vocabulary = Words()
        self.system = system
        self.reply = change(answering(ANSWERS, self.vocabulary))

    def engine(self, slots: int = 64) -> FakeEngine:
        return FakeEngine(self._reply, slots=slots)

    def _reply(self, stream: list[int]) -> Sequence[int]:
        words = self.reply(stream)
        # who waits for a turn cannot be silent
        return words or (self.vocabulary.encode("pardon") if self.system == "turns" else ())

    def conversation(
        self, system: str, slicing: Slicing, pause_seconds: float | None = None, barge_in: bool = False
    ) -> Any:
        if system == "turns":
            vocabulary = self.vocabulary
            return TurnConversation(EMBEDDED, vocabulary, slicing, pause_seconds=pause_seconds, barge_in=barge_in)
        return DuplexConversation(EMBEDDED, self.vocabulary, slicing)


class FakeModels:
    """In the place of `load_model`: the same two models at every call, so that recordings replay."""

    def __init__(self, change: Callable[[Reply], Reply] = lambda reply: reply) -> None:
        self.models = {system: FakeModel(system, change) for system in ("duplex", "turns")}

    def __call__(self, name: str = "embedded", system: str = "duplex", *_: object, **__: object) -> Any:
        return self.models[system]


def tiny_loaded(memory: Any = None) -> Any:
    """A `LoadedModel` of a random network with the real vocabulary, in memory."""
    import torch

    from duplex_runtime.alignment.fresh import make_model
    from duplex_runtime.alignment.presets import Shape
    from duplex_runtime.duplex import Memory
    from duplex_runtime.models.load import LoadedModel
    from duplex_runtime.models.vocabulary import TokenizerFile

    torch.manual_seed(5)
    vocabulary = TokenizerFile(EMBEDDED_FOLDER / "tokenizer.json")
    network = make_model(Shape(hidden=32, intermediate=64, layers=2, heads=2), len(vocabulary)).float().eval()
    return LoadedModel("tiny", network, EMBEDDED, vocabulary, memory or Memory(), wait_for_end_mark=True)


def save_tiny_model(folder: Path, seed: int = 0) -> Path:
    """A model folder as `duplex train` makes it, with random weights: loaded the real way, in milliseconds."""
    import torch
    from transformers import GraniteConfig, GraniteForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder.mkdir(exist_ok=True)
    shutil.copy(EMBEDDED_FOLDER / "tokenizer.json", folder / "tokenizer.json")
    from duplex_runtime.models.vocabulary import TokenizerFile

    config = GraniteConfig(
        vocab_size=len(TokenizerFile(folder / "tokenizer.json")),
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=1024, attention_multiplier=0.25, tie_word_embeddings=True,
        bos_token_id=EMBEDDED.bos, eos_token_id=EMBEDDED.eos, pad_token_id=0,
    )  # fmt: skip
    for number, system in enumerate(("duplex", "turns")):
        torch.manual_seed(seed + number)
        GraniteForCausalLM(config).save_pretrained(folder / system)
        (folder / system / "about.json").write_text(json.dumps({"system": system}), encoding="utf-8")
    return folder


def app_of(data: Path, models: Any = None, **settings: Any) -> FastAPI:
    """The application with fake models, room for everybody, and these settings. It keeps its data in `data`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webapp.app, "load_model", models or FakeModels())
        return webapp.app.create_app(Settings(**{"data": data, "crowd": ROOM} | settings))


class Served:
    """The application behind a real uvicorn on a free port."""

    def __init__(self, app: Any) -> None:
        self.app = app
        listener = bind("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws = f"ws://127.0.0.1:{self.port}/v1/realtime"
        self._server = server(app)
        started, startup = threading.Event(), self._server.startup

        async def tell_startup(sockets: Any = None) -> None:
            await startup(sockets)
            started.set()

        self._server.startup = tell_startup  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        assert started.wait(PATIENCE), "the server did not start"

    @property
    def arena(self) -> Any:
        return self.app.state.arena

    def http(self) -> httpx.Client:
        """A client whose addresses begin with the server's."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False)

    def sessions(self) -> int:
        """How many conversations both loops hold."""
        return sum(
            worker.call(lambda worker=worker: len(worker.loop._sessions)).result(PATIENCE)
            for worker in self.arena.workers.values()
        )

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server did not stop"

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Place:
    """The WebSocket alone, over models that answer at once."""

    def __init__(self, folder: Path, models: Any = None, kit: Any = None, **settings: Any) -> None:
        self.models = models or FakeModels()
        self.settings = Settings(data=folder / "data", **settings)
        loaded = {system: self.models("embedded", system) for system in ("duplex", "turns")}
        self.workers = {
            system: Worker(system, Loop(model.engine(self.settings.slots))) for system, model in loaded.items()
        }
        self.kit, self.pool = kit or FakeKit(), ThreadPoolExecutor(2)
        store = Store(self.settings.data)
        arena = Arena(self.settings, loaded, self.workers, store, self.kit, self.pool, room(), Metrics())

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            yield
            await arena.close()

        app = FastAPI(lifespan=lifespan)
        app.state.arena = arena

        @app.websocket("/v1/realtime")
        async def realtime(socket: WebSocket) -> None:
            await arena.serve(socket)

        self.served = Served(app)

    def close(self) -> None:
        self.served.stop()
        for worker in self.workers.values():
            worker.stop()
        self.pool.shutdown()

    def log(self, session: str) -> Path:
        return self.settings.data / "recordings" / f"{session}.jsonl"

    def replay(self, session: str, monkeypatch: pytest.MonkeyPatch) -> int:
        """As `duplex replay` does, once everybody has left."""
        eventually(lambda: self.served.sessions() == 0, "the slots are free")
        monkeypatch.setattr(load, "load_model", self.models)
        return replay_log(self.log(session), None)


def eventually(true: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for what nobody announces."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        pause.wait(0.01)


class Client:
    """One WebSocket client; every event that it received is in `events`."""

    def __init__(self, url: str) -> None:
        self._open = ExitStack()
        options: dict[str, Any] = {"open_timeout": PATIENCE, "close_timeout": PATIENCE}
        self.socket = self._open.enter_context(connect(url, proxy=None, max_size=None, max_queue=None, **options))
        self.events: list[dict[str, Any]] = []

    def send(self, event: Any) -> None:
        self.socket.send(event if isinstance(event, str | bytes) else json.dumps(event))

    def begin(self, slice_seconds: float | str = "adaptive") -> dict[str, Any]:
        """session.update; returns the session of session.created."""
        self.send({"type": "session.update", "session": {"slice_seconds": slice_seconds}})
        return self.until("session.created")["session"]

    def type(self, text: str) -> None:
        """Every key is its own message, one right after the other."""
        for key in text:
            self.send({"type": "duplex.input.edit", "delete": 0, "insert": key})

    def enter(self) -> None:
        self.send({"type": "duplex.input.enter"})

    def until(self, kind: str, seconds: float = PATIENCE, **values: Any) -> dict[str, Any]:
        """Receive up to the next event of that type and those values."""
        end = time.monotonic() + seconds
        while True:
            try:
                message = self.socket.recv(timeout=max(0.0, end - time.monotonic()))
            except TimeoutError:
                seen = [e["type"] for e in self.events]
                raise AssertionError(f"no {kind} {values} within {seconds} s; received {seen}") from None
            event = json.loads(message)
            self.events.append(event)
            if event["type"] == kind and values.items() <= event.items():
                return event

    def first(self, kind: str, **values: Any) -> dict[str, Any]:
        """The first event of that type and those values, received already or to come."""
        seen = (e for e in self.events if e["type"] == kind and values.items() <= e.items())
        return next(seen, None) or self.until(kind, **values)

    def of(self, kind: str, system: str = "duplex") -> list[dict[str, Any]]:
        return [e for e in self.events if e["type"] == kind and e.get("system", system) == system]

    def said(self, system: str = "duplex") -> str:
        """All deltas, as words."""
        return " ".join(" ".join(e["delta"] for e in self.of("response.output_text.delta", system)).split())

    def until_closed(self, seconds: float = PATIENCE) -> int | None:
        """Receive until the server closes; returns the code."""
        try:
            while True:
                self.events.append(json.loads(self.socket.recv(timeout=seconds)))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def close(self) -> None:
        self._open.close()

    def cut(self) -> None:
        """The network is gone: no goodbye."""
        self.socket.close_socket()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def shape(value: Any) -> Any:
    """Keys and kinds of a JSON value, without what it says."""
    match value:
        case dict():
            return {key: shape(inner) for key, inner in value.items()}
        case list():
            return [shape(inner) for inner in value[:1]]
        case bool() | None:
            return type(value).__name__
        case int() | float():
            return "number"
    return type(value).__name__


_names = itertools.count(1)


def session_id() -> str:
    """A new id that looks like one of the server's."""
    return f"session-{next(_names):08d}"
