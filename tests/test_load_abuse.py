"""Fuzz, crowd and sessions against real servers with small numbers, and what of them is wrong."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_fakes import FakeModels, Place
from websockets.asyncio.server import serve

from webapp.load import abuse, fuzz, kills, places, sessions
from webapp.load.people import Seen
from webapp.load.server import Server


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(kills, "QUIET_SECONDS", 0.5)
    monkeypatch.setattr(kills, "QUESTION_SECONDS", (0.0, 0.2))
    place = Place(tmp_path, FakeModels())
    yield place
    place.close()


def seen_as_server(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """This process as the server under load."""
    log = tmp_path / "server.log"
    log.write_text("")

    async def state(_: Server) -> dict[str, Any]:
        held = await asyncio.to_thread(place.served.sessions)
        return {"sessions": held // 2, "strain": 0, "places": 4}

    async def slices(_: Server) -> list[tuple[float, float]]:
        return [(0.1, 2.0)]

    monkeypatch.setattr(Server, "state", state)
    monkeypatch.setattr(Server, "slices", slices)
    return Server(place.served.port, os.getpid(), place.settings.data, log)


# — fuzz —


def test_a_real_server_stands_what_no_client_should_send(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = seen_as_server(place, monkeypatch, tmp_path)
    monkeypatch.setattr(fuzz, "STAY_SECONDS", 2.0)
    monkeypatch.setattr(fuzz, "REST_SECONDS", 0.2)
    found = asyncio.run(fuzz.run(server, 400, 1))
    assert found["fuzz_crashes"] == 0, found["fuzz_why"]
    assert found["messages"] >= 400 and found["connections"] > 5
    assert found["bystander_texts"] > 0 and found["bystander_events"] > 3
    assert len(found["fuzz_rest_mb"]) == fuzz.WAVES


def test_everything_that_looks_like_a_crash_is_counted(tmp_path: Path) -> None:
    """A server that closes with 1011, and tells of an internal error."""

    async def script(socket: Any) -> None:
        await socket.send(json.dumps({"type": "error", "error": {"code": "internal", "message": "oh"}}))
        await socket.recv()
        await socket.close(1011)

    log = tmp_path / "server.log"
    log.write_text('Traceback (most recent call last):\n  File "x"\nKeyError: 1\n')

    async def both() -> fuzz.Fuzzed:
        async with serve(script, "127.0.0.1", 0) as listening:
            server = Server(listening.sockets[0].getsockname()[1], os.getpid(), None, log)
            fuzzed = fuzz.Fuzzed()
            await fuzz._connections(server, fuzzed, 5, fuzz.Random(0))
            bystander = fuzz.Traveller(server.ws)
            bystander.failed = "error internal"
            await fuzz._judge(server, fuzzed, bystander, [fuzz.Seen(failed="error internal")])
            return fuzzed

    problems = asyncio.run(both()).problems
    assert problems["closed with 1011"] >= 1
    assert problems['error "code": "internal"'] >= 1
    assert problems["traceback: KeyError: 1"] == 1
    assert problems["the bystander was disturbed: error internal"] == 1
    assert problems["a person who talked was disturbed: error internal"] == 1


def test_a_server_that_has_ended_is_a_crash() -> None:
    async def script(socket: Any) -> None:
        async for _ in socket:
            pass

    async def both() -> fuzz.Fuzzed:
        async with serve(script, "127.0.0.1", 0) as listening:
            server = Server(listening.sockets[0].getsockname()[1], 2**22 + 1)  # no process has that number
            fuzzed = fuzz.Fuzzed()
            await fuzz._connections(server, fuzzed, 10**6, fuzz.Random(0))
            return fuzzed

    assert asyncio.run(both()).problems == {"the server's process ended": 1}


def test_a_server_that_takes_nothing_any_more_is_a_crash() -> None:
    async def script(socket: Any) -> None:
        await socket.close(1013)

    async def both() -> fuzz.Fuzzed:
        async with serve(script, "127.0.0.1", 0) as listening:
            fuzzed = fuzz.Fuzzed()
            server = Server(listening.sockets[0].getsockname()[1], os.getpid())
            await fuzz._connections(server, fuzzed, 10**6, fuzz.Random(0))
            return fuzzed

    assert asyncio.run(both()).problems == {"the server takes nothing any more": 1}


# — a crowd —


def test_who_is_late_and_who_saw_no_place() -> None:
    inside = Seen(opened=True, waited=0.1, slices=[(0.1, 2.0)] * 50)
    behind = Seen(opened=True, waited=0.1, slices=[(0.1, 2.0)] * 50 + [(1.1, 2.0)])
    in_later = Seen(opened=True, waited=20.0, told_after=0.2, positions=[2, 1], slices=[(0.1, 2.0)])
    waiting = Seen(told_after=0.2, positions=[2, 2])
    told_late = Seen(told_after=9.0, positions=[2])
    sent_away = Seen(failed="not let in: full")
    assert places.late([inside, in_later, waiting]) == 0
    assert places.late([inside, behind]) == 1
    assert places.unseen([inside, in_later, waiting]) == 0
    assert places.unseen([waiting, told_late, sent_away]) == 2


def test_a_crowd_at_a_server_with_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two places, four people: the first two are let in, the others told where they stand."""
    monkeypatch.setattr(places, "RAMP_SECONDS", 0.2)
    monkeypatch.setattr(places, "TOLD_SECONDS", 0.3)
    inside = 0

    async def script(socket: Any) -> None:
        nonlocal inside
        inside += 1
        if inside > 2:
            event = {"type": "duplex.queue", "position": inside - 2, "waiting": 2, "estimate_seconds": None}
        else:
            event = {"type": "session.created", "session": {"id": "s"}, "at": 0.0, "event_id": "event_1"}
        await socket.send(json.dumps(event))
        await socket.wait_closed()

    async def both() -> dict[str, Any]:
        async with serve(script, "127.0.0.1", 0) as listening:
            server = Server(listening.sockets[0].getsockname()[1], os.getpid())
            return await places.run(server, 2, 0.5, 0)

    found = asyncio.run(both())
    assert (found["crowd"], found["crowd_in"], found["crowd_queued"]) == (4, 2, 2)
    assert (found["crowd_late"], found["crowd_unseen"], found["crowd_failed"]) == (0, 0, 0)


