"""The baseline: a conversation with a model that waits for its turn. Same methods as `DuplexConversation`.

It answers when the person presses Enter, or is silent for a set time. Strict: it hears nothing while it answers, and
stops only when it has finished. With barge-in it is the assistant of today: a short silence ends a turn, and it stops
at once when the person types or makes a sound, whatever it is.
"""

from __future__ import annotations

from duplex_runtime.duplex import MAX_TYPED, Memory
from duplex_runtime.engine.requests import Output, SliceRequest
from duplex_runtime.errors import BadInput
from duplex_runtime.events import (
    Cancel,
    Cut,
    Deaf,
    Delta,
    Edit,
    Enter,
    Event,
    Heard,
    Input,
    Pace,
    Paced,
    Reaction,
    ResponseCreated,
    ResponseDone,
    Slice,
    SpeechEnd,
    SpeechStart,
    UserText,
    Voiced,
    Yield,
)
from duplex_runtime.layout import Layout, Spoken, Vocabulary
from duplex_runtime.saying import Saying, follow_playback
from duplex_runtime.slices import Slicing, clean, ends_sentence

#: Most tokens of an answer.
MAX_ANSWER = 200
#: Seconds of silence that end a turn that was spoken aloud: nobody presses Enter then.
SPOKEN_TURN_SECONDS = 0.8
#: With barge-in, seconds of silence that end a turn that was typed: behind an end mark, and behind other words.
SENTENCE_TURN_SECONDS, TYPED_TURN_SECONDS = 0.5, 2.0


