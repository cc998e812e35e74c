"""How a person says something: parts of a sentence become timed keys, or timed speech as a recogniser hears it.

said = typed((Part("tell me about bees."),), at=0.5, pace="normal", rng=Random(1))
said.inputs     # [(0.5, UserText("t")), (0.68, UserText("e")), …]
said.end        # when the last key was pressed

Speech is simulated from when it is heard: activity is noticed after its onset, each word is certain some time after it
was said, and the end of speech after a silence. The times are those that `duplex bench voice` measures of the ears in
this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from duplex_runtime.alignment.noise import NEIGHBOURS, bare
from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.scenarios import Part
from duplex_runtime.events import Edit, Enter, Input, SpeechEnd, SpeechStart, UserText

#: Words a minute, typed and spoken, by pace.
TYPED = {"slow": (22.0, 35.0), "normal": (40.0, 70.0), "fast": (80.0, 110.0)}
SPOKEN = {"slow": (95.0, 120.0), "normal": (140.0, 180.0), "fast": (190.0, 225.0)}
#: Keys of a word, its space with it.
_WORD_KEYS = 6
#: One word in so many is mistyped, noticed and typed again.
_SLIP = 1 / 30
#: Seconds from a sound's onset until it is noticed, from a word's end until it is certain, from the end of speech until
#: that is noticed. A longer pause ends speech.
NOTICED_SECONDS, CERTAIN_SECONDS, ENDED_SECONDS = 0.1, (0.15, 0.4), 0.5
#: Of a sound without words.
SOUND_SECONDS = (0.3, 0.7)


@dataclass(frozen=True)
class Said:
    """Timed input, and when the first and the last key was pressed or the first and the last sound was made."""

    inputs: tuple[tuple[float, Input], ...]
    begin: float
    end: float
    text: str


def say(parts: Sequence[Part], way: str, at: float, pace: str, rng: Random, enter: bool = False) -> Said:
    """By `keys` or in `speech`. enter: the Enter key is pressed behind what is typed."""
    if way == "keys":
        return typed(parts, at, pace, rng, enter)
    if way == "speech":
        return spoken(parts, at, pace, rng)
    raise BadInput(f"a way to say something: expected keys or speech, got {way!r}")


def typed(parts: Sequence[Part], at: float, pace: str, rng: Random, enter: bool = False) -> Said:
    """Key by key, with slips that are noticed; words that the person takes back are deleted again."""
    key_seconds = 60 / (rng.uniform(*TYPED[pace]) * _WORD_KEYS)
    inputs: list[tuple[float, Input]] = []
    now = at

    def press(event: Input, seconds: float) -> None:
        nonlocal now
        if inputs:
            now += seconds * min(3.0, max(0.4, rng.lognormvariate(0.0, 0.35)))
        inputs.append((round(now, 3), event))

    def write(text: str) -> None:
        for count, word in enumerate(text.split(" ")):
            if count:
                press(UserText(" "), key_seconds)
            place = rng.randrange(1, len(word)) if len(word) > 3 and rng.random() < _SLIP else -1
            for number, letter in enumerate(word):
                if number == place and letter in NEIGHBOURS:
                    press(UserText(rng.choice(NEIGHBOURS[letter])), key_seconds)
                    press(Edit(1), key_seconds + 0.15)
                press(UserText(letter), key_seconds)

    for number, part in enumerate(parts):
        if number:
            press(UserText(" "), key_seconds)
            now += part.pause
        if part.taken_back:
            write(part.taken_back)
            for _ in part.taken_back:
                press(Edit(1), 0.11)
        write(part.text)
    if enter:
        press(Enter(), 0.3)
    elif not _ends(parts) and rng.random() < 0.5:
        press(UserText(" "), key_seconds)
    return Said(tuple(inputs), at, inputs[-1][0], _text(parts))


def spoken(parts: Sequence[Part], at: float, pace: str, rng: Random) -> Said:
    """Word by word as the recogniser becomes certain of them, without case and punctuation."""
    word_seconds = 60 / rng.uniform(*SPOKEN[pace])
    timed: list[tuple[float, Input]] = []
    begin = now = at
    talking = False

    def begins() -> None:
        nonlocal talking
        if not talking:
            timed.append((now + NOTICED_SECONDS, SpeechStart()))
        talking = True

    def ends() -> None:
        nonlocal talking
        if talking:
            timed.append((now + ENDED_SECONDS, SpeechEnd(round(now, 3))))
        talking = False

    for number, part in enumerate(parts):
        if number and part.pause:
            if part.pause > ENDED_SECONDS:
                ends()
            now += part.pause
        begins()
        if part.sound:
            now += rng.uniform(*SOUND_SECONDS)
            continue
        text = f"{part.taken_back}, I mean {part.text}" if part.taken_back else part.text
        for word in bare(text).lower().split():
            now += word_seconds * min(1.6, max(0.5, len(word) / 5))
            certain = now + min(rng.uniform(*CERTAIN_SECONDS), ENDED_SECONDS)
            timed.append((certain, UserText(f"{word} ", spoken=True)))
    ends()
    timed.sort(key=lambda each: each[0])  # stable: the end of speech comes behind its last word
    return Said(tuple((round(when, 3), event) for when, event in timed), begin, round(now, 3), _text(parts))


def _ends(parts: Sequence[Part]) -> bool:
    return parts[-1].text[-1:] in tuple(".?!…")


def _text(parts: Sequence[Part]) -> str:
    return " ".join(part.text for part in parts if part.text)
