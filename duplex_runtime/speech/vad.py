"""When somebody speaks: the probability of speech frame by frame, and a gate with hysteresis.

    gate = Gate(VoiceActivity(load_session()))
    for part in gate.feed(samples, at=12.5):     # Began, Sound, Ended
        …

The network is Silero VAD (MIT licence) as it is shipped inside faster-whisper. Its state is carried from frame to
frame, so that a stream in pieces of any size gives what the whole gives.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from duplex_runtime.errors import DuplexError
from duplex_runtime.speech.base import EAR_RATE

#: Samples that the network judges at once, and samples before them that it sees as well.
FRAME, CONTEXT = 512, 64
FRAME_SECONDS = FRAME / EAR_RATE
_STATE = 128  # numbers in each of the two states of its recurrent layer


class Session(Protocol):
    """What is used of an `onnxruntime.InferenceSession`; several threads may run it at once."""

    def run(self, outputs: Any, inputs: dict[str, np.ndarray]) -> Sequence[Any]:
        """Inputs input [n, 576], h and c [1, 1, 128] → [probabilities [n], next h, next c], all float32."""


@cache
def load_session() -> Session:
    """The network, one for everybody, on one thread; raises DuplexError if it is not installed."""
    # Only found, not imported: faster_whisper itself costs half a second and the memory of ctranslate2.
    spec = importlib.util.find_spec("faster_whisper")
    folders = [Path(place) / "assets" for place in (spec.submodule_search_locations or ())] if spec else []
    files = sorted(file for folder in folders for file in folder.glob("silero_vad*.onnx"))
    if not files or importlib.util.find_spec("onnxruntime") is None:
        raise DuplexError(
            "ears_missing",
            "listening needs the voice activity detection of faster-whisper (silero_vad*.onnx) and onnxruntime; "
            "install both with: pip install 'duplex-arena[voice]'",
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(files[-1], sess_options=options, providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}
    if names != {"input", "h", "c"}:
        raise DuplexError(
            "ears_missing",
            f"{files[-1].name}: expected the inputs input, h and c, got {sorted(names)}; install faster-whisper 1.2",
        )
    return session


class Activity(Protocol):
    """Tells speech from other sound, in one stream."""

    def feed(self, samples: np.ndarray) -> list[float]:
        """int16[n] → the probability of speech in each frame of 512 samples that is now complete."""

    def reset(self) -> None:
        """Forget everything: the stream begins anew."""


class VoiceActivity:
    """The probability of speech in one stream, by Silero."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.reset()

    def reset(self) -> None:
        """Forget everything: the stream begins anew."""
        self._context = np.zeros(CONTEXT, np.float32)
        self._rest = np.zeros(0, np.float32)  # less than a frame
        self._h = self._c = np.zeros((1, 1, _STATE), np.float32)

    def feed(self, samples: np.ndarray) -> list[float]:
        """int16[n] → the probability of speech in each frame of 512 samples that is now complete."""
        sound = np.concatenate([self._rest, samples.astype(np.float32) / 32768])
        count = len(sound) // FRAME
        frames, self._rest = sound[: count * FRAME].reshape(count, FRAME), sound[count * FRAME :]
        if not count:
            return []
        before = np.vstack([self._context, frames[:-1, -CONTEXT:]])
        self._context = frames[-1, -CONTEXT:]
        probabilities, self._h, self._c = self._session.run(
            None, {"input": np.hstack([before, frames]), "h": self._h, "c": self._c}
        )
        return [float(p) for p in np.ravel(probabilities)]


# — the gate —


@dataclass(frozen=True)
class Began:
    """Somebody began to speak at `at`. The next `Sound` begins at `sound_at`, a little before."""

    at: float
    sound_at: float


@dataclass(frozen=True)
class Sound:
    """Sound from `Began` to `Ended`, int16[n], without gaps."""

    samples: np.ndarray


@dataclass(frozen=True)
class Ended:
    """They stopped at `at`, the end of the last frame with speech."""

    at: float


Part = Began | Sound | Ended


@dataclass(frozen=True)
class Thresholds:
    """Speech starts with `start_frames` of the last `start_window` frames at `start` or above, and ends after
    `hangover_seconds` with all frames below `stop`. `before_seconds`: what is kept of the sound before it starts."""

    start: float = 0.5
    stop: float = 0.35
    start_frames: int = 2
    start_window: int = 3
    hangover_seconds: float = 0.35
    before_seconds: float = 0.3


class Gate:
    """Lets speech through, and says when it begins and ends. `activity` belongs to it alone."""

    def __init__(self, activity: Activity, thresholds: Thresholds = Thresholds()) -> None:
        self._activity = activity
        self._set = thresholds
        self.reset()

    def reset(self) -> None:
        """Forget the sound so far; whoever spoke has not been let through to the end."""
        self._activity.reset()
        self.open = False
        self._kept = np.zeros(0, np.int16)  # before the start: what may still be let through
        self._kept_at = 0.0
        self._frame_at: float | None = None  # where the next frame to be judged begins
        self._loud: list[float] = []  # where the latest frames at `start` or above began
        self._last = 0.0  # end of the last frame at `stop` or above

    def feed(self, samples: np.ndarray, at: float) -> list[Part]:
        """int16[n] whose first sample is at `at`, without gaps to those before → what happened, in order."""
        if self._frame_at is None:
            self._frame_at = self._kept_at = at
        parts: list[Part] = []
        self._kept = np.concatenate([self._kept, samples])
        for probability in self._activity.feed(samples):
            start, end = self._frame_at, self._frame_at + FRAME_SECONDS
            self._frame_at = end
            if self.open:
                if probability >= self._set.stop:
                    self._last = end
                elif end - self._last >= self._set.hangover_seconds - 1e-6:
                    parts += [*self._let_through(end), Ended(self._last)]
                    self.open = False
            elif self._starts(probability, start):
                self._last = end
                self.open = True
                begin = max(self._kept_at, self._loud[0] - self._set.before_seconds)
                self._drop(begin)
                parts.append(Began(self._loud[0], self._kept_at))
                self._loud.clear()
        if self.open:
            parts += self._let_through(None)
        else:
            waiting = (self._set.start_window - 1) * FRAME_SECONDS  # of a start that is not yet one
            self._drop(self._frame_at - waiting - self._set.before_seconds)
        return parts

    def close(self) -> list[Part]:
        """No more sound follows: whoever speaks has stopped."""
        parts: list[Part] = [Ended(self._last)] if self.open else []
        self.reset()
        return parts

    def _starts(self, probability: float, start: float) -> bool:
        since = start - (self._set.start_window - 0.5) * FRAME_SECONDS
        self._loud = [at for at in self._loud if at > since]
        if probability >= self._set.start:
            self._loud.append(start)
        return len(self._loud) >= self._set.start_frames

    def _let_through(self, until: float | None) -> list[Part]:
        """What is kept up to `until` (all of it if None)."""
        count = len(self._kept) if until is None else round((until - self._kept_at) * EAR_RATE)
        sound, self._kept = self._kept[: max(count, 0)], self._kept[max(count, 0) :]
        self._kept_at += len(sound) / EAR_RATE
        return [Sound(sound)] if len(sound) else []

    def _drop(self, before: float) -> None:
        count = round((before - self._kept_at) * EAR_RATE)
        if count > 0:
            self._kept = self._kept[count:]
            self._kept_at += count / EAR_RATE
