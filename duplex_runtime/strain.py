"""How late a loop is, and what it gives up for it, in this order: longer slices, fewer tokens, no new people."""

from __future__ import annotations

from collections import deque

#: What each level adds to the one before.
LEVELS = ("on time", "slices last twice as long", "half as many tokens", "nobody new is let in")


class Strain:
    """Counts how much of its period each slice took, from when it was due to its last word.

    If the slowest twentieth of the last `window` slices takes over `most` of the period, the level rises; under
    `least` it falls. A change begins a new count, so that a level is judged by its own slices: at least `enough`.
    """

    def __init__(self, window: int = 128, enough: int = 32, most: float = 0.5, least: float = 0.1) -> None:
        self.level = 0
        self._shares: deque[float] = deque(maxlen=window)
        self._enough, self._most, self._least = enough, most, least

    @property
    def late(self) -> float | None:
        """95th percentile of the share of the period that slices took; None before there are enough."""
        if len(self._shares) < self._enough:
            return None
        return sorted(self._shares)[int(0.95 * len(self._shares))]

    def note(self, late_seconds: float, period_seconds: float) -> bool:
        """Count a slice; has the level changed?"""
        self._shares.append(late_seconds / period_seconds)
        late = self.late
        if late is None:
            return False
        step = (late > self._most) - (late < self._least)
        if not 0 <= self.level + step < len(LEVELS) or not step:
            return False
        self.level += step
        self._shares.clear()
        return True

    def reset(self) -> None:
        """Nobody is left: begin on time."""
        self.level = 0
        self._shares.clear()
