"""A recorded person: sentences in a synthetic voice on a known timeline, for a browser to take as its microphone.

said = recorded([Line("question", "What is the capital of France?", after=7.0)], flite("slt"))
write_wav(path, said.sound, RATE)
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duplex_runtime.errors import DuplexError
from duplex_runtime.evaluation.sound import edges, resampled

#: Samples a second of the WAV.
RATE = 48_000
#: The loudest sample of a person, and the noise of their room.
LOUDEST, NOISE = 0.5, 0.0002
#: Seconds of silence before the first sentence: the page tests whether the microphone hears its own voice.
LEAD_SECONDS = 3.0

#: Text → sound, float32[n] at RATE.
Speak = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Line:
    """What the person says, and for how many seconds they are silent after it. ` | ` in the text is a pause of
    `pause` seconds. kind: question, explanation, stop or backchannel."""

    kind: str
    text: str
    after: float
    pause: float = 0.6

    @property
    def words(self) -> str:
        """The text without its pauses."""
        return self.text.replace(" | ", " ")


@dataclass(frozen=True)
class Said:
    """A line in the recording: its sound begins at `place`, the speech in it at `begin` and ends at `end` (seconds)."""

    line: Line
    sound: np.ndarray
    place: float
    begin: float
    end: float


@dataclass(frozen=True)
class Recorded:
    """All lines, and their sound as a whole: float32[n] at RATE."""

    said: tuple[Said, ...]
    sound: np.ndarray

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.sound) / RATE


def recorded(lines: Sequence[Line], speak: Speak) -> Recorded:
    """The lines one after the other, in a quiet room."""
    said = []
    pieces = [np.zeros(round(LEAD_SECONDS * RATE), np.float32)]
    samples = len(pieces[0])
    for line in lines:
        sound = _said(line, speak)
        begin, end = edges(sound, RATE)
        place = samples / RATE
        said.append(Said(line, sound, place, place + begin, place + end))
        pieces += [sound, np.zeros(round(line.after * RATE), np.float32)]
        samples += len(pieces[-1]) + len(sound)
    whole = np.concatenate(pieces)
    room = np.random.default_rng(0).normal(0, NOISE, len(whole))
    return Recorded(tuple(said), (whole + room).astype(np.float32))


def _said(line: Line, speak: Speak) -> np.ndarray:
    """Without the silence around it, and as loud as all others."""
    parts: list[np.ndarray] = []
    for text in line.text.split(" | "):
        sound = speak(text)
        begin, end = edges(sound, RATE, below_decibels=45)
        if end == begin:
            raise DuplexError("voice_broke", f"the voice of the recorded person says nothing for {text!r}")
        parts += [np.zeros(round(line.pause * RATE), np.float32)] if parts else []
        parts.append(sound[round(begin * RATE) : round(end * RATE)])
    whole = np.concatenate(parts)
    return whole * (LOUDEST / np.abs(whole).max())


# — voices —


def has_flite() -> bool:
    """Are the voices of flite on this machine? They are easier for a recogniser than espeak's."""
    return shutil.which("flite") is not None


#: What flite would spell, by its sounds.
_SOUNDS = {"mm-hm": "m m hh m m"}


def flite(voice: str) -> Speak:
    """A voice of flite: slt, rms or awb. Raises DuplexError for one it does not have: it would take another."""
    known = subprocess.run(["flite", "-lv"], capture_output=True, text=True).stdout.split()
    if voice not in known:
        raise DuplexError("voice_broke", f"flite has no voice {voice!r} here, only {' '.join(known[2:])}")

    def speak(text: str) -> np.ndarray:
        what = ["-p", _SOUNDS[text]] if text in _SOUNDS else ["-t", text]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "said.wav"
            done = subprocess.run(["flite", "-voice", voice, *what, "-o", path], capture_output=True, text=True)
            if done.returncode or not path.is_file():
                raise DuplexError("voice_broke", f"flite cannot speak as {voice!r}: {done.stderr.strip()[:200]}")
            return read_wav(path)

    return speak


def espeak(voice: str, words_per_minute: int = 150) -> Speak:
    """A voice of espeak-ng, in this process."""
    from duplex_runtime.speech.espeak import Espeak

    speaking = Espeak(voice, words_per_minute)

    def speak(text: str) -> np.ndarray:
        said = speaking.say(text)
        return resampled(said.samples, said.rate, RATE)

    return speak


def read_wav(path: Path) -> np.ndarray:
    """A mono file of 16 bit as float32[n] at RATE."""
    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
        return resampled(samples, file.getframerate(), RATE)


def write_wav(path: Path, sound: np.ndarray, rate: int) -> None:
    """float32[n] as a mono file of 16 bit."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
