"""Ears and mouth over the real WebSocket, with a recogniser that knows its words and a voice that is a tone."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duplex_runtime.recording import read_log
from tests.speech_fakes import LOUD, SILENT, FakeKit, Tone, frame
from tests.web_fakes import Client, Place, eventually

Make = Callable[..., tuple[Place, Client]]


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Make]:
    """A place with ears that hear `texts`, and a client in it whose session has begun."""
    opened: list[Any] = []

    def make(*texts: str, voice: Tone | None = None, deaf: bool = False, **session: Any) -> tuple[Place, Client]:
        place = Place(tmp_path, kit=FakeKit(texts, voice, deaf))
        client = Client(place.served.ws)
        opened.extend((place, client))
        client.send({"type": "session.update", "session": session})
        client.until("session.created")
        return place, client

    yield make
    for each in reversed(opened):
        each.close()


ALOUD = {"output": {"voice": "tone"}}


def say(client: Client, seconds: float = 0.4) -> None:
    """So long of somebody speaking, then enough silence to be sure that they have stopped."""
    for samples, many in ((LOUD, seconds), (SILENT, 0.6)):
        for _ in range(round(many / 0.02)):
            client.send(frame(samples))


def sound_of(client: Client, system: str = "duplex") -> np.ndarray:
    """All samples that came, each where it belongs."""
    chunks = client.of("response.output_audio.delta", system)
    parts = [np.frombuffer(base64.b64decode(c["delta"]), "<i2") for c in chunks]
    sound = np.zeros(max((c["start"] + len(p) for c, p in zip(chunks, parts, strict=True)), default=0), np.int16)
    for chunk, part in zip(chunks, parts, strict=True):
        sound[chunk["start"] : chunk["start"] + len(part)] = part
    return sound


# — ears —


def test_what_is_said_is_heard_by_both(talk: Make) -> None:
    _, client = talk("hello")
    say(client)
    started = client.first("input_audio_buffer.speech_started")
    heard = client.until("conversation.item.input_audio_transcription.delta")
    stopped = client.first("input_audio_buffer.speech_stopped")
    assert heard["delta"] == "hello "
    assert [w["text"] for w in heard["words"]] == ["hello"]
    assert started["at"] < stopped["at"]
    assert {e["partial"] for e in client.of("duplex.hypothesis")} == {"hello", ""}
    for system in ("duplex", "turns"):
        client.first("response.done", system=system)
        assert client.said(system) == "hi you"


def test_speech_has_no_enter_and_needs_none(talk: Make) -> None:
    _, client = talk("hello")
    say(client)
    reaction = client.until("duplex.reaction", system="duplex")
    stopped = client.of("input_audio_buffer.speech_stopped")[0]
    assert reaction["from"] <= stopped["at"] < reaction["to"]


def test_sound_at_24_khz_is_the_same(talk: Make) -> None:
    _, client = talk("hello", audio={"input": {"format": {"type": "audio/pcm", "rate": 24000}}})
    more = (8000 * np.sin(2 * np.pi * 200 * np.arange(480) / 24000)).astype(np.int16)
    for samples, many in ((more, 20), (np.zeros(480, np.int16), 30)):
        for _ in range(many):
            client.send(frame(samples))
    stopped = client.first("input_audio_buffer.speech_stopped")
    started = client.of("input_audio_buffer.speech_started")[0]
    assert 0.3 < stopped["at"] - started["at"] < 0.5


def test_a_microphone_that_is_switched_off_ends_the_sentence(talk: Make) -> None:
    _, client = talk("hello")
    for _ in range(20):
        client.send(frame(LOUD))
    client.first("input_audio_buffer.speech_started")
    client.send({"type": "input_audio_buffer.commit"})
    client.first("input_audio_buffer.speech_stopped")
    client.first("response.done", system="duplex")


def test_typing_and_speaking_mix(talk: Make) -> None:
    _, client = talk("hello")
    client.type("well, ")
    say(client)
    client.first("response.done", system="duplex")
    assert [e["user"] for e in client.of("duplex.slice") if e["user"]] == ["well, hello"]


@pytest.mark.parametrize("audio", [None, "", "AA==", "!!", 5])
def test_sound_that_is_none_is_refused_and_the_talk_goes_on(talk: Make, audio: Any) -> None:
    _, client = talk("hello")
    client.send({"type": "input_audio_buffer.append", "audio": audio})
    assert "expected audio, 16-bit samples" in client.until("error")["error"]["message"]
    say(client)
    client.first("response.done", system="duplex")


def test_without_ears_the_talk_goes_on_in_text(talk: Make) -> None:
    _, client = talk(deaf=True)
    assert client.events[0]["session"]["audio"]["ears"] is None
    say(client)
    problem = client.until("duplex.audio.problem")
    assert (problem["where"], problem["message"]) == ("ears", "install the ears first")
    client.type("hello.")
    client.first("response.done", system="duplex")
    assert len(client.of("duplex.audio.problem")) == 1


def test_ears_that_break_end_the_sentence_and_the_talk_goes_on_in_text(talk: Make) -> None:
    _, client = talk("BREAK")
    say(client)
    assert "no longer recognised" in client.until("duplex.audio.problem")["message"]
    client.type("hello.")
    client.first("response.done", system="duplex")


# — mouth —


def test_an_answer_is_spoken(talk: Make) -> None:
    _, client = talk(audio=ALOUD)
    client.type("hello.")
    done = client.until("response.output_audio.done", system="duplex")
    sound = sound_of(client)
    assert len(sound) == done["samples"]
    assert len(sound) / 24000 == pytest.approx(0.6, abs=0.35)  # two words of 0.3 s, and what joins them
    assert np.abs(sound).max() > 3000
    spans = [tuple(c["characters"]) for c in client.of("response.output_audio.delta")]
    assert spans[0][0] == 0 and spans[-1][1] == len("hi you")
    assert not client.of("response.output_audio.delta", "turns")


def test_nothing_is_spoken_unless_asked_for(talk: Make) -> None:
    _, client = talk()
    client.type("hello.")
    client.first("response.done", system="duplex")
    assert not client.of("response.output_audio.delta")


def test_memory_ends_with_the_word_that_was_heard(talk: Make) -> None:
    place, client = talk(audio=ALOUD)
    client.type("count.")
    client.until("response.output_audio.delta", system="duplex")
    for _ in range(3):  # three words and a bit, and then it is stopped
        client.send({"type": "duplex.audio.played", "response_id": "duplex-1", "samples": 23000, "playing": True})
    client.type("stop.")
    cut = client.until("duplex.cut", system="duplex")
    client.send({"type": "duplex.audio.played", "response_id": "duplex-1", "samples": 23000, "playing": True})
    flush = client.until("duplex.audio.flush", system="duplex")
    assert client.first("response.done", system="duplex")["status"] == "cancelled"
    kept = client.said()[: -len(cut["unheard"])].split()
    assert 3 <= len(kept) <= 5  # what was told, and what has sounded since
    assert flush["response_id"] == "duplex-1"
    client.close()
    eventually(lambda: place.served.sessions() == 0, "the session is over")
    lines = read_log(next(Path(place.settings.data).rglob("*.jsonl")))["duplex"].lines
    assert any(line.get("heard") == len("n0 n1 n2") for line in lines)


def test_the_other_system_may_be_heard_instead_at_any_moment(talk: Make) -> None:
    _, client = talk(audio=ALOUD)
    client.type("count.")
    client.until("response.output_audio.delta", system="duplex")
    client.send({"type": "session.update", "session": {"audio": {"output": {"system": "turns"}}}})
    assert client.until("duplex.audio.flush", system="duplex")["samples"] == 0
    assert client.until("session.updated")["session"]["audio"]["system"] == "turns"
    client.enter()
    client.until("response.output_audio.delta", system="turns")


def test_a_voice_that_is_not_there_is_refused(talk: Make) -> None:
    _, client = talk()
    client.send({"type": "session.update", "session": {"audio": {"output": {"voice": "opera"}}}})
    assert "expected tone, got 'opera'" in client.until("error")["error"]["message"]


def test_a_voice_that_breaks_leaves_the_text(talk: Make) -> None:
    _, client = talk(voice=Tone(broken=True), audio=ALOUD)
    client.type("hello.")
    assert "the tone is broken" in client.until("duplex.audio.problem")["message"]
    client.first("response.done", system="duplex")
    assert client.said() == "hi you"


def test_slices_and_baseline_are_still_set_once(talk: Make) -> None:
    _, client = talk(baseline="barge-in")
    assert client.events[0]["session"]["baseline"] == "barge-in"
    client.send({"type": "session.update", "session": {"baseline": "strict"}})
    assert client.until("error")["error"]["code"] == "session_began"


def test_a_spoken_session_replays_to_the_same_tokens(talk: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place, client = talk("hello", audio=ALOUD)
    session = client.events[0]["session"]["id"]
    say(client)
    client.until("response.output_audio.delta", system="duplex")
    client.send({"type": "duplex.audio.played", "response_id": "duplex-1", "samples": 14400, "playing": False})
    client.first("response.done", system="duplex")
    client.close()
    assert place.replay(session, monkeypatch) == 0


def test_what_the_loudspeaker_says_is_not_taken_for_the_person(talk: Make) -> None:
    _, client = talk("hi you", "stop", audio=ALOUD)
    client.type("hello.")
    client.until("response.output_audio.done", system="duplex")
    say(client, 0.3)
    client.first("input_audio_buffer.speech_stopped")
    say(client, 0.3)
    heard = client.first("conversation.item.input_audio_transcription.delta")
    assert heard["delta"] == "stop "
