"""`duplex bench interruption`: how each system takes being broken into, at every point of an answer, in every way.

A long answer is first heard to its end. Then it is asked for again, and at 10 to 90 % of it the person says stop (and
later: go on), asks something else, corrects themselves, asks about what is being said, or says mm-hm. What the answer
would have gone on to say is known from the first time, so its words are recognised wherever they appear.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation import pictures
from duplex_runtime.evaluation.acts import Piece
from duplex_runtime.evaluation.conduct import SYSTEMS, Job, conduct
from duplex_runtime.evaluation.questions import answer_of
from duplex_runtime.evaluation.results import Cell, Picture, Result, Table, machine
from duplex_runtime.evaluation.scenarios import WAYS, Scenario, Span, Step
from duplex_runtime.evaluation.scripts import old_words
from duplex_runtime.evaluation.talks import Act, Talk
from duplex_runtime.slices import Slicing

#: What the person does.
BREAKS = ("stop", "change", "correction", "question", "backchannel")
POINTS = (0.1, 0.3, 0.5, 0.7, 0.9)
#: Seconds: within which it has to give up the floor; within which something has to happen at all; a gap in an answer.
YIELD_SECONDS, DEAF_SECONDS, GAP_SECONDS = 2.0, 5.0, 0.5

ABOUT = (
    "Answers of eight seconds and more are broken into at 10, 30, 50, 70 and 90 % of them, typed and spoken. "
    "Times run from the first and from the last key or sound of the interruption. Zombie output: words of an "
    "answer that was given up come back unasked. Deafness: it neither stops nor says anything new within 5 s. "
    "Choppy output: a gap of half a second or more inside an answer that nobody broke into. The clock is "
    "simulated: computing takes no time."
)


@dataclass(frozen=True)
class Case:
    """One interruption: how, at which share of the answer, and the pattern of a right answer to what is asked."""

    breaks: str
    point: float
    way: str
    question: str
    text: str
    right: re.Pattern[str] | None


@dataclass(frozen=True)
class Taken:
    """How a system took it. Seconds from the first and from the last key or sound to the yield; None if there was none.
    slices: of the person until then. late: words of the old answer after the last key. None: does not apply."""

    case: Case
    yielded: bool
    from_begin: float | None
    from_end: float | None
    slices: int | None
    late: int
    answered: bool | None
    resumed: bool | None
    went_on: bool | None
    zombie: bool | None
    deaf: bool | None
    answers: int
    choppy: int


def run(model: str, questions: int = 6, seed: int = 0, workers: int = 0) -> Result:
    """questions: so many long answers, each broken into 25 times by each way."""
    begun = time.monotonic()
    if not 1 <= questions <= 100:
        raise BadInput(f"--questions: expected 1 to 100, got {questions}")
    source, rng, slicing = Source(load(), held_out=True), Random(seed), Slicing()
    asked = _long(source, rng, questions)
    missing: list[str] = []
    whole = _talks(
        model,
        [Job(s, _whole(q), n) for s in SYSTEMS for q in asked for n in range(len(WAYS))],
        slicing,
        workers,
        missing,
    )
    heard = {(t.system, t.scenario, t.way): t for t in whole}
    cases = [_case(source, rng, b, p, w, q) for q in asked for b in BREAKS for p in POINTS for w in WAYS]
    jobs: list[Job] = []
    about: list[tuple[Case, Talk]] = []
    for system in SYSTEMS:
        for number, case in enumerate(cases):
            first = heard.get((system, _name(case.question), case.way))
            if first and first.words:
                jobs.append(Job(system, _scenario(case, number, first), WAYS.index(case.way)))
                about.append((case, first))
    talks = _talks(model, jobs, slicing, workers, missing)
    by_name = {(t.system, t.scenario): t for t in talks}
    taken: dict[str, list[Taken]] = {system: [] for system in SYSTEMS}
    for job, (case, first) in zip(jobs, about, strict=True):
        if (talk := by_name.get((job.system, job.scenario.name))) and (each := examine(case, talk, first)):
            taken[job.system].append(each)
    return _result(taken, questions, seed, missing, model, time.monotonic() - begun)


def _talks(model: str, jobs: Sequence[Job], slicing: Slicing, workers: int, missing: list[str]) -> list[Talk]:
    talks = []
    for held in conduct(model, jobs, slicing, workers):
        try:
            if held.error:
                raise BadInput(held.error)
            talks.append(held.talk())
        except BadInput as error:
            missing.append(f"{held.job.name}: {error}")
    return talks


def _long(source: Source, rng: Random, number: int) -> list[str]:
    """Questions with an answer about which something can be asked, whose text needs no mark of a scenario."""
    found: dict[str, str] = {}
    while len(found) < number:
        text, exchange = source.topic(rng)
        if exchange.inner and len(exchange.answer.split()) >= 40 and not re.search(r"[\[\]{}()*<>|]", text):
            found.setdefault(exchange.id, text)
    return list(found.values())


def _name(question: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", question.lower()).strip("-")


def _whole(question: str) -> Scenario:
    steps = (Step("step", Span(0.5, 0.5), "turn", question, 1),)
    return Scenario(_name(question), "", "whole", WAYS, "normal", steps)


def _case(source: Source, rng: Random, breaks: str, point: float, way: str, question: str) -> Case:
    exchange = next(e for e in source.corpus.topics if question in (*e.wordings, *e.more))
    right = None
    while True:
        if breaks == "question":
            inner, about = source.inserted(rng, exchange)
            right = answer_of(source, about)
            text = rng.choice(source.phrases("questions_inserted")).format(new=inner)
        elif breaks in ("change", "correction"):
            new, about = source.fact(rng)
            right = answer_of(source, about)
            text = rng.choice(source.phrases("topic_changes" if breaks == "change" else "corrections")).format(new=new)
        else:
            text = rng.choice(source.phrases("stop" if breaks == "stop" else "backchannels"))
        if not re.search(r"[\[\]{}()*<>|]", text):
            return Case(breaks, point, way, question, text, right)


def _scenario(case: Case, number: int, first: Talk) -> Scenario:
    begin, end = first.words[0].at, first.words[-1].until
    delay = round(case.point * (end - begin), 2)
    kind = "turn" if case.breaks in ("change", "correction") else case.breaks
    steps = [
        Step("step", Span(0.5, 0.5), "turn", case.question, 1),
        Step("answer", Span(delay, delay), kind, case.text, 2),
    ]
    if case.breaks == "stop":
        steps.append(Step("step", Span(8.0, 8.0), "resume", "Go on, please.", 3))
    return Scenario(f"{case.breaks}-{number}", "", case.breaks, WAYS, "normal", tuple(steps))


def examine(case: Case, talk: Talk, first: Talk) -> Taken | None:
    """What became of the interruption; None if there was nothing to break into any more. first: the talk without it."""
    acts = [a for a in talk.acts if a.begin > talk.acts[0].end]
    words = talk.words
    if not acts or not any(w.at <= acts[0].begin <= w.until + GAP_SECONDS for w in words):
        return None
    act = acts[0]
    answer = words[0].response_id
    seen = sum(w.response_id == answer and w.at <= act.begin for w in words)
    old = [w for w in first.words if w.response_id == first.words[0].response_id][seen:]
    if not old or act.begin + (old[-1].until - old[0].at) <= act.end:  # it would have been over by then
        return None
    after = [w for w in words if w.at > act.begin]
    flags = old_words(after, old)
    yielded_at = min((at for at in talk.yields if act.begin <= at <= act.end + YIELD_SECONDS), default=None)
    resume = next((a for a in acts[1:] if a.kind == "resume"), None)
    until = resume.begin if resume else float("inf")
    wanted = case.breaks != "backchannel"
    over = (act.end + YIELD_SECONDS) if yielded_at is None else yielded_at
    back = [w for w, flag in zip(after, flags, strict=True) if flag and w.at > over + 0.5]
    new = [w for w, flag in zip(after, flags, strict=True) if not flag]
    return Taken(
        case,
        yielded_at is not None,
        None if yielded_at is None else yielded_at - act.begin,
        None if yielded_at is None else max(0.0, yielded_at - act.end),
        None
        if yielded_at is None
        else sum(act.begin < at <= yielded_at + 1e-6 and bool(user) for at, user in talk.slices),
        sum(
            flag and act.end < w.at <= act.end + DEAF_SECONDS and w.at <= over
            for w, flag in zip(after, flags, strict=True)
        ),
        _answered(case.right, [w for w in after if w.at > act.begin]) if case.right else None,
        _resumed(case, back, resume) if yielded_at is not None else None,
        None if wanted else yielded_at is None,
        any(w.at < until for w in back)
        if case.breaks in ("stop", "change", "correction") and yielded_at is not None
        else None,
        (yielded_at is None and not any(w.at <= act.end + DEAF_SECONDS for w in new)) if wanted else None,
        len({w.response_id for w in words}),
        _gaps(words, talk.acts),
    )


def _answered(right: re.Pattern[str], after: Sequence[Piece]) -> bool:
    return right.search(" ".join(w.text for w in after)) is not None


def _resumed(case: Case, back: Sequence[Piece], resume: Act | None) -> bool | None:
    if case.breaks == "stop":
        return any(w.at > resume.begin for w in back) if resume else None
    return bool(back) if case.breaks == "question" else None


def _gaps(words: Sequence[Piece], acts: Sequence[Act]) -> int:
    """Gaps inside answers into which the person said nothing."""
    found = 0
    for word, following in pairwise(words):
        gap = following.response_id == word.response_id and following.at - word.until >= GAP_SECONDS
        found += gap and not any(a.begin < following.at and a.end > word.at - 1 for a in acts)
    return found


# — all of them —


def _share(values: Iterable[bool | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(sum(known) / len(known), 4) if known else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(statistics.median(known), 4) if known else None


def _figures(taken: Sequence[Taken]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for breaks in BREAKS:
        mine = [t for t in taken if t.case.breaks == breaks]
        found[breaks] = {
            "n": len(mine),
            "yields": _share(t.yielded for t in mine),
            "from_first_key_s": _median(t.from_begin for t in mine),
            "from_last_key_s": _median(t.from_end for t in mine),
            "slices": _median(t.slices for t in mine),
            "late_words": round(statistics.fmean(t.late for t in mine), 2) if mine else None,
            "answered": _share(t.answered for t in mine),
            "resumed": _share(t.resumed for t in mine),
            "goes_on": _share(t.went_on for t in mine),
        }
    answers = sum(t.answers for t in taken)
    return found | {
        "zombie": _share(t.zombie for t in taken),
        "deaf": _share(t.deaf for t in taken),
        "choppy": round(sum(t.choppy for t in taken) / answers, 4) if answers else None,
    }


def _headline(system: str, figures: dict[str, Any]) -> str:
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.0f} %"

    stop = figures["stop"]
    return (
        f"{system} yields to {percent(stop['yields'])} of stops and goes on when asked after {percent(stop['resumed'])}"
    )


def _result(
    taken: dict[str, list[Taken]], questions: int, seed: int, missing: Sequence[str], model: str, seconds: float
) -> Result:
    figures = {system: _figures(each) for system, each in taken.items()}
    columns = (
        "n",
        "yields",
        "from_first_key_s",
        "from_last_key_s",
        "slices",
        "late_words",
        "answered",
        "resumed",
        "goes_on",
    )
    heads = (
        "",
        "n",
        "yields in 2 s",
        "s from first key",
        "s from last key",
        "slices",
        "late words",
        "answered",
        "resumed",
        "goes on",
    )
    rows = [(f"{s}: {b}", *(figures[s][b][c] for c in columns)) for b in BREAKS for s in figures]
    points: list[tuple[Cell, ...]] = []
    for system, each in taken.items():
        broken = [t for t in each if t.case.breaks != "backchannel"]
        points.append((system, *(_share(t.yielded for t in broken if t.case.point == p) for p in POINTS)))
    wrong = [(s, figures[s]["zombie"], figures[s]["deaf"], figures[s]["choppy"]) for s in figures]
    title = "Yields within 2 s of the last key or sound, by the point of the answer"
    percent = [f"{100 * p:.0f} %" for p in POINTS]
    series = {str(row[0]): [None if v is None else float(v) for v in row[1:]] for row in points}
    return Result(
        name="interruption",
        command=f"duplex bench interruption --questions {questions} --seed {seed}",
        figures=figures,
        about=ABOUT,
        headline="; ".join(_headline(system, each) for system, each in figures.items()) + ".",
        tables=(
            Table(
                "Broken into", heads, tuple(rows), "Medians of times and slices; means of words; shares of the rest."
            ),
            Table(title, ("", *percent), tuple(points)),
            Table("What goes wrong, shares", ("", "zombie output", "deafness", "gaps for each answer"), tuple(wrong)),
        ),
        pictures=(Picture("points", title, pictures.bars(title, "share", percent, series)),),
        settings={
            "questions": questions,
            "seed": seed,
            "points": list(POINTS),
            "breaks": list(BREAKS),
            "ways": list(WAYS),
        },
        missing=tuple(missing),
        seconds=round(seconds, 1),
        machine=machine(model),
    )
