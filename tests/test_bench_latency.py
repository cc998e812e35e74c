"""Stages on one clock, people at a server that treats them badly, and a real run of a few seconds."""

import asyncio
import base64
import json
import math
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.evaluation.results import Result
from webapp import bench_latency, bench_voice
from webapp import serve as serve_module
from webapp.bench_latency import (
    STAGES,
    Level,
    Listened,
    Pace,
    Person,
    SliceTimes,
    Times,
    in_a_process,
    level_of,
    quantiles,
    run,
    spoken_stages,
)
from webapp.bench_voice import Results
from webapp.person import Line
from webapp.reactions import Reaction, Talk
from webapp.serve import bind

FAST = Pace(key=(0.001, 0.002), think=(0.0, 0.01), word=8.0, answer=2.0)
LISTENING = SliceTimes(due=10.0, closed=10.01, laid=10.012, decided=10.02, done=10.02, index=0)
SPEAKING = SliceTimes(due=12.0, closed=12.0, laid=12.001, decided=12.011, done=12.051, index=1, tokens=10)


# — the arithmetic —


def test_both_sides_are_brought_together() -> None:
    server = Times([LISTENING, SPEAKING], heard=[11.501], told={0: 10.021, 1: 12.012})
    person = Person(keys=[11.5], asked=[(11.5, 12.02, 1), (13.0, math.nan, -1)], slices={0: 10.025, 1: 12.013})
    level = level_of([server], [person], period_seconds=2.0)
    assert level.first_token == [pytest.approx(520)]
    assert level.machine == [pytest.approx(20)]
    assert level.listening == [pytest.approx(20)]
    assert level.speaking == [pytest.approx(51)]
    expected = {"text in": [1], "layout": [2, 1], "append": [8, 10], "decode": [40], "out": [4, 1]}
    assert level.stages == {stage: pytest.approx(values) for stage, values in expected.items()}
    assert level.late == [pytest.approx(10), pytest.approx(0)]
    assert level.whole == [pytest.approx(1 + 51 + 1)]  # the key before it, the slice, its way to the client
    assert (level.asked, level.slices, level.overruns, level.halves) == (2, 2, 0, 0)


@pytest.mark.parametrize(
    "each", [LISTENING, SPEAKING, replace(SPEAKING, closed=12.5, laid=12.6, decided=13, done=14.1)]
)
def test_the_stages_add_up_to_the_whole_slice(each: SliceTimes) -> None:
    level = level_of([Times([each])], [Person()], 2.0)
    within = (level.late, *(level.stages[stage] for stage in ("layout", "append", "decode")))
    assert math.fsum(map(math.fsum, within)) == pytest.approx(1000 * (each.done - each.due))
    assert level.all_slices == [pytest.approx(1000 * (each.done - each.due))]


def test_a_slice_that_takes_longer_than_its_period() -> None:
    slow = SliceTimes(due=0.0, closed=0.0, laid=0.0, decided=1.0, done=2.1, index=0, tokens=1)
    half = SliceTimes(due=3.0, closed=3.0, laid=3.0, decided=4.0, done=4.1, index=1, tokens=1)
    level = level_of([Times([slow, half], told={0: 1.0, 1: 4.0})], [Person()], 2.0)
    assert (level.overruns, level.halves, level.overrun_share, level.half_share) == (1, 2, 0.5, 1.0)


def test_what_is_not_over_and_what_nobody_was_told_is_not_counted() -> None:
    unfinished = SliceTimes(due=0.0, closed=0.0, laid=0.0, index=3)
    renewed = SliceTimes(due=0.0, closed=0.0, laid=0.0, decided=1.0, done=1.0)
    level = level_of([Times([unfinished, renewed])], [Person()], 2.0)
    assert (level.slices, level.overrun_share, level.half_share) == (0, None, None)


def test_an_answer_before_the_last_key_is_no_reaction() -> None:
    assert level_of([Times()], [Person(asked=[(5.0, 4.0, 0)])], 2.0).first_token == []


def test_who_never_reached_the_server_has_no_conversation_there() -> None:
    here = Person(keys=[1.0], asked=[(1.0, 1.5, 0)])
    server = Times([SliceTimes(due=1.3, closed=1.3, laid=1.3, decided=1.4, done=1.4, index=0)], heard=[1.002])
    level = level_of([server], [Person(unreached=True, cut_off="no way"), here], 2.0)
    assert (level.conversations, level.cut_off, level.refused) == (2, ["no way"], True)
    assert level.stages["text in"] == [pytest.approx(2)]
    assert level.machine == [pytest.approx(200)]


