"""Time in ticks of 0.2 s: who speaks when. Segments are runs of ticks, as the published panel counts them.

times = segments_of(talk)
times.person[0].first, times.person[0].end       # ticks; `end` is the first one in which they no longer speak
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from duplex_runtime.evaluation.acts import Act, Piece
from duplex_runtime.evaluation.talks import Talk

TICK_SECONDS = 0.2
#: Pieces of one answer so close together are one sound.
JOIN_SECONDS = 0.5


@dataclass(frozen=True)
class Segment:
    """Ticks `first` to before `end`. begin, stop: the same in seconds, exactly. act: of the person. answer: of the
    system."""

    first: int
    end: int
    begin: float
    stop: float
    act: Act | None = None
    answer: str = ""


@dataclass(frozen=True)
class Segments:
    """Of both sides, in order."""

    person: tuple[Segment, ...]
    system: tuple[Segment, ...]

    def speaking(self, tick: int) -> Segment | None:
        """What the system says in this tick."""
        return next((s for s in self.system if s.first <= tick < s.end), None)

    def broken_into(self, person: Segment) -> Segment | None:
        """What the system was saying when the person began: also what it gave up in that very moment."""
        at_once = (s for s in self.system if s.begin < person.begin <= s.stop + 1e-3 and s.end <= person.first)
        return self.speaking(person.first) or next(at_once, None)

    def silent_from(self, tick: int) -> int:
        """The first tick from this one on in which the system says nothing."""
        while found := self.speaking(tick):
            tick = found.end
        return tick


def segments_of(talk: Talk) -> Segments:
    """One segment for each act, its pauses inside it; one for each stretch of an answer without a gap."""
    person = tuple(_segment(act.begin, act.end, act=act) for act in talk.acts)
    return Segments(person, tuple(_segment(a, b, answer=answer) for a, b, answer in _stretches(talk.pieces)))


def _stretches(pieces: Iterable[Piece]) -> list[tuple[float, float, str]]:
    found: list[tuple[float, float, str]] = []
    for piece in pieces:
        if found and found[-1][2] == piece.response_id and piece.at - found[-1][1] < JOIN_SECONDS:
            begin, end, answer = found.pop()
            found.append((begin, max(end, piece.until), answer))
        else:
            found.append((piece.at, piece.until, piece.response_id))
    return found


def _segment(begin: float, stop: float, act: Act | None = None, answer: str = "") -> Segment:
    """A tick belongs to it if its middle does; what covers no middle takes the nearest tick."""
    first = math.ceil(round(begin / TICK_SECONDS - 0.5, 6))
    end = math.ceil(round(stop / TICK_SECONDS - 0.5, 6))
    if end <= first:
        first = math.floor(round((begin + stop) / 2 / TICK_SECONDS, 6))
        end = first + 1
    return Segment(first, end, begin, stop, act, answer)
