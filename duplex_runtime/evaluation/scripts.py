"""Plays the 40 scripts in `scripts/` to a model and checks silence, answers, yielding and going on.

    report = score(load_model(), Slicing())
    print(report.table())
    report.report_json()    # {"scripts": 40, "silent_mid": [ok, total], "answers": …, "yields": …, "goes_on": …}

The `about` line of a script says what to check, times in seconds of the script:

    {"about": {"kind": "stop", "checks": [
        {"check": "silent", "from": 0.5, "to": 2.1},          first and last key of a sentence
        {"check": "answers", "from": 0.5, "after": 2.3},      first key of a request, and when it was finished
        {"check": "yields", "from": 7.3, "after": 8.0, "then": "silence"},      or "new": something else was asked
        {"check": "goes_on", "from": 7.3, "after": 7.6}]}}    a backchannel

What the old answer would have been is found out by playing the script again without what was typed from `from` on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from duplex_runtime.engine.requests import Output, Sampling, SliceRequest
from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.script import Script, load_script, play
from duplex_runtime.events import Cut, Delta, Event, Input, ResponseCreated, Slice
from duplex_runtime.models.load import Choice, LoadedModel, default_sampling
from duplex_runtime.slices import Slicing

FOLDER = Path(__file__).parent / "scripts"
#: Name in the report by name in a script.
REPORTED = {"silent": "silent_mid", "answers": "answers", "yields": "yields", "goes_on": "goes_on"}
_TIMES = {"silent": ("from", "to"), **dict.fromkeys(("answers", "yields", "goes_on"), ("from", "after"))}
#: After a plain stop the model says nothing for so long.
SILENCE_SECONDS = 5.0
#: So many words in a row that also stand in the old answer belong to it.
_SAME_WORDS = 4
#: Simulated seconds after the last input: longer than any check looks.
_PATIENCE = 20.0


@dataclass(frozen=True)
class Limits:
    """Seconds within which something has to happen."""

    answer: float
    silence: float
    slice: float

    @staticmethod
    def of(slicing: Slicing) -> Limits:
        """Fixed slices get two of them: one that hears, one that decides."""
        period = slicing.period_seconds
        if slicing.adaptive:
            return Limits(3.0, 2.5, period)
        return Limits(2 * period + slicing.decide_seconds, 2 * period, period)


# — what was seen —


@dataclass(frozen=True)
class Word:
    """A word of the model, or what was seen of it; `at` is when its first letters were."""

    at: float
    response_id: str
    text: str


@dataclass
class Watch:
    """An observer that keeps what the person saw and when."""

    deltas: list[Delta] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    begun: dict[str, float] = field(default_factory=dict)  # response id → when it began

    def heard(self, event: Input, at: float) -> None:
        """Not kept."""

    def asked(self, now: float, request: SliceRequest | None) -> None:
        """Not kept."""

    def answered(self, output: Output, at: float) -> None:
        """Not kept."""

    def happened(self, events: Sequence[Event]) -> None:
        """Keep deltas until they are cut, slices, and when answers began."""
        for event in events:
            match event:
                case Delta():
                    self.deltas.append(event)
                case Slice():
                    self.slices.append(event)
                case ResponseCreated():
                    self.begun[event.response_id] = event.at
                case Cut():
                    self.deltas = [d for d in self.deltas if d.slice != event.slice or d.at <= event.at]

    @property
    def words(self) -> list[Word]:
        """What was seen, word by word."""
        words: list[Word] = []
        open_ = False  # is the last word still growing?
        for delta in self.deltas:
            if words and words[-1].response_id != delta.response_id:
                open_ = False
            for index, part in enumerate(delta.delta.split(" ")):
                if index:
                    open_ = False
                if part and open_:
                    words[-1] = Word(words[-1].at, delta.response_id, words[-1].text + part)
                elif part:
                    words.append(Word(delta.at, delta.response_id, part))
                    open_ = True
        return words


class Spoken(Protocol):
    """A word of an answer."""

    @property
    def text(self) -> str:
        """As it was said."""

    @property
    def response_id(self) -> str:
        """Of the answer."""


def old_words(words: Sequence[Spoken], old: Sequence[Spoken]) -> list[bool]:
    """Which of `words` belong to an answer that would have gone on with `old`.

    Those with which it does go on, and wherever four words in a row stand in the old answer as well.
    """
    said, would = [_plain(w.text) for w in words], [_plain(w.text) for w in old]
    flags = [False] * len(words)
    for i, (word, other) in enumerate(zip(words, old, strict=False)):
        # startswith: the last word before a cut may be half a word
        if word.response_id != old[0].response_id or not would[i].startswith(said[i]):
            break
        flags[i] = True
        if other.text != word.text:
            break
    known = {tuple(would[i : i + _SAME_WORDS]) for i in range(len(would) - _SAME_WORDS + 1)}
    for i in range(len(said) - _SAME_WORDS + 1):
        if tuple(said[i : i + _SAME_WORDS]) in known:
            flags[i : i + _SAME_WORDS] = [True] * _SAME_WORDS
    return flags


def _plain(word: str) -> str:
    return "".join(c for c in word.lower() if c.isalnum())


# — what is checked —


@dataclass(frozen=True)
class Check:
    """One line of `checks`: what, when it begins, and when it counts from (`until` for silence)."""

    name: str
    start: float
    end: float
    then: str = ""


@dataclass(frozen=True)
class Outcome:
    """Whether a check held; `detail` says what was seen."""

    check: Check
    ok: bool
    detail: str


@dataclass
class Played:
    """A script that was played, and how to play its beginning."""

    words: list[Word]
    watch: Watch
    limits: Limits
    inputs: Sequence[tuple[float, Input]]
    play_until: Callable[[float], Watch]

    def old(self, start: float) -> list[Word]:
        """What the model would have gone on to say from `start`, had the person been silent."""
        if not any(at <= start for at in self.watch.begun.values()):
            return []
        return [w for w in self.play_until(start).words if w.at > start]


def check(c: Check, played: Played) -> Outcome:
    """Did it hold?"""
    ok, detail = {"silent": _silent, "answers": _answers, "yields": _yields, "goes_on": _goes_on}[c.name](c, played)
    return Outcome(c, ok, detail)


def _silent(c: Check, played: Played) -> tuple[bool, str]:
    """No new answer between the first key of a sentence and its last; one that had the floor may go on."""
    begun = played.watch.begun
    said = [w for w in played.words if c.start <= w.at < c.end and begun[w.response_id] >= c.start]
    return (False, f"spoke {said[0].text!r} at {said[0].at:.2f} s") if said else (True, "")


def _answers(c: Check, played: Played) -> tuple[bool, str]:
    """Something that is not the old answer is seen in time."""
    new = [w for w, old in _flagged(c, played) if not old and w.at >= c.end]
    if not new:
        return False, "no answer"
    seconds = new[0].at - c.end
    return seconds <= played.limits.answer, f"after {seconds:.2f} s"


def _yields(c: Check, played: Played) -> tuple[bool, str]:
    """The old answer falls silent in time, and after a plain stop so does the model."""
    if not any(w.at > c.end for w in played.old(c.start)):
        return False, "it was not speaking"
    quiet_from = c.end + played.limits.silence
    quiet_to = quiet_from + SILENCE_SECONDS if c.then == "silence" else math.inf
    late = [w for w, old in _flagged(c, played) if (old or c.then == "silence") and quiet_from < w.at <= quiet_to]
    return (False, f"still spoke {late[0].text!r} at {late[0].at:.2f} s") if late else (True, "")


def _goes_on(c: Check, played: Played) -> tuple[bool, str]:
    """The same answer goes on behind the last slice of the backchannel, within one slice."""
    if not (old := played.old(c.start)) or old[-1].at <= c.end:
        return False, "it was not speaking"
    next_key = next((at for at, _ in played.inputs if at > c.end), math.inf)
    took = [s for s in played.watch.slices if s.user and c.end <= s.at < next_key]
    if not took:
        return False, "it did not hear"
    slice_ = took[-1]
    for delta in played.watch.deltas:
        behind = delta.slice >= slice_.index and delta.response_id == old[0].response_id
        if behind and delta.at <= slice_.at + played.limits.slice:
            return True, ""
    return False, f"fell silent at {slice_.at:.2f} s"


def _flagged(c: Check, played: Played) -> list[tuple[Word, bool]]:
    """Words from the first key on, each with whether it is of the old answer."""
    words = [w for w in played.words if w.at > c.start]
    return list(zip(words, old_words(words, played.old(c.start)), strict=True))


def checks_of(name: str, about: dict[str, Any]) -> list[Check]:
    """The checks that an `about` line asks for; raises BadInput."""
    checks = about.get("checks")
    if not isinstance(checks, list) or not checks:
        raise BadInput(f'{name}: expected a list of "checks" in the "about" line, got {checks!r}')
    return [_check_of(name, value) for value in checks]


def _check_of(name: str, value: Any) -> Check:
    kind = value.get("check") if isinstance(value, dict) else None
    if kind not in _TIMES:
        raise BadInput(f'{name}: expected a "check" of {", ".join(_TIMES)}, got {value!r}')
    start, end = (value.get(key) for key in _TIMES[kind])
    then = value.get("then", "")
    allowed = ("silence", "new") if kind == "yields" else ("",)
    known = {"check", "then", *_TIMES[kind]}
    if not (_number(start) and _number(end) and 0 <= start <= end) or then not in allowed or set(value) - known:
        keys = ", ".join((*_TIMES[kind], *(("then (silence or new)",) if kind == "yields" else ())))
        raise BadInput(f"{name}: expected {kind} with {keys} in order, got {value!r}")
    return Check(kind, float(start), float(end), then)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# — all of them —


@dataclass(frozen=True)
class Row:
    """One script's outcomes."""

    script: str
    kind: str
    outcomes: list[Outcome]

    @property
    def ok(self) -> bool:
        """Did every check hold?"""
        return all(o.ok for o in self.outcomes)


