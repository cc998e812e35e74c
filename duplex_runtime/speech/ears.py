"""The ears of one person: a voice-activity gate in front of a recogniser; sound in, events out.

    ears = Ears(VoiceActivity(load_session()), sphinx.listen())
    samples = microphone.pcm(frame)
    for event in ears.hear(samples, at=12.5, now=12.6):    # SpeechStarted, Hypothesis, SpeechStopped
        …

No clocks and no threads: the caller says when, and calls from one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.speech.base import EAR_RATE, EarEvent, Hypothesis, Listening, SpeechStarted, SpeechStopped
from duplex_runtime.speech.vad import Activity, Began, Ended, Gate, Part, Thresholds

Answer = TypeVar("Answer")

#: Samples a second that a microphone may send.
RATES = (16_000, 24_000)
#: Seconds of sound in one frame; more is not live, and would hold up everybody else.
MOST_SECONDS = 2.0
#: A hole in the sound of more seconds than this ends what was being said.
_GAP_SECONDS = 0.1


def _low_pass(taps: int = 97, cutoff: float = 7_400, rate: float = 48_000) -> np.ndarray:
    """A windowed sinc with sum 1 for what EAR_RATE can carry; delays by half of its length, 1 ms."""
    n = np.arange(taps) - taps // 2
    filter_ = np.sinc(2 * cutoff / rate * n) * np.blackman(taps)
    return filter_ / filter_.sum()


_LOW_PASS = _low_pass()


class Microphone:
    """Turns what one microphone sends into samples at EAR_RATE. Keeps the end of the last frame, so that frames join
    without a click."""

    def __init__(self) -> None:
        self._rate = 0

    def pcm(self, data: bytes, rate: int) -> np.ndarray:
        """PCM16 little-endian mono at `rate` (16,000 or 24,000) → int16[n] at EAR_RATE, without its mean. Of 24 kHz it
        comes a millisecond late. Raises BadInput for another rate, half a sample, or a frame of more than 2 s."""
        if rate not in RATES:
            raise BadInput(f"audio: expected a rate of 16000 or 24000 samples a second, got {rate}")
        if len(data) % 2:
            raise BadInput(f"audio: expected whole samples of 2 bytes each, got {len(data)} bytes")
        if len(data) > 2 * rate * MOST_SECONDS:
            raise BadInput(
                f"audio: expected at most {MOST_SECONDS:g} s in one frame, got {len(data) / 2 / rate:.1f} s; send "
                "frames of 20 to 100 ms"
            )
        if rate != self._rate:
            self._begin(rate)
        sound = np.frombuffer(data, "<i2").astype(np.float64)
        if not len(sound):
            return np.zeros(0, np.int16)
        sound = self._centred(sound)
        if rate != EAR_RATE:
            sound = self._resampled(sound)
        return np.round(sound).clip(-32768, 32767).astype(np.int16)

    def _begin(self, rate: int) -> None:
        self._rate = rate
        self._mean = 0.0
        self._seen = 0  # samples
        self._tail = np.zeros(len(_LOW_PASS) - 1)  # the latest samples at twice the rate
        self._skip = 0  # of the next ones, up to the one that is taken

    def _centred(self, sound: np.ndarray) -> np.ndarray:
        """Without the constant that some sound cards add; it is followed over half a second."""
        self._seen += len(sound)
        share = min(len(sound) / min(self._seen, 0.5 * self._rate), 1.0)  # the mean of all, then of the latest
        mean = self._mean + (float(sound.mean()) - self._mean) * share
        before, self._mean = (self._mean if self._seen > len(sound) else mean), mean
        return sound - np.linspace(before, mean, len(sound))

    def _resampled(self, sound: np.ndarray) -> np.ndarray:
        """Two thirds of the samples: a zero between any two, a low-pass filter, every third."""
        doubled = np.zeros(2 * len(sound))
        doubled[::2] = 2 * sound
        joined = np.concatenate([self._tail, doubled])
        self._tail = joined[-len(self._tail) :]
        smooth = np.convolve(joined, _LOW_PASS, "valid")
        taken = smooth[self._skip :: 3]
        self._skip = (self._skip - len(smooth)) % 3
        return taken


class Ears:
    """Hears one person. `vad` and `listening` belong to it alone."""

    def __init__(self, vad: Activity, listening: Listening, thresholds: Thresholds | None = None) -> None:
        self._gate = Gate(vad, thresholds or Thresholds())
        self._listening = listening
        self._broken = False
        self._expected: float | None = None  # where the next sample should be
        self._partial = ""

    @property
    def hasty(self) -> bool:
        """Somebody may be breaking in (`Listening.hasty`)."""
        return self._listening.hasty

    @hasty.setter
    def hasty(self, hasty: bool) -> None:
        self._listening.hasty = hasty

    @property
    def speaking(self) -> bool:
        """Somebody is speaking, or was a moment ago."""
        return self._gate.open

    def hear(self, samples: np.ndarray, at: float, now: float) -> list[EarEvent]:
        """int16[n] at EAR_RATE, the first of them at `at` → what was noticed, in order. A hypothesis comes only where
        something is new. Raises DuplexError `ears_broke` once if the recogniser fails; after it the ears are deaf."""
        if self._broken:
            return []
        events: list[EarEvent] = []
        if self._expected is not None and abs(at - self._expected) > _GAP_SECONDS:
            events += self.close(now)
        self._expected = at + len(samples) / EAR_RATE
        return events + self._follow(self._gate.feed(samples, at), now)

    def close(self, now: float) -> list[EarEvent]:
        """The microphone is off: whatever was being said is over. Sound that comes later begins anew."""
        self._expected = None
        return [] if self._broken else self._follow(self._gate.close(), now)

    def _follow(self, parts: Sequence[Part], now: float) -> list[EarEvent]:
        events: list[EarEvent] = []
        for part in parts:
            if isinstance(part, Began):
                events.append(SpeechStarted(part.at, now))
                self._ask(self._listening.begin, part.sound_at)
            elif isinstance(part, Ended):
                events += self._told(self._ask(self._listening.end, now))  # the last words belong to what has ended
                events.append(SpeechStopped(part.at, now))
            else:
                events += self._told(self._ask(self._listening.feed, part.samples, now))
        return events

    def _told(self, hypothesis: Hypothesis) -> list[EarEvent]:
        new = hypothesis.words or hypothesis.partial != self._partial
        self._partial = hypothesis.partial
        return [hypothesis] if new else []

    def _ask(self, question: Callable[..., Answer], *given: Any) -> Answer:
        try:
            return question(*given)
        except Exception as error:  # a native library, a model: whatever it is, the talk goes on in text
            self._broken = True
            self._gate.reset()
            raise DuplexError(
                "ears_broke",
                f"speech is no longer recognised ({type(error).__name__}: {error}); type instead, or reload the page "
                "to try again",
            ) from error
