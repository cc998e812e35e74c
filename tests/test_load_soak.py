"""The soak: capacity first, then people who stay, and memory that is measured meanwhile."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_fakes import FakeModels, Place
from websockets.asyncio.server import serve

from duplex_runtime.evaluation.scenarios import parse_scenario
from webapp.load import meter, soak
from webapp.load.meter import Meter
from webapp.load.server import Server

SHORT = parse_scenario("short.txt", ["situation  smooth", "pace  fast", "0.1 s  turn  hello."])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path, FakeModels())
    yield place
    place.close()


def state(monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    async def told(_: Server) -> dict[str, Any]:
        return {"sessions": 1, "strain": 0, "places": None} | values

    monkeypatch.setattr(Server, "state", told)


def test_people_stay_at_eighty_percent_of_the_places(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "RAMP_SECONDS", 0.1)
    monkeypatch.setattr(meter, "SAMPLE_SECONDS", 0.1)
    monkeypatch.setattr(soak, "typable", lambda: (SHORT,))
    state(monkeypatch, places=5)
    told: list[str] = []
    found = asyncio.run(soak.soak(Server(place.served.port, os.getpid()), 0.05, 0, told.append))
    assert told == ["the server has places for 5"]
    assert (found["capacity"], found["people"], found["failures"]) == (5, 4, 0)
    assert found["opened"] == 4 and found["slices"] > 0 and found["p99_over_half_period"] < 1
    assert isinstance(found["bytes_per_minute"], int) and found["generator_cores"] > 0


def test_who_fails_is_counted_and_another_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "RAMP_SECONDS", 0.0)
    monkeypatch.setattr(soak, "AGAIN_SECONDS", 0.1)
    state(monkeypatch, places=1)

    async def script(socket: Any) -> None:
        await socket.send(json.dumps({"type": "session.created", "session": {"id": "s"}, "at": 0.0}))
        await socket.send(json.dumps({"type": "error", "error": {"code": "internal", "message": "oh"}}))
        await socket.wait_closed()

    async def both() -> dict[str, Any]:
        async with serve(script, "127.0.0.1", 0) as listening:
            server = Server(listening.sockets[0].getsockname()[1], os.getpid())
            return await soak.soak(server, 0.01, 0, lambda text: None)

    found = asyncio.run(both())
    assert found["failures"] >= 2 and found["why"] == {"error internal": found["failures"]}


@pytest.mark.parametrize(
    ("breaks", "capacity"),
    [({"p99_over_half_period": 1.2}, 8), ({"failed": 1}, 8), ({"strain": 1}, 8), ({"never_in": 2}, 8), ({}, 64)],
)
def test_where_the_server_does_not_say_people_climb_a_stair(
    monkeypatch: pytest.MonkeyPatch, breaks: dict[str, Any], capacity: int
) -> None:
    state(monkeypatch)

    async def load(server: Server, people: int, ramp: float, seconds: float, seed: int) -> dict[str, Any]:
        good = {"p99_over_half_period": 0.1, "failed": 0, "strain": 0, "never_in": 0}
        return good | (breaks if people > 8 else {})

    monkeypatch.setattr(soak, "load", load)
    told: list[str] = []
    assert asyncio.run(soak.capacity_of(Server(9, os.getpid()), 0, told.append)) == capacity
    assert told[0].startswith("4 people: p99 of a slice is 0.1")


def test_memory_is_judged_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Meter(Server(9, os.getpid()))
    measured.memory = [(float(second), 5e6 * min(second, 30) + 1000 * second) for second in range(91)]
    assert measured.bytes_per_minute() == 60_000
    measured.memory = []
    assert measured.bytes_per_minute() is None


def test_each_minute_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "MINUTE_SECONDS", 0.05)
    told: list[str] = []

    async def watch() -> None:
        measured = Meter(Server(9, os.getpid()))
        measured.memory, measured.late = [(0.0, 2e6)], [(0.5, 2.0)]
        seen = [soak.Seen(opened=True), soak.Seen(opened=True, failed="cut"), soak.Seen(failed="full")]
        telling = asyncio.create_task(soak._tell_each_minute(measured, seen, told.append))
        while len(told) < 2:
            await asyncio.sleep(0.01)
        telling.cancel()

    asyncio.run(watch())
    assert told[0] == "minute   1: 1 talk, 1 slices, p99 0.500 of half a period, 2.0 MB, 2 failures"
    assert told[1] == "minute   2: 1 talk, 0 slices, p99 – of half a period, 2.0 MB, 2 failures"
