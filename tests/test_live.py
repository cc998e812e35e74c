"""A simulated person over a real WebSocket, in real time."""

import asyncio
from pathlib import Path

import pytest
from test_conduct import STOPPED, scenario
from web_fakes import Client, Place, Served

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.conduct import Job
from webapp import live

assert Client
FAST = "pace  fast"


def held(place: Place, job: Job) -> live.Held:
    with Served(place.app()) as served:
        return asyncio.run(live.talk(served.ws, "embedded", job))


def test_nobody_at_home_is_an_error_of_the_talk(tmp_path: Path) -> None:
    held = asyncio.run(live.talk("ws://127.0.0.1:9/v1/realtime", "embedded", Job("duplex", STOPPED, 0)))
    assert held.error and "broke off" in held.error


def test_only_spoken_scenarios_cannot_be_typed() -> None:
    spoken = scenario("by  speech", "0.5 s  turn  Hello.")
    with pytest.raises(BadInput, match="got only spoken ones"):
        live.run("embedded", [spoken], 1, ["duplex"], None)
