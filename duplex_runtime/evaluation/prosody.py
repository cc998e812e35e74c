"""Is speech even where pieces of text meet? `duplex bench prosody`.

run(Espeak(), out=None)

Answers of the corpus go to a `Speaker` as a model writes them, about ten tokens every two seconds, and are played on a
simulated clock. The same voice speaks each of them whole, and slice by slice with nothing done about it (naive). At
every place between two words three things may jump: pitch (median of the nearest voiced 80 ms on both sides), energy
(60 ms on both sides) and the length of the pause. A ratio compares the places where two pieces meet with all places
between words of the whole text: 1 is a joint that is no more uneven than speech is anyway. Places behind a mark
(. , ; …), where a voice makes a pause of its own, stand in rows of their own; there the whole text is measured at the
very same places.
"""

from __future__ import annotations

import json
import math
import statistics
import time
import wave
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from duplex_runtime.alignment.corpus import load
from duplex_runtime.errors import BadInput
from duplex_runtime.events import Delta, Event, ResponseCreated, ResponseDone
from duplex_runtime.speech.base import MOUTH_RATE, Chunk, Utterance, Voice
from duplex_runtime.speech.joints import PAUSES, as_int16, at_mouth_rate, fundamental, loudness
from duplex_runtime.speech.speaker import Speaker

#: Sentences of a text, and how a model writes it: tokens in a slice, seconds between slices, seconds between tokens.
SENTENCES, TOKENS, PERIOD_SECONDS, TOKEN_SECONDS = 4, 10, 2.0, 0.01
#: Words that a tokeniser would cut in two: one token more for every so many letters.
_LETTERS = 8
_FRAME = MOUTH_RATE // 100  # 10 ms
_QUIET_DECIBELS = 35.0  # below the loudest: a pause


@dataclass(frozen=True)
class Place:
    """Between two words: the text's character at which the second begins, samples around it, the mark before it."""

    character: int
    sample: int
    mark: str


@dataclass
class Jumps:
    """What jumps at some places: semitones, dB, and pauses in ms."""

    pitch: list[float] = field(default_factory=list)
    energy: list[float] = field(default_factory=list)
    pause: list[float] = field(default_factory=list)

    def measure(self, sound: np.ndarray, places: Iterable[Place]) -> None:
        """Add the jumps at places of a sound, float32[n] at MOUTH_RATE."""
        pitch = fundamental(sound)
        for place in places:
            begin, end = _pause(sound, place.sample)
            semitones = _pitch_jump(pitch, begin, end)
            if not math.isnan(semitones):
                self.pitch.append(semitones)
            before, after = sound[max(0, begin - 6 * _FRAME) : begin], sound[end : end + 6 * _FRAME]
            self.energy.append(abs(loudness(after) - loudness(before)))
            self.pause.append(1000 * (end - begin) / MOUTH_RATE)


