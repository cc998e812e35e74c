"""Silero frame by frame, and the gate behind it."""

import importlib.util

import numpy as np
import pytest
from speech_fixtures import chunks, noise, say, silence

from duplex_runtime.errors import DuplexError
from duplex_runtime.speech import vad
from duplex_runtime.speech.base import EAR_RATE
from duplex_runtime.speech.vad import FRAME, FRAME_SECONDS, Began, Ended, Gate, Part, Sound, Thresholds, VoiceActivity


class Told:
    """Voice activity that is told: one probability for each frame, 0 where it knows no more."""

    def __init__(self, *probabilities: float) -> None:
        self.probabilities = list(probabilities)
        self.rest = 0

    def feed(self, samples: np.ndarray) -> list[float]:
        count, self.rest = divmod(self.rest + len(samples), FRAME)
        return [self.probabilities.pop(0) if self.probabilities else 0.0 for _ in range(count)]

    def reset(self) -> None:
        self.rest = 0


def ramp(frames: int) -> np.ndarray:
    """Samples that are told apart by their value."""
    return np.arange(frames * FRAME, dtype=np.int16)


def run(gate: Gate, sound: np.ndarray, size: int = 320, at: float = 0.0) -> list[Part]:
    parts: list[Part] = []
    for i, chunk in enumerate(chunks(sound, size)):
        parts += gate.feed(chunk, at + i * size / EAR_RATE)
    return parts


def heard(parts: list[Part]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int16), *(part.samples for part in parts if isinstance(part, Sound))])


def marks(parts: list[Part]) -> list[Part]:
    return [part for part in parts if not isinstance(part, Sound)]


# — the network —


def test_pieces_of_any_size_give_what_the_whole_gives() -> None:
    sound = np.concatenate([silence(0.3), say("tell me about volcanoes"), silence(0.2)])
    whole = VoiceActivity(vad.load_session()).feed(sound)
    assert len(whole) == len(sound) // FRAME
    for size in (1000, 333):
        activity = VoiceActivity(vad.load_session())
        pieces = [p for chunk in chunks(sound, size) for p in activity.feed(chunk)]
        assert pieces == pytest.approx(whole, abs=1e-4)


def test_speech_is_told_from_silence_and_noise() -> None:
    def share(sound: np.ndarray) -> float:
        return float(np.mean([p > 0.5 for p in VoiceActivity(vad.load_session()).feed(sound)]))

    speech = say("tell me about volcanoes")
    assert share(speech) > 0.6
    assert share(np.zeros(EAR_RATE, np.int16)) == share(silence(1)) == share(noise(1, 1000)) == 0
    assert share((speech.astype(int) * 40).clip(-32768, 32767).astype(np.int16)) > 0.5, "clipped"


def test_a_reset_forgets() -> None:
    activity = VoiceActivity(vad.load_session())
    sound = say("tell me about volcanoes")[: FRAME * 20]
    first = activity.feed(sound)
    activity.feed(sound[:100])
    activity.reset()
    assert activity.feed(sound) == first


def test_a_missing_network_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DuplexError, match=r"pip install 'duplex-arena\[voice\]'") as caught:
        vad.load_session.__wrapped__()
    assert caught.value.code == "ears_missing"


# — the gate —


def test_speech_begins_at_its_first_frame_and_ends_at_its_last() -> None:
    loud = [0.1] * 20 + [0.9] * 10 + [0.1] * 20
    parts = run(Gate(Told(*loud)), ramp(50))
    began, ended = marks(parts)
    assert began == Began(pytest.approx(20 * FRAME_SECONDS), pytest.approx(20 * FRAME_SECONDS - 0.3))
    assert ended == Ended(pytest.approx(30 * FRAME_SECONDS))


def test_the_sound_is_whole_from_before_the_start_to_the_end_of_the_hangover() -> None:
    for size in (100, 320, 5000):
        parts = run(Gate(Told(*[0.0] * 20, *[0.9] * 10)), ramp(50), size)
        first = round((20 * FRAME_SECONDS - 0.3) * EAR_RATE)
        hangover = -(-0.35 // FRAME_SECONDS)  # whole frames
        assert heard(parts).tolist() == ramp(50)[first : int(30 + hangover) * FRAME].tolist()


def test_one_loud_frame_is_no_speech_and_two_of_three_are() -> None:
    assert not run(Gate(Told(0, 0.9, 0, 0, 0.9, 0)), ramp(10))
    assert marks(run(Gate(Told(0, 0.9, 0, 0.9)), ramp(5))) == [Began(pytest.approx(FRAME_SECONDS), 0.0)]


def test_between_the_thresholds_speech_goes_on_but_does_not_begin() -> None:
    assert not run(Gate(Told(*[0.45] * 30)), ramp(30))
    parts = run(Gate(Told(0.9, 0.9, *[0.4] * 30)), ramp(60))
    assert marks(parts)[1] == Ended(pytest.approx(32 * FRAME_SECONDS))


def test_a_short_pause_does_not_end_it_and_a_long_one_does() -> None:
    speech = [0.9] * 5
    for pause, utterances in ((8, 1), (12, 2)):
        parts = run(Gate(Told(*speech, *[0.0] * pause, *speech)), ramp(60))
        assert len(marks(parts)) == 2 * utterances


def test_two_utterances_in_one_chunk_do_not_share_sound() -> None:
    told = [0.9] * 5 + [0.0] * 12 + [0.9] * 5
    parts = run(Gate(Told(*told)), ramp(60), size=60 * FRAME)
    assert [type(p) for p in parts] == [Began, Sound, Ended, Began, Sound, Ended]
    assert len(set(heard(parts).tolist())) == len(heard(parts))


def test_times_count_from_that_of_the_first_sample() -> None:
    began, ended = marks(run(Gate(Told(0.9, 0.9)), ramp(20), at=100.0))
    assert (began.at, ended.at) == (pytest.approx(100.0), pytest.approx(100 + 2 * FRAME_SECONDS))


def test_closing_ends_what_is_being_said_and_begins_anew() -> None:
    gate = Gate(Told(0.9, 0.9, 0.9, 0, 0.9, 0.9))
    run(gate, ramp(3))
    assert gate.open
    assert gate.close() == [Ended(pytest.approx(3 * FRAME_SECONDS))]
    assert not gate.open and gate.close() == []
    assert marks(run(gate, ramp(3), at=50.0)) == [Began(pytest.approx(50 + FRAME_SECONDS), pytest.approx(50.0))]


def test_silence_is_not_kept() -> None:
    gate = Gate(Told())
    run(gate, np.zeros(EAR_RATE * 20, np.int16))
    assert len(gate._kept) < EAR_RATE


def test_thresholds_are_parameters() -> None:
    parts = run(Gate(Told(0.3, *[0.0] * 30), Thresholds(start=0.2, start_frames=1, hangover_seconds=0.1)), ramp(30))
    assert marks(parts) == [Began(0.0, 0.0), Ended(pytest.approx(FRAME_SECONDS))]
    assert len(heard(parts)) == 5 * FRAME
