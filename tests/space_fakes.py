"""A Space as Hugging Face starts it, a page of another site that frames it, and a proxy that shows it below a path."""

from __future__ import annotations

import os
import re
import signal
import site
import socket
import subprocess
import threading
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

from tests.web_fakes import PATIENCE

#: What the frame of a Space lets the page in it do.
FRAME = (
    '<!doctype html><title>frame</title><iframe id="space" src="{url}" style="width:1280px;height:760px;border:0" '
    'allow="microphone; clipboard-read; clipboard-write" '
    'sandbox="allow-downloads allow-forms allow-modals allow-popups allow-same-origin allow-scripts"></iframe>'
)
#: Not even root can make a folder in it.
READ_ONLY_HOME = "/proc"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def fresh_python(folder: Path) -> Path:
    """A Python of its own that sees the packages of this one, but not this project."""
    venv.create(folder, symlinks=True, with_pip=False)
    own = next((folder / "lib").glob("python*/site-packages"))
    # a folder named in a .pth file is searched, the .pth files in it are not read: so no editable install of ours
    (own / "packages.pth").write_text("\n".join(site.getsitepackages()))
    return folder / "bin" / "python"


class Space:
    """`python app.py` in the folder of a Space. more: variables and secrets of it."""

    def __init__(self, folder: Path, python: Path, temporary: Path, **more: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        temporary.mkdir(exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"], "HOME": READ_ONLY_HOME, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1",
            "SYSTEM": "spaces", "SPACE_ID": "ann/arena", "SPACE_HOST": "ann-arena.hf.space",
            "GRADIO_SSR_MODE": "True", "GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": str(self.port),
            "PORT": str(self.port), "HF_HUB_OFFLINE": "1", "LANG": "C.UTF-8",
        }  # fmt: skip
        self._log = temporary / "log.txt"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, "app.py"], cwd=folder, env=environment | more, stdout=log, stderr=subprocess.STDOUT
            )

    def log(self) -> str:
        return self._log.read_text()

    def wait(self, seconds: float = 2 * PATIENCE) -> Space:
        """Until it says where it is."""
        pause, waited = threading.Event(), 0.0
        while not (found := re.search(rf"http://127\.0\.0\.1:{self.port}\S*", self.log())):
            assert self._process.poll() is None and waited < seconds, self.log()
            pause.wait(0.1)
            waited += 0.1
        self.url = found[0]
        return self

    def stop(self) -> None:
        """As a Space is stopped."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Space:
        return self.wait()

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def listening(handle: Callable[[StreamRequestHandler], None], host: str = "127.0.0.1") -> Iterator[int]:
    """A TCP server that handles each connection in a thread; gives its port."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                handle(self)

    class Server(ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        allow_reuse_address = True

    with Server((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(PATIENCE)


@contextmanager
def another_site() -> Iterator[tuple[str, Callable[[str], str]]]:
    """Its origin, and a function that gives the address of its page that frames a URL."""
    framed = [""]

    def handle(request: StreamRequestHandler) -> None:
        head_of(request)
        page = FRAME.format(url=framed[0]).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\nConnection: close\r\n\r\n"
        request.wfile.write(head.encode() + page)

    with listening(handle) as port:
        origin = f"http://localhost:{port}"  # 127.0.0.1 is another site

        def page_with(url: str) -> str:
            framed[0] = url
            return f"{origin}/"

        yield origin, page_with


@contextmanager
def below(prefix: str, port: int) -> Iterator[tuple[str, list[str]]]:
    """A proxy that shows the server at `port` below `prefix`, which it takes off; gives the address, and a list of the
    paths outside of it that somebody asked for."""
    strays: list[str] = []

    def handle(request: StreamRequestHandler) -> None:
        lines = head_of(request)
        method, path, version = lines[0].split(" ")
        if not path.startswith(f"{prefix}/"):
            strays.append(path)
            request.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        upgrade = any(line.lower().startswith("upgrade:") for line in lines)
        kept = [line for line in lines[1:] if upgrade or not line.lower().startswith("connection:")]
        kept += ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http"]
        kept += [] if upgrade else ["Connection: close"]
        first = f"{method} {path.removeprefix(prefix)} {version}"
        with socket.create_connection(("127.0.0.1", port)) as server:
            server.sendall("\r\n".join([first, *kept, "", ""]).encode("latin-1"))
            back = threading.Thread(target=pour, args=(server, request.connection), daemon=True)
            back.start()
            while data := request.rfile.read1(65536):
                server.sendall(data)
            back.join()

    with listening(handle) as own:
        yield f"http://127.0.0.1:{own}{prefix}/", strays


def head_of(request: StreamRequestHandler) -> list[str]:
    """The lines of a request up to the empty one."""
    lines = []
    while line := request.rfile.readline().decode("latin-1").rstrip("\r\n"):
        lines.append(line)
    if not lines:
        raise OSError("the client left")
    return lines


def pour(source: socket.socket, target: socket.socket) -> None:
    """Everything that comes, until there is no more; then the other side is told so."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