def _pitch_jump(pitch: np.ndarray, begin: int, end: int) -> float:
    """Semitones between the nearest voiced frames (at most 8, at most 300 ms away) before and after a pause."""
    # a frame is 40 ms wide: the one around the place belongs to neither side
    left, right = max(0, begin // _FRAME - 3), end // _FRAME
    before, after = pitch[max(0, left - 30) : left], pitch[right : right + 30]
    before, after = before[~np.isnan(before)][-8:], after[~np.isnan(after)][:8]
    if len(before) < 3 or len(after) < 3:
        return math.nan
    return abs(12 * math.log2(float(np.median(after)) / float(np.median(before))))


def _pause(sound: np.ndarray, sample: int) -> tuple[int, int]:
    """Samples from and to which it is quiet around a place (equal if it is not), at most a second on each side."""
    low = max(0, sample - 100 * _FRAME)
    near = sound[low : sample + 100 * _FRAME]
    hop = _FRAME // 2
    count = len(near) // hop
    energy = np.mean(np.square(near[: count * hop].reshape(count, hop)), axis=1)
    quiet = energy < float(energy.max(initial=0.0)) * 10 ** (-_QUIET_DECIBELS / 10)
    at = min(max(0, (sample - low) // hop), count - 1)
    around = [n for n in (at, at - 1, at + 1, at - 2, at + 2) if 0 <= n < count and quiet[n]]
    if not around:
        return sample, sample
    begin = end = around[0]
    while begin > 0 and quiet[begin - 1]:
        begin -= 1
    while end < count and quiet[end]:
        end += 1
    return low + begin * hop, low + end * hop


# — the three ways to speak a text —


def whole(voice: Voice, text: str) -> tuple[np.ndarray, list[Place]]:
    """The text in one go, and every place between two of its words."""
    said = at_mouth_rate(voice.say(text))
    return said.samples, _places(text, said.marks)


def naive(voice: Voice, text: str, slices: Sequence[str]) -> tuple[np.ndarray, list[Place]]:
    """Each slice by itself, one after the other as they come; only the places where they meet."""
    sounds, places, samples, character = [], [], 0, 0
    for piece in slices:
        said = at_mouth_rate(voice.say(piece.strip()))
        if character:
            place = character + len(piece) - len(piece.lstrip())
            places.append(Place(place, samples, _mark(text, place)))
        sounds.append(said.samples)
        samples += len(said.samples)
        character += len(piece)
    return np.concatenate(sounds), places


@dataclass
class Joined:
    """A text spoken by a `Speaker`: its sound, the places where two pieces meet, for each of them the milliseconds
    for which playback stood still, milliseconds of work of each piece, and seconds to the first sound."""

    sound: np.ndarray
    places: list[Place]
    delays_ms: list[float]
    work_ms: list[float]
    first_seconds: float


def joined(voice: Voice, text: str, slices: Sequence[str]) -> Joined:
    """Slices to a `Speaker`, every two seconds, played at once on a simulated clock on which its work takes time."""
    listened = _Listened(voice)
    speaker = Speaker(listened, "duplex", on_problem=_fail)
    events = _events(slices)
    now = 0.0
    sound: list[np.ndarray] = []
    delays, work, first, ends_at = [], [], math.nan, 0.0
    while True:
        due = speaker.next_due()
        if events and (due is None or events[0][0] <= max(due, now)):
            now = max(now, events[0][0])
            speaker.take(events.pop(0)[1], now)
            continue
        if due is None:
            break
        now = max(now, due)
        spoken, begun = listened.calls, time.perf_counter()
        chunks = [item for item in speaker.work(now) if isinstance(item, Chunk)]
        seconds = time.perf_counter() - begun
        if listened.calls > spoken:
            work.append(1000 * seconds)
        for number, chunk in enumerate(chunks):
            if listened.calls > spoken and not number:
                if sound:
                    delays.append(1000 * max(0.0, now + seconds - ends_at))
                else:
                    first = now + seconds - TOKEN_SECONDS
            ends_at = max(ends_at, now + seconds) + len(chunk.samples) / MOUTH_RATE
            sound.append(chunk.samples)
    places = _joints(speaker, text)
    return Joined(np.concatenate(sound).astype(np.float32) / 32768, places, delays, work, first)


class _Listened:
    """A voice that counts how often it speaks, with what the voice says of itself."""

    def __init__(self, voice: Voice) -> None:
        self._voice, self.name, self.calls = voice, voice.name, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._voice, name)

    def say(self, text: str) -> Utterance:
        self.calls += 1
        return self._voice.say(text)


def _fail(message: str) -> None:
    raise BadInput(message)


def _joints(speaker: Speaker, text: str) -> list[Place]:
    """Where two pieces meet."""
    meet = [(a, b) for a, b in pairwise(speaker.words("bench")) if a.piece != b.piece]
    return [Place(b.begin, (a.last + b.first) // 2, _mark(text, b.begin)) for a, b in meet]


def _events(slices: Sequence[str]) -> list[tuple[float, Event]]:
    events: list[tuple[float, Event]] = [(0.0, ResponseCreated("duplex", "bench", 0.0))]
    for number, piece in enumerate(slices):
        tokens = piece.split(" ")
        for place, token in enumerate(tokens):
            at = number * PERIOD_SECONDS + (place + 1) * TOKEN_SECONDS
            delta = token if not place else f" {token}"
            if delta:
                events.append((at, Delta("duplex", "bench", number, delta, at)))
    at = len(slices) * PERIOD_SECONDS
    return [*events, (at, ResponseDone("duplex", "bench", "completed", at))]


def in_token_slices(text: str, tokens: int = TOKENS) -> list[str]:
    """Cut at words into slices of about so many tokens, as a model writes them; together they are the text."""
    slices, piece, count = [], "", 0
    for number, word in enumerate(text.split(" ")):
        cost = 1 + len(word) // _LETTERS + (not word[-1:].isalnum())
        if count + cost > tokens and piece:
            slices.append(piece)
            piece, count = "", 0
        piece += word if not number else f" {word}"
        count += cost
    return [*slices, piece]


def _places(text: str, marks: Iterable[tuple[int, int]]) -> list[Place]:
    return [Place(c, s, _mark(text, c)) for c, s in marks if c > 0]


def _mark(text: str, character: int) -> str:
    mark = text[:character].rstrip()[-1:]
    return mark if mark and mark in PAUSES else ""


# — the benchmark —


def texts(count: int = 24, seed: int = 0) -> list[str]:
    """Texts of four sentences from the topics of the corpus."""
    topics = [topic for topic in load().topics if len(topic.parts) >= SENTENCES]
    chosen = Random(seed).sample(topics, min(count, len(topics)))
    return [" ".join(topic.parts[:SENTENCES]) for topic in chosen]


def run(voice: Voice, out: Path | None = None, count: int = 24) -> dict[str, float | None]:
    """Measure `count` texts; prints a table and, as its last line, what it returns as JSON. out: a folder for WAVs."""
    rows = {"whole": Jumps(), "joined": Jumps(), "naive": Jumps()}
    marked = {name: Jumps() for name in rows}
    delays: list[float] = []
    work: list[float] = []
    first: list[float] = []
    for number, text in enumerate(texts(count)):
        slices = in_token_slices(text)
        spoken = joined(voice, text, slices)
        sounds = {
            "whole": whole(voice, text),
            "joined": (spoken.sound, spoken.places),
            "naive": naive(voice, text, slices),
        }
        joints = {place.character for place in spoken.places}
        delays, work, first = delays + spoken.delays_ms, work + spoken.work_ms, [*first, spoken.first_seconds]
        for name, (sound, places) in sounds.items():
            rows[name].measure(sound, [p for p in places if not p.mark])
            marked[name].measure(sound, [p for p in places if p.mark and (name == "naive" or p.character in joints)])
            if out is not None:
                write_wav(out / f"{number:02}-{name}.wav", sound)
    result = {
        "f0_jump_ratio": _ratio(rows["joined"].pitch, rows["whole"].pitch),
        "energy_jump_ratio": _ratio(rows["joined"].energy, rows["whole"].energy),
        "pause_jump_ratio": _pause_ratio(rows["joined"].pause, rows["whole"].pause),
        "joint_delay_ms_p50": _rounded(statistics.median(delays)) if delays else None,
        "naive_f0_jump_ratio": _ratio(rows["naive"].pitch, rows["whole"].pitch),
    }
    _print(voice.name, rows, marked)
    print(f"a piece takes {statistics.median(work):.1f} ms of work; first sound after {statistics.median(first):.2f} s")
    print(json.dumps(result))
    return result


def _rounded(value: float) -> float:
    return round(value, 3)


def _ratio(joints: Sequence[float], inside: Sequence[float]) -> float | None:
    """Median over median; None where there is nothing to compare."""
    if not joints or not inside or not statistics.median(inside):
        return None
    return _rounded(statistics.median(joints) / statistics.median(inside))


def _pause_ratio(joints: Sequence[float], inside: Sequence[float]) -> float | None:
    """Mean over mean, 10 ms (a frame) added to both: most words follow each other without a pause."""
    if not joints or not inside:
        return None
    return _rounded((statistics.fmean(joints) + 10) / (statistics.fmean(inside) + 10))


def _print(name: str, rows: dict[str, Jumps], marked: dict[str, Jumps]) -> None:
    print(f"voice {name}: medians (pauses: means) where words meet")
    print(f"{'':24} {'places':>7} {'pitch, semitones':>17} {'energy, dB':>11} {'pause, ms':>10}")
    labels = {"whole": "whole text, all words", "joined": "speaker, at joints", "naive": "slice by slice"}
    for title, table in (("between words", rows), ("behind a mark", marked)):
        print(title)
        for key, label in labels.items():
            jumps = table[key]
            cells = (
                f"{_median(jumps.pitch):17.2f} {_median(jumps.energy):11.1f}"
                f" {statistics.fmean(jumps.pause) if jumps.pause else math.nan:10.0f}"
            )
            print(f"  {label:22} {len(jumps.energy):7} {cells}")


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else math.nan


def write_wav(path: Path, sound: np.ndarray) -> None:
    """float32[n] at MOUTH_RATE as a 16-bit mono file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MOUTH_RATE)
        file.writeframes(as_int16(sound).tobytes())
