"""OpenAI's session objects and ours: what of theirs has a meaning here, and what they shall read of ours.

    wishes, ours, ignored = changed(Wishes(voices=("espeak",)), {"output_modalities": ["text"], "temperature": 0.6})
    ours         # {"audio": {"output": {"voice": None}}}
    ignored      # ("temperature",)

Theirs, of the type `realtime`: model, output_modalities, audio.input.format, audio.output.format and audio.output.voice
mean what they mean there. Speech is always detected and always transcribed, so `turn_detection` and `transcription` may
be asked for, but not be changed or switched off. Whatever else is asked for is accepted and listed as ignored.
Ours, slice_seconds and baseline, may stand in the same object.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from duplex_runtime.errors import BadInput
from duplex_runtime.events import SYSTEMS

#: Samples a second of all sound of OpenAI's clients.
RATE = 24_000
FORMAT = {"type": "audio/pcm", "rate": RATE}
#: What they may ask of `turn_detection`, for it is so.
DETECTION = {"type": "server_vad", "create_response": True, "interrupt_response": True}
KINDS = ("server_vad", "semantic_vad")


@dataclass(frozen=True)
class Wishes:
    """What a client wants. `voices`: the ids of those that are here, the default first; `voice`: the one that it chose;
    `aloud`: whether answers are spoken."""

    voices: tuple[str, ...] = ()
    voice: str | None = None
    aloud: bool = True

    @property
    def heard(self) -> str | None:
        """The voice that speaks; None: answers are text."""
        if not self.aloud or not self.voices:
            return None
        return self.voice or self.voices[0]


def opening(system: str, wishes: Wishes) -> dict[str, Any]:
    """Our session object for a client that has said nothing yet. Their turns end where the person begins to speak, so
    the turn-based system has barge-in."""
    audio = {"input": {"format": FORMAT}, "output": {"voice": wishes.heard, "system": system}}
    return {"model": system, "audio": audio} | ({"baseline": "barge-in"} if system == "turns" else {})


def changed(wishes: Wishes, session: dict[str, Any]) -> tuple[Wishes, dict[str, Any], tuple[str, ...]]:
    """What a client of theirs wants now, what of it our server is told, and the names of what means nothing here.

    Raises BadInput for sound that is not 24 kHz PCM, for modalities that do not exist, and for another type of session.
    """
    if session.get("type", "realtime") != "realtime":
        raise BadInput(
            f'session.update: expected type "realtime", got {_short(session["type"])}: no other is held here'
        )
    ignored = [name for name in session if name not in ("type", "output_modalities", "audio", *_OURS)]
    sound = _dict(session, "audio", "session")
    source, output = _dict(sound, "input", "audio"), _dict(sound, "output", "audio")
    for name, side in (("input", source), ("output", output)):
        _check_format(name, side)
    ignored += [f"audio.{name}" for name in sound if name not in ("input", "output")]
    ignored += [f"audio.input.{name}" for name in source if name not in ("format", "turn_detection", "transcription")]
    ignored += [f"audio.output.{name}" for name in output if name not in ("format", "voice")]
    ignored += _detection(source) + _transcription(source)
    wanted = _wanted(wishes, session, output, ignored)
    ours = {name: session[name] for name in _OURS if name in session}
    if "format" in source or wanted.heard != wishes.heard:
        ours["audio"] = {"input": {"format": FORMAT}, "output": {"voice": wanted.heard}}
    return wanted, ours, tuple(ignored)


_OURS = ("slice_seconds", "baseline")


def _wanted(wishes: Wishes, session: dict[str, Any], output: dict[str, Any], ignored: list[str]) -> Wishes:
    """Whether answers are spoken, and by whom."""
    modalities = session.get("output_modalities")
    if modalities is not None:
        if modalities not in (["text"], ["audio"], ["audio", "text"], ["text", "audio"]):
            raise BadInput(
                f'session.update: expected output_modalities ["text"] or ["audio"], got {_short(modalities)}'
            )
        wishes = replace(wishes, aloud="audio" in modalities)
        if wishes.aloud and not wishes.voices:
            ignored.append("output_modalities")
    if (voice := output.get("voice")) is not None:
        name = voice.get("id") if isinstance(voice, dict) else voice
        if name in wishes.voices:
            wishes = replace(wishes, voice=name)
        else:
            ignored.append("audio.output.voice")
    return wishes


def _check_format(name: str, side: dict[str, Any]) -> None:
    form = side.get("format")
    if form is None or (isinstance(form, dict) and form.get("type") == "audio/pcm" and form.get("rate", RATE) == RATE):
        return
    raise BadInput(f'session.update: expected audio.{name}.format {{"type": "audio/pcm", "rate": {RATE}}}, '
                   f"got {_short(form)}")  # fmt: skip


def _detection(source: dict[str, Any]) -> list[str]:
    """What was asked of `turn_detection` and is not so."""
    if "turn_detection" not in source:
        return []
    wanted = source["turn_detection"]
    if not isinstance(wanted, dict) or wanted.get("type") not in KINDS:
        return ["audio.input.turn_detection"]
    return [
        f"audio.input.turn_detection.{name}"
        for name, value in wanted.items()
        if name != "type" and (name not in DETECTION or value is not True)
    ]


def _transcription(source: dict[str, Any]) -> list[str]:
    if "transcription" not in source:
        return []
    wanted = source["transcription"]
    return (
        [f"audio.input.transcription.{n}" for n in wanted]
        if isinstance(wanted, dict)
        else ["audio.input.transcription"]
    )


def described(system: str, ours: dict[str, Any]) -> dict[str, Any]:
    """What they read of a session: theirs, with the names of their fields. `ours`: of session.created or .updated."""
    sound = ours.get("audio") or {}
    ears, voice = sound.get("ears"), sound.get("voice")
    told = {
        "type": "realtime",
        "object": "realtime.session",
        "model": system,
        "output_modalities": ["audio" if voice else "text"],
        "audio": {
            "input": {
                "format": FORMAT,
                "transcription": {"model": ears["name"]} if ears else None,
                "turn_detection": DETECTION,
            },
            "output": {"format": FORMAT, "voice": voice, "speed": 1.0},
        },
    }
    return ({"id": ours["id"]} if "id" in ours else {}) | told


def system_of(session: dict[str, Any]) -> str:
    """Which system shall answer: the session's `model`, or the one that listens while it speaks; raises BadInput."""
    model = session.get("model", SYSTEMS[0])
    if model not in SYSTEMS:
        raise BadInput(f"session.update: expected model {' or '.join(SYSTEMS)}, got {_short(model)}")
    return str(model)


def _dict(parent: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = parent.get(name)
    if value is not None and not isinstance(value, dict):
        raise BadInput(f"session.update: expected {where}.{name} to be an object, got {_short(value)}")
    return value or {}


def _short(value: Any) -> str:
    return repr(value)[:40]
