"""The server that is put under load: one of our own in a process of its own, or one that runs on this machine already.

with own_server("embedded", Path(folder)) as server:
    server.ws, server.rss(), server.alive(), server.tracebacks()

Our own one also tells what only it knows: how late each slice was, as its loop counts it (`GET /load/slices`, which
empties that list), and how many sessions it holds (`GET /load/state`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import psutil

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.strain import Strain
from webapp.serve import bind

if TYPE_CHECKING:
    from webapp.settings import Settings

#: Seconds in which a server has to answer after it was started, and to end.
START_SECONDS, END_SECONDS = 180.0, 20.0
#: This machine; load tests go nowhere else.
HERE = ("127.0.0.1", "localhost")
#: A slice: seconds from when it was due to its last word (what may be said later is allowed for), and its period.
Late = tuple[float, float]
_ROOT = "/load/"
_TRACEBACK = "Traceback (most recent call last)"
#: How the next of a chain is announced, by us and by Python.
_CHAINED = ("which led to:", "During handling of", "The above exception was")


@dataclass(frozen=True)
class Server:
    """`port` on 127.0.0.1 and the process behind it. data, log: the folder and the log of one of our own."""

    port: int
    pid: int
    data: Path | None = None
    log: Path | None = None

    @property
    def ws(self) -> str:
        """Where conversations are held."""
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    def alive(self) -> bool:
        """Does its process run?"""
        try:
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def rss(self) -> int:
        """Bytes of memory; 0 once it has ended."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def cpu_seconds(self) -> float:
        """That it has used so far; 0 once it has ended."""
        try:
            return float(sum(psutil.Process(self.pid).cpu_times()[:2]))
        except psutil.NoSuchProcess:
            return 0.0

    def tracebacks(self) -> list[str]:
        """The last line of each in its log; none of a log that is not known."""
        if self.log is None:
            return []
        return tracebacks(self.log.read_text(encoding="utf-8", errors="replace"))

    async def slices(self) -> list[Late]:
        """Of our own: all since the last call. Of another: nothing."""
        return [(late, period) for late, period in await self._get("slices")] if self.data else []

    async def state(self) -> dict[str, Any]:
        """Of our own: `sessions` that are open, `strain`, and `places` for people. Of another each is None."""
        return dict(await self._get("state")) if self.data else dict.fromkeys(("sessions", "strain", "places"))

    async def _get(self, what: str) -> Any:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            return (await http.get(f"http://127.0.0.1:{self.port}{_ROOT}{what}")).json()


def tracebacks(log: str) -> list[str]:
    """What each traceback in a log came to: its last line. A chain of causes is one; one that is cut off counts."""
    found: list[str] = []
    lines = log.splitlines()
    before = ""
    for number, line in enumerate(lines):
        if _TRACEBACK in line:
            if before.startswith(_CHAINED) and found:
                found.pop()
            if line.lstrip().startswith("{"):  # a log of JSON lines has it in one
                found.append(line[-200:])
            else:
                last = next((each for each in lines[number + 1 :] if each and not each[0].isspace()), "(cut off)")
                found.append(last[:200])
        before = line or before
    return found


# — one that runs already —


def server_at(url: str) -> Server:
    """Somebody's server on this machine; raises BadInput for any other address, or if nobody answers."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "ws") or parts.hostname not in HERE or not port:
        raise BadInput(
            f"URL: expected a server on this machine such as http://127.0.0.1:7860, got {url[:80]!r}; "
            "a load test goes nowhere else"
        )
    pid = listening(port)
    if pid is None:
        raise BadInput(f"URL: expected a server of yours at port {port}, found none; start one with: duplex serve")
    return Server(port, pid)


def listening(port: int) -> int | None:
    """The process of ours that listens at a port."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            for each in process.net_connections("tcp"):
                if each.status == psutil.CONN_LISTEN and each.laddr.port == port:
                    return int(process.pid)
    return None


