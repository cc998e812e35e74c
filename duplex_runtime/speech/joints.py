"""Even speech from pieces: a model writes ten tokens at a time, and a listener should not hear where they meet.

joints = Joints(voice)
piece = joints.say(Before(("a", "volcano"), sound), "is an opening", closed=False)

A voice gives every text its own melody: the last stressed word falls, the first word starts afresh. So a piece in the
middle of a sentence is spoken inside a longer text, between words that were said before it and words that pretend to
follow, and is cut out at the marks of its words. Then its level and pitch are matched over the words that both it and
the piece before have, and the two are faded into each other where they are most alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duplex_runtime.speech.base import MOUTH_RATE, Utterance, Voice

#: Two pieces overlap for so many samples (10 ms).
FADE = MOUTH_RATE // 100
#: Loudness is corrected by at most so many dB, pitch by at most this factor (up or down).
MOST_DECIBELS, MOST_PITCH = 3.0, 1.04
#: Words spoken behind an open piece and cut away. They begin with a closure, which makes a clean cut. A voice that
#: takes no time can say more of them, and all of the clause before: its melody is then the whole sentence's.
FOLLOWING, MORE_FOLLOWING = "to be sure", "to the people together with all the others"
LEFT_WORDS, MORE_LEFT_WORDS = 4, 24
#: Seconds of silence behind a phrase that ends with the mark.
PAUSES = {".": 0.32, "?": 0.32, "!": 0.32, ":": 0.22, ";": 0.22, ",": 0.14, "": 0.0}

_FRAME_SECONDS, _HOP_SECONDS = 0.04, 0.01
_LOWEST, _HIGHEST = 65.0, 420.0  # hertz of a speaking voice
_ENOUGH_RATE = 8_000  # samples a second that are enough to find them


@dataclass(frozen=True)
class Before:
    """What was said before in the same clause: its last `words` and their `sound`, float32[n] at MOUTH_RATE.

    The last `hold` samples of the sound have not left yet: the next piece may be faded into them."""

    words: tuple[str, ...] = ()
    sound: np.ndarray | None = None
    hold: int = 0


@dataclass(frozen=True)
class Piece:
    """Sound of a piece, float32[n] at MOUTH_RATE; `words` are (character of its text, first sample, sample after).

    The first `overlap` samples replace the last ones of what was before: they are faded into each other already.
    The last `hold` samples should wait for the piece that follows."""

    samples: np.ndarray
    words: tuple[tuple[int, int, int], ...]
    overlap: int
    hold: int


class Joints:
    """Speaks pieces of text with a voice so that they fit together.

    left_words: how many words of what was said are spoken once more before a piece; `Before` must not hold more.
    following: words pretended to follow an open piece ("" for none: a comma keeps the voice up instead).
    Both are chosen by whether the voice `repeats_itself` (then it is a quick one, and level and pitch fit by
    themselves). A voice with `exact_marks` is cut at its marks; any other speaks every piece by itself.
    """

    def __init__(self, voice: Voice, left_words: int | None = None, following: str | None = None) -> None:
        self.voice = voice
        self.repeats = bool(getattr(voice, "repeats_itself", False))
        if left_words is None:
            left_words = MORE_LEFT_WORDS if self.repeats else LEFT_WORDS
        if following is None:
            following = MORE_FOLLOWING if self.repeats else FOLLOWING
        self.left_words, self.following = left_words, following

    def say(self, before: Before, text: str, closed: bool) -> Piece:
        """`text` (speakable, not empty) after `before`; closed: it ends with a mark, else more is to follow."""
        text = text.strip()
        words = before.words[len(before.words) - self.left_words :] if self.left_words else ()
        carried = " ".join((*words, text)) + (f" {self.following}," if self.following and not closed else "")
        begin = len(carried) - len(carried.removeprefix(" ".join((*words, ""))))
        end = begin + len(text)
        if not hasattr(self.voice, "exact_marks"):
            carried, begin, end = (text if closed else f"{text},"), 0, len(text)
        said = at_mouth_rate(self.voice.say(carried))
        marks = dict(said.marks) if getattr(self.voice, "exact_marks", False) else {}
        if (begin and begin not in marks) or (end + 1 < len(carried) and end + 1 not in marks):
            carried, begin, end = (text if closed else f"{text},"), 0, len(text)  # it ran the words together
            said = at_mouth_rate(self.voice.say(carried))
            marks = dict(said.marks)
        first = marks[begin] if begin else 0
        last = marks[end + 1] if end + 1 < len(carried) else len(said.samples)
        return self._cut(before, said, (begin, end), (first, last), closed)

    def _cut(
        self, before: Before, said: Utterance, characters: tuple[int, int], cut: tuple[int, int], closed: bool
    ) -> Piece:
        (begin, end), (first, last), samples = characters, cut, said.samples
        if begin and before.sound is not None and not self.repeats:
            again = samples[said.marks[0][1] : first]
            samples, factor = matched(samples, again, before.sound)
            first, last = round(first / factor), min(round(last / factor), len(samples))
            marks = [(c - begin, round(s / factor)) for c, s in said.marks if begin <= c < end]
        else:
            marks = [(c - begin, s) for c, s in said.marks if begin <= c < end]
        hold = overlap = 0
        if last < len(samples):  # it was cut from what follows
            last = min(last + FADE // 2, len(samples))
            hold = min(FADE, last - first)
        else:
            last = max(first, sound_ends(samples))
        if not begin:
            first = min(sound_begins(samples), last)
        elif before.sound is not None and before.hold == FADE and first >= FADE:
            first = alike(samples, before.sound[-FADE:], first - FADE // 2, MOUTH_RATE // 200)
            overlap = FADE
        body = samples[first:last].copy()
        if overlap and before.sound is not None:
            rising = 0.5 - 0.5 * np.cos(np.pi * (np.arange(FADE) + 0.5) / FADE)
            fading = min(FADE, len(body))
            body[:fading] = body[:fading] * rising[:fading] + before.sound[-FADE:][:fading] * (1 - rising[:fading])
        else:
            fade_in(body)
        if not hold:
            fade_out(body)
        return Piece(body, _words(marks, first, len(body), overlap // 2, hold), overlap, hold)


def _words(
    marks: Sequence[tuple[int, int]], first: int, length: int, begin: int, hold: int
) -> tuple[tuple[int, int, int], ...]:
    """Begin and end of words within a piece; a word ends where the next begins, the last where the piece does."""
    starts = [min(max(begin, s - first), length) for _, s in marks]
    if starts:
        starts[0] = min(begin, length)
    ends = [*starts[1:], max(length - hold, starts[-1] if starts else 0)]
    return tuple((c, s, e) for (c, _), s, e in zip(marks, starts, ends, strict=True))


# — sound —


def resample(samples: np.ndarray, factor: float) -> np.ndarray:
    """float32[n] → float32[round(n × factor)] with the same content below both Nyquist frequencies."""
    length = round(len(samples) * factor)
    if not len(samples) or not length or length == len(samples):
        return samples[:length]
    # the transform takes the sound for a circle: silence keeps its end away from its beginning, and makes the length
    # a product of small primes
    padding = 256 + -(len(samples) + 256) % 294
    padded = np.concatenate((samples, np.zeros(padding, samples.dtype)))
    wanted = round(len(padded) * factor)
    spectrum = np.fft.rfft(padded)
    bins = wanted // 2 + 1
    spectrum = spectrum[:bins] if bins <= len(spectrum) else np.pad(spectrum, (0, bins - len(spectrum)))
    return (np.fft.irfft(spectrum, wanted)[:length] * (wanted / len(padded))).astype(np.float32)


def at_mouth_rate(said: Utterance) -> Utterance:
    """The same at MOUTH_RATE, its marks in order and inside it."""
    samples = np.asarray(said.samples, np.float32)
    factor = MOUTH_RATE / said.rate
    if factor != 1:
        samples = resample(samples, factor)
    marks = tuple((c, min(max(0, round(s * factor)), len(samples))) for c, s in sorted(said.marks))
    return Utterance(samples, MOUTH_RATE, marks)


def as_int16(samples: np.ndarray) -> np.ndarray:
    """float32 in -1 to 1 → int16; what is louder is clipped."""
    return np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16)


def loudness(samples: np.ndarray) -> float:
    """Root mean square in dB below full scale; -120 for silence."""
    return 10 * math.log10(float(np.mean(np.square(samples, dtype=np.float64))) + 1e-12) if len(samples) else -120.0


def _loud(samples: np.ndarray, below: float = 40.0, hop: int = MOUTH_RATE // 200) -> np.ndarray:
    """Numbers of the 5 ms frames that are less than `below` dB quieter than the loudest."""
    count = len(samples) // hop
    if not count:
        return np.zeros(0, int)
    energy = np.mean(np.square(samples[: count * hop].reshape(count, hop)), axis=1)
    return np.flatnonzero(energy > max(float(energy.max()) * 10 ** (-below / 10), 1e-9))


def sound_begins(samples: np.ndarray) -> int:
    """First sample of what can be heard, 10 ms early."""
    loud = _loud(samples)
    return max(0, int(loud[0]) * (MOUTH_RATE // 200) - MOUTH_RATE // 100) if len(loud) else 0


def sound_ends(samples: np.ndarray) -> int:
    """The sample after what can be heard, 20 ms late."""
    loud = _loud(samples)
    end = (int(loud[-1]) + 1) * (MOUTH_RATE // 200) + MOUTH_RATE // 50 if len(loud) else 0
    return min(len(samples), end)


def fade_in(samples: np.ndarray, length: int = FADE // 2) -> None:
    """In place, 5 ms."""
    length = min(length, len(samples))
    samples[:length] *= np.linspace(0, 1, length, endpoint=False, dtype=np.float32)


def fade_out(samples: np.ndarray, length: int = FADE // 2) -> None:
    """In place, 5 ms."""
    length = min(length, len(samples))
    samples[len(samples) - length :] *= np.linspace(1, 0, length + 1, dtype=np.float32)[1:]


def alike(samples: np.ndarray, held: np.ndarray, near: int, reach: int) -> int:
    """Where within `reach` of `near` the samples are most like `held` (both int or float; WSOLA's way to a joint)."""
    low, high = max(0, near - reach), min(len(samples) - len(held), near + reach)
    if high < low:
        return min(max(0, near), len(samples))
    windows = np.lib.stride_tricks.sliding_window_view(samples[low : high + len(held)], len(held))
    norms = np.sqrt(np.sum(np.square(windows), axis=1)) + 1e-3
    likeness = windows @ held / norms
    # of equals, the nearest: silence is like silence everywhere
    likeness -= 1e-6 * np.abs(np.arange(low, high + 1) - near)
    return low + int(np.argmax(likeness))


def fundamental(samples: np.ndarray, rate: float = MOUTH_RATE) -> np.ndarray:
    """Pitch in hertz of 40 ms frames every 10 ms, nan where there is no voice: float64[frames].

    The normalised autocorrelation of each frame, corrected for the window's own (Boersma 1993); the best peak between
    65 and 420 Hz, refined by a parabola, counts as a voice if it is above 0.5 and the frame is not far too quiet.
    """
    step = max(1, int(rate) // _ENOUGH_RATE)  # the parabola finds what lies between two samples
    count = len(samples) // step
    samples, rate = samples[: count * step].reshape(count, step).mean(axis=1), rate / step
    width, hop = round(_FRAME_SECONDS * rate), round(_HOP_SECONDS * rate)
    if len(samples) < width:
        return np.zeros(0)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), width)[::hop]
    energy = np.mean(np.square(frames), axis=1)
    window = np.hanning(width)
    size = 1 << (2 * width - 1).bit_length()

    def correlate(values: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.fft.irfft(np.abs(np.fft.rfft(values, size)) ** 2)[..., :width]
        return result / np.maximum(result[..., :1], 1e-12)

    shortest, longest = int(rate / _HIGHEST), min(int(rate / _LOWEST), width - 2)
    centred = (frames - frames.mean(axis=1, keepdims=True)) * window
    likeness = correlate(centred) / np.maximum(correlate(window), 1e-3)
    lags = np.arange(width)
    # of two equal peaks the shorter period is the voice, the longer is two of them
    scored = likeness - 0.05 * np.log2(np.maximum(lags, 1) / shortest)
    region = scored[:, shortest : longest + 1]
    peaks = shortest + np.argmax(region, axis=1)
    rows = np.arange(len(frames))
    left, middle, right = (likeness[rows, peaks + offset] for offset in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(np.abs(bend) > 1e-9, 0.5 * (left - right) / np.where(bend == 0, 1, bend), 0.0)
    pitch = rate / (peaks + np.clip(shift, -0.5, 0.5))
    edge = (peaks == shortest) | (peaks == longest)
    voiced = (middle > 0.5) & ~edge & (energy > max(float(energy.max()) * 1e-3, 1e-8))
    return np.where(voiced, pitch, np.nan)


def pitch_level(samples: np.ndarray) -> float:
    """Median pitch in hertz, nan if too little of it is voiced (less than 50 ms)."""
    pitch = fundamental(samples)
    pitch = pitch[~np.isnan(pitch)]
    return float(np.median(pitch)) if len(pitch) >= 5 else math.nan


def matched(samples: np.ndarray, again: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, float]:
    """`samples` at the level and pitch of `before`, and by which factor positions in them are to be divided.

    again: the part of the samples that says what `before` says. Pitch is moved only if it is off by a quarter semitone
    to 4 % (beyond that the two are not the same melody, and a shift would be heard as one).
    """
    gain = min(max(loudness(before) - loudness(again), -MOST_DECIBELS), MOST_DECIBELS)
    if loudness(again) < -60 or loudness(before) < -60:
        gain = 0.0
    factor = pitch_level(before) / pitch_level(again)
    if math.isnan(factor) or not 2 ** (0.25 / 12) < max(factor, 1 / factor) <= MOST_PITCH:
        factor = 1.0
    changed = resample(samples, 1 / factor) if factor != 1 else samples
    return (changed * np.float32(10 ** (gain / 20)) if gain else changed), factor
