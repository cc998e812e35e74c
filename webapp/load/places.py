"""Part of `duplex loadtest --abuse`: twice as many people as the server has places for.

Everyone who is let in still meets their deadlines; everyone else is told their place in the queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from webapp.load.figures import quantile
from webapp.load.meter import Meter
from webapp.load.people import TOLD_SECONDS, Seen, crowd
from webapp.load.server import Server
from webapp.load.talks import figures_of, shares_of

RAMP_SECONDS = 10.0


async def run(server: Server, capacity: int, seconds: float, seed: int) -> dict[str, Any]:
    """Twice `capacity` people for so long; figures for the table."""
    async with Meter(server) as meter:
        seen = await crowd(server.ws, 2 * capacity, RAMP_SECONDS, seconds, seed)
    figures = figures_of(seen, meter.late)
    return {
        "crowd": len(seen),
        "crowd_places": capacity,
        "crowd_in": figures["opened"],
        "crowd_queued": figures["queued"],
        "crowd_late": late(seen),
        "crowd_unseen": unseen(seen),
        "crowd_failed": sum(bool(each.failed) and each.opened for each in seen),
        "crowd_p99_over_half_period": figures["p99_over_half_period"],
        "crowd_generator_cores": meter.figures()["generator_cores"],
        "crowd_why": figures["why"],
    }


def late(seen: Sequence[Seen]) -> int:
    """Of those who were let in: whose own p99 slice took half its period or more."""
    return sum((quantile(shares_of(each.slices), 0.99) or 0.0) >= 1 for each in seen if each.opened)


def unseen(seen: Sequence[Seen]) -> int:
    """Who had to wait and was told no place in time, or was sent away."""
    return sum(
        each.told_after is None or each.told_after > TOLD_SECONDS
        for each in seen
        if each.waited is None or each.waited > TOLD_SECONDS
    )
