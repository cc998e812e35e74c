"""Cuts on a bad network: what is compared, and a real server that loses nothing."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from web_fakes import FakeModels, Place
from websockets.asyncio.server import serve

from webapp.load import kills
from webapp.load.kills import compare, differences
from webapp.load.traveller import Traveller


def line(kind: str, system: str = "duplex", **values: Any) -> str:
    return json.dumps({"kind": kind, "system": system, **values})


def travelled(sent: str, received: list[dict[str, Any]]) -> Traveller:
    traveller = Traveller("ws://127.0.0.1:9")
    traveller.sent = [{"type": "duplex.input.edit", "delete": 0, "insert": word} for word in sent.split()]
    traveller.sent.append({"type": "duplex.input.enter"})
    traveller.received = received
    return traveller


def delta(text: str, number: int | None = None) -> dict[str, Any]:
    event = {"type": "response.output_text.delta", "system": "duplex", "delta": text}
    return event if number is None else event | {"event_id": f"event_{number}"}


def recording(words: str, said: str) -> str:
    typed = [line("input", at=1.0, text=word) for word in words.split()] + [line("input", at=2.0, enter=True)]
    return "\n".join(
        [line("header", format=1), *typed, line("input", at=2.0, pace=1), line("due", at=2.1)]
        + [line("event", event=delta(word)) for word in said.split()]
    )


def test_nothing_is_lost_or_doubled_where_both_are_the_same() -> None:
    found = compare(recording("a b c", "x y"), travelled("a b c", [delta("x", 1), delta("y", 2)]), ["duplex"])
    assert (found.texts, found.events) == (4, 2)
    assert (found.lost_texts, found.doubled_texts, found.lost_events, found.doubled_events) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("words", "said", "wrong"),
    [
        ("a c", "x y", (1, 0, 0, 0)),
        ("a b b c", "x y", (0, 1, 0, 0)),
        ("a b c", "x z y", (0, 0, 1, 0)),
        ("a b c", "y", (0, 0, 0, 1)),
        ("", "x y", (3, 0, 0, 0)),
    ],
)
def test_what_is_missing_or_comes_twice_is_counted(words: str, said: str, wrong: tuple[int, ...]) -> None:
    found = compare(recording(words, said), travelled("a b c", [delta("x", 1), delta("y", 2)]), ["duplex"])
    assert (found.lost_texts, found.doubled_texts, found.lost_events, found.doubled_events) == wrong


def test_the_order_counts() -> None:
    assert differences(["a", "b", "c"], ["a", "c", "b"]) == (1, 1)


def test_numbers_that_are_left_out_or_come_again_are_counted() -> None:
    """A server that forgets event 3 and tells event 2 twice."""

    async def script(socket: Any) -> None:
        await socket.recv()
        session = {"id": "s", "resume": {"token": "t", "seconds": 30}}
        events = [{"type": "session.created", "session": session, "at": 0.0}, *map(delta, "abcd")]
        for number in (1, 2, 2, 4):
            await socket.send(json.dumps(events[number - 1] | {"event_id": f"event_{number}"}))
        await socket.wait_closed()

    async def both() -> Traveller:
        async with serve(script, "127.0.0.1", 0) as server:
            traveller = Traveller(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            going = asyncio.create_task(traveller.go())
            await traveller.began()
            while len(traveller.received) < 3:
                await asyncio.sleep(0.01)
            await traveller.leave()
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            return traveller

    traveller = asyncio.run(both())
    assert (traveller.again, traveller.missed) == (1, 1)
    assert traveller.session == "s"


def test_after_a_cut_what_the_server_has_not_taken_is_sent_again() -> None:
    heard: list[tuple[str, list[int]]] = []

    async def script(socket: Any) -> None:
        seqs: list[int] = []
        heard.append((socket.request.path, seqs))
        if len(heard) == 1:
            await socket.recv()
            session = {"id": "s", "resume": {"token": "t", "seconds": 30}}
            created = {"type": "session.created", "session": session, "at": 0.0, "event_id": "event_1"}
            await socket.send(json.dumps(created))
            for _ in range(3):
                seqs.append(json.loads(await socket.recv())["seq"])
            socket.transport.abort()
            return
        await socket.send(json.dumps({"type": "session.resumed", "session": {"id": "s"}, "received": 2}))
        async for message in socket:
            seqs.append(json.loads(message)["seq"])

    async def both() -> Traveller:
        async with serve(script, "127.0.0.1", 0) as server:
            traveller = Traveller(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            going = asyncio.create_task(traveller.go())
            await traveller.began()
            for _ in range(5):
                await traveller.say({"type": "duplex.input.enter"})
            while len(heard) < 2 or len(heard[1][1]) < 3:
                await asyncio.sleep(0.01)
            await traveller.leave()
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            return traveller

    traveller = asyncio.run(both())
    assert heard[0] == ("/", [1, 2, 3])
    assert heard[1] == ("/?resume=t&after=1", [3, 4, 5])
    assert traveller.resumed == 1 and not traveller.failed


def test_who_cannot_resume_gives_up() -> None:
    async def script(socket: Any) -> None:
        await socket.send(json.dumps({"type": "error", "error": {"code": "cannot_resume", "message": "no"}}))
        await socket.close(4404)

    async def both() -> Traveller:
        async with serve(script, "127.0.0.1", 0) as server:
            traveller = Traveller(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await asyncio.wait_for(traveller.go(), 20)
            return traveller

    assert "cannot_resume" in asyncio.run(both()).failed


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path, FakeModels())
    yield place
    place.close()


def test_a_real_server_loses_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "DELAY_SECONDS", 0.01)
    monkeypatch.setattr(kills, "BETWEEN_SECONDS", (0.0, 0.3))
    monkeypatch.setattr(kills, "WORD_SECONDS", (0.0, 0.05))
    monkeypatch.setattr(kills, "QUESTION_SECONDS", (0.0, 0.1))
    monkeypatch.setattr(kills, "QUIET_SECONDS", 0.3)
    monkeypatch.setattr(kills, "QUESTIONS", ("hello.", "goodbye.", "how are you?"))
    found = asyncio.run(kills.run(place.served.port, place.settings.data / "recordings", 12, 0, people=3))
    assert found["kills"] >= 12 and found["resumed"] >= 6
    assert found["texts"] > 20 and found["events"] > 20
    assert (found["lost"], found["doubled"], found["not_resumed"]) == (0, 0, 0), found


def test_a_recording_that_misses_a_text_is_found_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison sees it in the recording of a real session."""

    async def talk() -> Traveller:
        traveller = Traveller(place.served.ws, Random(0))
        going = asyncio.create_task(traveller.go())
        await traveller.began()
        for word in ("hello.", "goodbye."):
            await traveller.say({"type": "duplex.input.edit", "delete": 0, "insert": word})
        monkeypatch.setattr(kills, "QUIET_SECONDS", 0.5)
        await kills.quiet(traveller)
        await traveller.leave()
        await asyncio.wait_for(going, 10)  # who left does not come back
        assert not traveller.failed and traveller.connections == 1
        return traveller

    traveller = asyncio.run(talk())
    recordings = place.settings.data / "recordings"
    whole = asyncio.run(kills.compared_with(recordings, traveller))
    assert (whole.lost_texts, whole.lost_events, whole.doubled_events) == (0, 0, 0) and whole.events > 3
    path = place.log(traveller.session)
    path.write_text(path.read_text().replace('"text": "goodbye."', '"text": "good"'))
    assert asyncio.run(kills.compared_with(recordings, traveller)).lost_texts == 1
