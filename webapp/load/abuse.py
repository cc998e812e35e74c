"""`duplex loadtest --abuse`: bad networks, strangers and crowds, each against a server of its own.

kills      connections cut at random moments while people type: is any text or event lost or doubled?
fuzz       messages that no client should send: does anything crash, does memory grow?
crowd      twice as many people as there are places: are those inside in time, do the others see their place?
sessions   many sessions, one after another and in groups: does any fail?
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from webapp.load import fuzz, kills, places, sessions
from webapp.load.command import PARTS
from webapp.load.figures import shown
from webapp.load.server import Server, own_server
from webapp.load.soak import capacity_of

#: Seconds for which the crowd stays.
CROWD_SECONDS = 60.0
#: Each of these figures has to be 0.
ZERO = (
    "lost", "doubled", "not_resumed", "fuzz_crashes", "crowd_late", "crowd_unseen", "crowd_failed", "session_failures",
    "sessions_left",
)  # fmt: skip


def run(
    model: str, only: Sequence[str], kill_count: int, messages: int, session_count: int, seed: int,
    tell: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """The parts that are wanted, in the order of `PARTS`; all their figures."""
    figures: dict[str, Any] = {}

    async def part(name: str, server: Server) -> dict[str, Any]:
        match name:
            case "kills":
                assert server.data
                return await kills.run(server.port, server.data / "recordings", kill_count, seed)
            case "fuzz":
                return await fuzz.run(server, messages, seed)
            case "crowd":
                return await places.run(server, await capacity_of(server, seed, tell), CROWD_SECONDS, seed)
        return await sessions.run(server, session_count, seed)

    for name in PARTS:
        if name in only:
            with tempfile.TemporaryDirectory() as folder, own_server(model, Path(folder)) as server:
                found = asyncio.run(part(name, server))
                found |= {f"{name}_tracebacks": len(server.tracebacks())}
            tell(shown(name, found))
            figures |= found
    return figures


def wrong(figures: dict[str, Any]) -> list[str]:
    """The figures that are not 0 and should be."""
    tracebacks = [f"{name}_tracebacks" for name in PARTS]
    return [key for key in (*ZERO, *tracebacks) if figures.get(key)]
