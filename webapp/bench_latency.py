"""`duplex bench latency`: where the time of a slice goes, and how it grows with the number of people who talk at once.

    duplex bench latency --conversations 16 --seconds 20

A real server, and people in a process of their own who type questions key by key and wait for the answer. Both sides
read the machine's monotonic clock, which is one for all processes (of Linux and macOS), so a stage may begin at one
side and end at the other.

text in   a key is sent → the conversation has it        decode   the passes after it, until the slice is said
layout    a slice is closed and laid out in token ids    out      what happened is told → it has arrived
append    the forward pass that takes it in and decides

Layout, append and decode follow each other without a gap; with `late` before them (a slice is due → it is closed) they
are a slice's whole time. Where ears and a voice are installed, one more person speaks a few questions.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import multiprocessing
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from duplex_runtime.engine.requests import Output, SliceRequest
from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.evaluation import pictures
from duplex_runtime.evaluation.results import Cell, Picture, Result, Table, machine
from duplex_runtime.events import Event, Input, Slice, UserText
from duplex_runtime.loop import Conversation
from duplex_runtime.slices import Slicing

if TYPE_CHECKING:  # the people's process needs no torch
    from duplex_runtime.models.load import LoadedModel
    from webapp.person import Recorded

T = TypeVar("T")
STAGES = ("text in", "layout", "append", "decode", "out")
QUANTILES = ("p50", "p95", "p99")
#: For a connection to open and a session to begin: the machine may be busy.
_PATIENCE_SECONDS = 30.0
#: Sound of the one who speaks: int16 at so many samples a second, in frames; silent for so long after a question.
_SOUND_RATE, _FRAME_SECONDS, _SILENT_SECONDS = 16_000, 0.02, 4.5
#: Samples a second of what they hear, and how often they tell what was played.
_VOICE_RATE, _REPORT_SECONDS = 24_000, 0.1

ABOUT = (
    "People type questions key by key to a real server and read the answers, one alone and several at once. First "
    "token: last key to first word at the client; of that the rule of the conversation takes the pause it waits "
    "for, and the machine the rest (slice due to first word). A slice is over when its last token is made. "
    "Overruns: slices that took longer than their period. The server holds the turn-based talk of everybody as well, "
    "as it does for the page, and the people's process runs on the same machine. "
    "Of few values p95 and p99 are the largest."
)


@dataclass(frozen=True)
class Pace:
    """How people type, in seconds: from key to key, and from an answer to the next question (least, most); how long
    they wait for a first word, and for a whole answer."""

    key: tuple[float, float] = (0.08, 0.2)
    think: tuple[float, float] = (0.5, 2.0)
    word: float = 8.0
    answer: float = 40.0


HUMAN = Pace()


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
    """A conversation that writes down when it was called; all else is as inside."""

    def __init__(self, inner: Conversation, times: Times) -> None:
        self._inner, self._times = inner, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

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
    first word of the answer that began after it (NaN: none) and its slice. slices: number → arrival. cut_off: why they
    had to leave. refused: the server let nobody in any more. unreached: it never knew of them. strained: it slowed
    down."""

    keys: list[float] = field(default_factory=list)
    asked: list[tuple[float, float, int]] = field(default_factory=list)
    slices: dict[int, float] = field(default_factory=dict)
    cut_off: str = ""
    refused: bool = False
    unreached: bool = False
    strained: bool = False


