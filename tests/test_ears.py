"""From what a microphone sends to events."""

import numpy as np
import pytest
from speech_fixtures import chunks, noise, say, silence
from test_vad import Told, ramp

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.speech.base import EAR_RATE, EarEvent, Hypothesis, SpeechStarted, SpeechStopped, Word
from duplex_runtime.speech.ears import Ears, Microphone
from duplex_runtime.speech.vad import FRAME_SECONDS, VoiceActivity, load_session


class Parrot:
    """A recogniser that says how much it heard: every 4,000 samples a word becomes certain."""

    hasty = False

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []
        self.samples: list[int] = []

    def begin(self, at: float) -> None:
        self.calls.append(("begin", at))
        self.heard = self.told = 0

    def feed(self, samples: np.ndarray, now: float) -> Hypothesis:
        self.samples += samples.tolist()
        self.heard += len(samples)
        return Hypothesis(self._new(now), f"word {self.told}")

    def end(self, now: float) -> Hypothesis:
        self.calls.append(("end", now))
        return Hypothesis((*self._new(now), Word("over", 0.0, 0.0, now)))

    def _new(self, now: float) -> tuple[Word, ...]:
        count, self.told = self.heard // 4000 - self.told, self.heard // 4000
        return tuple(Word("word", 0.0, 0.0, now) for _ in range(count))


class Broken(Parrot):
    def feed(self, samples: np.ndarray, now: float) -> Hypothesis:
        raise RuntimeError("no more memory")


def listen(ears: Ears, sound: np.ndarray, at: float = 0.0, late: float = 0.01) -> list[EarEvent]:
    events: list[EarEvent] = []
    for chunk in chunks(sound):
        events += ears.hear(chunk, at, at + len(chunk) / EAR_RATE + late)
        at += len(chunk) / EAR_RATE
    return events


# — events —


def test_an_utterance_is_started_understood_stopped_and_finished() -> None:
    parrot = Parrot()
    events = listen(Ears(Told(*[0.0] * 20, *[0.9] * 20), parrot), ramp(60))
    assert events[0] == SpeechStarted(
        pytest.approx(20 * FRAME_SECONDS), pytest.approx(22 * FRAME_SECONDS + 0.01, abs=0.02)
    )
    stopped = next(i for i, e in enumerate(events) if isinstance(e, SpeechStopped))
    assert events[stopped].at == pytest.approx(40 * FRAME_SECONDS)
    assert events[stopped].noticed_at == pytest.approx(51 * FRAME_SECONDS + 0.01, abs=0.03)
    assert events[stopped - 1] == Hypothesis((Word("over", 0.0, 0.0, events[stopped].noticed_at),))
    assert stopped == len(events) - 1
    assert all(isinstance(e, Hypothesis) for e in events[1:stopped])
    assert parrot.calls[0] == ("begin", pytest.approx(20 * FRAME_SECONDS - 0.3))
    assert parrot.samples[0] == round((20 * FRAME_SECONDS - 0.3) * EAR_RATE), "the sound before the start is missing"


def test_a_hypothesis_comes_only_with_something_new() -> None:
    events = listen(Ears(Told(*[0.9] * 40), Parrot()), ramp(60))
    hypotheses = [e for e in events if isinstance(e, Hypothesis)]
    *heard, last = hypotheses
    assert [h.partial for h in heard] == [f"word {n}" for n in range(len(heard))], "each guess came once"
    assert [len(h.words) for h in heard] == [0] + [1] * (len(heard) - 1)
    assert last.partial == ""


def test_silence_and_noise_are_no_events() -> None:
    ears = Ears(VoiceActivity(load_session()), Parrot())
    quiet = (np.zeros(EAR_RATE, np.int16), silence(1), noise(1, 1000), np.full(EAR_RATE, 12_000, np.int16))
    assert listen(ears, np.concatenate(quiet)) == []


def test_real_speech_is_found_where_it_is() -> None:
    speech = say("tell me about volcanoes")
    events = listen(Ears(VoiceActivity(load_session()), Parrot()), np.concatenate([silence(1), speech, silence(1)]))
    started = [e for e in events if isinstance(e, SpeechStarted)]
    stopped = [e for e in events if isinstance(e, SpeechStopped)]
    assert len(started) == len(stopped) == 1
    assert started[0].at == pytest.approx(1.1, abs=0.15)
    assert stopped[0].at == pytest.approx(1 + len(speech) / EAR_RATE - 0.1, abs=0.35)
    assert 0.3 < stopped[0].noticed_at - stopped[0].at < 0.5


