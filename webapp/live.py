"""`duplex bench panel --live`: the simulated people type to a real server in real time, over /v1/realtime.

What they see is what arrives, when it arrives: a word that comes late was late. Speech is left to `duplex bench voice`.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from duplex_runtime.engine.requests import Sampling
from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.evaluation import panel
from duplex_runtime.evaluation.conduct import SYSTEMS, Acting, Held, Job, jobs, settings_of
from duplex_runtime.evaluation.person import Person
from duplex_runtime.evaluation.results import Result
from duplex_runtime.evaluation.scenarios import Scenario
from duplex_runtime.events import Cut, Delta, Event
from duplex_runtime.recording import Recorder, header_of
from duplex_runtime.slices import Slicing
from webapp.bench import server_of
from webapp.wire import on_the_wire

#: So many people at once; a server on two cores keeps up with them.
AT_ONCE = 8
#: Seconds without any message after which a server is taken for dead: it pings every 15.
_DEAD_SECONDS = 45.0


def run(model: str, scenarios: Sequence[Scenario], seeds: int, systems: Sequence[str], out: Path | None) -> Result:
    """The panel in real time; of scenarios that can be typed."""
    begun = time.monotonic()
    typed = [s for s in scenarios if "keys" in s.ways]
    todo = [Job(j.system, j.scenario, len(j.scenario.ways) * j.seed) for j in jobs(typed, seeds, systems)]  # by keys
    if not todo:
        raise BadInput("--live: expected scenarios that can be typed, got only spoken ones")
    with server_of(model) as port:
        held = asyncio.run(_all(f"ws://127.0.0.1:{port}/v1/realtime", model, todo))
    settings = {"scenarios": len(typed), "seeds": seeds, "systems": list(systems), "at_once": AT_ONCE}
    result = panel.of_held(held, f"duplex bench panel --live --seeds {seeds}", settings, model, begun, out)
    return Result(**result.__dict__ | {"name": "panel-live", "clock": tuple(result.figures)})


async def _all(url: str, model: str, todo: Sequence[Job]) -> list[Held]:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(job: Job) -> Held:
        async with places:
            return await talk(url, model, job)

    return await asyncio.gather(*map(one, todo))


async def talk(url: str, model: str, job: Job) -> Held:
    """One talk; what ends it too early is its error."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    system, log = SYSTEMS[job.system], io.StringIO()
    recorder = Recorder(log, system.checkpoint)
    recorder.header(header_of(model, Sampling(seed=job.seed), settings_of(job, Slicing(), "keys")))
    person = Person(job.scenario, job.seed, Slicing())
    actor = Acting(person, "keys", system.enter, lambda a: recorder.act(a.kind, a.begin, a.end, a.text))
    error = None
    try:
        async with connect(url, proxy=None, max_queue=None) as socket:
            baseline = "barge-in" if system.barge_in else "strict"
            session = {"slice_seconds": "adaptive", "baseline": baseline}
            await socket.send(json.dumps({"type": "session.update", "session": session}))
            await _hold(socket, actor, person, recorder, system.checkpoint)
    except (OSError, TimeoutError, WebSocketException, DuplexError) as broken:
        error = f"the talk broke off: {broken or type(broken).__name__}"
    return Held(job, log.getvalue(), tuple(person.skipped), error)


async def _hold(socket: Any, actor: Acting, person: Person, recorder: Recorder, checkpoint: str) -> None:
    created = json.loads(await asyncio.wait_for(socket.recv(), _DEAD_SECONDS))
    if created["type"] != "session.created":
        raise DuplexError("refused", created.get("error", {}).get("message", created["type"]))
    start = time.monotonic() - created["at"]
    while (due := actor.due()) is not None:
        wait = due - (time.monotonic() - start)
        if wait <= 0:
            now = time.monotonic() - start
            for done in actor.act(now):
                recorder.heard(done, now)
                await socket.send(json.dumps(on_the_wire(done)))
            continue
        try:
            message = json.loads(await asyncio.wait_for(socket.recv(), min(wait, _DEAD_SECONDS)))
        except TimeoutError:
            if wait > _DEAD_SECONDS:
                raise
            continue
        if message["type"] == "error":
            raise DuplexError("server_error", message["error"]["message"])
        if message.get("system") == checkpoint:
            _see(message, time.monotonic() - start, person, recorder)


def _see(message: dict[str, Any], now: float, person: Person, recorder: Recorder) -> None:
    """A word is seen when it is there and its time has come."""
    if message["type"] == "response.output_text.delta":
        message["at"] = round(max(message["at"], now), 4)
    recorder.told(message)
    event: Event | None = None
    match message:
        case {"type": "response.output_text.delta", "system": s, "response_id": r, "slice": n, "delta": d, "at": at}:
            event = Delta(s, r, n, d, at)
        case {"type": "duplex.cut", "system": s, "response_id": r, "slice": n, "at": at, "unheard": u}:
            event = Cut(s, r, n, at, u)
    if event:
        person.happened([event])
