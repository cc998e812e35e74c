"""How much a client may send: a token bucket for every kind of message.

rates = Rates(now=time.monotonic())
rates.take(time.monotonic(), typed=1, characters=12)     # None, or why not: then nothing was taken

Pure: the clock is passed in, in seconds. A bucket is full at first, gives what it has, and fills again at its rate
(ITU-T I.371's leaky bucket as a meter).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from duplex_runtime.errors import DuplexError


@dataclass(frozen=True)
class Rate:
    """`per_second` in the long run, `burst` at once; `what` is counted, in words for the person."""

    per_second: float
    burst: float
    what: str


#: Far above what people do: a paste is fine, and so is what piled up while the connection was lost.
RATES: Mapping[str, Rate] = {
    "typed": Rate(200, 1_000, "typed events"),
    "characters": Rate(20_000, 64_000, "characters"),
    "sound_seconds": Rate(2, 10, "seconds of sound"),
    "updates": Rate(2, 10, "changes of the session"),
    "reports": Rate(50, 200, "reports of what was played or received"),
    "refused": Rate(20, 50, "messages that had to be refused"),
}


class Rates:
    """What one session may still send. rates: by kind."""

    def __init__(self, now: float, rates: Mapping[str, Rate] = RATES) -> None:
        self._rates = rates
        self._left = {kind: rate.burst for kind, rate in rates.items()}
        self._at = now

    def take(self, now: float, **amounts: float) -> DuplexError | None:
        """Take these amounts at time `now`, all of them or nothing; the error says which is too much."""
        passed, self._at = max(0.0, now - self._at), max(now, self._at)
        for kind, rate in self._rates.items():
            self._left[kind] = min(rate.burst, self._left[kind] + passed * rate.per_second)
        for kind, amount in amounts.items():
            if amount > self._left[kind]:
                rate = self._rates[kind]
                return DuplexError(
                    "too_fast",
                    f"too many {rate.what}: expected at most {rate.per_second:g} a second and {rate.burst:g} at once; "
                    "this event was not taken, send it again in a moment",
                )
        for kind, amount in amounts.items():
            self._left[kind] -= amount
        return None
