"""`duplex eval memory`: what a long talk may forget, and how: three ways to stay within the trained length, compared.

anew     the stream begins again with its newest units, which are encoded again (what `DuplexConversation` does)
rotated  the oldest units leave the cache; the first one (the sink) stays, the rest moves down: keys are rotated by
         −Δ positions (arXiv 2309.17453 keeps sinks; rotating cached keys follows from arXiv 2104.09864)
nothing  the stream just grows

The same questions, whose right answers are known, are asked one after the other. Reported: right answers before
anything was forgotten, in the three questions after each time, and in all others since; and after each time how far
the chances of the next answer's first token are from those of a cold encoding of the same ids.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import torch

from duplex_runtime.alignment.corpus import load
from duplex_runtime.engine.fused import FusedNetwork, fusible
from duplex_runtime.engine.network import Part
from duplex_runtime.errors import ModelError
from duplex_runtime.models.load import LoadedModel, load_model

WAYS = ("anew", "rotated", "nothing")
#: Most tokens of an answer.
_ANSWER = 40
#: So many questions after each forgetting count as "right after" it.
_AFTER = 3


@dataclass
class Outcome:
    """Of one way: [right, asked] by phase, and the divergence after each forgetting."""

    right: dict[str, list[int]] = field(default_factory=lambda: {p: [0, 0] for p in ("before", "after", "later")})
    divergence: list[float] = field(default_factory=list)
    longest: int = 0

    def count(self, phase: str, right: bool) -> None:
        """One question was answered."""
        self.right[phase][0] += right
        self.right[phase][1] += 1


class Talk:
    """A stream over one slot of a network, and the ways in which it forgets."""

    def __init__(self, model: LoadedModel, way: str, length: int) -> None:
        if not fusible(model.network):
            raise ModelError("memory is compared for models that the hand-written pass computes, on a CPU")
        self.model, self.way = model, way
        self.network = FusedNetwork(model.network, 2, length)  # slot 1 is for cold encodings
        self.stream = [model.layout.bos]
        self.units: list[int] = []  # where each begins
        self._cached = 0
        self.compares: list[float] | None = None  # where the next answer's divergence goes

    def ask(self, text: str) -> str:
        """A whole question; the whole answer, greedy, without a choice to be silent."""
        layout = self.model.layout
        self.units.append(len(self.stream))
        self.stream += layout.user(self.model.vocabulary, text)
        if self.compares is not None:
            self.compares.append(self._divergence())
            self.compares = None
        said: list[int] = []
        while len(said) < _ANSWER:
            logits = self._read()
            logits[layout.idle] = -torch.inf
            if (token := int(logits.argmax())) == layout.eos:
                break
            said.append(token)
            self.stream.append(token)
        self.stream.append(layout.eos)
        return self.model.vocabulary.decode(said).strip()

    def forget(self) -> bool:
        """Make room if the next question might not fit; was something forgotten?"""
        memory = self.model.memory
        if self.way == "nothing" or len(self.stream) + 2 * _ANSWER <= memory.limit:
            return False
        self._read()  # what is not cached yet
        kept = next(u for u in self.units if len(self.stream) - u <= memory.keep)
        sink = self.units[1] if self.way == "rotated" else 1
        if self.way == "rotated":
            self._rotate(sink, kept)
        else:
            self._cached = 0
        del self.stream[sink:kept]
        self.units = [u for u in self.units if u < sink] + [u - (kept - sink) for u in self.units if u >= kept]
        return True

    @torch.inference_mode()
    def _rotate(self, begin: int, end: int) -> None:
        """Drop the cached positions `begin` to `end` - 1; keys behind them turn back by as many positions."""
        turn = self.network.turns[end - begin].conj()
        for cache in self.network.cache.layers:
            rest = cache[0, :, :, end : self._cached].clone()
            torch.view_as_complex(rest[0].unflatten(-1, (-1, 2))).mul_(turn)
            cache[0, :, :, begin : begin + rest.shape[2]] = rest
        self._cached -= end - begin

    def _divergence(self) -> float:
        """Kullback–Leibler, in nats, from a cold encoding's chances of the next token to this cache's."""
        warm = self._read()
        cold = self.network.forward([Part(1, 0, tuple(self.stream), (len(self.stream) - 1,))])[0]
        p, q = cold.log_softmax(-1), warm.log_softmax(-1)
        return float((p.exp() * (p - q)).sum().clamp(min=0))

    def _read(self) -> torch.Tensor:
        start = min(self._cached, len(self.stream) - 1)
        ids = tuple(self.stream[start:])
        self._cached = len(self.stream)
        return self.network.forward([Part(0, start, ids, (len(ids) - 1,))])[0].clone()


def compare(model: LoadedModel, questions: int = 200, talks: int = 3, seed: int = 0) -> dict[str, Outcome]:
    """`talks` talks of `questions` questions each, the same for every way."""
    facts = load().facts
    outcomes = {way: Outcome() for way in WAYS}
    for number in range(talks):
        random = Random(f"{seed}-{number}")
        asked = [(random.choice(fact.asks(held_out=False)), fact.answer) for fact in random.choices(facts, k=questions)]
        for way, outcome in outcomes.items():
            _play(Talk(model, way, 60 * questions if way == "nothing" else model.memory.limit + 100), asked, outcome)
    return outcomes


def _play(talk: Talk, asked: Sequence[tuple[str, str]], outcome: Outcome) -> None:
    since = None  # questions since the last forgetting
    for question, answer in asked:
        if talk.forget():
            since = 0
            talk.compares = outcome.divergence
        phase = "before" if since is None else "after" if since < _AFTER else "later"
        if talk.way == "nothing" and len(talk.stream) > talk.model.memory.limit:
            phase = "later"
        outcome.count(phase, talk.ask(question) == answer.strip())
        outcome.longest = max(outcome.longest, len(talk.stream))
        since = None if since is None else since + 1


def run(name: str = "embedded", questions: int = 200, seed: int = 0) -> int:
    """`duplex eval memory`: the table, then one line of JSON."""
    torch.set_num_threads(1)
    outcomes = compare(load_model(name), questions, seed=seed)
    print(f"{'':9} {'before':>10} {'right after':>12} {'later':>10} {'KL (nats)':>10} {'longest':>8}")
    result = {}
    for way, outcome in outcomes.items():
        shares = ["{}/{}".format(*outcome.right[phase]) for phase in ("before", "after", "later")]
        kl = statistics.mean(outcome.divergence) if outcome.divergence else None
        shown = "—" if kl is None else f"{kl:.4f}"
        print(f"{way:9} {shares[0]:>10} {shares[1]:>12} {shares[2]:>10} {shown:>10} {outcome.longest:8}")
        result[way] = {**outcome.right, "kl": kl, "longest": outcome.longest}
    print(json.dumps(result))
    return 0
