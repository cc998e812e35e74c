"""Talks made by hand: acts of the person, and answers of words of 0.2 s each."""

from collections.abc import Sequence
from typing import Any

from duplex_runtime.evaluation.acts import Act, Piece
from duplex_runtime.evaluation.talks import Talk


def act(kind: str, begin: float, end: float, text: str = "words") -> Act:
    return Act(kind, begin, end, text)


def says(at: float, words: int, answer: str = "duplex-1", first: int = 0) -> list[Piece]:
    """Words w0, w1, … one after the other."""
    return [Piece(at + 0.2 * n, at + 0.2 * (n + 1), f" w{first + n}", answer) for n in range(words)]


def talk_with(acts: Sequence[Act], pieces: Sequence[Piece] = (), **values: Any) -> Talk:
    named: dict[str, Any] = {"system": "duplex", "scenario": "one", "situation": "", "seed": 0, "way": "speech"}
    last = max([0.0, *(a.end for a in acts), *(p.until for p in pieces)])
    return Talk(**named | {"acts": tuple(acts), "pieces": tuple(pieces), "ended_at": last} | values)
