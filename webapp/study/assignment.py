"""Who talks to which system when: balanced, random where it should be, and the same again from the study's seed.

    assign(study, 0)                              # the first participant
    assign_next(study, [(0, 0, True)])            # the second, from the places that the database knows
    assign_next(study, [(0, 0, False)])           # (0, 0) withdrew before rating: its place is given again

Participants come in blocks. A block has every arm, which is an order of the systems, equally often, in an order drawn
for this block, so nobody can tell the next arm and the arms are never further apart than in one block. The letters that
a participant sees for the systems, and the sides on which they stand when they are compared, are drawn for each
participant. The paper's protocol (arXiv 2406.15718, 4.5) draws nothing: participants with odd numbers, counted from 1,
begin with duplex, and the labels are fixed, duplex A and the other B.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from webapp.study.definition import Study

LETTERS = "ABCDEFGH"

T = TypeVar("T")


@dataclass(frozen=True)
class Assignment:
    """What one participant gets.

    `block` and `place` in it, from 0, are the participant's seat; `arm`: which of `arms_of(study)`. `order`: systems by
    position. `labels`: letters by position. `sides`: positions, from 1, as they stand from left to right when compared.
    `seed`: 0 to 2^31 - 1, for everything else that is drawn for this participant.
    """

    block: int
    place: int
    arm: int
    order: tuple[str, ...]
    labels: tuple[str, ...]
    sides: tuple[int, ...]
    seed: int


def williams(n: int) -> tuple[tuple[int, ...], ...]:
    """Orders of n things, each thing equally often at each position and equally often right after each other thing.

    E. J. Williams, Australian Journal of Scientific Research A 2 (1949): the first row goes 0, 1, n-1, 2, n-2, …, the
    others add 1, 2, … to it modulo n; for an odd n the mirrored rows are needed as well. n orders, or 2n; for 2 and 3
    things these are all orders.
    """
    first = [0]
    for step in range(1, n):
        first.append((step + 1) // 2 if step % 2 else n - step // 2)
    rows = [tuple((thing + shift) % n for thing in first) for shift in range(n)]
    if n % 2:
        rows += [row[::-1] for row in rows]
    return tuple(rows)


def arms_of(study: Study) -> tuple[tuple[str, ...], ...]:
    """The orders that a study compares; in the paper's protocol the one that begins with duplex is the first."""
    arms = tuple(tuple(study.systems[n] for n in row) for row in williams(len(study.systems)))
    return tuple(sorted(arms, key=lambda arm: arm[0] != "duplex")) if study.protocol == "paper" else arms


def assign(study: Study, number: int, before: int = 0) -> Assignment:
    """What whoever takes seat `number` gets; seats count from 0.

    `before`: how many people had this seat and gave it up. The arm belongs to the seat; labels, sides and seed are
    drawn anew for each person.
    """
    block, place = divmod(number, study.block)
    arms = arms_of(study)
    person = f"{number}.{before}"
    positions = range(1, len(study.systems) + 1)
    if study.protocol == "paper":
        arm = number % len(arms)
        labels = tuple("A" if system == "duplex" else "B" for system in arms[arm])
        sides = tuple(sorted(positions, key=lambda position: labels[position - 1]))
    else:
        arm = shuffled(list(range(len(arms))) * (study.block // len(arms)), study.seed, "arms", block)[place]
        labels = shuffled(LETTERS[: len(positions)], study.seed, "labels", person)
        sides = shuffled(positions, study.seed, "sides", person)
    return Assignment(block, place, arm, arms[arm], labels, sides, _number(study.seed, "seed", person) % 2**31)


def assign_next(study: Study, seats: Iterable[tuple[int, int, bool]]) -> Assignment:
    """What the next participant gets, given everybody so far in any order.

    A seat is (block, place, whether its person holds it). A person who left before rating anything holds it no longer.
    The lowest seat that nobody holds is given again; if there is none, the first that was never given.
    """
    people = Counter[int]()
    held = set()
    for block, place, holds in seats:
        number = block * study.block + place
        people[number] += 1
        if holds:
            held.add(number)
    number = min(set(people) - held, default=max(people, default=-1) + 1)
    return assign(study, number, before=people[number])


def shuffled(things: Sequence[T], *drawn_for: object) -> tuple[T, ...]:
    """The things in an order that only `drawn_for` decides, on every machine and in every version of Python.

    Each thing gets the SHA-256 of its number and of `drawn_for`; they are sorted by it.
    """
    order = sorted(range(len(things)), key=lambda n: _number(*drawn_for, n))
    return tuple(things[n] for n in order)


def _number(*drawn_for: object) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, drawn_for)).encode()).digest())
