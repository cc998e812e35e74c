import math
from itertools import pairwise

import numpy as np
import pytest

from duplex_runtime.speech.base import MOUTH_RATE, Utterance
from duplex_runtime.speech.joints import (
    FADE,
    MOST_DECIBELS,
    Before,
    Joints,
    alike,
    as_int16,
    at_mouth_rate,
    fade_in,
    fade_out,
    fundamental,
    loudness,
    matched,
    pitch_level,
    resample,
    sound_begins,
    sound_ends,
)

WORD = 6000


def tone(hertz: float, samples: int, level: float = 0.3, rate: int = MOUTH_RATE) -> np.ndarray:
    """A buzz like a voice's: eight harmonics."""
    time = np.arange(samples) / rate
    waves = [np.sin(2 * np.pi * n * hertz * time) / n for n in range(1, 9)]
    return (level * np.sum(waves, axis=0)).astype(np.float32)


class Falling:
    """Every text falls from 220 Hz to 110 Hz, whatever its length; every word lasts 6000 samples (0.25 s)."""

    name = "falling"
    exact_marks = True

    def __init__(self, level: float = 0.3, pitch: float = 1.0) -> None:
        self.said: list[str] = []
        self.level, self.pitch = level, pitch

    def say(self, text: str) -> Utterance:
        self.said.append(text)
        words = text.split()
        marks, position = [], 0
        for number, word in enumerate(words):
            position = text.index(word, position)
            marks.append((position, WORD * number))
            position += len(word)
        count = WORD * len(words)
        phase = 2 * np.pi * np.cumsum(np.linspace(220, 110, count) * self.pitch) / MOUTH_RATE
        samples = self.level * np.sum([np.sin(n * phase) / n for n in range(1, 9)], axis=0)
        return Utterance(samples.astype(np.float32), MOUTH_RATE, tuple(marks))


class Vague(Falling):
    """The same, but nobody knows where its words are."""

    exact_marks = False


def before(piece_text: str, sound: np.ndarray, hold: int = FADE) -> Before:
    return Before(tuple(piece_text.split()), sound, hold)


# — pieces —


def test_an_open_piece_is_cut_from_the_words_that_pretend_to_follow() -> None:
    voice = Falling()
    piece = Joints(voice, left_words=4, following="to be").say(Before(), "a volcano is", closed=False)
    assert voice.said == ["a volcano is to be,"]
    assert piece.overlap == 0 and piece.hold == FADE
    assert len(piece.samples) == 3 * WORD + FADE // 2
    assert [w[:2] for w in piece.words] == [(0, 0), (2, WORD), (10, 2 * WORD)]
    assert piece.words[-1][2] == len(piece.samples) - piece.hold
    # it has not come down yet: of 110 Hz at the end, a third of the way is left
    assert pitch_level(piece.samples[2 * WORD :]) > 140


