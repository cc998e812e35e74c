"""Local agreement over windows, with a decoder that is told; and the whole way with a tiny random Whisper."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from speech_fixtures import chunks, say, silence, tiny_whisper

from duplex_runtime.errors import DuplexError
from duplex_runtime.speech.base import EAR_RATE, Hypothesis, Word
from duplex_runtime.speech.whisper import (
    MODELS,
    Choice,
    Heard,
    Machine,
    Whisper,
    WhisperListening,
    Windows,
    choose,
    this_machine,
)

SECOND = np.zeros(EAR_RATE, np.int16)


class Speech:
    """Decodes what is spoken at a word every half second: all words that lie whole in the window, and a guess for
    one that is cut. The window knows where it lies, for its samples count seconds."""

    def __init__(self, text: str) -> None:
        self.words = text.split()
        self.asked: list[tuple[float, str]] = []  # seconds of each window, and what came before it

    def sound(self, seconds: float) -> np.ndarray:
        """Samples that tell their own time, in hundredths of a second."""
        return np.repeat(np.arange(round(seconds * 100), dtype=np.int16), EAR_RATE // 100)

    def decode(self, window: np.ndarray, before: str) -> Sequence[Heard]:
        self.asked.append((len(window) / EAR_RATE, before))
        start = round(float(window[0]) * 32768) / 100
        end = start + len(window) / EAR_RATE
        heard = []
        for i, word in enumerate(self.words):
            at, until = i * 0.5, i * 0.5 + 0.5
            if start - 0.01 <= at and until <= end:
                heard.append(Heard(word, at - start, until - start))
            elif start - 0.01 <= at < end - 0.1:
                heard.append(Heard(f"{word[:1]}…?{len(self.asked)}x", at - start, end - start))
        return heard


def follow(ear: WhisperListening, sound: np.ndarray, size: int = 1600) -> tuple[list[Word], list[Hypothesis]]:
    words: list[Word] = []
    told: list[Hypothesis] = []
    now = 0.0
    for chunk in chunks(sound, size):
        now += len(chunk) / EAR_RATE
        told.append(ear.feed(chunk, now))
        words += told[-1].words
    told.append(ear.end(now))
    return [*words, *told[-1].words], told


def script(*decodings: str) -> WhisperListening:
    """An ear whose decodings are told, a word every half second."""
    rest = list(decodings)

    def decode(window: np.ndarray, before: str) -> list[Heard]:
        return [Heard(word, i * 0.5, i * 0.5 + 0.5) for i, word in enumerate(rest.pop(0).split())]

    ear = WhisperListening(decode)
    ear.begin(0.0)
    return ear


def texts(hypothesis: Hypothesis) -> list[str]:
    return [word.text for word in hypothesis.words]


# — agreement —


def test_words_are_certain_when_two_decodings_agree() -> None:
    ear = script("tell me", "Tell me, a boat", "tell me about bees")
    assert ear.feed(SECOND, 1.0) == Hypothesis((), "tell me")
    second = ear.feed(SECOND, 2.0)
    assert texts(second) == ["Tell", "me,"]
    assert second.partial == "a boat"
    third = ear.feed(SECOND, 3.0)
    assert third == Hypothesis((), "about bees")


def test_the_end_makes_everything_certain() -> None:
    ear = script("tell me", "tell me about bees")
    ear.feed(SECOND, 1.0)
    ear.feed(SECOND[:4000], 1.2)
    last = ear.end(1.3)
    assert texts(last) == ["tell", "me", "about", "bees"]
    assert last.partial == "" and {w.committed_at for w in last.words} == {1.3}


def test_words_that_waver_in_time_do_not_come_twice() -> None:
    steady = [Heard("stop", 0.0, 0.5), Heard("that", 0.5, 0.9)]
    later = [Heard("Stop", 0.6, 0.9), Heard("that", 0.9, 1.1), Heard("now", 1.1, 1.5)]
    made = iter([steady, steady, later])
    ear = WhisperListening(lambda window, before: next(made))
    ear.begin(0.0)
    ear.feed(SECOND, 1.0)
    assert texts(ear.feed(SECOND, 2.0)) == ["stop", "that"]
    ear.feed(SECOND[:8000], 2.5)
    assert texts(ear.end(2.6)) == ["now"]


def test_it_looks_only_after_enough_new_sound() -> None:
    speech = Speech("a b c d e f")
    ear = WhisperListening(speech.decode)
    ear.begin(0.0)
    follow(ear, speech.sound(2.0), size=320)
    assert [seconds for seconds, _ in speech.asked] == pytest.approx([0.8, 1.6, 2.0])


def test_nothing_new_at_the_end_is_not_decoded_again() -> None:
    speech = Speech("a b c d e f")
    ear = WhisperListening(speech.decode)
    ear.begin(0.0)
    ear.feed(speech.sound(1.0), 1.0)
    assert texts(ear.end(1.1)) == ["a", "b"]
    assert len(speech.asked) == 1


# — long speech —


def test_a_long_speech_is_heard_whole_and_in_short_windows() -> None:
    text = " ".join(f"word{n}" for n in range(80))
    speech = Speech(text)
    ear = WhisperListening(speech.decode)
    ear.begin(0.0)
    words, told = follow(ear, speech.sound(40.0))
    assert " ".join(w.text for w in words) == text
    assert max(seconds for seconds, _ in speech.asked) < 10
    assert [w.start for w in words] == pytest.approx([n * 0.5 for n in range(80)], abs=0.02)
    assert max(w.committed_at - w.end for w in words) < 2.5
    assert all(h.partial.count(" ") < 6 for h in told)


def test_after_a_cut_the_model_is_told_what_came_before() -> None:
    speech = Speech(" ".join(f"word{n}" for n in range(40)))
    ear = WhisperListening(speech.decode)
    ear.begin(0.0)
    follow(ear, speech.sound(20.0))
    befores = [before for _, before in speech.asked]
    assert befores[0] == "" and any(before.startswith("word0 word1") for before in befores)


def test_a_window_on_which_nothing_agrees_stays_short() -> None:
    lengths: list[float] = []

    def decode(window: np.ndarray, before: str) -> list[Heard]:
        lengths.append(len(window) / EAR_RATE)
        return [Heard(f"x{len(lengths)}", 0.1, 0.4), Heard("y", len(window) / EAR_RATE - 0.3, len(window) / EAR_RATE)]

    ear = WhisperListening(decode, Windows(most_seconds=5.0))
    ear.begin(0.0)
    words, _ = follow(ear, np.zeros(20 * EAR_RATE, np.int16))
    assert max(lengths) < 6
    assert words and [w.start for w in words] == sorted(w.start for w in words)


def test_times_are_on_the_sessions_clock() -> None:
    speech = Speech("a b")
    ear = WhisperListening(speech.decode)
    ear.begin(100.0)
    ear.feed(speech.sound(1.0), 101.0)
    assert [(w.start, w.end) for w in ear.end(101.0).words] == [(100.0, 100.5), (100.5, 101.0)]
    ear.begin(200.0)
    ear.feed(speech.sound(1.0), 201.0)
    assert ear.end(201.0).words[0].start == 200.0, "nothing is left of the utterance before"


# — which model —


@pytest.mark.parametrize(
    ("machine", "model", "device", "compute_type"),
    [
        (Machine(2), "tiny.en", "cpu", "int8"),
        (Machine(4), "base.en", "cpu", "int8"),
        (Machine(32), "small.en", "cpu", "int8"),
        (Machine(4, cuda_gib=24), "large-v3-turbo", "cuda", "float16"),
        (Machine(32, cuda_gib=4), "small.en", "cuda", "float16"),
        (Machine(8, cuda_gib=1), "base.en", "cpu", "int8"),
    ],
)
def test_the_model_fits_the_machine(machine: Machine, model: str, device: str, compute_type: str) -> None:
    chosen = choose(machine)
    assert (chosen.model, chosen.device, chosen.compute_type) == (model, device, compute_type)
    assert chosen.model in MODELS and chosen.threads <= machine.cores


def test_this_machine_has_a_core() -> None:
    assert this_machine().cores >= 1


# — the real thing —


def test_a_model_that_is_not_there_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DuplexError, match=r"76 MB\) is not on this machine.*hf download Systran/") as caught:
        Whisper(Choice("tiny.en"))
    assert caught.value.code == "model_missing"


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DuplexError, match=r"there is no model\.bin in it") as caught:
        Whisper(Choice(str(tmp_path)))
    assert caught.value.code == "model_missing"


def test_a_broken_model_is_no_missing_one(tmp_path: Path) -> None:
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(DuplexError, match="does not load") as caught:
        Whisper(Choice(str(tmp_path)))
    assert caught.value.code == "model_error"


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(DuplexError, match=r"pip install 'duplex-arena\[voice\]'"):
        Whisper(Choice("tiny.en"))


def test_a_real_model_hears_words_in_the_sound(tmp_path: Path) -> None:
    whisper = Whisper(Choice(str(tiny_whisper(tmp_path)), threads=1))
    assert whisper.name == "Whisper tiny" and not whisper.offline
    ear = whisper.listen()
    sound = np.concatenate([say("tell me about volcanoes"), silence(0.3)])
    ear.begin(5.0)
    now, words = 5.0, []
    for chunk in chunks(sound):
        now += len(chunk) / EAR_RATE
        words += ear.feed(chunk, now).words
    last = ear.end(now)
    words += last.words
    assert words and last.partial == ""
    assert all(5.0 <= w.start <= w.end <= now + 0.1 and w.text.strip() == w.text for w in words)
    assert ear.end(now + 1) == Hypothesis(), "an utterance ends once"
