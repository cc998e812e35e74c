"""A conversation with a model that listens while it speaks: a state machine over time slices.

It does no input or output, reads no clock and holds no model:

    conversation.hear(UserText("hello "), at=0.0)
    request = conversation.due(now=0.3)            # None, or what the engine shall append
    conversation.apply(output, at=0.31)            # each Output of the engine
    conversation.take_events()                     # what happened, for page, recording and tests
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from duplex_runtime.engine.requests import Output, SliceRequest
from duplex_runtime.errors import BadInput
from duplex_runtime.events import (
    Cancel,
    Cut,
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
    Sealed,
    Slice,
    SpeechEnd,
    SpeechStart,
    UserText,
    Voiced,
    Yield,
)
from duplex_runtime.layout import Layout, Spoken, Vocabulary
from duplex_runtime.saying import Saying, follow_playback
from duplex_runtime.slices import Slicing, clean, delimited, ends_sentence, in_slices, whole_words

#: Unsealed characters that a conversation holds at most; more is refused.
MAX_TYPED = 20_000


@dataclass(frozen=True)
class Memory:
    """How much a model remembers: the stream is begun anew from its newest `keep` tokens before it would pass
    `limit`, and in a silent moment once it is half way there. A small model is right only within the length it was
    trained at. (Encoded again rather than rotated in the cache: as right, and exact; see evaluation/memory.py.)
    What the model marked with `Layout.keep` stays at the beginning, the newest of it up to `notes` tokens."""

    limit: int = 500
    keep: int = 200
    notes: int = 120


@dataclass
class Unit:
    """One slice: where it starts in the stream and where the model decides, the characters it took from the
    person, its number and times, and whether the model has reacted to it (then it is `sealed`)."""

    start: int
    decide: int
    raw: str
    index: int
    opened_at: float
    closed_at: float
    sealed: bool


@dataclass
class Reply:
    """An answer that the model may have marked to be kept: the number of the slice in which the person began, what
    was said, and the answer's tokens."""

    index: int
    user: str
    tokens: list[int] = field(default_factory=list)


