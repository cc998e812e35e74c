"""Ears and a mouth for tests: loud is speech, the words come from a list, the voice is a tone a word."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.speech.base import EAR_RATE, MOUTH_RATE, Hypothesis, Utterance, Word
from duplex_runtime.speech.ears import Ears
from duplex_runtime.speech.vad import FRAME

#: 20 ms of somebody speaking, and of nobody.
LOUD = (8000 * np.sin(2 * np.pi * 200 * np.arange(320) / EAR_RATE)).astype(np.int16)
SILENT = np.zeros(320, np.int16)


class Loudness:
    """In the place of `VoiceActivity`: 1 for a loud frame, 0 for a silent one."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.int16)

    def feed(self, samples: np.ndarray) -> list[float]:
        self._rest = np.concatenate([self._rest, samples])
        count = len(self._rest) // FRAME
        frames, self._rest = self._rest[: count * FRAME].reshape(count, FRAME), self._rest[count * FRAME :]
        return [float(np.abs(f.astype(float)).mean() > 1000) for f in frames]

    def reset(self) -> None:
        self._rest = np.zeros(0, np.int16)


class Listening:
    """Hears the next text of a list in every utterance: as a partial while it lasts, for certain at its end."""

    hasty = False

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts, self._text, self._at = texts, "", 0.0

    def begin(self, at: float) -> None:
        self._text, self._at = next(self._texts), at
        if self._text == "BREAK":
            raise RuntimeError("the recogniser broke")

    def feed(self, samples: np.ndarray, now: float) -> Hypothesis:
        return Hypothesis((), self._text)

    def end(self, now: float) -> Hypothesis:
        words = self._text.split()
        return Hypothesis(tuple(Word(w, self._at, self._at + 0.1, now) for w in words))


class Tone:
    """A voice that says every word in `seconds`, the same tone for each."""

    name = "tone"

    def __init__(self, seconds: float = 0.3, broken: bool = False) -> None:
        self.seconds, self.broken, self.said = seconds, broken, []  # type: ignore[var-annotated]

    def say(self, text: str) -> Utterance:
        if self.broken:
            raise DuplexError("voice_broke", "the tone is broken")
        self.said.append(text)
        size = round(self.seconds * MOUTH_RATE)
        words = [w for w in text.split(" ") if w]
        starts = list(itertools.accumulate((len(w) + 1 for w in words), initial=0))
        tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(size * len(words)) / MOUTH_RATE)
        marks = tuple((at, i * size) for i, at in enumerate(starts[: len(words)]))
        return Utterance(tone.astype(np.float32), MOUTH_RATE, marks)


class FakeKit:
    """In the place of `Kit`. texts: what is heard, utterance after utterance."""

    def __init__(self, texts: Sequence[str] = (), voice: Tone | None = None, deaf: bool = False) -> None:
        self._texts, self._voice, self._deaf = iter(texts), voice or Tone(), deaf

    def about(self) -> dict[str, Any]:
        ears = None if self._deaf else {"name": "list", "offline": True, "note": ""}
        return {"ears": ears, "note": "", "voices": [{"id": "tone", "name": "Tone", "note": ""}], "rate": MOUTH_RATE}

    def ears(self) -> Ears:
        if self._deaf:
            raise DuplexError("ears_missing", "install the ears first")
        return Ears(Loudness(), Listening(self._texts))

    def voice(self, name: str) -> Tone:
        if name != "tone":
            raise BadInput(f"voice: expected tone, got {name!r}")
        return self._voice


def frame(samples: np.ndarray) -> dict[str, str]:
    """The message with which a client sends sound."""
    data = base64.b64encode(samples.astype("<i2").tobytes()).decode()
    return {"type": "input_audio_buffer.append", "audio": data}
