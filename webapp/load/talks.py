"""`duplex loadtest`: people talk to a server for a while; what they saw, and how late the server was.

figures = await load(server, people=8, ramp_seconds=10, seconds=60, seed=0)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from webapp.load.figures import quantile, spread
from webapp.load.meter import Meter
from webapp.load.people import Seen, crowd, troubles
from webapp.load.server import Late, Server


async def load(server: Server, people: int, ramp_seconds: float, seconds: float, seed: int) -> dict[str, Any]:
    """Figures of so many people; see `figures_of`."""
    async with Meter(server) as meter:
        seen = await crowd(server.ws, people, ramp_seconds, seconds, seed)
    return figures_of(seen, meter.late) | meter.figures() | {"strain": meter.strain}


def figures_of(seen: Sequence[Seen], late: Sequence[Late]) -> dict[str, Any]:
    """What people saw and how late slices were, in seconds.

    failed: people who were not let in or lost their session, by reason in `why`. reaction: last key → first word of the
    answer. slice: closed at the server → all it says has arrived. late: due → its last word, as the server's loop
    counts it; of a server that does not tell, the slices as the people saw them. p99_over_half_period: the p99 of
    lateness, as a share of half the slice's period: 1 and more is too late. share_ok: slices under it.
    """
    slices = [each for person in seen for each in person.slices]
    known = list(late) or slices
    shares = shares_of(known)
    queued = [person.waited for person in seen if person.positions and person.waited is not None]
    reactions = [each for person in seen for each in person.reactions]
    worst = quantile(shares, 0.99)
    return {
        "people": len(seen),
        "opened": sum(person.opened for person in seen),
        "failed": sum(bool(person.failed) for person in seen),
        "never_in": sum(bool(person.positions) and not person.opened for person in seen),
        "talks": sum(person.talks for person in seen),
        "asked": sum(person.asked for person in seen),
        "answered": len(reactions),
        **spread(reactions, "reaction_s"),
        "slices": len(known),
        **spread([seconds for seconds, _ in slices], "slice_s"),
        **spread([seconds for seconds, _ in known], "late_s"),
        "p99_over_half_period": None if worst is None else round(worst, 4),
        "share_ok": round(sum(share < 1 for share in shares) / len(shares), 4) if shares else None,
        "queued": sum(bool(person.positions) for person in seen),
        "queue_s_p50": _rounded(quantile(queued, 0.5)),
        "queue_s_most": _rounded(max(queued, default=None)),
        "key_lag_ms_p99": _rounded(_milliseconds(quantile([each for person in seen for each in person.lag], 0.99))),
        "why": troubles(seen),
    }


def shares_of(slices: Sequence[Late]) -> list[float]:
    """Of half its period: how late each slice was."""
    return [2 * seconds / period for seconds, period in slices]


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