# — one of our own —


@contextmanager
def own_server(model: str, folder: Path, settings: Mapping[str, Any] | None = None) -> Iterator[Server]:
    """Start a server with an empty data folder in `folder`, and end it. settings: of `webapp.settings.Settings`.

    Raises DuplexError if it does not start.
    """
    data, log = folder / "data", folder / "server.log"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("DUPLEX_") and key != "SPACE_ID"}
    given = {"model": model, "data": str(data), "ears": "off", **(settings or {})}
    with bind("127.0.0.1", 0) as listener, log.open("wb") as out:
        port, handle = listener.getsockname()[1], listener.fileno()
        command = [sys.executable, "-m", "webapp.load.server", str(handle), json.dumps(given)]
        process = subprocess.Popen(command, env=clean, stdout=out, stderr=out, pass_fds=[handle])
    server = Server(port, process.pid, data, log)
    try:
        _wait_for(server, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(server: Server, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{server.port}{_ROOT}state", trust_env=False, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    assert server.log
    last = server.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
    raise DuplexError("no_server", "the server under load did not start: " + " ".join(last))


class Witness:
    """In the place of a loop's `Strain`: does as it does, and keeps what it was told, until that is fetched."""

    def __init__(self, inner: Strain) -> None:
        self._inner = inner
        self.seen: deque[Late] = deque(maxlen=100_000)

    @property
    def level(self) -> int:
        """Of the strain."""
        return self._inner.level

    def note(self, late_seconds: float, period_seconds: float) -> bool:
        """Count a slice."""
        self.seen.append((round(late_seconds, 4), period_seconds))
        return self._inner.note(late_seconds, period_seconds)

    def reset(self) -> None:
        """Nobody is left."""
        self._inner.reset()


def watched(app: Any, places: int) -> Any:
    """The application, whose loops are watched from now on. places: for how many people it is."""
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    arena = app.state.arena
    witnesses = []
    for worker in arena.workers.values():
        worker.loop.strain = witness = Witness(worker.loop.strain)
        witnesses.append(witness)

    async def slices(_: Any) -> JSONResponse:
        found = []
        for witness in witnesses:
            while witness.seen:
                found.append(witness.seen.popleft())
        return JSONResponse(found)

    async def state(_: Any) -> JSONResponse:
        sessions = max(len(worker.loop._sessions) for worker in arena.workers.values())
        strain = max(witness.level for witness in witnesses)
        return JSONResponse({"sessions": sessions, "strain": strain, "places": places})

    ours = [Route(f"{_ROOT}slices", slices), Route(f"{_ROOT}state", state)]
    app.router.routes[:0] = ours  # before Gradio, which takes everything
    return app


def main(handle: str, given: str) -> None:
    """The process of our own server: as `duplex serve`, with as many places as this machine has now."""
    import socket
    from dataclasses import replace

    from webapp.serve import bound_kernels, server

    bound_kernels()
    from webapp.app import create_app
    from webapp.crowd import Crowd
    from webapp.logs import set_up
    from webapp.settings import Settings

    values = json.loads(given)
    settings = replace(Settings(), **values | {"data": Path(values["data"])})
    set_up(settings.log)
    places = _places(settings)
    app = create_app(replace(settings, crowd=Crowd(places=places)))
    server(watched(app, places)).run(sockets=[socket.socket(fileno=int(handle))])


def _places(settings: Settings) -> int:
    """For how many people this machine has places, with models and engines that are gone afterwards."""
    import torch

    from duplex_runtime.models.load import load_model, load_systems
    from webapp.capacity import measure

    torch.set_num_threads(1)  # as in the server
    models = load_systems(settings.model, load_model, quantize=settings.quantize, where=settings.engine)
    return measure(models, {system: model.engine(settings.slots) for system, model in models.items()}).places


if __name__ == "__main__":
    main(*sys.argv[1:])
