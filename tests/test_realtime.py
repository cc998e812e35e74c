import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import webapp.realtime
import webapp.sockets
from duplex_runtime.models.load import load_model
from duplex_runtime.recording import read_log
from tests.test_sockets import Pipe
from tests.web_fakes import PATIENCE, Client, FakeModels, Place, a_place, eventually, save_tiny_model, shape
from webapp.serve import WS_MAX_SIZE
from webapp.session import LiveSession
from webapp.sockets import LOST

CASES = json.loads((Path(__file__).parent / "wire_cases.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("realtime"))
    yield place
    place.close()


@pytest.fixture
def client(place: Place) -> Iterator[Client]:
    with Client(place.served.ws) as client:
        yield client


def case(name: str) -> Any:
    return next(c["event"] for c in CASES if c["name"] == name)


# — a session —


@pytest.mark.parametrize(("seconds", "name"), [("adaptive", "session_created"), (2, "session_created_fixed")])
def test_a_session_begins_with_its_update(client: Client, seconds: Any, name: str) -> None:
    session = client.begin(seconds)
    told = shape(client.events[-1])
    assert told.pop("event_id") == "str"
    assert told == shape(case(name))
    assert session["slice_seconds"] == seconds
    assert session["systems"] == ["duplex", "turns"]


def test_every_session_has_its_own_id(place: Place) -> None:
    ids = set()
    for _ in range(3):
        with Client(place.served.ws) as client:
            ids.add(client.begin()["id"])
    assert len(ids) == 3


def test_who_listens_answers_what_was_typed_and_who_waits_does_not(client: Client) -> None:
    client.begin()
    client.type("well hello.")
    done = client.until("response.done", system="duplex")
    assert done["status"] == "completed"
    assert client.said() == "hi you"
    assert [e["user"] for e in client.of("duplex.slice") if not e["idle"]] == ["well hello."]
    assert not [e for e in client.events if e.get("system") == "turns"]


def test_who_waits_answers_after_enter(client: Client) -> None:
    client.begin()
    client.type("hello.")
    client.until("response.done", system="duplex")
    client.enter()
    client.until("response.done", system="turns")
    assert client.said("turns") == "hi you"
    assert client.of("duplex.slice", "turns")[0]["user"] == "hello."


def test_a_whole_message_is_answered_by_both(client: Client) -> None:
    client.begin()
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello."}]}
    client.send({"type": "conversation.item.create", "item": item})
    while not (client.of("response.done", "duplex") and client.of("response.done", "turns")):
        client.until("response.done")
    assert client.said("duplex") == client.said("turns") == "hi you"


def test_words_that_stop_in_the_middle_are_listened_to_in_silence(client: Client) -> None:
    client.begin()
    client.type("well then ")
    heard = client.until("duplex.slice", system="duplex")
    assert (heard["user"], heard["idle"], heard["p_idle"]) == ("well then", True, 0.9)
    assert not client.of("response.created")


def test_a_word_taken_back_was_never_said(client: Client) -> None:
    client.begin()
    client.type("goodbye")
    client.send({"type": "duplex.input.edit", "delete": 7, "insert": "hello."})
    client.until("response.done", system="duplex")
    assert client.said() == "hi you"
    assert "goodbye" not in json.dumps(client.events)


def test_an_interruption_ends_the_answer_of_who_listens_and_is_lost_on_who_waits(client: Client) -> None:
    client.begin()
    client.type("count.")
    client.enter()
    client.until("response.output_text.delta", system="duplex")
    client.type("stop.")
    client.until("duplex.yield", system="duplex")
    assert client.until("response.done", system="duplex")["status"] == "cancelled"
    cut = client.of("duplex.cut")[0]
    assert cut["unheard"].split()[0].startswith("n")
    assert "".join(e["text"] for e in client.of("duplex.deaf", "turns")) == "stop."
    assert not client.of("response.done", "turns")


def test_everything_that_is_sent_has_the_shape_of_the_case_file(client: Client) -> None:
    client.begin()
    client.type("count.")
    client.enter()
    client.until("response.output_text.delta", system="duplex")
    client.type("stop.")
    client.until("duplex.yield", system="duplex")
    client.until("response.done", system="duplex")
    known = [shape(c["event"]) for c in CASES if c["direction"] == "server" and not c.get("invalid")]
    for event in client.events:
        looks = shape(event)
        assert looks.pop("event_id") == "str"
        if event["type"] == "duplex.sealed":
            looks.pop("system")
        assert looks in known, event


# — mistakes —


def test_keys_before_the_session_are_refused_with_what_to_do(client: Client) -> None:
    client.type("h")
    error = client.until("error")["error"]
    assert error["code"] == "no_session"
    assert "session.update" in error["message"]
    client.begin()


def test_slices_are_set_once(client: Client) -> None:
    client.begin()
    client.send({"type": "session.update", "session": {"slice_seconds": 2}})
    assert client.until("error")["error"]["code"] == "session_began"


@pytest.mark.parametrize(
    "junk",
    ["", "{", "null", '{"type": "duplex.input.shout"}', '{"type": "duplex.input.edit", "delete": -1, "insert": ""}',
     b"\x00\xff\xfe\x80", "[" * 50_000],
    ids=lambda junk: ascii(junk[:20]),
)  # fmt: skip
def test_junk_is_answered_with_an_error_and_the_session_goes_on(client: Client, junk: str | bytes) -> None:
    client.begin()
    client.send(junk)
    error = client.until("error")["error"]
    assert error["code"] == "bad_input"
    assert len(error["message"]) < 500
    client.type("hello.")
    client.until("response.done", system="duplex")
    assert client.said() == "hi you"


@pytest.mark.parametrize("seconds", ["1" + "0" * 400, "NaN", "0.1", '"2"'])
def test_a_session_with_impossible_slices_may_try_again(client: Client, seconds: str) -> None:
    client.send(f'{{"type": "session.update", "session": {{"slice_seconds": {seconds}}}}}')
    assert client.until("error")["error"]["code"] == "bad_input"
    client.begin()


@pytest.mark.parametrize("size", [1_000_000, WS_MAX_SIZE + 1])
def test_a_message_past_all_measure_closes_the_connection(place: Place, size: int) -> None:
    with Client(place.served.ws) as client:
        client.begin()
        client.send("x" * size)
        assert client.until_closed() == 1009
    eventually(lambda: place.served.sessions() == 0, "its slots are free")


def test_a_flood_of_text_is_refused_and_the_session_goes_on(client: Client) -> None:
    """Also what comes while the model thinks: it is heard later, and more than fits is refused then."""
    client.begin()
    client.type("well. ")
    for _ in range(3):  # as much as may come at once
        client.send({"type": "duplex.input.edit", "delete": 0, "insert": "word " * 4000})
    error = client.until("error")["error"]
    assert error["code"] == "bad_input"
    client.send({"type": "duplex.input.edit", "delete": 300_000, "insert": ""})
    client.enter()
    client.type(" hello.")
    client.until("response.done", system="duplex")
    assert "hi you" in client.said()
    assert {e["error"]["code"] for e in client.events if e["type"] == "error"} == {"bad_input"}


# — several people —


def test_two_talks_at_once_know_nothing_of_each_other(place: Place) -> None:
    with Client(place.served.ws) as one, Client(place.served.ws) as two:
        one.begin()
        two.begin()
        for a, b in zip("well hello.", "so, goodbye", strict=True):
            one.type(a)
            two.type(b)
        two.type(".")
        for client in (one, two):
            client.until("response.done", system="duplex")
        assert (one.said(), two.said()) == ("hi you", "see you later")
        assert "goodbye" not in json.dumps(one.events) and "hello" not in json.dumps(two.events)


def test_twenty_people_are_all_answered(place: Place) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(place.served.ws)) for _ in range(20)]
        for client in clients:
            client.begin()
        for client in clients:
            client.type("hello.")
        for client in clients:
            client.until("response.done", system="duplex")
            assert client.said() == "hi you"


