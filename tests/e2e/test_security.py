"""The page's policy in a real browser: the page works under it, and what somebody might slip in does not run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Arena
from tests.web_fakes import Served

pytestmark = pytest.mark.e2e


def test_the_page_breaks_none_of_its_own_rules(served: Served, new_page: Callable[..., Arena]) -> None:
    arena = new_page().open(served.url)
    arena.type("what is the capital of france? ")
    expect(arena.answer("duplex")).to_contain_text("Paris")
    assert not arena.problems


@pytest.mark.parametrize("worklet", ["capture", "playback"])
def test_sound_is_let_in(worklet: str, served: Served, new_page: Callable[..., Arena]) -> None:
    """The worklets of the microphone and the loudspeaker are scripts too."""
    arena = new_page().open(served.url)
    arena.page.evaluate(f"new AudioContext().audioWorklet.addModule('/page/{worklet}-worklet.js')")
    assert not arena.problems


def test_what_is_slipped_into_the_page_does_not_run(served: Served, new_page: Callable[..., Arena]) -> None:
    arena = new_page().open(served.url)
    arena.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.slipped = 'script'";
            document.body.append(script);
            const frame = document.createElement("div");
            frame.innerHTML = '<img src="data:," onerror="window.slipped = \\'handler\\'">';
            document.body.append(frame);
            const remote = document.createElement("script");
            remote.src = "https://elsewhere.example/x.js";
            document.body.append(remote);
        }"""
    )
    refused = arena.page.evaluate("fetch('https://elsewhere.example/').then(() => 'reached', () => 'refused')")
    assert refused == "refused"
    arena.page.wait_for_function("document.querySelector('img[src=\"data:,\"]').complete")
    assert arena.page.evaluate("window.slipped") is None
    said = " ".join(arena.problems)
    assert said.count("Content Security Policy") >= 4, said


@pytest.fixture
def elsewhere(served: Served) -> Iterator[str]:
    """A page of another origin that shows ours in a frame."""

    class Frame(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<iframe src="{served.url}/"></iframe>'.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Frame) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_another_site_cannot_show_the_page_in_a_frame(elsewhere: str, new_page: Callable[..., Arena]) -> None:
    arena = new_page()
    with arena.page.expect_console_message(lambda message: "frame-ancestors" in message.text):
        arena.page.goto(elsewhere)
    assert arena.page.frames[1].url.startswith("chrome-error://")
