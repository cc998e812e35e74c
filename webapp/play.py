"""`duplex play` and `duplex replay`: scripts into a conversation, and recordings through it again."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from duplex_runtime.clock import RealClock, SimulatedClock
from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.script import SliceLines, read_script
from duplex_runtime.loop import Loop, Observer, Session, run_script
from duplex_runtime.models.load import Choice, default_sampling
from duplex_runtime.recording import Recorder, header_of, read_log, replay
from duplex_runtime.slices import Slicing


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line, ensure_ascii=False), flush=True)


def play(
    script_name: str,
    choice: Choice,
    system: str,
    slice_seconds: str,
    real: bool,
    seed: int,
    record: Path | None,
    idle_threshold: float | None = None,
) -> int:
    """Events as JSON lines on standard output."""
    source: Any = sys.stdin.buffer if script_name == "-" else Path(script_name)
    script = read_script(source)
    slicing = Slicing.parse(slice_seconds)
    torch.set_num_threads(1)
    model = choice.load(system)
    sampling = default_sampling(choice.name, seed, idle_threshold)
    conversation = model.conversation(system, slicing)
    lines = SliceLines(_print)
    observers: list[Observer] = [lines]
    file = None
    if record:
        try:
            file = record.open("w", encoding="utf-8")
        except OSError as error:
            raise BadInput(f"--record {record}: cannot be written ({error.strerror})") from None
        recorder = Recorder(file, system)
        recorder.header(header_of(choice.name, sampling, {"slice_seconds": _number(slice_seconds)}))
        observers.append(recorder)
    try:
        clock = RealClock() if real else SimulatedClock()
        loop = Loop(model.engine(slots=1))
        session = loop.add(conversation, clock, sampling, observers)
        if isinstance(clock, SimulatedClock):
            run_script(loop, session, script, clock)
        else:
            _run_real(loop, session, script, clock)
        lines.finish(clock.now())
    finally:
        if file:
            file.close()
    return 0


def _number(slice_seconds: str) -> float | str:
    return slice_seconds if slice_seconds == "adaptive" else float(slice_seconds)


def _run_real(loop: Loop, session: Session, script: Any, clock: RealClock, patience: float = 60.0) -> None:
    waiting = list(script)
    end = (waiting[-1][0] if waiting else 0.0) + patience
    while waiting or (not loop.quiet and clock.now() < end):
        while waiting and waiting[0][0] <= clock.now():
            loop.hear(session, waiting.pop(0)[1], clock.now())
        if not loop.turn():
            wait = loop.wait_seconds()
            until_next = waiting[0][0] - clock.now() if waiting else 0.05
            time.sleep(max(0.0, min(until_next, wait if wait is not None else 0.05, 0.05)))


def replay_log(path: Path, model_name: str | None) -> int:
    """Status 0 if every system of the log says the same tokens again, 1 where one does not."""
    torch.set_num_threads(1)
    status = 0
    for system, log in read_log(path).items():
        try:
            slicing = Slicing.parse(log.header["slice_seconds"])
            name = model_name or log.header["model"]
        except KeyError as error:
            raise BadInput(f"{path}: the header of {system!r} has no {error}") from None
        model = Choice(name).load(system)
        barge_in = log.header.get("baseline") == "barge-in"
        conversation = model.conversation(system, slicing, log.header.get("turn_pause_seconds"), barge_in)
        tokens = sum(line["kind"] == "output" and line.get("token") is not None for line in log.lines)
        difference = next(replay(log, conversation, model.engine(slots=1)), None)
        if difference:
            status = 1
            print(f"{system}: differs at line {difference.line}: recorded {difference.expected}, got {difference.got}")
        else:
            print(f"{system}: {tokens} tokens, all the same")
    return status
