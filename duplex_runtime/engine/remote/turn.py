"""One request of one slot, as it is put to servers and as their answers become `Output`s. No network in here.

A server is asked for the words at once, not first whether there are any: the numbers of the first token say
whether the model is silent, and then nobody reads on. What a slice gives is the same as from `SlotEngine`:

- p(idle) is of the model's own distribution, before temperature and bans.
- `<idle>` is never said, and the end token is not the first. Not every server can be told so; where one of them
  is drawn all the same, it is drawn anew with both banned (`Ask.banned`), which is the same distribution.
- `length` counts as if the last token were not cached yet, though the server may have it.

Of `probes` only the newest is reported, and only where it is the last of the ids: the numbers in between would
cost a request each. `DuplexConversation` takes a short `p_idle` as that of its newest slices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from duplex_runtime.engine.remote.wire import Fault
from duplex_runtime.engine.requests import Output, Sampling, SliceRequest

#: How many of the likeliest tokens are asked for where a server cannot be asked for `<idle>` itself: the most
#: that vLLM gives by default. A silent model is then recognised at any threshold over 1/21.
TOP = 20


@dataclass(frozen=True)
class Ask:
    """What a server is asked: the tokens behind `ids`, at most `max_new_tokens` (at least 1).

    `watch`: the token whose probability as the first is wanted, or None. `banned`: never drawn. `listen`: only
    that number is wanted, the token is not. `begins`: the first token is the first of an answer.
    """

    ids: tuple[int, ...]
    max_new_tokens: int
    eos: int
    watch: int | None = None
    banned: frozenset[int] = frozenset()
    listen: bool = False
    begins: bool = False
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Piece:
    """What a server said: a token (the end token as well), and p(watch) with the first. `token` may be None
    where only the number was asked for."""

    token: int | None
    chance: float | None = None


def chance_of(token: int, likeliest: Iterable[tuple[int, float]]) -> float:
    """Probability of `token` from (id, log-probability) of the likeliest tokens.

    If it is not among them the most that it can have: no more than the least of them, nor than what they leave.
    Raises Fault for numbers that are no probabilities.
    """
    chances: dict[int, float] = {}
    for key, value in likeliest:
        if not value <= 1e-3:  # NaN as well
            raise Fault(f"expected log-probabilities, got {value}")
        chances[key] = min(1.0, math.exp(value))
    if not chances:
        raise Fault("gives no probabilities of the first token; they are needed to know when the model is silent")
    if token in chances:
        return chances[token]
    # a server may add the drawn token, however unlikely, to the TOP that were asked for
    highest = sorted(chances.values(), reverse=True)[:TOP]
    return max(0.0, min(highest[-1], 1.0 - sum(highest)))


@dataclass
class Turn:
    """One request in work. `ids`: the whole stream, the request's ids at its end. `seed`: of this request alone.
    `number`: how many requests of the slot there were, itself counted."""

    slot: int
    ids: tuple[int, ...]
    request: SliceRequest
    sampling: Sampling
    idle: int | None
    eos: int
    vocabulary: int | None
    seed: int
    number: int = 0
    said: list[int] = field(default_factory=list)
    done: bool = False
    _decided: bool = False
    _end_refused: bool = False
    _p_idle: tuple[float, ...] = ()

    @property
    def progress(self) -> tuple[int, bool, bool, bool]:
        """Changes with everything that `hear` makes of a piece."""
        return len(self.said), self._decided, self._end_refused, self.done

    def ask(self) -> Ask:
        """What is still wanted; after a failure the next server goes on from here."""
        wanted = self.request.max_new_tokens - len(self.said)
        redraw = self._end_refused and not self.said
        banned = {self.idle, self.eos} if redraw else {self.idle}
        return Ask(
            ids=(*self.ids, *self.said),
            max_new_tokens=1 if redraw else max(1, wanted),
            eos=self.eos,
            watch=None if self._decided else self.idle,
            banned=frozenset(banned - {None}),  # type: ignore[arg-type]
            listen=self.request.max_new_tokens == 0,
            begins=not self.said,
            temperature=max(0.0, self.sampling.temperature),
            top_p=self.sampling.top_p,
            seed=(self.seed + len(self.said)) % 2**31,
        )

    def hear(self, piece: Piece) -> Output | None:
        """What a piece means for the loop; None if its token must be drawn anew. Raises Fault for nonsense."""
        if not self._decided:
            self._decide(piece)
            if self.done:
                return self._output(None, len(self.ids))
        token = piece.token
        if token is None or isinstance(token, bool) or not isinstance(token, int):
            raise Fault(f"expected a token id, got {token!r}")
        if token == self.eos and self.said:
            self.done = True
            return self._output(None, len(self.ids) + len(self.said), finished=True)
        if token in (self.eos, self.idle):
            self._end_refused |= token == self.eos
            return None
        if token < 0 or (self.vocabulary is not None and token >= self.vocabulary):
            raise Fault(f"expected token ids below {self.vocabulary}, got {token}")
        self.said.append(token)
        self.done = len(self.said) == self.request.max_new_tokens
        return self._output(token, len(self.ids) + len(self.said) - 1)

    def _decide(self, piece: Piece) -> None:
        silent = False
        if self.idle is not None:
            if piece.chance is None or not 0.0 <= piece.chance <= 1.0:
                raise Fault(f"expected the probability of <idle>, got {piece.chance}")
            threshold = float(getattr(self.sampling, f"{self.request.threshold}_threshold"))
            silent = self.request.gate and piece.chance >= threshold
            if self.request.probes and max(self.request.probes) == len(self.request.ids) - 1:
                self._p_idle = (piece.chance,)
        self._decided = True
        self.done = silent or self.request.max_new_tokens == 0

    def _output(self, token: int | None, length: int, finished: bool = False) -> Output:
        p_idle, self._p_idle = self._p_idle, ()
        return Output(self.slot, token, self.done, length, finished, p_idle)