@pytest.mark.parametrize("how", ["politely", "abruptly", "in the middle of an answer"])
def test_who_leaves_frees_both_slots(place: Place, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp.realtime, "RESUME_SECONDS", 0.05)
    client = Client(place.served.ws)
    client.begin()
    assert place.served.sessions() == 2
    if how == "in the middle of an answer":
        client.type("count.")
        client.enter()
        client.until("response.output_text.delta", system="duplex")
    if how == "politely":
        client.close()
    else:
        client.cut()
    eventually(lambda: place.served.sessions() == 0, "the slots are free")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Place]:
    """A server with a place for one."""
    place = Place(tmp_path, slots=1)
    yield place
    place.close()


def test_who_comes_when_all_places_are_taken_is_told_and_the_others_go_on(small: Place) -> None:
    with Client(small.served.ws) as one:
        one.begin()
        with Client(small.served.ws) as two:
            two.send({"type": "session.update", "session": {}})
            error = two.until("error")["error"]
            assert error["code"] == "full"
            assert "places are taken" in error["message"]
        one.type("hello.")
        one.until("response.done", system="duplex")
        assert one.said() == "hi you"


def test_who_was_told_that_it_is_full_may_try_again_when_somebody_has_left(
    small: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(small.served.ws) as two:
        with Client(small.served.ws) as one:
            one.begin()
            two.send({"type": "session.update", "session": {}})
            two.until("error")
        eventually(lambda: small.served.sessions() == 0, "the slots are free")
        session = two.begin()
        two.type("hello.")
        two.until("response.done", system="duplex")
    assert small.replay(session["id"], monkeypatch) == 0


def test_a_talk_that_never_began_leaves_no_recording(small: Place) -> None:
    with Client(small.served.ws) as one:
        session = one.begin()
        with Client(small.served.ws) as two:
            two.send({"type": "session.update", "session": {}})
            two.until("error")
    assert [p.stem for p in (small.settings.data / "recordings").iterdir()] == [session["id"]]


def test_a_talk_that_breaks_off_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    models = FakeModels()
    place = Place(tmp_path, models)
    try:
        with Client(place.served.ws) as one, Client(place.served.ws) as two:
            one.begin()
            two.begin()
            conversations = place.workers["duplex"].loop._sessions
            broken = conversations[min(conversations)].conversation
            broken.apply = lambda output, at: 1 / 0
            one.type("hello.")
            error = one.until("error")["error"]
            assert error["code"] == "conversation_failed"
            assert "begin again" in error["message"]
            two.type("hello.")
            two.until("response.done", system="duplex")
            assert two.said() == "hi you"
        eventually(lambda: place.served.sessions() == 0, "the slots are free")
    finally:
        place.close()


def test_a_forward_pass_that_fails_does_not_leave_everybody_in_silence(tmp_path: Path) -> None:
    place = Place(tmp_path)
    try:
        engine = place.workers["duplex"].loop.engine
        step = engine.step
        failed = threading.Event()

        def fail_once() -> Any:
            if not failed.is_set():
                failed.set()
                raise RuntimeError("the device is out of memory")
            return step()

        engine.step = fail_once  # type: ignore[method-assign]
        with Client(place.served.ws) as one:
            one.begin()
            one.type("hello.")
            one.until("error", seconds=5)
        with Client(place.served.ws) as two:
            two.begin()
            two.type("hello.")
            two.until("response.done", seconds=5, system="duplex")
    finally:
        place.workers["duplex"].loop.engine.step = step  # type: ignore[method-assign]
        place.close()


def test_who_leaves_while_the_session_begins_frees_its_slots(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends while the worker is about to open the slot."""
    monkeypatch.setattr(webapp.sockets, "CLOSE_SECONDS", 0.05)
    worker = place.workers["duplex"]
    adding, go_on = threading.Event(), threading.Event()
    add = worker.loop.add

    def slow_add(*arguments: Any) -> Any:
        adding.set()
        go_on.wait(PATIENCE)
        return add(*arguments)

    async def talk() -> None:
        pipe, session = Pipe(), LiveSession(place.served.arena, a_place())
        pipe.says('{"type": "session.update", "session": {}}')
        holding = asyncio.create_task(session.hold(pipe))  # type: ignore[arg-type]
        await asyncio.to_thread(adding.wait, PATIENCE)
        pipe.gone = True  # the sender fails, and the reader has no time to tell more
        session.announce({"type": "t"})
        assert await holding == LOST
        assert not session.resumable
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        go_on.set()
        await closing

    worker.loop.add = slow_add  # type: ignore[method-assign]
    try:
        asyncio.run(talk())
    finally:
        del worker.loop.add
    left = place.served.sessions()
    for other in place.workers.values():  # whatever comes of it, the tests after this one need the place
        for session in list(other.loop._sessions.values()):
            other.call(other.loop.remove, session).result(PATIENCE)
    assert left == 0


# — recordings —


def test_a_recording_replays_to_the_same_tokens(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(place.served.ws) as client:
        session = client.begin()["id"]
        client.type("well cuo")
        client.send({"type": "duplex.input.edit", "delete": 2, "insert": "o"})
        client.send({"type": "duplex.input.edit", "delete": 1, "insert": "ount."})
        client.enter()
        client.until("response.output_text.delta", system="duplex")
        client.type("stop.")
        client.until("duplex.yield", system="duplex")
        client.type(" goodbye.")
        client.until("response.done", system="duplex", status="completed")
    logs = read_log(place.log(session))
    assert set(logs) == {"duplex", "turns"}
    assert logs["duplex"].header["session"] == session
    assert [e for e in logs["turns"].lines if e["kind"] == "output"]
    assert place.replay(session, monkeypatch) == 0


@pytest.mark.parametrize(
    "insert", ["😀 été 日本", "a\x00b\x1b[31m", "line\u2028other\u2029end", "\\ud83d hi", '"}\n{"'], ids=ascii
)
def test_strange_characters_are_recorded_as_they_were_heard(
    place: Place, monkeypatch: pytest.MonkeyPatch, insert: str
) -> None:
    with Client(place.served.ws) as client:
        session = client.begin()["id"]
        text = json.dumps({"type": "duplex.input.edit", "delete": 0, "insert": insert}).replace("\\\\ud", "\\ud")
        client.send(text)
        client.type(" hello.")
        client.until("response.done", system="duplex")
        client.enter()
        client.until("response.done", system="turns")
    assert place.replay(session, monkeypatch) == 0


def test_a_recording_is_there_while_the_talk_goes_on(client: Client, place: Place) -> None:
    session = client.begin()["id"]
    client.type("hello.")
    client.until("response.done", system="duplex")
    heard = [line["text"] for line in read_log(place.log(session))["duplex"].lines if line["kind"] == "input"]
    assert "".join(heard) == "hello."


def test_a_talk_goes_on_without_its_recording_when_the_disk_is_full(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place.served.arena.store, "path", lambda session: Path("/dev/full"))
    with Client(place.served.ws) as client:
        client.begin()
        client.type("hello.")
        client.until("response.done", system="duplex")
        assert client.said() == "hi you"
        errors = [e["error"] for e in client.events if e["type"] == "error"]
        assert [error["code"] for error in errors] == ["recording_stopped"]
        assert "no longer recorded" in errors[0]["message"]


def test_a_real_network_with_random_weights_replays_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_model(tmp_path / "model")
    loaded = {system: load_model(str(folder), system) for system in ("duplex", "turns")}
    place = Place(tmp_path, lambda name, system, *_: loaded[system], model=str(folder))
    try:
        with Client(place.served.ws) as client:
            session = client.begin(0.5)["id"]
            client.type("hello there, how ")
            client.until("duplex.slice", system="duplex")
            client.type("are you?")
            client.enter()
            client.until("response.output_text.delta", system="turns")
            client.until("duplex.slice", system="duplex")
        outputs = [e for e in read_log(place.log(session))["turns"].lines if e["kind"] == "output"]
        assert len({e["token"] for e in outputs}) > 5
        assert place.replay(session, monkeypatch) == 0
    finally:
        place.close()


def test_text_that_is_no_utf8_is_a_message_that_nobody_understands(place: Place) -> None:
    with Client(place.served.ws) as client:
        client.begin()
        client.socket.send(b'{"type": "\xff"}', text=True)
        assert "unknown event type '\ufffd'" in client.until("error")["error"]["message"]
        client.type("hello ")
        client.enter()
        client.until("response.done", system="duplex")
