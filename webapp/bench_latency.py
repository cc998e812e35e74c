"""`duplex bench latency`: where the time of a slice goes, and how it grows with the number of people who talk at once.

A real server, and people in a process of their own who type questions key by key and wait for the answer. Both sides
read the machine's monotonic clock, which is one for all processes (of Linux and macOS), so a stage may begin at one
side and end at the other.

text in   a key is sent → the conversation has it        decode   the passes after it, until the slice is said
layout    a slice is closed and laid out in token ids    out      what happened is told → it has arrived
append    the forward pass that takes it in and decides
"""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from duplex_runtime.engine.requests import Output, SliceRequest
from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.evaluation import pictures
from duplex_runtime.evaluation.results import Cell, Picture, Result, Table, machine
from duplex_runtime.events import Event, Input, Slice, UserText
from duplex_runtime.loop import Conversation
from duplex_runtime.models.load import LoadedModel
from duplex_runtime.slices import Slicing

STAGES = ("text in", "layout", "append", "decode", "out")
#: Seconds a key; for an answer to begin, and to end; between an answer and the next question.
_KEY, _ANSWER, _WHOLE, _THINK = (0.08, 0.2), 8.0, 40.0, (0.5, 2.0)

ABOUT = (
    "People type questions key by key to a real server and read the answers, one alone and several at once. First "
    "token: last key to first word at the client; of that the rule of the conversation takes the pause it waits "
    "for, and the machine the rest (slice due to first word). A slice is over when its last token is made. "
    "Overruns: slices that took longer than their period."
)


# — on the server's side —


@dataclass
class SliceTimes:
    """One slice on the monotonic clock, seconds: when it was due, was closed, laid out, decided and said; its number,
    and how many tokens it says."""

    due: float
    closed: float
    laid: float
    decided: float = math.nan
    done: float = math.nan
    index: int = -1
    tokens: int = 0


@dataclass
class Times:
    """What one conversation saw. heard: each key. told: slice number → when it was told."""

    slices: list[SliceTimes] = field(default_factory=list)
    heard: list[float] = field(default_factory=list)
    told: dict[int, float] = field(default_factory=dict)


class Timed:
    """A conversation that writes down when it was called."""

    def __init__(self, inner: Conversation, times: Times) -> None:
        self._inner, self._times = inner, times
        self.system = inner.system

    @property
    def slicing(self) -> Slicing:
        """As inside."""
        return self._inner.slicing

    @property
    def quiet(self) -> bool:
        """As inside."""
        return self._inner.quiet

    @property
    def interrupted(self) -> bool:
        """As inside."""
        return self._inner.interrupted

    def next_due(self) -> float | None:
        """As inside."""
        return self._inner.next_due()

    def hear(self, event: Input, at: float) -> None:
        """A key has arrived."""
        if isinstance(event, UserText):
            self._times.heard.append(time.monotonic())
        self._inner.hear(event, at)

    def due(self, now: float) -> SliceRequest | None:
        """A slice closes."""
        due_at, closed = self._inner.next_due(), time.monotonic()
        request = self._inner.due(now)
        if request and due_at is not None:
            self._times.slices.append(SliceTimes(closed - max(0.0, now - due_at), closed, time.monotonic()))
        return request

    def apply(self, output: Output, at: float) -> None:
        """A pass is over."""
        self._inner.apply(output, at)
        if self._times.slices:
            now, last = time.monotonic(), self._times.slices[-1]
            last.decided = now if math.isnan(last.decided) else last.decided
            last.tokens += output.token is not None
            if output.done:
                last.done = now

    def take_events(self) -> list[Event]:
        """What is told from here."""
        events, now = self._inner.take_events(), time.monotonic()
        for event in events:
            if isinstance(event, Slice):
                self._times.told[event.index] = now
                if self._times.slices:
                    self._times.slices[-1].index = event.index
        return events


class Watched:
    """A model whose conversations are timed, in the order in which they begin."""

    def __init__(self, inner: LoadedModel) -> None:
        self._inner = inner
        self.times: list[Times] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def conversation(self, *arguments: Any, **options: Any) -> Timed:
        """A new one."""
        self.times.append(Times())
        return Timed(self._inner.conversation(*arguments, **options), self.times[-1])


# — on the people's side —


