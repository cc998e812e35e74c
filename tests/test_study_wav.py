import wave
from pathlib import Path

import pytest

from duplex_runtime.clock import SimulatedClock
from webapp.study.wav import VoiceFile


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "talk.wav"


def sound(seconds: float, rate: int = 16_000) -> bytes:
    return b"\x01\x02" * round(seconds * rate)


def read(path: Path) -> tuple[int, bytes]:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), file.readframes(file.getnframes())


def test_what_was_said_is_read_back(path: Path, clock: SimulatedClock) -> None:
    voice = VoiceFile(path, clock)
    clock.move_to(0.02)
    voice.write(sound(0.02), 16_000)
    clock.move_to(0.04)
    voice.write(sound(0.02), 16_000)
    voice.close()
    assert read(path) == (16_000, sound(0.04))


def test_a_second_of_the_file_is_a_second_of_the_session(path: Path, clock: SimulatedClock) -> None:
    voice = VoiceFile(path, clock)
    clock.move_to(3.02)
    voice.write(sound(0.02), 16_000)
    clock.move_to(10.02)
    voice.write(sound(0.02), 16_000)
    voice.close()
    _, data = read(path)
    silence = bytes(2 * 16_000 * 3), bytes(round(2 * 16_000 * 6.98))
    assert data == silence[0] + sound(0.02) + silence[1] + sound(0.02)


def test_sound_that_comes_in_bursts_is_not_torn(path: Path, clock: SimulatedClock) -> None:
    voice = VoiceFile(path, clock)
    for n in range(50):
        clock.move_to(0.3 * (n * 0.02 // 0.3 + 1))
        voice.write(sound(0.02), 16_000)
    voice.close()
    assert read(path)[1].count(b"\x01\x02") == 16_000
    assert len(read(path)[1]) <= 2 * 16_000 * 1.5


def test_another_rate_begins_another_file(path: Path, clock: SimulatedClock) -> None:
    voice = VoiceFile(path, clock)
    voice.write(sound(0.02), 16_000)
    voice.write(sound(0.02, 24_000), 24_000)
    voice.close()
    assert read(path) == (16_000, sound(0.02))
    assert read(path.with_suffix(".2.wav")) == (24_000, sound(0.02, 24_000))


def test_without_sound_there_is_no_file(path: Path, clock: SimulatedClock) -> None:
    voice = VoiceFile(path, clock)
    voice.close()
    voice.close()
    assert not path.exists()


def test_a_file_that_was_not_closed_has_what_was_written(path: Path, clock: SimulatedClock) -> None:
    voice = VoiceFile(path, clock)
    voice.write(sound(1.0), 16_000)
    assert voice._file
    voice._file.flush()
    data = path.read_bytes()
    assert data[:4] == b"RIFF" and data[36:40] == b"data"
    assert data[44:] == sound(1.0)
    voice.close()


def test_a_disk_that_does_not_take_it_is_said(tmp_path: Path, clock: SimulatedClock) -> None:
    with pytest.raises(OSError):
        VoiceFile(tmp_path / "missing" / "talk.wav", clock).write(sound(0.02), 16_000)
