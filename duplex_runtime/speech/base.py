"""Ears and mouth: what a recogniser and a voice have to offer, and what passes between them and a conversation.

All sound is mono. What is heard comes as int16 samples at `EAR_RATE`; what is said leaves as int16 samples at
`MOUTH_RATE`. All times are seconds on the session's clock, which for what is heard is counted in samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

#: Samples a second of what is heard, and of what is said.
EAR_RATE, MOUTH_RATE = 16_000, 24_000


@dataclass(frozen=True)
class Word:
    """A word that the person said: when, and when it was certain."""

    text: str
    start: float
    end: float
    committed_at: float


@dataclass(frozen=True)
class Hypothesis:
    """What a recogniser has made of the sound so far: `words` that became certain just now, and after them a `partial`
    text that may still change ("" for none)."""

    words: tuple[Word, ...] = ()
    partial: str = ""


class Listening(Protocol):
    """The ear for one person: holds the state of one stream, belongs to one thread at a time.

    hasty: set while the mouth speaks, for somebody may be breaking in: words may be called certain sooner, with less
    to go by.
    """

    hasty: bool

    def begin(self, at: float) -> None:
        """Somebody begins to speak; the first sample of the next `feed` is at `at`."""

    def feed(self, samples: np.ndarray, now: float) -> Hypothesis:
        """More sound, int16[n], without gaps; may take long."""

    def end(self, now: float) -> Hypothesis:
        """They have stopped: everything becomes certain, the partial is empty."""


class Recogniser(Protocol):
    """Turns speech into words. `name` for people; `offline`: needs nothing that was not installed with it."""

    name: str
    offline: bool

    def listen(self) -> Listening:
        """An ear for one more person."""


# — what the ears tell —


@dataclass(frozen=True)
class SpeechStarted:
    """The person began to speak at `at`, noticed at `noticed_at`."""

    at: float
    noticed_at: float


@dataclass(frozen=True)
class SpeechStopped:
    """The person stopped at `at`, noticed at `noticed_at`."""

    at: float
    noticed_at: float


EarEvent = SpeechStarted | SpeechStopped | Hypothesis

# — what the mouth says —


@dataclass(frozen=True)
class Utterance:
    """Text as sound: float32[n] in -1 to 1 at `rate`; `marks` are (character, sample) where each word begins."""

    samples: np.ndarray
    rate: int
    marks: tuple[tuple[int, int], ...]


class Voice(Protocol):
    """Turns text into sound. `name` for people; `say` may take long, and is called from one thread at a time."""

    name: str

    def say(self, text: str) -> Utterance:
        """`text` as one breath; raises DuplexError for what cannot be spoken or if the voice is broken."""


@dataclass(frozen=True)
class Chunk:
    """Sound of an answer: int16[n] at `MOUTH_RATE`. Its first sample is number `start` of the answer; it says the
    answer's characters from `characters[0]` up to `characters[1]`."""

    response_id: str
    start: int
    samples: np.ndarray
    characters: tuple[int, int]


@dataclass(frozen=True)
class Flush:
    """What is to be played of an answer after sample `samples` is dropped, with a short fade."""

    response_id: str
    samples: int
