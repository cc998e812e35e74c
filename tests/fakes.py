"""An engine with scripted replies, vocabularies that read like text, and talks on a simulated clock.

talk = play([(0.0, UserText("hello.")), (3.0, UserText("stop."))], answering({"hello": "hi you"}))
talk.said, talk.stream_text, talk.of(Slice)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from duplex_runtime.baseline import TurnConversation
from duplex_runtime.clock import SimulatedClock
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.engine.requests import Output, Sampling, SliceRequest
from duplex_runtime.errors import DuplexError
from duplex_runtime.events import Delta, Event, Input, UserText
from duplex_runtime.layout import EMBEDDED, Layout, Vocabulary
from duplex_runtime.loop import Loop, Session, run_script

#: From the whole token stream, which ends where the model decides, to what it wants to say; nothing is silence.
Reply = Callable[[list[int]], Sequence[int]]
E = TypeVar("E", bound=Event)


class Words:
    """One token for each word, numbered as they come."""

    def __init__(self, first: int = 100) -> None:
        self._first = first
        self._words: list[str] = []
        self._ids: dict[str, int] = {}

    def __len__(self) -> int:
        return self._first + 100_000

    def encode(self, text: str) -> list[int]:
        for word in text.split():
            if word not in self._ids:
                self._ids[word] = self._first + len(self._words)
                self._words.append(word)
        return [self._ids[word] for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self._words[i - self._first] for i in ids if i >= self._first)


class Bytes:
    """One token for each byte of UTF-8: characters may be cut in the middle."""

    def encode(self, text: str) -> list[int]:
        return [10 + b for b in text.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i - 10 for i in ids).decode(errors="replace")


def pairs_of(stream: Sequence[int], vocabulary: Vocabulary, layout: Layout = EMBEDDED) -> list[tuple[str, str | None]]:
    """The stream as (person, model) texts, "" for silence; the model's is None where it decides.

    Raises AssertionError where the stream is not BOS and whole pairs: it checks the layout as well.
    """
    ids = list(stream)
    assert ids[:1] == [layout.bos], "a stream starts with BOS"
    user_marker, model_marker = list(layout.user_marker), list(layout.model_marker)
    special = {layout.bos, layout.eos, layout.idle, *user_marker, *model_marker}
    pairs: list[tuple[str, str | None]] = []

    def text(part: list[int]) -> str:
        assert part, "one side of a pair is empty"
        if part == [layout.idle]:
            return ""
        assert not special & set(part), f"special ids in the words {part}"
        return vocabulary.decode(part)

    def find(marker: list[int], start: int) -> int:
        while marker[0] in ids[start:]:
            start = ids.index(marker[0], start)
            if ids[start : start + len(marker)] == marker:
                return start
            start += 1
        raise AssertionError(f"{marker} is missing in {ids}")

    at = 1
    while at < len(ids):
        assert ids[at : at + len(user_marker)] == user_marker, f"no pair starts at {at} of {ids}"
        middle = find(model_marker, at)
        person = text(ids[at + len(user_marker) : middle])
        at = middle + len(model_marker)
        if at == len(ids):
            return [*pairs, (person, None)]
        end = find([layout.eos], at)
        pairs.append((person, text(ids[at:end])))
        at = end + 1
    return pairs


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9 '-]", " ", text.lower()).split())


def answering(
    answers: dict[str, str],
    vocabulary: Words,
    layout: Layout = EMBEDDED,
    backchannels: Sequence[str] = ("mm-hm", "yeah"),
) -> Reply:
    """A model that answers when the words so far end in a known question, goes on until it has said all, ignores
    backchannels, and is silenced by any other words."""

    def reply(stream: list[int]) -> Sequence[int]:
        heard = ""
        answer: list[str] = []
        for person, model in pairs_of(stream, vocabulary, layout):
            if person and not (answer and plain(person) in backchannels):
                answer, heard = [], plain(f"{heard} {person}")
            if not answer and heard:
                found = [a for q, a in answers.items() if heard.endswith(q)]
                answer = found[0].split() if found else []
            if model is None:
                return vocabulary.encode(" ".join(answer))
            if model:
                answer, heard = answer[len(model.split()) :], ""
        raise AssertionError("asked where there is nothing to decide")

    return reply


def silent(stream: list[int]) -> Sequence[int]:
    """A model that never says anything."""
    return ()


def endless(vocabulary: Words) -> Reply:
    """A model that always has more to say: numbers, on from the last one in its stream."""

    def reply(stream: list[int]) -> Sequence[int]:
        ends = [i for i, token in enumerate(stream) if token == EMBEDDED.eos]
        said = [stream[i - 1] for i in ends if stream[i - 1] != EMBEDDED.idle]
        last = int(vocabulary.decode(said[-1:]) or 0)
        return vocabulary.encode(" ".join(str(n) for n in range(last + 1, last + 101)))

    return reply


@dataclass
class _Slot:
    cached: list[int] = field(default_factory=list)
    request: SliceRequest | None = None
    words: list[int] | None = None  # still to be said for this request
    stopped: bool = False


class FakeEngine:
    """The `Engine` protocol: keeps what it was given and asks `reply` what to say.

    p(idle) is 0.9 where the reply is silence, 0.1 where it is not. `forced`: what it says where it may not be silent.
    """

    def __init__(self, reply: Reply = silent, slots: int = 64, forced: int = 100) -> None:
        self.reply, self.slots, self.forced = reply, slots, forced
        self.requests: list[SliceRequest] = []
        self.steps = 0
        self._rows: dict[int, _Slot] = {}
        self._next = 0

    @property
    def busy(self) -> bool:
        return any(row.request or row.stopped for row in self._rows.values())

    def open(self, sampling: Sampling) -> int:
        if len(self._rows) >= self.slots:
            raise DuplexError("full", f"all {self.slots} places are taken")
        slot, self._next = self._next, self._next + 1
        self._rows[slot] = _Slot()
        return slot

    def close(self, slot: int) -> None:
        self._rows.pop(slot, None)

    def shutdown(self) -> None: ...

    def cached(self, slot: int) -> list[int]:
        return self._rows[slot].cached

    def submit(self, slot: int, request: SliceRequest) -> None:
        row = self._rows[slot]
        if row.request:
            raise ValueError(f"slot {slot} has an unfinished request")
        if not request.ids or not 0 <= request.truncate_to <= len(row.cached):
            raise ValueError(f"{request} does not fit {len(row.cached)} cached tokens")
        if not all(0 <= p < len(request.ids) for p in request.probes):
            raise ValueError(f"probes outside the ids: {request.probes}")
        del row.cached[request.truncate_to :]
        row.request, row.words = request, None
        self.requests.append(request)

    def stop(self, slot: int) -> None:
        row = self._rows[slot]
        if row.request and row.words is not None:
            row.request, row.stopped = None, True

    def step(self) -> Sequence[Output]:
        self.steps += 1
        stopped = [Output(s, None, True, len(r.cached), stopped=True) for s, r in self._rows.items() if r.stopped]
        for row in self._rows.values():
            row.stopped = False
        return stopped + [self._advance(s, row, row.request) for s, row in self._rows.items() if row.request]

    def _advance(self, slot: int, row: _Slot, request: SliceRequest) -> Output:
        p_idle: tuple[float, ...] = ()
        if row.words is None:
            start = len(row.cached)
            row.cached += request.ids
            decides = request.probes or request.max_new_tokens
            reply = self.reply(list(row.cached)) if decides else ()
            ends = [start + p + 1 for p in request.probes]
            replies = [reply if e == len(row.cached) else self.reply(row.cached[:e]) for e in ends]
            p_idle = tuple(0.1 if r else 0.9 for r in replies)
            row.words = list(reply)[: request.max_new_tokens + 1]
            if request.max_new_tokens == 0 or (request.gate and not row.words):
                row.request = None
                return Output(slot, None, True, len(row.cached), p_idle=p_idle)
            row.words = row.words or [self.forced]
            left = request.max_new_tokens
        else:
            row.cached.append(row.words.pop(0))
            left = request.max_new_tokens - self._said(row, request)
            if not row.words:
                row.request = None
                return Output(slot, None, True, len(row.cached), finished=True)
        if left == 1:
            row.request = None
        return Output(slot, row.words[0], row.request is None, len(row.cached), p_idle=p_idle)

    @staticmethod
    def _said(row: _Slot, request: SliceRequest) -> int:
        return len(row.cached) - request.truncate_to - len(request.ids)


@dataclass
class Talk:
    """A conversation on a simulated clock over an engine, and what came of it (it is the loop's observer)."""

    conversation: Any
    engine: Any
    clock: SimulatedClock
    loop: Loop
    session: Session = field(init=False)
    events: list[Event] = field(default_factory=list)
    requests: list[tuple[float, SliceRequest]] = field(default_factory=list)
    streams: list[list[int]] = field(default_factory=list)  # after every answered request

    def __post_init__(self) -> None:
        self.session = self.loop.add(self.conversation, self.clock, Sampling(), [self])

    def heard(self, event: Input, at: float) -> None: ...

    def asked(self, now: float, request: SliceRequest | None) -> None:
        if request:
            self.requests.append((now, request))

    def answered(self, output: Output, at: float) -> None:
        if output.done:
            self.streams.append(list(self.conversation.stream))

    def happened(self, events: Sequence[Event]) -> None:
        self.events += events

    def play(self, script: Sequence[tuple[float, Input]], patience: float = 60.0) -> Talk:
        run_script(self.loop, self.session, script, self.clock, patience)
        return self

    def until(self, at: float) -> Talk:
        """Let time pass, with nothing from the person."""
        while (due := self.conversation.next_due()) is not None and due <= at:
            self.clock.move_to(due)
            self.loop.turn()
            while self.engine.busy:
                self.loop.turn()
        self.clock.move_to(at)
        return self

    def hear(self, event: Input) -> Talk:
        self.loop.hear(self.session, event, self.clock.now())
        return self

    def of(self, kind: type[E]) -> list[E]:
        return [e for e in self.events if isinstance(e, kind)]

    @property
    def shown(self) -> str:
        """All text of the model's answers, also what was cut later."""
        return "".join(e.delta for e in self.of(Delta))

    @property
    def pairs(self) -> list[tuple[str, str | None]]:
        c = self.conversation
        return pairs_of(c.stream, c.vocabulary, c.layout)


def duplex_talk(reply: Reply, vocabulary: Vocabulary, layout: Layout = EMBEDDED, **options: Any) -> Talk:
    """A duplex conversation that has not begun; `options` are those of `DuplexConversation`."""
    engine = FakeEngine(reply)
    conversation = DuplexConversation(layout, vocabulary, **options)
    return Talk(conversation, engine, SimulatedClock(), Loop(engine))


def turns_talk(reply: Reply, vocabulary: Vocabulary, layout: Layout = EMBEDDED, **options: Any) -> Talk:
    """A turn-based conversation that has not begun; `options` are those of `TurnConversation`."""
    engine = FakeEngine(reply)
    conversation = TurnConversation(layout, vocabulary, **options)
    return Talk(conversation, engine, SimulatedClock(), Loop(engine))


def keys(text: str, at: float = 0.0, seconds: float = 0.05) -> list[tuple[float, Input]]:
    """`text` typed one character after another."""
    return [(at + i * seconds, UserText(c)) for i, c in enumerate(text)]
