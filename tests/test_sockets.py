import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import webapp.outbox
import webapp.sockets
from tests.web_fakes import PATIENCE
from webapp.outbox import Outbox
from webapp.sockets import BROKEN, ELSEWHERE, LONG, LOST, OVER, RULES, SLOW, Line, close


class Pipe:
    """A socket with the test at its other end. `stuck`: it takes nothing more; `gone`: sending fails."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.closed: int | None = None
        self.stuck = self.gone = False

    async def receive(self) -> dict[str, Any]:
        return await self.inbox.get()

    async def send_text(self, text: str) -> None:
        if self.gone:
            raise RuntimeError("the client has left")
        if self.stuck:
            await asyncio.Event().wait()
        self.sent.append(json.loads(text))

    async def close(self, code: int) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        self.closed = code

    def says(self, text: str) -> None:
        self.inbox.put_nowait({"type": "websocket.receive", "text": text})

    def leaves(self, code: int = OVER) -> None:
        self.inbox.put_nowait({"type": "websocket.disconnect", "code": code})


class Heard:
    """Takes what a client says; `answers` are the close codes that it gives."""

    def __init__(self, **answers: Any) -> None:
        self.texts: list[str] = []
        self.answers = answers

    async def __call__(self, text: str) -> int | None:
        self.texts.append(text)
        answer: int | None = self.answers.get(text)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.001)


def run(talk: Callable[[Pipe, Outbox], Coroutine[Any, Any, None]]) -> tuple[Pipe, Outbox]:
    pipe, outbox = Pipe(), Outbox()

    async def all_of_it() -> None:
        async with asyncio.timeout(PATIENCE):
            await talk(pipe, outbox)

    asyncio.run(all_of_it())
    return pipe, outbox


def numbers(pipe: Pipe) -> list[str]:
    return [event["event_id"].removeprefix("event_") for event in pipe.sent if "event_id" in event]


def line_of(pipe: Pipe, outbox: Outbox, heard: Any = None, **more: Any) -> Line:
    return Line(pipe, outbox, heard or Heard(), **more)  # type: ignore[arg-type]


def test_it_sends_what_is_there_and_what_comes_and_reads_meanwhile() -> None:
    heard = Heard()

    async def talk(pipe: Pipe, outbox: Outbox) -> None:
        outbox.add({"type": "t"})
        line = line_of(pipe, outbox, heard)
        running = asyncio.create_task(line.run())
        await until(lambda: numbers(pipe) == ["1"])
        outbox.add({"type": "t"})
        line.news()
        pipe.says("hello")
        pipe.inbox.put_nowait({"type": "websocket.receive", "bytes": b"caf\xc3\xa9 \xff"})
        await until(lambda: numbers(pipe) == ["1", "2"] and len(heard.texts) == 2)
        pipe.leaves(1001)
        assert await running == 1001

    run(talk)
    assert heard.texts == ["hello", "café \ufffd"]


def test_it_goes_on_after_what_the_client_has_and_says_something_first() -> None:
    async def talk(pipe: Pipe, outbox: Outbox) -> None:
        for _ in range(5):
            outbox.add({"type": "t"})
        running = asyncio.create_task(line_of(pipe, outbox, after=3, first={"type": "session.resumed"}).run())
        await until(lambda: len(pipe.sent) == 3)
        pipe.leaves()
        assert await running == OVER

    pipe, _ = run(talk)
    assert pipe.sent[0] == {"type": "session.resumed"}
    assert numbers(pipe) == ["4", "5"]


@pytest.mark.parametrize("code", [RULES, LONG])
def test_who_breaks_the_rules_is_told_why_and_closed(code: int) -> None:
    heard = Heard(bad=code)

    async def talk(pipe: Pipe, outbox: Outbox) -> None:
        running = asyncio.create_task(line_of(pipe, outbox, heard).run())
        outbox.add({"type": "error"})
        pipe.says("bad")
        pipe.says("more")
        assert await running == code

    pipe, _ = run(talk)
    assert (pipe.closed, numbers(pipe), heard.texts) == (code, ["1"], ["bad"])


def test_the_session_may_end_it_and_the_last_words_are_sent() -> None:
    async def talk(pipe: Pipe, outbox: Outbox) -> None:
        line = line_of(pipe, outbox)
        running = asyncio.create_task(line.run())
        await asyncio.sleep(0)
        outbox.add({"type": "duplex.ended"})
        line.end(OVER)
        line.end(ELSEWHERE)  # too late
        assert await running == OVER

    pipe, _ = run(talk)
    assert (pipe.closed, numbers(pipe)) == (OVER, ["1"])


def test_when_another_takes_its_place_nothing_more_is_read_or_sent() -> None:
    heard = Heard()

    async def talk(pipe: Pipe, outbox: Outbox) -> None:
        line = line_of(pipe, outbox, heard)
        running = asyncio.create_task(line.run())
        await asyncio.sleep(0)
        line.end(ELSEWHERE)
        assert await running == ELSEWHERE
        outbox.add({"type": "t"})
        pipe.says("late")

    pipe, _ = run(talk)
    assert (pipe.closed, pipe.sent, heard.texts) == (ELSEWHERE, [], [])


@pytest.mark.parametrize("size", [0, 10_000])
def test_a_client_that_does_not_read_is_cut_off_while_all_is_kept(size: int) -> None:
    """By the number of events or by their bytes, and even if the socket cannot be closed."""

    async def talk(pipe: Pipe, outbox: Outbox) -> None:
        pipe.stuck = True
        line = line_of(pipe, outbox)
        running = asyncio.create_task(line.run())
        await asyncio.sleep(0)
        while not running.done():
            outbox.add({"type": "t", "delta": "x" * size})
            line.news()
            if outbox.last > webapp.sockets.SLOW_EVENTS or outbox.waiting(0)[1] > webapp.sockets.SLOW_BYTES:
                break
        assert await running == SLOW
        assert outbox.holds(0)
        assert line.sent == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webapp.sockets, "CLOSE_SECONDS", 0.01)
        run(talk)


def test_the_outbox_has_room_beyond_that() -> None:
    assert webapp.outbox.MAX_EVENTS >= webapp.sockets.SLOW_EVENTS + 1000
    assert webapp.outbox.MAX_BYTES >= webapp.sockets.SLOW_BYTES + 2_000_000


def test_one_event_that_cannot_leave_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp.sockets, "STUCK_SECONDS", 0.02)
    monkeypatch.setattr(webapp.sockets, "CLOSE_SECONDS", 0.01)

    async def talk(pipe: Pipe, outbox: Outbox) -> None:
        pipe.stuck = True
        outbox.add({"type": "t"})
        assert await line_of(pipe, outbox).run() == SLOW

    run(talk)


def test_what_was_said_before_the_connection_broke_is_heard() -> None:
    heard = Heard()

    async def talk(pipe: Pipe, outbox: Outbox) -> None:
        pipe.gone = True
        outbox.add({"type": "t"})
        running = asyncio.create_task(line_of(pipe, outbox, heard).run())
        for _ in range(5):
            await asyncio.sleep(0)
        pipe.says("the last thing")
        pipe.leaves(OVER)
        assert await running == OVER  # a goodbye, though the sender found the socket closed first

    run(talk)
    assert heard.texts == ["the last thing"]


def test_a_socket_that_fails_without_a_word_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp.sockets, "CLOSE_SECONDS", 0.01)

    async def talk(pipe: Pipe, outbox: Outbox) -> None:
        pipe.gone = True
        outbox.add({"type": "t"})
        assert await line_of(pipe, outbox).run() == LOST

    run(talk)


def test_a_fault_of_ours_ends_it_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def talk(pipe: Pipe, outbox: Outbox) -> None:
        running = asyncio.create_task(line_of(pipe, outbox, Heard(boom=ZeroDivisionError("ours"))).run())
        pipe.says("boom")
        assert await running == BROKEN

    pipe, _ = run(talk)
    assert pipe.closed == BROKEN
    assert "ZeroDivisionError" in caplog.text


def test_closing_one_that_is_gone_is_no_error() -> None:
    async def talk(pipe: Pipe, outbox: Outbox) -> None:
        pipe.gone = True
        await close(pipe, OVER, {"type": "error"})  # type: ignore[arg-type]
        assert pipe.closed is None

    run(talk)
