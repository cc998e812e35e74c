import importlib.util

import pytest

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.speech import kit as kits
from duplex_runtime.speech.kit import Kit
from tests.speech_fakes import Tone


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What is installed; tests take things away."""
    names = {"faster_whisper", "onnxruntime", "pocketsphinx", "espeakng_loader", "TTS"}
    monkeypatch.setattr(kits, "_installed", lambda module: module in names)
    return names


@pytest.fixture
def no_whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ctranslate2")
    monkeypatch.setattr("duplex_runtime.speech.whisper.here", lambda choice: False)


def test_with_nothing_installed_it_says_how_to_install(installed: set[str]) -> None:
    installed.clear()
    about = Kit().about()
    assert about["ears"] is None and about["voices"] == []
    assert kits.INSTALL in about["note"]
    with pytest.raises(DuplexError, match="cannot be recognised here yet"):
        Kit().ears()
    with pytest.raises(BadInput, match=r"none yet: install one with pip install"):
        Kit().voice("espeak")


@pytest.mark.usefixtures("no_whisper")
def test_the_offline_recogniser_is_named_with_its_limits(installed: set[str]) -> None:
    about = Kit().about()
    assert about["ears"]["name"] == "PocketSphinx" and about["ears"]["offline"]
    assert "mishears others" in about["ears"]["note"]
    assert [v["id"] for v in about["voices"]] == ["espeak"]


@pytest.mark.usefixtures("no_whisper")
def test_without_pocketsphinx_and_a_model_of_whisper_there_are_no_ears(installed: set[str]) -> None:
    installed.discard("pocketsphinx")
    assert Kit().about()["ears"] is None


def test_whisper_is_taken_where_its_model_is(installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ctranslate2")
    monkeypatch.setattr("duplex_runtime.speech.whisper.here", lambda choice: True)
    assert Kit().about()["ears"]["name"] == "Whisper"
    assert Kit("sphinx").about()["ears"]["name"] == "PocketSphinx"


def test_ears_may_be_switched_off(installed: set[str]) -> None:
    assert Kit("off").about()["ears"] is None
    with pytest.raises(BadInput, match="expected one of auto, whisper, sphinx, off, got 'dog'"):
        Kit("dog")


def test_a_voice_is_loaded_once_and_coqui_only_if_asked_for(
    installed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    monkeypatch.setattr(kits, "_espeak", lambda: loaded.append("espeak") or Tone())
    kit = Kit(coqui="tts_models/en/ljspeech/vits")
    assert kit.voice("espeak") is kit.voice("espeak")
    assert loaded == ["espeak"]
    assert [v["id"] for v in kit.about()["voices"]] == ["espeak", "coqui"]
    with pytest.raises(BadInput, match="expected one of those offered"):
        Kit().voice("coqui")


def test_it_looks_where_python_looks() -> None:
    assert kits._installed("json") and not kits._installed("no_such_module")
    assert importlib.util.find_spec("duplex_runtime")