class TurnConversation:
    """See the module. `pause_seconds`: None to wait for Enter; else so much silence also ends a turn.
    `barge_in`: it stops when the person begins, and waits for no Enter.

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
        barge_in: bool = False,
    ) -> None:
        self.layout, self.vocabulary = layout, vocabulary
        self.slicing, self.memory, self.pause_seconds = slicing or Slicing(), memory or Memory(), pause_seconds
        self.barge_in = barge_in
        self._unhurried = self.slicing
        self.stream: list[int] = [layout.bos]
        self._turns: list[int] = []  # where each turn starts in the stream
        self._noted: list[bool] = []  # did the model mark it to be kept?
        self._cached = 0
        self._typed = ""
        self._opened_at = 0.0
        self._last_key_at = 0.0
        self._enter = False
        self._talking = False  # the person is speaking aloud
        self._aloud = False  # what is to be answered was spoken
        self._editable = 0  # characters typed that may still be taken back
        self._voiced = False  # answers are spoken aloud
        self._saying = Saying("", 0)
        self._broken_off_at: float | None = None  # the person broke in while the engine was at work
        self._answering = False  # from Enter to the last token shown
        self._in_engine = False
        self._spoken = Spoken(vocabulary)
        self._free_at = 0.0
        self._asked = ""
        self._message = ""  # what it answers: that, behind what it was asked before and never began to answer
        self._unanswered = ""
        self._index = 0
        self._responses = 0
        self._events: list[Event] = []

    def hear(self, event: Input, at: float) -> None:
        """Take in what the person did; lost while it answers."""
        if isinstance(event, Pace):
            self.slicing = self._unhurried.paced(event.level)
            self._events.append(Paced(self.system, at, event.level))
            return
        if isinstance(event, Voiced):
            self._voiced = event.on
            return
        if isinstance(event, Cancel):
            self._cancel(event, at)
            return
        if isinstance(event, Heard):
            if self._answering and self._voiced and event.response_id == self._saying.response_id:
                pace = self.slicing.voice_character_seconds
                self._free_at = follow_playback([self._saying], event.characters, at, pace)
            return
        talked = self._talking
        if isinstance(event, SpeechStart | SpeechEnd):
            self._talking = isinstance(event, SpeechStart)
        if self._answering:
            if at >= self._free_at and not self._in_engine:
                self._finish(self._free_at)
            elif not self._breaks_in(event, at):
                if isinstance(event, UserText) and (text := clean(event.text)):
                    self._events.append(Deaf(self.system, at, text))
                return
        match event:
            case UserText(text, spoken):
                if len(self._typed) + len(text) > MAX_TYPED:
                    raise BadInput(f"expected at most {MAX_TYPED} characters of unanswered text, got {len(text)} more")
                if not self._typed:
                    self._opened_at = at
                self._typed += clean(text)
                self._aloud |= spoken
                self._talking &= spoken  # who types waits for no end of speech
                self._editable = 0 if spoken else self._editable + len(clean(text))
            case Edit(delete):
                delete = min(delete, self._editable)
                self._editable -= delete
                self._typed = self._typed[: max(0, len(self._typed) - delete)]
            case Enter():
                self._enter = bool(self._typed.strip())
            case SpeechEnd(ended_at):
                at = min(at, ended_at) if talked else self._last_key_at
        self._last_key_at = at

    def _breaks_in(self, event: Input, at: float) -> bool:
        """Does this end the answer? Then the rest of it was never said."""
        begins = isinstance(event, SpeechStart) or (isinstance(event, UserText) and bool(event.text.strip()))
        if not (self.barge_in and begins) and self._broken_off_at is None:
            return False
        self._stop(at)
        return True

    def _cancel(self, event: Cancel, at: float) -> None:
        over = at >= self._free_at and not self._in_engine
        if self._answering and not over and event.response_id in (None, self._saying.response_id):
            self._stop(at)

    def _stop(self, at: float) -> None:
        if not self._in_engine:
            self._break_off(at)
        elif self._broken_off_at is None:
            self._broken_off_at = at

    def _break_off(self, at: float) -> None:
        """What was not seen or heard by `at` is cut."""
        self._answering, self._broken_off_at = False, None
        saying = self._saying
        heard = saying.whole_words(at)
        unheard = len(saying.tokens) - heard
        if not heard:  # a turn that never began: what was asked goes on with what comes now
            del self.stream[self._turns.pop() :], self._noted[-1]
            self._cached = min(self._cached, len(self.stream))
            self._unanswered = self._message
        elif unheard:
            del self.stream[len(self.stream) - 1 - unheard :]
            self._cached = min(self._cached, len(self.stream))
            self.stream.append(self.layout.eos)
        if unheard:
            self._events.append(Cut(self.system, saying.response_id, saying.slice, at, saying.cut(heard)))
        self._free_at = at
        self._events.append(Yield(self.system, at))
        if saying.response_id == self._response_id:
            self._events.append(ResponseDone(self.system, saying.response_id, "cancelled", at))

    @property
    def interrupted(self) -> bool:
        """The answer was broken off while the engine makes words."""
        return self._broken_off_at is not None

    @property
    def quiet(self) -> bool:
        """Only the person can go on."""
        return not (self._answering or self._enter or (self._typed.strip() and self._silence is not None))

    @property
    def _silence(self) -> float | None:
        """Seconds that end a turn."""
        if self.pause_seconds is not None:
            return self.pause_seconds
        if self._aloud:
            return SPOKEN_TURN_SECONDS
        if self.barge_in:
            return SENTENCE_TURN_SECONDS if ends_sentence(self._typed) else TYPED_TURN_SECONDS
        return None

    def next_due(self) -> float | None:
        """When `due` will next have something to do; None until the person does something."""
        if self._in_engine:
            return None
        if self._answering:
            return self._free_at
        if self._enter:
            return self._last_key_at
        if self._silence is not None and self._typed.strip() and not self._talking:
            return self._last_key_at + self._silence
        return None

    def due(self, now: float) -> SliceRequest | None:
        """The whole message for the engine, once the turn is the model's."""
        due_at = self.next_due()
        if due_at is None or now < due_at - 1e-9:
            return None
        if self._answering:
            self._finish(self._free_at)
            return None
        self._asked, self._typed, self._enter, self._aloud = self._typed.strip(), "", False, False
        self._editable = 0
        self._closed_at = now
        self._message, self._unanswered = f"{self._unanswered} {self._asked}".strip()[-MAX_TYPED:], ""
        room = self.memory.limit - MAX_ANSWER
        ids = self.layout.user(self.vocabulary, self._message, room - 2 * len(self.layout.user_marker) - 8)
        while self._turns and len(self.stream) + len(ids) > room:
            self._forget()
        self._turns.append(len(self.stream))
        self._noted.append(False)
        self.stream += ids
        self._answering = self._in_engine = True
        self._saying = Saying("", self._index)
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
            if not self._saying.tokens:
                self._free_at = at
            if self._broken_off_at is not None:
                self._break_off(self._broken_off_at)

    def _say(self, token: int, at: float) -> None:
        said = len(self._saying.tokens)
        if not said:
            self._responses += 1
            self._saying.response_id = self._response_id
            self._spoken = Spoken(self.vocabulary)
            self._free_at = at + (self.slicing.voice_delay_seconds if self._voiced else 0.0)
            self._noted[-1] = token == self.layout.keep
        shown_at = max(at, self._free_at)
        if said % self.slicing.model_tokens == 0:
            opened, user = (self._opened_at, self._asked) if not said else (shown_at, "")
            closed = self._closed_at if not said else shown_at
            self._events.append(Slice(self.system, self._index, opened, closed, user, False, None))
            self._index += 1
        if not said:
            self._events.append(ResponseCreated(self.system, self._response_id, at))
            self._events.append(Reaction(self.system, self._last_key_at, at))
        self.stream.append(token)
        delta = self._spoken.push(token)
        self._free_at = shown_at + self.slicing.seconds_of(delta, self._voiced)
        self._saying.add(token, delta, shown_at)
        if delta:
            self._events.append(Delta(self.system, self._response_id, self._index - 1, delta, shown_at))

    @property
    def _response_id(self) -> str:
        return f"{self.system}-{self._responses}"

    def _finish(self, at: float) -> None:
        self._answering = False
        if self._saying.tokens:
            self._events.append(ResponseDone(self.system, self._response_id, "completed", at))

    def take_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events
