"""Streams of slices → training rows: token ids and the weight of each in the loss.

What the model says is learned. `</s>` is learned where an answer ends, not where a slice was full: there the
conversation closes the slice itself. The person's words may be learned a little as well (`heard`): with few and short
answers that teaches which words mean the same (arXiv 2405.14394).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from duplex_runtime.alignment.builder import CUT, Pair
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.streams import NOTES, duplex_talk, extend, turn_talk
from duplex_runtime.layout import Layout, Vocabulary


def pair_ids(layout: Layout, vocabulary: Vocabulary, pair: Pair, heard: float = 0.0) -> tuple[list[int], list[float]]:
    """Ids and loss weights of one slice; `heard` is the weight of the person's words."""
    user = layout.user(vocabulary, pair.user)
    around = len(layout.user_marker), len(layout.model_marker)
    words = heard if pair.user else 0.0
    before = [0.0] * around[0] + [words] * (len(user) - sum(around)) + [0.0] * around[1]
    model = layout.close(pair.model)
    inside = 0.0 if pair.weight == CUT else 1.0
    weights = [pair.weight, *([inside] * (len(model) - 2)), inside if pair.final else 0.0]
    return user + model, before + weights


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
        heard: float = 0.0,
    ) -> None:
        self.source, self.layout, self.vocabulary = source, layout, vocabulary
        self.length, self.seed, self.turns_share, self.heard = length, seed, turns_share, heard
        self._cache: dict[str, Sequence[int]] = {}
        self._starts: dict[int, bool] = {}

    def _encode(self, text: str) -> Sequence[int]:
        if text not in self._cache:
            if len(self._cache) > 50_000:
                self._cache.clear()
            self._cache[text] = tuple(self.vocabulary.encode(text))
        return self._cache[text]

    def _starts_word(self, token: int) -> bool:
        if token not in self._starts:
            text = self.vocabulary.decode([token])
            self._starts[token] = not (text[:1].isalnum() and text[:1].isascii())
        return self._starts[token]

    def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(ids int64[length + 1], weights float32[length + 1]) of one row."""
        rng = Random(f"{self.seed}-{index}")
        begin = turn_talk if rng.random() < self.turns_share else duplex_talk
        # half of the rows begin in the middle of a talk: a long one is restarted from its last tokens
        skip = rng.randint(0, 400) if rng.random() < 0.5 else 0
        talk = begin(self.source, self._encode, rng, self.layout.keep)
        talk.starts_word = self._starts_word
        laid: list[tuple[list[int], list[float]]] = []
        length, dropped, first = 0, 0, 0
        while length - dropped < self.length:
            extend(talk)
            for pair in talk.pairs[len(laid) :]:
                laid.append(pair_ids(self.layout, self.vocabulary, pair, self.heard))
                length += len(laid[-1][0])
            while dropped < skip and first < len(laid):
                dropped += len(laid[first][0])
                first += 1
        # what it keeps in mind stands before the rest
        notes = [note.pair for note in talk.notes if note.at < first][-NOTES:]
        laid = [pair_ids(self.layout, self.vocabulary, note, self.heard) for note in notes] + laid[first:]
        ids = [self.layout.bos, *(i for pair, _ in laid for i in pair)]
        weights = [0.0, *(w for _, pair in laid for w in pair)]
        return (
            np.array(ids[: self.length + 1], dtype=np.int64),
            np.array(weights[: self.length + 1], dtype=np.float32),
        )

    def batch(self, step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """(ids int64[size, length + 1], weights float32[size, length + 1])."""
        rows = [self.row(step * size + i) for i in range(size)]
        return np.stack([r[0] for r in rows]), np.stack([r[1] for r in rows])
