"""The server's side of `duplex bench latency`: when each slice was due, closed, laid out, decided, said and told.

models["duplex"] = watched = Watched(models["duplex"])
...
watched.times[0].slices     # of the conversation that began first

The process of the people reads this module as well (`speaker` needs it), so it imports no torch.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from duplex_runtime.engine.requests import Output, SliceRequest
from duplex_runtime.events import Event, Input, Slice, UserText
from duplex_runtime.loop import Conversation

if TYPE_CHECKING:  # it imports torch
    from duplex_runtime.models.load import LoadedModel


@dataclass
class SliceTimes:
    """One slice on the monotonic clock, seconds: when it was due, was closed, laid out, decided and said; its number,
    and how many tokens it says."""

    due: float
    closed: float
    laid: float
    decided: float = math.nan
    done: float = math.nan
    index: int = -1
    tokens: int = 0


@dataclass
class Times:
    """What one conversation saw. heard: each key. told: slice number → when it was told."""

    slices: list[SliceTimes] = field(default_factory=list)
    heard: list[float] = field(default_factory=list)
    told: dict[int, float] = field(default_factory=dict)


class Timed:
    """A conversation that writes down when it was called; all else is as inside."""

    def __init__(self, inner: Conversation, times: Times) -> None:
        self._inner, self._times = inner, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def hear(self, event: Input, at: float) -> None:
        """A key has arrived."""
        if isinstance(event, UserText):
            self._times.heard.append(time.monotonic())
        self._inner.hear(event, at)

    def due(self, now: float) -> SliceRequest | None:
        """A slice closes."""
        due_at, closed = self._inner.next_due(), time.monotonic()
        request = self._inner.due(now)
        if request and due_at is not None:
            self._times.slices.append(SliceTimes(closed - max(0.0, now - due_at), closed, time.monotonic()))
        return request

    def apply(self, output: Output, at: float) -> None:
        """A pass is over."""
        self._inner.apply(output, at)
        if self._times.slices:
            now, last = time.monotonic(), self._times.slices[-1]
            last.decided = now if math.isnan(last.decided) else last.decided
            last.tokens += output.token is not None
            if output.done:
                last.done = now

    def take_events(self) -> list[Event]:
        """What is told from here."""
        events, now = self._inner.take_events(), time.monotonic()
        for event in events:
            if isinstance(event, Slice):
                self._times.told[event.index] = now
                if self._times.slices:
                    self._times.slices[-1].index = event.index
        return events


class Watched:
    """A model whose conversations are timed, in the order in which they begin."""

    def __init__(self, inner: LoadedModel) -> None:
        self._inner = inner
        self.times: list[Times] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def conversation(self, *arguments: Any, **options: Any) -> Timed:
        """A new one."""
        self.times.append(Times())
        return Timed(self._inner.conversation(*arguments, **options), self.times[-1])
