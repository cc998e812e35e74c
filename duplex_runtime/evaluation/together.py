"""Plays many scripts at once, each on a simulated clock of its own, over one engine: as right as one after the
other, and several times as fast, since the engine takes those that wait in one pass.

    watches = play_together(model, "duplex", [script, …], Slicing(), Sampling())
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from duplex_runtime.clock import SimulatedClock
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.evaluation.scripts import Watch
from duplex_runtime.events import Input
from duplex_runtime.loop import Loop, Session
from duplex_runtime.models.load import LoadedModel
from duplex_runtime.slices import Slicing

#: So many conversations share a pass of the engine.
TOGETHER = 32

Script = Sequence[tuple[float, Input]]


@dataclass
class _Run:
    """One script on its way."""

    session: Session
    clock: SimulatedClock
    inputs: deque[tuple[float, Input]]
    end: float  # simulated seconds after which it ends even if the model is still speaking

    def advance(self, loop: Loop) -> bool:
        """Let time pass up to the next slice; False when there will be none."""
        while True:
            due = self.session.conversation.next_due()
            if due is not None and due <= (self.inputs[0][0] if self.inputs else self.end):
                self.clock.move_to(due)
                return bool(self.inputs) or not self.session.conversation.quiet or due < self.end
            if not self.inputs:
                return False
            at, event = self.inputs.popleft()
            self.clock.move_to(at)
            loop.hear(self.session, event, at)


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
    loop = Loop(model.engine(slots=min(TOGETHER, max(1, len(scripts)))))
    watches = [Watch() for _ in scripts]
    waiting = deque(enumerate(scripts))
    runs: list[_Run] = []
    while waiting or runs:
        while waiting and len(runs) < TOGETHER:
            number, script = waiting.popleft()
            clock = SimulatedClock()
            session = loop.add(model.conversation(system, slicing), clock, sampling, [watches[number]])
            runs.append(_Run(session, clock, deque(script), (script[-1][0] if script else 0.0) + patience))
        for run in list(runs):
            if not run.session.in_engine and not run.advance(loop):
                loop.remove(run.session)
                runs.remove(run)
        loop.turn()
    loop.engine.shutdown()
    return watches
