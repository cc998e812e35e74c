"""The real server with the embedded model, and pages in a real browser that report every request."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.web_fakes import ROOM, Served, eventually
from webapp.app import create_app
from webapp.settings import Settings

#: Another model only while looking for a fault.
MODEL = os.environ.get("DUPLEX_TEST_MODEL", "embedded")
#: Milliseconds: the machine may be busy.
PATIENCE_MS = 30_000
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("e2e") / "data"
    with Served(create_app(Settings(model=MODEL, data=data, crowd=ROOM))) as served:
        yield served


@dataclass
class Arena:
    """The page as a person has it before them, and what travelled behind it."""

    page: Page
    urls: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.urls.append(request.url))
        self.page.on("websocket", self._socket)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._told)

    def _told(self, message: Any) -> None:
        # what is missing on the server is told as well, and has its own tests
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.problems.append(f"{message.text} {message.location}")

    def _socket(self, socket: Any) -> None:
        self.urls.append(socket.url)
        socket.on("framereceived", lambda text: self.events.append(json.loads(text)))

    def part(self, name: str) -> Locator:
        return self.page.locator(f'#duplex-arena [data-part="{name}"]')

    def in_panel(self, system: str, selector: str) -> Locator:
        return self.part(f"panel-{system}").locator(selector)

    def answer(self, system: str) -> Locator:
        """The last answer that a person sees in a panel."""
        return self.in_panel(system, ".da-answer-line").last

    def open(self, url: str) -> Arena:
        self.page.goto(url)
        expect(self.part("connection")).to_have_text("connected")
        return self

    def type(self, text: str) -> None:
        """Real key presses, at the pace of a quick person."""
        self.part("box").press_sequentially(text, delay=40)

    def wait_for(self, what: str, true: Callable[[dict[str, Any]], bool], seconds: float = 30) -> dict[str, Any]:
        """The first event from the server, past or to come, for which `true` holds."""

        def found() -> bool:
            self.page.evaluate("0")  # lets Playwright hand over what has arrived
            return any(map(true, self.events))

        eventually(found, f"{what} among {[e['type'] for e in self.events]}", seconds)
        return next(filter(true, self.events))

    def of(self, kind: str, system: str = "duplex") -> list[dict[str, Any]]:
        self.page.evaluate("0")
        return [e for e in self.events if e["type"] == kind and e.get("system") == system]

    @property
    def session(self) -> str:
        """Id of the newest session."""
        return str([e["session"]["id"] for e in self.events if e["type"] == "session.created"][-1])


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[..., Arena]]:
    """Opens a page with options of a browser context; each has its own cookies and storage."""
    contexts = []

    def new(**options: Any) -> Arena:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        return Arena(context.new_page())

    yield new
    for context in contexts:
        context.close()


@pytest.fixture
def arena(new_page: Callable[..., Arena], served: Served) -> Iterator[Arena]:
    """The page, connected. Afterwards: nothing went wrong in it, and nothing left this machine."""
    arena = new_page().open(served.url)
    yield arena
    assert not arena.problems
    assert {urlsplit(url).hostname for url in arena.urls} == {"127.0.0.1"}
    assert {urlsplit(url).port for url in arena.urls} == {served.port}


@pytest.fixture
def data(served: Served) -> Path:
    return Path(served.arena.settings.data)
