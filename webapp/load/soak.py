"""`duplex loadtest --soak`: the server's capacity, then 80 % of it for a long time, with a line each minute.

figures = await soak(server, minutes=30, seed=0, tell=print)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from webapp.load.figures import quantile
from webapp.load.meter import Meter
from webapp.load.people import Seen, Visitor, typable
from webapp.load.server import Server
from webapp.load.talks import figures_of, load, shares_of

SHARE = 0.8
#: Seconds in which all have come; from a failure until somebody comes in the place of who left.
RAMP_SECONDS, AGAIN_SECONDS = 20.0, 2.0
#: How often a line is told.
MINUTE_SECONDS = 60.0
#: Where the server does not say how many it serves: so many people, one number after the other, for so many seconds.
STAIR = (4, 8, 12, 16, 24, 32, 48, 64)
STEP_SECONDS = 30.0


async def capacity_of(server: Server, seed: int, tell: Callable[[str], None]) -> int:
    """How many conversations it serves: its own figure, else the last step of the stair at which all was well."""
    places = (await server.state())["places"]
    if places:
        tell(f"the server has places for {places}")
        return int(places)
    best = 1
    for people in STAIR:
        figures = await load(server, people, 5.0, STEP_SECONDS, seed)
        worst = figures["p99_over_half_period"]
        tell(f"{people} people: p99 of a slice is {worst} of half its period, {figures['failed']} failed")
        if worst is None or worst >= 1 or figures["failed"] or figures["never_in"] or figures["strain"]:
            break
        best = people
    return best


async def soak(server: Server, minutes: float, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Figures of a long time at `SHARE` of the capacity; `tell` gets a line each minute."""
    capacity = await capacity_of(server, seed, tell)
    people = max(1, int(SHARE * capacity))
    seen: list[Seen] = []
    end = time.monotonic() + RAMP_SECONDS + 60 * minutes
    async with Meter(server) as meter:
        telling = asyncio.create_task(_tell_each_minute(meter, seen, tell))
        async with asyncio.TaskGroup() as group:
            for n in range(people):
                rng = Random(f"{seed}/soak/{n}")
                group.create_task(_stay(server.ws, rng, seen, RAMP_SECONDS * n / people, end))
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    figures = figures_of(seen, meter.late)
    return (
        {"capacity": capacity, "people": people, "minutes": minutes}
        | {key: figures[key] for key in ("p99_over_half_period", "share_ok")}
        | {"bytes_per_minute": meter.bytes_per_minute(), "failures": figures["failed"]}
        | {key: value for key, value in figures.items() if key not in ("people", "failed", "never_in")}
        | {key: value for key, value in meter.figures().items() if key != "bytes_per_minute"}
        | {"strain": meter.strain}
    )


async def _stay(url: str, rng: Random, seen: list[Seen], wait: float, end: float) -> None:
    """One person for the whole time; after a failure another one."""
    await asyncio.sleep(wait)
    while time.monotonic() < end:
        visitor = Visitor(url, typable(), Random(rng.random()))
        seen.append(visitor.seen)
        await visitor.visit(end)
        if time.monotonic() < end:
            await asyncio.sleep(AGAIN_SECONDS)


async def _tell_each_minute(meter: Meter, seen: Sequence[Seen], tell: Callable[[str], None]) -> None:
    minute = counted = 0
    while True:
        await asyncio.sleep(MINUTE_SECONDS)
        minute += 1
        late, counted = meter.late[counted:], len(meter.late)
        worst = quantile(shares_of(late), 0.99)
        inside = sum(each.opened and not each.failed for each in seen)
        tell(
            f"minute {minute:3}: {inside} talk, {len(late)} slices, p99 {_short(worst)} of half a period, "
            f"{meter.memory[-1][1] / 1e6:.1f} MB, {sum(bool(each.failed) for each in seen)} failures"
        )


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
