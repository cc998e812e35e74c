"""A VITS of a million random parameters, made here, speaks through the real coqui-tts."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.speech import coqui
from duplex_runtime.speech.coqui import MODELS, Coqui, estimated_marks, folder_of, missing, present, starts_of_words

needs_coqui = pytest.mark.skipif(missing() is not None, reason="needs the speech extra")


@pytest.fixture(scope="module")
def loaded() -> Iterator[None]:
    """coqui-tts imported, one thread, its warnings kept to itself."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    coqui._require()
    yield
    torch.set_num_threads(threads)


def build(folder: Path, phonemes: bool, speakers: int = 0) -> Path:
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from TTS.tts.configs.vits_config import VitsArgs, VitsConfig
        from TTS.tts.models.vits import Vits

        sizes: dict[str, Any] = {
            "hidden_channels": 32,
            "hidden_channels_ffn_text_encoder": 64,
            "num_layers_text_encoder": 1,
            "num_layers_posterior_encoder": 1,
            "num_layers_flow": 1,
            "upsample_initial_channel_decoder": 32,
            "resblock_kernel_sizes_decoder": [3],
            "resblock_dilation_sizes_decoder": [[1, 3, 5]],
        }
        folder.mkdir()
        if speakers:
            torch.save({f"p{n}": n for n in range(speakers)}, folder / "speakers.pth")
            sizes |= {"use_speaker_embedding": True, "speakers_file": str(folder / "speakers.pth")}
            sizes |= {"num_speakers": speakers} if "num_speakers" in VitsArgs.__dataclass_fields__ else {}
        config = VitsConfig(
            model_args=VitsArgs(init_discriminator=False, **sizes),
            use_phonemes=phonemes,
            phonemizer="espeak" if phonemes else None,
            phoneme_language="en-us",
            text_cleaner="english_cleaners",
        )
        config.audio.do_trim_silence = False
        torch.manual_seed(0)
        model = Vits.init_from_config(config)
        torch.save({"model": model.state_dict(), "step": 0}, folder / "model.pth")
        model.config.save_json(folder / "config.json")
    return folder


@pytest.fixture(scope="module")
def letters(loaded: None, tmp_path_factory: pytest.TempPathFactory) -> Coqui:
    """A model that reads letters."""
    return Coqui(build(tmp_path_factory.mktemp("coqui") / "letters", phonemes=False))


@needs_coqui
def test_a_clause_is_sound_with_the_models_own_marks(letters: Coqui) -> None:
    text = "A volcano is an opening, where rock rises."
    said = letters.say(text)
    assert letters.name == "coqui (letters)"
    assert said.rate == 22_050
    assert said.samples.dtype == np.float32
    assert np.abs(said.samples).max() <= 1
    assert len(said.samples) % 256 == 0  # frames of the model
    assert letters.exact_marks
    assert [text[c:].split()[0] for c, _ in said.marks] == text.split()
    samples = [s for _, s in said.marks]
    assert samples == sorted(set(samples))
    assert samples[-1] < len(said.samples)


@needs_coqui
def test_without_durations_marks_are_estimated(letters: Coqui, monkeypatch: pytest.MonkeyPatch) -> None:
    real = letters._model.synthesize

    def without(*arguments: Any, **named: Any) -> dict[str, Any]:
        return {"wav": real(*arguments, **named)["wav"]}

    monkeypatch.setattr(letters._model, "synthesize", without)
    said = letters.say("one two")
    assert not letters.exact_marks
    assert said.marks == ((0, 0), (4, round(len(said.samples) * 4 / 7)))


@needs_coqui
def test_text_without_words_is_silence_and_a_book_is_refused(letters: Coqui) -> None:
    assert len(letters.say(" … ").samples) == 0
    with pytest.raises(BadInput, match="at most 600 characters"):
        letters.say("a" * 601)


