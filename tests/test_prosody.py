import json
import wave
from pathlib import Path

import numpy as np
import pytest

from duplex_runtime.evaluation import prosody
from duplex_runtime.evaluation.prosody import Jumps, Place, in_token_slices, joined, naive, run, texts, whole, write_wav
from duplex_runtime.speech.base import MOUTH_RATE
from tests.test_joints import WORD, Falling, tone


def test_texts_are_several_sentences_and_always_the_same() -> None:
    chosen = texts(24)
    assert len(set(chosen)) == 24
    assert chosen == texts(24)
    assert all(text.count(".") + text.count("!") + text.count("?") >= 3 for text in chosen)


def test_slices_are_the_text_in_about_ten_tokens() -> None:
    text = texts(1)[0]
    slices = in_token_slices(text)
    assert "".join(slices) == text
    assert all(3 <= len(piece.split()) <= 10 for piece in slices[:-1])
    assert all(piece.startswith(" ") for piece in slices[1:])


def test_jumps_of_pitch_energy_and_pause_are_measured() -> None:
    low, high = tone(110, WORD), tone(220, WORD, level=0.6)
    silence = np.zeros(2400, np.float32)
    jumps = Jumps()
    jumps.measure(np.concatenate((low, silence, high)), [Place(1, WORD + 1200, "")])
    assert jumps.pitch == [pytest.approx(12, abs=0.3)]
    assert jumps.energy == [pytest.approx(6, abs=0.7)]
    assert jumps.pause == [pytest.approx(100, abs=10)]
    even = Jumps()
    even.measure(np.concatenate((low, low)), [Place(1, WORD, "")])
    assert even.pitch[0] < 0.1 and even.energy[0] < 1 and even.pause == [0]


def test_a_place_without_a_voice_has_no_pitch_but_the_rest() -> None:
    jumps = Jumps()
    jumps.measure(np.zeros(MOUTH_RATE, np.float32), [Place(1, 12_000, "")])
    assert (jumps.pitch, len(jumps.energy), len(jumps.pause)) == ([], 1, 1)


TEXT = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"


def test_three_ways_to_speak_a_text() -> None:
    slices = in_token_slices(TEXT)
    assert len(slices) == 2
    sound, places = whole(Falling(), TEXT)
    assert (len(sound), len(places)) == (15 * WORD, 14)
    sound, places = naive(Falling(), TEXT, slices)
    assert (len(sound), [p.character for p in places]) == (15 * WORD, [len(slices[0]) + 1])
    spoken = joined(Falling(), TEXT, slices)
    assert len(spoken.sound) == pytest.approx(15 * WORD, rel=0.01)
    assert len(spoken.places) >= 1
    assert len(spoken.work_ms) > len(spoken.delays_ms) >= 1
    assert spoken.first_seconds > 0.03  # the fourth token, and the work


def test_the_benchmark_ends_in_one_line_of_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prosody, "texts", lambda _: [f"{TEXT}, {TEXT}."] * 2)
    result = run(Falling(), tmp_path, count=2)
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1]) == result
    assert set(result) == {
        *("f0_jump_ratio", "energy_jump_ratio", "pause_jump_ratio", "joint_delay_ms_p50", "naive_f0_jump_ratio")
    }
    assert result["naive_f0_jump_ratio"] is not None and result["f0_jump_ratio"] is not None
    assert result["f0_jump_ratio"] < result["naive_f0_jump_ratio"]
    assert any("speaker, at joints" in line for line in lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("00-joined.wav", "00-naive.wav", "00-whole.wav", "01-joined.wav", "01-naive.wav", "01-whole.wav")
    ]


def test_real_speech_is_nearly_as_even_at_joints_as_inside_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("espeakng_loader", reason="needs the speech extra")
    from duplex_runtime.speech.espeak import Espeak

    result = run(Espeak(), None, count=4)
    assert result["f0_jump_ratio"] is not None and result["naive_f0_jump_ratio"] is not None
    assert result["f0_jump_ratio"] < 2 < 5 < result["naive_f0_jump_ratio"]


def test_wav_files_hold_the_sound(tmp_path: Path) -> None:
    write_wav(tmp_path / "folder" / "x.wav", tone(200, 1000))
    with wave.open(str(tmp_path / "folder" / "x.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth(), file.getnframes()) == (
            24_000,
            1,
            2,
            1000,
        )
