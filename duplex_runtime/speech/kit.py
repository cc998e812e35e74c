"""What this machine can hear and speak with: finds what is installed, loads each part when it is first needed.

kit = Kit()
kit.about()                 # for people: which recogniser, which voices, and what to do for more
ears = kit.ears()           # one person's
voice = kit.voice("espeak") # everybody's
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.speech.base import MOUTH_RATE, Recogniser, Voice
from duplex_runtime.speech.ears import Ears

#: How speech may be recognised: `auto` takes Whisper if one of its models is on this machine, else PocketSphinx.
EARS = ("auto", "whisper", "sphinx", "off")
INSTALL = "pip install 'duplex-arena[voice]'"


@dataclass(frozen=True)
class VoiceChoice:
    """A voice that may be chosen. `id` is its name on the wire; `note` is for people."""

    id: str
    name: str
    note: str
    load: Callable[[], Voice]


class Kit:
    """See the module. ears: one of EARS. coqui: a model of Coqui TTS to offer beside the offline voice."""

    def __init__(self, ears: str = "auto", coqui: str | None = None) -> None:
        if ears not in EARS:
            raise BadInput(f"ears: expected one of {', '.join(EARS)}, got {ears!r}")
        self._wanted, self._coqui = ears, coqui
        self._lock = threading.Lock()  # two people may be the first
        self._recogniser: Recogniser | None = None
        self._voices: dict[str, Voice] = {}

    # — for people —

    def about(self) -> dict[str, Any]:
        """`ears` (None if speech cannot be recognised: `note` says why), `voices`, and the rate of what is said."""
        kind, note = self._ears_kind
        name = {"whisper": "Whisper", "sphinx": "PocketSphinx"}.get(kind or "")
        ears = {"name": name, "offline": True, "note": note} if name else None
        voices = [{"id": v.id, "name": v.name, "note": v.note} for v in self.choices()]
        return {"ears": ears, "note": "" if ears else note, "voices": voices, "rate": MOUTH_RATE}

    @cached_property
    def _ears_kind(self) -> tuple[str | None, str]:
        """Which recogniser, and what to say of it."""
        if self._wanted == "off":
            return None, "speech is not recognised here: the server was started with --ears off"
        if not _installed("faster_whisper") or not _installed("onnxruntime"):
            return None, f"speech cannot be recognised here yet: install it with {INSTALL}"
        from duplex_runtime.speech.whisper import choose, here, this_machine

        if self._wanted == "whisper" or (self._wanted == "auto" and here(choose(this_machine()))):
            return "whisper", "recognises free speech"
        if not _installed("pocketsphinx"):
            return None, f"speech cannot be recognised here yet: install it with {INSTALL}"
        return "sphinx", "offline; knows the words of what the embedded model talks about, and mishears others"

    def choices(self) -> list[VoiceChoice]:
        """The voices that can be chosen, the default first."""
        choices = []
        if _installed("espeakng_loader"):
            choices.append(VoiceChoice("espeak", "eSpeak NG", "offline, robotic, at once", _espeak))
        if self._coqui and _installed("TTS"):
            name = self._coqui
            choices.append(VoiceChoice("coqui", f"Coqui {name.rsplit('/', 1)[-1]}", name, lambda: _coqui(name)))
        return choices

    # — parts —

    def ears(self) -> Ears:
        """A person's ears; raises DuplexError `ears_missing`. The first may take seconds."""
        from duplex_runtime.speech.vad import VoiceActivity, load_session

        recogniser = self.recogniser()
        return Ears(VoiceActivity(load_session()), recogniser.listen())

    def recogniser(self) -> Recogniser:
        """Everybody's recogniser. Whisper's model is fetched, with a progress bar, if it was asked for by name."""
        kind, note = self._ears_kind
        if kind is None:
            raise DuplexError("ears_missing", note)
        with self._lock:
            if self._recogniser is None:
                self._recogniser = _whisper(self._wanted == "whisper") if kind == "whisper" else _sphinx()
            return self._recogniser

    def voice(self, name: str) -> Voice:
        """A voice by its id; raises BadInput for one that is not offered, DuplexError for one that is broken."""
        choice = next((c for c in self.choices() if c.id == name), None)
        if choice is None:
            known = ", ".join(c.id for c in self.choices()) or f"none yet: install one with {INSTALL}"
            raise BadInput(f"voice: expected one of those offered ({known}), got {name[:40]!r}")
        with self._lock:
            if name not in self._voices:
                self._voices[name] = choice.load()
            return self._voices[name]


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _sphinx() -> Recogniser:
    from duplex_runtime.speech.sphinx import Sphinx

    return Sphinx()


def _whisper(download: bool) -> Recogniser:
    from duplex_runtime.speech.whisper import Whisper, choose, this_machine

    return Whisper(choose(this_machine()), download=download)


def _espeak() -> Voice:
    from duplex_runtime.speech.espeak import Espeak

    return Espeak()


def _coqui(name: str) -> Voice:
    from duplex_runtime.speech.coqui import Coqui

    return Coqui(name, download=True, allow_non_commercial=True)  # it was asked for by name
