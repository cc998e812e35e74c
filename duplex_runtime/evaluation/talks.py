"""A talk as the panel sees it: what the person did, what they saw or heard of the system, and when.

talk = talk_of(read_log(path)["duplex"])      # from any recording
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.acts import KINDS, Act, Piece, guess_acts
from duplex_runtime.events import Heard, Input, Pace, SpeechStart, UserText, Voiced
from duplex_runtime.recording import Log, input_from_json
from duplex_runtime.slices import Slicing

#: Lines written in the same moment may lie so far behind each other (seconds): rounding, and two threads.
_JITTER_SECONDS = 0.25


@dataclass(frozen=True)
class Talk:
    """One talk with one system.

    system: `duplex`, `strict` or `barge-in`. way: `keys` or `speech`. pieces: in order, without what was cut.
    unheard: what was cut, with the time and the answer. yields: when the system stopped because of the person.
    slices: when each closed, and the person's words in it. deaf: what it did not hear.
    answers: response id → how it ended (`completed`, `cancelled`), missing if it did not.
    """

    system: str
    scenario: str
    situation: str
    seed: int
    way: str
    acts: tuple[Act, ...]
    pieces: tuple[Piece, ...]
    unheard: tuple[tuple[float, str, str], ...] = ()
    yields: tuple[float, ...] = ()
    slices: tuple[tuple[float, str], ...] = ()
    deaf: tuple[tuple[float, str], ...] = ()
    answers: dict[str, str] = field(default_factory=dict)
    ended_at: float = 0.0

    @property
    def words(self) -> list[Piece]:
        """What the system said, word by word."""
        words: list[Piece] = []
        open_ = ""  # the answer whose last word may still grow
        for piece in self.pieces:
            for index, part in enumerate(piece.text.split(" ")):
                if index:
                    open_ = ""
                if part and open_ == piece.response_id:
                    words[-1] = replace(words[-1], text=words[-1].text + part, until=piece.until)
                elif part:
                    words.append(replace(piece, text=part))
                    open_ = piece.response_id
        return words


def talk_of(log: Log, name: str = "log") -> Talk:
    """One system's part of a recording; raises BadInput naming `name` and the line.

    A recording of a real person has no `act` lines: what they did is told from their words (`acts.guess_acts`).
    Spoken answers are heard when the page reported it, and at the assumed pace until then.
    """
    return _Reader(log, name).read()


class _Reader:
    """Goes through the lines of a log once."""

    def __init__(self, log: Log, name: str) -> None:
        self.log, self.name, self.number = log, name, 0
        header = log.header
        self.slicing = Slicing.parse(header.get("slice_seconds", "adaptive"))
        self.paced = self.slicing
        self.aloud = False
        self.acts: list[Act] = []
        self.inputs: list[tuple[float, Input]] = []
        self.pieces: list[Piece] = []
        self.unheard: list[tuple[float, str, str]] = []
        self.yields: list[float] = []
        self.slices: list[tuple[float, str]] = []
        self.deaf: list[tuple[float, str]] = []
        self.answers: dict[str, str] = {}
        self.begun: set[str] = set()
        self.latest = 0.0

    def read(self) -> Talk:
        for number, line in zip(self.log.numbers, self.log.lines, strict=True):
            self.number = number
            try:
                self.take(line)
            except BadInput as error:
                raise error if str(error).startswith(self.name) else self.fail(str(error)) from None
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise self.fail(
                    f"expected a line as the recorder writes it ({error!r}), got {str(line)[:80]}"
                ) from None
        header = self.log.header
        spoken = any(isinstance(e, SpeechStart) or (isinstance(e, UserText) and e.spoken) for _, e in self.inputs)
        way = str(header.get("way") or ("speech" if spoken else "keys"))
        pieces = tuple(sorted(self.pieces, key=lambda p: p.at))
        acts = self.acts or guess_acts(self.inputs, pieces)
        seed = header.get("seed", 0)
        return Talk(
            "duplex" if header.get("system") == "duplex" else str(header.get("baseline", "strict")),
            str(header.get("scenario") or header.get("session") or self.name),
            str(header.get("situation", "")),
            seed if isinstance(seed, int) else 0,
            way,
            tuple(sorted(acts, key=lambda a: a.begin)),
            pieces,
            tuple(self.unheard),
            tuple(self.yields),
            tuple(self.slices),
            tuple(self.deaf),
            self.answers,
            max([self.latest, *(p.until for p in pieces), *(a.end for a in acts)], default=0.0),
        )

    def fail(self, problem: str) -> BadInput:
        return BadInput(f"{self.name} line {self.number}: {problem}")

    def take(self, line: dict[str, Any]) -> None:
        match line["kind"]:
            case "input":
                self.input(self.time(line["at"]), input_from_json(line))
            case "act":
                self.act(line)
            case "event":
                self.event(line["event"])
            case "due" | "output":
                self.time(line["at"])

    def time(self, value: Any) -> float:
        """Of something that happens as the line is written: never earlier than what came before."""
        at = self.number_of(value)
        if at < self.latest - _JITTER_SECONDS:
            raise self.fail(
                f"expected a time from {self.latest:g} s on, got {at:g} s; lines stand in the order of time"
            )
        self.latest = max(self.latest, at)
        return at

    def number_of(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise self.fail(f"expected a time in seconds, got {value!r:.40}")
        return float(value)

    def input(self, at: float, event: Input) -> None:
        self.inputs.append((at, event))
        if isinstance(event, Voiced):
            self.aloud = event.on
        elif isinstance(event, Pace):
            self.paced = self.slicing.paced(event.level)
        elif isinstance(event, Heard):
            self.heard(event, at)

    def heard(self, event: Heard, at: float) -> None:
        """What lies before has been heard by now; what lies behind moves with it."""
        end, free_at = 0, at
        for n, piece in enumerate(self.pieces):
            if piece.response_id != event.response_id:
                continue
            begins, end = end, end + len(piece.text)
            begun = min(piece.at, at) if begins < event.characters else free_at
            if end <= event.characters:
                self.pieces[n] = replace(piece, at=begun, until=max(begun, min(piece.until, at)))
            else:
                free_at += (end - max(begins, event.characters)) * self.paced.voice_character_seconds
                self.pieces[n] = replace(piece, at=begun, until=free_at)

    def act(self, line: dict[str, Any]) -> None:
        kind, begin, end = line["act"], self.number_of(line["begin"]), self.number_of(line["end"])
        if kind not in KINDS:
            raise self.fail(f"expected an act of {', '.join(KINDS)}, got {kind!r:.40}")
        if end < begin:
            raise self.fail(f"expected an act that ends after it begins, got {begin:g} to {end:g} s")
        self.acts.append(Act(kind, begin, end, str(line["text"])))

    def event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "duplex.slice":
                self.slices.append((self.number_of(event["at"]), str(event["user"])))
            case "response.created":
                self.begun.add(event["response"]["id"])
            case "response.output_text.delta":
                at, answer, text = self.number_of(event["at"]), self.known(event["response_id"]), str(event["delta"])
                until = at + self.paced.seconds_of(text, self.aloud)
                self.pieces.append(Piece(at, until, text, answer))
            case "response.done":
                self.answers[self.known(event["response_id"])] = str(event["status"])
            case "duplex.cut":
                self.cut(self.number_of(event["at"]), self.known(event["response_id"]), str(event["unheard"]))
            case "duplex.yield":
                self.yields.append(self.number_of(event["at"]))
            case "duplex.deaf":
                self.deaf.append((self.number_of(event["at"]), str(event["text"])))

    def known(self, answer: str) -> str:
        if answer not in self.begun:
            raise self.fail(f"expected an answer that was created before, got {answer!r:.40}; lines are missing")
        return answer

    def cut(self, at: float, answer: str, unheard: str) -> None:
        self.unheard.append((at, answer, unheard))
        mine = [piece for piece in self.pieces if piece.response_id == answer and piece.at <= at]
        others = [piece for piece in self.pieces if piece.response_id != answer]
        self.pieces = others + [replace(piece, until=max(piece.at, min(piece.until, at))) for piece in mine]
