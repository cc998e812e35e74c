"""Natural voices through coqui-tts: VITS, clause by clause, on a processor.

voice = Coqui("tts_models/en/ljspeech/vits")                   # a model that is on this machine already
voice = Coqui("tts_models/en/vctk/vits", speaker="p273", download=True)
voice = Coqui("my/own/folder")                                 # config.json and one .pth file

Importing coqui-tts costs seconds, so it happens when a voice is made. Nothing is downloaded unless `download=True`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.speech.base import Utterance

#: espeak writes only such short words together with the next one.
_SHORT = 5

#: Longest text of one call: models were trained on sentences.
MAX_CHARACTERS = 600


@dataclass(frozen=True)
class CoquiModel:
    """A released model. size_mb: of the download. real_time_factor: seconds of work for a second of speech on two
    processor cores, None where nobody measured it. free: may be used for anything under its licence."""

    id: str
    size_mb: int
    licence: str
    rate: int
    real_time_factor: float | None
    speaker: str | None
    free: bool
    note: str


#: Licences: the list of models inside coqui-tts 0.28 (TTS/.models.json). Sizes: of VITS "around 100 MB"
#: (github.com/idiap/coqui-ai-TTS, issue 82; 114 MiB without the part used in training only, pull request 37 of
#: github.com/NeonGeckoCom/neon-tts-plugin-coqui), of XTTS its model card (model.pth 1.87 GB). Rates: their
#: configurations. Speed: a VITS of full size with random weights took 0.25 to 0.4 here; on a processor a short
#: sentence took somebody a second (github.com/coqui-ai/TTS, issue 2863).
MODELS = (
    CoquiModel(
        "tts_models/en/ljspeech/vits", 145, "Apache-2.0", 22_050, 0.35, None, True, "one American woman, even and clear"
    ),
    CoquiModel(
        "tts_models/en/vctk/vits", 150, "Apache-2.0", 22_050, 0.35, "p273", True, "109 speakers from Britain and beyond"
    ),
    CoquiModel(
        "tts_models/en/ljspeech/vits--neon", 140, "BSD-3-Clause", 22_050, 0.35, None, True, "the same woman, by Neon"
    ),
    CoquiModel(
        "tts_models/en/jenny/jenny", 145, "custom, with attribution", 48_000, None, None, True, "an Irish woman, lively"
    ),
    CoquiModel(
        "tts_models/multilingual/multi-dataset/xtts_v2",
        1_870,
        "Coqui Public Model License: not for commercial use",
        24_000,
        None,
        "Ana Florence",
        False,
        "the most natural one, in 17 languages; needs a GPU to be in time",
    ),
)


def folder_of(model_id: str) -> Path:
    """Where coqui-tts keeps a model (the folder need not exist)."""
    home = os.environ.get("TTS_HOME") or os.environ.get("XDG_DATA_HOME")
    if not home and sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA")
    if not home:
        home = "~/Library/Application Support" if sys.platform == "darwin" else "~/.local/share"
    return Path(home).expanduser() / "tts" / model_id.replace("/", "--")


def present() -> list[CoquiModel]:
    """The models of the table that are on this machine; imports nothing."""
    return [model for model in MODELS if (folder_of(model.id) / "config.json").is_file()]


def missing() -> str | None:
    """What is not installed, and what to do; None if a voice can be made."""
    names = [name for name in ("TTS", "six") if importlib.util.find_spec(name) is None]
    return (
        f"the voices of Coqui need coqui-tts and six: pip install coqui-tts six ({names[0]} is missing)"
        if names
        else None
    )


class Coqui:
    """A voice of coqui-tts.

    model: an id of `MODELS`, or a folder with config.json and one .pth file. speaker: for models with several.
    download: fetch the model if it is not here. allow_non_commercial: needed for models that are not `free`; whoever
    says so agrees to their licence.
    """

    #: The same text never sounds the same twice.
    repeats_itself = False

    def __init__(
        self,
        model: str | Path = MODELS[0].id,
        *,
        speaker: str | None = None,
        download: bool = False,
        allow_non_commercial: bool = False,
    ) -> None:
        #: Were the marks of the last utterance the model's own, or only estimated?
        self.exact_marks = False
        entry = next((m for m in MODELS if m.id == str(model)), None)
        if entry is None:
            self._synthesizer = _from_folder(Path(model))
        else:
            if not entry.free and not allow_non_commercial:
                raise DuplexError(
                    "not_free", f"{entry.id} is under the {entry.licence}: choose it with allow_non_commercial=True"
                )
            self._synthesizer = _by_id(entry, download)
            speaker = speaker or entry.speaker
        self.name = f"coqui ({entry.id.removeprefix('tts_models/') if entry else Path(model).name})"
        self._model: Any = self._synthesizer.tts_model
        self._rate = int(self._synthesizer.output_sample_rate)
        self._speaker = self._checked(speaker)
        self._language = "en" if _several_languages(self._model) else None
        if self._speaker:
            self.name = f"{self.name[:-1]}, {self._speaker})"

    def _checked(self, speaker: str | None) -> str | None:
        known = self.speakers
        if not known:
            return None
        if speaker is None:
            return known[0]
        if speaker not in known:
            raise BadInput(f"expected one of the {len(known)} speakers {', '.join(known[:8])} …, got {speaker!r}")
        return speaker

    @property
    def speakers(self) -> list[str]:
        """Who can speak; empty for a model of one voice."""
        manager = getattr(self._model, "speaker_manager", None)
        return list(manager.speaker_names) if manager is not None and manager.num_speakers > 1 else []

    def say(self, text: str) -> Utterance:
        """`text` as one breath; raises BadInput if it is too long, DuplexError if the model cannot say it."""
        if len(text) > MAX_CHARACTERS:
            raise BadInput(f"expected at most {MAX_CHARACTERS} characters to be spoken at once, got {len(text)}")
        if not any(c.isalnum() for c in text):
            return Utterance(np.zeros(0, np.float32), self._rate, ())
        import torch

        try:
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the library's own, of every call
                spoken = self._model.synthesize(
                    text, speaker=self._speaker, language=self._language, voice_dir=self._synthesizer.voice_dir
                )
        except (RuntimeError, ValueError, KeyError, IndexError) as error:
            raise DuplexError("voice_broken", f"{self.name} could not speak {text[:40]!r}: {error}") from error
        samples = np.asarray(spoken["wav"], np.float32).reshape(-1)
        marks, self.exact_marks = self._marks(text, spoken, len(samples))
        return Utterance(np.clip(samples, -1, 1), self._rate, marks)

    def _joined(self, text: str, words: Sequence[tuple[int, int]]) -> list[int]:
        """Numbers of words whose sounds espeak writes as one word with those of the word before: "in the"."""
        phonemizer = self._model.tokenizer.phonemizer
        if phonemizer is None:
            return []
        joined: list[int] = []
        for number, ((begin, between), (_, end)) in enumerate(pairwise(words), 1):
            plain = text[begin:between].isalpha() and (number - 1) not in joined
            if (
                plain
                and between - begin <= _SHORT
                and not phonemizer.phonemize(text[begin:end], separator="").count(" ")
            ):
                joined.append(number)
        return joined

    def _marks(self, text: str, spoken: dict[str, Any], length: int) -> tuple[tuple[tuple[int, int], ...], bool]:
        """Where words begin, from the durations of the model's symbols if it tells them and the words are clear."""
        words = words_of(text)
        outputs = spoken.get("outputs")
        durations = outputs.get("durations") if isinstance(outputs, dict) else None
        if durations is not None:
            ids = spoken["text_inputs"].reshape(-1).tolist()
            lasting = durations.reshape(-1).tolist()
            characters = self._model.tokenizer.characters
            symbols = ["" if i in (characters.pad_id, characters.blank_id) else characters.id_to_char(i) for i in ids]
            starts = starts_of_words(symbols, lasting, self._joined(text, words))
            if starts is not None and len(starts) == len(words) and sum(lasting):
                scale = length / sum(lasting)
                pairs = zip(words, starts, strict=True)
                return tuple((c, min(length, round(s * scale))) for (c, _), s in pairs), True
        return estimated_marks(text, length), False


