"""OpenAI's own Python client holds conversations with a real server of ours."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.exceptions import ConnectionClosedOK

import webapp.openai_events
from tests.speech_fakes import FakeKit
from tests.web_fakes import PATIENCE, Client, Place, eventually

THEIRS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
RATE = 24_000
#: 20 ms at 24 kHz of somebody speaking, and of nobody.
LOUD = (8000 * np.sin(2 * np.pi * 200 * np.arange(480) / RATE)).astype("<i2").tobytes()
SILENT = bytes(960)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("openai"), kit=FakeKit(["hello", "count", "stop please"] * 10))
    yield place
    place.close()


class Talk:
    """Their connection; every event that it gave, and whether it is one of their types to the letter."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.events: list[Any] = []

    async def next(self) -> Any:
        try:
            data = await asyncio.wait_for(self.connection.recv_bytes(), PATIENCE)
        except TimeoutError:
            raise AssertionError(f"nothing came within {PATIENCE} s after {self.events}") from None
        THEIRS.validate_json(data)
        event = self.connection.parse_event(data)
        assert type(event).__module__.startswith("openai.types.realtime"), data
        assert event.type == json.loads(data)["type"]
        self.events.append(event)
        return event

    async def until(self, kind: str, **values: Any) -> Any:
        while True:
            event = await self.next()
            if event.type == kind and all(getattr(event, name) == value for name, value in values.items()):
                return event

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]

    @property
    def kinds(self) -> list[str]:
        return [event.type for event in self.events]

    async def write(self, text: str, answer: bool = True) -> None:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await self.connection.conversation.item.create(item=item)
        if answer:
            await self.connection.response.create()

    async def say(self, seconds: float = 0.4, silence: float = 0.8) -> None:
        for sound, many in ((LOUD, seconds), (SILENT, silence)):
            for _ in range(round(many / 0.02)):
                await self.connection.input_audio_buffer.append(audio=base64.b64encode(sound).decode())


@asynccontextmanager
async def talking(place: Place, **connect: Any) -> AsyncIterator[Talk]:
    async with (
        AsyncOpenAI(base_url=f"{place.served.url}/v1", api_key="none", max_retries=0) as client,
        client.realtime.connect(**connect) as connection,
    ):
        yield Talk(connection)


def held(place: Place, talk: Callable[[Talk], Awaitable[None]], **connect: Any) -> None:
    """Run one conversation."""

    async def run() -> None:
        async with talking(place, **(connect or {"model": "duplex"})) as opened:
            await talk(opened)

    asyncio.run(run())


# — text —


@pytest.mark.parametrize("system", ["duplex", "turns"])
def test_a_text_conversation(place: Place, system: str) -> None:
    async def talk(talk: Talk) -> None:
        await talk.connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        created, updated = await talk.until("session.created"), await talk.until("session.updated")
        assert (created.session.type, created.session.model) == ("realtime", system)
        assert updated.session.output_modalities == ["text"]
        for asked, answered in (("hello.", "hi you"), ("goodbye.", "see you later")):
            talk.events.clear()
            await talk.write(asked)
            done = await talk.until("response.done")
            words = "".join(event.delta for event in talk.of("response.output_text.delta"))
            assert " ".join(words.split()) == answered
            assert talk.of("response.output_text.done")[0].text == words
            assert done.response.status == "completed"
            assert done.response.output[0].content[0].text == words

    held(place, talk, model=system)


def test_the_events_of_a_response_come_in_their_order(place: Place) -> None:
    async def talk(talk: Talk) -> None:
        await talk.connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await talk.until("session.updated")
        talk.events.clear()
        await talk.write("hello.")
        done = await talk.until("response.done")
        first, *rest = dict.fromkeys(talk.kinds)
        assert (first, rest) == ("conversation.item.added", [
            "conversation.item.done", "response.created", "response.output_item.added", "response.content_part.added",
            "response.output_text.delta", "response.output_text.done", "response.content_part.done",
            "response.output_item.done", "response.done",
        ])  # fmt: skip
        mine, theirs = talk.of("conversation.item.added")
        assert (mine.item.role, mine.previous_item_id) == ("user", None)
        assert (theirs.item.role, theirs.previous_item_id) == ("assistant", mine.item.id)
        assert {e.item_id for e in talk.of("response.output_text.delta")} == {theirs.item.id}
        assert done.response.output[0].id == theirs.item.id
        numbers = [event.event_id for event in talk.events]
        assert len(set(numbers)) == len(numbers)

    held(place, talk)