async def _enter(port: int) -> tuple[Any, dict[str, Any]]:
    """A session of one's own, and what the server says of it. Raises OSError or TimeoutError if it cannot be reached,
    DuplexError if it lets nobody in."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    async with asyncio.timeout(_PATIENCE_SECONDS):
        try:
            # max_queue: who leaves with messages unread would wait ten seconds for the goodbye behind them
            url = f"ws://127.0.0.1:{port}/v1/realtime"
            socket = await connect(url, max_size=None, max_queue=None, proxy=None)
            await socket.send(json.dumps({"type": "session.update", "session": {"slice_seconds": "adaptive"}}))
        except WebSocketException as error:
            raise ConnectionError(str(error)) from None
        why = "the connection was closed before the session began"
        with suppress(WebSocketException):
            while (event := json.loads(await socket.recv()))["type"] != "session.created":
                if event["type"] == "error":
                    why = event["error"]["message"]
                    break
            else:
                return socket, event["session"]
        await socket.close()
    raise DuplexError("refused", why)


async def _type_all(
    port: int, number: int, seconds: float, seed: int, questions: list[str], pace: Pace
) -> list[Person]:
    people = [Person() for _ in range(number)]
    inside = []
    for n, person in enumerate(people):  # one after the other: the server counts them in this order
        try:
            socket, _ = await _enter(port)
        except DuplexError as error:
            person.cut_off, person.refused = str(error), True
        except OSError as error:  # TimeoutError is one
            person.cut_off, person.unreached = f"the server was not reached ({error!r})", True
        else:
            inside.append(_Typist(socket, person, random.Random(f"{seed}/{number}/{n}"), pace))
    end = time.monotonic() + seconds
    await asyncio.gather(*(typist.talk(end, questions) for typist in inside))
    return people


class _Typist:
    """One person at one socket."""

    def __init__(self, socket: Any, person: Person, rng: random.Random, pace: Pace) -> None:
        self._socket, self._person, self._rng, self._pace = socket, person, rng, pace
        self._typing = False
        self._answer = ""  # the newest one
        self._word, self._done = asyncio.Event(), asyncio.Event()

    async def talk(self, end: float, questions: Sequence[str]) -> None:
        """Ask until `end`, or until the server ends it."""
        from websockets.exceptions import ConnectionClosed

        reading, asking = asyncio.create_task(self._read()), asyncio.create_task(self._ask_all(end, questions))
        await asyncio.wait({reading, asking}, return_when=asyncio.FIRST_COMPLETED)
        early = not asking.done()
        reading.cancel()
        asking.cancel()
        for result in await asyncio.gather(reading, asking, return_exceptions=True):
            if isinstance(result, ConnectionClosed):
                early = True
            elif isinstance(result, Exception):
                raise result
        if early:
            self._person.cut_off = self._person.cut_off or "the connection was closed in the middle of the talk"
        await self._socket.close()

    async def _ask_all(self, end: float, questions: Sequence[str]) -> None:
        await asyncio.sleep(self._rng.uniform(0, self._pace.think[0]))
        while time.monotonic() < end:
            await self._type(self._rng.choice(questions))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._word.wait(), self._pace.word)
                await asyncio.wait_for(self._done.wait(), min(self._pace.answer, max(0.0, end - time.monotonic())))
            await asyncio.sleep(self._rng.uniform(*self._pace.think))

    async def _type(self, question: str) -> None:
        self._typing = True
        for n, key in enumerate(question):
            if n:
                await asyncio.sleep(self._rng.uniform(*self._pace.key))
            self._person.keys.append(time.monotonic())
            await self._socket.send(json.dumps({"type": "duplex.input.edit", "delete": 0, "insert": key}))
        self._person.asked.append((self._person.keys[-1], math.nan, -1))
        self._typing = False
        self._word.clear()
        self._done.clear()

    async def _read(self) -> None:
        person = self._person
        async for message in self._socket:
            now, event = time.monotonic(), json.loads(message)
            if event["type"] == "error":
                person.cut_off = event["error"]["message"]
                return
            if event.get("system") != "duplex":
                continue
            match event["type"]:
                case "duplex.slice":
                    person.slices[event["index"]] = now
                case "response.output_text.delta" if event["response_id"] != self._answer:
                    self._answer = event["response_id"]
                    # one that began before the last key was no answer to the question
                    if person.asked and not self._typing and math.isnan(person.asked[-1][1]):
                        person.asked[-1] = (person.asked[-1][0], now, event["slice"])
                        self._word.set()
                case "response.done" if event["response_id"] == self._answer:
                    self._done.set()
                case "duplex.pace" if event["level"]:
                    person.strained = True


def in_a_process(talk: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, most_seconds: float) -> T:
    """What `await talk(*arguments)` gives in an interpreter of its own: people do not take the server's time."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, talk, arguments), daemon=True)
    process.start()
    sender.close()  # so that its end is seen here
    try:
        if not receiver.poll(most_seconds):
            raise DuplexError("people_lost", f"the people who talk did not come back within {most_seconds:.0f} s")
        found: T = receiver.recv()
        return found
    except EOFError:
        process.join(5)
        why = f"their process ended with {process.exitcode}; its error stands above"
        raise DuplexError("people_lost", f"the people who talk were lost: {why}") from None
    finally:
        process.kill()
        process.join()
        receiver.close()


