"""Situations played to scripted models: one that does everything right, and ones that each do one thing wrong."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, ClassVar

import pytest
from fakes import FakeEngine, Words, pairs_of

from duplex_runtime.alignment.corpus import Exchange, load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.noise import normal
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.evaluation import situations as s
from duplex_runtime.evaluation.together import play_together
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.slices import Slicing

LONG = "one two three four five six seven eight nine ten"
EXCHANGE = Exchange("t", "topic", ("tell me.",), tuple(f"part {i} {LONG}." for i in range(4)),
                    (Exchange("i", "inner", ("why so?",), ("because it is.",)),))  # fmt: skip


class Small:
    """A source of one long answer, and of phrases that say what they are."""

    complete: ClassVar = {"tell me", "why so"}

    def draw(self, rng: Random) -> tuple[str, Exchange]:
        return "tell me.", EXCHANGE

    long = short = draw

    def inserted(self, rng: Random, exchange: Exchange) -> tuple[str, Exchange]:
        return "why so?", exchange.inner[0]

    def phrases(self, kind: str) -> Sequence[str]:
        known = {"topic_changes": "change {new}", "corrections": "correct {new}", "questions_inserted": "quick {new}"}
        return [known.get(kind, f"{kind}.")]


#: From what was heard since the model last spoke, and what it has said, to what it says; "" is silence.
Rule = Callable[[str, str], str]


class Model:
    """A `LoadedModel` as far as playing needs one, that follows a rule."""

    def __init__(self, rule: Rule) -> None:
        self.words, self.rule = Words(), rule

    def engine(self, slots: int) -> Any:
        return FakeEngine(self._reply, slots)

    def conversation(self, system: str, slicing: Slicing) -> Any:
        return DuplexConversation(EMBEDDED, self.words, slicing, wakes=True)

    def _reply(self, stream: list[int]) -> Sequence[int]:
        heard, said = "", ""
        for person, model in pairs_of(stream, self.words):
            heard += f" {person}"
            if model:
                heard, said = "", f"{said} {model}"
        return self.words.encode(self.rule(normal(heard), " ".join(said.split())))


def run(rule: Rule, situation: Callable[..., list[s.Outcome]], *, long: bool = True) -> list[s.Outcome]:
    model, rng, source = Model(rule), Random(5), Small()

    def play(scripts: Sequence[s.Script]) -> list[Any]:
        return play_together(model, "duplex", scripts, Slicing(), Sampling(), 60.0)  # type: ignore[arg-type]

    if not long:
        return situation(source, rng, 6, play)
    return situation(source, rng, s.long_answers(source, rng, 6, play), play)  # type: ignore[arg-type]


def rest(said: str) -> str:
    """What of the long answer was not said yet."""
    return EXCHANGE.answer.removeprefix(said).strip() if EXCHANGE.answer.startswith(said) else ""


def perfect(heard: str, said: str) -> str:
    if not said:
        return EXCHANGE.answer if heard.endswith("tell me") else ""
    if heard.endswith("why so"):
        return f"because it is. {rest(said)}"
    before, _, after = said.partition("because it is.")
    if heard in ("", "backchannels", "sidespeech", "noises"):
        return rest(f"{before}{after}".replace("  ", " "))
    return ""


def shares(outcomes: list[s.Outcome]) -> float:
    assert outcomes
    return sum(o.right for o in outcomes) / sum(o.of for o in outcomes)


@pytest.mark.parametrize("situation", [s.stops, s.backchannels, s.asides])
def test_a_model_that_does_everything_right(situation: Callable[..., list[s.Outcome]]) -> None:
    assert shares(run(perfect, situation)) == 1.0


def test_one_that_never_stops_does_not_yield() -> None:
    def never(heard: str, said: str) -> str:
        return "and so on and on and on and on and on" if said else perfect(heard, said)

    assert shares(run(never, s.stops)) == 0.0


def easily_stopped(heard: str, said: str) -> str:
    return "" if said and heard else perfect(heard, said)


def test_one_that_stops_at_every_word_fails_at_backchannels_and_side_speech_but_yields() -> None:
    assert shares(run(easily_stopped, s.backchannels)) == 0.0
    assert shares(run(easily_stopped, s.stops)) == 1.0
    asides = run(easily_stopped, s.asides)
    assert {o.right for o in asides if o.detail == "in silence"} == {1}
    assert {o.right for o in asides if o.detail != "in silence"} == {0}


def of(outcomes: list[s.Outcome], name: str) -> float:
    return shares([o for o in outcomes if o.situation == name])


def test_one_that_answers_everything_is_not_silent_in_the_middle() -> None:
    eager = run(lambda heard, said: "" if said else "yes", s.sentences_with_pauses, long=False)
    patient = run(perfect, s.sentences_with_pauses, long=False)
    assert of(patient, "silent_mid") > of(eager, "silent_mid")
    assert of(patient, "answers") >= 0.8  # it answers false starts that are sentences


def test_one_that_never_speaks_neither_answers_nor_nudges_but_is_patient() -> None:
    def mute(heard: str, said: str) -> str:
        return ""

    assert of(run(mute, s.sentences_with_pauses, long=False), "answers") == 0.0
    assert of(run(mute, s.sentences_with_pauses, long=False), "silent_mid") == 1.0
    assert of(run(mute, s.long_silences, long=False), "nudge") == 0.0


def test_a_question_in_the_middle_is_answered_and_the_rest_follows() -> None:
    def forgetful(heard: str, said: str) -> str:
        return "because it is." if heard.endswith("why so") else "" if "because" in said else perfect(heard, said)

    assert shares(run(perfect, s.inserted)) == 1.0
    assert shares(run(forgetful, s.inserted)) == 0.0


def test_the_situations_are_made_from_what_is_held_out() -> None:
    source = Source(load(), held_out=True)
    trained = Source(load())
    for kind in ("stop", "backchannels", "side_speech", "topic_changes"):
        assert not set(source.phrases(kind)) & set(trained.phrases(kind))
