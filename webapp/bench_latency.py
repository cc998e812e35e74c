"""`duplex bench latency`: where the time of a slice goes, and how it grows with the number of people who talk at once.

    duplex bench latency --conversations 16 --seconds 20

A real server, and people in a process of their own who type questions key by key and wait for the answer. Both sides
read the machine's monotonic clock, which is one for all processes (of Linux and macOS), so a stage may begin at one
side and end at the other. Where ears and a voice are installed, one more person speaks a few questions.

latency/times.py     the server's side        latency/level.py     both together; what each stage is
latency/people.py    those who type           latency/speaker.py   the one who speaks
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.evaluation import pictures
from duplex_runtime.evaluation.results import Cell, Picture, Result, Table, machine
from duplex_runtime.slices import Slicing
from webapp.latency.level import QUANTILES, Level, level_of, quantiles
from webapp.latency.people import HUMAN, PATIENCE_SECONDS, Pace, in_a_process, type_all
from webapp.latency.speaker import speak_some
from webapp.latency.times import Watched

if TYPE_CHECKING:  # it imports torch
    from duplex_runtime.models.load import LoadedModel

ABOUT = (
    "People type questions key by key to a real server and read the answers, one alone and several at once. First "
    "token: last key to first word at the client; of that the rule of the conversation takes the pause it waits "
    "for, and the machine the rest (slice due to first word). A slice is over when its last token is made. "
    "Overruns: slices that took longer than their period. The server holds the turn-based talk of everybody as well, "
    "as it does for the page, and the people's process runs on the same machine. "
    "Of few values p95 and p99 are the largest."
)
_SPOKEN = "One who speaks, from the end of a question to the first sound at the client"


def run(
    model: str, conversations: int = 16, seconds: float = 20.0, seed: int = 0, voice: bool = False, pace: Pace = HUMAN
) -> Result:
    """conversations: 1, 2, 4 … up to so many at once, for `seconds` each; ends early when the server slows down.

    voice: also the stages of spoken talks in a browser, minutes more.
    """
    begun = time.monotonic()
    if not 1 <= conversations <= 512 or not 1 <= seconds <= 3600:
        raise BadInput(
            f"--conversations and --seconds: expected 1 to 512 and 1 to 3600, got {conversations} and {seconds:g}"
        )
    from webapp.bench import server_of, some_questions

    levels: list[Level] = []
    missing: list[str] = []
    watched: list[Watched] = []

    def watch(inner: LoadedModel) -> Any:
        watched.append(Watched(inner))
        return watched[-1]

    with server_of(model, watch) as port:
        questions = some_questions(200)
        for number in sorted({min(2**n, conversations) for n in range(10)}):
            watched[0].times.clear()
            most = seconds + number * PATIENCE_SECONDS + pace.word + 60
            people = in_a_process(type_all, port, number, seconds, seed, questions, pace, most_seconds=most)
            levels.append(level_of(watched[0].times, people, Slicing().period_seconds))
            missing += _notes(levels[-1])
            if levels[-1].refused or levels[-1].strained:
                if number < conversations:
                    missing.append(f"more than {number} at once: the server slowed down or let nobody else in")
                break
        if not any(level.first_token for level in levels):
            raise DuplexError("no_answer", "; ".join(["none of the questions was answered", *missing]))
        spoken = speak_some(port, watched[0].times, missing)
    result = _result(levels, missing, model, conversations, seconds, seed)
    result = _with_voice(_with_stages(result, "spoken", _SPOKEN, spoken), model, voice)
    return replace(result, seconds=round(time.monotonic() - begun, 1))


def _notes(level: Level) -> list[str]:
    """Who had to leave."""
    return [
        f"{level.conversations} at once: {level.cut_off.count(why)} had to leave: {why}"
        for why in dict.fromkeys(level.cut_off)
    ]


# — figures —


def _with_stages(result: Result, name: str, title: str, stages: Mapping[str, Sequence[float]]) -> Result:
    """With a table, a picture and figures of such stages; as it was if there are none."""
    if not stages:
        return result
    wholes = [math.fsum(each) for each in zip(*stages.values(), strict=True)]
    rows = [(stage, *quantiles(values).values()) for stage, values in (*stages.items(), ("together", wholes))]
    return replace(
        result,
        figures=result.figures | {name: {stage.replace(" ", "_"): quantiles(v) for stage, v in stages.items()}},
        clock=(*result.clock, name),
        tables=(*result.tables, Table(f"{title}, milliseconds ({len(wholes)} answers)", ("", *QUANTILES), tuple(rows))),
        pictures=(*result.pictures, _profile(name, title, stages, wholes)),
    )


def _profile(name: str, title: str, stages: Mapping[str, Sequence[float]], wholes: Sequence[float]) -> Picture:
    parts = [
        pictures.Stage(stage, q["p50"], q["p95"] or 0.0)
        for stage, values in stages.items()
        if (q := quantiles(values))["p50"] is not None
    ]
    totals = {q: value or 0.0 for q, value in quantiles(wholes).items()}
    return Picture(name, title, pictures.stages(f"{title}, ms", parts, totals))


def _with_voice(result: Result, model: str, voice: bool) -> Result:
    """With the stages of spoken talks in a browser, if they are wanted."""
    from webapp import bench_voice

    if not voice:
        note = "spoken talks in a browser: --voice measures them, in minutes"
        return replace(result, missing=(*result.missing, note))
    notes: list[str] = []
    try:
        talks = bench_voice.hold_all(model, None, notes)
    except DuplexError as error:
        return replace(result, missing=(*result.missing, f"spoken talks in a browser: {error}"))
    result = replace(
        result,
        command=f"{result.command} --voice",
        missing=(*result.missing, *(f"spoken talks in a browser: {note}" for note in (*notes, *talks.notes()))),
    )
    followed = [(r.end, *r.reached) for r in talks.answered if r.reached]
    steps = [[1000 * (b - a) for a, b in pairwise(moments)] for moments in followed]
    stages = dict(zip(bench_voice.STAGES, zip(*steps, strict=True), strict=True)) if steps else {}
    return _with_stages(result, "voice", "In a browser, from the end of a spoken question to the first sound", stages)


def _figures(levels: Sequence[Level]) -> dict[str, Any]:
    one = levels[0]
    found: dict[str, Any] = {}
    for name, values in (
        ("first_token", one.first_token),
        ("machine", one.machine),
        ("slice_listen", one.listening),
        ("slice_speak", one.speaking),
    ):
        found |= {f"{name}_ms_{q}": value for q, value in quantiles(values).items()}
    found["stages"] = {stage.replace(" ", "_"): quantiles(values) for stage, values in one.stages.items()}
    found["by_conversations"] = {
        str(level.conversations): {
            "first_token_ms": quantiles(level.first_token),
            "machine_ms": quantiles(level.machine),
            "slice_ms": quantiles(level.all_slices),
            "late_ms": quantiles(level.late),
            "overruns": level.overrun_share,
            "over_half": level.half_share,
            "asked": level.asked,
            "answered": len(level.first_token),
            "cut_off": len(level.cut_off),
        }
        for level in levels
    }
    slices = max(1, sum(level.slices for level in levels))
    found["overruns"] = round(sum(level.overruns for level in levels) / slices, 4)
    found["over_half"] = round(sum(level.halves for level in levels) / slices, 4)
    found["conversations"] = levels[-1].conversations
    return found


def _tables(levels: Sequence[Level]) -> tuple[Table, ...]:
    answers: list[tuple[Cell, ...]] = []
    slices: list[tuple[Cell, ...]] = []
    for level in levels:
        first, own = quantiles(level.first_token).values(), quantiles(level.machine).values()
        answers.append((level.conversations, level.asked, len(level.first_token), *first, *own, len(level.cut_off)))
        took, late = quantiles(level.all_slices).values(), quantiles(level.late)["p95"]
        slices.append((level.conversations, level.slices, *took, late, level.half_share, level.overrun_share))
    one = levels[0]
    of_one = {
        **one.stages,
        "late": one.late,
        "a slice that listens": one.listening,
        "a slice that speaks": one.speaking,
    }
    heads = tuple(f"{name} {q}" for name in ("first token", "machine") for q in QUANTILES)
    overs = ("over half a period", "over a period")
    return (
        Table("Answers, milliseconds", ("at once", "asked", "answered", *heads, "cut off"), tuple(answers)),
        Table("Slices, milliseconds and shares", ("at once", "n", *QUANTILES, "late p95", *overs), tuple(slices)),
        Table(
            "Stages with one conversation, milliseconds",
            ("", *QUANTILES, "n"),
            tuple((stage, *quantiles(values).values(), len(values)) for stage, values in of_one.items()),
        ),
    )


def _result(
    levels: Sequence[Level], missing: Sequence[str], model: str, most: int, seconds: float, seed: int
) -> Result:
    by = "Slices, and what the machine adds to an answer: 95th percentile; limit: half a period"
    kinds: dict[str, Callable[[Level], list[float]]] = {
        "slice": lambda level: level.all_slices,
        "machine, slice due to first word": lambda level: level.machine,
    }
    series = {
        name: [(float(v.conversations), q) for v in levels if (q := quantiles(kind(v))["p95"]) is not None]
        for name, kind in kinds.items()
    }
    drawn = {name: points for name, points in series.items() if points}
    half = 500 * Slicing().period_seconds
    figures = _figures(levels)
    return Result(
        name="latency",
        command=f"duplex bench latency --conversations {most} --seconds {seconds:g} --seed {seed}",
        figures=figures,
        about=ABOUT,
        tables=_tables(levels),
        pictures=(
            _profile(
                "stages", "Where the time of a slice that speaks goes, one person", levels[0].stages, levels[0].whole
            ),
            Picture("crowd", by, pictures.lines(by, "conversations at once", "milliseconds", drawn, half)),
        ),
        settings={"conversations": most, "seconds": seconds, "seed": seed, "slices": "adaptive"},
        clock=tuple(figures),
        missing=tuple(missing),
        machine=machine(model),
    )
