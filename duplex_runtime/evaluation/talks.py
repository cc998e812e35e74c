"""A talk as the panel sees it: what the person did, what they saw or heard of the system, and when.

talk = talk_of(read_log(path)["duplex"])      # from any recording
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.acts import KINDS, Act, Piece, guess_acts
from duplex_runtime.events import Heard, Input, Pace, SpeechEnd, SpeechStart, UserText, Voiced
from duplex_runtime.recording import Log, input_from_json
from duplex_runtime.slices import Slicing

#: Lines written in the same moment may lie so far behind each other (seconds): rounding, and two threads.
_JITTER_SECONDS = 0.25
#: No talk lasts longer (seconds): what lies behind it is no time of a talk.
_LONGEST_SECONDS = 86_400.0
#: Recorded times are rounded to a tenth of this (seconds).
_ROUNDED_SECONDS = 0.001
#: A cut takes back half a word, which began so long before at most (seconds).
_WORD_SECONDS = 3.0


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
    Spoken answers are heard when the page reported it, and at the assumed pace until then. A recording that ends in the
    middle is a talk that ended there. Lines stand in the order of time, but for what an answer tells ahead: when its
    words and slices will be shown. An event may lie a slice and a word behind the last slice that closed.
    """
    return _Reader(log, name).read()


class _Reader:
    """Goes through the lines of a log once."""

    def __init__(self, log: Log, name: str) -> None:
        self.log, self.name, self.number = log, name, 0
        try:
            self.slicing = Slicing.parse(log.header.get("slice_seconds", "adaptive"))
        except BadInput as error:
            raise BadInput(f"{name} header: {error}") from None
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
        self.latest = 0.0  # of the lines
        self.asked = 0.0  # when the model was asked last: what is told now came of that
        self.created = 0.0  # when the last answer began
        self.told_until = 0.0  # of what events tell of the past

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
        spoken = any(isinstance(e, SpeechStart) or (isinstance(e, UserText) and e.spoken) for _, e in self.inputs)
        pieces = tuple(sorted(self.pieces, key=lambda p: p.at))
        acts = self.acts or guess_acts(self.inputs, pieces)
        baseline = self.named("baseline", "strict", ("strict", "barge-in"))
        seed = self.log.header.get("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise BadInput(f"{self.name} header: expected a seed that is a whole number, got {seed!r:.40}")
        ended = (self.latest, self.told_until, *(p.until for p in pieces), *(a.end for a in acts))
        return Talk(
            system="duplex" if self.log.header.get("system") == "duplex" else baseline,
            scenario=self.named("scenario") or self.named("session") or self.name,
            situation=self.named("situation"),
            seed=seed,
            way=self.named("way", "speech" if spoken else "keys", ("keys", "speech")),
            acts=tuple(sorted(acts, key=lambda a: a.begin)),
            pieces=pieces,
            unheard=tuple(self.unheard),
            yields=tuple(self.yields),
            slices=tuple(self.slices),
            deaf=tuple(self.deaf),
            answers=self.answers,
            ended_at=max(ended),
        )

    def named(self, key: str, default: str = "", known: Sequence[str] = ()) -> str:
        """A name in the header."""
        value = self.log.header.get(key, default)
        if not isinstance(value, str) or (known and value not in known):
            raise BadInput(f"{self.name} header: expected {key} {' or '.join(known) or 'as text'}, got {value!r:.40}")
        return value

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
            case "due":
                self.asked = max(self.asked, self.time(line["at"]))
            case "output":
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
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= _LONGEST_SECONDS:
            raise self.fail(f"expected a time in seconds, got {value!r:.40}; a talk lasts at most a day")
        return float(value)

    def told(self, value: Any) -> float:
        """Of something that an event tells: perhaps ahead, but hardly of what was before."""
        at, first = self.number_of(value), self.asked - self.paced.period_seconds - _WORD_SECONDS
        if at < first:
            raise self.fail(f"expected a time from {first:g} s on, got {at:g} s; lines are in disorder")
        return at

    def past(self, value: Any) -> float:
        """The same of what has happened."""
        at = self.told(value)
        self.told_until = max(self.told_until, at)
        return at

    def text_of(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self.fail(f"expected a text, got {value!r:.40}")
        return value

    def input(self, at: float, event: Input) -> None:
        self.inputs.append((at, event))
        if isinstance(event, Voiced):
            self.aloud = event.on
        elif isinstance(event, Pace):
            self.paced = self.slicing.paced(event.level)
        elif isinstance(event, Heard) and self.aloud:
            self.heard(event, at)
        elif isinstance(event, SpeechEnd) and self.number_of(event.ended_at) > at + _JITTER_SECONDS:
            raise self.fail(f"expected speech that ended by {at:g} s, when it was noticed, got {event.ended_at:g} s")

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
        self.acts.append(Act(kind, begin, end, self.text_of(line["text"])))

    def event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "duplex.slice":
                self.slices.append((self.told(event["at"]), self.text_of(event["user"])))
            case "response.created":
                self.begin(self.text_of(event["response"]["id"]), self.past(event["at"]))
            case "response.output_text.delta":
                self.delta(self.told(event["at"]), self.known(event["response_id"]), self.text_of(event["delta"]))
            case "response.done":
                self.answers[self.known(event["response_id"])] = self.text_of(event["status"])
                # who was late with everything noticed the end late as well
                self.told_until = max(self.told_until, self.number_of(event["at"]))
            case "duplex.cut":
                self.cut(self.past(event["at"]), self.known(event["response_id"]), self.text_of(event["unheard"]))
            case "duplex.yield":
                self.yields.append(self.past(event["at"]))
            case "duplex.deaf":
                self.deaf.append((self.past(event["at"]), self.text_of(event["text"])))

    def begin(self, answer: str, at: float) -> None:
        if at < self.created - _JITTER_SECONDS:
            raise self.fail(f"expected an answer from {self.created:g} s on, got {at:g} s; lines are in disorder")
        self.begun.add(answer)
        self.created = at

    def known(self, answer: Any) -> str:
        if answer not in self.begun:
            raise self.fail(f"expected an answer that was created before, got {answer!r:.40}; lines are missing")
        return str(answer)

    def delta(self, at: float, answer: str, text: str) -> None:
        before = next((p for p in reversed(self.pieces) if p.response_id == answer), None)
        if before and self.aloud:  # sounds come one after the other; the conversation may not know how late they are
            at = max(at, before.until)
        elif before and at < before.at - _JITTER_SECONDS:
            raise self.fail(f"expected words of {answer} from {before.at:g} s on, got {at:g} s; lines are in disorder")
        self.pieces.append(Piece(at, at + self.paced.seconds_of(text, self.aloud), text, answer))

    def cut(self, at: float, answer: str, unheard: str) -> None:
        """What was to be shown after `at` was not. `unheard` tells it of what stands at the rounded time itself, and
        of sounds, of which half a word was not heard; half a word that was shown was seen."""
        self.unheard.append((at, answer, unheard))
        mine = [piece for piece in self.pieces if piece.response_id == answer]
        kept, left = [], sum(len(piece.text) for piece in mine) - len(unheard)
        for piece in mine:
            left -= len(piece.text)
            if piece.at <= at + _ROUNDED_SECONDS if left >= 0 else not self.aloud and piece.at < at - _ROUNDED_SECONDS:
                kept.append(replace(piece, until=max(piece.at, min(piece.until, at))))
        self.pieces = [piece for piece in self.pieces if piece.response_id != answer] + kept