@dataclass
class Person:
    """What one of them saw on the monotonic clock. keys: when each was sent. asked: the last key of each question, the
    first word that followed (NaN: none) and its slice. slices: number → arrival. cut_off: why they had to leave."""

    keys: list[float] = field(default_factory=list)
    asked: list[tuple[float, float, int]] = field(default_factory=list)
    slices: dict[int, float] = field(default_factory=dict)
    cut_off: str = ""
    strained: bool = False


def _crowd(port: int, number: int, seconds: float, seed: int, questions: list[str], results: Any) -> None:
    results.put(asyncio.run(_talk_all(port, number, seconds, seed, questions)))


async def _talk_all(port: int, number: int, seconds: float, seed: int, questions: list[str]) -> list[Person]:
    from websockets.asyncio.client import connect

    people = [Person() for _ in range(number)]
    tasks = []
    for n, person in enumerate(people):  # one after the other: the server counts them in this order
        socket = await connect(f"ws://127.0.0.1:{port}/v1/realtime")
        await socket.send(json.dumps({"type": "session.update", "session": {"slice_seconds": "adaptive"}}))
        first = json.loads(await socket.recv())
        if first["type"] != "session.created":
            person.cut_off = first.get("error", {}).get("message", first["type"])
            await socket.close()
            continue
        tasks.append(
            asyncio.create_task(_talk(socket, person, seconds, random.Random(f"{seed}/{number}/{n}"), questions))
        )
    await asyncio.gather(*tasks)
    return people


async def _talk(socket: Any, person: Person, seconds: float, rng: random.Random, questions: list[str]) -> None:
    from websockets.exceptions import ConnectionClosed

    end = time.monotonic() + seconds
    word, done = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async for message in socket:
            now, event = time.monotonic(), json.loads(message)
            if event["type"] == "error":
                person.cut_off = event["error"]["message"]
                return
            if event.get("system") != "duplex":
                continue
            match event["type"]:
                case "duplex.slice":
                    person.slices[event["index"]] = now
                case "response.output_text.delta":
                    if person.asked and math.isnan(person.asked[-1][1]):
                        person.asked[-1] = (person.asked[-1][0], now, event["slice"])
                    word.set()
                case "response.done":
                    done.set()
                case "duplex.pace" if event["level"]:
                    person.strained = True

    reading = asyncio.create_task(read())
    try:
        await asyncio.sleep(rng.uniform(0, 1))
        while time.monotonic() < end and not reading.done():
            word.clear()
            done.clear()
            for key in rng.choice(questions):
                await socket.send(json.dumps({"type": "duplex.input.edit", "delete": 0, "insert": key}))
                person.keys.append(time.monotonic())
                await asyncio.sleep(rng.uniform(*_KEY))
            person.asked.append((person.keys[-1], math.nan, -1))
            try:
                await asyncio.wait_for(word.wait(), _ANSWER)
                await asyncio.wait_for(done.wait(), _WHOLE)
            except TimeoutError:
                pass
            await asyncio.sleep(rng.uniform(*_THINK))
        if reading.done() and (error := reading.exception()):
            raise error
    except ConnectionClosed as error:
        person.cut_off = person.cut_off or f"the connection was closed ({error})"
    finally:
        reading.cancel()
        await socket.close()


# — together —


@dataclass(frozen=True)
class Level:
    """So many conversations at once: milliseconds of everything that was measured. cut_off: people who had to leave."""

    conversations: int
    first_token: list[float]
    machine: list[float]
    listening: list[float]
    speaking: list[float]
    stages: dict[str, list[float]]
    overruns: int
    halves: int
    slices: int
    late: list[float]
    cut_off: list[str]
    strained: bool

    @property
    def overrun_share(self) -> float | None:
        """Of all slices."""
        return round(self.overruns / self.slices, 4) if self.slices else None