def test_a_session_begins_with_no_word_from_the_client(place: Place) -> None:
    async def talk(talk: Talk) -> None:
        created = await talk.until("session.created")
        assert created.session.model == "turns"
        assert created.session.output_modalities == ["audio"]  # as with theirs

    held(place, talk, model="turns")


def test_only_the_system_that_was_asked_for_runs(place: Place) -> None:
    async def talk(talk: Talk) -> None:
        await talk.until("session.created")
        assert await asyncio.to_thread(place.served.sessions) == 1

    eventually(lambda: place.served.sessions() == 0, "nobody is there")
    held(place, talk)
    eventually(lambda: place.served.sessions() == 0, "the slot is free")


def test_the_model_may_be_named_in_the_first_update(place: Place) -> None:
    async def talk(talk: Talk) -> None:
        session = {"type": "realtime", "model": "turns", "output_modalities": ["text"], "baseline": "strict"}
        await talk.connection.session.update(session=session)
        created = await talk.until("session.created")
        assert (created.session.model, created.session.output_modalities) == ("turns", ["text"])
        await talk.write("hello.")
        await talk.until("response.done")
        assert talk.of("response.output_text.done")[0].text.split() == ["hi", "you"]

    held(place, talk, extra_query={})


def test_without_a_model_and_their_type_both_systems_answer_in_our_events(place: Place) -> None:
    with Client(place.served.ws) as client:
        assert client.begin()["systems"] == ["duplex", "turns"]


def test_a_silent_model_ends_the_wait_with_an_empty_response(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp.openai_events, "PATIENCE_SECONDS", 0.1)

    async def talk(talk: Talk) -> None:
        await talk.connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await talk.connection.response.create()  # to nothing
        done = await talk.until("response.done")
        assert (done.response.status, done.response.output) == ("completed", [])

    held(place, talk)


# — voice —


@pytest.mark.parametrize("system", ["duplex", "turns"])
def test_a_voice_conversation(place: Place, system: str) -> None:
    async def talk(talk: Talk) -> None:
        await talk.say()
        done = await talk.until("response.done")
        started, stopped = (talk.of(f"input_audio_buffer.speech_{what}")[0] for what in ("started", "stopped"))
        assert 300 < stopped.audio_end_ms - started.audio_start_ms < 500
        heard = talk.of("conversation.item.input_audio_transcription.completed")[0]
        assert (heard.transcript, heard.item_id) == ("hello", started.item_id)
        assert heard.usage.seconds == pytest.approx((stopped.audio_end_ms - started.audio_start_ms) / 1000, abs=0.002)
        assert talk.of("input_audio_buffer.committed")[0].item_id == started.item_id
        sound = b"".join(base64.b64decode(e.delta) for e in talk.of("response.output_audio.delta"))
        assert len(sound) / 2 / RATE == pytest.approx(0.6, abs=0.2)  # two words of 0.3 s
        assert np.abs(np.frombuffer(sound, "<i2")).max() > 5000
        said = talk.of("response.output_audio_transcript.done")[0].transcript
        assert said.split() == ["hi", "you"]
        assert done.response.output[0].content[0].transcript == said
        assert talk.kinds.index("response.output_audio.done") < talk.kinds.index("response.done")
        assert not talk.of("response.output_text.delta")

    place.served.arena.kit = FakeKit(["hello"])
    held(place, talk, model=system)


def test_push_to_talk(place: Place) -> None:
    """Their example of a key that is held down: append, commit, create."""

    async def talk(talk: Talk) -> None:
        session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await talk.connection.session.update(session=session)
        updated = await talk.until("session.updated")
        assert updated.session.ignored == ["audio.input.turn_detection"]
        await talk.connection.input_audio_buffer.clear()
        await talk.until("input_audio_buffer.cleared")
        await talk.say(silence=0.0)
        await talk.connection.input_audio_buffer.commit()
        await talk.connection.response.create()
        committed = await talk.until("input_audio_buffer.committed")
        await talk.until("response.done")
        assert len(talk.of("input_audio_buffer.committed")) == 1
        heard = talk.of("conversation.item.input_audio_transcription.completed")[0]
        assert (heard.item_id, heard.transcript) == (committed.item_id, "hello")

    place.served.arena.kit = FakeKit(["hello"])
    held(place, talk)


