"""The page over a bad network: late, and cut in the middle of an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

import webapp.realtime
from tests.proxy import Proxy
from tests.web_fakes import Served, eventually

pytestmark = pytest.mark.e2e

DELAY_SECONDS = 0.05


@pytest.fixture
def network(served: Served) -> Iterator[Proxy]:
    with Proxy(served.port, DELAY_SECONDS) as proxy:
        yield proxy


@pytest.fixture
def arena(new_page: Callable[..., Any], network: Proxy) -> Iterator[Any]:
    arena = new_page().open(f"http://127.0.0.1:{network.port}")
    yield arena
    assert not [problem for problem in arena.problems if "WebSocket connection" not in problem]


def numbers(arena: Any) -> list[int]:
    return [int(e["event_id"].removeprefix("event_")) for e in arena.events if "event_id" in e]


def talks(served: Served) -> set[str]:
    """The sessions that the server holds, with a client or without."""
    return {session.id for session in list(served.arena._sessions.values())}


def said(arena: Any) -> str:
    """What the duplex model answered, without what it took back: by the server's events."""
    text = ""
    for event in arena.events:
        if event["type"] == "response.output_text.delta" and event["system"] == "duplex":
            text += event["delta"]
        elif event["type"] == "duplex.cut" and event["system"] == "duplex":
            text = text.removesuffix(event["unheard"])
    return " ".join(text.split())


def shown(arena: Any) -> str:
    """The same as the page shows it."""
    lines = arena.in_panel("duplex", ".da-answer-line").evaluate_all(
        "lines => lines.map((line) => [...line.children].filter((e) => e.tagName !== 'S').map((e) => e.textContent))"
    )
    return " ".join(" ".join("".join(line) for line in lines).split())


def is_back(arena: Any) -> None:
    arena.wait_for("the session", lambda e: e["type"] == "session.resumed")
    expect(arena.part("banner-text")).to_contain_text("goes on")
    expect(arena.part("connection")).to_have_text("connected")


def test_an_answer_that_is_cut_in_the_middle_goes_on_with_every_word_once(arena: Any, network: Proxy) -> None:
    arena.type("tell me about volcanoes. ")
    arena.wait_for("its answer", lambda e: e["type"] == "response.output_text.delta" and e["system"] == "duplex")
    session = arena.session
    assert network.cut() >= 1
    network.down = True
    expect(arena.part("banner-text")).to_contain_text("Connection lost")
    expect(arena.part("connection")).to_have_text("not connected")
    arena.type("ok ")  # a backchannel, while nobody hears it
    expect(arena.part("box")).to_have_value("ok ")
    network.down = False
    is_back(arena)
    arena.wait_for("the words", lambda e: e["type"] == "duplex.slice" and e["user"] == "ok")
    done = arena.wait_for("the end", lambda e: e["type"] == "response.done" and e["system"] == "duplex")
    assert done["status"] == "completed"
    assert arena.session == session, "the same talk"
    assert numbers(arena) == list(range(1, numbers(arena)[-1] + 1))
    assert "olcano" in said(arena)
    eventually(lambda: shown(arena) == said(arena), f"all of {said(arena)!r} is shown")
    expect(arena.part("said-text")).to_have_text("tell me about volcanoes. ok")


def test_what_is_typed_through_ten_cuts_is_heard_once(arena: Any, network: Proxy) -> None:
    words = [f"word{i}" for i in range(10)]
    for word in words:
        arena.part("box").press_sequentially(f"{word} ", delay=5)
        network.cut()
    arena.type("stop. ")

    def heard() -> str:
        """Letters only: a pause of the network in the middle of a word may end a slice there."""
        return "".join(e["user"] for e in arena.of("duplex.slice")).replace(" ", "")

    eventually(lambda: heard().endswith("stop."), "everything is heard", 60)
    assert heard() == "".join([*words, "stop."])
    assert numbers(arena) == list(range(1, numbers(arena)[-1] + 1))
    expect(arena.part("box")).to_have_value("")


def test_a_talk_that_ended_meanwhile_stays_to_be_read_and_another_is_offered(
    arena: Any, network: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webapp.realtime, "RESUME_SECONDS", 0.1)
    arena.type("What is the capital of France?")
    expect(arena.answer("duplex")).to_contain_text("Paris")
    before = arena.session
    network.down = True
    network.cut()
    expect(arena.part("banner-text")).to_contain_text("Connection lost")
    arena.page.wait_for_timeout(500)  # longer than it is kept
    network.down = False
    expect(arena.part("banner-text")).to_contain_text("could not go on")
    expect(arena.answer("duplex")).to_contain_text("Paris")
    arena.type("hello.")
    eventually(lambda: bool(arena.of("duplex.slice")) and arena.session != before, "another talk")
    expect(arena.part("banner")).to_be_hidden()
    expect(arena.in_panel("duplex", ".da-answer-line").filter(has_text="Paris")).to_have_count(0)


def test_who_leaves_the_page_ends_the_talk_at_once(arena: Any, served: Served) -> None:
    arena.type("hello.")
    assert arena.session in talks(served)
    session = arena.session
    arena.page.goto("about:blank")
    eventually(lambda: session not in talks(served), "the talk is over", webapp.realtime.RESUME_SECONDS / 3)
