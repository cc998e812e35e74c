"""What so many conversations at once took: both sides of `duplex bench latency` brought together, in milliseconds.

level = level_of(watched.times, people, period_seconds=2.0)
quantiles(level.first_token)     # {"p50": 310.2, "p95": 402.9, "p99": 402.9}

text in   a key is sent → the conversation has it        decode   the passes after it, until the slice is said
layout    a slice is closed and laid out in token ids    out      what happened is told → it has arrived
append    the forward pass that takes it in and decides

Layout, append and decode follow each other without a gap; with `late` before them (a slice is due → it is closed) they
are a slice's whole time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from webapp.latency.people import Person
from webapp.latency.times import SliceTimes, Times
from webapp.load.figures import quantile

STAGES = ("text in", "layout", "append", "decode", "out")
QUANTILES = ("p50", "p95", "p99")


@dataclass
class Level:
    """So many conversations at once: milliseconds of everything that was measured.

    machine: of an answer, from when its slice was due to its first word. listening, speaking: slices, from when they
    were due. whole: of each that speaks, all stages and the key before it. asked: questions. cut_off: for each who had
    to leave, why. refused, strained: the server let somebody not in, or slowed down.
    """

    conversations: int
    asked: int = 0
    first_token: list[float] = field(default_factory=list)
    machine: list[float] = field(default_factory=list)
    listening: list[float] = field(default_factory=list)
    speaking: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    overruns: int = 0
    halves: int = 0
    cut_off: list[str] = field(default_factory=list)
    refused: bool = False
    strained: bool = False

    @property
    def all_slices(self) -> list[float]:
        """Those that listen and those that speak."""
        return [*self.listening, *self.speaking]

    @property
    def slices(self) -> int:
        """How many."""
        return len(self.listening) + len(self.speaking)

    @property
    def overrun_share(self) -> float | None:
        """Of all slices: those that took longer than a period."""
        return round(self.overruns / self.slices, 4) if self.slices else None

    @property
    def half_share(self) -> float | None:
        """Of all slices: those that took longer than half a period."""
        return round(self.halves / self.slices, 4) if self.slices else None


def level_of(times: Sequence[Times], people: Sequence[Person], period_seconds: float) -> Level:
    """Bring both sides together: conversation n is that of person n, of those whom the server knew."""
    level = Level(
        len(people),
        asked=sum(len(p.asked) for p in people),
        cut_off=[p.cut_off for p in people if p.cut_off],
        refused=any(p.refused or p.unreached for p in people),
        strained=any(p.strained for p in people),
    )
    for server, person in zip(times, [p for p in people if not p.unreached], strict=False):
        keys = list(zip(person.keys, server.heard, strict=False))
        level.stages["text in"].extend(1000 * (heard - sent) for sent, heard in keys)
        for each in server.slices:
            if not math.isnan(each.done) and each.index >= 0:
                _count(level, each, keys, server.told.get(each.index), person.slices.get(each.index), period_seconds)
        due = {each.index: each.due for each in server.slices}
        for asked, answered, index in person.asked:
            if answered > asked:
                level.first_token.append(1000 * (answered - asked))
                if index in due and answered > due[index]:
                    level.machine.append(1000 * (answered - due[index]))
    return level


def _count(
    level: Level,
    each: SliceTimes,
    keys: Sequence[tuple[float, float]],
    told: float | None,
    arrived: float | None,
    period_seconds: float,
) -> None:
    took = each.done - each.due
    level.overruns += took > period_seconds
    level.halves += took > period_seconds / 2
    (level.speaking if each.tokens else level.listening).append(1000 * took)
    level.late.append(1000 * (each.closed - each.due))
    level.stages["layout"].append(1000 * (each.laid - each.closed))
    level.stages["append"].append(1000 * (each.decided - each.laid))
    if each.tokens:
        level.stages["decode"].append(1000 * (each.done - each.decided))
    if told is None or arrived is None:
        return
    level.stages["out"].append(1000 * (arrived - told))
    before = [heard - sent for sent, heard in keys if heard <= each.closed]
    if each.tokens and before:
        level.whole.append(1000 * (before[-1] + each.done - each.closed + arrived - told))


def quantiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p95 and p99, each a value that occurred (nearest rank); None of nothing."""
    ordered = sorted(values)
    found = {q: quantile(ordered, int(q[1:]) / 100) for q in QUANTILES}
    return {q: None if value is None else round(value, 2) for q, value in found.items()}
