"""Drives conversations over one engine: asks each what is due, steps the engine, hands the results back.

loop = Loop(engine)
session = loop.add(conversation, clock, Sampling(), [recorder])
loop.hear(session, UserText("hello "), at=clock.now())
loop.turn()              # at most one forward pass; then sleep for loop.wait_seconds()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from duplex_runtime.clock import Clock, SimulatedClock
from duplex_runtime.engine.requests import Engine, Output, Sampling, SliceRequest
from duplex_runtime.errors import DuplexError
from duplex_runtime.events import Event, Input


class Conversation(Protocol):
    """What `DuplexConversation` and `TurnConversation` have in common."""

    system: str

    @property
    def quiet(self) -> bool:
        """Only the person can go on."""

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


def _raise(error: DuplexError) -> None:
    raise error


class Loop:
    """See the module. Not thread-safe: one thread owns the loop and its engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sessions: dict[int, Session] = {}

    def add(
        self,
        conversation: Conversation,
        clock: Clock,
        sampling: Sampling,
        observers: Sequence[Observer] = (),
        failed: Callable[[DuplexError], None] = _raise,
    ) -> Session:
        """Open a slot for a conversation; raises DuplexError `full` when there is none.

        failed: told of an error in this conversation; the others go on.
        """
        slot = self.engine.open(sampling)
        session = Session(conversation, slot, clock, tuple(observers), failed)
        self._sessions[slot] = session
        return session

    def remove(self, session: Session) -> None:
        """Close the conversation and free its slot."""
        if self._sessions.pop(session.slot, None):
            self.engine.close(session.slot)

    def hear(self, session: Session, event: Input, at: float) -> None:
        """Give what the person did to a conversation."""
        session.conversation.hear(event, at)
        for observer in session.observers:
            observer.heard(event, at)
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
            session.in_engine = True
        for observer in session.observers:
            observer.asked(now, request)
        self._tell(session)

    def _answer(self, session: Session, output: Output) -> None:
        at = session.clock.now()
        session.in_engine = not output.done
        if output.error:
            raise output.error
        session.conversation.apply(output, at)
        for observer in session.observers:
            observer.answered(output, at)
        self._tell(session)

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
