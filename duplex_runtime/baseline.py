"""The baseline: a conversation with a model that waits for its turn. Same methods as `DuplexConversation`.

Strictly half-duplex: it answers when the person presses Enter (or pauses for a set time), hears nothing while it
answers, and stops only when it has finished.
"""

from __future__ import annotations

from duplex_runtime.duplex import MAX_TYPED, Memory
from duplex_runtime.engine.requests import Output, SliceRequest
from duplex_runtime.errors import BadInput
from duplex_runtime.events import (
    Deaf,
    Delta,
    Edit,
    Enter,
    Event,
    Input,
    Pace,
    Paced,
    Reaction,
    ResponseCreated,
    ResponseDone,
    Slice,
    UserText,
)
from duplex_runtime.layout import Layout, Spoken, Vocabulary
from duplex_runtime.slices import Slicing, clean

#: Most tokens of an answer.
MAX_ANSWER = 200


class TurnConversation:
    """See the module. `pause_seconds`: None to wait for Enter; else so much silence also ends a turn.

    The answer is shown at the pace of `slicing`, in chunks as long as the other system's slices.
    """

    system = "turns"

    def __init__(
        self,
        layout: Layout,
        vocabulary: Vocabulary,
        slicing: Slicing | None = None,
        memory: Memory | None = None,
        *,
        pause_seconds: float | None = None,
    ) -> None:
        self.layout, self.vocabulary = layout, vocabulary
        self.slicing, self.memory, self.pause_seconds = slicing or Slicing(), memory or Memory(), pause_seconds
        self._unhurried = self.slicing
        self.stream: list[int] = [layout.bos]
        self._turns: list[int] = []  # where each turn starts in the stream
        self._noted: list[bool] = []  # did the model mark it to be kept?
        self._cached = 0
        self._typed = ""
        self._opened_at = 0.0
        self._last_key_at = 0.0
        self._enter = False
        self._answering = False  # from Enter to the last token shown
        self._in_engine = False
        self._spoken = Spoken(vocabulary)
        self._shown = 0  # tokens of the answer
        self._free_at = 0.0
        self._asked = ""
        self._index = 0
        self._responses = 0
        self._events: list[Event] = []

    def hear(self, event: Input, at: float) -> None:
        """Take in what the person did; lost while it answers."""
        if isinstance(event, Pace):
            self.slicing = self._unhurried.paced(event.level)
            self._events.append(Paced(self.system, at, event.level))
            return
        if self._answering:
            if at < self._free_at or self._in_engine:
                if isinstance(event, UserText) and (text := clean(event.text)):
                    self._events.append(Deaf(self.system, at, text))
                return
            self._finish(self._free_at)
        match event:
            case UserText(text):
                if len(self._typed) + len(text) > MAX_TYPED:
                    raise BadInput(f"expected at most {MAX_TYPED} characters of unanswered text, got {len(text)} more")
                if not self._typed:
                    self._opened_at = at
                self._typed += clean(text)
            case Edit(delete):
                self._typed = self._typed[: max(0, len(self._typed) - delete)]
            case Enter():
                self._enter = bool(self._typed.strip())
        self._last_key_at = at

    @property
    def interrupted(self) -> bool:
        """Never: it is deaf while it speaks."""
        return False

    @property
    def quiet(self) -> bool:
        """Only the person can go on."""
        return not (self._answering or self._enter or (self._typed.strip() and self.pause_seconds is not None))

    def next_due(self) -> float | None:
        """When `due` will next have something to do; None until the person does something."""
        if self._in_engine:
            return None
        if self._answering:
            return self._free_at
        if self._enter:
            return self._last_key_at
        if self.pause_seconds is not None and self._typed.strip():
            return self._last_key_at + self.pause_seconds
        return None

    def due(self, now: float) -> SliceRequest | None:
        """The whole message for the engine, once the turn is the model's."""
        due_at = self.next_due()
        if due_at is None or now < due_at - 1e-9:
            return None
        if self._answering:
            self._finish(self._free_at)
            return None
        self._asked, self._typed, self._enter = self._typed.strip(), "", False
        self._closed_at = now
        room = self.memory.limit - MAX_ANSWER
        ids = self.layout.user(self.vocabulary, self._asked, room - 2 * len(self.layout.user_marker) - 8)
        while self._turns and len(self.stream) + len(ids) > room:
            self._forget()
        self._turns.append(len(self.stream))
        self._noted.append(False)
        self.stream += ids
        self._answering = self._in_engine = True
        self._shown = 0
        start = self._cached = min(self._cached, len(self.stream) - 1)
        return SliceRequest(start, tuple(self.stream[start:]), MAX_ANSWER, gate=False)

    def _forget(self) -> None:
        """The oldest turn, of those that the model did not mark to be kept unless they alone fill its memory."""
        noted = sum(self._noted) * (self.memory.limit // 8) < self.memory.limit // 2
        oldest = self._noted.index(False) if noted and False in self._noted else 0
        start, after = self._turns[oldest], (*self._turns, len(self.stream))[oldest + 1]
        del self.stream[start:after], self._turns[oldest], self._noted[oldest]
        self._turns[oldest:] = [t - (after - start) for t in self._turns[oldest:]]
        self._cached = min(self._cached, start)

    def apply(self, output: Output, at: float) -> None:
        """Take in one output of the engine."""
        if output.token is not None:
            self._say(output.token, at)
        self._cached = min(output.length, len(self.stream))
        if output.done:
            self.stream.append(self.layout.eos)
            self._in_engine = False
            if not self._shown:
                self._free_at = at

    def _say(self, token: int, at: float) -> None:
        if not self._shown:
            self._responses += 1
            self._spoken = Spoken(self.vocabulary)
            self._free_at = at
            self._noted[-1] = token == self.layout.keep
        shown_at = max(at, self._free_at)
        if self._shown % self.slicing.model_tokens == 0:
            opened, user = (self._opened_at, self._asked) if not self._shown else (shown_at, "")
            closed = self._closed_at if not self._shown else shown_at
            self._events.append(Slice(self.system, self._index, opened, closed, user, False, None))
            self._index += 1
        if not self._shown:
            self._events.append(ResponseCreated(self.system, self._response_id, at))
            self._events.append(Reaction(self.system, self._last_key_at, at))
        self._shown += 1
        self._free_at = shown_at + self.slicing.token_seconds
        self.stream.append(token)
        if delta := self._spoken.push(token):
            self._events.append(Delta(self.system, self._response_id, self._index - 1, delta, shown_at))

    @property
    def _response_id(self) -> str:
        return f"{self.system}-{self._responses}"

    def _finish(self, at: float) -> None:
        self._answering = False
        if self._shown:
            self._events.append(ResponseDone(self.system, self._response_id, "completed", at))

    def take_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events
