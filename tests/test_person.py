"""The recorded person: every sentence is where the timeline says."""

from pathlib import Path

import numpy as np
import pytest

from duplex_runtime.errors import DuplexError
from webapp import person
from webapp.person import LEAD_SECONDS, RATE, Line


def tones(text: str) -> np.ndarray:
    """A fifth of a second of noise a word, between two silences."""
    words = np.random.default_rng(1).normal(0, 0.01, len(text.split()) * RATE // 5)
    edge = np.zeros(RATE // 10)
    return np.concatenate([edge, words, edge]).astype(np.float32)


def test_the_lines_stand_one_after_the_other_with_silence_between() -> None:
    said = person.recorded([Line("question", "one two", 2.0), Line("stop", "three", 1.0)], tones)
    first, second = said.said
    assert (first.begin, first.end) == pytest.approx((LEAD_SECONDS, LEAD_SECONDS + 0.4), abs=0.011)
    assert (second.begin, second.end) == pytest.approx((LEAD_SECONDS + 2.4, LEAD_SECONDS + 2.6), abs=0.011)
    assert said.seconds == pytest.approx(LEAD_SECONDS + 3.6, abs=0.03)
    loud = np.abs(said.sound) > 0.02
    assert not loud[round(first.end * RATE) + 480 : round(second.begin * RATE) - 480].any()


def test_everything_is_as_loud_in_a_quiet_room() -> None:
    said = person.recorded([Line("question", "one", 1.0)], tones)
    assert np.abs(said.sound).max() == pytest.approx(person.LOUDEST, abs=0.01)
    assert 0 < np.abs(said.sound[: RATE // 2]).max() < 0.01


def test_a_pause_in_a_sentence_is_silence_and_no_word() -> None:
    line = Line("question", "one | two three", 1.0, pause=0.6)
    said = person.recorded([line], tones).said[0]
    assert line.words == "one two three"
    assert said.end - said.begin == pytest.approx(3 * 0.2 + 0.6, abs=0.03)


def test_a_voice_that_says_nothing_is_an_error() -> None:
    with pytest.raises(DuplexError, match="says nothing for 'one'"):
        person.recorded([Line("question", "one", 1.0)], lambda text: np.zeros(RATE, np.float32))


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    sound = tones("one two")
    person.write_wav(tmp_path / "a.wav", sound, RATE)
    assert np.abs(person.read_wav(tmp_path / "a.wav") - sound).max() < 1e-4


def test_espeak_is_always_there() -> None:
    said = person.recorded([Line("question", "What is the capital of France?", 1.0)], person.espeak("en-us")).said[0]
    assert 1.0 < said.end - said.begin < 3.0


@pytest.mark.skipif(not person.has_flite(), reason="flite is not installed")
def test_flite_says_what_it_would_spell_as_a_sound() -> None:
    said = person.recorded([Line("backchannel", "mm-hm", 1.0)], person.flite("slt")).said[0]
    assert said.end - said.begin < 0.6
    with pytest.raises(DuplexError, match="flite has no voice 'nobody' here"):
        person.flite("nobody")
