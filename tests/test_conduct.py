"""Simulated people and all three systems, on a model that answers from a table."""

from typing import Any

import pytest
from web_fakes import FakeModel

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.conduct import SYSTEMS, Held, Job, hold, jobs
from duplex_runtime.evaluation.scenarios import Scenario, parse_scenario
from duplex_runtime.slices import Slicing


class Named(FakeModel):
    """A fake model that says what it is called."""

    name = "embedded"


class Breaking(Named):
    """Its engine fails for whoever says boom."""

    def _reply(self, stream: list[int]) -> Any:
        if "boom" in self.vocabulary.decode(stream):
            raise RuntimeError("the engine is on fire")
        return super()._reply(stream)


def scenario(*lines: str, name: str = "s.txt") -> Scenario:
    return parse_scenario(name, ["situation  test", *lines])


COUNT = "0.5 s  turn  Please count."
STOPPED = scenario(COUNT, "answer 2 s  stop  Stop.")


def held(system: str, what: Scenario, seed: int = 0, kind: type[FakeModel] = Named) -> Held:
    models: Any = {name: kind(name) for name in ("duplex", "turns")}
    (one,) = hold(models, [Job(system, what, seed)], Slicing())
    return one


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_answers_what_is_typed(system: str) -> None:
    talk = held(system, scenario("by  keys", "0.5 s  turn  Hello.")).talk()
    assert talk.system == system
    assert " ".join(w.text for w in talk.words) == "hi you"
    assert [a.kind for a in talk.acts] == ["turn"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_answers_what_is_said(system: str) -> None:
    talk = held(system, scenario("by  speech", "0.5 s  turn  Hello.")).talk()
    assert " ".join(w.text for w in talk.words) == "hi you"
    assert talk.way == "speech"


def test_a_stop_is_taken_as_each_system_takes_it() -> None:
    duplex, strict, barge = (held(s, STOPPED).talk() for s in ("duplex", "strict", "barge-in"))
    begun = duplex.acts[1].begin
    assert duplex.yields and begun < duplex.yields[0] < begun + 3
    assert not strict.yields and strict.deaf and len(strict.words) == 60
    assert barge.yields == (pytest.approx(barge.acts[1].begin, abs=0.01),)


def test_the_same_seed_gives_the_same_recording() -> None:
    assert held("duplex", STOPPED).log == held("duplex", STOPPED).log
    assert held("duplex", STOPPED, 2).log != held("duplex", STOPPED).log


def test_one_that_breaks_leaves_the_others_alone() -> None:
    models: Any = {name: Breaking(name) for name in ("duplex", "turns")}
    todo = [Job("duplex", scenario("0.5 s  turn  boom."), 0), Job("duplex", STOPPED, 0)]
    broken, fine = hold(models, todo, Slicing())
    assert broken.error and "on fire" in broken.error
    assert fine.error is None and fine.talk().yields


def test_steps_that_make_no_sense_are_counted() -> None:
    assert held("duplex", scenario("0.5 s  turn  Hello.", "answer 9 s  backchannel  mm-hm")).skipped == (3,)


def test_jobs_are_all_combinations_and_know_their_systems() -> None:
    assert len(jobs([STOPPED], 4)) == 12
    assert jobs([STOPPED], 1, ["strict"])[0].name == "strict s seed 0"
    with pytest.raises(BadInput, match="expected some of duplex, strict, barge-in, got 'psychic'"):
        jobs([STOPPED], 1, ["psychic"])
