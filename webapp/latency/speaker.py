"""One who speaks to the server of `duplex bench latency`: what happens from the end of a question to the first sound.

missing: list[str] = []
speak_some(port, watched.times, missing)     # {"end of speech noticed": [402.0, …], …}: milliseconds of each question

A speech synthesiser says the questions, and the sound is sent in frames as a microphone gives it. The process from
which it is sent needs no torch.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import DuplexError
from webapp.latency.people import PATIENCE_SECONDS, enter, in_a_process
from webapp.latency.times import Times

if TYPE_CHECKING:  # it imports numpy
    from webapp.person import Recorded

#: Sound of the one who speaks: int16 at so many samples a second, in frames; silent for so long after a question.
_SOUND_RATE, _FRAME_SECONDS, _SILENT_SECONDS = 16_000, 0.02, 4.5
#: Samples a second of what they hear, and how often they tell what was played.
_VOICE_RATE, _REPORT_SECONDS = 24_000, 0.1
_CERTAIN = "conversation.item.input_audio_transcription.delta"


@dataclass
class Listened:
    """What one who speaks saw: when their sound began on the monotonic clock, and what arrived when. problem: why they
    could not speak."""

    begun: float = math.nan
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    problem: str = ""


async def _speak(port: int, sound: bytes) -> Listened:
    """Send sound as a microphone gives it, and hear the answers to it."""
    from websockets.exceptions import ConnectionClosed

    heard = Listened()
    try:
        socket, session = await enter(port)
    except (DuplexError, OSError) as error:
        return Listened(problem=str(error))
    audio = session["audio"]
    if not audio["ears"] or not audio["voices"]:
        await socket.close()
        return Listened(problem=audio["note"] or "no voice is installed here: pip install 'duplex-arena[voice]'")
    played: asyncio.Queue[tuple[str, int, int]] = asyncio.Queue()
    tasks = [asyncio.create_task(_listen(socket, heard, played)), asyncio.create_task(_play(socket, played))]
    try:
        form = {"format": {"type": "audio/pcm", "rate": _SOUND_RATE}}
        output = {"voice": audio["voices"][0]["id"], "system": "duplex"}
        await socket.send(
            json.dumps({"type": "session.update", "session": {"audio": {"input": form, "output": output}}})
        )
        heard.begun, size = time.monotonic(), 2 * round(_FRAME_SECONDS * _SOUND_RATE)
        for n in range(len(sound) // size):
            await asyncio.sleep(heard.begun + (n + 1) * _FRAME_SECONDS - time.monotonic())
            frame = base64.b64encode(sound[n * size :][:size]).decode()
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": frame}))
    except ConnectionClosed:
        heard.problem = "the connection was closed in the middle of the talk"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await socket.close()
    return heard


async def _listen(socket: Any, heard: Listened, played: asyncio.Queue[tuple[str, int, int]]) -> None:
    async for message in socket:
        now, event = time.monotonic(), json.loads(message)
        if event["type"] == "response.output_audio.delta":
            samples = len(base64.b64decode(event.pop("delta"))) // 2
            played.put_nowait((event["response_id"], event["start"], event["start"] + samples))
        if event.get("system") in (None, "duplex"):
            heard.events.append((now, event))
        problem = event["type"] in ("error", "duplex.audio.problem")
        heard.problem = heard.problem or (str(event.get("message", event.get("error"))) if problem else "")


async def _play(socket: Any, sounds: asyncio.Queue[tuple[str, int, int]]) -> None:
    """A loudspeaker without sound: tells what it would have played."""
    while True:
        name, at, end = await sounds.get()
        while at < end:
            step = min(round(_REPORT_SECONDS * _VOICE_RATE), end - at)
            await asyncio.sleep(step / _VOICE_RATE)
            at += step
            report = {"response_id": name, "samples": at, "playing": at < end}
            await socket.send(json.dumps({"type": "duplex.audio.played", **report}))


def speak_some(port: int, times: list[Times], missing: list[str]) -> dict[str, list[float]]:
    """Milliseconds of each stage of a few spoken questions; empty if nobody can speak here: `missing` gets why."""
    try:
        said, sound = _questions_aloud()
        times.clear()
        heard = in_a_process(_speak, port, sound, most_seconds=said.seconds + 2 * PATIENCE_SECONDS)
    except DuplexError as error:
        missing.append(f"spoken questions: {error}")
        return {}
    stages = spoken_stages([(s.begin, s.end) for s in said.said], heard, times[-1] if times else Times())
    answered = len(next(iter(stages.values()), ()))
    if heard.problem or answered < len(said.said):
        why = f" ({heard.problem})" if heard.problem else ""
        missing.append(f"spoken questions: {answered} of {len(said.said)} were answered aloud{why}")
    return stages


def _questions_aloud() -> tuple[Recorded, bytes]:
    """Four questions in one voice: when each begins and ends, and int16 at _SOUND_RATE."""
    import numpy as np

    from duplex_runtime.alignment.corpus import load
    from duplex_runtime.evaluation.sound import resampled
    from webapp.bench_voice import script
    from webapp.person import RATE, espeak, flite, has_flite, recorded

    lines = [replace(line, after=_SILENT_SECONDS) for line in script(load(), 0) if line.kind == "question"]
    said = recorded(lines, flite("slt") if has_flite() else espeak("en-us"))
    samples = np.clip(resampled(said.sound, RATE, _SOUND_RATE), -1, 1)
    return said, (samples * 32767).astype("<i2").tobytes()


def spoken_stages(spoken: Sequence[tuple[float, float]], heard: Listened, server: Times) -> dict[str, list[float]]:
    """Milliseconds of each stage, for each question that was answered aloud once it was over; empty if none was.

    spoken: when each question begins and ends, seconds of the sound. The stages are those of `reactions.STAGES` but the
    last: nobody hears it here. The end of speech is noticed when the server says it was, on the session's clock: the
    news comes with the last words, so that what recognising takes would look like noticing.
    """
    from webapp.reactions import STAGES as NAMES

    closed = {each.index: each.closed for each in server.slices}
    session = _session_began(heard)
    begins = [heard.begun + begin for begin, _ in spoken]
    stages: dict[str, list[float]] = {}

    def arrivals(kind: str, since: float, until: float, **values: Any) -> list[tuple[float, dict[str, Any]]]:
        return [
            (at, e)
            for at, e in heard.events
            if e["type"] == kind and since <= at < until and values.items() <= e.items()
        ]

    for begin, end, until in zip(begins, (heard.begun + e for _, e in spoken), [*begins[1:], math.inf], strict=True):
        created = arrivals("response.created", begin, until)
        if not created or created[0][0] < end:
            continue
        decided, name = created[0][0], created[0][1]["response"]["id"]
        text = arrivals("response.output_text.delta", begin, until, response_id=name)
        sound = arrivals("response.output_audio.delta", begin, until, response_id=name)
        if not text or not sound:
            continue
        noticed = [session + e["noticed_at"] for _, e in arrivals("input_audio_buffer.speech_stopped", begin, decided)]
        certain = [at for at, _ in arrivals(_CERTAIN, begin, decided)]
        moments = [end, *(each[-1] if each else end for each in (noticed, certain))]
        moments += [closed.get(text[0][1]["slice"], end), decided, text[0][0], sound[0][0]]
        for stage, (one, next_one) in zip(NAMES, pairwise(accumulate(moments, max)), strict=False):
            stages.setdefault(stage, []).append(1000 * (next_one - one))
    return stages


def _session_began(heard: Listened) -> float:
    """On the monotonic clock: what is told at once arrives at the least difference."""
    return min((at - e["at"] for at, e in heard.events if e["type"] in (_CERTAIN, "duplex.hypothesis")), default=0.0)
