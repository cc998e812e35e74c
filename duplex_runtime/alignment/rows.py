"""Streams of slices → training rows: token ids and the weight of each in the loss.

Only what the model says is learned. `</s>` is learned where an answer ends, not where a slice was full: there
the conversation closes the slice itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

import numpy as np

from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.streams import Pair, make_stream, make_turns
from duplex_runtime.layout import Layout, Vocabulary


def pair_ids(layout: Layout, vocabulary: Vocabulary, pair: Pair) -> tuple[list[int], list[float]]:
    """Ids and loss weights of one slice."""
    user = layout.user(vocabulary, pair.user)
    model = layout.close(pair.model)
    weights = [pair.weight, *([1.0] * (len(model) - 2)), 1.0 if pair.final else 0.0]
    return user + model, [0.0] * len(user) + weights


class RowMaker:
    """Endless rows of `length` + 1 ids; row `index` is always the same, so that training resumes exactly.

    turns_share: share of rows that are turn-based talk (1.0 for the turn-based checkpoint).
    """

    def __init__(
        self,
        source: Source,
        layout: Layout,
        vocabulary: Vocabulary,
        length: int,
        seed: int,
        turns_share: float,
    ) -> None:
        self.source, self.layout, self.vocabulary = source, layout, vocabulary
        self.length, self.seed, self.turns_share = length, seed, turns_share
        self._cache: dict[str, Sequence[int]] = {}

    def _encode(self, text: str) -> Sequence[int]:
        if text not in self._cache:
            if len(self._cache) > 50_000:
                self._cache.clear()
            self._cache[text] = tuple(self.vocabulary.encode(text))
        return self._cache[text]

    def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(ids int64[length + 1], weights float32[length + 1]) of one row."""
        rng = Random(f"{self.seed}-{index}")
        make: Callable[..., list[Pair]] = make_turns if rng.random() < self.turns_share else make_stream
        # half of the rows begin in the middle of a talk: a long one is restarted from its last tokens
        skip = rng.randint(0, 400) if rng.random() < 0.5 else 0
        ids: list[int] = []
        weights: list[float] = []
        while len(ids) < self.length:
            pairs = make(self.source, self._encode, rng, self.length + max(0, skip))
            for pair in pairs:
                i, w = pair_ids(self.layout, self.vocabulary, pair)
                if skip > 0:
                    skip -= len(i)
                    continue
                ids += i
                weights += w
        return (
            np.array([self.layout.bos, *ids[: self.length]], dtype=np.int64),
            np.array([0.0, *weights[: self.length]], dtype=np.float32),
        )

    def batch(self, step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """(ids int64[size, length + 1], weights float32[size, length + 1])."""
        rows = [self.row(step * size + i) for i in range(size)]
        return np.stack([r[0] for r in rows]), np.stack([r[1] for r in rows])

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        index = 0
        while True:
            yield self.row(index)
            index += 1
