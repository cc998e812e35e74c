"""A recogniser over faster-whisper: much better ears than PocketSphinx, for a download and a machine that can carry it.

    whisper = Whisper(choose(this_machine()), download=True)
    ear = whisper.listen()

Whisper knows no streams. A window of at most 15 s is decoded again whenever 0.8 s of sound have come; words on which
two decodings in a row agree are certain (LocalAgreement-2: Macháček, Dabre and Bojar 2023, "Turning Whisper into
Real-Time Transcription System"), and all are at the end of what was said.

Sizes are those of `model.bin` on the hub; all are MIT. WER: mean of eight English test sets of the Open ASR leaderboard
with faster-whisper, January 2025. A window costs about the same whatever is in it, for Whisper pads it to 30 s: with
small.en in int8 on 8 threads at most 4.8 s (13 minutes of speech in 2 min 4 s with five beams: README of
faster-whisper 1.1), with large-v3-turbo in float16 on a GeForce RTX 2080 Ti 0.74 s (13 minutes in 19.2 s, its issue
1030). Here there is one beam and a second or two of text, which is several times faster. base.en has about a third,
tiny.en a sixth of the work of small.en, by their parameters. None of these five was run for this project.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duplex_runtime.errors import DuplexError
from duplex_runtime.speech.base import EAR_RATE, Hypothesis, Word
from duplex_runtime.speech.words import spoken


@dataclass(frozen=True)
class Model:
    """A released model: its repository on the hub, megabytes of its weights, licence, and word error rate in %."""

    repository: str
    megabytes: int
    licence: str
    error_rate: float


MODELS = {
    "tiny.en": Model("Systran/faster-whisper-tiny.en", 76, "MIT", 11.7),
    "base.en": Model("Systran/faster-whisper-base.en", 145, "MIT", 10.1),
    "small.en": Model("Systran/faster-whisper-small.en", 484, "MIT", 8.3),
    "distil-large-v3": Model("Systran/faster-distil-whisper-large-v3", 1513, "MIT", 7.4),
    "large-v3-turbo": Model("mobiuslabsgmbh/faster-whisper-large-v3-turbo", 1618, "MIT", 7.1),
}
#: What a folder with a converted model has to hold.
_FILES = ("model.bin", "config.json", "tokenizer.json")


@dataclass(frozen=True)
class Machine:
    """What there is to compute with: processor cores, and GiB of the first CUDA device (0 for none)."""

    cores: int
    cuda_gib: float = 0.0


@dataclass(frozen=True)
class Choice:
    """A model (a name of `MODELS` or a folder), and how it is computed."""

    model: str
    device: str = "cpu"
    compute_type: str = "int8"
    threads: int = 0  # 0: as many as ctranslate2 likes


def choose(machine: Machine) -> Choice:
    """The best model that decodes its window within about half a second there."""
    if machine.cuda_gib >= 5:  # large-v3-turbo in float16 takes 2.5 GiB, and the language model wants the rest
        return Choice("large-v3-turbo", "cuda", "float16")
    if machine.cuda_gib >= 2:
        return Choice("small.en", "cuda", "float16")
    if machine.cores >= 16:
        return Choice("small.en", threads=8)
    if machine.cores >= 4:
        return Choice("base.en", threads=min(machine.cores // 2, 4))
    return Choice("tiny.en", threads=1)


def this_machine() -> Machine:
    """What this process may use."""
    import ctranslate2

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not ctranslate2.get_cuda_device_count():
        return Machine(cores)
    import torch

    memory = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
    return Machine(cores, memory / 2**30)


@dataclass(frozen=True)
class Heard:
    """A word of a decoding, times in seconds from the beginning of the window."""

    text: str
    start: float
    end: float


class Whisper:
    """The recogniser. One model for everybody; one window is decoded at a time."""

    offline = False

    def __init__(self, choice: Choice, *, download: bool = False) -> None:
        """Loads the model: seconds. Raises DuplexError `model_missing` if it is not on this machine; with `download`
        it is fetched from the hub."""
        self.name = f"Whisper {Path(choice.model).name}"
        self._model = _load(choice, download)
        self._lock = threading.Lock()

    def listen(self) -> WhisperListening:
        """An ear for one more person: no more than its window."""
        return WhisperListening(self.decode)

    def decode(self, window: np.ndarray, before: str) -> list[Heard]:
        """The words in float32[n] at EAR_RATE; `before` is what was said just before it."""
        seconds = len(window) / EAR_RATE
        with self._lock:
            segments, _ = self._model.transcribe(
                window,
                language="en",
                beam_size=1,
                temperature=0.0,  # a second try at another temperature comes too late
                condition_on_previous_text=False,
                initial_prompt=before or None,
                word_timestamps=True,
                without_timestamps=True,
                max_new_tokens=16 + round(8 * seconds),  # nobody speaks faster; a model that loops does
            )
            words = [word for segment in segments for word in segment.words or ()]
        return [Heard(w.word.strip(), float(w.start), float(w.end)) for w in words if spoken(w.word)]


@dataclass(frozen=True)
class Windows:
    """Decode again after `every_seconds` of new sound; cut what is certain off a window longer than `cut_seconds`; a
    window never gets longer than `most_seconds`."""

    every_seconds: float = 0.8
    cut_seconds: float = 8.0
    most_seconds: float = 15.0


class WhisperListening:
    """One person's ear over `decode(window, before)`, see `Whisper.decode`."""

    def __init__(self, decode: Callable[[np.ndarray, str], Sequence[Heard]], windows: Windows = Windows()) -> None:
        self._decode = decode
        self._set = windows
        self.hasty = False  # a window takes as long as it takes
        self.begin(0.0)

    def begin(self, at: float) -> None:
        """Somebody begins to speak; the first sample of the next `feed` is at `at`."""
        self._window = np.zeros(0, np.float32)
        self._at = at  # time of the first sample in the window
        self._new = 0  # samples since the last decoding
        self._before: list[Heard] = []  # of the last decoding what is not certain, on the session's clock
        self._said: list[str] = []  # certain words, the latest last
        self._done = at  # end of the last of them
        self._partial = ""

    def feed(self, samples: np.ndarray, now: float) -> Hypothesis:
        """int16[n] → words that became certain, and the rest of the guess."""
        self._window = np.concatenate([self._window, samples.astype(np.float32) / 32768])
        self._new += len(samples)
        if self._new < self._set.every_seconds * EAR_RATE:
            return Hypothesis((), self._partial)
        found = self._look()
        agreed = _agreed(self._before, found)
        if len(self._window) > self._set.most_seconds * EAR_RATE and not agreed:
            agreed = max(len(found) - 1, 0)  # two decodings never agreed: the last word alone may be cut in two
        certain, self._before = found[:agreed], found[agreed:]
        result = self._commit(certain, now)
        self._cut()
        self._partial = " ".join(word.text for word in self._before)
        return Hypothesis(result, self._partial)

    def end(self, now: float) -> Hypothesis:
        """They have stopped: everything is certain."""
        found = self._look() if self._new else self._before
        result = self._commit(found, now)
        self.begin(self._at + len(self._window) / EAR_RATE)
        return Hypothesis(result)

    def _look(self) -> list[Heard]:
        """The words in the window that are not yet certain, on the session's clock."""
        self._new = 0
        inside = self._done > self._at  # certain words are still in the window
        before = "" if inside else " ".join(self._said[-30:])
        words = [Heard(w.text, self._at + w.start, self._at + w.end) for w in self._decode(self._window, before)]
        words = [w for w in words if (w.start + w.end) / 2 > self._done]
        # times waver by a tenth of a second or two: the last certain words may have come once more
        for count in range(min(5, len(words), len(self._said)), 0, -1):
            again = [spoken(w.text) for w in words[:count]] == [spoken(t) for t in self._said[-count:]]
            if again and words[0].start < self._done + 0.3:
                return words[count:]
        return words

    def _commit(self, words: Sequence[Heard], now: float) -> tuple[Word, ...]:
        for word in words:
            self._said.append(word.text)
            self._done = max(self._done, word.end)
        del self._said[:-50]
        return tuple(Word(w.text, w.start, w.end, now) for w in words)

    def _cut(self) -> None:
        """Cut the window behind what is certain; and where nothing is, its beginning if it is too long."""
        count = 0
        if len(self._window) > self._set.cut_seconds * EAR_RATE:
            count = round((self._done - self._at) * EAR_RATE)
        count = min(max(count, len(self._window) - round(self._set.most_seconds * EAR_RATE)), len(self._window))
        if count > 0:
            self._window = self._window[count:]
            self._at += count / EAR_RATE
            self._done = max(self._done, self._at)