@dataclass(frozen=True)
class Report:
    """All scripts' outcomes."""

    rows: list[Row]

    def report_json(self) -> dict[str, Any]:
        """`{"scripts": number, "silent_mid": [ok, total], "answers", "yields", "goes_on"}`."""
        outcomes = [o for row in self.rows for o in row.outcomes]
        counts = {
            reported: [sum(o.ok for o in outcomes if o.check.name == name), sum(o.check.name == name for o in outcomes)]
            for name, reported in REPORTED.items()
        }
        return {"scripts": len(self.rows), **counts}

    def table(self) -> str:
        """A line for each script; what did not hold stands in capitals, with what was seen."""
        wide = max((len(row.script) for row in self.rows), default=0)
        lines = [f"{'script':{wide}}  ok   checks"]
        for row in self.rows:
            checks = ", ".join(
                o.check.name + (f" {o.detail}" if o.ok and o.detail else "")
                if o.ok
                else f"{o.check.name.upper()} ({o.detail})"
                for o in row.outcomes
            )
            lines.append(f"{row.script:{wide}}  {'yes' if row.ok else 'NO ':3}  {checks}")
        lines.append("")
        for name, (ok, total) in list(self.report_json().items())[1:]:
            lines.append(f"{name:10}  {ok} of {total}")
        return "\n".join(lines)