# — sessions —


def test_sessions_come_and_go(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sessions, "STAY_SECONDS", 0.1)
    server = seen_as_server(place, monkeypatch, tmp_path)
    found = asyncio.run(sessions.run(server, 24, 0))
    assert (found["sessions"], found["session_failures"], found["sessions_left"]) == (24, 0, 0), found


def test_a_session_that_is_refused_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(socket: Any) -> None:
        await socket.send(json.dumps({"type": "error", "error": {"code": "busy", "message": "no"}}))
        await socket.close()

    async def both() -> dict[str, Any]:
        async with serve(script, "127.0.0.1", 0) as listening:
            return await sessions.run(Server(listening.sockets[0].getsockname()[1], os.getpid()), 6, 0)

    found = asyncio.run(both())
    assert found["session_failures"] == 6 and found["session_why"] == {"not let in: busy": 6}
    assert found["sessions_left"] is None


# — together —


def test_what_has_to_be_zero_is_named_where_it_is_not() -> None:
    good = dict.fromkeys(abuse.ZERO, 0) | {"fuzz_tracebacks": 0, "messages": 100, "fuzz_bytes_per_1000": 5}
    assert abuse.wrong(good) == []
    assert abuse.wrong(good | {"lost": 1, "fuzz_tracebacks": 2}) == ["lost", "fuzz_tracebacks"]
    assert abuse.wrong({"sessions": 3}) == []
