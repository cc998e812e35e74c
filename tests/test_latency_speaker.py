"""One who speaks: stages of what they heard, and how they speak and listen."""

import base64
import json
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from tests.latency_fakes import at, let_in, refuse, say
from webapp.latency import speaker
from webapp.latency.speaker import Listened, spoken_stages
from webapp.latency.times import SliceTimes, Times


def test_the_stages_of_a_spoken_question() -> None:
    def told(arrived: float, kind: str, **values: Any) -> tuple[float, dict[str, Any]]:
        return 100 + arrived, {"type": kind, **values}

    certain, delta = "conversation.item.input_audio_transcription.delta", {"response_id": "d-1", "slice": 4}
    events = [
        told(1.002, "duplex.hypothesis", at=51.0),  # the session began at 50.002 of this clock, and one takes 2 ms
        told(2.9, certain, at=52.8),
        told(2.9, "input_audio_buffer.speech_stopped", at=52.0, noticed_at=52.4),
        told(3.1, "response.created", response={"id": "d-1"}),
        told(3.11, "response.output_text.delta", **delta),
        told(3.2, "response.output_text.delta", **delta),
        told(3.31, "response.output_audio.delta", response_id="d-1"),
        told(6.0, "response.created", response={"id": "d-2"}),  # begins while the next one is still being said
        told(6.1, "response.output_text.delta", response_id="d-2", slice=5),
        told(6.2, "response.output_audio.delta", response_id="d-2"),
    ]
    server = Times([SliceTimes(due=103.0, closed=103.05, laid=103.05, index=4)])
    stages = spoken_stages([(1.0, 2.0), (5.5, 6.5)], Listened(100.0, events), server)
    expected = {
        "end of speech noticed": 402, "words certain": 498, "slice closed": 150, "model decided": 50,
        "first text at the page": 10, "first sound at the page": 200,
    }  # fmt: skip
    assert stages == {stage: [pytest.approx(value)] for stage, value in expected.items()}
    assert spoken_stages([(1.0, 2.0)], Listened(100.0, events[:-4]), server) == {}  # never said aloud


def test_one_who_cannot_speak_says_why() -> None:
    heard = at([let_in], lambda port: speaker._speak(port, bytes(640)))
    assert (heard.problem, heard.events) == ("no ears here", [])
    assert at([refuse], lambda port: speaker._speak(port, bytes(640))).problem == "nobody else today"


def test_one_who_speaks_sends_sound_and_tells_what_was_played() -> None:
    got: list[dict[str, Any]] = []

    async def hear(socket: ServerConnection) -> None:
        await let_in(socket, "a recogniser")
        sound = base64.b64encode(bytes(2 * 240)).decode()
        await say(socket, "response.output_audio.delta", response_id="d-1", start=0, delta=sound)
        await say(socket, "duplex.slice", index=0)
        await socket.send(json.dumps({"type": "duplex.slice", "system": "turns"}))
        await socket.send(json.dumps({"type": "duplex.audio.problem", "message": "a dry mouth"}))
        async for message in socket:
            got.append(json.loads(message))

    heard = at([hear], lambda port: speaker._speak(port, bytes(640 * 3)))
    assert got[0]["session"]["audio"]["output"] == {"voice": "tone", "system": "duplex"}
    frames = [base64.b64decode(m["audio"]) for m in got if m["type"] == "input_audio_buffer.append"]
    assert frames == [bytes(640)] * 3
    played = [m for m in got if m["type"] == "duplex.audio.played"]
    assert [(m["response_id"], m["samples"], m["playing"]) for m in played] == [("d-1", 240, False)]
    kinds = ["response.output_audio.delta", "duplex.slice", "duplex.audio.problem"]
    assert [event["type"] for _, event in heard.events] == kinds
    assert heard.problem == "a dry mouth"
