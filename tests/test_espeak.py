import sys
import threading
import time

import numpy as np
import pytest

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.speech import espeak
from duplex_runtime.speech.espeak import Espeak, library, marks_of_words

pytest.importorskip("espeakng_loader", reason="needs the speech extra")


def words(text: str, marks: tuple[tuple[int, int], ...]) -> list[str]:
    return [text[character:].split()[0] for character, _ in marks]


def test_a_sentence_is_sound_with_a_mark_for_every_word() -> None:
    text = "A volcano is an opening, where melted rock rises."
    said = Espeak().say(text)
    assert said.rate == 22_050
    assert said.samples.dtype == np.float32
    assert 2 < len(said.samples) / said.rate < 4
    assert 0.2 < np.abs(said.samples).max() <= 1
    assert words(text, said.marks) == text.split()
    samples = [sample for _, sample in said.marks]
    assert samples == sorted(samples)
    assert samples[0] == 0 and samples[-1] < len(said.samples)


def test_marks_lie_where_the_words_are() -> None:
    """Whatever word follows, the ones before it take the same time; and at the mark of a loud word it becomes loud."""
    voice = Espeak()
    one, other = voice.say("Some people like tea"), voice.say("Some people like elephants")
    at = dict(one.marks)[len("Some people like ")]
    assert dict(other.marks)[len("Some people like ")] == pytest.approx(at, abs=0.03 * one.rate)
    said = voice.say("Stop. Now")
    mark = dict(said.marks)[len("Stop. ")]
    before, after = said.samples[mark - 2000 : mark], said.samples[mark : mark + 4000]
    assert np.abs(before).max() < 0.01 < 0.1 < np.abs(after).max()


def test_numbers_and_abbreviations_are_one_word_each() -> None:
    text = "In 1998, e.g. Dr. Smith's “3.5” pounds don't (né) cost 12,000 km."
    assert words(text, Espeak().say(text).marks) == text.split()


def test_other_settings_sound_different() -> None:
    lengths = [len(Espeak(words_per_minute=rate).say("the same words as before").samples) for rate in (120, 165, 250)]
    assert lengths[0] > 1.2 * lengths[1] > 1.4 * lengths[2]
    low, high = (Espeak(pitch=pitch).say("the same words").samples for pitch in (20, 80))
    assert len(low) != len(high) or not np.allclose(low, high)


def test_two_voices_take_turns_without_mixing_their_settings() -> None:
    one, other = Espeak(), Espeak("en+m3", words_per_minute=220)
    mixed = [len(voice.say("one two three four").samples) for voice in (one, other, one, other)]
    assert mixed[0] == pytest.approx(mixed[2], rel=0.01)
    assert mixed[1] == pytest.approx(mixed[3], rel=0.01)
    assert mixed[0] > 1.2 * mixed[1]


def test_threads_wait_for_each_other() -> None:
    voice, results = Espeak(), {}
    texts = ["something of its own " * n for n in range(1, 9)]
    threads = [threading.Thread(target=lambda t=t: results.__setitem__(t, voice.say(t))) for t in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for text in texts:
        assert words(text, results[text].marks) == text.split()
        assert len(results[text].samples) == pytest.approx(len(voice.say(text).samples), rel=0.01)


def test_text_without_words_has_no_mark() -> None:
    assert Espeak().say("").marks == ()
    assert len(Espeak().say("").samples) < 2000
    assert len(Espeak().say("a\0b").marks) == 2


def test_it_is_far_quicker_than_speech() -> None:
    voice = Espeak()
    voice.say("warm")
    begun = time.process_time()
    said = voice.say("A volcano is an opening where melted rock rises from deep underground.")
    assert time.process_time() - begun < 0.05 * len(said.samples) / said.rate


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadInput, match="expected a voice of espeak-ng such as 'en-us'"):
        Espeak("nobody")
    Espeak().say("and it still speaks")
    with pytest.raises(BadInput, match="expected 80 to 450, got 20"):
        Espeak(words_per_minute=20)
    with pytest.raises(BadInput, match="expected 0 to 99, got 100 and 50"):
        Espeak(pitch=100, pitch_range=50)
    with pytest.raises(BadInput, match="at most 5000 characters"):
        Espeak().say("a" * 5001)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(DuplexError, match="pip install espeakng-loader") as error:
        espeak._Library()
    assert error.value.code == "voice_missing"


def test_marks_skip_what_is_no_beginning_of_a_word() -> None:
    text = "a 1998 b"
    assert marks_of_words(text, [(0, 0), (2, 10), (3, 20), (4, 30), (7, 40)], 50) == ((0, 0), (2, 10), (7, 40))
    assert marks_of_words(text, [(0, 0), (1, 10), (99, 20), (7, 60)], 50) == ((0, 0), (2, 10))


def test_phonemes_are_those_of_the_clauses() -> None:
    clauses = library().phonemes("Hello world, how are you?", "en-us", "_")
    assert clauses == ["h_ə_l_ˈoʊ w_ˈɜː_l_d", "h_ˈaʊ ɑːɹ j_uː"]
    assert library().phonemes("", "en-us", "_") == []
