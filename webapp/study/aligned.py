"""Talks with real people as training data: recordings → rows in the schema of Duplex-UltraChat, and dialogues.

    aligned = aligned_of(gathered.talks, min_overall=5)
    aligned.rows, aligned.dialogues, aligned.left_out

    pairs = pairs_of(read_log(path)["duplex"], "p-abcdefgh-1-1-1")      # what was said and heard in each slice
    row = row_of(3, pairs, {"participant": "p-abcdefgh"})
    turns = turns_of(read_log(path)["turns"], "p-abcdefgh-2-1-1")       # [("how do bees live?", "In a hive."), …]

A row is what the duplex system remembered: one pair a slice, `<idle>` for silence. Words that were typed and taken back
before anybody reacted were never said; text that was cut before it was seen or heard is gone, and a slice cut whole is
silent and teaches nothing (weight 0). Of a silence on both sides one pair stays. A recording tells when text was taken
back, not from which slice: that is followed here by the rules of `DuplexConversation`, and a recording in which the
slices do not fit what was typed is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from duplex_runtime.alignment.builder import CUT, DECISION
from duplex_runtime.alignment.weave import IDLE
from duplex_runtime.errors import BadInput
from duplex_runtime.events import Edit, Enter, UserText
from duplex_runtime.recording import Log, input_from_json, read_log
from duplex_runtime.slices import clean

if TYPE_CHECKING:
    from webapp.study.gather import Talked

KIND = "talk"
#: A row needs so many slices in which the person says something, and one in which the model does.
LEAST_SLICES = 3
#: A dialogue needs so many answered turns.
LEAST_TURNS = 2

_ROLES = ("user", "assistant")


@dataclass
class Aligned:
    """Training data from talks. left_out: how many talks are not in them, by reason."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    dialogues: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def files(self) -> dict[str, list[dict[str, Any]]]:
        """Rows by the name of their file."""
        return {"rows": self.rows, "dialogues": self.dialogues}


@dataclass
class Pair:
    """One slice: the person's words and the model's, "" for silence. `ends`: the answer ends here. `cut`: what the
    model had begun to say here was never seen or heard."""

    user: str
    raw: str = ""
    model: str = ""
    response_id: str = ""
    ends: bool = False
    cut: bool = False


def aligned_of(talks: Sequence[Talked], min_overall: int = 0) -> Aligned:
    """Training data of these talks, in their order; what is left out is counted by reason."""
    aligned = Aligned()
    for talk in talks:
        if min_overall and (talk.overall is None or talk.overall < min_overall):
            aligned.left_out[f"not rated {min_overall} or more"] += 1
            continue
        try:
            enough = _align(talk, aligned)
        except BadInput:
            aligned.left_out["recording missing, broken, or not to be followed"] += 1
        else:
            aligned.left_out["too short"] += not enough
    aligned.left_out = +aligned.left_out  # reasons that there are
    return aligned


def _align(talk: Talked, aligned: Aligned) -> bool:
    """Add the talk; is it long enough?"""
    about = {"talk": talk.name, "participant": talk.participant, "overall": talk.overall}
    logs = read_log(talk.file)
    if talk.system == "duplex" and "duplex" in logs:
        pairs, cut = pairs_of(logs["duplex"], talk.name), str(logs["duplex"].header.get("slice_seconds", "adaptive"))
        if not useful(pairs):
            return False
        aligned.rows.append(row_of(len(aligned.rows), pairs, {"slice_seconds": cut, **about}))
        return True
    if "turns" not in logs:
        raise BadInput(f"{talk.name}: expected a recording of {talk.system}, got one of {', '.join(logs)}")
    turns = turns_of(logs["turns"], talk.name)
    if len(turns) < LEAST_TURNS:
        return False
    messages = [{"role": role, "content": text} for turn in turns for role, text in zip(_ROLES, turn, strict=True)]
    aligned.dialogues.append({"messages": messages, "system": talk.system, **about})
    return True


def row_of(number: int, pairs: Sequence[Pair], about: Mapping[str, Any]) -> dict[str, Any]:
    """A row as `duplex data build` makes them; `about`: further values of it."""
    output, weights = [], []
    for pair in pairs:
        output.append({"role": "user", "content": pair.user or IDLE})
        output.append({"role": "assistant", "content": pair.model or IDLE})
        weights.append(CUT if pair.cut else DECISION)  # of silence there is only what was decided after words
    ends = [pair.ends for pair in pairs]
    return {"id": number, "kind": KIND, "output": output, "weights": weights, "ends": ends, **about}


