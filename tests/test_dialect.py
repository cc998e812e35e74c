"""The translated socket alone: a client on one side, our server's calls on the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.websockets import WebSocket

from webapp.dialect import Relay, Translated
from webapp.wire import MAX_BYTES


class Shouting:
    """A dialect: the client's texts are our events in capitals, one for each letter, and the other way round."""

    wait_seconds: float | None = None

    def opening(self) -> tuple[dict[str, Any], ...]:
        return ({"type": "opening"},)

    def inward(self, text: str) -> Relay:
        if text == "BYE":
            return Relay(leaves=True)
        if text == "?":
            return Relay(client=("what?",), refused=True)
        return Relay(tuple({"type": letter} for letter in text.lower()), (f"heard {text}",))

    def outward(self, event: dict[str, Any]) -> Relay:
        self.wait_seconds = 0.01 if event["type"] == "wait" else None
        return Relay(client=(event["type"].upper(),))

    def waited(self) -> Relay:
        self.wait_seconds = None
        return Relay(({"type": "waited"},), ("WAITED",))


class Wire:
    """The client's end: `said` is what it says, then it leaves; `told` is what it got."""

    def __init__(self, said: Sequence[str], code: int = 1006, protocols: Sequence[str] = ()) -> None:
        self._messages = [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": t} for t in said)]
        self._last = {"type": "websocket.disconnect", "code": code}
        self.told: list[dict[str, Any]] = []
        self.stays = asyncio.Event()
        scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "subprotocols": list(protocols)}
        self.socket = WebSocket(scope, self._receive, self._send)

    async def _receive(self) -> Any:
        if self._messages:
            return self._messages.pop(0)
        await self.stays.wait()
        return self._last

    async def _send(self, message: Any) -> None:
        self.told.append(message)

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.told if message["type"] == "websocket.send"]


def run(talk: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await talk()

    asyncio.run(bounded())


async def heard(socket: WebSocket, count: int) -> list[str]:
    return [json.loads(await socket.receive_text())["type"] for _ in range(count)]


def test_both_sides_hear_their_own_language() -> None:
    async def talk() -> None:
        wire = Wire(["AB", "C"])
        async with Translated(wire.socket, Shouting()) as inner:
            await inner.accept()
            assert await heard(inner, 4) == ["opening", "a", "b", "c"]
            await inner.send_text('{"type": "hello"}')
        assert wire.texts == ["heard AB", "heard C", "HELLO"]

    run(talk)


def test_however_the_client_left_it_has_left_for_good() -> None:
    async def talk() -> None:
        wire = Wire([], code=1006)
        wire.stays.set()
        async with Translated(wire.socket, Shouting()) as inner:
            await inner.accept()
            await inner.receive()
            assert await inner.receive() == {"type": "websocket.disconnect", "code": 1000}

    run(talk)


def test_silence_of_the_server_is_noticed() -> None:
    async def talk() -> None:
        wire = Wire([])
        async with Translated(wire.socket, Shouting()) as inner:
            await inner.accept()
            await inner.send_text('{"type": "wait"}')
            assert await heard(inner, 2) == ["opening", "waited"]  # though the client said nothing
        assert wire.texts == ["WAIT", "WAITED"]

    run(talk)


def test_who_goes_on_in_another_session_is_not_told_of_this_one() -> None:
    async def talk() -> None:
        wire = Wire(["BYE", "A"])
        await wire.socket.accept()
        wire.told.clear()
        async with Translated(wire.socket, Shouting(), accepted=True) as inner:
            await inner.accept()
            await inner.receive()
            assert (await inner.receive())["type"] == "websocket.disconnect"
            await inner.send_text('{"type": "late"}')
            await inner.close(1000)
        assert wire.told == []
        async with Translated(wire.socket, Shouting(), accepted=True) as inner:
            await inner.accept()
            assert await heard(inner, 2) == ["opening", "a"]

    run(talk)


def test_a_client_of_ours_is_left_alone() -> None:
    async def talk() -> None:
        wire = Wire(['{"type": "mine"}', "more"], code=1006)
        wire.stays.set()
        async with Translated(wire.socket, choose=lambda first: None) as inner:
            await inner.accept()
            assert [await inner.receive_text(), await inner.receive_text()] == ['{"type": "mine"}', "more"]
            await inner.send_text("as it is")
            assert (await inner.receive())["code"] == 1006  # it may come back
        assert wire.texts == ["as it is"]

    run(talk)


def test_the_first_message_may_choose_the_language() -> None:
    async def talk() -> None:
        wire = Wire(["AB"])
        async with Translated(wire.socket, choose=lambda first: Shouting() if first == "AB" else None) as inner:
            await inner.accept()
            assert await heard(inner, 3) == ["opening", "a", "b"]

    run(talk)


def test_what_is_too_long_the_server_refuses_itself() -> None:
    async def talk() -> None:
        wire = Wire(["A" * (MAX_BYTES + 1)])
        async with Translated(wire.socket, Shouting()) as inner:
            await inner.accept()
            await inner.receive()
            assert len(await inner.receive_text()) == MAX_BYTES + 1

    run(talk)


def test_a_browser_gets_the_subprotocol_that_it_asks_for() -> None:
    async def talk() -> None:
        for protocols, chosen in ((["realtime", "openai-insecure-api-key.none"], "realtime"), (["other"], None)):
            wire = Wire([], protocols=protocols)
            async with Translated(wire.socket, Shouting()) as inner:
                await inner.accept()
            assert wire.told[0]["subprotocol"] == chosen

    run(talk)


def test_a_reader_that_is_cut_short_loses_nothing() -> None:
    """As in the queue for a place: somebody listens for a while, then somebody else."""

    async def talk() -> None:
        wire = Wire([])
        async with Translated(wire.socket, Shouting()) as inner:
            await inner.accept()
            await inner.receive()
            first = asyncio.create_task(inner.receive_text())
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            wire._last = {"type": "websocket.receive", "text": "AB"}
            wire.stays.set()
            assert await heard(inner, 2) == ["a", "b"]

    run(talk)


def test_a_client_that_goes_on_breaking_the_rules_is_closed() -> None:
    async def talk() -> None:
        wire = Wire(["?"] * 200)
        async with Translated(wire.socket, Shouting()) as inner:
            await inner.accept()
            await inner.receive()
            assert await inner.receive() == {"type": "websocket.disconnect", "code": 1008}
        assert wire.told[-1] == {"type": "websocket.close", "code": 1008, "reason": ""}
        assert 50 <= len(wire.texts) < 60

    run(talk)