def words_of(text: str) -> list[tuple[int, int]]:
    """(begin, end) of what stands between white space and has a letter or digit."""
    words, begin = [], 0
    for word in text.split():
        begin = text.index(word, begin)
        if any(c.isalnum() for c in word):
            words.append((begin, begin + len(word)))
        begin += len(word)
    return words


def starts_of_words(
    symbols: Sequence[str], durations: Sequence[float], joined: Sequence[int] = ()
) -> list[float] | None:
    """When each word begins, in the durations' unit: white space parts words; None if the two do not fit.

    symbols: of the model, "" for blanks between them. joined: numbers of words that are written together with the one
    before them; they begin half way through both."""
    if len(symbols) != len(durations):
        return None
    spans: list[list[float]] = []
    at, between = 0.0, True
    for symbol, duration in zip(symbols, durations, strict=True):
        if symbol.isspace():
            between = True
        elif any(c.isalnum() for c in symbol):
            if between:
                spans.append([at, at])
            between = False
        at += duration
        if not between and spans:
            spans[-1][1] = at
    starts: list[float] = []
    for begin, end in spans:
        starts.append(begin)
        if len(starts) in joined:
            starts.append((begin + end) / 2)
    return starts


def estimated_marks(text: str, length: int) -> tuple[tuple[int, int], ...]:
    """Every character takes its time, a mark as long as four: a guess for models that tell nothing."""
    weights = [4 if c in ".,;:?!" else 1 for c in text]
    total, at, times = sum(weights), 0, []
    for weight in weights:
        times.append(at)
        at += weight
    return tuple((begin, round(length * times[begin] / total)) for begin, _ in words_of(text)) if total else ()