@needs_coqui
def test_what_the_library_raises_names_voice_and_text(letters: Coqui, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("size mismatch")

    monkeypatch.setattr(letters._model, "synthesize", broken)
    with pytest.raises(DuplexError, match=r"coqui \(letters\) could not speak 'hello': size mismatch") as error:
        letters.say("hello")
    assert error.value.code == "voice_broken"


@needs_coqui
def test_a_model_that_reads_phonemes_needs_no_espeak_program(loaded: None, tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="needs the speech extra")
    voice = Coqui(build(tmp_path / "phonemes", phonemes=True))
    text = "Hello there, in the dark of the night."  # "in the" and "of the" are one word to espeak
    said = voice.say(text)
    assert voice.exact_marks
    assert [text[c:].split()[0] for c, _ in said.marks] == text.split()
    assert voice._model.tokenizer.phonemizer.phonemize("in the dark", separator="").count(" ") == 1


@needs_coqui
def test_a_model_of_several_speakers(loaded: None, tmp_path: Path) -> None:
    folder = build(tmp_path / "many", phonemes=False, speakers=3)
    assert Coqui(folder).speakers == ["p0", "p1", "p2"]
    assert Coqui(folder, speaker="p2").name == "coqui (many, p2)"
    with pytest.raises(BadInput, match=r"expected one of the 3 speakers p0, p1, p2 …, got 'p9'"):
        Coqui(folder, speaker="p9")
    assert len(Coqui(folder, speaker="p1").say("hello").samples) > 0


@needs_coqui
def test_the_stand_ins_leave_real_libraries_alone(monkeypatch: pytest.MonkeyPatch, loaded: None) -> None:
    before = sys.modules["torchaudio"]
    coqui.stand_in_for_audio_libraries()
    assert sys.modules["torchaudio"] is before
    if importlib.util.find_spec("torchaudio") is None or "stands in" in (before.__doc__ or ""):
        with pytest.raises(DuplexError, match="needs torchaudio"):
            sys.modules["torchaudio"].transforms.MelSpectrogram()  # type: ignore[attr-defined]


# — which model —


def test_nothing_is_downloaded_unless_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TTS_HOME", str(tmp_path))
    monkeypatch.setattr(coqui, "_require", lambda: None)
    with pytest.raises(
        DuplexError, match=r"tts_models/en/ljspeech/vits is not on this machine.*download=True"
    ) as error:
        Coqui()
    assert error.value.code == "voice_missing"
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_free_has_to_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TTS_HOME", str(tmp_path))
    monkeypatch.setattr(coqui, "_require", lambda: None)
    xtts = next(m.id for m in MODELS if "xtts" in m.id)
    with pytest.raises(DuplexError, match="not for commercial use") as error:
        Coqui(xtts, download=True)
    assert error.value.code == "not_free"
    with pytest.raises(DuplexError, match="is not on this machine"):
        Coqui(xtts, allow_non_commercial=True)


@pytest.mark.parametrize("files", [[], ["config.json"], ["model.pth"], ["config.json", "a.pth", "b.pth"]])
def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(BadInput, match=r"expected a folder with config\.json and one \.pth file, or one of tts_models"):
        Coqui(tmp_path)


def test_the_table_names_models_of_the_library() -> None:
    assert MODELS[0].free
    assert len({m.id for m in MODELS}) == len(MODELS)
    assert [m.id for m in MODELS if not m.free] == ["tts_models/multilingual/multi-dataset/xtts_v2"]
    if missing() is None:
        import json

        spec = importlib.util.find_spec("TTS")
        assert spec is not None and spec.origin is not None
        listed = json.loads((Path(spec.origin).parent / ".models.json").read_text())["tts_models"]
        for model in MODELS:
            _, language, data, name = model.id.split("/")
            assert name in listed[language][data], model.id


def test_models_that_are_here_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TTS_HOME", str(tmp_path))
    assert present() == []
    folder = folder_of("tts_models/en/vctk/vits")
    assert folder == tmp_path / "tts" / "tts_models--en--vctk--vits"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert [m.id for m in present()] == ["tts_models/en/vctk/vits"]


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.pth").write_text("")
    with pytest.raises(DuplexError, match="pip install coqui-tts six") as error:
        Coqui(tmp_path)
    assert error.value.code == "voice_missing"


# — marks —


def test_words_start_after_white_space() -> None:
    symbols = ["", "h", "", "i", " ", "", "y", "o", ",", " ", "x"]
    assert starts_of_words(symbols, [1] * 11) == [1, 6, 10]
    assert starts_of_words(symbols, [1] * 10) is None
    assert starts_of_words([], []) == []


def test_words_written_as_one_begin_half_way() -> None:
    assert starts_of_words(list("inðə dark"), [1] * 9, joined=[1]) == [0, 2, 5]


def test_estimated_marks_share_the_time_by_letters() -> None:
    assert estimated_marks("ab cd, ef", 1200) == ((0, 0), (3, 300), (7, 1000))
    assert estimated_marks("", 100) == ()
    assert estimated_marks("...", 100) == ()
