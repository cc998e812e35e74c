"""A simulated person: follows a scenario, sees what the system shows, and acts when a person would.

person = Person(scenario, seed=3)
person.happened(events)              # what the system did
person.due()                         # when they will next do something by themselves
utterance = person.speak(now)        # what they say then; None if they decide to say nothing
person.said(utterance, begin, end)   # it took from `begin` to `end`

They answer to what they see, as people do: they say mm-hm only to somebody who speaks, and who gets no answer asks once
more. Words and delays are drawn when the person is made, so every system meets the same person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from duplex_runtime.evaluation.acts import ASKING, Act
from duplex_runtime.evaluation.scenarios import Part, Scenario, Step
from duplex_runtime.events import Cut, Delta, Event
from duplex_runtime.slices import Slicing

#: Seconds without an answer after which a person asks once more, then gives up; of quiet after which a talk is over;
#: and for which an answer that does not end is listened to.
PATIENCE_SECONDS, QUIET_SECONDS, LONGEST_SECONDS = 8.0, 5.0, 60.0
#: An answer with a gap of so many seconds has ended, as far as the person can tell.
_GAP_SECONDS = 0.5


@dataclass(frozen=True)
class Utterance:
    """What is to be said, and a source of its timing. again: because there was no answer."""

    kind: str
    parts: tuple[Part, ...]
    rng: Random
    again: bool = False

    @property
    def meant(self) -> bool:
        """Is it meant for the system?"""
        return self.kind in (*ASKING, "stop")


@dataclass(frozen=True)
class _Plan:
    """A step with what the seed decides."""

    step: Step
    delay: float
    parts: tuple[Part, ...]
    seed: str


@dataclass(frozen=True)
class _Shown:
    """Text that is seen from `at` to `until`."""

    at: float
    until: float
    response_id: str


class Person:
    """See the module. slicing: how long a piece of text is being shown. aloud: it is heard instead."""

    def __init__(self, scenario: Scenario, seed: int, slicing: Slicing, aloud: bool = False) -> None:
        self.scenario, self.seed = scenario, seed
        self._slicing, self._aloud = slicing, aloud
        self._plans = [_plan(scenario, seed, number) for number in range(len(scenario.steps))]
        self._next = 0
        self._shown: list[_Shown] = []
        self._ended = 0.0  # their last key or sound
        self._asked: tuple[Utterance, float, float] | None = None  # the last that wants an answer, its begin and end
        self.acts: list[Act] = []
        self.skipped: list[int] = []  # lines of steps that made no sense any more
        self.finished = False

    # — what they see —

    def happened(self, events: Sequence[Event]) -> None:
        """The system did something."""
        for event in events:
            match event:
                case Delta():
                    until = event.at + self._slicing.seconds_of(event.delta, self._aloud)
                    self._shown.append(_Shown(event.at, until, event.response_id))
                case Cut():
                    self._shown = [s for s in self._shown if s.at <= event.at or s.response_id != event.response_id]

    def _speaking(self, now: float) -> bool:
        return any(s.at <= now < s.until + _GAP_SECONDS for s in self._shown)

    def _answer_at(self) -> float | None:
        """When the answer to what they asked last began: something new, or something after they had finished."""
        if not self._asked:
            return None
        _, begin, end = self._asked
        earlier = {s.response_id for s in self._shown if s.at < begin}
        return min((s.at for s in self._shown if s.at > end or s.response_id not in earlier), default=None)

    def _silent_since(self) -> float:
        return max((s.until for s in self._shown), default=0.0)

    @property
    def _waiting(self) -> bool:
        """For an answer that has not begun, with nothing else to do meanwhile."""
        if not self._asked or self._answer_at() is not None:
            return False
        return self._next == len(self._plans) or self._plans[self._next].step.after != "step"

    # — what they do —

    def due(self) -> float | None:
        """When they will next do something, as far as they know now; None when they have left."""
        if self.finished:
            return None
        if self._waiting and self._asked:
            return self._asked[2] + PATIENCE_SECONDS
        silent = min(max(self._ended, self._silent_since()), self._ended + LONGEST_SECONDS)
        if self._next == len(self._plans):
            return silent + QUIET_SECONDS
        plan = self._plans[self._next]
        if plan.step.after == "done":
            return silent + plan.delay
        since = self._ended if plan.step.after == "step" else self._answer_at() or 0.0
        return max(self._ended, since + plan.delay)

    def speak(self, now: float) -> Utterance | None:
        """It is time: what they say, or None if there is nothing to say (any more)."""
        if self._waiting and self._asked:
            asked, self._asked = self._asked[0], None
            if asked.again:  # they give up
                return None
            words = Part(" ".join(p.text for p in asked.parts if p.text))
            return Utterance(asked.kind, (words,), asked.rng, again=True)
        if self._next == len(self._plans):
            self.finished = True
            return None
        plan = self._plans[self._next]
        self._next += 1
        if plan.step.kind == "silence":
            self._ended = now
            return None
        if plan.step.kind in ("stop", "backchannel") and plan.step.after == "answer" and not self._speaking(now):
            self.skipped.append(plan.step.line)
            return None
        return Utterance(plan.step.kind, plan.parts, Random(plan.seed))

    def said(self, utterance: Utterance, begin: float, end: float) -> Act:
        """They said it from `begin` to `end`."""
        self._ended = end
        if utterance.kind in ASKING:
            self._asked = (utterance, begin, end)
        elif utterance.kind == "stop":
            self._asked = None
        act = Act(utterance.kind, begin, end, " ".join(p.text for p in utterance.parts if p.text))
        self.acts.append(act)
        return act


def _plan(scenario: Scenario, seed: int, number: int) -> _Plan:
    step = scenario.steps[number]
    name = f"{scenario.name}/{seed}/{number}"
    rng = Random(name)
    return _Plan(step, step.delay.draw(rng), step.parts(rng), f"{name}/keys")