def score(
    model: LoadedModel, slicing: Slicing, folder: Path = FOLDER, seed: int = 0, idle_threshold: float | None = None
) -> Report:
    """Play every script of `folder` in simulated time; raises BadInput for a script that is not of the format."""
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        raise BadInput(f"{folder}: expected scripts NN-name.jsonl, found none")
    scripts = [(path, load_script(path)) for path in paths]
    checks = [checks_of(str(path), script.about) for path, script in scripts]  # all faults before the first play
    sampling = default_sampling(model.name, seed, idle_threshold)
    return Report([_row(model, slicing, path, s, c, sampling) for (path, s), c in zip(scripts, checks, strict=True)])


def _row(
    model: LoadedModel, slicing: Slicing, path: Path, script: Script, checks: Sequence[Check], sampling: Sampling
) -> Row:
    watches: dict[float, Watch] = {}

    def play_until(until: float) -> Watch:
        if until not in watches:
            watch = watches[until] = Watch()
            inputs = [(at, event) for at, event in script.inputs if at < until]
            play(model, "duplex", inputs, slicing, sampling, [watch], _PATIENCE)
        return watches[until]

    watch = play_until(math.inf)
    played = Played(watch.words, watch, Limits.of(slicing), script.inputs, play_until)
    return Row(path.stem, str(script.about.get("kind", "")), [check(c, played) for c in checks])


def run(
    choice: Choice | None = None,
    slice_seconds: str = "adaptive",
    seed: int = 0,
    folder: Path = FOLDER,
    idle_threshold: float | None = None,
) -> int:
    """`duplex eval scripts`: print the table, then one line of JSON."""
    import torch

    torch.set_num_threads(1)  # slices are too small to be split
    slicing = Slicing.parse(slice_seconds)
    report = score((choice or Choice()).load("duplex"), slicing, folder, seed, idle_threshold)
    print(report.table())
    print(json.dumps(report.report_json()))
    return 0