def test_a_voice_may_be_chosen_and_switched_off(place: Place) -> None:
    async def talk(talk: Talk) -> None:
        for session, voice, ignored in (
            ({"audio": {"output": {"voice": "tone"}}}, "tone", []),
            ({"output_modalities": ["text"]}, None, []),
            ({"output_modalities": ["audio"], "audio": {"output": {"voice": "marin"}}}, "tone", ["audio.output.voice"]),
        ):
            await talk.connection.session.update(session={"type": "realtime", **session})
            updated = await talk.until("session.updated")
            assert (updated.session.audio.output.voice, updated.session.ignored) == (voice, ignored)
            assert updated.session.output_modalities == ["audio" if voice else "text"]

    held(place, talk)


# — interruptions —


def test_words_interrupt_a_model_that_listens(place: Place) -> None:
    async def talk(talk: Talk) -> None:
        await talk.connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await talk.write("count.")
        await talk.until("response.output_text.delta")
        await talk.write("stop.", answer=False)
        done = await talk.until("response.done")
        assert done.response.status == "cancelled"
        assert done.response.status_details.reason == "turn_detected"
        streamed = "".join(event.delta for event in talk.of("response.output_text.delta"))
        kept = done.response.output[0].content[0].text
        assert streamed.startswith(kept) and len(kept) < len(streamed)  # what nobody could have read is taken back
        assert done.response.output[0].status == "incomplete"

    held(place, talk)


def test_a_new_question_ends_the_old_response_and_begins_a_new_one(place: Place) -> None:
    """Our model answers it in the same breath; a client that asked for a response gets one."""

    async def talk(talk: Talk) -> None:
        await talk.connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await talk.write("count.")
        await talk.until("response.output_text.delta")
        await talk.write("hello.")
        first, second = await talk.until("response.done"), await talk.until("response.done")
        assert (first.response.status, second.response.status) == ("cancelled", "completed")
        assert first.response.id != second.response.id
        assert second.response.output[0].content[0].text.split() == ["hi", "you"]

    held(place, talk)


@pytest.mark.parametrize("system", ["duplex", "turns"])
def test_speech_interrupts_and_says_what_was_not_heard(place: Place, system: str) -> None:
    async def talk(talk: Talk) -> None:
        await talk.write("count.")
        await talk.until("response.output_audio.delta")
        await talk.say()
        done = await talk.until("response.done")
        assert done.response.status == "cancelled"
        truncated = talk.of("conversation.item.truncated")[-1]
        assert truncated.item_id == done.response.output[0].id
        sent = sum(len(base64.b64decode(e.delta)) for e in talk.of("response.output_audio.delta")) / 2 / RATE
        assert 0 <= truncated.audio_end_ms / 1000 < sent

    place.served.arena.kit = FakeKit(["stop please"])
    held(place, talk, model=system)


@pytest.mark.parametrize("system", ["duplex", "turns"])
def test_a_client_may_cancel(place: Place, system: str) -> None:
    async def talk(talk: Talk) -> None:
        await talk.connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await talk.write("count.")
        await talk.until("response.output_text.delta")
        await talk.connection.response.cancel()
        done = await talk.until("response.done")
        assert (done.response.status, done.response.status_details.reason) == ("cancelled", "client_cancelled")
        streamed = "".join(e.delta for e in talk.of("response.output_text.delta"))
        kept = done.response.output[0].content[0].text
        assert streamed.startswith(kept) and len(kept) < len(streamed)  # the model forgets the rest as well
        await talk.write("hello.")
        talk.events.clear()
        await talk.until("response.done")
        assert {e.response_id for e in talk.of("response.output_text.delta")} != {done.response.id}
        assert "".join(e.delta for e in talk.of("response.output_text.delta")).split() == ["hi", "you"]

    held(place, talk, model=system)


@pytest.mark.parametrize("system", ["duplex", "turns"])
def test_a_client_may_cancel_what_is_spoken(place: Place, system: str) -> None:
    async def talk(talk: Talk) -> None:
        await talk.write("count.")
        await talk.until("response.output_audio.delta")
        await talk.connection.response.cancel()
        done = await talk.until("response.done")
        assert (done.response.status, done.response.status_details.reason) == ("cancelled", "client_cancelled")
        (truncated,) = talk.of("conversation.item.truncated")
        assert truncated.item_id == done.response.output[0].id

    place.served.arena.kit = FakeKit([])
    held(place, talk, model=system)


def test_a_client_may_say_how_much_was_heard(place: Place) -> None:
    async def talk(talk: Talk) -> None:
        await talk.write("count.")
        await talk.until("response.output_audio.delta")
        item = talk.of("response.output_item.added")[0].item.id
        await talk.connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=100)
        truncated = await talk.until("conversation.item.truncated")
        assert (truncated.item_id, truncated.audio_end_ms) == (item, 100)

    held(place, talk)


