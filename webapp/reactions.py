"""How a spoken talk was answered: what a recorded person said is compared with what a browser recorded.

talk = examine(said, heard)
talk.reactions[0].answer_at - talk.reactions[0].end     # seconds from the end of a question to the answer's sound
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from duplex_runtime.errors import DuplexError
from duplex_runtime.evaluation import sound
from duplex_runtime.speech.base import MOUTH_RATE
from webapp.heard import Heard
from webapp.person import RATE, Line, Recorded

#: An answer that is silent for longer is over: its pauses between sentences are shorter.
PAUSE_SECONDS = 0.7
#: Sound is compared with sound at this rate.
_COARSE = 8000
#: Seconds in which a browser opens its microphone, and that pass between two lines at most more than in the WAV.
_OPENING_SECONDS, _DRIFT_SECONDS = 12.0, 0.5

#: On the way from the end of a question to its answer.
STAGES = (
    "end of speech noticed",
    "words certain",
    "slice closed",
    "model decided",
    "first text at the page",
    "first sound at the page",
    "first sound heard",
)


@dataclass(frozen=True)
class Reaction:
    """What followed a line: seconds in the recording, None for what did not happen.

    begin, end: of its speech. understood: its words as they were recognised. answer_at: the first sound after it.
    lowered_at, silent_at: of an answer that it fell into (`fell_in`). yielded: the model stopped for it. went_on: that
    answer was said to its end. reached: when each of STAGES was.
    """

    line: Line
    begin: float
    end: float
    understood: str
    fell_in: bool
    answer_at: float | None
    lowered_at: float | None
    silent_at: float | None
    yielded: bool
    went_on: bool | None
    reached: tuple[float, ...] | None

    @property
    def waits(self) -> bool:
        """It asked for an answer and got none yet."""
        return self.line.kind in ("question", "explanation") and not self.fell_in and self.answer_at is None


@dataclass(frozen=True)
class Talk:
    """One talk: how its lines were answered, gaps in seconds, what the worklet counted, lines not found, and what the
    server said was wrong."""

    reactions: tuple[Reaction, ...]
    gaps: tuple[float, ...]
    counted: int
    lost: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def examine(said: Recorded, heard: Heard) -> Talk:
    """Compare what was said with what was recorded."""
    placed, lost = _places(said, heard)
    reactions: list[Reaction] = []
    begins = [begin for _, begin, _ in placed]
    for number, (line, begin, end) in enumerate(placed):
        until = begins[number + 1] if number + 1 < len(begins) else len(heard.loudspeaker) / heard.rate
        reaction = _react(line, begin, end, until, heard)
        if reactions and reaction.answer_at is not None and reaction.answer_at < end and reactions[-1].waits:
            # nobody answers what was not said yet: this is what the line before was waiting for
            before, late = reactions[-1], reaction.answer_at
            reached = _reached(heard, before.begin, before.end, late)
            reactions[-1] = replace(before, answer_at=late, reached=reached)
            reaction = replace(reaction, fell_in=True, answer_at=None, reached=None)
        reactions.append(reaction)
    counted = max((int(told.event.get("underruns", 0)) for told in heard.reports), default=0)
    wrong = [str(told.event.get("message")) for told in heard.of("duplex.audio.problem")]
    wrong += [str(told.event.get("error", {}).get("message")) for told in heard.of("error")]
    return Talk(tuple(reactions), tuple(_gaps(heard)), counted, tuple(lost), tuple(wrong))


def _places(said: Recorded, heard: Heard) -> tuple[list[tuple[Line, float, float]], list[str]]:
    """Each line with the seconds at which its speech begins and ends in the recording; and those not found."""
    microphone = sound.resampled(heard.microphone, heard.rate, _COARSE)
    shift, within = 0.0, _OPENING_SECONDS
    placed, lost = [], []
    for part in said.said:
        known = sound.resampled(part.sound, RATE, _COARSE)
        place, alike = sound.locate(known, microphone, _COARSE, part.place + shift, within)
        if alike < sound.ALIKE:
            lost.append(part.line.words)
        else:
            shift, within = place - part.place, _DRIFT_SECONDS
        placed.append((part.line, part.begin + shift, part.end + shift))
    if len(lost) == len(placed):
        raise DuplexError("no_sound", "nothing of what the person said was found in the sound of the microphone")
    return placed, lost


def _react(line: Line, begin: float, end: float, until: float, heard: Heard) -> Reaction:
    loudspeaker, rate = heard.loudspeaker, heard.rate
    fell_in = sound.is_sounding(loudspeaker, rate, begin, PAUSE_SECONDS)
    kind = "conversation.item.input_audio_transcription.delta"
    understood = " ".join(str(told.event.get("delta", "")).strip() for told in heard.of(kind, begin, until))
    answer_at = lowered_at = silent_at = went_on = None
    yielded = bool(heard.of("duplex.yield", begin, until, system="duplex"))
    if fell_in:
        lowered_at = sound.lowered_at(heard.voice, loudspeaker, rate, begin, begin + 1.5)
        silent_at = sound.next_silence(loudspeaker, rate, begin, PAUSE_SECONDS)
        went_on = _went_on(heard, begin)
    else:
        answer_at = sound.next_sound(loudspeaker, rate, begin, until)
    reached = _reached(heard, begin, end, answer_at) if answer_at else None
    return Reaction(line, begin, end, understood, fell_in, answer_at, lowered_at, silent_at, yielded, went_on, reached)


def _went_on(heard: Heard, at: float) -> bool | None:
    """Was the answer that sounds at `at` said to its end? None if that is not known."""
    begun = [t for t in heard.of("response.output_audio.delta", until=at)]
    if not begun:
        return None
    answer = begun[-1].event["response_id"]
    done = [t for t in heard.of("response.done") if answer in (t.event.get("response_id"), _id(t.event))]
    if not done:
        return None
    sounded = [t for t in heard.reports if t.event["response_id"] == answer]
    to_its_end = bool(sounded) and sounded[-1].event.get("reason") == "ended"
    return done[-1].event.get("status") == "completed" and to_its_end


def _id(event: dict[str, Any]) -> str | None:
    response = event.get("response")
    return response.get("id") if isinstance(response, dict) else None


def _reached(heard: Heard, begin: float, end: float, answer_at: float) -> tuple[float, ...] | None:
    """When each stage of an answer was reached, never before the one before it; None if it cannot be told."""
    late = answer_at + 0.05  # what is told and what is heard come by different ways
    created = heard.of("response.created", begin, late, system="duplex")
    if not created:
        return None
    answer = _id(created[-1].event)
    decided = created[-1].at

    def last(kind: str, until: float) -> float:
        return max((t.at for t in heard.of(kind, begin, until)), default=end)

    def first(kind: str) -> float:
        return min((t.at for t in heard.of(kind, begin, late, response_id=answer)), default=decided)

    difference = _session_clock(heard)
    closed = [t.event["at"] + difference for t in heard.of("duplex.slice", begin, late, system="duplex", idle=False)]
    moments = (
        last("input_audio_buffer.speech_stopped", decided),
        last("conversation.item.input_audio_transcription.delta", decided),
        max(closed, default=decided),
        decided,
        first("response.output_text.delta"),
        first("response.output_audio.delta"),
        answer_at,
    )
    return tuple(float(m) for m in np.maximum.accumulate([end, *moments])[1:])


def _session_clock(heard: Heard) -> float:
    """What is to be added to a time of the session: what is told at once arrives at the least difference."""
    at_once = ("conversation.item.input_audio_transcription.delta", "duplex.hypothesis")
    return min((t.at - t.event["at"] for t in heard.received if t.type in at_once), default=0.0)


def _gaps(heard: Heard) -> list[float]:
    """Gaps that answers have in the sound of the voice and not in what was sent, seconds. One that was flushed and went
    on in other words has a joint that was meant."""
    voice = sound.resampled(heard.voice, heard.rate, _COARSE)
    gaps: list[float] = []
    for answer, sent in _sent(heard).items():
        reports = [(t.at, t.event.get("reason")) for t in heard.reports if t.event["response_id"] == answer]
        begun = [at for at, reason in reports if reason == "begun"]
        if begun and not any(reason == "flushed" for _, reason in reports):
            gaps += sound.stalls(sound.resampled(sent, MOUTH_RATE, _COARSE), voice, _COARSE, begun[0])
    return gaps


def _sent(heard: Heard) -> dict[str, np.ndarray]:
    """The sound of each answer as the page was told to play it, float32[n] at MOUTH_RATE."""
    answers: dict[str, np.ndarray] = {}
    for told in heard.received:
        event = told.event
        if told.type == "response.output_audio.delta":
            before = answers.get(event["response_id"], np.zeros(0, np.float32))[: event["start"]]
            samples = np.frombuffer(base64.b64decode(event["delta"]), "<i2").astype(np.float32) / 32768
            gap = np.zeros(max(0, event["start"] - len(before)), np.float32)
            answers[event["response_id"]] = np.concatenate([before, gap, samples])
        elif told.type == "duplex.audio.flush" and event["response_id"] in answers:
            answers[event["response_id"]] = answers[event["response_id"]][: event["samples"]]
    return answers
