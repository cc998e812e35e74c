"""What a training run reads: batches of token ids with a weight for each in the loss.

CorpusBatches   endless fresh rows from the written corpus (rows.RowMaker)
FileBatches     rows of `duplex data build`, or of Duplex-UltraChat, packed: a row holds several talks, and
                positions begin at 0 with each, by which transformers keeps them from attending to one another

Both are numbered by step, deal themselves out to the processes of a run, and give and take a `state` for resuming.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Protocol

import numpy as np

from duplex_runtime.alignment.builder import DECISION, QUIET, Pair
from duplex_runtime.alignment.rows import RowMaker, pair_ids
from duplex_runtime.errors import BadInput
from duplex_runtime.layout import Layout, Vocabulary

IDLE = "<idle>"
#: Of so many talks one is held out for the evaluation.
HELD_OUT = 200


class Batch(NamedTuple):
    """ids int64 and weights float32, [rows, length + 1]; positions int64 [rows, length], None where each row is one
    talk."""

    ids: np.ndarray
    weights: np.ndarray
    positions: np.ndarray | None


class Batches(Protocol):
    """An endless source of batches."""

    def batch(self, step: int, rows: int) -> Batch:
        """The batch of a step for this process; steps come in order."""

    @property
    def state(self) -> Any:
        """What `restore` needs to go on behind the last batch."""

    def restore(self, state: Any) -> None:
        """Go on there."""


@dataclass
class CorpusBatches:
    """Any step's batch can be made at any time, so that there is no state."""

    rows: RowMaker
    rank: int = 0
    world: int = 1

    def batch(self, step: int, rows: int) -> Batch:
        """Rows are dealt out in blocks: process 0 has the first."""
        return Batch(*self.rows.batch(step * self.world + self.rank, rows), None)

    @property
    def state(self) -> None:
        return None

    def restore(self, state: None) -> None: ...