class DuplexConversation:
    """See the module. `slicing` cuts time, `memory` bounds the stream.

    `wait_for_end_mark`: words without an end mark get no answer in their own slice; one silent slice decides.
    The embedded model is trained so; the released MiniCPM-duplex is not.
    `wakes`: after a long silence (`Slicing.wake_seconds`) it is asked once whether it wants to speak: two silent
    slices, of which the second decides. Also a matter of training.
    """

    system = "duplex"

    def __init__(
        self,
        layout: Layout,
        vocabulary: Vocabulary,
        slicing: Slicing | None = None,
        memory: Memory | None = None,
        *,
        wait_for_end_mark: bool = True,
        wakes: bool = False,
    ) -> None:
        self.layout, self.vocabulary = layout, vocabulary
        self.slicing, self.memory = slicing or Slicing(), memory or Memory()
        self._unhurried = self.slicing
        self.wait_for_end_mark, self.wakes = wait_for_end_mark, wakes
        self.stream: list[int] = [layout.bos]  # everything the model shall remember
        self.units: list[Unit] = []
        self._cached = 0  # how much of the stream the engine has
        self._typed = ""  # characters in no slice yet
        self._last_key_at = 0.0
        self._opened_at = 0.0
        self._unsealed = 0  # characters in slices that the model has not reacted to
        self._editable = 0  # characters typed that may still be taken back
        self._enter = False
        self._boundary = self.slicing.period_seconds  # of a fixed slice
        self._awake = False  # is there something to decide even if nobody speaks?
        self._held_back = False  # it was silent, for it was not sure; to be asked once more
        self._asleep = False  # in a silence that it has not been woken from
        self._notes: list[Reply] = []  # what it keeps in mind
        self._reply: Reply | None = None  # may become one of them
        self._speech: Saying | None = None  # not None: the model has the floor
        self._earlier: list[Saying] = []  # slices before it of which not everything was heard yet
        self._talking = False  # the person is speaking aloud
        self._aloud = False  # what they said last was spoken
        self._voiced = False  # answers are spoken aloud
        self._spoken = Spoken(vocabulary)
        self._free_at = 0.0  # when the model may show its next token
        self._deciding: list[Unit] = []  # slices of the request in the engine
        self._in_engine = False
        self._waiting: list[tuple[Input, float]] = []
        self._p_idle: float | None = None
        self._index = 0
        self._responses = 0
        self._events: list[Event] = []

    # — what the world did —

    def hear(self, event: Input, at: float) -> None:
        """Take in what the person did; raises BadInput if it is more than a conversation holds."""
        if isinstance(event, UserText) and self._held() + len(event.text) > MAX_TYPED:
            raise BadInput(f"expected at most {MAX_TYPED} characters of unanswered text, got {len(event.text)} more")
        if isinstance(event, Heard):
            self._played(event, at)
            return
        if isinstance(event, Cancel) and not self._says(event.response_id):
            return
        if self._in_engine:  # the stream must not change under the engine
            self._waiting.append((event, at))
            return
        if isinstance(event, Pace):
            self.slicing = self._unhurried.paced(event.level)
            self._events.append(Paced(self.system, at, event.level))
            return
        if isinstance(event, Voiced):
            self._voiced = event.on
            return
        if isinstance(event, Cancel):
            self._cancel(at)
            return
        match event:
            case UserText(text, spoken):
                self._talking &= spoken  # who types waits for no end of speech
                self._aloud = spoken
                text = clean(text)
                if self.slicing.adaptive and text.strip() and not self._typed.strip():
                    self._opened_at = max(at, self._opened_at)
                if spoken:  # what was typed before it stays
                    self._tell_sealed(0)
                self._typed += text
                self._editable += 0 if spoken else len(text)
            case Edit(delete):
                self._delete(delete)
            case Enter():
                self._enter = bool(self._typed.strip()) or self._unanswered()
                self._talking = False
            case SpeechStart():
                self._talking = True
            case SpeechEnd(ended_at):
                at = min(at, ended_at) if self._talking else self._last_key_at
                self._talking = False
        self._last_key_at = at
        self._held_back = False
        self._asleep = self.wakes

    def _played(self, event: Heard, at: float) -> None:
        # the sound is late or early: what is still to be heard moves with it
        if self._voiced and self._speech and self._speech.response_id == event.response_id:
            sayings = (*self._earlier, self._speech)
            self._free_at = follow_playback(sayings, event.characters, at, self.slicing.voice_character_seconds)

    def _says(self, response_id: str | None) -> bool:
        """Is this the answer in progress?"""
        return self._speech is not None and response_id in (None, self._speech.response_id)

    def _cancel(self, at: float) -> None:
        self._finish_speech(at)
        if self._speech:
            self._cut_unseen(at)
            self._events.append(Yield(self.system, at))
            self._done("cancelled", at)
            self._awake = False

    def _held(self) -> int:
        """Characters in no slice yet."""
        return len(self._typed) + sum(len(e.text) for e, _ in self._waiting if isinstance(e, UserText))

    def _delete(self, count: int) -> None:
        count = min(count, self._editable)
        self._editable -= count
        # what was typed and taken back was never said: rewind past slices that the model only listened to
        while count > len(self._typed) and self.units and not self.units[-1].sealed:
            unit = self.units.pop()
            self._typed = unit.raw + self._typed
            self._unsealed -= len(unit.raw)
            self._rewind(unit.start)
        # the rest was in slices that the model has forgotten already
        self._unsealed = max(0, self._unsealed - max(0, count - len(self._typed)))
        self._typed = self._typed[: max(0, len(self._typed) - count)]

    def _rewind(self, length: int) -> None:
        del self.stream[length:]
        self._cached = min(self._cached, length)

    def _unanswered(self) -> bool:
        return bool(self.units) and not self.units[-1].sealed

    # — when a slice closes —

    @property
    def interrupted(self) -> bool:
        """The person says something, or wants it to stop, while the engine makes words: what it would make now, nobody
        will see."""
        speaking = self._in_engine and self._speech is not None and self._speech.slice == self._deciding[-1].index
        return speaking and any(
            isinstance(e, Cancel) or (isinstance(e, UserText) and e.text.strip()) for e, _ in self._waiting
        )

    @property
    def quiet(self) -> bool:
        """Nothing to decide, nothing to say, nothing half typed: only the person can go on."""
        return not (self._awake or self._in_engine or self._speech or self._typed.strip() or self._enter)

    def next_due(self) -> float | None:
        """When `due` will next have something; None until the person does something."""
        if self._in_engine:
            return None
        if self._enter:
            return self._last_key_at
        if not self.slicing.adaptive:
            return self._boundary
        times = []
        if self._speech:
            times.append(self._speech_end())
        elif self._awake:
            patient = self._held_back or self._talking
            silence = self._patient_seconds if patient else self.slicing.decide_seconds
            times.append(self._last_key_at + silence)
        if self._typed.strip():
            whole = delimited(self._typed)
            if not self._talking:
                times.append(self._last_key_at + (self.slicing.pause_seconds if whole else self._word_seconds()))
            elif self._speech and whole:
                times.append(self._last_key_at + self.slicing.voice_barge_in_seconds)
            if self._typed[: whole_words(self._typed)].strip():
                longest = self.slicing.barge_in_seconds if self._speech else self.slicing.period_seconds
                times.append(self._opened_at + longest)
        if not times and self._should_renew():
            times.append(max(self._last_key_at, self._free_at) + self.slicing.patient_seconds)
        if not times and self._asleep:
            times.append(self._wake_at())
        return max(min(times), self._opened_at) if times else None

    def _word_seconds(self) -> float:
        return self.slicing.barge_in_word_seconds if self._speech else self.slicing.decide_seconds

    def _wake_at(self) -> float:
        return max(self._last_key_at, self._free_at) + self.slicing.wake_seconds

    def _speech_end(self) -> float:
        more = self._voiced and self._speech and not self._speech.finished
        return max(self._free_at - (self.slicing.voice_lead_seconds if more else 0.0), self._opened_at)

    def due(self, now: float) -> SliceRequest | None:
        """Close the slice if its time has come, and say what the engine shall do for it."""
        due_at = self.next_due()
        if due_at is None or now < due_at - 1e-9:
            return None
        self._finish_speech(now)
        silence = math.inf if self._enter else self._silence(now)
        take = len(self._typed) if silence >= self._word_seconds() else whole_words(self._typed)
        raw, self._typed = self._typed[:take], self._typed[take:]
        entered, self._enter = self._enter, False
        if not self.slicing.adaptive:
            self._next_boundary(now, entered)
        if not raw.strip():
            raw, self._typed = "", raw + self._typed
        speech = self._speech
        if speech and not raw and self._still_saying(speech, now):
            return None
        if not (raw or entered or self._awake or speech):
            if self._p_idle is not None and not self.slicing.adaptive:  # same stream, same decision
                self._emit_slice(now, "", True, self._p_idle)
            self._opened_at = now
            if self._should_renew():
                return self._renew()
            if not self._asleep or now < self._wake_at() - 1e-9:
                return None
            self._asleep = False
            return self._request(("", ""), now, silence)
        return self._request(in_slices(raw), now, silence)

    def _silence(self, now: float) -> float:
        """Seconds since the person said something. While they make sounds, more words may come, for a while."""
        silence = now - self._last_key_at + 1e-9
        return 0.0 if self._talking and silence < self._patient_seconds else silence

    @property
    def _patient_seconds(self) -> float:
        return self.slicing.voice_patient_seconds if self._aloud else self.slicing.patient_seconds

    def _next_boundary(self, now: float, entered: bool) -> None:
        period = self.slicing.period_seconds
        self._boundary = (now if entered else self._boundary) + period  # Enter begins a slice
        if self._boundary <= now:  # far behind: one longer slice instead of many late ones
            self._boundary = (math.floor(now / period) + 1) * period

    def _finish_speech(self, now: float) -> None:
        speech = self._speech
        if speech and speech.finished and speech.heard(now) == len(speech.tokens):
            self._done("completed", min(now, self._speech_end()))
            self._awake = False

    def _still_saying(self, speech: Saying, now: float) -> bool:
        """It has not yet said what it has (aloud: nearly)."""
        if self._voiced and not speech.finished:
            return now < self._speech_end() - 1e-9
        return speech.heard(now) < len(speech.tokens)

    def _done(self, status: str, at: float) -> None:
        assert self._speech
        self._events.append(ResponseDone(self.system, self._speech.response_id, status, at))
        self._speech, self._earlier = None, []
        if self._reply and len(self._reply.tokens) > 1:
            self._notes.append(self._reply)
        self._reply = None

    def _request(self, pieces: Sequence[str], now: float, silence: float) -> SliceRequest:
        raw = pieces[-1]
        if raw:
            self._cut_unseen(now)
        self._deciding = []
        for piece in pieces:
            self._lay(piece, now)
        forced = self.wait_for_end_mark and bool(raw) and self._speech is None and not ends_sentence(raw)
        if forced and silence >= self.slicing.decide_seconds:  # the silence that decides has passed already
            self._lay("", now)
            forced = False
        self._bound()
        entered = silence == math.inf
        if entered:
            self._seal()
        self._in_engine = True
        silent = not self._deciding[-1].raw
        self._held_back = silent and self._speech is None and silence < self._patient_seconds
        self._awake = self._held_back or not silent
        self._cached = start = min(self._cached, len(self.stream) - 1)
        return SliceRequest(
            truncate_to=start,
            ids=tuple(self.stream[start:]),
            max_new_tokens=0 if forced else self.slicing.model_tokens,
            probes=tuple(u.decide - start - 1 for u in self._deciding if u.decide > start),
            threshold="entered" if entered and silent else "sure" if self._held_back else "idle",
        )

    def _lay(self, piece: str, now: float) -> None:
        if self._deciding:  # the model was silent in the slice before
            self.stream += self.layout.close(())
        start = len(self.stream)
        self.stream += self.layout.user(self.vocabulary, piece, self.memory.keep // 2)
        unit = Unit(start, len(self.stream), piece, self._index, self._opened_at, now, sealed=not piece)
        self.units.append(unit)
        self._deciding.append(unit)
        self._unsealed += len(piece)
        self._index += 1
        self._opened_at = now

    def _bound(self) -> None:
        """Begin the stream anew from its newest units before it is longer than the model can follow."""
        if len(self.stream) + 2 * self.slicing.model_tokens > self.memory.limit:
            self._shorten()

    def _should_renew(self) -> bool:
        return len(self.stream) > (self.memory.limit + self.memory.keep) // 2 and not self._unanswered()

    def _renew(self) -> SliceRequest:
        """Begin anew while nobody speaks: no later slice has to wait for it."""
        self._shorten()
        self._deciding, self._in_engine = [], True
        return SliceRequest(0, tuple(self.stream), 0)

    def _shorten(self) -> None:
        kept = [u for u in self.units if len(self.stream) - u.start <= self.memory.keep] or self.units[-1:]
        notes = self._noted(kept[0].index)
        shift = kept[0].start - 1 - len(notes)
        self.stream = [self.layout.bos, *notes, *self.stream[kept[0].start :]]
        for unit in self.units:
            unit.start -= shift
            unit.decide -= shift
        self.units = kept
        self._cached = 0

    def _noted(self, before: int) -> list[int]:
        """Ids of what it keeps in mind from before slice `before`, each thing in one slice, the newest that fit."""
        ids: list[int] = []
        for number, note in enumerate(reversed(self._notes)):
            if note.index >= before:
                continue
            slice_ids = self.layout.user(self.vocabulary, note.user, self.memory.notes // 4)
            slice_ids += self.layout.close(note.tokens)
            if len(ids) + len(slice_ids) > self.memory.notes:
                del self._notes[: len(self._notes) - number]  # no longer in mind
                break
            ids = slice_ids + ids
        return ids

    def _cut_unseen(self, now: float) -> None:
        """What the person could not see before speaking is not part of the conversation."""
        sayings = [*self._earlier, self._speech] if self._speech else []
        unfinished = [s for s in sayings if s.heard(now) < len(s.tokens)]
        if not unfinished:
            return
        speech, *later = unfinished
        heard = speech.whole_words(now)
        at = now if heard == speech.heard(now) else speech.shown_at[heard] - 1e-6  # half a word is taken back
        for saying in reversed(later):  # slices in which the person was silent
            while self.units and self.units[-1].index >= saying.slice:
                self._rewind(self.units.pop().start)
        behind, unseen = "".join(s.text for s in later), len(speech.tokens) - heard
        self._rewind(len(self.stream) - 1 - unseen)  # the stream ends in these tokens and </s>
        self.stream += [self.layout.eos] if heard else self.layout.close(())
        unseen += sum(len(s.tokens) for s in later)
        if self._reply:
            del self._reply.tokens[len(self._reply.tokens) - unseen :]
        self._spoken.forget(unseen)
        self._free_at = now
        self._speech, self._earlier = speech, []
        self._events.append(Cut(self.system, speech.response_id, speech.slice, at, speech.cut(heard) + behind))

    # — what the model did —

    def apply(self, output: Output, at: float) -> None:
        """Take in one output of the engine for the request in hand."""
        if output.p_idle:
            self._decided(output, at)
        self._cached = min(output.length, len(self.stream))
        if output.token is not None:
            self._say(output.token, at)
        if output.done:
            self._close_slice(output)

    def _decided(self, output: Output, at: float) -> None:
        unread = len(self._deciding) - len(output.p_idle)
        numbers = [*[None] * unread, *output.p_idle]
        speaks = output.token is not None
        for unit, p_idle in zip(self._deciding, numbers, strict=True):
            idle = not (speaks and unit is self._deciding[-1])
            self._events.append(
                Slice(self.system, unit.index, unit.opened_at, unit.closed_at, unit.raw.strip(), idle, p_idle)
            )
        self._p_idle = numbers[-1]
        if speaks:
            self._take_floor(self._deciding[-1].index, at)
        elif self._speech:
            interrupted = bool(self._deciding[-1].raw)
            if interrupted:
                self._events.append(Yield(self.system, at))
                self._seal()
            self._done("cancelled" if interrupted else "completed", at)

    def _take_floor(self, index: int, at: float) -> None:
        if speech := self._speech:
            self._earlier = [s for s in (*self._earlier, speech) if s.heard(at) < len(s.tokens)]
            self._speech = Saying(speech.response_id, index, speech.begins + len(speech.text))
            if self.layout.apart:
                self._spoken.begin_slice()
        else:
            self._responses += 1
            self._speech = Saying(f"{self.system}-{self._responses}", index)
            if self._voiced:
                self._free_at = at + self.slicing.voice_delay_seconds
            self._events.append(ResponseCreated(self.system, self._speech.response_id, at))
            if self._unsealed:
                self._events.append(Reaction(self.system, self._last_key_at, at))
            self._spoken = Spoken(self.vocabulary)
            asked = [u for u in self.units if not u.sealed]
            self._reply = Reply(asked[0].index, " ".join(u.raw for u in asked)) if asked else None
        self._seal()

    def _seal(self) -> None:
        for unit in self.units:
            unit.sealed = True
        self._unsealed = 0
        self._tell_sealed(min(self._editable, len(self._typed)))

    def _tell_sealed(self, left: int) -> None:
        """Only the last `left` characters typed may still be taken back."""
        if self._editable > left:
            self._events.append(Sealed(self.system, self._editable - left))
        self._editable = left

    def _say(self, token: int, at: float) -> None:
        speech = self._speech
        assert speech
        if self._reply and not self._reply.tokens and token != self.layout.keep:
            self._reply = None
        if self._reply:
            self._reply.tokens.append(token)
        shown_at = max(at, self._free_at)
        delta = self._spoken.push(token)
        self._free_at = shown_at + self.slicing.seconds_of(delta, self._voiced)
        speech.add(token, delta, shown_at)
        self.stream.append(token)
        if delta:
            self._events.append(Delta(self.system, speech.response_id, speech.slice, delta, shown_at))

    def _close_slice(self, output: Output) -> None:
        self._in_engine = False
        if self._deciding:  # else the stream was begun anew
            self._end_unit(output, self._deciding[-1])
        waiting, self._waiting = self._waiting, []
        for event, heard_at in waiting:
            self.hear(event, heard_at)

    def _end_unit(self, output: Output, last: Unit) -> None:
        if self._speech and self._speech.slice == last.index:
            self._speech.finished = output.finished
            self.stream.append(self.layout.eos)
        elif last.raw:
            self.stream += self.layout.close(())
        else:  # silent on both sides: it never happened
            while self._deciding and not self._deciding.pop().raw:
                self._rewind(self.units.pop().start)

    def _emit_slice(self, at: float, user: str, idle: bool, p_idle: float | None) -> None:
        self._events.append(Slice(self.system, self._index, self._opened_at, at, user, idle, p_idle))
        self._index += 1

    def take_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events