def level_of(times: Sequence[Times], people: Sequence[Person], period_seconds: float) -> Level:
    """Bring both sides together: conversation n is person n's."""
    level = Level(
        len(people), [], [], [], [], {s: [] for s in STAGES}, 0, 0, 0, [],
        [p.cut_off for p in people if p.cut_off], any(p.strained for p in people),
    )  # fmt: skip
    overruns = halves = slices = 0
    for server, person in zip(times, people, strict=False):
        level.stages["text in"].extend(1000 * max(0.0, b - a) for a, b in zip(person.keys, server.heard, strict=False))
        by_index = {s.index: s for s in server.slices}
        for each in server.slices:
            if math.isnan(each.done) or each.index < 0:
                continue
            slices += 1
            took = each.done - each.due
            overruns += took > period_seconds
            halves += took > period_seconds / 2
            (level.speaking if each.tokens else level.listening).append(1000 * took)
            level.late.append(1000 * (each.closed - each.due))
            level.stages["layout"].append(1000 * (each.laid - each.closed))
            level.stages["append"].append(1000 * (each.decided - each.laid))
            if each.tokens:
                level.stages["decode"].append(1000 * (each.done - each.decided))
            if each.index in person.slices:
                level.stages["out"].append(1000 * max(0.0, person.slices[each.index] - server.told[each.index]))
        for asked, answered, index in person.asked:
            if answered > asked:
                level.first_token.append(1000 * (answered - asked))
                if index in by_index and answered > by_index[index].due:
                    level.machine.append(1000 * (answered - by_index[index].due))
    return Level(**{**level.__dict__, "overruns": overruns, "halves": halves, "slices": slices})


def quantiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p95 and p99; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return {"p50": None, "p95": None, "p99": None}
    return {
        f"p{q}": round(ordered[min(len(ordered) - 1, math.ceil(q / 100 * len(ordered)) - 1)], 2) for q in (50, 95, 99)
    }


def run(model: str, conversations: int = 16, seconds: float = 20.0, seed: int = 0, voice: bool = False) -> Result:
    """conversations: 1, 2, 4 … up to so many at once, for `seconds` each; ends early when the server slows down.

    voice: also the stages of spoken talks in a browser, minutes more.
    """
    from webapp.bench import server_of, some_questions

    begun = time.monotonic()
    if not 1 <= conversations <= 512 or not 1 <= seconds <= 3600:
        raise BadInput(
            f"--conversations and --seconds: expected 1 to 512 and 1 to 3600, got {conversations} and {seconds:g}"
        )
    levels: list[Level] = []
    missing: list[str] = [] if voice else ["the stages of a spoken talk: --voice measures them in a browser"]
    numbers = sorted({min(2**n, conversations) for n in range(10)})
    watched: list[Watched] = []

    def watch(inner: LoadedModel) -> Any:
        watched.append(Watched(inner))
        return watched[-1]

    with server_of(model, watch) as port:
        questions = some_questions(200)
        for number in numbers:
            watched[0].times.clear()
            people = _in_a_process(port, number, seconds, seed, questions)
            level = level_of(watched[0].times, people, Slicing().period_seconds)
            levels.append(level)
            missing += [f"{number} at once: somebody had to leave: {why}" for why in sorted(set(level.cut_off))]
            if level.cut_off or level.strained:
                missing.append(f"more than {number} at once: the server slowed down, so it was not asked for more")
                break
    if not any(level.first_token for level in levels):
        raise DuplexError("no_answer", "none of the questions was answered: nothing to measure")
    result = _result(levels, missing, model, conversations, seconds, seed, time.monotonic() - begun)
    return _with_voice(result, model) if voice else result


def _with_voice(result: Result, model: str) -> Result:
    """Its stages from the end of a spoken question to the first sound of the answer."""
    from webapp import bench_voice

    notes: list[str] = []
    try:
        talks = bench_voice.hold_all(model, None, notes)
        stages, figures = talks.stages(), talks.figures()
    except DuplexError as error:
        return replace(result, missing=(*result.missing, f"the stages of a spoken talk: {error}"))
    title = "From the end of a spoken question to the first sound of the answer"
    totals = {q: figures[f"end_to_sound_ms_{q}"] for q in ("p50", "p95")}
    return replace(
        result,
        command=f"{result.command} --voice",
        figures=result.figures | {"voice": {s.name: {"p50": s.p50, "p95": s.p95} for s in stages}},
        clock=(*result.clock, "voice"),
        tables=(
            *result.tables,
            Table(title, ("", "p50, ms", "p95, ms"), tuple((s.name, s.p50, s.p95) for s in stages)),
        ),
        pictures=(*result.pictures, Picture("voice", title, pictures.stages(title, stages, totals))),
        missing=(*result.missing, *notes, *talks.notes()),
    )