def test_a_piece_is_spoken_after_the_words_before_it_and_cut_at_its_mark() -> None:
    voice = Falling()
    joints = Joints(voice, left_words=2, following="to be")
    first = joints.say(Before(), "a volcano is", closed=False)
    voice.said.clear()
    second = joints.say(before("volcano is", first.samples[WORD:], first.hold), "an opening.", closed=True)
    assert voice.said == ["volcano is an opening."]
    assert second.overlap == FADE and second.hold == 0
    assert len(second.samples) == pytest.approx(2 * WORD + FADE // 2, abs=MOUTH_RATE // 200)
    assert [c for c, _, _ in second.words] == [0, 3]
    assert second.words[0][1] == FADE // 2
    assert second.words[-1][2] == len(second.samples)


def test_pieces_in_context_meet_more_evenly_than_pieces_by_themselves() -> None:
    def jump(joints: Joints) -> float:
        first = joints.say(Before(), "a volcano is", closed=False)
        words = "a volcano is" if joints.left_words else ""
        second = joints.say(before(words, first.samples, first.hold) if words else Before(), "an opening", closed=False)
        return abs(12 * math.log2(pitch_level(second.samples[:2400]) / pitch_level(first.samples[-2400:])))

    naive = jump(Joints(Falling(), left_words=0, following=""))
    assert naive > 7
    assert jump(Joints(Falling(), left_words=4, following="to be")) < naive / 2


def test_the_joint_itself_has_no_click() -> None:
    joints = Joints(Falling(), left_words=4, following="to be")
    first = joints.say(Before(), "a volcano is", closed=False)
    second = joints.say(before("a volcano is", first.samples, first.hold), "an opening", closed=False)
    whole = np.concatenate((first.samples[: -second.overlap], second.samples))
    steepest = max(np.abs(np.diff(first.samples[FADE:-FADE])).max(), np.abs(np.diff(second.samples[FADE:-FADE])).max())
    assert np.abs(np.diff(whole[FADE:-FADE])).max() <= 1.1 * steepest


def test_a_voice_without_marks_of_its_own_speaks_every_piece_by_itself() -> None:
    voice = Vague()
    piece = Joints(voice).say(before("so it", tone(200, 2 * WORD)), "goes on", closed=False)
    assert voice.said[-1] == "goes on,"
    assert (piece.overlap, piece.hold) == (0, 0)
    assert len(piece.samples) == 2 * WORD
    assert [c for c, _, _ in piece.words] == [0, 5]
    assert piece.samples[0] == 0 and abs(piece.samples[-1]) < 1e-6  # faded


def test_words_that_were_run_together_are_spoken_again_by_themselves() -> None:
    class Slurring(Falling):
        def say(self, text: str) -> Utterance:
            said = super().say(text)
            return Utterance(said.samples, said.rate, said.marks[:-2] if text.endswith("to be,") else said.marks)

    voice = Slurring()
    piece = Joints(voice, following="to be").say(Before(), "so it goes", closed=False)
    assert voice.said == ["so it goes to be,", "so it goes,"]
    assert len(piece.samples) == 3 * WORD


def test_a_quick_voice_says_more_around_a_piece() -> None:
    class Quick(Falling):
        repeats_itself = True

    assert Joints(Quick()).left_words > Joints(Falling()).left_words
    assert len(Joints(Quick()).following) > len(Joints(Falling()).following)
    assert Joints(Quick(), left_words=1, following="x").left_words == 1


def test_words_of_a_piece_follow_each_other_inside_it() -> None:
    piece = Joints(Falling()).say(before("it is", tone(200, 2 * WORD)), "one two three four", closed=True)
    for (_, _, end), (_, begin, _) in pairwise(piece.words):
        assert end == begin
    assert piece.words[-1][2] == len(piece.samples)


def test_silence_around_a_closed_piece_is_trimmed() -> None:
    class Padded(Falling):
        def say(self, text: str) -> Utterance:
            said = super().say(text)
            silence = np.zeros(WORD, np.float32)
            marks = tuple((c, s + WORD) for c, s in said.marks)
            return Utterance(np.concatenate((silence, said.samples, silence)), said.rate, marks)

    piece = Joints(Padded()).say(Before(), "one two.", closed=True)
    assert 2 * WORD <= len(piece.samples) <= 2 * WORD + MOUTH_RATE // 20
    assert piece.words[0][1] == 0


# — level and pitch —


@pytest.mark.parametrize(("level", "decibels"), [(0.3, 0), (0.25, 1.58), (0.05, MOST_DECIBELS), (0.9, -MOST_DECIBELS)])
def test_level_is_matched_by_three_decibels_at_most(level: float, decibels: float) -> None:
    again = tone(200, WORD, level)
    changed, factor = matched(again, again, tone(200, WORD, 0.3))
    assert factor == 1
    assert loudness(changed) - loudness(again) == pytest.approx(decibels, abs=0.05)


@pytest.mark.parametrize(("hertz", "matches"), [(200, True), (195, True), (207, True), (250, False), (199, False)])
def test_pitch_is_matched_if_it_is_a_little_off(hertz: float, matches: bool) -> None:
    again = tone(hertz, 2 * WORD)
    changed, factor = matched(again, again, tone(200, 2 * WORD))
    assert pitch_level(changed) == pytest.approx(200 if matches else hertz, rel=0.005)
    assert len(changed) == round(len(again) / factor)


def test_silence_is_not_made_louder() -> None:
    silence = np.zeros(WORD, np.float32)
    changed, factor = matched(silence, silence, tone(200, WORD))
    assert factor == 1 and not changed.any()


@pytest.mark.parametrize("hertz", [80, 110, 165, 220, 330, 400])
@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000])
def test_the_fundamental_of_a_buzz(hertz: float, rate: int) -> None:
    pitch = fundamental(tone(hertz, rate // 2, rate=rate), rate)
    assert len(pitch) == pytest.approx(47, abs=1)
    assert np.nanmedian(pitch) == pytest.approx(hertz, rel=0.01)
    assert np.isnan(pitch).mean() < 0.1


def test_noise_and_silence_have_no_pitch() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, MOUTH_RATE).astype(np.float32)
    assert np.isnan(fundamental(noise)).mean() > 0.95
    assert np.isnan(fundamental(np.zeros(MOUTH_RATE, np.float32))).all()
    assert len(fundamental(np.zeros(10, np.float32))) == 0
    assert math.isnan(pitch_level(noise[:100]))


# — sound —


@pytest.mark.parametrize(("rate", "to"), [(22_050, 24_000), (48_000, 24_000), (16_000, 24_000)])
def test_resampled_sound_is_the_same_sound(rate: int, to: int) -> None:
    time = np.arange(rate // 2) / rate
    sound = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    there = resample(sound, to / rate)
    assert len(there) == to // 2
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(to // 2) / to)
    assert np.abs(there - wanted)[200:-200].max() < 0.01


def test_resampling_little_or_nothing() -> None:
    assert len(resample(np.zeros(0, np.float32), 2.0)) == 0
    assert len(resample(np.ones(1, np.float32), 0.1)) == 0
    same = tone(200, 100)
    assert resample(same, 1.0) is not None and np.array_equal(resample(same, 1.0), same)


def test_marks_move_with_the_rate() -> None:
    said = at_mouth_rate(Utterance(np.zeros(22_050, np.float32), 22_050, ((5, 11_025), (0, 0), (9, 99_999))))
    assert (said.rate, len(said.samples)) == (24_000, 24_000)
    assert said.marks == ((0, 0), (5, 12_000), (9, 24_000))


def test_where_sound_begins_and_ends() -> None:
    sound = np.concatenate((np.zeros(4800), tone(200, 4800), np.zeros(4800))).astype(np.float32)
    assert 4800 - 480 <= sound_begins(sound) <= 4800
    assert 9600 <= sound_ends(sound) <= 9600 + 720
    silence = np.zeros(1000, np.float32)
    assert (sound_begins(silence), sound_ends(silence)) == (0, 0)


def test_the_most_alike_place_is_found() -> None:
    sound = np.random.default_rng(1).normal(0, 0.2, 5000).astype(np.float32)
    assert alike(sound, sound[2050:2290], 2000, 120) == 2050
    assert alike(sound, sound[2050:2290], 2000, 20) != 2050
    assert alike(np.zeros(1000, np.float32), np.zeros(240, np.float32), 300, 120) == 300
    assert alike(sound[:100], sound[:240], 50, 10) == 50


def test_fades_and_clipping() -> None:
    ones = np.ones(400, np.float32)
    fade_in(ones, 100)
    fade_out(ones, 100)
    assert ones[0] == 0 and ones[-1] == 0 and ones[200] == 1 and ones[50] == pytest.approx(0.5)
    assert as_int16(np.array([2.0, -2.0, 0.5], np.float32)).tolist() == [32767, -32768, 16384]
