"""Signals that are known give times that are known."""

import numpy as np
import pytest

from duplex_runtime.evaluation import sound

RATE = 8000


def noise(seconds: float, loudness: float = 0.1, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(0, loudness, round(seconds * RATE))).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def track(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts)


@pytest.mark.parametrize(("rate", "wanted"), [(24_000, 8000), (16_000, 48_000), (44_100, 8000), (8000, 8000)])
def test_another_rate_keeps_the_sound_and_its_length(rate: int, wanted: int) -> None:
    def tone(rate: int) -> np.ndarray:
        at = np.arange(rate // 2) / rate
        return (0.5 * np.sin(2 * np.pi * 440 * at) * np.hanning(rate // 2)).astype(np.float32)

    assert np.abs(sound.resampled(tone(rate), rate, wanted) - tone(wanted)).max() < 0.005


def test_levels_are_those_of_whole_frames() -> None:
    quiet = np.full(80, 0.1, np.float32)
    assert sound.levels(track(quiet, 3 * quiet, quiet[:50]), RATE) == pytest.approx([0.1, 0.3])
    assert len(sound.levels(silence(0), RATE)) == 0


def test_speech_begins_and_ends_where_it_is_no_longer_much_quieter_than_its_loudest() -> None:
    faint = noise(0.2, 0.0005)
    begin, end = sound.edges(track(silence(0.3), faint, noise(0.5), faint, silence(0.1)), RATE)
    assert (begin, end) == pytest.approx((0.5, 1.0))
    assert sound.edges(silence(1), RATE) == (0.0, 0.0)


@pytest.mark.parametrize("at", [2.0, 2.34, 3.4])
def test_a_known_sound_is_found_in_noise(at: float) -> None:
    said = noise(0.7, seed=3)
    recording = noise(5, 0.02)
    begin = round(at * RATE)
    recording[begin : begin + len(said)] += 0.6 * said
    place, alike = sound.locate(said, recording, RATE, near=2.5, within=1.0)
    assert place == pytest.approx(at, abs=0.001)
    assert alike > 0.9


def test_a_sound_that_is_not_there_is_not_alike() -> None:
    assert sound.locate(noise(0.7, seed=3), noise(5), RATE, near=2.5, within=1.0)[1] < sound.ALIKE
    assert sound.locate(noise(0.7), silence(1), RATE, near=9.0, within=1.0)[1] < sound.ALIKE


def test_a_sound_may_begin_before_its_recording() -> None:
    said = noise(1.0)
    place, alike = sound.locate(said, track(said[2000:], silence(1)), RATE, near=0.0, within=0.5)
    assert place == pytest.approx(-0.25, abs=0.001)
    assert alike > 0.8


def test_the_next_sound_and_the_next_silence() -> None:
    answer = track(silence(1), noise(1), silence(0.4), noise(1), silence(2))
    assert sound.next_sound(answer, RATE, 0.0) == pytest.approx(1.0, abs=0.011)
    assert sound.next_sound(answer, RATE, 1.5) == 1.5
    assert sound.next_sound(answer, RATE, 2.1) == pytest.approx(2.4, abs=0.011)
    assert sound.next_sound(answer, RATE, 3.5) is None
    assert sound.next_sound(answer, RATE, 0.0, until=0.9) is None
    assert sound.next_silence(answer, RATE, 1.5, 0.7) == pytest.approx(3.4, abs=0.011)
    assert sound.next_silence(answer, RATE, 1.5, 0.3) == pytest.approx(2.0, abs=0.011)
    assert sound.next_silence(answer, RATE, 4.0, 0.7) == 4.0
    assert sound.next_silence(answer[: 3 * RATE], RATE, 2.5, 0.7) is None


def test_a_short_pause_belongs_to_what_sounds() -> None:
    answer = track(silence(1), noise(1), silence(0.4), noise(1), silence(2))
    sounding = [sound.is_sounding(answer, RATE, at, 0.7) for at in (0.5, 1.5, 2.2, 3.0, 4.0)]
    assert sounding == [False, True, True, True, False]
    assert not sound.is_sounding(answer, RATE, 2.2, 0.3)


def test_when_a_voice_is_lowered() -> None:
    voice = track(silence(1), noise(2), silence(0.5), noise(2))

    def lowered(begin: float, end: float) -> np.ndarray:
        after = voice.copy()
        after[round(begin * RATE) : round(end * RATE)] *= 0.15
        return after

    def found(after: np.ndarray) -> float | None:
        return sound.lowered_at(voice, after, RATE, 1.5, 4.5)

    assert found(lowered(2.0, 3.0)) == pytest.approx(2.0, abs=0.011)
    assert found(voice) is None
    assert found(voice * 0.7) is None  # by 3 dB
    assert found(lowered(1.2, 3.0)) is None, "it was lowered before"
    assert found(lowered(3.2, 5.0)) is None, "in a pause: nobody knows when"
    assert found(lowered(4.7, 5.0)) is None, "too late"
    assert sound.lowered_at(silence(3), silence(3), RATE, 1.0, 2.0) is None


def test_gaps_that_a_sound_got_on_its_way() -> None:
    sent = track(noise(1), silence(0.5), noise(2, seed=1))
    whole = track(silence(0.8), sent, silence(1))
    assert sound.stalls(sent, whole, RATE, since=0.7) == []
    torn = track(silence(0.8), sent[:4000], silence(0.12), sent[4000:20_000], silence(0.9), sent[20_000:], silence(1))
    assert sound.stalls(sent, torn, RATE, since=0.7) == pytest.approx([0.12, 0.9], abs=0.005)


def test_a_sound_that_was_cut_off_got_no_gaps() -> None:
    sent = noise(3)
    assert sound.stalls(sent, track(silence(0.8), sent[:8000]), RATE, since=0.8) == []