def _agreed(before: Sequence[Heard], now: Sequence[Heard]) -> int:
    """How many words both begin with, whatever their case and punctuation."""
    count = 0
    for one, other in zip(before, now, strict=False):
        if spoken(one.text) != spoken(other.text):
            break
        count += 1
    return count


def _load(choice: Choice, download: bool) -> Any:
    try:
        from faster_whisper import WhisperModel
    except ImportError:
        raise DuplexError(
            "ears_missing", "faster-whisper is not installed; install it with: pip install 'duplex-arena[voice]'"
        ) from None
    folder = Path(choice.model)
    known = MODELS.get(choice.model)
    if known is None:
        missing = [name for name in _FILES if not (folder / name).is_file()]
        if missing:
            raise DuplexError(
                "model_missing",
                f"{choice.model}: expected one of {', '.join(MODELS)} or a folder with a Whisper model converted for "
                f"ctranslate2; there is no {missing[0]} in it",
            )
    try:
        return WhisperModel(
            known.repository if known else str(folder),
            device=choice.device,
            compute_type=choice.compute_type,
            cpu_threads=choice.threads,
            local_files_only=not download,
        )
    except Exception as error:  # the hub, the disk, a broken file, a driver
        if known is None or _on_disk(known.repository):
            raise DuplexError(
                "model_error", f"Whisper {choice.model} does not load ({type(error).__name__}: {error})"
            ) from error
        advice = "it could not be downloaded" if download else "it is downloaded only where that is asked for"
        reason = next(iter(str(error).splitlines()), "")
        raise DuplexError(
            "model_missing",
            f"Whisper {choice.model} ({known.megabytes} MB) is not on this machine, and {advice}; get it with: "
            f"hf download {known.repository}  ({type(error).__name__}: {reason})",
        ) from error


def here(choice: Choice) -> bool:
    """Is the model on this machine, so that nothing has to be fetched?"""
    known = MODELS.get(choice.model)
    return _on_disk(known.repository) if known else Path(choice.model).is_dir()


def _on_disk(repository: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repository, "model.bin"), str)
