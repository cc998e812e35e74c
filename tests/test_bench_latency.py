"""Figures and tables, and a real run of a few seconds."""

import json
import math
import socket
from collections.abc import Callable
from typing import Any

import pytest

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.evaluation.results import Result
from tests.latency_fakes import FAST
from webapp import bench_latency, bench_voice
from webapp import serve as serve_module
from webapp.bench_latency import run
from webapp.bench_voice import Results
from webapp.latency import speaker
from webapp.latency.level import STAGES, Level
from webapp.person import Line
from webapp.reactions import Reaction, Talk
from webapp.serve import bind


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
    assert bench_latency._notes(two) == ["2 at once: 1 had to leave: gone"]


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


# — a real run —


def test_a_real_run(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    def nobody_speaks() -> Any:
        raise DuplexError("voice_missing", "no voice today")

    monkeypatch.setattr(speaker, "_questions_aloud", nobody_speaks)
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
