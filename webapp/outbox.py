"""What a session told its client: numbered, and kept so that it can be told again after a cut.

outbox = Outbox()
number = outbox.add({"type": "duplex.ping"})   # 1; its text has "event_id": "event_1"
outbox.text(number)                             # what goes over the socket
outbox.waiting(after=0)                         # (1, 42): events and bytes after that number
outbox.forget(number)                           # the client has it
outbox.holds(after=0)                           # False: event 1 can no longer be told again

Pure: no socket, no clock. Whoever adds more than MAX_EVENTS or MAX_BYTES loses the oldest.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

#: Most events and bytes that are kept.
MAX_EVENTS, MAX_BYTES = 4000, 8_000_000


class Outbox:
    """Events numbered from 1; `last` is the newest one's number, 0 before the first."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        # each with the bytes of all events up to its end, so that those of any stretch are a difference
        self._kept: deque[tuple[str, int]] = deque()
        self._forgotten_bytes = 0
        self.last = 0

    @property
    def first(self) -> int:
        """Number of the oldest event that is kept; `last` + 1 if none is."""
        return self.last - len(self._kept) + 1

    def add(self, event: dict[str, Any]) -> int:
        """One more event, with its number as `event_id`; returns that number."""
        self.last += 1
        text = json.dumps({**event, "event_id": f"event_{self.last}"}, ensure_ascii=False)
        self._kept.append((text, self._end_bytes() + len(text.encode("utf-8", "surrogatepass"))))
        while len(self._kept) > self._max_events or self._end_bytes() - self._forgotten_bytes > self._max_bytes:
            self._drop()
        return self.last

    def text(self, number: int) -> str | None:
        """An event as it goes over the socket; None if it is no longer kept, or not yet there."""
        return self._kept[number - self.first][0] if self.first <= number <= self.last else None

    def holds(self, after: int) -> bool:
        """Is every event after number `after` kept?"""
        return self.first - 1 <= after <= self.last

    def waiting(self, after: int) -> tuple[int, int]:
        """How many of the kept events come after number `after`, and their bytes."""
        before = min(self.last, max(after, self.first - 1))
        begin = self._forgotten_bytes if before < self.first else self._kept[before - self.first][1]
        return self.last - before, self._end_bytes() - begin

    def forget(self, up_to: int) -> None:
        """The client has all events up to this number."""
        while self._kept and self.first <= up_to:
            self._drop()

    def _end_bytes(self) -> int:
        return self._kept[-1][1] if self._kept else self._forgotten_bytes

    def _drop(self) -> None:
        self._forgotten_bytes = self._kept.popleft()[1]
