"""The cover over one system: what a participant may hear of their talk, and what they may decide in it.

cover = Cover(opened, study.recordings, texts)
LiveSession(arena, cover)
cover.tally.figures()                    # how much was talked

They hear of: session.created · session.updated · response.created · response.output_text.delta · duplex.cut ·
response.done · the events of sound · duplex.ping · error, and study.talk: how much of the talk is held. `at` in them
says when text is to be shown. The system is called "partner" in all of them. Names, models, slices, p(idle), reactions
and what was not heard stay on the server, in the recording.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from duplex_runtime.clock import Clock
from duplex_runtime.errors import DuplexError
from duplex_runtime.events import Cancel
from duplex_runtime.loop import Observer
from duplex_runtime.speech.base import EAR_RATE
from webapp.store import Recording
from webapp.study.definition import Study
from webapp.study.service import Opened
from webapp.study.state import talk_of
from webapp.study.tally import Figures, Tally
from webapp.study.texts import say
from webapp.study.wav import VoiceFile
from webapp.wire import AudioUpdate, ClientEvent, Played, SessionUpdate, Sound, Typed

PARTNER = "partner"
#: A study's systems as sessions have them: checkpoint, and what the baseline does when the person begins.
SESSIONS = {"duplex": ("duplex", "strict"), "strict": ("turns", "strict"), "barge-in": ("turns", "barge-in")}
#: What of an event the participant may know, beside its type.
SHOWN: dict[str, tuple[str, ...]] = {
    "session.created": ("session", "at"),
    "session.updated": ("session",),
    "response.created": ("system", "response", "at"),
    "response.output_text.delta": ("system", "response_id", "delta", "at"),
    "duplex.cut": ("system", "response_id", "at", "unheard"),
    "response.done": ("system", "response_id", "at"),
    "response.output_audio.delta": ("system", "response_id", "start", "delta", "characters"),
    "response.output_audio.done": ("system", "response_id", "samples"),
    "duplex.audio.flush": ("system", "response_id", "samples"),
    "duplex.audio.problem": ("where",),
    "input_audio_buffer.speech_started": (),
    "input_audio_buffer.speech_stopped": (),
    "conversation.item.input_audio_transcription.delta": ("delta",),
    "duplex.hypothesis": ("partial",),
    "duplex.ping": (),
    "study.talk": ("seconds", "turns", "needed_seconds", "needed_turns"),
}
#: Our errors in the study's words, which are `error.…` of its texts; all others are unexpected.
ERRORS = {
    "full": "busy",
    "busy": "busy",
    "recording_stopped": "database_away",
    "bad_input": "bad_request",
    "no_session": "bad_request",
    "session_began": "bad_request",
}


class Cover:
    """One talk as `webapp.session.LiveSession` needs it. `texts`: in the participant's language."""

    def __init__(self, opened: Opened, recordings: Path, texts: dict[str, str]) -> None:
        self.system, self.baseline = SESSIONS[opened.system]
        self.id = Path(opened.recording).stem
        self._path, self._audio, self._texts = recordings / opened.recording, opened.audio, texts
        self._voice: VoiceFile | None = None
        self._rate = EAR_RATE
        self._failed: Callable[[DuplexError], None] = lambda error: None
        self.tally: Tally | None = None

    def recording(self, failed: Callable[[DuplexError], None]) -> Recording | None:
        """The talk's log; None, told to `failed`, if the disk does not take it."""
        self._failed = failed
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Recording(self._path, failed)
        except OSError as error:
            failed(DuplexError("recording_stopped", f"this talk is not recorded: {error}"))
            return None

    def observers(self, clock: Clock) -> list[Observer]:
        """Who counts."""
        self.tally = Tally(clock)
        if self._audio:
            self._voice = VoiceFile(self._path.with_suffix(".wav"), clock)
        return [self.tally]

    def inward(self, event: ClientEvent) -> ClientEvent:
        """What the participant may decide; the voice is kept if they allowed it."""
        match event:
            case SessionUpdate(audio=audio):
                if audio and audio.rate:
                    self._rate = audio.rate
                return SessionUpdate(None, None, None, self._own(audio))
            case Typed(inputs):  # what they say, not which answers are given
                return Typed(tuple(each for each in inputs if not isinstance(each, Cancel)))
            case Played(response_id):
                return replace(event, response_id=self._real(response_id))
            case Sound(bytes(data)) if self._voice:
                try:
                    self._voice.write(data, self._rate)
                except OSError as error:
                    self._voice = None
                    self._failed(DuplexError("recording_stopped", f"the voice is no longer recorded: {error}"))
        return event

    def outward(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """What the participant may know."""
        kind = event["type"]
        if kind == "error":
            code = ERRORS.get(event["error"]["code"], "unexpected")
            return error_event(code, say(self._texts, f"error.{code}"))
        if kind not in SHOWN:
            return None
        shown = {"type": kind, **{key: event[key] for key in SHOWN[kind]}}
        if "system" in shown:
            shown["system"] = PARTNER
        if "response_id" in shown:
            shown["response_id"] = _neutral(shown["response_id"])
        if "response" in shown:
            shown["response"] = {"id": _neutral(shown["response"]["id"])}
        if "session" in shown:
            shown["session"] = {"audio": _audio(shown["session"]["audio"])}
        return shown

    def close(self) -> None:
        """End the voice's file."""
        if self._voice:
            with contextlib.suppress(OSError):
                self._voice.close()

    def discard(self) -> None:
        """Delete what was recorded."""
        for file in self._path.parent.glob(f"{self.id}.*"):
            file.unlink(missing_ok=True)

    @staticmethod
    def _own(audio: AudioUpdate | None) -> AudioUpdate | None:
        return replace(audio, system=None) if audio else None

    def _real(self, response_id: str) -> str:
        return f"{self.system}{response_id.removeprefix(PARTNER)}"


def _neutral(response_id: str) -> str:
    """Answers are numbered in all systems alike: `turns-3` is `partner-3`."""
    return f"{PARTNER}-{response_id.rpartition('-')[2]}"


def _audio(about: dict[str, Any]) -> dict[str, Any]:
    """Ears and voices without what is said about them: that names the model."""
    ears = about["ears"] and {"name": about["ears"]["name"]}
    voices = [{"id": voice["id"], "name": voice["name"]} for voice in about["voices"]]
    return {"ears": ears, "voices": voices, "voice": about["voice"], "rate": about["rate"]}


def error_event(code: str, message: str) -> dict[str, Any]:
    """An `error` event in the study's words."""
    return {"type": "error", "error": {"code": code, "message": message}}


def talk_event(study: Study, talked: Figures) -> dict[str, Any]:
    """A `study.talk` event: how much of the talk is held."""
    return {"type": "study.talk", **talk_of(study, talked)}