def pairs_of(log: Log, name: str) -> list[Pair]:
    """The slices of the duplex system; raises BadInput for a recording that cannot be followed, naming `name`."""
    reader = _Slices()
    for number, line in zip(log.numbers, log.lines, strict=True):
        try:
            reader.take(line)
        except BadInput as error:
            raise BadInput(f"{name} line {number}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(f"{name} line {number}: expected a line as the recorder writes it ({error!r})") from None
    reader.apply(len(reader.done))
    return _closed_up(reader.pairs.values())


def useful(pairs: Sequence[Pair]) -> bool:
    """Is there enough of a talk in them?"""
    return sum(bool(pair.user) for pair in pairs) >= LEAST_SLICES and any(pair.model for pair in pairs)


def turns_of(log: Log, name: str) -> list[tuple[str, str]]:
    """Messages and answers of a turn-based system, as far as they were seen or heard; raises BadInput.

    A message whose answer nobody saw anything of belongs to the next one.
    """
    asked, turns = "", []
    answers: dict[str, str] = {}
    for number, line in zip(log.numbers, log.lines, strict=True):
        event = line.get("event", {}) if line["kind"] == "event" else {}
        try:
            match event.get("type"):
                case "duplex.slice" if event["user"]:
                    asked = f"{asked} {event['user']}"
                case "response.created":
                    turns.append((asked, event["response"]["id"]))
                    asked = ""
                case "response.output_text.delta":
                    answers[event["response_id"]] = answers.get(event["response_id"], "") + event["delta"]
                case "duplex.cut":
                    text, unheard = answers.get(event["response_id"], ""), event["unheard"]
                    answers[event["response_id"]] = text[: len(text) - len(unheard)]
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{name} line {number}: expected an event as the recorder writes it ({error!r})") from None
    told, before = [], ""
    for asked, answer in turns:
        message = _plain(f"{before} {asked}")
        before = ""
        if text := _plain(answers.get(answer, "")):
            told.append((message, text))
        else:
            before = message
    return [(message, text) for message, text in told if message]


def _plain(text: str) -> str:
    """With single spaces; raises BadInput for text that a row cannot hold."""
    if IDLE in text:
        raise BadInput(f"expected plain words, got the marker {IDLE}")
    return " ".join(text.split())


def _closed_up(pairs: Iterable[Pair]) -> list[Pair]:
    """Only the first pair of a silence on both sides; none at the beginning."""
    kept: list[Pair] = []
    for pair in pairs:
        pair.user, pair.model = _plain(pair.user), _plain(pair.model)
        silent = not pair.user and not pair.model and not pair.cut
        if not silent or (kept and (kept[-1].user or kept[-1].model)):
            kept.append(pair)
    return kept


@dataclass
class _Slices:
    """Follows a recording line by line. `typed`: what is in no slice yet; `editable`: how much of what was typed may
    be taken back; `open`: slices that the model has not reacted to, which may still be taken back."""

    pairs: dict[int, Pair] = field(default_factory=dict)
    done: list[UserText | Edit | Enter] = field(default_factory=list)
    applied: int = 0
    asked: int = 0  # how much of `done` there was when the model was last asked
    typed: str = ""
    editable: int = 0
    entered: bool = False
    open: list[int] = field(default_factory=list)

    def take(self, line: dict[str, Any]) -> None:
        match line["kind"]:
            case "input":
                event = input_from_json(line)
                if isinstance(event, UserText | Edit | Enter):
                    self.done.append(event)
            case "due":
                self.asked = len(self.done)
            case "event":
                self.event(line["event"])

    def event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "duplex.slice":
                self.close(event["index"], event["user"], event["idle"])
            case "response.output_text.delta":
                pair = self.pairs[event["slice"]]
                pair.model += event["delta"]
                pair.response_id = event["response_id"]
            case "duplex.cut":
                self.cut(event["response_id"], event["slice"], event["unheard"])
            case "duplex.yield":
                self.seal()
            case "response.done" if event["status"] == "completed":
                said = [p for p in self.pairs.values() if p.response_id == event["response_id"] and p.model]
                for pair in said[-1:]:
                    pair.ends = True

    def close(self, index: int, user: str, idle: bool) -> None:
        """A slice closed, with what was typed before the model was asked."""
        self.apply(self.asked)
        begin = len(self.typed) - len(self.typed.lstrip())
        if not self.typed.startswith(user, begin):
            raise BadInput(f"expected a slice with what was typed ({self.typed[:40]!r}), got {user[:40]!r}")
        end = begin + len(user) if user else 0
        while user and self.typed[end : end + 1].isspace():
            end += 1
        self.pairs[index] = Pair(user, raw=self.typed[:end])
        self.typed = self.typed[end:]
        if user and idle:
            self.open.append(index)
        if not idle or self.entered:
            self.seal()
        self.entered = False

    def seal(self) -> None:
        """The model has reacted, or was asked to by Enter: what is in slices stays."""
        self.open.clear()
        self.editable = min(self.editable, len(self.typed))

    def apply(self, count: int) -> None:
        """What the person did, up to that."""
        while self.applied < count:
            event = self.done[self.applied]
            self.applied += 1
            match event:
                case UserText(text, spoken):
                    self.typed += clean(text)
                    self.editable = 0 if spoken else self.editable + len(clean(text))
                case Edit(delete):
                    self.take_back(min(delete, self.editable))
                case Enter():
                    self.entered = bool(self.typed.strip() or self.open)

    def take_back(self, count: int) -> None:
        self.editable -= count
        while count > len(self.typed) and self.open:
            self.typed = self.pairs.pop(self.open.pop()).raw + self.typed
        self.typed = self.typed[: max(0, len(self.typed) - count)]

    def cut(self, response_id: str, index: int, unheard: str) -> None:
        """What of an answer was not seen or heard: the end of one slice, and all slices behind it."""
        behind = [n for n, pair in self.pairs.items() if n > index and pair.response_id == response_id]
        left = len(unheard) - sum(len(self.pairs[n].model) for n in behind)
        pair = self.pairs[index]
        if not 0 <= left <= len(pair.model):
            raise BadInput(f"expected a cut of at most {len(pair.model)} characters in slice {index}, got {left}")
        for n in behind:
            del self.pairs[n]
        pair.model = pair.model[: len(pair.model) - left]
        pair.cut = not pair.model.strip()
