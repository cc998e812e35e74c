"""`duplex serve`: our own uvicorn, so that the WebSocket is never behind Gradio's proxy."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from duplex_runtime.errors import DuplexError
from webapp.folders import lasts, settle
from webapp.logs import set_up
from webapp.settings import Settings

Drain = Callable[[], Coroutine[Any, Any, None]]

#: Larger than the 64 KB that a message may have, so that a client gets words and not a closed socket.
WS_MAX_SIZE = 4 * 1024 * 1024


def bound_kernels() -> None:
    """Keep oneDNN's kernels, one for each length of input, from filling the memory. Before torch is imported."""
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(name, "32")


def serve(settings: Settings, open_browser: bool = False, share: bool = False) -> int:
    """Serve until Ctrl-C, with `share` also to everybody; raises DuplexError if the port is taken or there is no
    tunnel."""
    bound_kernels()
    set_up(settings.log)
    for line in settle(os.environ):
        print(f"Duplex Arena: {line}", flush=True)
    with bind(settings.host, settings.port) as listener:
        print("Duplex Arena: loading …", flush=True)
        host, port = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host, listener.getsockname()[1]
        tunnel = None
        if share:
            from webapp.share import WARNING, open_tunnel

            tunnel = open_tunnel(host, port)
            crowd = replace(settings.crowd, trust_proxy=True)  # everybody comes from this machine, by the tunnel
            settings = replace(settings, origins=(*settings.origins, tunnel), crowd=crowd)
        from webapp.app import create_app

        app = create_app(settings)
        path, kept = "", f"ratings and recordings in {settings.data.resolve()}"
        if settings.study:
            path, kept = f"/study/{app.state.study.name}/", f"the study is in {settings.study.resolve()}"
        elif settings.on_space and not lasts(settings.data):
            kept += ", which a restart of the Space empties: docs/hosting.md says how to keep them"
        url = f"http://{host}:{port}{path}"
        print(f"Duplex Arena: {url}   (Ctrl-C ends it; {kept})", flush=True)
        if tunnel:
            print(f"Duplex Arena: {tunnel}{path}   {WARNING}", flush=True)
        if open_browser:
            threading.Timer(0.5, webbrowser.open, (url,)).start()
        server(app, app.state.arena.admission.drain).run(sockets=[listener])
    return 0


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises DuplexError that says what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)  # from now on nobody else gets the port; who connects waits until the model is loaded
    except (OSError, OverflowError) as error:
        listener.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise DuplexError(
                "port_in_use", f"port {port} is in use: end the other program, or choose another with --port {port + 1}"
            ) from None
        raise DuplexError("cannot_listen", f"cannot listen on {host}:{port}: {error}") from None
    return listener


class Protocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, for which text that is no UTF-8 is a message like others that nobody understands.

    Of itself uvicorn (0.54) closes with 1007, and fails with InvalidState in the server's loop if the client has begun
    to close as well.
    """

    def send_receive_event_to_app(self) -> None:
        """A message is complete."""
        if self.curr_msg_data_type == "text":
            self.frames = [b"".join(self.frames).decode("utf-8", "replace").encode()]
        super().send_receive_event_to_app()


class Server(uvicorn.Server):
    """At SIGTERM, which a host sends before it restarts a server, people may finish what they are saying; a second one,
    or Ctrl-C, ends it at once."""

    def __init__(self, config: uvicorn.Config, drain: Drain | None) -> None:
        super().__init__(config)
        self._drain, self._draining = drain, False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        if sig == signal.SIGTERM and self._drain and self._loop and not self._draining:
            self._draining = True
            ending = asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
            ending.add_done_callback(lambda _: super(Server, self).handle_exit(sig, frame))
        else:
            super().handle_exit(sig, frame)


def server(app: object, drain: Drain | None = None) -> Server:
    """uvicorn as we run it everywhere: its log goes where ours goes, no access log, a short goodbye to open sockets.

    drain: what is done at SIGTERM before the end.
    """
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        ws=Protocol,
        log_config=None,
        log_level="warning",
        ws_max_size=WS_MAX_SIZE,
        ws_ping_interval=15,
        ws_ping_timeout=30,
        timeout_graceful_shutdown=2,
    )
    return Server(config, drain)