def test_quantiles_are_values_that_occurred() -> None:
    assert quantiles([float(n) for n in range(1, 101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert quantiles([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0}
    assert quantiles([2.0, 1.0]) == {"p50": 1.0, "p95": 2.0, "p99": 2.0}
    assert quantiles([]) == {"p50": None, "p95": None, "p99": None}


def test_figures_and_tables_of_levels() -> None:
    one = Level(1, asked=2, first_token=[300.0], machine=[20.0], listening=[10.0], speaking=[60.0, 1100.0], halves=1)
    two = Level(2, asked=3, listening=[10.0] * 6, speaking=[2500.0], overruns=1, halves=1, cut_off=["gone"])
    figures = bench_latency._figures([one, two])
    assert (figures["first_token_ms_p50"], figures["slice_speak_ms_p99"]) == (300.0, 1100.0)
    assert (figures["overruns"], figures["over_half"], figures["conversations"]) == (0.1, 0.2, 2)
    assert figures["by_conversations"]["2"]["machine_ms"] == {"p50": None, "p95": None, "p99": None}
    assert figures["by_conversations"]["2"]["cut_off"] == 1
    json.dumps(figures, allow_nan=False)
    answers, slices, stages = bench_latency._tables([one, two])
    assert [row[0] for row in answers.rows] == [row[0] for row in slices.rows] == [1, 2]
    assert [row[0] for row in stages.rows][: len(STAGES)] == list(STAGES)
    for table in (answers, slices, stages):
        assert all(len(row) == len(table.columns) for row in table.rows)


# — one who speaks —


def test_the_stages_of_a_spoken_question() -> None:
    def told(arrived: float, kind: str, **values: Any) -> tuple[float, dict[str, Any]]:
        return 100 + arrived, {"type": kind, **values}

    certain, delta = "conversation.item.input_audio_transcription.delta", {"response_id": "d-1", "slice": 4}
    events = [
        told(1.002, "duplex.hypothesis", at=51.0),  # the session began at 50.002 of this clock, and one takes 2 ms
        told(2.9, certain, at=52.8),
        told(2.9, "input_audio_buffer.speech_stopped", at=52.0, noticed_at=52.4),
        told(3.1, "response.created", response={"id": "d-1"}),
        told(3.11, "response.output_text.delta", **delta),
        told(3.2, "response.output_text.delta", **delta),
        told(3.31, "response.output_audio.delta", response_id="d-1"),
        told(6.0, "response.created", response={"id": "d-2"}),  # begins while the next one is still being said
        told(6.1, "response.output_text.delta", response_id="d-2", slice=5),
        told(6.2, "response.output_audio.delta", response_id="d-2"),
    ]
    server = Times([SliceTimes(due=103.0, closed=103.05, laid=103.05, index=4)])
    stages = spoken_stages([(1.0, 2.0), (5.5, 6.5)], Listened(100.0, events), server)
    expected = {
        "end of speech noticed": 402, "words certain": 498, "slice closed": 150, "model decided": 50,
        "first text at the page": 10, "first sound at the page": 200,
    }  # fmt: skip
    assert stages == {stage: [pytest.approx(value)] for stage, value in expected.items()}
    assert spoken_stages([(1.0, 2.0)], Listened(100.0, events[:-4]), server) == {}  # never said aloud


def voice(monkeypatch: pytest.MonkeyPatch, hold_all: Callable[..., Results], wanted: bool = True) -> Result:
    monkeypatch.setattr(bench_voice, "hold_all", hold_all)
    result = Result("latency", "duplex bench latency", {}, "")
    return bench_latency._with_voice(result, "embedded", wanted)


def test_spoken_talks_in_a_browser_are_measured_if_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def hold_all(model: str, out: None, notes: list[str]) -> Results:
        line = Line("question", "Why?", 4.0)
        moments = tuple(3.0 + n / 10 for n in range(1, 8))
        reaction = Reaction(line, 1.0, 3.0, "why", False, moments[-1], None, None, False, None, moments)
        notes.append(f"a note of {model}")
        return Results({"slt": Talk((reaction,), (), 0)})

    result = voice(monkeypatch, hold_all)
    assert result.command.endswith(" --voice")
    assert [name for name, _, _, _ in result.tables[0].rows] == [*bench_voice.STAGES, "together"]
    assert {q["p95"] for q in result.figures["voice"].values()} == {100.0}
    assert result.tables[0].rows[-1][1:] == (700.0, 700.0, 700.0)
    assert (result.clock, [p.name for p in result.pictures]) == (("voice",), ["voice"])
    assert result.missing[0] == "spoken talks in a browser: a note of embedded"


def test_spoken_talks_that_cannot_be_held_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_browser(*_: object) -> Results:
        raise DuplexError("no_browser", "no Chromium could be started")

    asked, silent = voice(monkeypatch, no_browser), voice(monkeypatch, lambda *_: Results())
    assert asked.missing == ("spoken talks in a browser: no Chromium could be started",)
    assert (silent.tables, silent.pictures, silent.figures) == ((), (), {})
    assert voice(monkeypatch, no_browser, wanted=False).missing == (
        "spoken talks in a browser: --voice measures them, in minutes",
    )


# — people at a server —

Part = Callable[[ServerConnection], Awaitable[None]]


def at(parts: list[Part], talk: Callable[[int], Awaitable[Any]]) -> Any:
    """What `talk(port)` gives at a server that treats its n-th guest as `parts[n]` says."""

    async def hold() -> Any:
        guests = iter(parts)

        async def guest(socket: ServerConnection) -> None:
            assert json.loads(await socket.recv())["type"] == "session.update"
            await next(guests)(socket)

        async with serve(guest, "127.0.0.1", 0) as server:
            return await talk(next(iter(server.sockets)).getsockname()[1])

    return asyncio.run(hold())


def type_all(number: int, pace: Pace = FAST) -> Callable[[int], Awaitable[list[Person]]]:
    return lambda port: bench_latency._type_all(port, number, 0.3, 0, ["Why?"], pace)


async def say(socket: ServerConnection, kind: str, **values: Any) -> None:
    await socket.send(json.dumps({"type": kind, "system": "duplex", **values}))


async def let_in(socket: ServerConnection, ears: str | None = None) -> None:
    await say(socket, "duplex.pace", level=0)  # comes first where others are inside
    voices = [{"id": "tone"}]
    await say(socket, "session.created", session={"audio": {"ears": ears, "voices": voices, "note": "no ears here"}})


async def answer(socket: ServerConnection) -> None:
    """An answer in the middle of each question, and one after it."""
    await let_in(socket)
    number = 0
    async for message in socket:
        key = json.loads(message)["insert"]
        if key in "y?":
            number += 1
            await say(socket, "response.output_text.delta", response_id=f"r{number}", slice=number)
            await say(socket, "response.done", response_id=f"r{number}")
        if key == "?":
            await say(socket, "response.output_text.delta", response_id=f"r{number}", slice=number)  # not its first


async def answer_late(socket: ServerConnection) -> None:
    """While the next question is being typed; and much more than anybody reads."""
    await let_in(socket)
    number = 0
    async for message in socket:
        if json.loads(message)["insert"] == "h":
            number += 1
            await say(socket, "response.output_text.delta", response_id=f"r{number}", slice=number)
        for _ in range(20):
            await say(socket, "duplex.slice", index=number)


async def leave(socket: ServerConnection) -> None:
    await let_in(socket)
    await socket.recv()


async def break_down(socket: ServerConnection) -> None:
    await let_in(socket)
    await say(socket, "duplex.pace", level=1)
    await say(socket, "error", error={"message": "the conversation broke off"})
    await socket.wait_closed()


async def refuse(socket: ServerConnection) -> None:
    await say(socket, "error", error={"message": "nobody else today"})


def test_only_an_answer_that_begins_after_the_last_key_counts() -> None:
    (person,) = at([answer], type_all(1))
    assert (person.cut_off, person.strained) == ("", False)
    assert len(person.keys) == 4 * len(person.asked) >= 8  # the next question comes after the answer
    assert all(last in person.keys for last, _, _ in person.asked)
    assert all(0 < first - last < 0.3 for last, first, _ in person.asked)
    assert [index for _, _, index in person.asked] == [2 * n + 2 for n in range(len(person.asked))]


def test_an_answer_that_begins_while_the_next_question_is_typed_counts_for_neither() -> None:
    begun = time.monotonic()
    (person,) = at([answer_late], type_all(1, replace(FAST, word=0.02)))
    assert len(person.asked) >= 2
    assert all(math.isnan(first) for _, first, _ in person.asked)
    assert time.monotonic() - begun < 9  # seconds; who leaves says goodbye at once


def test_who_is_cut_off_is_named_and_the_others_go_on() -> None:
    people = at([answer, leave, break_down, refuse], type_all(4))
    assert [p.cut_off for p in people] == [
        "",
        "the connection was closed in the middle of the talk",
        "the conversation broke off",
        "nobody else today",
    ]
    assert [p.refused for p in people] == [False, False, False, True]
    assert [p.strained for p in people] == [False, False, True, False]
    assert len(people[0].asked) >= 2
    level = level_of([], people, 2.0)
    assert bench_latency._notes(level)[0].startswith("4 at once: 1 had to leave: the connection was closed")


def test_nobody_at_home() -> None:
    (person,) = in_a_process(bench_latency._type_all, 9, 1, 0.1, 0, ["Why?"], FAST, most_seconds=60)
    assert person.unreached
    assert person.cut_off.startswith("the server was not reached")


def test_one_who_cannot_speak_says_why() -> None:
    heard = at([let_in], lambda port: bench_latency._speak(port, bytes(640)))
    assert (heard.problem, heard.events) == ("no ears here", [])
    assert at([refuse], lambda port: bench_latency._speak(port, bytes(640))).problem == "nobody else today"


def test_one_who_speaks_sends_sound_and_tells_what_was_played() -> None:
    got: list[dict[str, Any]] = []

    async def hear(socket: ServerConnection) -> None:
        await let_in(socket, "a recogniser")
        sound = base64.b64encode(bytes(2 * 240)).decode()
        await say(socket, "response.output_audio.delta", response_id="d-1", start=0, delta=sound)
        await say(socket, "duplex.slice", index=0)
        await socket.send(json.dumps({"type": "duplex.slice", "system": "turns"}))
        await socket.send(json.dumps({"type": "duplex.audio.problem", "message": "a dry mouth"}))
        async for message in socket:
            got.append(json.loads(message))

    heard = at([hear], lambda port: bench_latency._speak(port, bytes(640 * 3)))
    assert got[0]["session"]["audio"]["output"] == {"voice": "tone", "system": "duplex"}
    frames = [base64.b64decode(m["audio"]) for m in got if m["type"] == "input_audio_buffer.append"]
    assert frames == [bytes(640)] * 3
    played = [m for m in got if m["type"] == "duplex.audio.played"]
    assert [(m["response_id"], m["samples"], m["playing"]) for m in played] == [("d-1", 240, False)]
    kinds = ["response.output_audio.delta", "duplex.slice", "duplex.audio.problem"]
    assert [event["type"] for _, event in heard.events] == kinds
    assert heard.problem == "a dry mouth"


# — a process of their own —


def test_people_who_are_lost_are_an_error() -> None:
    with pytest.raises(DuplexError, match="their process ended with 1"):
        in_a_process(asyncio.sleep, "long", most_seconds=60)
    with pytest.raises(DuplexError, match=r"did not come back within 0 s"):
        in_a_process(asyncio.sleep, 60, most_seconds=0.1)


# — a real run —


def test_a_real_run(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    def nobody_speaks() -> Any:
        raise DuplexError("voice_missing", "no voice today")

    monkeypatch.setattr(bench_latency, "_questions_aloud", nobody_speaks)
    result = run("embedded", conversations=1, seconds=1.0, pace=FAST)
    figures = result.figures
    assert set(figures["stages"]) == {stage.replace(" ", "_") for stage in STAGES}
    assert all(value is None or value >= 0 for stage in figures["stages"].values() for value in stage.values())
    assert 0 < figures["machine_ms_p50"] <= figures["first_token_ms_p50"]
    assert figures["slice_speak_ms_p50"] >= figures["stages"]["decode"]["p50"] > 0
    assert figures["by_conversations"]["1"]["answered"] >= 1
    assert set(result.clock) == set(figures)
    assert [p.name for p in result.pictures] == ["stages", "crowd"]
    assert any("no voice today" in note for note in result.missing)
    assert any("--voice" in note for note in result.missing)
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize(("conversations", "seconds"), [(0, 10.0), (1, 0.0), (1, math.inf)])
def test_bad_numbers(conversations: int, seconds: float) -> None:
    with pytest.raises(BadInput, match="--conversations and --seconds"):
        run("embedded", conversations, seconds)


def test_an_unknown_model(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[socket.socket] = []

    def keep(host: str, port: int) -> socket.socket:
        bound.append(bind(host, port))
        return bound[-1]

    monkeypatch.setattr(serve_module, "bind", keep)
    try:
        with pytest.raises(DuplexError, match="nowhere"):
            run("/nowhere/at/all", 1, 1.0)
    finally:
        for listener in bound:
            listener.close()
