"""The server under load: where it may be, what its log says, and one of our own in its process."""

import asyncio
import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from web_fakes import save_tiny_model

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.strain import Strain
from webapp.load.server import Server, Witness, listening, own_server, server_at, tracebacks, watched

LOG = """\
started
Traceback (most recent call last):
  File "a.py", line 1, in f
    g()
ValueError: no such thing
INFO: on it goes
Traceback (most recent call last):
  File "a.py", line 1, in f
KeyError
which led to:
Traceback (most recent call last):
  File "b.py", line 2, in g
RuntimeError: lost

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 2, in g
OSError: twice
{"level": "ERROR", "message": "Traceback (most recent call last): ... KeyError: 'x'"}
Traceback (most recent call last):
  File "a.py", line 2
"""


@pytest.mark.parametrize(
    "url", ["http://example.org", "http://10.0.0.1:7860", "https://127.0.0.1", "ftp://127.0.0.1:1", "http://localhost.example.org:80"]
)  # fmt: skip
def test_a_load_test_goes_nowhere_else(url: str) -> None:
    with pytest.raises(BadInput, match="on this machine"):
        server_at(url)


def test_a_server_that_runs_here_is_found_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert server_at(f"http://127.0.0.1:{port}") == Server(port, os.getpid())
        assert server_at(f"localhost:{port}") == Server(port, os.getpid())
        assert listening(port) == os.getpid()
    with pytest.raises(BadInput, match="found none"):
        server_at(f"http://127.0.0.1:{port}")


def test_of_each_traceback_the_last_line_is_kept() -> None:
    found = tracebacks(LOG)
    assert found[0] == "ValueError: no such thing"
    assert found[1] == "OSError: twice"
    assert "KeyError: 'x'" in found[2]
    assert found[3:] == ["(cut off)"]
    assert tracebacks("all is well\n") == []


def test_another_server_tells_nothing_of_its_slices() -> None:
    server = Server(9, os.getpid())
    assert asyncio.run(server.slices()) == []
    assert asyncio.run(server.state()) == {"sessions": None, "strain": None, "places": None}
    assert server.alive() and server.rss() > 1e6 and server.cpu_seconds() > 0
    assert server.tracebacks() == []


def test_a_witness_does_as_the_strain_and_tells_once_what_it_saw() -> None:
    loops = [SimpleNamespace(strain=Strain(), _sessions={}) for _ in range(2)]
    workers = {name: SimpleNamespace(loop=loop) for name, loop in zip(("duplex", "turns"), loops, strict=True)}
    app = Starlette()
    app.state.arena = SimpleNamespace(workers=workers)
    with TestClient(watched(app, 7)) as client:
        strain = loops[0].strain
        assert isinstance(strain, Witness)
        changed = [strain.note(1.9, 2.0) for _ in range(40)]
        assert changed.count(True) == 1 and strain.level == 1
        assert client.get("/load/state").json() == {"sessions": 0, "strain": 1, "places": 7}
        assert client.get("/load/slices").json() == [[1.9, 2.0]] * 40
        assert client.get("/load/slices").json() == []


@pytest.mark.slow
def test_a_server_of_our_own_starts_talks_and_ends(tmp_path: Path) -> None:
    from webapp.load import sessions

    model = save_tiny_model(tmp_path / "model")
    with own_server(str(model), tmp_path) as server:
        found = asyncio.run(sessions.run(server, 4, 0))
        assert found["session_failures"] == 0 and found["sessions_left"] == 0
        late = asyncio.run(server.slices())
        assert late and all(0 <= seconds < 2 and period == 2.0 for seconds, period in late)
        assert server.data and len(list((server.data / "recordings").glob("*.jsonl"))) == 4
        assert asyncio.run(server.state())["places"] > 0
        assert server.tracebacks() == []
    assert not server.alive()


@pytest.mark.slow
def test_a_server_that_does_not_start_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(DuplexError, match="did not start"), own_server(str(tmp_path / "nothing"), tmp_path):
        pass
