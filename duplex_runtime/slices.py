"""How time is cut: the slice period, when a slice may close early, and which typed words are whole."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from duplex_runtime.errors import BadInput

_END = re.compile(r"[.?!\u2026\u3002\uff1f\uff01][\"')\]\u201d\u2019]*\s*$")
_DELIMITED = re.compile(r"[\s.,;:?!)\]\u2026\u3002\uff0c\uff1f\uff01]$")
# control characters but for white space; lone surrogates cannot be encoded
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Slicing:
    """Slices of `period_seconds`; adaptive ones also close when the person pauses.

    `pause_seconds`: silence after a whole word that closes an adaptive slice.
    `decide_seconds`: silence that ends a word without a delimiter, and after which one silent slice decides whether
    words without an end mark were all: until `patient_seconds` the model speaks only if it is sure, then one more
    silent slice decides as always.
    `barge_in_seconds`: an adaptive slice with words closes after this time while the model speaks;
    `barge_in_word_seconds` of silence then end a word.
    `wake_seconds`: silence after which a model that was trained for it is asked once whether it wants to speak.
    `tokens_per_second`: the model's rate of speech (the paper: ten tokens in two seconds).
    Answers that are spoken aloud: `voice_character_seconds` a character, the first `voice_delay_seconds` after it was
    made, until the page says what was really heard; the next slice is asked for `voice_lead_seconds` before the sound
    ends. `voice_barge_in_seconds`: a spoken word that became certain while the model speaks closes the slice after this
    time. `voice_patient_seconds` are the `patient_seconds` of a person who spoke: voice activity tells silence from
    thinking better than a keyboard does.
    """

    period_seconds: float = 2.0
    adaptive: bool = True
    pause_seconds: float = 0.3
    decide_seconds: float = 0.8
    patient_seconds: float = 2.0
    barge_in_seconds: float = 1.0
    barge_in_word_seconds: float = 0.5
    wake_seconds: float = 15.0
    tokens_per_second: float = 5.0
    voice_character_seconds: float = 0.06
    voice_delay_seconds: float = 0.35
    voice_lead_seconds: float = 1.5
    voice_barge_in_seconds: float = 0.02
    voice_patient_seconds: float = 1.5

    @property
    def model_tokens(self) -> int:
        """Most tokens the model says in one slice."""
        return max(1, round(self.period_seconds * self.tokens_per_second))

    @property
    def token_seconds(self) -> float:
        """Time between two shown tokens: a full slice is spread over its period."""
        return self.period_seconds / self.model_tokens

    def seconds_of(self, text: str, aloud: bool) -> float:
        """How long the text of a token is being shown, or heard."""
        return len(text) * self.voice_character_seconds if aloud else self.token_seconds

    def paced(self, level: int) -> Slicing:
        """The same under strain (`strain.LEVELS`): from 1 on times are doubled, from 2 on speech is halved."""
        if level == 0:
            return self
        return replace(
            self,
            period_seconds=2 * self.period_seconds,
            pause_seconds=2 * self.pause_seconds,
            decide_seconds=2 * self.decide_seconds,
            patient_seconds=2 * self.patient_seconds,
            voice_patient_seconds=2 * self.voice_patient_seconds,
            barge_in_seconds=2 * self.barge_in_seconds,
            barge_in_word_seconds=2 * self.barge_in_word_seconds,
            tokens_per_second=self.tokens_per_second / (2 if level > 1 else 1),
        )

    @staticmethod
    def parse(text: str | float) -> Slicing:
        """`adaptive`, or a period of 0.25 to 10 seconds."""
        if text == "adaptive":
            return Slicing()
        try:
            period = float(text)
        except (TypeError, ValueError, OverflowError):
            period = math.nan
        if not 0.25 <= period <= 10.0:
            raise BadInput(f"slice seconds: expected 'adaptive' or a number from 0.25 to 10, got {str(text)[:40]!r}")
        return Slicing(period_seconds=period, adaptive=False)


def clean(text: str) -> str:
    """Text without control characters and lone surrogates; white space of every kind is a space."""
    return re.sub(r"\s", " ", _CONTROL.sub("", text))


def delimited(text: str) -> bool:
    """Does the last word of `text` end here? True for no text."""
    return not text or _DELIMITED.search(text) is not None


def ends_sentence(text: str) -> bool:
    """Does `text` end in an end mark (. ? ! … and their wide forms)?"""
    return _END.search(text) is not None


def whole_words(text: str) -> int:
    """How many characters of `text` are whole words: all if the last word is delimited, else up to it."""
    if delimited(text):
        return len(text)
    return max(text.rfind(" "), -1) + 1


def in_slices(text: str, words: int = 8, most: int = 12) -> list[str]:
    """A paste as slices of `words` words; up to `most` words are one slice. The pieces join to `text`."""
    pieces = re.findall(r"\s*\S+\s*", text)
    if len(pieces) <= most:
        return [text]
    return ["".join(pieces[i : i + words]) for i in range(0, len(pieces), words)]
