"""Memory and processor time while a server is under load.

async with Meter(server) as meter:
    ...
meter.bytes_per_minute(), meter.server_share, meter.own_share
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

from webapp.load.figures import slope
from webapp.load.server import Late, Server

SAMPLE_SECONDS = 1.0
#: How often slices are fetched from the server, which keeps them until then.
FETCH_SECONDS = 5.0
#: Share of the time that is not counted for memory: the server grows while it gets to know its people.
WARM_UP = 1 / 3


class Meter:
    """Reads the server's memory each second and fetches its slices. memory: (seconds, bytes). late: all slices. strain:
    the highest level."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.memory: list[tuple[float, float]] = []
        self.late: list[Late] = []
        self.strain: int | None = None  # not known
        self._task: asyncio.Task[None] | None = None
        self._begun, self._own, self._cpu = 0.0, 0.0, 0.0
        self.seconds, self.own_cpu_seconds, self.server_cpu_seconds = 0.0, 0.0, 0.0

    async def __aenter__(self) -> Meter:
        await self.fetch()
        self.late.clear()
        self._begun, self._own, self._cpu = time.monotonic(), time.process_time(), self.server.cpu_seconds()
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.read()
        assert self._task
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self.server.alive():
            await self.fetch()

    def read(self) -> None:
        """How much time has passed and was used so far."""
        self.seconds = time.monotonic() - self._begun
        self.own_cpu_seconds = time.process_time() - self._own
        self.server_cpu_seconds = max(0.0, self.server.cpu_seconds() - self._cpu)

    async def fetch(self) -> None:
        """Take over what the server tells."""
        self.late += await self.server.slices()
        state = await self.server.state()
        if state["strain"] is not None:
            self.strain = max(self.strain or 0, state["strain"])

    async def _watch(self) -> None:
        since = 0.0
        while True:
            if used := self.server.rss():
                self.memory.append((time.monotonic() - self._begun, used))
            await asyncio.sleep(SAMPLE_SECONDS)
            since += SAMPLE_SECONDS
            if since >= FETCH_SECONDS and self.server.alive():
                since = 0.0
                await self.fetch()

    def bytes_per_minute(self) -> float | None:
        """Slope of the server's memory after the warm-up, by linear regression."""
        if not self.memory:
            return None
        last = self.memory[-1][0]
        found = slope((at, used) for at, used in self.memory if at >= last * WARM_UP)
        return None if found is None else round(60 * found)

    def figures(self) -> dict[str, Any]:
        """Processor and memory, for the table and the JSON line. A share of 1 is one core."""
        self.read()
        used = [used for _, used in self.memory]
        return {
            "bytes_per_minute": self.bytes_per_minute(),
            "rss_mb_first": round(used[0] / 1e6, 1) if used else None,
            "rss_mb_last": round(used[-1] / 1e6, 1) if used else None,
            "generator_cpu_s": round(self.own_cpu_seconds, 2),
            "generator_cores": round(self.own_cpu_seconds / max(self.seconds, 1e-9), 3),
            "server_cores": round(self.server_cpu_seconds / max(self.seconds, 1e-9), 3),
        }
