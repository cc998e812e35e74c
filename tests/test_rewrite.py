import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from duplex_runtime.alignment.rewrite import REWRITTEN, Rewriter, usable

PHRASES = {kind: [f"{kind} one {{new}}", f"{kind} two"] for kind in REWRITTEN} | {"fillers": ["um"]}


class Answers(BaseHTTPRequestHandler):
    """An endpoint that says everything twice, and fails at what has "two" in it."""

    asked: list[str]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        phrase = body["messages"][0]["content"].splitlines()[-1]
        self.asked.append(phrase)
        answer = {"choices": [{"message": {"content": f"1. Well, {phrase}\n2. So, {phrase}\n3. without the slot"}}]}
        data = b"no" if "two" in phrase else json.dumps(answer).encode()
        self.send_response(500 if "two" in phrase else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    Answers.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_phrases_get_more_wordings_and_those_that_fail_stay_alone(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = Rewriter(url, "model", tmp_path).more(PHRASES)
    assert more["stop"] == ["stop one {new}", "Well, stop one {new}", "So, stop one {new}", "stop two"]
    assert more["fillers"] == ["um"]
    assert f"{len(REWRITTEN)} of {2 * len(REWRITTEN)} phrases were not rewritten" in capsys.readouterr().err


def test_what_was_rewritten_is_not_asked_for_again(url: str, tmp_path: Path) -> None:
    first = Rewriter(url, "model", tmp_path).more(PHRASES)
    asked = len(Answers.asked)
    assert Rewriter(url, "model", tmp_path).more(PHRASES) == first
    assert len(Answers.asked) - asked == len(REWRITTEN)  # those that had failed


def test_without_an_endpoint_everything_stays_as_it_is(tmp_path: Path) -> None:
    assert Rewriter("http://127.0.0.1:9/v1", "model", tmp_path).more(PHRASES) == PHRASES


def test_only_lines_with_the_same_slots_are_used() -> None:
    answer = '- "Hey, {new}"\n* {new} now\n{other} {new}\n{new\n\nplain'
    assert usable("Look, {new}", answer) == ["Hey, {new}", "{new} now"]
    assert usable("Stop.", "Halt.\nStop.\n{new}") == ["Halt."]