def talks_of(path: Path) -> list[Path]:
    """The files with rows in a folder (or the file itself); raises BadInput if there is none."""
    files = [path] if path.is_file() else sorted(p for s in ("jsonl", "parquet") for p in path.glob(f"rows-*.{s}"))
    if not files:
        raise BadInput(f"{path}: expected a folder made by `duplex data build`, or a .jsonl or .parquet file of rows")
    return files


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(where, row) of a file; raises BadInput for a line that is not JSON."""
    if path.suffix == ".parquet":
        from pyarrow.parquet import ParquetFile

        for batch in ParquetFile(path).iter_batches(256):
            for number, row in enumerate(batch.to_pylist(), 1):
                yield f"{path} row {number}", row
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield f"{path} line {number}", json.loads(line)
            except ValueError:
                raise BadInput(f"{path} line {number}: expected a JSON object, got {line[:40]!r}") from None


def row_pairs(where: str, row: Any, encode: Any) -> list[Pair]:
    """A row's slices. Where it does not say what is learned: silence weighs DECISION when the person spoke or the
    model was speaking before, else QUIET, and an answer ends where the next slice is silent (or there is none)."""
    output = row.get("output") if isinstance(row, dict) else None
    if not isinstance(output, list) or not output or len(output) % 2:
        raise BadInput(f"{where}: expected output with pairs of user and assistant, got {str(row)[:60]!r}")
    for number, message in enumerate(output):
        role = "assistant" if number % 2 else "user"
        good = isinstance(message, dict) and message.get("role") == role and isinstance(message.get("content"), str)
        if not good or not message["content"].strip():
            raise BadInput(f"{where}: expected message {number + 1} to be words of the {role}, got {message!r:.60}")
    users, models = ([m["content"].strip() for m in output[i::2]] for i in (0, 1))
    weights, ends = row.get("weights"), row.get("ends")
    for name, values in (("weights", weights), ("ends", ends)):
        if values is not None and len(values) != len(models):
            raise BadInput(f"{where}: expected {len(models)} {name}, one a slice of the model, got {len(values)}")
    pairs = []
    for i, (user, model) in enumerate(zip(users, models, strict=True)):
        silent, before = model == IDLE, i > 0 and models[i - 1] != IDLE
        weight = weights[i] if weights else QUIET if silent and user == IDLE and not before else DECISION
        end = ends[i] if ends else not silent and (i + 1 == len(models) or models[i + 1] == IDLE)
        ids = () if silent else tuple(encode(model))
        pairs.append(Pair("" if user == IDLE else user, ids, float(weight), bool(end) and not silent))
    return pairs


@dataclass
class _Packed:
    """Rows of one source, read file after file in an order of each round's own, cut to `length` and packed."""

    files: Sequence[Path]
    layout: Layout
    vocabulary: Vocabulary
    length: int
    seed: int
    heard: float
    held_out: bool
    rank: int
    world: int
    round: int = 0
    file: int = 0
    row: int = 0
    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    _talks: Iterator[tuple[str, Any]] | None = None

    def next(self) -> tuple[list[int], list[float], list[int]]:
        """length + 1 ids and weights, and length positions."""
        while len(self.ids) < self.length + 1:
            self._take(*self._talk())
        packed = (self.ids[: self.length + 1], self.weights[: self.length + 1], self.positions[: self.length])
        # the last id is a target only; the rest of a talk that did not fit is left out
        self.ids, self.weights, self.positions = [], [], []
        return packed

    def _take(self, where: str, row: Any) -> None:
        ids, weights = [self.layout.bos], [0.0]
        for pair in row_pairs(where, row, self.vocabulary.encode):
            more_ids, more_weights = pair_ids(self.layout, self.vocabulary, pair, self.heard)
            ids += more_ids
            weights += more_weights
        self.ids += ids
        self.weights += weights
        self.positions += range(len(ids))

    def _talk(self) -> tuple[str, Any]:
        while True:
            if self._talks is None:
                self._talks = iter(self._file())
            if (talk := next(self._talks, None)) is not None:
                self.row += 1
                return talk
            self._talks, self.row, self.file = None, 0, self.file + 1
            if self.file == len(self.files):
                self.file, self.round = 0, self.round + 1

    def _file(self) -> list[tuple[str, Any]]:
        """The talks of the current file that are this process's, shuffled, from the current one on."""
        order = list(range(len(self.files)))
        Random(f"{self.seed}-{self.round}").shuffle(order)
        talks = list(read_rows(self.files[order[self.file]]))
        held = [t for i, t in enumerate(talks) if (i % HELD_OUT == 0) == self.held_out or len(talks) < 2]
        mine = held[self.rank :: self.world] if len(held) >= self.world else held
        Random(f"{self.seed}-{self.round}-{self.file}").shuffle(mine)
        return mine[self.row :]


_STATE = ("round", "file", "row", "ids", "weights", "positions")


class FileBatches:
    """Rows from files. turns: a second source, of turn-based talks, and its share of the rows."""

    def __init__(
        self,
        data: Path,
        layout: Layout,
        vocabulary: Vocabulary,
        length: int,
        seed: int,
        *,
        turns: Path | None = None,
        turns_share: float = 0.0,
        heard: float = 0.0,
        held_out: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        def packed(path: Path) -> _Packed:
            return _Packed(talks_of(path), layout, vocabulary, length, seed, heard, held_out, rank, world)

        self._sources = [packed(data), *([packed(turns)] if turns and turns_share else [])]
        self._share = turns_share if len(self._sources) > 1 else 0.0
        self._seed, self._rank = seed, rank

    def batch(self, step: int, rows: int) -> Batch:
        """The next rows; which source each is from depends on the step alone."""
        rng = Random(f"{self._seed}-{self._rank}-{step}")
        packed = [self._sources[int(rng.random() < self._share)].next() for _ in range(rows)]
        return Batch(
            np.array([p[0] for p in packed], dtype=np.int64),
            np.array([p[1] for p in packed], dtype=np.float32),
            np.array([p[2] for p in packed], dtype=np.int64),
        )

    @property
    def state(self) -> list[dict[str, Any]]:
        return [{name: getattr(source, name) for name in _STATE} for source in self._sources]

    def restore(self, state: list[dict[str, Any]]) -> None:
        for source, values in zip(self._sources, state, strict=True):
            for name, value in values.items():
                setattr(source, name, value)
            source._talks = None
