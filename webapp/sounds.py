"""Ears and mouth of one connection: sound → words for both systems; the text of one of them → sound.

Recognising and synthesising take long: each has its turn on a pool of threads, one call at a time.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from duplex_runtime.clock import Clock
from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.events import Cut, Delta, Event, Heard, Input, SpeechEnd, SpeechStart, UserText, Voiced
from duplex_runtime.speech.base import (
    EAR_RATE,
    MOUTH_RATE,
    Chunk,
    EarEvent,
    Flush,
    Hypothesis,
    SpeechStarted,
    SpeechStopped,
)
from duplex_runtime.speech.ears import Ears, Microphone
from duplex_runtime.speech.echo import Echo, Likeness
from duplex_runtime.speech.kit import Kit
from duplex_runtime.speech.speaker import Speaker
from webapp.serial import Serial
from webapp.wire import AudioUpdate, Played

log = logging.getLogger(__name__)

#: Seconds of sound that may wait for the recogniser.
MOST_WAITING_SECONDS = 5.0
#: Echo cancellation is still learning for so long after the voice first spoke.
ECHO_GUARD_SECONDS = 3.0
#: A client that is so late for so long has lost sound: its time goes on with the present.
LATE_SECONDS, LATE_FOR_SECONDS = 0.5, 1.0


@dataclass(frozen=True)
class Frame:
    """What the microphone gave, None: it was switched off; and when it came."""

    data: bytes | None
    now: float


class Sounds:
    """See the module. `tell(input, at, system)` gives what was heard to one system, or to both (None)."""

    def __init__(
        self,
        kit: Kit,
        pool: Executor,
        clock: Clock,
        send: Callable[[dict[str, Any]], None],
        tell: Callable[[Input, float, str | None], None],
    ) -> None:
        self.kit, self._pool, self._clock, self._send, self._tell = kit, pool, clock, send, tell
        self.voice: str | None = None
        self.system = "duplex"
        self._microphone, self._rate = Microphone(), EAR_RATE
        self._ears: Ears | None = None
        self._echo = Echo(Likeness(guard_seconds=ECHO_GUARD_SECONDS))
        self._listening: Serial[Frame, list[EarEvent]] | None = None
        self._deaf = False  # the ears are missing or broke
        self._slow = False  # sound had to be left out
        self._next_at: float | None = None
        self._late_since: float | None = None
        self._talking = False
        self._partial = ""
        self._speaker: Speaker | None = None
        self._speaking: Serial[None, list[Chunk | Flush]] | None = None
        self._texts: dict[str, str] = {}  # answers of which sound may still be played
        self._expected: dict[str, int] = {}  # up to which character the microphone may hear them

    def about(self) -> dict[str, Any]:
        """What the page is told of ears and voices."""
        return {**self.kit.about(), "voice": self.voice, "system": self.system}

    async def update(self, audio: AudioUpdate) -> None:
        """Change what is sent or who is heard; raises BadInput for a voice that is not there."""
        if audio.rate is not None:
            self._rate = audio.rate
        voice = audio.voice if audio.voice_set else self.voice
        system = audio.system or self.system
        if (voice, system) == (self.voice, self.system):
            return
        made = None
        if voice not in (None, "browser"):  # a big one takes seconds to load, and nobody else shall wait for it
            made = await asyncio.get_running_loop().run_in_executor(self._pool, self.kit.voice, voice)
        await self._be_silent()
        self.voice, self.system = voice, system
        if made:
            self._speaker = speaker = Speaker(made, system, on_problem=lambda text: self._told_of("mouth", text))
            self._speaking = Serial(
                self._pool, lambda _: speaker.work(self._clock.now()), self._spoken, self._mute, self._wait_seconds
            )
            self._tell(Voiced(True), self._clock.now(), system)

    async def _be_silent(self) -> None:
        speaking, self._speaking = self._speaking, None
        if speaking:
            await speaking.close()
            self._tell(Voiced(False), self._clock.now(), self.system)
            for name in self._texts:
                self._flush(Flush(name, 0))
        self._speaker = None
        self._texts.clear()
        self._expected.clear()

    async def close(self) -> None:
        """Both threads are free again."""
        for serial in (self._listening, self._speaking):
            if serial:
                await serial.close()

    # — ears —

    def sound(self, data: bytes | None) -> None:
        """From the microphone; None: it was switched off."""
        if self._deaf:
            return
        if self._listening is None:
            if data is None:
                return
            self._listening = Serial(self._pool, self._listen, self._heard, self._deafen)
        if data and self._listening.waiting * len(data) > MOST_WAITING_SECONDS * 2 * self._rate:
            if not self._slow:
                self._told_of("ears", "this machine cannot follow what you say: some of it is left out; you may type")
            self._slow = True
            return
        self._listening.put(Frame(data, self._clock.now()))

    def _listen(self, frames: list[Frame]) -> list[EarEvent]:
        if self._deaf:
            return []
        if self._ears is None:
            self._ears = self.kit.ears()
        self._ears.hasty = bool(self._speaker and self._speaker.queued_seconds(self._clock.now()))
        events: list[EarEvent] = []
        for frame in frames:
            if frame.data is None:
                events += self._ears.close(frame.now)
                self._next_at = self._late_since = None
                continue
            samples = self._microphone.pcm(frame.data, self._rate)
            at = self._place(frame.now, len(samples) / EAR_RATE)
            events += self._ears.hear(samples, at, frame.now)
        return events

    def _place(self, now: float, seconds: float) -> float:
        """When the sound that came now began. Time is counted in samples: what was held up comes in a burst and fills
        its gap. What never came, for the page slept, leaves a gap."""
        latest = now - seconds
        at = latest if self._next_at is None else self._next_at
        if latest - at <= LATE_SECONDS:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        elif now - self._late_since > LATE_FOR_SECONDS:
            at, self._late_since = latest, None
        self._next_at = at + seconds
        return at

    def _heard(self, events: Sequence[EarEvent]) -> None:
        now = self._clock.now()
        for event in events if not self._deaf else ():
            match event:
                case SpeechStarted(at, noticed_at):
                    self._talking = True
                    self._tell(SpeechStart(), now, None)
                    self._send({"type": "input_audio_buffer.speech_started", **_times(at, noticed_at)})
                case SpeechStopped(at, noticed_at):
                    self._talking = False
                    self._tell(SpeechEnd(at), now, None)
                    self._send({"type": "input_audio_buffer.speech_stopped", **_times(at, noticed_at)})
                case Hypothesis():
                    self._understood(event, now)

    def _understood(self, hypothesis: Hypothesis, now: float) -> None:
        words = self._echo.sift(hypothesis.words)
        if words:
            text = " ".join(word.text for word in words) + " "
            self._tell(UserText(text, spoken=True), now, None)
            told = [
                {"text": w.text, **{k: round(getattr(w, k), 3) for k in ("start", "end", "committed_at")}}
                for w in words
            ]
            kind = "conversation.item.input_audio_transcription.delta"
            self._send({"type": kind, "at": round(now, 4), "delta": text, "words": told})
        if hypothesis.partial != self._partial:
            self._partial = hypothesis.partial
            self._send({"type": "duplex.hypothesis", "at": round(now, 4), "partial": self._partial})

    def _deafen(self, error: Exception) -> None:
        if isinstance(error, BadInput):  # of one frame
            self._problem("ears", error)
            return
        if self._deaf:
            return
        self._deaf = True
        if self._talking:  # or it would wait for the end of this sentence for ever
            self._talking = False
            now = self._clock.now()
            self._tell(SpeechEnd(now), now, None)
        self._problem("ears", error)

    # — mouth —

    def happened(self, events: Sequence[Event]) -> None:
        """What a conversation did."""
        if self._speaker and self._speaking:
            now = self._clock.now()
            for event in events:
                if event.system == self.system:
                    self._speaker.take(event, now)
                    self._note(event)
            self._speaking.put(None)

    def _note(self, event: Event) -> None:
        """What the answers say so far."""
        if isinstance(event, Delta):
            self._texts[event.response_id] = self._texts.get(event.response_id, "") + event.delta
        elif isinstance(event, Cut) and event.unheard:
            self._texts[event.response_id] = self._texts.get(event.response_id, "")[: -len(event.unheard)]

    def played(self, played: Played) -> None:
        """What came out of the loudspeaker."""
        if self._speaker and self._speaking:
            now = self._clock.now()
            characters = self._speaker.played(played.response_id, played.samples, now)
            self._tell(Heard(played.response_id, characters), now, self.system)
            self._speaking.put(None)

    def _wait_seconds(self) -> float | None:
        due = self._speaker.next_due() if self._speaker else None
        return None if due is None else due - self._clock.now()

    def _spoken(self, made: Sequence[Chunk | Flush]) -> None:
        for each in made:
            if isinstance(each, Flush):
                self._flush(each)
                continue
            self._expect_echo(each)
            self._send(
                {
                    "type": "response.output_audio.delta",
                    "system": self.system,
                    "response_id": each.response_id,
                    "start": each.start,
                    "delta": base64.b64encode(each.samples.astype("<i2").tobytes()).decode(),
                    "characters": list(each.characters),
                }
            )
        for name, samples in self._speaker.finished() if self._speaker else ():
            done = {"type": "response.output_audio.done", "system": self.system}
            self._send({**done, "response_id": name, "samples": samples})
            self._texts.pop(name, None)
            self._expected.pop(name, None)

    def _expect_echo(self, chunk: Chunk) -> None:
        if self._speaker:
            now = self._clock.now()
            until = now + self._speaker.queued_seconds(now)
            begin = max(chunk.characters[0], self._expected.get(chunk.response_id, 0))  # a word may span two chunks
            text = self._texts.get(chunk.response_id, "")[begin : chunk.characters[1]]
            self._expected[chunk.response_id] = chunk.characters[1]
            self._echo.said(text, until - len(chunk.samples) / MOUTH_RATE, until)

    def _flush(self, flush: Flush) -> None:
        self._echo.flushed(self._clock.now())
        self._expected.pop(flush.response_id, None)
        kind = "duplex.audio.flush"
        self._send({"type": kind, "system": self.system, "response_id": flush.response_id, "samples": flush.samples})

    def _mute(self, error: Exception) -> None:
        self._problem("mouth", error)

    def _problem(self, where: str, error: Exception) -> None:
        if not isinstance(error, DuplexError):
            log.error("the %s broke: %r", where, error, exc_info=error)
            error = DuplexError("internal", f"the {where} of the server broke; the talk goes on in text")
        self._told_of(where, str(error))

    def _told_of(self, where: str, message: str) -> None:
        self._send({"type": "duplex.audio.problem", "where": where, "message": message})


def _times(at: float, noticed_at: float) -> dict[str, float]:
    return {"at": round(at, 4), "noticed_at": round(noticed_at, 4)}
