"""`duplex calibrate`: which p(idle) should mean silence? Held-out streams of slices, each decision's p(idle) beside
what is right there, and for each threshold how often silence and speech would be decided rightly.

The streams are those of the training data's recipe with the wordings that training never saw.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch

from duplex_runtime.alignment.builder import DECISION
from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.rows import pair_ids
from duplex_runtime.alignment.streams import duplex_talk, extend
from duplex_runtime.engine.network import Network, Part
from duplex_runtime.errors import BadInput
from duplex_runtime.models.engines import torch_engine
from duplex_runtime.models.load import LoadedModel, load_model

THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
#: Tokens of a stream that are read: within what the model was trained at.
_LENGTH = 500


@dataclass(frozen=True)
class Decision:
    """One slice: the model's p(idle), whether silence is right, and whether it was speaking before."""

    p_idle: float
    silent: bool
    speaking: bool


def decisions(model: LoadedModel, network: Network, streams: int, seed: int = 0) -> list[Decision]:
    """All decisions of `streams` held-out streams that matter (plain quiet does not)."""
    source, layout = Source(load(), held_out=True), model.layout
    found: list[Decision] = []
    for number in range(streams):
        talk = duplex_talk(source, model.vocabulary.encode, Random(f"{seed}-{number}"), layout.keep)
        while sum(len(layout.close(pair.model)) + 3 for pair in talk.pairs) < _LENGTH:
            extend(talk)
        ids, places, speaking = [layout.bos], dict[int, tuple[bool, bool]](), False
        for pair in talk.pairs:
            half = layout.user(model.vocabulary, pair.user)
            if len(ids) + len(half) > _LENGTH:
                break
            if pair.weight == DECISION:
                places[len(ids) + len(half) - 1] = (not pair.model, speaking)
            ids += pair_ids(layout, model.vocabulary, pair)[0]
            speaking = bool(pair.model) and not pair.final
        ids = ids[:_LENGTH]
        logits = network.forward([Part(0, 0, tuple(ids), tuple(places))])
        chances = torch.softmax(logits, dim=-1)[:, layout.idle].tolist()
        found += [Decision(p, *place) for p, place in zip(chances, places.values(), strict=True)]
    return found


@dataclass(frozen=True)
class Rates:
    """Shares decided rightly at one threshold: of the silences and of the speeches, listening and speaking."""

    threshold: float
    silent: float
    answers: float
    yields: float
    goes_on: float

    @property
    def balanced(self) -> float:
        """Their mean: every kind of mistake weighs the same."""
        return (self.silent + self.answers + self.yields + self.goes_on) / 4


def rates(found: Sequence[Decision], threshold: float) -> Rates:
    """What a threshold would decide."""

    def share(silent: bool, speaking: bool) -> float:
        those = [d for d in found if (d.silent, d.speaking) == (silent, speaking)]
        return sum((d.p_idle >= threshold) == silent for d in those) / max(1, len(those))

    return Rates(threshold, share(True, False), share(False, False), share(True, True), share(False, True))


def run(name: str = "embedded", streams: int = 200, seed: int = 0) -> int:
    """Print the table and the best threshold, then one line of JSON."""
    if streams < 1:
        raise BadInput(f"--streams: expected 1 or more, got {streams}")
    torch.set_num_threads(1)
    model = load_model(name)
    network = torch_engine(model, slots=1).network
    found = decisions(model, network, streams, seed)
    table = [rates(found, threshold) for threshold in THRESHOLDS]
    print(f"{len(found)} decisions of {streams} held-out streams, % decided rightly\n")
    print("threshold   silent mid-sentence   answers   yields   goes on   mean")
    for row in table:
        values = (row.silent, row.answers, row.yields, row.goes_on, row.balanced)
        print("{:9.2f} {:21.1f} {:9.1f} {:8.1f} {:9.1f} {:6.1f}".format(row.threshold, *(100 * v for v in values)))
    best = max(table, key=lambda row: (round(row.balanced, 4), -abs(row.threshold - 0.5)))
    print(f"\nbest mean: --idle-threshold {best.threshold:g}")
    print(json.dumps({"idle_threshold": best.threshold, "balanced": round(best.balanced, 4), "decisions": len(found)}))
    return 0
