"""What a recording says by itself: where a known sound is in it, when it begins, ends, is lowered and falls silent.

    place, likeness = locate(said, microphone, rate, near=3.0, within=10.0)
    begin, end = edges(said, rate)
    answered_at = next_sound(output, rate, since=place + end)

Every sound is float32[n], mono, -1 to 1; times and places are seconds from its first sample.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

#: Levels are those of frames of so many seconds.
FRAME_SECONDS = 0.01
#: A quieter frame (-50 dB) is silence.
SILENCE = 10 ** (-50 / 20)
#: Half of the loudness: 6 dB.
HALF = 0.5
#: A known sound that is less alike than this is somewhere else, or not there at all.
ALIKE = 0.35


def resampled(sound: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """The sound at another rate: its spectrum, cut off or filled up with nothing."""
    if rate == wanted or not len(sound):
        return sound.astype(np.float32)
    # one second of silence behind it: the spectrum is that of a circle, and the end would ring into the beginning
    padded = np.concatenate([sound, np.zeros(rate, np.float32)])
    count = round(len(padded) * wanted / rate)
    spectrum = np.fft.rfft(padded)
    spectrum = np.pad(spectrum[: count // 2 + 1], (0, max(0, count // 2 + 1 - len(spectrum))))
    whole = np.fft.irfft(spectrum, count) * (count / len(padded))
    return whole[: round(len(sound) * wanted / rate)].astype(np.float32)


def levels(sound: np.ndarray, rate: int) -> np.ndarray:
    """Root mean square of each whole frame, float32[frames]."""
    size = round(FRAME_SECONDS * rate)
    count = len(sound) // size
    frames = sound[: count * size].astype(np.float32).reshape(count, size)
    return np.sqrt(np.mean(np.square(frames), axis=1)) if count else np.zeros(0, np.float32)


def edges(sound: np.ndarray, rate: int, below_decibels: float = 35.0) -> tuple[float, float]:
    """Where speech without noise begins and ends: its frames that are less than so much quieter than the loudest."""
    level = levels(sound, rate)
    loud = np.flatnonzero(level > level.max(initial=0.0) * 10 ** (-below_decibels / 20))
    if not len(loud):
        return 0.0, 0.0
    return float(loud[0]) * FRAME_SECONDS, float(loud[-1] + 1) * FRAME_SECONDS


def locate(part: np.ndarray, recording: np.ndarray, rate: int, near: float, within: float) -> tuple[float, float]:
    """Where `part` begins in a recording, at most `within` from `near`; and how alike the two are there, 0 to 1.

    The maximum of the normalised cross-correlation; a part of the recording that is not there counts as silence.
    """
    first = round((near - within) * rate)
    last = round((near + within) * rate) + len(part)
    around = np.zeros(last - first, np.float32)
    begin, end = max(0, first), min(len(recording), last)
    if begin < end:
        around[begin - first : end - first] = recording[begin:end]
    size = len(around) + len(part)
    spectrum = np.fft.rfft(around, size) * np.conj(np.fft.rfft(part, size))
    products = np.fft.irfft(spectrum, size)[: len(around) - len(part) + 1]
    energy = np.concatenate([[0.0], np.cumsum(np.square(around, dtype=np.float64))])
    energy = np.maximum(energy[len(part) :] - energy[: -len(part)], 1e-9)
    alike = np.abs(products) / np.sqrt(energy * max(float(np.sum(np.square(part, dtype=np.float64))), 1e-9))
    best = int(np.argmax(alike))
    return (first + best) / rate, float(min(1.0, alike[best]))


def next_sound(sound: np.ndarray, rate: int, since: float, until: float = np.inf) -> float | None:
    """The first moment with sound from `since` on; None if it stays silent until `until`."""
    frames = np.flatnonzero(levels(sound, rate) > SILENCE)
    begins = frames[(frames + 1) * FRAME_SECONDS > since] * FRAME_SECONDS
    return max(since, float(begins[0])) if len(begins) and begins[0] < until else None


def next_silence(sound: np.ndarray, rate: int, since: float, seconds: float) -> float | None:
    """When sound ends for at least `seconds`, not before `since`; None if it does not."""
    loud = np.flatnonzero(levels(sound, rate) > SILENCE) * FRAME_SECONDS
    loud = loud[loud + FRAME_SECONDS > since]
    ends = [since, *(loud + FRAME_SECONDS), len(sound) / rate + seconds]
    begins = [*loud, len(sound) / rate]
    for end, begin in zip(ends, begins, strict=False):
        if begin - end >= seconds - 1e-6:
            return float(end)
    return None


def is_sounding(sound: np.ndarray, rate: int, at: float, pause_seconds: float) -> bool:
    """Is there sound at `at`, or on both sides of it with a pause of at most `pause_seconds` between?"""
    loud = np.flatnonzero(levels(sound, rate) > SILENCE) * FRAME_SECONDS
    before, after = loud[loud <= at], loud[loud >= at - FRAME_SECONDS]
    return bool(len(before) and len(after) and after[0] - before[-1] <= pause_seconds)


def lowered_at(
    before: np.ndarray, after: np.ndarray, rate: int, since: float, until: float, exact_seconds: float = 0.06
) -> float | None:
    """When a sound is made quieter by half on its way from `before` to `after`.

    None if it is not, if it already was at `since`, or if nobody can tell when to `exact_seconds`, because it was
    done in a pause.
    """
    loud, passed = levels(before, rate), levels(after, rate)
    count = min(len(loud), len(passed))
    known = np.flatnonzero(loud[:count] > 2 * SILENCE)
    halved = {int(n): bool(passed[n] < HALF * loud[n]) for n in known}
    earlier = [n for n in halved if n * FRAME_SECONDS < since]
    if earlier and halved[earlier[-1]]:
        return None
    last = since
    for frame, low in halved.items():
        at = frame * FRAME_SECONDS
        if at < since:
            continue
        if at >= until:
            return None
        if low:
            return at if at - last <= exact_seconds else None
        last = at + FRAME_SECONDS
    return None


def stalls(sent: np.ndarray, heard: np.ndarray, rate: int, since: float, least_seconds: float = 0.03) -> list[float]:
    """Gaps that a sound got on its way: for each, by how many seconds what comes behind it is later than it should be.

    `sent` begins in `heard` near `since`. Pieces of 0.2 s are looked for one after the other; those that are silent or
    not found say nothing.
    """
    size = round(0.2 * rate)
    lag = since
    lags: list[float] = []
    for number, begin in enumerate(range(0, len(sent) - size + 1, size)):
        piece = sent[begin : begin + size]
        if levels(piece, rate).max(initial=0.0) < 4 * SILENCE:
            continue
        near, within = begin / rate + lag, 0.3 if not lags else 0.03
        place, alike = locate(piece, heard, rate, near, within)
        if alike < 0.7:  # it was moved
            place, alike = locate(piece, heard, rate, near + 1.0, 1.0)
        if alike >= 0.7:
            lag = place - begin / rate
            lags.append(lag)
        elif number and near > len(heard) / rate:
            break
    steps = (later - earlier for earlier, later in pairwise(lags))
    return [step for step in steps if step >= least_seconds]
