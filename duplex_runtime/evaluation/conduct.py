"""Simulated people talk to every system: scenarios × seeds × systems in simulated time, on all cores.

held = conduct("embedded", jobs(library(), seeds=5), Slicing())
held[0].log         # a recording that `duplex replay` plays again and talks.talk_of reads
held[0].error       # or why there is none

On the simulated clock computing takes no time, so every figure is of the conversation's rules and the model's
decisions; `duplex bench latency` measures what the machine adds.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from duplex_runtime.engine.requests import Output, SliceRequest
from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.acts import Act
from duplex_runtime.evaluation.person import Person
from duplex_runtime.evaluation.scenarios import Scenario
from duplex_runtime.evaluation.talks import Talk, talk_of
from duplex_runtime.evaluation.together import TOGETHER, Together, talk_together
from duplex_runtime.evaluation.ways import say
from duplex_runtime.events import Event, Input, Voiced
from duplex_runtime.loop import Conversation, Loop
from duplex_runtime.models.load import LoadedModel, default_sampling, load_systems
from duplex_runtime.recording import Recorder, header_of, parse_log
from duplex_runtime.slices import Slicing


@dataclass(frozen=True)
class System:
    """One of those that are compared. checkpoint: `duplex` or `turns`. enter: who types to it presses Enter."""

    name: str
    checkpoint: str
    barge_in: bool = False
    enter: bool = False


SYSTEMS = {
    system.name: system
    for system in (
        System("duplex", "duplex"),
        System("strict", "turns", enter=True),
        System("barge-in", "turns", barge_in=True),
    )
}


@dataclass(frozen=True)
class Job:
    """One talk to be held."""

    system: str
    scenario: Scenario
    seed: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.system} {self.scenario.name} seed {self.seed}"


@dataclass(frozen=True)
class Held:
    """A talk that was held: its recording; the lines of steps that made no sense any more; or why it broke off."""

    job: Job
    log: str
    skipped: tuple[int, ...] = ()
    error: str | None = None

    def talk(self) -> Talk:
        """What the panel reads; raises BadInput for a recording that is not of the format."""
        name = f"recording of {self.job.name}"
        return talk_of(parse_log(self.log.encode(), name)[SYSTEMS[self.job.system].checkpoint], name)


def jobs(scenarios: Sequence[Scenario], seeds: int, systems: Sequence[str] = tuple(SYSTEMS)) -> list[Job]:
    """All talks; raises BadInput for a system that there is not."""
    if unknown := [name for name in systems if name not in SYSTEMS]:
        raise BadInput(f"systems: expected some of {', '.join(SYSTEMS)}, got {unknown[0]!r}")
    return [Job(system, scenario, seed) for system in systems for scenario in scenarios for seed in range(seeds)]


def conduct(model: str, todo: Sequence[Job], slicing: Slicing, workers: int = 0) -> list[Held]:
    """Hold the talks, in the order of `todo`.

    workers: processes that share them; 0 for one a core, with the embedded model (a large one is loaded once).
    """
    workers = workers or (os.cpu_count() or 1 if model == "embedded" else 1)
    workers = min(workers, -(-len(todo) // TOGETHER))
    if workers <= 1:
        return hold(load_systems(model), todo, slicing)
    shares = [list(todo[n::workers]) for n in range(workers)]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        held = list(pool.map(_share, [(model, share, slicing) for share in shares]))
    return [held[number % workers][number // workers] for number in range(len(todo))]


def _share(given: tuple[str, list[Job], Slicing]) -> list[Held]:
    import torch

    model, todo, slicing = given
    torch.set_num_threads(1)
    return hold(load_systems(model), todo, slicing)


def hold(models: dict[str, LoadedModel], todo: Sequence[Job], slicing: Slicing) -> list[Held]:
    """Hold the talks in this process. models: by checkpoint."""
    held: dict[int, Held] = {}
    for checkpoint in sorted({SYSTEMS[job.system].checkpoint for job in todo}):
        mine = {n: job for n, job in enumerate(todo) if SYSTEMS[job.system].checkpoint == checkpoint}
        done = dict(zip(mine, _hold(models[checkpoint], list(mine.values()), slicing), strict=True))
        for number, each in done.items():
            if each.error:  # perhaps only of a pass that it shared with others
                done[number] = _hold(models[checkpoint], [each.job], slicing)[0]
        held |= done
    return [held[number] for number in range(len(todo))]


def _hold(model: LoadedModel, todo: Sequence[Job], slicing: Slicing) -> list[Held]:
    talks = [_Simulation(model, job, slicing) for job in todo]
    loop = Loop(model.engine(slots=min(TOGETHER, len(talks))))
    try:
        talk_together(loop, (talk.together for talk in talks))
    finally:
        loop.engine.shutdown()
    return [talk.held() for talk in talks]


def settings_of(job: Job, slicing: Slicing, way: str) -> dict[str, Any]:
    """What the header of a talk's recording says of it."""
    return {
        "slice_seconds": "adaptive" if slicing.adaptive else slicing.period_seconds,
        "turn_pause_seconds": None,
        "baseline": "barge-in" if SYSTEMS[job.system].barge_in else "strict",
        "scenario": job.scenario.name,
        "situation": job.scenario.situation,
        "seed": job.seed,
        "way": way,
    }


