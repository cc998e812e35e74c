"""Drives conversations over one engine: asks each what is due, steps the engine, hands the results back.

loop = Loop(engine)
session = loop.add(conversation, clock, Sampling(), [recorder])
loop.hear(session, UserText("hello "), at=clock.now())
loop.turn()              # at most one forward pass; then sleep for loop.wait_seconds()
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from duplex_runtime.clock import Clock, SimulatedClock
from duplex_runtime.engine.requests import Engine, Output, Sampling, SliceRequest
from duplex_runtime.errors import DuplexError
from duplex_runtime.events import Event, Input, Pace
from duplex_runtime.slices import Slicing
from duplex_runtime.strain import LEVELS, Strain

log = logging.getLogger(__name__)


class Conversation(Protocol):
    """What `DuplexConversation` and `TurnConversation` have in common."""

    system: str

    slicing: Slicing

    @property
    def quiet(self) -> bool:
        """Only the person can go on."""

    @property
    def interrupted(self) -> bool:
        """The engine need not make more words for the request in hand."""

    def hear(self, event: Input, at: float) -> None:
        """Take in what the person did."""

    def next_due(self) -> float | None:
        """When `due` will next have something to do."""

    def due(self, now: float) -> SliceRequest | None:
        """What the engine shall do now."""

    def apply(self, output: Output, at: float) -> None:
        """Take in one output of the engine."""

    def take_events(self) -> list[Event]:
        """What happened since the last call."""


class Observer(Protocol):
    """Sees everything that goes in and out of one conversation; `recording.Recorder` is one."""

    def heard(self, event: Input, at: float) -> None:
        """The person did something."""

    def asked(self, now: float, request: SliceRequest | None) -> None:
        """A slice closed; `request` is for the engine, None if there was nothing to ask."""

    def answered(self, output: Output, at: float) -> None:
        """The engine said something."""

    def happened(self, events: Sequence[Event]) -> None:
        """What the conversation made of it."""


@dataclass(eq=False)
class Session:
    """A conversation, its slot in the engine, and who listens."""

    conversation: Conversation
    slot: int
    clock: Clock
    observers: tuple[Observer, ...]
    failed: Callable[[DuplexError], None]
    in_engine: bool = False
    due_at: float = 0.0  # when the slice in the engine was due
    said: int = 0  # its tokens so far


def _raise(error: DuplexError) -> None:
    raise error


class Loop:
    """See the module. Not thread-safe: one thread owns the loop and its engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.strain = Strain()
        self._sessions: dict[int, Session] = {}

    def add(
        self,
        conversation: Conversation,
        clock: Clock,
        sampling: Sampling,
        observers: Sequence[Observer] = (),
        failed: Callable[[DuplexError], None] = _raise,
    ) -> Session:
        """Open a slot for a conversation; raises DuplexError `full` when there is none, `busy` when the loop cannot
        keep up with those that it has.

        failed: told of an error in this conversation; the others go on.
        """
        if self.strain.level == len(LEVELS) - 1:
            raise DuplexError("busy", "the model cannot keep up with more people just now; try again in a minute")
        slot = self.engine.open(sampling)
        session = Session(conversation, slot, clock, tuple(observers), failed)
        self._sessions[slot] = session
        if self.strain.level:
            self.hear(session, Pace(self.strain.level), clock.now())
        return session

    def remove(self, session: Session) -> None:
        """Close the conversation and free its slot."""
        if self._sessions.pop(session.slot, None):
            self.engine.close(session.slot)
            if not self._sessions:
                self.strain.reset()

    def hear(self, session: Session, event: Input, at: float) -> None:
        """Give what the person did to a conversation."""
        session.conversation.hear(event, at)
        for observer in session.observers:
            observer.heard(event, at)
        self._stop_if_interrupted(session)
        self._tell(session)

    @property
    def quiet(self) -> bool:
        """Every conversation waits for its person."""
        return not self.engine.busy and all(s.conversation.quiet for s in self._sessions.values())

    def wait_seconds(self) -> float | None:
        """Seconds until a conversation is due: 0 if one is, None if none will be by itself."""
        if self.engine.busy:
            return 0.0
        waits = [
            max(0.0, due - s.clock.now())
            for s in self._sessions.values()
            if (due := s.conversation.next_due()) is not None
        ]
        return min(waits, default=None)

    def turn(self) -> bool:
        """Submit what is due, then one forward pass; True if anything was done."""
        worked = False
        for session in list(self._sessions.values()):
            due, now = session.conversation.next_due(), session.clock.now()
            if due is not None and due <= now:
                worked = True
                session.due_at = due
                self._guard(session, self._submit, session, now)
        if self.engine.busy:
            worked = True
            for output in self._step():
                if answered := self._sessions.get(output.slot):  # another's failure may have removed it
                    self._guard(answered, self._answer, answered, output)
        return worked

    def _step(self) -> Sequence[Output]:
        try:
            return self.engine.step()
        except Exception as error:  # a forward pass failed: those who took part in it are lost, nobody else
            for session in [s for s in self._sessions.values() if s.in_engine]:
                self._break_off(session, error)
            return ()

    def _submit(self, session: Session, now: float) -> None:
        request = session.conversation.due(now)
        if request:
            self.engine.submit(session.slot, request)
            session.in_engine, session.said = True, 0
        for observer in session.observers:
            observer.asked(now, request)
        self._tell(session)

    def _answer(self, session: Session, output: Output) -> None:
        at = session.clock.now()
        session.in_engine = not output.done
        if output.error:
            raise output.error
        session.said += output.token is not None
        session.conversation.apply(output, at)
        for observer in session.observers:
            observer.answered(output, at)
        self._stop_if_interrupted(session)
        self._tell(session)
        if output.done:
            self._judge(session, at)

    def _stop_if_interrupted(self, session: Session) -> None:
        if session.in_engine and session.conversation.interrupted:
            self.engine.stop(session.slot)

    def _judge(self, session: Session, at: float) -> None:
        """Was this slice in time? If many are not, everybody slows down."""
        slicing = session.conversation.slicing
        # a turn-based answer may take as long as it takes to show it
        allowed = max(0, session.said - slicing.model_tokens) * slicing.token_seconds
        if self.strain.note(max(0.0, at - session.due_at - allowed), slicing.period_seconds):
            log.warning("strain %d: %s", self.strain.level, LEVELS[self.strain.level])
            for each in list(self._sessions.values()):
                self._guard(each, self.hear, each, Pace(self.strain.level), each.clock.now())

    def _tell(self, session: Session) -> None:
        if events := session.conversation.take_events():
            for observer in session.observers:
                observer.happened(events)

    def _guard(self, session: Session, call: Callable[..., None], *args: Any) -> None:
        # the edge of one conversation: its fault must not end the others
        try:
            call(*args)
        except Exception as error:
            self._break_off(session, error)

    def _break_off(self, session: Session, error: Exception) -> None:
        self.remove(session)
        if isinstance(error, DuplexError):
            session.failed(error)
        else:
            wrapped = DuplexError("conversation_failed", f"the conversation broke off: {error}")
            wrapped.__cause__ = error
            session.failed(wrapped)


def run_script(
    loop: Loop, session: Session, script: Sequence[tuple[float, Input]], clock: SimulatedClock, patience: float = 60.0
) -> None:
    """Play timed input into one conversation on a simulated clock, until it is quiet again.

    patience: simulated seconds after the last input after which it ends all the same.
    """
    for at, event in script:
        _run_until(loop, session, clock, at)
        loop.hear(session, event, at)
    end = clock.now() + patience
    while not loop.quiet and (due := session.conversation.next_due()) is not None and due <= end:
        clock.move_to(due)
        _drain(loop)


def _run_until(loop: Loop, session: Session, clock: SimulatedClock, until: float) -> None:
    while (due := session.conversation.next_due()) is not None and due <= until:
        clock.move_to(due)
        _drain(loop)
    clock.move_to(until)


def _drain(loop: Loop) -> None:
    loop.turn()
    while loop.engine.busy:
        loop.turn()
