"""How long people in a queue will wait, from how long sessions lasted lately.

seconds = waits(ages=[120.0, 30.0], lasted=[200.0, 180.0, 240.0, 90.0], most=None, count=3)
seconds[0]                                       # of whoever is first in the queue

Pure. The queue is played forward several times: each session inside goes on for as long as one of those that lasted
longer than it has lasted already, and whoever comes in next stays as long as one of them. What is told is the median of
the plays. The dice are thrown the same way each time, so that the number changes when something happened and not of
itself.
"""

from __future__ import annotations

import heapq
import random
import statistics
from bisect import bisect_right
from collections.abc import Sequence

#: Sessions that must have ended before their lengths are believed.
ENOUGH = 5
#: How often the queue is played forward.
_PLAYS = 15


def waits(ages: Sequence[float], lasted: Sequence[float], most: float | None, count: int) -> list[float] | None:
    """Seconds until the first, second … of `count` people who wait gets a place; None if nothing is known.

    ages: seconds since each session inside began. lasted: seconds that sessions lasted lately. most: seconds after
    which the server ends a session (None: never); before enough sessions have ended it is taken for their length, so
    the wait is then at most what is told.
    """
    if not ages or (len(lasted) < ENOUGH and most is None):
        return None
    lengths = sorted(lasted) if len(lasted) >= ENOUGH else []
    plays = [_play(ages, lengths, most, count, random.Random(number)) for number in range(_PLAYS)]
    return [statistics.median(wait) for wait in zip(*plays, strict=True)]


def _play(
    ages: Sequence[float], lengths: Sequence[float], most: float | None, count: int, dice: random.Random
) -> list[float]:
    ends = [_length(lengths, age, most, dice) - age for age in ages]
    heapq.heapify(ends)
    found = []
    for _ in range(count):
        found.append(ends[0])
        heapq.heapreplace(ends, ends[0] + _length(lengths, 0.0, most, dice))
    return found


def _length(lengths: Sequence[float], age: float, most: float | None, dice: random.Random) -> float:
    """How long a session of that age lasts altogether, at least its age. lengths: rising."""
    if lengths:
        longer = len(lengths) - bisect_right(lengths, age)
        # one that outlasted all that are known is as good as new
        length = lengths[-1 - dice.randrange(longer)] if longer else age + dice.choice(lengths)
    else:
        assert most is not None
        length = most
    return max(age, length if most is None else min(length, most))
