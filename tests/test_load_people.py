"""Simulated people at a real server with models that answer at once, and what is made of what they saw."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from web_fakes import FakeModels, Place
from websockets.asyncio.server import serve

from duplex_runtime.errors import DuplexError
from duplex_runtime.evaluation.scenarios import Scenario, parse_scenario
from webapp.load import people
from webapp.load.people import Seen, Visitor, crowd, enter, troubles, typable
from webapp.load.talks import figures_of

SHORT = parse_scenario("short.txt", ["situation  smooth", "pace  fast", "0.1 s  turn  hello."])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path, FakeModels())
    yield place
    place.close()


def answered_by(script: Callable[[Any], Awaitable[None]], scenarios: tuple[Scenario, ...], seconds: float) -> Seen:
    """What one visitor sees at a server that does as the script says."""

    async def both() -> Seen:
        async with serve(script, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            (seen,) = await crowd(f"ws://127.0.0.1:{port}", 1, 0.0, seconds, 0, scenarios)
            return seen

    return asyncio.run(both())


async def said(socket: Any, *events: dict[str, Any]) -> None:
    for event in events:
        await socket.send(json.dumps(event))


def created(**session: Any) -> dict[str, Any]:
    return {"type": "session.created", "session": {"id": "s", **session}, "at": 0.0, "event_id": "event_1"}


def queue(position: int) -> dict[str, Any]:
    return {"type": "duplex.queue", "position": position, "waiting": 3, "estimate_seconds": 4}


def test_there_are_many_scenarios_that_can_be_typed() -> None:
    assert len(typable()) > 100
    assert all("keys" in scenario.ways for scenario in typable())


def test_people_ask_and_are_answered(place: Place) -> None:
    seen = asyncio.run(crowd(place.served.ws, 3, 0.2, 2.5, 0, [SHORT]))
    assert troubles(seen) == {}
    figures = figures_of(seen, [])
    assert figures["opened"] == 3 and figures["failed"] == 0
    assert figures["answered"] >= 3
    assert 0 < figures["reaction_s_p50"] < 2.0
    assert figures["slices"] >= 3 and 0 <= figures["late_s_p99"] < 1.0 and figures["share_ok"] == 1.0
    assert place.log(next(place.settings.data.glob("recordings/*.jsonl")).stem).read_text().count("input") >= 12


def test_keys_are_numbered_and_events_acknowledged() -> None:
    heard: list[dict[str, Any]] = []

    async def script(socket: Any) -> None:
        heard.append(json.loads(await socket.recv()))
        await said(socket, created())
        for number in range(2, 60):
            await said(socket, {"type": "duplex.ping", "event_id": f"event_{number}"})
        async for message in socket:
            heard.append(json.loads(message))

    answered_by(script, (SHORT,), 1.2)
    update, *rest = heard
    assert update["type"] == "session.update" and "seq" not in update
    typed = [event for event in rest if event["type"] != "duplex.ack"]
    assert [event["seq"] for event in typed] == list(range(1, len(typed) + 1))
    assert "".join(event["insert"] for event in typed) == "hello."
    assert [event["after"] for event in rest if event["type"] == "duplex.ack"] == [51]


def test_who_waits_writes_down_the_places_and_how_long() -> None:
    async def script(socket: Any) -> None:
        await said(socket, queue(2))
        await asyncio.sleep(0.1)
        await said(socket, queue(1), created())
        await socket.wait_closed()

    seen = answered_by(script, (SHORT,), 0.5)
    assert seen.positions == [2, 1] and seen.opened and not seen.failed
    assert seen.told_after is not None and seen.waited is not None
    assert seen.told_after < 0.1 <= seen.waited


def test_who_is_still_waiting_at_the_end_has_not_failed_if_they_knew_their_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def told(socket: Any) -> None:
        await said(socket, queue(2))
        await socket.wait_closed()

    async def silent(socket: Any) -> None:
        await socket.wait_closed()

    seen = answered_by(told, (SHORT,), 0.2)
    assert not seen.opened and not seen.failed
    assert not answered_by(silent, (SHORT,), 0.2).failed  # there was no time to tell them
    monkeypatch.setattr(people, "TOLD_SECONDS", 0.1)
    assert "told no place" in answered_by(silent, (SHORT,), 0.2).failed


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ({"type": "error", "error": {"code": "internal", "message": "oh"}}, "error internal"),
        ({"type": "duplex.ended", "why": "idle"}, "ended by the server: idle"),
        (None, "closed"),
    ],
)
def test_what_ends_a_talk_is_its_failure(last: dict[str, Any] | None, why: str) -> None:
    async def script(socket: Any) -> None:
        await said(socket, created())
        await socket.recv()
        if last:
            await said(socket, last)
            await socket.wait_closed()

    seen = answered_by(script, (SHORT,), 3.0)
    assert seen.opened and why in seen.failed


def test_who_is_refused_says_why() -> None:
    async def script(socket: Any) -> None:
        await said(socket, {"type": "error", "error": {"code": "full", "message": "no"}})

    assert answered_by(script, (SHORT,), 1.0).failed == "not let in: full"

    async def alone() -> None:
        with pytest.raises(OSError):
            await enter("ws://127.0.0.1:9")

    asyncio.run(alone())


def test_a_server_that_closes_at_once_let_nobody_in() -> None:
    async def script(socket: Any) -> None:
        await socket.close(4404)

    seen = answered_by(script, (SHORT,), 1.0)
    assert not seen.opened and "closed before the session began" in seen.failed


def test_slices_and_reactions_are_measured_from_what_arrives() -> None:
    """A slice that was closed at 0.5 s of the session, whose two words arrive 0.1 s apart."""

    async def script(socket: Any) -> None:
        await said(socket, created())
        text = ""
        async for message in socket:
            text += json.loads(message).get("insert", "")
            if text == "hello.":
                break
        delta = {"type": "response.output_text.delta", "system": "duplex", "response_id": "r1", "slice": 0, "at": 0.5}
        await said(socket, {"type": "duplex.slice", "system": "duplex", "index": 0, "at": 0.5, "user": "hello."})
        await asyncio.sleep(0.2)
        await said(socket, delta | {"delta": "hi"})
        await said(socket, {"type": "response.output_text.delta", "system": "turns", "delta": "no"})
        await asyncio.sleep(0.1)
        await said(socket, delta | {"delta": " you"}, {"type": "response.done", "system": "duplex"})
        await socket.wait_closed()

    seen = answered_by(script, (SHORT,), 2.5)
    assert len(seen.reactions) == 1 and 0.2 <= seen.reactions[0] < 0.6
    ((took, period),) = seen.slices
    assert 0.3 <= took < 0.7 and period == 2.0


def test_a_slower_pace_lengthens_the_period() -> None:
    visitor = Visitor("ws://127.0.0.1:9", [SHORT], Random(0))
    for at in (1.0, 2.0, 3.0):
        visitor._happened({"type": "duplex.slice", "system": "duplex", "at": at}, at + 0.1)
        visitor._happened({"type": "duplex.pace", "system": "duplex", "at": at, "level": 1}, at + 0.1)
    assert [period for _, period in visitor.seen.slices] == [4.0, 4.0]


def test_figures_tell_the_server_s_own_lateness_where_it_is_known() -> None:
    seen = Seen(opened=True, waited=3.0, positions=[1], asked=2, reactions=[0.3], slices=[(0.01, 2.0)])
    other = Seen(failed="not let in: full")
    figures = figures_of([seen, other], [(0.5, 2.0)] * 99 + [(3.0, 4.0)])
    assert figures["late_s_p50"] == 0.5 and figures["slice_s_p50"] == 0.01
    assert figures["p99_over_half_period"] == 0.5 and figures["share_ok"] == 0.99
    assert (figures["people"], figures["opened"], figures["failed"], figures["queued"]) == (2, 1, 1, 1)
    assert figures["queue_s_most"] == 3.0 and figures["why"] == {"not let in: full": 1}
    assert figures_of([seen], [])["late_s_p50"] == 0.01
    assert figures_of([other], [])["p99_over_half_period"] is None


def test_a_refusal_before_the_session_is_an_error_with_its_code() -> None:
    async def script(socket: Any) -> None:
        await said(socket, queue(1), {"type": "error", "error": {"code": "draining", "message": "no"}})

    async def both() -> None:
        told: list[dict[str, Any]] = []
        async with serve(script, "127.0.0.1", 0) as server:
            with pytest.raises(DuplexError, match="draining"):
                await enter(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", told.append)
        assert [event["type"] for event in told] == ["duplex.queue", "error"]

    asyncio.run(both())
