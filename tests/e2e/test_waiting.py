"""Before and after a talk, in a real browser: the queue, the end, a full server. The server's side is played."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.web_fakes import Served

pytestmark = pytest.mark.e2e

STATIC = Path(__file__).resolve().parents[2] / "static"
PAGE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="page/arena.css"><script type="module" src="page/app.js"></script><body style="margin:0">
"""
CREATED: dict[str, Any] = {
    "type": "session.created",
    "at": 0.0,
    "session": {
        "id": "s1",
        "model": "embedded",
        "parameters": 1,
        "aligned": True,
        "slice_seconds": "adaptive",
        "tokens_per_second": 5,
        "systems": ["duplex", "turns"],
    },
}


@pytest.fixture(scope="module")
def site() -> Iterator[Served]:
    """The page without a server behind it."""

    async def page(_: Any) -> HTMLResponse:
        return HTMLResponse(PAGE + (STATIC / "arena.html").read_text(encoding="utf-8"))

    with Served(Starlette(routes=[Route("/", page), Mount("/page", StaticFiles(directory=STATIC))])) as served:
        yield served


class Hall:
    """The page, and the server's side of its sockets; the newest is the one in use."""

    def __init__(self, arena: Any, url: str) -> None:
        self.arena, self.page = arena, arena.page
        self.sockets: list[Any] = []
        self.heard: list[dict[str, Any]] = []
        self.page.route_web_socket("**/v1/realtime*", self._opened)
        self.page.goto(url)
        self.until(lambda: self.heard, "the page opens a session")
        self.bar = self.page.locator(".da-lobby")

    def _opened(self, socket: Any) -> None:
        self.sockets.append(socket)
        socket.on_message(lambda text: self.heard.append(json.loads(text)))

    def until(self, true: Callable[[], Any], what: str) -> None:
        for _ in range(300):
            if true():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"not within 6 s: {what}; heard {[e['type'] for e in self.heard]}")

    def say(self, kind: str, **values: Any) -> None:
        self.sockets[-1].send(json.dumps({"type": kind, **values}))

    def queue(self, position: int, waiting: int, estimate: float | None = None) -> None:
        self.say("duplex.queue", position=position, waiting=waiting, estimate_seconds=estimate)

    def begin(self) -> None:
        self.sockets[-1].send(json.dumps(CREATED))
        expect(self.arena.part("connection")).to_have_text("connected")


@pytest.fixture
def hall(new_page: Callable[..., Any], site: Served) -> Iterator[Callable[..., Hall]]:
    halls = []

    def new(**options: Any) -> Hall:
        halls.append(Hall(new_page(**options), site.url))
        return halls[-1]

    yield new
    for each in halls:
        assert not each.arena.problems


def marks(hall: Hall) -> Any:
    return hall.page.locator(".da-mark")


def test_whoever_waits_sees_the_position_and_a_recorded_talk_until_their_own_begins(hall: Any) -> None:
    it = hall()
    expect(it.bar).to_be_hidden()
    it.queue(3, 5, 40)
    expect(it.bar).to_contain_text("You are number 3 of 5; about 40 s.")
    expect(it.page.locator(".da-recording")).to_be_visible()
    expect(marks(it).first).to_be_visible()
    log = it.arena.in_panel("duplex", "[role=log]")
    expect(log).to_have_attribute("aria-live", "off")  # nobody wants a stranger's talk read aloud
    expect(it.page.get_by_role("status").filter(has_text="You are number 3 of 5")).to_have_count(1)
    it.arena.type("hello")  # is kept
    it.queue(1, 3, 10)
    expect(it.bar).to_contain_text("You are number 1 of 3; about 10 s.")
    it.begin()
    expect(it.bar).to_be_hidden()
    expect(it.page.locator(".da-recording")).to_be_hidden()
    expect(log).to_have_attribute("aria-live", "polite")
    it.until(lambda: any(e["type"] == "duplex.input.edit" for e in it.heard), "what was typed is sent")
    assert "".join(e["insert"] for e in it.heard if e["type"] == "duplex.input.edit") == "hello"
    assert marks(it).count() <= 3, "nothing of the recording is left: the person's own keys"
    expect(it.page.locator(".da-mark.da-speech")).to_have_count(0)


