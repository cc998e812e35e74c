import json
import threading
from collections.abc import Callable
from pathlib import Path
from socket import create_connection
from typing import Any

import httpx
import pytest
from gradio import networking
from gradio.exceptions import ChecksumMismatchError, ShareCertificateWriteError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

import webapp.app
import webapp.serve
from duplex_runtime.errors import DuplexError
from tests.web_fakes import PATIENCE, ROOM, FakeModels
from webapp.cli import main
from webapp.serve import serve, server
from webapp.settings import Settings
from webapp.share import open_tunnel

TUNNEL = "https://0123456789abcdef.gradio.live"


class FakeTunnel:
    """gradio.networking.setup_tunnel: as it does, puts a certificate into the working folder."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __call__(
        self,
        local_host: str,
        local_port: int,
        share_token: str,
        share_server_address: str | None,
        share_server_tls_certificate: str | None,
    ) -> str:
        self.calls.append((local_host, local_port, share_token, share_server_address, share_server_tls_certificate))
        Path(".gradio").mkdir(exist_ok=True)
        Path(".gradio/certificate.pem").write_text("a certificate")
        return TUNNEL


@pytest.fixture
def tunnel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeTunnel:
    monkeypatch.chdir(tmp_path)
    fake = FakeTunnel()
    monkeypatch.setattr(networking, "setup_tunnel", fake)
    return fake


def settings(folder: Path) -> Settings:
    return Settings(port=0, data=folder / "data", crowd=ROOM)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any) -> str:
        raise error

    monkeypatch.setattr(networking, "setup_tunnel", fail)


def while_served(monkeypatch: pytest.MonkeyPatch, look: Callable[[int], None]) -> None:
    """`serve` ends when `look`, which gets the port, has returned; what it raises comes out of `serve`."""

    class Looked:
        def __init__(self, app: Any, drain: Any) -> None:
            self._server = server(app, drain)

        def run(self, sockets: list[Any]) -> None:
            thread = threading.Thread(target=self._server.run, kwargs={"sockets": sockets}, daemon=True)
            thread.start()
            try:
                look(sockets[0].getsockname()[1])
            finally:
                self._server.should_exit = True
                thread.join(PATIENCE)

    monkeypatch.setattr(webapp.serve, "server", Looked)
    monkeypatch.setattr(webapp.app, "load_model", FakeModels())


def begin(port: int, host: str, origin: str) -> Any:
    """The answer to session.update, or the close code, of a page at `origin`."""
    # the Host header is of the address; the socket leads here, as a tunnel does
    with connect(
        f"ws://{host}/v1/realtime", sock=create_connection(("127.0.0.1", port)), origin=Origin(origin),
        proxy=None, open_timeout=PATIENCE,
    ) as socket:  # fmt: skip
        try:
            socket.send(json.dumps({"type": "session.update", "session": {}}))
            while True:
                event = json.loads(socket.recv(timeout=PATIENCE))
                if event["type"] in ("session.created", "error"):
                    return event["type"]
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


def test_the_tunnel_leads_to_our_port_and_leaves_nothing_behind(tunnel: FakeTunnel, tmp_path: Path) -> None:
    assert open_tunnel("127.0.0.1", 12345) == TUNNEL
    [(host, port, token, address, certificate)] = tunnel.calls
    assert (host, port, address, certificate) == ("127.0.0.1", 12345, None, None)
    assert len(token) >= 32
    assert list(tmp_path.iterdir()) == [], "the certificate must not lie in somebody's repository"


def test_two_tunnels_have_two_tokens(tunnel: FakeTunnel) -> None:
    open_tunnel("127.0.0.1", 1)
    open_tunnel("127.0.0.1", 1)
    assert tunnel.calls[0][2] != tunnel.calls[1][2]


def test_a_shared_server_lets_the_page_of_the_tunnel_in_and_no_other(
    tunnel: FakeTunnel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, Any] = {}

    def look(port: int) -> None:
        name = TUNNEL.removeprefix("https://")
        found["own name"] = begin(port, name, TUNNEL)
        found["name of the machine"] = begin(port, f"127.0.0.1:{port}", TUNNEL)
        found["opened here"] = begin(port, f"127.0.0.1:{port}", f"http://127.0.0.1:{port}")
        try:
            found["another site"] = begin(port, name, "https://example.org")
        except InvalidStatus as refused:
            found["another site"] = refused.response.status_code
        found["page"] = httpx.get(f"http://127.0.0.1:{port}/", headers={"Host": name}, trust_env=False).status_code
        found["port"] = port

    while_served(monkeypatch, look)
    assert serve(settings(tmp_path), share=True) == 0
    assert found["own name"] == found["name of the machine"] == found["opened here"] == "session.created"
    assert found["another site"] in (403, 1008)
    assert found["page"] == 200
    assert tunnel.calls[0][:2] == ("127.0.0.1", found["port"])
    said = capsys.readouterr().out
    assert TUNNEL in said and "Everybody who has this address can talk here" in said


def test_a_server_that_is_not_shared_opens_no_tunnel(
    tunnel: FakeTunnel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    while_served(monkeypatch, lambda port: None)
    assert serve(settings(tmp_path)) == 0
    assert not tunnel.calls
    assert "gradio.live" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "error",
    [RuntimeError("Could not get share link from Gradio API Server."), ValueError("Could not create share URL.\nlog"),
     httpx.ConnectError("no route to host"), ChecksumMismatchError(), ShareCertificateWriteError("read-only"),
     OSError("this platform is incompatible")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_tunnel_that_cannot_be_opened_ends_the_server_with_words(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, error)
    assert main(["serve", "--share", "--port", "0", "--data", str(tmp_path / "data")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("duplex: --share: the tunnel could not be opened") and said.count("\n") == 1
    assert "--host 0.0.0.0" in said and "log" not in said.split()
    assert not (tmp_path / "data").exists(), "it fails before the model is loaded"


def test_without_a_network_gradio_itself_fails_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With Gradio's own setup_tunnel: the guard of the tests keeps it from its server."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DuplexError, match="share link"):
        open_tunnel("127.0.0.1", 12345)