def test_switching_the_microphone_off_ends_the_utterance() -> None:
    parrot = Parrot()
    ears = Ears(Told(*[0.9] * 10), parrot)
    listen(ears, ramp(10))
    assert ears.speaking
    events = ears.close(0.5)
    assert events == [Hypothesis((Word("over", 0.0, 0.0, 0.5),)), SpeechStopped(pytest.approx(10 * FRAME_SECONDS), 0.5)]
    assert not ears.speaking and ears.close(0.6) == []


def test_a_hole_in_the_sound_ends_the_utterance() -> None:
    parrot = Parrot()
    ears = Ears(Told(*[0.9] * 20), parrot)
    listen(ears, ramp(10))
    events = listen(ears, ramp(5), at=10.0)
    assert [type(e) for e in events[:3]] == [Hypothesis, SpeechStopped, SpeechStarted]
    assert events[2].at == pytest.approx(10.0)


def test_a_recogniser_that_fails_is_told_once_and_then_the_ears_are_deaf() -> None:
    ears = Ears(Told(*[0.9] * 40), Broken())
    with pytest.raises(DuplexError, match=r"RuntimeError: no more memory.*type instead") as caught:
        listen(ears, ramp(20))
    assert caught.value.code == "ears_broke"
    assert listen(ears, ramp(20), at=5.0) == [] == ears.close(9.0)


# — the microphone —


def tone(rate: int, hertz: float, seconds: float = 1.0) -> np.ndarray:
    return np.round(8000 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype("<i2")


def stream(sound: np.ndarray, rate: int, size: int) -> np.ndarray:
    microphone = Microphone()
    return np.concatenate([microphone.pcm(chunk.tobytes(), rate) for chunk in chunks(sound, size)])


def test_sixteen_kilohertz_pass() -> None:
    sound = tone(16_000, 400)
    assert np.abs(stream(sound, 16_000, 320).astype(int) - sound).max() < 150  # a mean that is followed


@pytest.mark.parametrize("size", [480, 481, 77, 12_000])
def test_twenty_four_kilohertz_become_sixteen_without_a_click(size: int) -> None:
    out = stream(tone(24_000, 400), 24_000, size)
    expected = tone(16_000, 400)
    assert len(out) == len(expected)
    assert np.abs(out[3216:].astype(int) - expected[3200:-16]).max() < 250  # a millisecond later


def test_what_sixteen_kilohertz_cannot_carry_is_gone() -> None:
    assert np.abs(stream(tone(24_000, 10_000), 24_000, 480)[200:].astype(int)).max() < 80
    assert np.abs(stream(tone(24_000, 5_000), 24_000, 480)[200:].astype(int)).max() > 7_500


def test_a_constant_in_the_sound_is_taken_away() -> None:
    out = stream(tone(16_000, 400) + np.int16(9_000), 16_000, 320)
    assert abs(out.mean()) < 50


def test_full_scale_does_not_wrap_around() -> None:
    square = np.where(tone(24_000, 300) >= 0, 32767, -32768).astype("<i2")
    out = stream(square, 24_000, 480).astype(int)
    assert out.max() == 32767 and out.min() == -32768
    assert (np.sign(out[50:70]) == np.sign(out[60])).all()


def test_another_rate_begins_anew() -> None:
    microphone = Microphone()
    microphone.pcm(tone(24_000, 400).tobytes(), 24_000)
    assert len(microphone.pcm(tone(16_000, 400).tobytes(), 16_000)) == 16_000


def test_no_sound_is_no_sound() -> None:
    assert len(Microphone().pcm(b"", 16_000)) == 0


@pytest.mark.parametrize(
    ("data", "rate", "message"),
    [
        (b"\0" * 640, 44_100, "expected a rate of 16000 or 24000"),
        (b"\0" * 641, 16_000, "whole samples of 2 bytes each, got 641 bytes"),
        (b"\0" * 160_000, 16_000, "at most 2 s in one frame, got 5.0 s"),
    ],
)
def test_what_is_no_sound_is_refused(data: bytes, rate: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Microphone().pcm(data, rate)