# — errors —


@pytest.mark.parametrize(
    ("event", "code", "words"),
    [
        ({"type": "conversation.item.delete", "item_id": "x"}, "bad_input", "response.cancel"),
        ({"type": "conversation.item.create", "item": {"type": "message", "role": "system", "content": []}},
         "not_supported", "role user"),
        ({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": []}}, "bad_input",
         "input_text"),
        ({"type": "response.create", "response": {"conversation": "none"}}, "not_supported", "item"),
        ({"type": "response.cancel"}, "response_cancel_not_active", "in progress"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", "sound first"),
        ({"type": "input_audio_buffer.append", "audio": "!!"}, "bad_input", "16-bit samples"),
        ({"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": -1}, "bad_input",
         "audio_end_ms"),
        ({"type": "session.update", "session": {"type": "transcription"}}, "bad_input", "realtime"),
        ({"type": "session.update", "session": {"type": "realtime", "output_modalities": ["image"]}}, "bad_input",
         "output_modalities"),
        ({"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"format":
          {"type": "audio/pcmu"}}}}}, "bad_input", "audio/pcm"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_an_error_says_what_was_expected_and_of_which_event(
    place: Place, event: dict[str, Any], code: str, words: str
) -> None:
    async def talk(talk: Talk) -> None:
        await talk.connection.send({**event, "event_id": "mine"})
        error = (await talk.until("error")).error
        assert (error.code, error.type, error.event_id) == (code, "invalid_request_error", "mine")
        assert words in error.message
        await talk.connection.session.update(session={"type": "realtime"})  # and the talk goes on
        await talk.until("session.updated")

    held(place, talk)


def test_a_model_that_is_not_here_may_be_corrected(place: Place) -> None:
    async def talk(talk: Talk) -> None:
        error = (await talk.until("error")).error
        assert "expected model duplex or turns, got 'gpt-realtime'" in error.message
        await talk.connection.session.update(session={"type": "realtime", "model": "duplex"})
        assert (await talk.until("session.created")).session.model == "duplex"

    held(place, talk, model="gpt-realtime")


def test_what_means_nothing_here_is_accepted_and_listed(place: Place) -> None:
    async def talk(talk: Talk) -> None:
        session: dict[str, Any] = {
            "type": "realtime", "model": "gpt-realtime", "instructions": "Be kind.", "tools": [], "tool_choice": "auto",
            "audio": {
                "input": {"format": {"type": "audio/pcm", "rate": 24000}, "noise_reduction": {"type": "near_field"},
                          "transcription": {"model": "whisper-1"},
                          "turn_detection": {"type": "server_vad", "threshold": 0.5, "create_response": True,
                                             "interrupt_response": False}},
                "output": {"speed": 1.2},
            },
        }  # fmt: skip
        await talk.connection.session.update(session=session)
        updated = await talk.until("session.updated")
        assert sorted(updated.session.ignored) == [
            "audio.input.noise_reduction", "audio.input.transcription.model",
            "audio.input.turn_detection.interrupt_response", "audio.input.turn_detection.threshold",
            "audio.output.speed", "instructions", "model", "tool_choice", "tools",
        ]  # fmt: skip

    held(place, talk)


def test_a_closed_connection_frees_its_slot(place: Place) -> None:
    async def talk(talk: Talk) -> None:
        await talk.until("session.created")
        talk.connection._connection.transport.abort()  # as a network does

    held(place, talk)
    eventually(lambda: place.served.sessions() == 0, "the slot is free", seconds=10)


def test_a_session_that_the_server_ends_says_why(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = replace(place.served.arena.admission.limits, session_seconds=0.1)
    monkeypatch.setattr(place.served.arena.admission, "limits", limits)

    async def talk(talk: Talk) -> None:
        error = (await talk.until("error")).error
        assert error.code == "session_expired"
        with pytest.raises(ConnectionClosedOK):
            await talk.next()

    held(place, talk)


def test_two_utterances_are_two_items(place: Place) -> None:
    async def talk(talk: Talk) -> None:
        await talk.connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        for _ in range(2):
            await talk.say()
            await talk.until("response.done")
        one, two = talk.of("input_audio_buffer.committed")
        assert one.item_id != two.item_id
        items = {event.item.id: event for event in talk.of("conversation.item.done")}
        assert [event.previous_item_id for event in items.values()] == [None, *list(items)[:-1]]

    place.served.arena.kit = FakeKit(["hello", "goodbye"])
    held(place, talk)
