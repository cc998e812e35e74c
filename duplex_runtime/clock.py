"""Clocks: the only place that knows what time it is. Times are seconds since a session began."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time of a session."""

    def now(self) -> float:
        """Seconds since the session began."""


class RealClock:
    """The machine's monotonic clock, from when it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def now(self) -> float:
        """Seconds since this clock was made."""
        return time.monotonic() - self._start


class SimulatedClock:
    """Moves only when told to."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """The time it was last moved to."""
        return self._now

    def move_to(self, at: float) -> None:
        """Forward to `at`; never back."""
        self._now = max(self._now, at)
