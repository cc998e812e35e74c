from __future__ import annotations

import json
from typing import Any

import pytest

from duplex_runtime.errors import BadInput
from webapp.openai_session import Wishes, changed, described, opening, system_of
from webapp.wire import SessionUpdate, parse

HERE = Wishes(voices=("espeak", "coqui"))


def test_answers_are_spoken_unless_they_are_not_wanted() -> None:
    assert HERE.heard == "espeak"
    assert Wishes().heard is None  # there is no voice
    text, ours, _ = changed(HERE, {"output_modalities": ["text"]})
    assert text.heard is None
    assert ours["audio"]["output"] == {"voice": None}
    again, ours, _ = changed(text, {"output_modalities": ["audio"]})
    assert again.heard == "espeak"
    assert ours["audio"]["output"] == {"voice": "espeak"}


def test_a_voice_is_kept_while_it_is_silent() -> None:
    wishes, _, _ = changed(HERE, {"output_modalities": ["text"], "audio": {"output": {"voice": "coqui"}}})
    assert wishes.heard is None
    wishes, _, _ = changed(wishes, {"output_modalities": ["audio"]})
    assert wishes.heard == "coqui"


def test_voices_of_theirs_become_the_default_and_are_listed() -> None:
    for voice in ("marin", {"id": "voice_1234"}):
        wishes, ours, ignored = changed(HERE, {"audio": {"output": {"voice": voice}}})
        assert (wishes.heard, ours, ignored) == ("espeak", {}, ("audio.output.voice",))
    assert changed(HERE, {"audio": {"output": {"voice": {"id": "coqui"}}}})[0].heard == "coqui"


def test_sound_without_a_voice_is_ignored() -> None:
    assert changed(Wishes(), {"output_modalities": ["audio"]})[2] == ("output_modalities",)


def test_what_is_so_anyway_is_not_listed() -> None:
    detection = {"type": "server_vad", "create_response": True, "interrupt_response": True}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    assert changed(HERE, session)[1:] == ({}, ())


def test_ours_may_stand_beside_theirs() -> None:
    assert changed(HERE, {"slice_seconds": 2, "baseline": "strict"})[1] == {"slice_seconds": 2, "baseline": "strict"}


@pytest.mark.parametrize("system", ["duplex", "turns"])
def test_the_opening_is_an_update_that_our_server_takes(system: str) -> None:
    update = parse(json.dumps({"type": "session.update", "session": opening(system, HERE)}))
    assert isinstance(update, SessionUpdate)
    assert (update.model, update.baseline) == (system, "barge-in" if system == "turns" else None)
    assert update.audio and (update.audio.rate, update.audio.voice, update.audio.system) == (24_000, "espeak", system)


@pytest.mark.parametrize(
    "session",
    [
        {"type": "transcription"},
        {"output_modalities": ["text", "image"]},
        {"output_modalities": "text"},
        {"audio": []},
        {"audio": {"input": 5}},
        {"audio": {"input": {"format": {"type": "audio/pcma"}}}},
        {"audio": {"output": {"format": {"type": "audio/pcm", "rate": 16000}}}},
    ],
)
def test_what_cannot_be_is_refused_in_words(session: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"session\.update: expected .*got"):
        changed(HERE, session)


def test_the_model_is_one_of_ours() -> None:
    assert system_of({}) == "duplex"
    assert system_of({"model": "turns"}) == "turns"
    with pytest.raises(BadInput, match="duplex or turns"):
        system_of({"model": "gpt-realtime"})


def test_a_deaf_and_dumb_server_says_so() -> None:
    told = described("duplex", {"id": "s-1", "audio": {"ears": None, "voice": None}})
    assert told["output_modalities"] == ["text"]
    assert told["audio"]["input"]["transcription"] is None
