"""Simulated participants of known preferences: they answer every step as a person would.

    mind = Mind(truth, np.random.default_rng(7))
    mind.kind                                     # careful, careless, withdraws, leaves, looks
    mind.answers(step, order)                     # what check_answers takes
    people = list(people_of(study, truth, 48, seed=7))          # frames.Person, until 48 careful ones have finished

The answers go through a study's service (simulate.py) or straight into frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from webapp.study.assignment import assign
from webapp.study.definition import Study
from webapp.study.frames import Person, Talked
from webapp.study.steps import SCALE_LOW, UNSURE, Item, Step, failed_checks, way_of
from webapp.study.truth import Truth

#: Always chosen by the careless; it is no right answer of an attention check.
MIDDLE = 4
COMMENTS = ("It answered while I was still typing.", "I had to wait for it.", "It lost the thread once.", "Pleasant.")


class Mind:
    """One participant. Everything is drawn from `rng` as it is asked, so the same questions get the same answers."""

    def __init__(self, truth: Truth, rng: Any) -> None:
        self.truth, self._rng = truth, rng
        shares = (truth.careless, truth.withdraws, truth.leaves, truth.looks)
        kinds = ("careful", "careless", "withdraws", "leaves", "looks")
        self.kind = str(rng.choice(kinds, p=(1 - sum(shares), *shares)))
        self._stops = float(rng.uniform())
        self._person = float(rng.normal())
        self._own: dict[str, float] = {}

    def stops_at(self, steps: Sequence[Step]) -> int:
        """Index of the step that they do not answer any more; the last one for those who finish."""
        last = len(steps) - 1
        if self.kind == "looks":
            return 0
        return 1 + int(self._stops * (last - 1)) if self.kind in ("withdraws", "leaves") else last

    def answers(self, step: Step, order: Sequence[str]) -> dict[str, Any]:
        """To every item of a step."""
        return {item.key: answer for item in step.items if (answer := self._answer(item, step, order)) is not None}

    def reaction(self, mean: float, spread: float) -> float:
        """Seconds that a system takes to answer them in a talk."""
        return max(0.1, float(self._rng.normal(mean, spread)))

    def _answer(self, item: Item, step: Step, order: Sequence[str]) -> Any:
        if item.right is not None:
            return MIDDLE if self.kind == "careless" else item.right
        if item.key in self.truth.effects and step.kind == "rate":
            return self._rating(item.key, order[step.position - 1], step.position)
        if item.key.startswith("preference"):
            return self._preference(item, order)
        if item.key == "guess":
            return self._guess(order)
        match item.kind:
            case "flag" | "check":
                return item.required or bool(self._rng.uniform() < 0.7)
            case "choice":
                return item.options[0] if item.key == "way" else str(self._rng.choice(item.options))
            case "scale" | "number":
                return int(self._rng.integers(item.low, min(item.high, item.low + 60) + 1))
            case _:
                return str(self._rng.choice(COMMENTS)) if item.key == "comment" and self._rng.uniform() < 0.4 else None

    def _rating(self, scale: str, system: str, position: int) -> int:
        """Opinions of a person on different scales go together."""
        own = self._own.setdefault(scale, 0.7**0.5 * self._person + 0.3**0.5 * float(self._rng.normal()))
        opinion = self.truth.opinion(scale, system, position) + self.truth.sd * own + float(self._rng.normal())
        return MIDDLE if self.kind == "careless" else SCALE_LOW + sum(opinion > cut for cut in self.truth.cuts)

    def _preference(self, item: Item, order: Sequence[str]) -> str:
        from math import exp

        first, second = (int(option.split("-")[0]) for option in (item.options[0], item.options[-1]))
        strength = self.truth.strength((order[first - 1], order[second - 1]))
        preferred = first if self._rng.uniform() < 1 / (1 + exp(-strength)) else second
        return str(self._rng.choice([option for option in item.options if option.startswith(f"{preferred}-")]))

    def _guess(self, order: Sequence[str]) -> str:
        drawn = self._rng.uniform()
        if drawn >= self.truth.right + self.truth.wrong or "duplex" not in order:
            return UNSURE
        others = [n for n, system in enumerate(order, 1) if system != "duplex"]
        return str(order.index("duplex") + 1 if drawn < self.truth.right else self._rng.choice(others))


def minds(truth: Truth, careful: int, seed: int) -> Iterator[Mind]:
    """Those who come until so many careful ones have been among them; each draws from a stream of their own."""
    from numpy.random import SeedSequence, default_rng

    sequence = SeedSequence(seed)
    while careful:
        mind = Mind(truth, default_rng(sequence.spawn(1)[0]))
        careful -= mind.kind == "careful"
        yield mind


def people_of(study: Study, truth: Truth, careful: int, seed: int) -> Iterator[Person]:
    """As the database would tell of them, without recordings."""
    seats = 0
    for number, mind in enumerate(minds(truth, careful, seed)):
        name = f"p-{number:08d}"
        if mind.kind == "looks":
            yield Person(name, "begun")
            continue
        assignment = assign(study, seats)
        seats += 1
        steps = way_of(study, assignment)
        stop = mind.stops_at(steps)
        if mind.kind == "withdraws":
            yield Person(name, "withdrawn", order=assignment.order, sides=assignment.sides)
            continue
        answers = {step.key: mind.answers(step, assignment.order) for step in steps[:stop]}
        yield Person(
            id=name,
            status="completed" if stop == len(steps) - 1 else "consented",
            order=assignment.order,
            sides=assignment.sides,
            step=steps[stop].key,
            failed_checks=failed_checks(steps, answers),
            minutes=float(study.consent.minutes),
            answers=answers,
            talks=tuple(
                Talked(s.position, s.session, assignment.order[s.position - 1], study.tasks.min_seconds, 4, 1, "")
                for s in steps[:stop]
                if s.kind == "talk"
            ),
        )
