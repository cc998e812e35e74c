"""What stays of a session when its connection is cut, and what its client may send."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

import webapp.realtime
import webapp.session
import webapp.sockets
from duplex_runtime.recording import read_log
from tests.proxy import Proxy
from tests.resuming import Resuming
from tests.speech_fakes import LOUD, FakeKit, frame
from tests.test_sockets import Pipe, numbers
from tests.web_fakes import PATIENCE, Client, Place, a_place, eventually
from webapp.rates import RATES, Rate, Rates
from webapp.session import LiveSession
from webapp.sockets import ELSEWHERE, GONE, OVER, RULES, SLOW


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("session"))
    yield place
    place.close()


@pytest.fixture(autouse=True)
def nobody_stays(place: Place) -> Iterator[None]:
    yield
    eventually(lambda: place.served.sessions() == 0, "all slots are free")


def heard(place: Place, session: str) -> str:
    """All text that a system was told, by its recording."""
    lines = read_log(place.log(session))["duplex"].lines
    return "".join(line.get("text", "") for line in lines if line["kind"] == "input")


def refused(place: Place, query: str) -> dict[str, Any]:
    """The error with which a connection is refused."""
    with Client(f"{place.served.ws}?{query}") as client:
        assert client.until_closed() == GONE
    assert [e["type"] for e in client.events] == ["error"]
    error: dict[str, Any] = client.events[0]["error"]
    return error


# — a cut —


def test_a_session_tells_how_it_can_be_resumed(place: Place) -> None:
    with Resuming(place.served.ws) as one, Resuming(place.served.ws) as two:
        first, second = one.begin(), two.begin()
    assert first["resume"]["seconds"] == 30
    assert len({first["resume"]["token"], second["resume"]["token"], first["id"], second["id"]}) == 4
    assert len(first["resume"]["token"]) >= 32


def test_a_cut_in_the_middle_of_an_answer_loses_nothing_of_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with Resuming(place.served.ws) as person:
        session = person.begin()["id"]
        person.type("count.")
        person.until("response.output_text.delta", system="duplex")
        person.cut()
        last, before = person.last, len(person.events)
        person.type(" stop.")
        eventually(lambda: place.served.arena._sessions[person.token].outbox.last > last + 2, "the talk goes on")
        assert person.back() == {"type": "session.resumed", "session": {"id": session}, "received": 1 + len("count.")}
        person.until("response.done", system="duplex", status="cancelled")
        assert len(person.events) > before + 2  # that none is missing, the client itself watches
    assert heard(place, session) == "count. stop."
    assert place.replay(session, monkeypatch) == 0


def test_every_event_has_its_number(place: Place) -> None:
    with Client(place.served.ws) as client:
        client.type("x")
        client.begin()
        client.type("hello.")
        client.until("response.done", system="duplex")
    assert [e["event_id"] for e in client.events] == [f"event_{i + 1}" for i in range(len(client.events))]


def test_what_is_sent_twice_is_taken_once(place: Place) -> None:
    with Client(place.served.ws) as client:
        session = client.begin()["id"]
        for seq, key in [
            (1, "w"),
            (2, "e"),
            (1, "w"),
            (2, "e"),
            (3, "l"),
            (None, "!"),
            (3, "l"),
            (4, "l"),
            (None, "!"),
        ]:
            number = {} if seq is None else {"seq": seq}
            client.send({"type": "duplex.input.edit", "delete": 0, "insert": key, **number})
        client.type(" hello.")
        client.until("response.done", system="duplex")
    assert heard(place, session) == "wel!l! hello."


def test_what_was_refused_was_not_taken(place: Place) -> None:
    with Resuming(place.served.ws) as person:
        person.begin()
        person.send({"type": "duplex.input.edit", "delete": "all", "insert": "", "event_id": "key-2"})
        assert person.until("error")["error"]["event_id"] == "key-2"
        person.cut()
        person.unconfirmed.clear()
        assert person.back()["received"] == 1


def test_the_last_event_that_the_client_has_is_not_told_again(place: Place) -> None:
    """Nor is anything, if it has all; and what it acknowledged is no longer kept."""
    with Resuming(place.served.ws) as person:
        person.begin()
        person.type("hello.")
        person.until("response.done", system="duplex")
        person.send({"type": "duplex.ack", "after": person.last})
        outbox = place.served.arena._sessions[person.token].outbox
        eventually(lambda: outbox.first > person.last, "it is forgotten")
        person.cut()
        person.back()
        person.type(" hello.")
        person.until("duplex.slice", user="hello.", index=1)


def test_an_acknowledgement_of_what_was_never_sent_is_harmless(place: Place) -> None:
    with Resuming(place.served.ws) as person:
        person.begin()
        person.send({"type": "duplex.ack", "after": 10**9})
        person.type("hello.")
        person.until("response.done", system="duplex")


@pytest.mark.parametrize("after", ["", "x", "-1", "1.5", "1" * 400, "99", "%D9%A1"])
def test_nobody_comes_back_to_an_event_that_is_not_there(place: Place, after: str) -> None:
    with Resuming(place.served.ws) as person:
        person.begin()
        error = refused(place, f"resume={person.token}&after={after}")
        assert error["code"] == "cannot_resume"
        assert "expected after" in error["message"]
        person.cut()
        person.back()  # the session itself has not suffered


def test_nobody_comes_back_to_events_that_are_no_longer_kept(place: Place) -> None:
    with Resuming(place.served.ws) as person:
        person.begin()
        person.send({"type": "duplex.ack", "after": 1})
        eventually(lambda: place.served.arena._sessions[person.token].outbox.first == 2, "it is forgotten")
        assert refused(place, f"resume={person.token}&after=0")["code"] == "cannot_resume"


@pytest.mark.parametrize("token", ["", "x" * 32])
def test_nobody_comes_back_with_another_token(place: Place, token: str) -> None:
    error = refused(place, f"resume={token}&after=0")
    assert error["code"] == "cannot_resume"
    assert "open a new one" in error["message"]


def test_a_session_that_has_not_begun_cannot_be_resumed(place: Place) -> None:
    with Client(place.served.ws) as client:
        client.send("junk")
        client.until("error")
        token = next(iter(place.served.arena._sessions))
        assert refused(place, f"resume={token}&after=0")["code"] == "cannot_resume"
        client.begin()


def test_a_session_whose_client_stays_away_ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp.realtime, "RESUME_SECONDS", 0.2)
    with Resuming(place.served.ws) as person:
        person.begin()
        person.cut()
        eventually(lambda: bool(place.served.arena._leaving), "the cut is noticed")
        assert place.served.sessions() == 2
        eventually(lambda: place.served.sessions() == 0, "it is over")
        assert refused(place, f"resume={person.token}&after={person.last}")["code"] == "cannot_resume"
    assert not place.served.arena._sessions and not place.served.arena._leaving


def test_who_came_back_in_time_stays(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp.realtime, "RESUME_SECONDS", 0.2)
    with Resuming(place.served.ws) as person:
        person.begin()
        person.cut()
        eventually(lambda: bool(place.served.arena._leaving), "the cut is noticed")
        person.back()
        assert not place.served.arena._leaving  # the end that was to come was called off
        person.type("hello.")
        person.until("response.done", system="duplex")


@pytest.mark.parametrize("code", [1000, 1001, 4000])
def test_only_a_goodbye_ends_it_at_once(place: Place, code: int) -> None:
    with Resuming(place.served.ws) as person:
        person.begin()
        person.connected = False
        person.client.socket.close(code)
        if code == OVER:
            eventually(lambda: place.served.sessions() == 0, "it is over")
            assert refused(place, f"resume={person.token}&after={person.last}")["code"] == "cannot_resume"
        else:
            person.back()
            person.type("hello.")
            person.until("response.done", system="duplex")


def test_the_later_of_two_connections_goes_on(place: Place) -> None:
    with Resuming(place.served.ws) as person:
        session = person.begin()["id"]
        first = person.client
        person.type("well")
        person.back()
        assert first.until_closed() == ELSEWHERE
        person.type(" hello.")
        person.until("response.done", system="duplex")
        assert place.served.sessions() == 2
        first.close()
    assert heard(place, session) == "well hello."


def test_a_server_that_stops_ends_who_is_away(tmp_path: Path) -> None:
    place = Place(tmp_path)
    person = Resuming(place.served.ws)
    person.begin()
    person.cut()
    eventually(lambda: bool(place.served.arena._leaving), "the cut is noticed")
    place.served.stop()
    assert [len(worker.loop._sessions) for worker in place.workers.values()] == [0, 0]
    for worker in place.workers.values():
        worker.stop()
    place.pool.shutdown()


def test_who_was_speaking_when_the_connection_was_cut_has_stopped(tmp_path: Path) -> None:
    place = Place(tmp_path, kit=FakeKit(["hello", "goodbye"]))
    with Resuming(place.served.ws) as person:
        person.begin()
        for words in ("hello ", "goodbye "):
            for _ in range(20):
                person.client.send(frame(LOUD))
            person.until("input_audio_buffer.speech_started")
            person.cut()
            person.back()
            person.until("conversation.item.input_audio_transcription.delta", delta=words)
            person.until("input_audio_buffer.speech_stopped")
            person.events.clear()
    place.close()


# — thirty cuts —


@pytest.mark.parametrize("delay", [0.0, 0.01])
def test_thirty_cuts_at_random_moments_lose_and_double_nothing(place: Place, delay: float) -> None:
    """In neither direction: the words that were typed come back in the slices, which the client hears about."""
    rng = random.Random(7)
    words = [f"w{i}" for i in range(150)]
    cuts = 0
    with Proxy(place.served.port, delay) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}/v1/realtime"
        with Resuming(url) as person:
            session = person.begin()["id"]
            for i, word in enumerate(words):
                person.type(f"{word} ")
                person.read()
                if i % 5 == 4:
                    for _ in range(rng.randrange(4)):  # not always at the same point of what is on its way
                        person.read()
                    cuts += proxy.cut()
                    if rng.random() < 0.5:
                        person.read()
                    person.cut()
                    person.back()
            person.type("hello.")
            person.until("response.done", system="duplex")
            slices = [e["user"] for e in person.events if e["type"] == "duplex.slice" and e["system"] == "duplex"]
    assert cuts == 30
    assert " ".join(filter(None, slices)) == " ".join([*words, "hello."])
    assert heard(place, session) == " ".join([*words, "hello."])


# — too much —


def allow(place: Place, session: str, **bursts: float) -> None:
    """So much of each kind, and then nothing more however slow this machine is."""
    rates = {kind: Rate(0, bursts[kind], rate.what) if kind in bursts else rate for kind, rate in RATES.items()}
    live = next(each for each in place.served.arena._sessions.values() if each.id == session)
    live._rates = Rates(time.monotonic(), rates)


def test_who_types_faster_than_anybody_is_told_which_event_was_refused(place: Place) -> None:
    with Client(place.served.ws) as client:
        session = client.begin()["id"]
        allow(place, session, typed=20)
        for i in range(30):
            event = {"type": "duplex.input.edit", "delete": 0, "insert": f"{i} ", "seq": i + 1, "event_id": f"key-{i}"}
            client.send(event)
        for i in range(20, 30):
            error = client.until("error")["error"]
            assert (error["code"], error["event_id"]) == ("too_fast", f"key-{i}")
        allow(place, session)
        client.send({"type": "duplex.input.edit", "delete": 0, "insert": "again hello.", "seq": 31})
        client.until("response.done", system="duplex")
    assert heard(place, session) == "".join(f"{i} " for i in range(20)) + "again hello."


def test_who_goes_on_is_closed_and_their_session_ends(place: Place) -> None:
    with Client(place.served.ws) as client:
        allow(place, client.begin()["id"], refused=50)
        with suppress(ConnectionClosed):  # it may be closed before all is sent
            for _ in range(200):
                client.send("junk")
        assert client.until_closed() == RULES
        errors = [e for e in client.events if e["type"] == "error"]
    assert len(errors) == 51
    eventually(lambda: place.served.sessions() == 0, "its slots are free")


def test_of_sound_more_than_its_burst_is_refused(place: Place) -> None:
    with Client(place.served.ws) as client:
        allow(place, client.begin()["id"], sound_seconds=0.2)
        for i in range(15):
            client.send({**frame(LOUD), "event_id": str(i)})
        for i in range(10, 15):
            error = client.until("error")["error"]
            assert (error["code"], error["event_id"]) == ("too_fast", str(i))
            assert "seconds of sound" in error["message"]


def test_a_message_over_64_kb_closes_the_connection_and_ends_the_session(place: Place) -> None:
    with Client(place.served.ws) as client:
        client.begin()
        client.send(json.dumps({"type": "duplex.input.edit", "delete": 0, "insert": "x" * 65_536}))
        assert "65536 bytes" in client.until("error")["error"]["message"]
        assert client.until_closed() == 1009
    eventually(lambda: place.served.sessions() == 0, "its slots are free")


# — the session alone —


def test_a_client_that_does_not_read_is_cut_off_and_comes_back_to_everything(place: Place) -> None:
    async def talk() -> None:
        session = LiveSession(place.served.arena, a_place())
        pipe = Pipe()
        pipe.stuck = True
        holding = asyncio.create_task(session.hold(pipe))  # type: ignore[arg-type]
        for _ in range(webapp.sockets.SLOW_EVENTS + 1):
            session.announce({"type": "t"})
        assert await holding == SLOW
        assert session.away
        better = Pipe()
        holding = asyncio.create_task(session.hold(better, after=0))  # type: ignore[arg-type]
        while len(better.sent) < webapp.sockets.SLOW_EVENTS + 2:
            await asyncio.sleep(0.001)
        session.dismiss({"type": "duplex.ended", "why": "time"})
        assert await holding == OVER
        assert numbers(better) == [str(i + 1) for i in range(webapp.sockets.SLOW_EVENTS + 2)]
        assert better.sent[-1]["type"] == "duplex.ended"
        await session.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webapp.sockets, "CLOSE_SECONDS", 0.01)
        asyncio.run(asyncio.wait_for(talk(), PATIENCE))


def test_the_server_pings_and_says_what_it_has_received(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp.session, "PING_SECONDS", 0.05)
    with Resuming(place.served.ws) as person:
        person.begin()
        person.type("hey")
        person.until("duplex.ping", received=4)


def test_a_voice_that_is_not_there_is_told_and_the_talk_begins(place: Place) -> None:
    with Client(place.served.ws) as client:
        client.send({"type": "session.update", "session": {"audio": {"output": {"voice": "nobody"}}}})
        assert client.until("error")["error"]["code"] == "bad_input"
        assert client.until("session.created")["session"]["audio"]["voice"] is None
        client.type("hello.")
        client.until("response.done", system="duplex")
