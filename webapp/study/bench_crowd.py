"""Part of `duplex bench study`: many people go the whole way at once; how long does each form action take?

They talk to the real model over their WebSocket, key by key, until the server says that it is enough.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from webapp.study.bench_kills import answers_to

if TYPE_CHECKING:
    from webapp.study.bench import ServerProcess

#: Seconds that people take to look at a page, at least and at most: real ones take longer.
LEAST_PAUSE, MOST_PAUSE = 0.2, 1.5
#: Seconds a key.
KEY_SECONDS = 0.08
#: People do not come in the same instant: seconds in which all have come.
COMING_SECONDS = 5.0
#: Seconds after which whoever is still on the way is late.
PATIENCE_SECONDS = 900.0
SENTENCES = ("How do bees live?", "Tell me about volcanoes.", "Why is the sea salty?", "What is the capital of Peru?")


@dataclass
class Crowd:
    """What all of them measured. `times`: milliseconds of each form action, by what others did meanwhile."""

    base: str
    times: dict[str, list[float]] = field(default_factory=dict)
    finished: int = 0
    talking: int = 0
    most_talking: int = 0
    troubles: Counter[str] = field(default_factory=Counter)

    async def go(self, rng: random.Random) -> None:
        """One participant, from the first page to the last."""
        await asyncio.sleep(rng.uniform(0, COMING_SECONDS))
        async with httpx.AsyncClient(base_url=self.base, trust_env=False, timeout=60) as http:
            begun = await self._post(http, "begin", {"language": "en"}, None)
            token, state = begun["token"], begun["state"]
            while state["step"]["kind"] != "done":
                await asyncio.sleep(rng.uniform(LEAST_PAUSE, MOST_PAUSE))
                if state["step"]["kind"] == "talk":
                    await self._talk(token, rng)
                step = state["step"]
                answers = answers_to(step["items"], rng)
                body = {"request": str(uuid.uuid4()), "step": step["key"], "answers": answers}
                state = (await self._post(http, "answer", body, token))["state"]
        self.finished += 1

    async def _post(self, http: httpx.AsyncClient, path: str, body: Any, token: str | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        while True:
            begun = time.perf_counter()
            response = await http.post(path, json=body, headers=headers)
            kind = "while others talk" if self.talking else "while nobody talks"
            self.times.setdefault(kind, []).append(1000 * (time.perf_counter() - begun))
            if response.status_code == 200:
                return dict(response.json())
            self.troubles[response.json()["error"]["code"]] += 1
            await asyncio.sleep(1.0)

    async def _talk(self, token: str, rng: random.Random) -> None:
        from websockets.exceptions import ConnectionClosed

        self.talking += 1
        self.most_talking = max(self.most_talking, self.talking)
        try:
            while not await self._connect(token, rng):
                await asyncio.sleep(rng.uniform(1.0, 3.0))
        except ConnectionClosed:
            self.troubles["closed"] += 1
        finally:
            self.talking -= 1

    async def _connect(self, token: str, rng: random.Random) -> bool:
        """Talk until it is enough; False if there is no place just now."""
        from websockets.asyncio.client import connect

        address = self.base.replace("http", "ws", 1) + f"realtime?token={token}"
        async with connect(address, proxy=None, max_queue=None) as socket:
            await socket.send(json.dumps({"type": "session.update", "session": {}}))
            typing = None
            try:
                async for message in socket:
                    event = json.loads(message)
                    match event["type"]:
                        case "session.created":
                            typing = asyncio.create_task(_type(socket, rng))
                        case "error":
                            self.troubles[event["error"]["code"]] += 1
                            return False
                        case "study.talk":
                            enough = event["seconds"] >= event["needed_seconds"]
                            if enough and event["turns"] >= event["needed_turns"]:
                                return True
            finally:
                if typing:
                    typing.cancel()
        return False


async def _type(socket: Any, rng: random.Random) -> None:
    while True:
        for key in rng.choice(SENTENCES):
            await socket.send(json.dumps({"type": "duplex.input.edit", "delete": 0, "insert": key}))
            await asyncio.sleep(KEY_SECONDS)
        await socket.send(json.dumps({"type": "duplex.input.enter"}))
        await asyncio.sleep(rng.uniform(2.0, 6.0))


def run(server: ServerProcess, participants: int, rng: random.Random) -> dict[str, Any]:
    """All of them at once; figures for the table."""
    with server:
        crowd, begun = Crowd(server.url), time.monotonic()
        asyncio.run(_all(crowd, participants, rng))
        took = time.monotonic() - begun
    times = sorted(t for some in crowd.times.values() for t in some)
    figures = {
        "participants": participants,
        "finished": crowd.finished,
        "form_actions": len(times),
        "ack_ms_p50": round(statistics.median(times), 1),
        "ack_ms_p95": round(times[min(len(times) - 1, int(0.95 * len(times)))], 1),
        "most_talking": crowd.most_talking,
    }
    print(f"{participants} people went the whole way in {took:.0f} s")
    for key, value in figures.items():
        print(f"  {key:26} {value:8}")
    for kind, some in crowd.times.items():
        print(f"  {kind:26} {statistics.median(some):8.1f} ms at the median of {len(some)}")
    if crowd.troubles:
        print(f"  troubles: {dict(crowd.troubles)}")
    return figures


async def _all(crowd: Crowd, participants: int, rng: random.Random) -> None:
    people = [asyncio.create_task(crowd.go(random.Random(rng.random()))) for _ in range(participants)]
    done, late = await asyncio.wait(people, timeout=PATIENCE_SECONDS)
    for task in late:
        task.cancel()
        crowd.troubles["late"] += 1
    for task in done:
        if error := task.exception():
            crowd.troubles[type(error).__name__] += 1
