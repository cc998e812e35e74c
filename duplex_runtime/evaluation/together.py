"""Holds many talks at once, each on a simulated clock of its own, over one engine: as right as one after the other, and
several times as fast, since the engine takes those that wait in one pass.

    watches = play_together(model, "duplex", [script, …], Slicing(), Sampling())      # fixed scripts
    talk_together(loop, talks)                                                        # people who react
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from duplex_runtime.clock import SimulatedClock
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.errors import DuplexError
from duplex_runtime.evaluation.scripts import Watch
from duplex_runtime.events import Input
from duplex_runtime.loop import Conversation, Loop, Observer, Session
from duplex_runtime.models.load import LoadedModel
from duplex_runtime.slices import Slicing

#: So many conversations share a pass of the engine.
TOGETHER = 32

Script = Sequence[tuple[float, Input]]


class Actor(Protocol):
    """Who takes part in a talk as its person."""

    def due(self, conversation: Conversation) -> float | None:
        """When they will next do something; None when the talk is over."""

    def act(self, now: float) -> Sequence[Input]:
        """What they do then."""


@dataclass
class Together:
    """A talk to be held: who with whom, and who listens. error: why it broke off."""

    conversation: Conversation
    actor: Actor
    sampling: Sampling
    observers: Sequence[Observer] = ()
    error: DuplexError | None = None
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    session: Session | None = None

    def fail(self, error: DuplexError) -> None:
        """The conversation broke off."""
        self.error = error

    def advance(self, loop: Loop) -> bool:
        """Let time pass up to the next slice; False when the talk is over."""
        assert self.session
        while not self.error:
            mine, due = self.actor.due(self.conversation), self.conversation.next_due()
            if mine is None:
                return False
            if due is not None and due <= mine:
                self.clock.move_to(due)
                return True
            self.clock.move_to(mine)
            now = self.clock.now()
            for event in self.actor.act(now):
                loop.hear(self.session, event, now)
        return False


def talk_together(loop: Loop, talks: Iterable[Together]) -> None:
    """Hold all of them, up to TOGETHER at a time. One that breaks off has its `error`; the others go on."""
    waiting = iter(talks)
    running: list[Together] = []
    while True:
        while len(running) < TOGETHER and (talk := next(waiting, None)):
            talk.session = loop.add(talk.conversation, talk.clock, talk.sampling, talk.observers, talk.fail)
            running.append(talk)
        for talk in list(running):
            assert talk.session
            if not talk.session.in_engine or talk.error:
                try:
                    going_on = talk.advance(loop)
                except Exception as error:  # the edge of one talk
                    talk.error = DuplexError("conversation_failed", f"the conversation broke off: {error!r}")
                    going_on = False
                if not going_on:
                    loop.remove(talk.session)
                    running.remove(talk)
        if not running:
            return
        loop.turn()


class _Scripted:
    """Does what a script says, and leaves when the system has finished, or `patience` seconds after its last line."""

    def __init__(self, script: Script, patience: float) -> None:
        self._inputs = deque(script)
        self._end = (script[-1][0] if script else 0.0) + patience

    def due(self, conversation: Conversation) -> float | None:
        """The next line; after the last one, the end."""
        if self._inputs:
            return self._inputs[0][0]
        due = conversation.next_due()
        return None if due is None or due > self._end else self._end

    def act(self, now: float) -> Sequence[Input]:
        """One line."""
        return [self._inputs.popleft()[1]] if self._inputs else ()


def play_together(
    model: LoadedModel,
    system: str,
    scripts: Sequence[Script],
    slicing: Slicing,
    sampling: Sampling,
    patience: float = 60.0,
) -> list[Watch]:
    """What was seen of each script.

    patience: simulated seconds after the last input of a script after which it ends all the same.
    """
    watches = [Watch() for _ in scripts]
    talks = [
        Together(model.conversation(system, slicing), _Scripted(script, patience), sampling, [watch])
        for script, watch in zip(scripts, watches, strict=True)
    ]
    loop = Loop(model.engine(slots=min(TOGETHER, max(1, len(scripts)))))
    try:
        talk_together(loop, talks)
    finally:
        loop.engine.shutdown()
    for talk in talks:
        if talk.error:
            raise talk.error
    return watches