def _child(sender: Any, talk: Callable[..., Coroutine[Any, Any, Any]], arguments: tuple[Any, ...]) -> None:
    sender.send(asyncio.run(talk(*arguments)))


# — together —


@dataclass
class Level:
    """So many conversations at once: milliseconds of everything that was measured.

    machine: of an answer, from when its slice was due to its first word. listening, speaking: slices, from when they
    were due. whole: of each that speaks, all stages and the key before it. asked: questions. cut_off: for each who had
    to leave, why. refused, strained: the server let somebody not in, or slowed down.
    """

    conversations: int
    asked: int = 0
    first_token: list[float] = field(default_factory=list)
    machine: list[float] = field(default_factory=list)
    listening: list[float] = field(default_factory=list)
    speaking: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    overruns: int = 0
    halves: int = 0
    cut_off: list[str] = field(default_factory=list)
    refused: bool = False
    strained: bool = False

    @property
    def all_slices(self) -> list[float]:
        """Those that listen and those that speak."""
        return [*self.listening, *self.speaking]

    @property
    def slices(self) -> int:
        """How many."""
        return len(self.listening) + len(self.speaking)

    @property
    def overrun_share(self) -> float | None:
        """Of all slices: those that took longer than a period."""
        return round(self.overruns / self.slices, 4) if self.slices else None

    @property
    def half_share(self) -> float | None:
        """Of all slices: those that took longer than half a period."""
        return round(self.halves / self.slices, 4) if self.slices else None


def level_of(times: Sequence[Times], people: Sequence[Person], period_seconds: float) -> Level:
    """Bring both sides together: conversation n is that of person n, of those whom the server knew."""
    level = Level(
        len(people),
        asked=sum(len(p.asked) for p in people),
        cut_off=[p.cut_off for p in people if p.cut_off],
        refused=any(p.refused or p.unreached for p in people),
        strained=any(p.strained for p in people),
    )
    for server, person in zip(times, [p for p in people if not p.unreached], strict=False):
        keys = list(zip(person.keys, server.heard, strict=False))
        level.stages["text in"].extend(1000 * (heard - sent) for sent, heard in keys)
        for each in server.slices:
            if not math.isnan(each.done) and each.index >= 0:
                _count(level, each, keys, server.told.get(each.index), person.slices.get(each.index), period_seconds)
        due = {each.index: each.due for each in server.slices}
        for asked, answered, index in person.asked:
            if answered > asked:
                level.first_token.append(1000 * (answered - asked))
                if index in due and answered > due[index]:
                    level.machine.append(1000 * (answered - due[index]))
    return level


def _count(
    level: Level,
    each: SliceTimes,
    keys: Sequence[tuple[float, float]],
    told: float | None,
    arrived: float | None,
    period_seconds: float,
) -> None:
    took = each.done - each.due
    level.overruns += took > period_seconds
    level.halves += took > period_seconds / 2
    (level.speaking if each.tokens else level.listening).append(1000 * took)
    level.late.append(1000 * (each.closed - each.due))
    level.stages["layout"].append(1000 * (each.laid - each.closed))
    level.stages["append"].append(1000 * (each.decided - each.laid))
    if each.tokens:
        level.stages["decode"].append(1000 * (each.done - each.decided))
    if told is None or arrived is None:
        return
    level.stages["out"].append(1000 * (arrived - told))
    before = [heard - sent for sent, heard in keys if heard <= each.closed]
    if each.tokens and before:
        level.whole.append(1000 * (before[-1] + each.done - each.closed + arrived - told))


def quantiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p95 and p99, each a value that occurred (nearest rank); None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return dict.fromkeys(QUANTILES)
    return {q: round(ordered[max(0, math.ceil(int(q[1:]) * len(ordered) / 100) - 1)], 2) for q in QUANTILES}


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
            most = seconds + number * _PATIENCE_SECONDS + pace.word + 60
            people = in_a_process(_type_all, port, number, seconds, seed, questions, pace, most_seconds=most)
            levels.append(level_of(watched[0].times, people, Slicing().period_seconds))
            missing += _notes(levels[-1])
            if levels[-1].refused or levels[-1].strained:
                if number < conversations:
                    missing.append(f"more than {number} at once: the server slowed down or let nobody else in")
                break
        if not any(level.first_token for level in levels):
            raise DuplexError("no_answer", "; ".join(["none of the questions was answered", *missing]))
        spoken = _speak_some(port, watched[0].times, missing)
    result = _result(levels, missing, model, conversations, seconds, seed)
    result = _with_voice(_with_stages(result, "spoken", _SPOKEN, spoken), model, voice)
    return replace(result, seconds=round(time.monotonic() - begun, 1))


def _notes(level: Level) -> list[str]:
    """Who had to leave."""
    return [
        f"{level.conversations} at once: {level.cut_off.count(why)} had to leave: {why}"
        for why in dict.fromkeys(level.cut_off)
    ]


# — one who speaks —

_CERTAIN = "conversation.item.input_audio_transcription.delta"
_SPOKEN = "One who speaks, from the end of a question to the first sound at the client"


@dataclass
class Listened:
    """What one who speaks saw: when their sound began on the monotonic clock, and what arrived when. problem: why they
    could not speak."""

    begun: float = math.nan
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    problem: str = ""


