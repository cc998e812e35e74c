"""What conversations and engines say to each other: token ids and lengths, nothing else.

slot = engine.open(sampling)
engine.submit(slot, SliceRequest(...))
while engine.busy:
    for output in engine.step():     # one forward pass for everything submitted
        ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from duplex_runtime.errors import DuplexError


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. Temperature 0 is greedy; `top_p` is over 0 and at most 1.

    The model is silent from a p(idle) on that depends on how much speaks for a finished sentence: `sure_threshold`
    after a short silence, `idle_threshold` as a rule, `entered_threshold` where the person says so with Enter.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    idle_threshold: float = 0.5
    sure_threshold: float = 0.1
    entered_threshold: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class SliceRequest:
    """Keep the first `truncate_to` cached tokens, append `ids` (at least one), then speak.

    `probes`: offsets in `ids` after which p(idle) is reported. `max_new_tokens`: 0 to listen only.
    `gate`: may the model choose silence? If not, `<idle>` is never drawn. `threshold`: which of the sampling's.
    """

    truncate_to: int
    ids: tuple[int, ...]
    max_new_tokens: int
    probes: tuple[int, ...] = ()
    gate: bool = True
    threshold: Literal["idle", "sure", "entered"] = "idle"

    def check_fit(self, cached: int, max_length: int) -> None:
        """Raises ValueError if a slot with `cached` tokens and room for `max_length` cannot take it."""
        if not self.ids or not 0 <= self.truncate_to <= cached:
            raise ValueError(
                f"expected ids and 0 <= truncate_to <= {cached} cached tokens, "
                f"got {len(self.ids)} ids and truncate_to {self.truncate_to}"
            )
        total = self.truncate_to + len(self.ids) + self.max_new_tokens
        if total > max_length:
            raise ValueError(f"a slot holds {max_length} tokens; the request needs {total}")


@dataclass(frozen=True)
class Output:
    """What one step gave one slot.

    `token`: a token that the model says, None for silence or the end. `p_idle`: one number per probe (or only the
    newest, where an engine cannot tell the others), with the first output of a request. `done`: the request is
    finished; `finished`: by the model's own end token. `length`: tokens now cached. `stopped`: `stop` was called.
    `error`: this slot's request failed and is over; the others are not concerned.
    """

    slot: int
    token: int | None
    done: bool
    length: int
    finished: bool = False
    p_idle: tuple[float, ...] = ()
    stopped: bool = False
    error: DuplexError | None = None


class Engine(Protocol):
    """Token ids in, token ids out, the cache of each slot kept between requests."""

    @property
    def busy(self) -> bool:
        """Is any request unfinished?"""

    def open(self, sampling: Sampling) -> int:
        """A new empty slot; raises DuplexError `full` if there is none."""

    def submit(self, slot: int, request: SliceRequest) -> None:
        """Queue a request; at most one at a time for a slot."""

    def step(self) -> Sequence[Output]:
        """One forward pass for every slot with a request."""

    def stop(self, slot: int) -> None:
        """Say no more for the request in work, if there is one: the next step ends it, with what was said."""

    def close(self, slot: int) -> None:
        """Give the slot back."""

    def shutdown(self) -> None:
        """End what the engine holds outside of Python's memory: threads, connections, foreign caches."""
