"""`duplex bench slices`: the same talks cut into slices of 0.5, 1, 2 and 4 seconds, and adaptively.

Shorter slices react sooner and cost more: each takes the markers of a slice, a forward pass and a decision, and cuts a
sentence into more pieces than the model may like.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation import pictures
from duplex_runtime.evaluation.conduct import Held, Job, conduct
from duplex_runtime.evaluation.interaction import Panel, panel
from duplex_runtime.evaluation.questions import Question, ask
from duplex_runtime.evaluation.results import Picture, Result, Table, machine
from duplex_runtime.evaluation.scenarios import Scenario, Span, Step, library
from duplex_runtime.evaluation.talks import Talk
from duplex_runtime.slices import Slicing

PERIODS = ("0.5", "1", "2", "4", "adaptive")
#: Situations whose talks are held beside the questions.
SITUATIONS = ("smooth", "pause", "stop", "change", "question", "backchannel")

ABOUT = (
    "The same people talk to the duplex model at every slice period. Reaction: end of a turn to the first word, "
    "median. False starts: answers begun inside a turn, for each turn. Right answers: held-out questions answered "
    "word for word. Cost: slices, forward passes and tokens of the model's memory for each minute of talk. The "
    "clock is simulated: computing takes no time."
)


@dataclass(frozen=True)
class Cost:
    """For each minute of talk: slices closed, requests to the engine, tokens decided or said, tokens taken in."""

    slices: float
    requests: float
    tokens: float


def run(model: str, questions: int = 120, seeds: int = 2, seed: int = 0, workers: int = 0) -> Result:
    """questions: held-out ones. seeds: of each scenario."""
    begun = time.monotonic()
    if not 1 <= questions <= 5000 or not 1 <= seeds <= 100:
        raise BadInput(f"--questions and --seeds: expected 1 to 5000 and 1 to 100, got {questions} and {seeds}")
    source, rng = Source(load(), held_out=True), Random(seed)
    asked = [q for q in ask(source, rng, 2 * questions) if not q.told and not set(q.text) & set("[]{}()*<>|")][
        :questions
    ]
    quiz = [Job("duplex", _scenario(q, n), 0) for n, q in enumerate(asked)]
    talks = [Job("duplex", s, n) for s in library(only=SITUATIONS) for n in range(seeds)]
    figures: dict[str, Any] = {}
    missing: list[str] = []
    for period in PERIODS:
        held = conduct(model, quiz + talks, Slicing.parse(period), workers)
        missing += [f"{period} s, {each.job.name}: {each.error}" for each in held if each.error]
        figures[period] = _figures(held[: len(quiz)], held[len(quiz) :], asked)
    return _result(figures, questions, seeds, seed, missing, model, time.monotonic() - begun)


def _scenario(question: Question, number: int) -> Scenario:
    steps = (Step("step", Span(0.5, 0.5), "turn", question.text, 1),)
    return Scenario(f"quiz-{number}", "", "quiz", ("keys",), "normal", steps)


def _figures(quiz: Sequence[Held], held: Sequence[Held], asked: Sequence[Question]) -> dict[str, Any]:
    talks = [each.talk() for each in held if not each.error]
    measured: Panel = panel(talks)["duplex"]
    values, beside = measured.values(), measured.beside()
    right = [_right(q, each.talk()) for q, each in zip(asked, quiz, strict=True) if not each.error]
    cost = _cost([each for each in held if not each.error], talks)
    return {
        "reaction_s": beside["floor_transfer_s_p50"],
        "false_starts": values["I_A"],
        "right": round(statistics.fmean(right), 4),
        "yields": values["R_Y"],
        "backchannels": values["S_BC"],
        "slices_a_minute": round(cost.slices, 1),
        "requests_a_minute": round(cost.requests, 1),
        "tokens_a_minute": round(cost.tokens, 1),
    }


def _right(question: Question, talk: Talk) -> bool:
    """Was the first answer the right one, and the only one?"""
    answers: dict[str, list[str]] = defaultdict(list)
    for word in talk.words:
        answers[word.response_id].append(word.text)
    texts = [" ".join(words) for words in answers.values()]
    return len(texts) == 1 and question.right.fullmatch(texts[0]) is not None


def _cost(held: Sequence[Held], talks: Sequence[Talk]) -> Cost:
    minutes = sum(talk.ended_at for talk in talks) / 60
    slices = requests = tokens = 0
    for each in held:
        for line in each.log.splitlines():
            values = json.loads(line)
            slices += values["kind"] == "event" and values["event"]["type"] == "duplex.slice"
            requests += values["kind"] == "output" and bool(values["done"])
            tokens += values["kind"] == "output" and values["token"] is not None
    return Cost(slices / minutes, requests / minutes, tokens / minutes)


def _headline(figures: dict[str, Any]) -> str:
    reaction = "–" if figures["reaction_s"] is None else f"{figures['reaction_s']:.2f} s"
    return f"reaction {reaction}, {100 * figures['right']:.0f} % right"


def _result(
    figures: dict[str, Any], questions: int, seeds: int, seed: int, missing: Sequence[str], model: str, seconds: float
) -> Result:
    names = {
        "reaction_s": "reaction, s",
        "false_starts": "false starts",
        "right": "right answers",
        "yields": "R_Y",
        "backchannels": "S_BC",
        "slices_a_minute": "slices/min",
        "requests_a_minute": "passes with words/min",
        "tokens_a_minute": "tokens said/min",
    }
    rows = [(p if p == "adaptive" else f"{p} s", *(figures[p][key] for key in names)) for p in PERIODS]
    most = max((figures[p]["false_starts"] or 0.0 for p in PERIODS), default=0.0) or 1.0
    points = [
        pictures.Point(
            p if p == "adaptive" else f"{p} s",
            figures[p]["reaction_s"],
            100 * figures[p]["right"],
            (figures[p]["false_starts"] or 0.0) / most,
        )
        for p in PERIODS
        if figures[p]["reaction_s"] is not None
    ]
    title = "Slice periods: reaction, right answers and false starts"
    picture = pictures.trade_off(
        title, "end of a turn → first word, median, s", "right answers, %", points, "false starts"
    )
    return Result(
        name="slices",
        command=f"duplex bench slices --questions {questions} --seeds {seeds} --seed {seed}",
        figures=figures,
        about=ABOUT,
        headline="; ".join(f"{name}: {_headline(figures[p])}" for p, (name, *_) in zip(PERIODS, rows, strict=True))
        + ".",
        tables=(Table("Slice periods", ("", *names.values()), tuple(rows)),),
        pictures=(Picture("trade-off", title, picture),),
        settings={"questions": questions, "seeds": seeds, "seed": seed, "situations": list(SITUATIONS)},
        missing=tuple(missing),
        seconds=round(seconds, 1),
        machine=machine(model),
    )