def test_the_recording_can_be_stopped_and_does_not_begin_by_itself_where_motion_is_unwanted(hall: Any) -> None:
    it = hall(reduced_motion="reduce")
    it.queue(2, 2)
    expect(it.bar).to_contain_text("You are number 2 of 2.")
    expect(it.page.locator(".da-recording")).to_be_hidden()
    it.page.get_by_role("button", name="watch a recorded talk").click()
    expect(it.page.locator(".da-recording")).to_be_visible()
    expect(marks(it).first).to_be_visible()
    it.page.get_by_role("button", name="stop the recording").click()
    expect(it.page.locator(".da-recording")).to_be_hidden()
    expect(marks(it)).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen_and_can_be_read(hall: Any, scheme: str) -> None:
    it = hall(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    it.queue(123, 200, 4000)
    expect(it.bar).to_contain_text("about 67 min")
    expect(it.page.locator(".da-recording")).to_be_visible()
    assert it.page.evaluate("document.documentElement.scrollWidth") <= 360
    button = it.page.get_by_role("button", name="stop the recording")
    assert button.bounding_box()["height"] >= 36
    contrast = it.page.evaluate(
        """() => {
          const light = (text) => {
            const [r, g, b] = text.match(/[\\d.]+/g).map((v) => v / 255).map(
              (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const of = (selector) => {
            const style = getComputedStyle(document.querySelector(selector));
            const [a, b] = [light(style.color), light(style.backgroundColor)].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05);
          };
          return [of(".da-lobby"), of(".da-recording")];
        }"""
    )
    assert min(contrast) >= 4.5


def test_whoever_is_idle_is_asked_and_one_press_keeps_the_talk(hall: Any) -> None:
    it = hall()
    it.begin()
    it.say("duplex.ending", seconds=60, why="idle")
    expect(it.bar).to_contain_text("Are you still here?")
    expect(it.bar).to_contain_text("in 58 s")  # it ticks
    before = len(it.heard)
    it.page.get_by_role("button", name="I am still here").click()
    it.until(lambda: len(it.heard) > before, "the server is told")
    assert it.heard[before] == {"type": "session.update", "session": {}} | (
        {"seq": it.heard[before]["seq"]} if "seq" in it.heard[before] else {}
    )
    it.say("duplex.stays")
    expect(it.bar).to_be_hidden()


def test_after_the_end_the_talk_stays_and_another_begins_only_when_it_is_wanted(hall: Any) -> None:
    it = hall()
    it.begin()
    it.say("duplex.slice", system="duplex", index=0, opened_at=0, at=0.5, user="hi there", idle=True, p_idle=0.9)
    expect(it.page.locator(".da-heard")).to_contain_text("hi there")
    it.say("duplex.ended", why="time")
    it.sockets[-1].close(code=1000)
    expect(it.bar).to_contain_text("Your time is over")
    it.page.wait_for_timeout(1500)  # longer than the page waits before it connects again after a loss
    assert len(it.sockets) == 1
    expect(it.page.locator(".da-heard")).to_contain_text("hi there")
    expect(it.arena.part("banner")).to_be_hidden()
    it.page.get_by_role("button", name="begin again").click()
    it.until(lambda: len(it.sockets) == 2, "a new socket")
    it.begin()
    expect(it.bar).to_be_hidden()
    expect(it.page.locator(".da-heard")).to_have_count(0)


def test_a_full_server_is_not_asked_again_at_once(hall: Any) -> None:
    it = hall()
    it.say("error", error={"type": "x", "code": "full", "message": "all 16 places are taken; try again later"})
    it.sockets[-1].close(code=1013)
    expect(it.bar).to_contain_text("All 16 places are taken; try again later. Trying again in")
    it.page.wait_for_timeout(1500)
    assert len(it.sockets) == 1
    it.page.get_by_role("button", name="try now").click()
    it.until(lambda: len(it.sockets) == 2, "a new socket")
    it.begin()
    expect(it.bar).to_be_hidden()


def test_a_queue_does_not_hide_a_talk_that_is_still_to_be_read(hall: Any) -> None:
    it = hall()
    it.begin()
    it.say("duplex.slice", system="duplex", index=0, opened_at=0, at=0.5, user="hi there", idle=True, p_idle=0.9)
    expect(it.page.locator(".da-heard")).to_be_visible()
    it.sockets[-1].close(code=1011)
    it.until(lambda: len(it.sockets) == 2, "the page connects again")
    it.until(lambda: it.heard[-1]["type"] == "session.update", "and asks for a session")
    it.queue(1, 1)
    expect(it.bar).to_contain_text("You are number 1 of 1.")
    expect(it.page.locator(".da-recording")).to_be_hidden()
    expect(it.page.locator(".da-heard")).to_contain_text("hi there")