def _in_a_process(port: int, number: int, seconds: float, seed: int, questions: list[str]) -> list[Person]:
    """Its own interpreter: people do not take the server's time."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_crowd, args=(port, number, seconds, seed, questions, results), daemon=True)
    process.start()
    try:
        people: list[Person] = results.get(timeout=seconds + 2 * _WHOLE + 60)
    except Exception as error:
        raise DuplexError("people_lost", f"the people who talk did not come back ({error!r})") from None
    finally:
        process.join(5)
        process.kill()
    return people


def _figures(levels: Sequence[Level]) -> dict[str, Any]:
    one = levels[0]
    found: dict[str, Any] = {}
    for name in ("first_token", "machine"):
        found |= {f"{name}_ms_{q}": value for q, value in quantiles(getattr(one, name)).items()}
    for name, values in (("slice_listen", one.listening), ("slice_speak", one.speaking)):
        found |= {f"{name}_ms_{q}": value for q, value in quantiles(values).items()}
    found["stages"] = {stage.replace(" ", "_"): quantiles(values) for stage, values in one.stages.items()}
    found["by_conversations"] = {
        str(level.conversations): {
            "first_token_ms": quantiles(level.first_token),
            "machine_ms": quantiles(level.machine),
            "slice_ms": quantiles([*level.listening, *level.speaking]),
            "late_ms": quantiles(level.late),
            "overruns": level.overrun_share,
        }
        for level in levels
    }
    found["overruns"] = round(sum(v.overruns for v in levels) / max(1, sum(v.slices for v in levels)), 4)
    found["conversations"] = levels[-1].conversations
    return found


def _result(
    levels: Sequence[Level], missing: Sequence[str], model: str, most: int, seconds: float, seed: int, took: float
) -> Result:
    figures = _figures(levels)
    rows: list[tuple[Cell, ...]] = []
    for level in levels:
        slices = quantiles([*level.listening, *level.speaking])
        first, own = quantiles(level.first_token), quantiles(level.machine)
        halves = round(level.halves / level.slices, 4) if level.slices else None
        of_three = (*first.values(), *own.values(), *slices.values())
        rows.append((level.conversations, *of_three, level.slices, level.overrun_share, halves))
    three = ("p50", "p95", "p99")
    heads = ("at once", *(f"{name} {q}" for name in ("first token", "machine", "slice") for q in three))
    heads += ("slices", "over a period", "over half of it")
    one = levels[0]
    stages = [(stage, *quantiles(values).values(), len(values)) for stage, values in one.stages.items()]
    known = [
        pictures.Stage(stage, float(q["p50"] or 0), float(q["p95"] or 0))
        for stage, values in one.stages.items()
        if (q := quantiles(values))["p50"] is not None
    ]
    title = "Where the time of a slice goes, one person, milliseconds"
    sums = {q: math.fsum(getattr(stage, q) for stage in known) for q in ("p50", "p95")}
    by = "Slices at their 95th percentile, and what the machine adds to an answer"
    series = {
        "slice": [(float(v.conversations), float(quantiles([*v.listening, *v.speaking])["p95"] or 0)) for v in levels],
        "machine, slice due to first word": [
            (float(v.conversations), float(quantiles(v.machine)["p95"] or 0)) for v in levels
        ],
    }
    half = 500 * Slicing().period_seconds
    return Result(
        name="latency",
        command=f"duplex bench latency --conversations {most} --seconds {seconds:g} --seed {seed}",
        figures=figures,
        about=ABOUT,
        tables=(
            Table("By conversations at once, milliseconds and shares", heads, tuple(rows)),
            Table("Stages with one conversation, milliseconds", ("", "p50", "p95", "p99", "n"), tuple(stages)),
        ),
        pictures=(
            Picture("stages", title, pictures.stages(title, known, sums)),
            Picture("crowd", by, pictures.lines(by, "conversations at once", "milliseconds", series, half)),
        ),
        settings={"conversations": most, "seconds": seconds, "seed": seed, "slices": "adaptive"},
        clock=tuple(figures),
        missing=tuple(missing),
        seconds=round(took, 1),
        machine=machine(model),
    )