async def _speak(port: int, sound: bytes) -> Listened:
    """Send sound as a microphone gives it, and hear the answers to it."""
    from websockets.exceptions import ConnectionClosed

    heard = Listened()
    try:
        socket, session = await _enter(port)
    except (DuplexError, OSError) as error:
        return Listened(problem=str(error))
    audio = session["audio"]
    if not audio["ears"] or not audio["voices"]:
        await socket.close()
        return Listened(problem=audio["note"] or "no voice is installed here: pip install 'duplex-arena[voice]'")
    played: asyncio.Queue[tuple[str, int, int]] = asyncio.Queue()
    tasks = [asyncio.create_task(_listen(socket, heard, played)), asyncio.create_task(_play(socket, played))]
    try:
        form = {"format": {"type": "audio/pcm", "rate": _SOUND_RATE}}
        output = {"voice": audio["voices"][0]["id"], "system": "duplex"}
        await socket.send(
            json.dumps({"type": "session.update", "session": {"audio": {"input": form, "output": output}}})
        )
        heard.begun, size = time.monotonic(), 2 * round(_FRAME_SECONDS * _SOUND_RATE)
        for n in range(len(sound) // size):
            await asyncio.sleep(heard.begun + (n + 1) * _FRAME_SECONDS - time.monotonic())
            frame = base64.b64encode(sound[n * size :][:size]).decode()
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": frame}))
    except ConnectionClosed:
        heard.problem = "the connection was closed in the middle of the talk"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await socket.close()
    return heard


async def _listen(socket: Any, heard: Listened, played: asyncio.Queue[tuple[str, int, int]]) -> None:
    async for message in socket:
        now, event = time.monotonic(), json.loads(message)
        if event["type"] == "response.output_audio.delta":
            samples = len(base64.b64decode(event.pop("delta"))) // 2
            played.put_nowait((event["response_id"], event["start"], event["start"] + samples))
        if event.get("system") in (None, "duplex"):
            heard.events.append((now, event))
        problem = event["type"] in ("error", "duplex.audio.problem")
        heard.problem = heard.problem or (str(event.get("message", event.get("error"))) if problem else "")


async def _play(socket: Any, sounds: asyncio.Queue[tuple[str, int, int]]) -> None:
    """A loudspeaker without sound: tells what it would have played."""
    while True:
        name, at, end = await sounds.get()
        while at < end:
            step = min(round(_REPORT_SECONDS * _VOICE_RATE), end - at)
            await asyncio.sleep(step / _VOICE_RATE)
            at += step
            report = {"response_id": name, "samples": at, "playing": at < end}
            await socket.send(json.dumps({"type": "duplex.audio.played", **report}))


def _speak_some(port: int, times: list[Times], missing: list[str]) -> dict[str, list[float]]:
    """Milliseconds of each stage of a few spoken questions; empty if nobody can speak here: `missing` gets why."""
    try:
        said, sound = _questions_aloud()
        times.clear()
        heard = in_a_process(_speak, port, sound, most_seconds=said.seconds + 2 * _PATIENCE_SECONDS)
    except DuplexError as error:
        missing.append(f"spoken questions: {error}")
        return {}
    stages = spoken_stages([(s.begin, s.end) for s in said.said], heard, times[-1] if times else Times())
    answered = len(next(iter(stages.values()), ()))
    if heard.problem or answered < len(said.said):
        why = f" ({heard.problem})" if heard.problem else ""
        missing.append(f"spoken questions: {answered} of {len(said.said)} were answered aloud{why}")
    return stages


def _questions_aloud() -> tuple[Recorded, bytes]:
    """Four questions in one voice: when each begins and ends, and int16 at _SOUND_RATE."""
    import numpy as np

    from duplex_runtime.alignment.corpus import load
    from duplex_runtime.evaluation.sound import resampled
    from webapp.bench_voice import script
    from webapp.person import RATE, espeak, flite, has_flite, recorded

    lines = [replace(line, after=_SILENT_SECONDS) for line in script(load(), 0) if line.kind == "question"]
    said = recorded(lines, flite("slt") if has_flite() else espeak("en-us"))
    samples = np.clip(resampled(said.sound, RATE, _SOUND_RATE), -1, 1)
    return said, (samples * 32767).astype("<i2").tobytes()


def spoken_stages(spoken: Sequence[tuple[float, float]], heard: Listened, server: Times) -> dict[str, list[float]]:
    """Milliseconds of each stage, for each question that was answered aloud once it was over; empty if none was.

    spoken: when each question begins and ends, seconds of the sound. The stages are those of `reactions.STAGES` but the
    last: nobody hears it here. The end of speech is noticed when the server says it was, on the session's clock: the
    news comes with the last words, so that what recognising takes would look like noticing.
    """
    from webapp.reactions import STAGES as NAMES

    closed = {each.index: each.closed for each in server.slices}
    session = _session_began(heard)
    begins = [heard.begun + begin for begin, _ in spoken]
    stages: dict[str, list[float]] = {}

    def arrivals(kind: str, since: float, until: float, **values: Any) -> list[tuple[float, dict[str, Any]]]:
        return [
            (at, e)
            for at, e in heard.events
            if e["type"] == kind and since <= at < until and values.items() <= e.items()
        ]

    for begin, end, until in zip(begins, (heard.begun + e for _, e in spoken), [*begins[1:], math.inf], strict=True):
        created = arrivals("response.created", begin, until)
        if not created or created[0][0] < end:
            continue
        decided, name = created[0][0], created[0][1]["response"]["id"]
        text = arrivals("response.output_text.delta", begin, until, response_id=name)
        sound = arrivals("response.output_audio.delta", begin, until, response_id=name)
        if not text or not sound:
            continue
        noticed = [session + e["noticed_at"] for _, e in arrivals("input_audio_buffer.speech_stopped", begin, decided)]
        certain = [at for at, _ in arrivals(_CERTAIN, begin, decided)]
        moments = [end, *(each[-1] if each else end for each in (noticed, certain))]
        moments += [closed.get(text[0][1]["slice"], end), decided, text[0][0], sound[0][0]]
        for stage, (one, next_one) in zip(NAMES, pairwise(accumulate(moments, max)), strict=False):
            stages.setdefault(stage, []).append(1000 * (next_one - one))
    return stages


def _session_began(heard: Listened) -> float:
    """On the monotonic clock: what is told at once arrives at the least difference."""
    return min((at - e["at"] for at, e in heard.events if e["type"] in (_CERTAIN, "duplex.hypothesis")), default=0.0)


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