# — coqui-tts —


def _by_id(entry: CoquiModel, download: bool) -> Any:
    _require()
    if not download and not (folder_of(entry.id) / "config.json").is_file():
        raise DuplexError(
            "voice_missing",
            f"{entry.id} is not on this machine (expected in {folder_of(entry.id)}): "
            f"download=True fetches its {entry.size_mb} MB",
        )
    with _quiet(), _agreed(not entry.free):
        from TTS.api import TTS

        try:
            return TTS(entry.id, progress_bar=False).synthesizer
        except (OSError, RuntimeError, ValueError) as error:
            raise DuplexError("voice_missing", f"{entry.id} could not be loaded: {error}") from error


def _from_folder(folder: Path) -> Any:
    weights = sorted(folder.glob("*.pth")) if folder.is_dir() else []
    weights = [w for w in weights if not w.name.startswith("speakers")]
    if not (folder / "config.json").is_file() or len(weights) != 1:
        known = ", ".join(m.id for m in MODELS)
        raise BadInput(f"expected a folder with config.json and one .pth file, or one of {known}; got {str(folder)!r}")
    _require()
    with _quiet():
        from TTS.utils.synthesizer import Synthesizer

        try:
            return Synthesizer(tts_checkpoint=weights[0], tts_config_path=folder / "config.json")
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise DuplexError("voice_missing", f"the model in {folder} could not be loaded: {error}") from error


def _require() -> None:
    """Make `import TTS` possible, or raise DuplexError."""
    why = missing()
    if why:
        raise DuplexError("voice_missing", why)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's dependencies, at import
        stand_in_for_audio_libraries()
        lend_espeak()


def stand_in_for_audio_libraries() -> None:
    """coqui-tts insists on torchaudio and torchcodec, which it needs for files and training only, and which are hard
    to install without CUDA: empty modules take their place where they are missing."""
    for name in ("torchaudio", "torchaudio.functional", "torchaudio.transforms", "torchcodec"):
        if name in sys.modules or (name.partition(".")[0] not in sys.modules and importlib.util.find_spec(name)):
            continue
        module = types.ModuleType(name, "stands in for a library that speech does not need")
        module.__spec__ = ModuleSpec(name, None)
        module.__path__ = []
        sys.modules[name] = module
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own, module)
    functional, transforms = (sys.modules.get(f"torchaudio.{part}") for part in ("functional", "transforms"))
    if functional is not None and not hasattr(functional, "resample"):
        functional.resample = _absent  # type: ignore[attr-defined]
    if transforms is not None and not hasattr(transforms, "MelSpectrogram"):
        transforms.MelSpectrogram = transforms.Resample = _absent  # type: ignore[attr-defined]


def _absent(*_: Any, **__: Any) -> Any:
    raise DuplexError("voice_missing", "this model needs torchaudio: install torchaudio and torchcodec for your torch")


def lend_espeak() -> None:
    """Models that read phonemes call the program espeak-ng; where there is none, ask the library in this process."""
    from TTS.tts.utils.text.phonemizers import espeak_wrapper

    if espeak_wrapper._DEF_ESPEAK_LIB is not None or importlib.util.find_spec("espeakng_loader") is None:
        return

    def run(_: str, arguments: list[str]) -> list[str]:
        """As `espeak-ng -v LANGUAGE --ipa=1 -f FILE` prints them."""
        from duplex_runtime.speech.espeak import library

        language, path = arguments[arguments.index("-v") + 1], arguments[arguments.index("-f") + 1]
        return library().phonemes(Path(path).read_text(encoding="utf-8"), language, "_")

    espeak_wrapper._DEF_ESPEAK_LIB = "espeak-ng"
    espeak_wrapper._espeak_exe = run
    espeak_wrapper.get_espeakng_version = lambda: "1.52"
    espeak_wrapper._is_tool = lambda name: name == "espeak-ng"
    languages = {"en": "English", "en-us": "American English", "en-gb": "British English"}
    espeak_wrapper.ESpeak.supported_languages = staticmethod(lambda: languages)


def _several_languages(model: Any) -> bool:
    manager = getattr(model, "language_manager", None)
    return manager is not None and manager.num_languages > 1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The library prints while it loads; standard output belongs to programs."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _agreed(needed: bool) -> Iterator[None]:
    """The library asks on the terminal whether a licence is accepted; the person has said so already."""
    before = os.environ.get("COQUI_TOS_AGREED")
    if needed:
        os.environ["COQUI_TOS_AGREED"] = "1"
    try:
        yield
    finally:
        if needed and before is None:
            del os.environ["COQUI_TOS_AGREED"]
