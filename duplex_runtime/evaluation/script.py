"""Timed scripts: what a person types and when, as JSON lines, and what a conversation made of it.

    {"about": {"kind": "stop"}}          may stand first: free remarks
    {"at": 0.0, "text": "tell me "}      words typed at that second; a space ends a word
    {"at": 0.6, "key": "Backspace"}      or "Enter"

    script = read_script(Path("talk.jsonl"))
    lines = play(load_model(), "duplex", script, Slicing(), Sampling())

Lines of the output are slices and events; see `SliceLines`.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplex_runtime.clock import SimulatedClock
from duplex_runtime.duplex import MAX_TYPED
from duplex_runtime.engine.requests import Output, Sampling, SliceRequest
from duplex_runtime.errors import BadInput
from duplex_runtime.events import (
    Cut,
    Delta,
    Edit,
    Enter,
    Event,
    Input,
    Reaction,
    ResponseDone,
    Slice,
    UserText,
)
from duplex_runtime.loop import Loop, Observer, run_script
from duplex_runtime.slices import Slicing

if TYPE_CHECKING:
    from duplex_runtime.models.load import LoadedModel

#: Latest time in a script: a day. With a fixed period every second costs slices.
MAX_SECONDS = 86_400.0
_KEYS: dict[str, Input] = {"Backspace": Edit(1), "Enter": Enter()}
_EXAMPLE = '{"at": 0.5, "text": "hello "}'


# — reading —


@dataclass(frozen=True)
class Script:
    """Remarks and timed input, in time order."""

    about: dict[str, Any]
    inputs: list[tuple[float, Input]]


def read_script(source: str | Path | Iterable[str | bytes]) -> list[tuple[float, Input]]:
    """The timed input of a file, or of lines; raises BadInput naming file and line."""
    return load_script(source).inputs


def load_script(source: str | Path | Iterable[str | bytes]) -> Script:
    """The same with the remarks of the `about` line ({} if there is none).

    source: a path (str or Path), or an iterable of lines such as an open file or `sys.stdin.buffer`.
    """
    name, lines = _lines(source)
    about: dict[str, Any] = {}
    inputs: list[tuple[float, Input]] = []
    first = True
    for number, raw in enumerate(lines, 1):
        where = f"{name} line {number}"
        value = _parse(where, raw)
        if value is None:
            continue
        if first and set(value) == {"about"}:
            about = _about(where, value["about"])
        else:
            earliest = inputs[-1][0] if inputs else 0.0
            inputs.append(_input(where, value, earliest))
        first = False
    if not inputs:
        raise BadInput(f"{name}: expected at least one line such as {_EXAMPLE}, found none")
    return Script(about, inputs)


def _lines(source: str | Path | Iterable[str | bytes]) -> tuple[str, Iterable[str | bytes]]:
    if not isinstance(source, str | Path):
        return "script", source
    path = Path(source)
    try:
        # not splitlines(): U+2028 may stand inside a JSON string
        return str(path), path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise BadInput(f"{path}: no such script file; give the path of a JSON lines file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{path}: expected a readable script file ({reason})") from None


def _parse(where: str, raw: str | bytes) -> dict[str, Any] | None:
    """The JSON object of a line; None for a blank one."""
    if isinstance(raw, bytes):
        try:
            raw = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(
                f"{where}: expected UTF-8, got the byte 0x{raw[error.start]:02x}; save the file as UTF-8"
            ) from None
    raw = raw.strip().removeprefix("\ufeff")
    if not raw:
        return None
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadInput(f"{where}: expected a JSON object, got {_short(raw)}; write {_EXAMPLE}") from None
    if not isinstance(value, dict):
        raise BadInput(f"{where}: expected a JSON object, got {_short(value)}; write {_EXAMPLE}")
    return value


def _about(where: str, about: Any) -> dict[str, Any]:
    if not isinstance(about, dict):
        raise BadInput(
            f'{where}: expected an object as "about", got {_short(about)}; '
            'write {"about": {"kind": "stop"}} or leave the line out'
        )
    return about


def _input(where: str, value: dict[str, Any], earliest: float) -> tuple[float, Input]:
    if unknown := sorted(set(value) - {"at", "text", "key"}):
        hint = 'put "about" in the first line, alone' if "about" in unknown else "leave them out"
        raise BadInput(f'{where}: expected "at" and "text" or "key", got {_short(unknown)}; {hint}')
    at = _at(where, value, earliest)
    if ("text" in value) == ("key" in value):
        got = "both" if "text" in value else "neither"
        raise BadInput(f'{where}: expected either "text" or "key", got {got}; one line is one thing done')
    return at, _key(where, value["key"]) if "key" in value else _text(where, value["text"])


def _at(where: str, value: dict[str, Any], earliest: float) -> float:
    if "at" not in value:
        raise BadInput(f'{where}: expected "at", found none; say when, in seconds: {_EXAMPLE}')
    at = value["at"]
    if not _seconds(at):
        raise BadInput(
            f'{where}: expected "at" in seconds from 0 to {MAX_SECONDS:.0f}, got {_short(at)}; write {_EXAMPLE}'
        )
    if at < earliest:
        raise BadInput(
            f'{where}: expected "at" from {earliest:g} on, got {at:g}; '
            "times must not go backwards: sort the lines by time"
        )
    return float(at)


def _seconds(value: Any) -> bool:
    # comparing: NaN is false, and so is an integer too long for a float
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= MAX_SECONDS


def _key(where: str, key: Any) -> Input:
    if not isinstance(key, str) or key not in _KEYS:
        raise BadInput(f'{where}: expected the key "Backspace" or "Enter", got {_short(key)}; other keys are "text"')
    return _KEYS[key]


def _text(where: str, text: Any) -> Input:
    if not isinstance(text, str) or not text:
        raise BadInput(
            f'{where}: expected "text" of one character or more, got {_short(text)}; to type nothing leave the line out'
        )
    if len(text) > MAX_TYPED:
        raise BadInput(
            f'{where}: expected "text" of at most {MAX_TYPED} characters, got {len(text)}; spread it over several lines'
        )
    return UserText(text)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# — what came of it —


@dataclass
class _OpenSlice:
    """A slice that may still change: its event, and text with the times when it is to be seen."""

    event: Slice
    deltas: list[tuple[float, str]] = field(default_factory=list)
    cut_at: float = math.inf
    done_at: float | None = None

    def to_json(self, until: float) -> dict[str, Any]:
        values = self.event.to_json()
        decision = {key: values.pop(key) for key in ("idle", "p_idle")}
        return {
            **values,
            "type": "slice",
            "until": round(until, 4),
            "model": "".join(text for at, text in self.deltas if at <= self.cut_at),
            "unheard": "".join(text for at, text in self.deltas if at > self.cut_at),
            **decision,
        }


class SliceLines:
    """An observer of the loop that tells one dict a slice, and the other events between, in time order.

    A slice is told when it is complete: as the next one closes, as the answer it speaks ends and
    nothing follows at once, or at `finish`. That time is its `until`. Deltas are folded into
    `model`, what was seen of them, and `unheard`, what was cut.

    emit: takes each dict. Nothing is emitted before its time: a turn-based answer is known long
    before it is shown.
    """

    def __init__(self, emit: Callable[[dict[str, Any]], None]) -> None:
        self._emit = emit
        self._now = 0.0
        self._open: _OpenSlice | None = None
        self._in_engine = False
        self._waiting: list[tuple[float, int, dict[str, Any]]] = []  # a heap by time
        self._count = 0

    def heard(self, event: Input, at: float) -> None:
        """The person did something."""
        self.move_to(at)

    def asked(self, now: float, request: SliceRequest | None) -> None:
        """A slice closed; with a request its event follows."""
        self._in_engine = request is not None
        self.move_to(now)

    def answered(self, output: Output, at: float) -> None:
        """The engine said something."""
        if output.done:
            self._in_engine = False
        self.move_to(at)

    def happened(self, events: Sequence[Event]) -> None:
        """What the conversation made of it."""
        for event in events:
            self._take(event)
        if self._open and self._open.done_at is not None and not self._in_engine:
            self._complete(self._open.done_at)
        self.move_to(self._now)

    def move_to(self, now: float) -> None:
        """Emit what is of `now` or before."""
        self._now = max(self._now, now)
        while self._waiting and self._waiting[0][0] <= self._now:
            self._emit(heapq.heappop(self._waiting)[2])

    def finish(self, at: float) -> None:
        """The conversation is over: emit the rest."""
        if self._open:
            self._open.cut_at = min(self._open.cut_at, at)
            self._complete(at)
        self.move_to(math.inf)

    def _take(self, event: Event) -> None:
        slice_ = self._open
        match event:
            case Slice():
                self._complete(event.at)
                self._open = _OpenSlice(event)
                return
            case Delta():
                if slice_ and slice_.event.index == event.slice:
                    slice_.deltas.append((event.at, event.delta))
                return
            case Cut() if slice_ and slice_.event.index == event.slice:
                slice_.cut_at = event.at
            case ResponseDone() if slice_ and not slice_.event.idle:
                slice_.done_at = event.at
        at = event.to if isinstance(event, Reaction) else getattr(event, "at", self._now)
        self._push(at, event.to_json())

    def _complete(self, until: float) -> None:
        if self._open:
            self._push(until, self._open.to_json(until))
        self._open = None

    def _push(self, at: float, line: dict[str, Any]) -> None:
        heapq.heappush(self._waiting, (at, self._count, line))
        self._count += 1


def play(
    model: LoadedModel,
    system: str,
    script: Sequence[tuple[float, Input]],
    slicing: Slicing,
    sampling: Sampling,
    observers: Sequence[Observer] = (),
    patience: float = 60.0,
) -> list[dict[str, Any]]:
    """The script in simulated time: output lines as `SliceLines` tells them.

    patience: simulated seconds after the last input after which the play ends all the same.
    """
    lines: list[dict[str, Any]] = []
    slice_lines = SliceLines(lines.append)
    clock = SimulatedClock()
    loop = Loop(model.engine(slots=1))
    conversation = model.conversation(system, slicing)
    session = loop.add(conversation, clock, sampling, [slice_lines, *observers])
    try:
        run_script(loop, session, script, clock, patience)
    finally:
        loop.remove(session)
    slice_lines.finish(clock.now())
    return lines