class Acting:
    """An actor: a simulated person who types or speaks. `acted` is told of each thing that they say."""

    def __init__(self, person: Person, way: str, enter: bool, acted: Callable[[Act], None]) -> None:
        self.person, self.way, self.enter, self._acted = person, way, enter, acted
        self._inputs: deque[tuple[float, Input]] = deque([(0.0, Voiced(True))] if way == "speech" else [])

    def due(self, conversation: Conversation | None = None) -> float | None:
        """The next key or sound; between them, what the person has in mind."""
        return self._inputs[0][0] if self._inputs else self.person.due()

    def act(self, now: float) -> Sequence[Input]:
        """What is done by now."""
        if not self._inputs and (utterance := self.person.speak(now)):
            enter = self.enter and utterance.meant
            said = say(utterance.parts, self.way, now, self.person.scenario.pace, utterance.rng, enter)
            self._acted(self.person.said(utterance, said.begin, said.end))
            self._inputs.extend(said.inputs)
        inputs: list[Input] = []
        while self._inputs and self._inputs[0][0] <= now:
            inputs.append(self._inputs.popleft()[1])
        return inputs


class Seeing:
    """An observer through which a person sees what the system does."""

    def __init__(self, person: Person) -> None:
        self._person = person

    def heard(self, event: Input, at: float) -> None:
        """They know what they did."""

    def asked(self, now: float, request: SliceRequest | None) -> None:
        """Not to be seen."""

    def answered(self, output: Output, at: float) -> None:
        """Not to be seen."""

    def happened(self, events: Sequence[Event]) -> None:
        """What is shown, and taken back."""
        self._person.happened(events)


class _Simulation:
    """One job with what takes part in it."""

    def __init__(self, model: LoadedModel, job: Job, slicing: Slicing) -> None:
        system, way = SYSTEMS[job.system], job.scenario.way(job.seed)
        self.job, self._log = job, io.StringIO()
        sampling = default_sampling(model.name, job.seed)
        recorder = Recorder(self._log, system.checkpoint)
        recorder.header(header_of(model.name, sampling, settings_of(job, slicing, way)))
        self.person = Person(job.scenario, job.seed, slicing, aloud=way == "speech")
        actor = Acting(self.person, way, system.enter, lambda a: recorder.act(a.kind, a.begin, a.end, a.text))
        conversation = model.conversation(system.checkpoint, slicing, barge_in=system.barge_in)
        self.together = Together(conversation, actor, sampling, [recorder, Seeing(self.person)])

    def held(self) -> Held:
        """After the talk."""
        error = self.together.error
        return Held(self.job, self._log.getvalue(), tuple(self.person.skipped), str(error) if error else None)
